package sip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// stage is a registered user agent, alice, and the server that plays everybody
// else, word for word.
type stage struct {
	t    *testing.T
	tr   Transport
	net  *memnet.Network
	f    *far
	flow *transport.Flow
	ua   *UA
	seen map[string]bool
	n    int // of branches
}

// onStage runs a script over TLS and over UDP.
func onStage(t *testing.T, name string, cfg func(*Config), fn func(t *testing.T, s *stage)) {
	for _, tr := range []Transport{TLS, UDP} {
		t.Run(name+", "+string(tr), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				certs := newServer(t)
				n := memnet.New()
				phone, host := n.Host("10.0.0.1"), n.Host("10.0.0.2")
				s := &stage{t: t, tr: tr, net: n, seen: make(map[string]bool)}
				s.f = newFar(t, host, certs.tls, fmt.Sprintf("%s:10.0.0.2:5070", tr))
				c := &Config{
					Account: Account{AOR: "sip:alice@example.com", Proxy: fmt.Sprintf("sip:example.com:5070;transport=%s", tr)},
					TLS:     &TLSConfig{RootCAs: certs.ca.Pool()},
					Network: Network{
						Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket,
						Resolver: &locate.Static{IP: map[string][]netip.Addr{"example.com": {netip.MustParseAddr("10.0.0.2")}}},
					},
				}
				if cfg != nil {
					cfg(c)
				}
				s.ua = newUA(t, c)
				outcome := registering(t.Context(), s.ua)
				reg := s.f.request("REGISTER")
				s.flow = reg.flow
				reg.granted(3600)
				if got := <-outcome; got.err != nil {
					t.Fatal(got.err)
				}
				fn(t, s)
			})
		})
	}
}

// next is the next message that is neither a 100 nor a repetition. ok is
// false if nothing comes within d.
func (s *stage) next(d time.Duration) (r received, ok bool) {
	s.t.Helper()
	timeout := time.After(d)
	for {
		select {
		case r = <-s.f.in:
		case <-timeout:
			return received{}, false
		}
		var key string
		switch {
		case r.req != nil:
			key = string(r.req.Method) + sipwire.TopBranch(r.req)
		case r.res.StatusCode == 100:
			continue
		default:
			key = fmt.Sprint(r.res.StatusCode, sipwire.TopBranch(r.res), sipwire.Header(r.res, "RSeq"))
		}
		if !s.seen[key] {
			s.seen[key] = true
			return r, true
		}
	}
}

// request waits for a request; anything else in between fails the test.
func (s *stage) request(method string) received {
	s.t.Helper()
	r, ok := s.next(time.Hour)
	if !ok || r.req == nil || string(r.req.Method) != method {
		s.t.Fatalf("got %v %v, want %s", r.req, r.res, method)
	}
	return r
}

// response waits for a response.
func (s *stage) response(status int) *sipgo.Response {
	s.t.Helper()
	r, ok := s.next(time.Hour)
	if !ok || r.res == nil || r.res.StatusCode != status {
		s.t.Fatalf("got %v %v, want %d", r.req, r.res, status)
	}
	return r.res
}

// kept is how many dialog sets the user agent still knows.
func (s *stage) kept() (n int) {
	s.t.Helper()
	if err := s.ua.ep.Run(s.t.Context(), func(time.Time) { n = len(s.ua.calls) }); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// quiet fails the test if anything comes within d.
func (s *stage) quiet(d time.Duration) {
	s.t.Helper()
	if r, ok := s.next(d); ok {
		s.t.Fatalf("got %v %v, want silence", r.req, r.res)
	}
}

// actor is one dialog of somebody's with alice, from his side.
type actor struct {
	s             *stage
	name, id      string
	local, remote string // tags
	cseq          int
	invited       int // number of the INVITE
	incoming      received
}

// actor makes somebody who may call alice.
func (s *stage) actor(name string) *actor {
	s.n++
	return &actor{s: s, name: name, id: fmt.Sprintf("%s-%d", name, s.n), local: fmt.Sprintf("%s%d", name, s.n), cseq: 100}
}

// say sends a request of his. What is behind an empty line is the body; its
// type is among the lines.
func (a *actor) say(method string, lines ...string) {
	s := a.s
	s.n++
	cseq := a.cseq + 1
	switch method {
	case "ACK", "CANCEL":
		cseq = a.invited
	default:
		a.cseq = cseq
	}
	if method == "INVITE" {
		a.invited = cseq
	}
	branch := fmt.Sprintf("b%d", s.n)
	if method == "INVITE" || method == "CANCEL" {
		branch = fmt.Sprintf("%s-i%d", a.id, cseq)
	}
	body := ""
	for i, l := range lines {
		if l == "" {
			body = strings.Join(lines[i+1:], "\r\n")
			lines = lines[:i]
			break
		}
	}
	to := ""
	if a.remote != "" && method != "CANCEL" {
		to = ";tag=" + a.remote
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/%s 10.0.0.2:5070;branch=z9hG4bK%s\r\n", method, strings.ToUpper(string(s.tr)), branch)
	fmt.Fprintf(&b, "From: <sip:%s@example.com>;tag=%s\r\nTo: <sip:alice@example.com>%s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nMax-Forwards: 70\r\n",
		a.name, a.local, to, a.id, cseq, method)
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Contact:") }) {
		fmt.Fprintf(&b, "Contact: <sip:%s@10.0.0.2:5070>\r\n", a.name)
	}
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	if err := s.flow.Send([]byte(b.String())); err != nil {
		s.t.Error(err)
	}
}

// invite sends an INVITE with an offer.
func (a *actor) invite(lines ...string) {
	a.say("INVITE", append(append([]string(nil), lines...), "Content-Type: application/sdp", "", sdpBody)...)
}

// taken waits for alice's 200 and acknowledges it.
func (a *actor) taken() {
	a.s.t.Helper()
	a.remote = sipwire.ToTag(a.s.response(200))
	a.say("ACK")
}

// calls brings up a call of his with alice.
func (a *actor) calls() *Call {
	a.s.t.Helper()
	a.invite()
	c, err := a.s.ua.Accept(a.s.t.Context())
	if err != nil {
		a.s.t.Fatal(err)
	}
	go c.Answer(a.s.t.Context(), nil)
	a.taken()
	if err := c.Answered(a.s.t.Context()); err != nil {
		a.s.t.Fatal(err)
	}
	return c
}

// called waits for an INVITE of alice's to him.
func (a *actor) called() *sipgo.Request {
	a.s.t.Helper()
	a.incoming = a.s.request("INVITE")
	req := a.incoming.req
	a.id, a.remote = string(*req.CallID()), sipwire.FromTag(req)
	return req
}

// answer answers the INVITE that came, with a description in a 2xx.
func (a *actor) answer(status int, lines ...string) {
	a.s.t.Helper()
	body := ""
	if status/100 == 2 {
		body = sdpBody
	}
	a.says(status, body, lines...)
}

// says answers the INVITE that came, with this body.
func (a *actor) says(status int, body string, lines ...string) {
	a.s.t.Helper()
	res := sipwire.ResponseTo(a.incoming.req, status, "", a.local)
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	if status < 300 && !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Contact:") }) {
		lines = append(lines, fmt.Sprintf("Contact: <sip:%s@10.0.0.2:5070>", a.name))
	}
	if err := a.incoming.flow.Send([]byte(withLines(res, body, lines))); err != nil {
		a.s.t.Error(err)
	}
}

// reliably answers the INVITE that came with a reliable provisional response
// (RFC 3262), and takes its PRACK.
func (a *actor) reliably(status, rseq int, body string, lines ...string) *sipgo.Request {
	a.s.t.Helper()
	a.says(status, body, append([]string{"Require: 100rel", fmt.Sprintf("RSeq: %d", rseq)}, lines...)...)
	r := a.s.request("PRACK")
	want := fmt.Sprintf("%d %d INVITE", rseq, a.incoming.req.CSeq().SeqNo)
	if got := sipwire.Header(r.req, "RAck"); got != want || sipwire.ToTag(r.req) != a.local {
		a.s.t.Errorf("PRACK of %q to %s, want %q to %s", got, sipwire.ToTag(r.req), want, a.local)
	}
	r.reply(200)
	return r.req
}

// fork is somebody else whom a server has sent the same INVITE.
func (a *actor) fork(name string) *actor {
	b := a.s.actor(name)
	b.id, b.remote, b.incoming = a.id, a.remote, a.incoming
	return b
}

// pickUp answers with 200 and waits for the ACK.
func (a *actor) pickUp() {
	a.s.t.Helper()
	a.answer(200)
	if ack := a.s.request("ACK"); string(*ack.req.CallID()) != a.id {
		a.s.t.Fatalf("ACK of another: %v", ack.req)
	}
}

// bye waits for a BYE to him and answers it.
func (a *actor) bye() *sipgo.Request {
	a.s.t.Helper()
	r := a.s.request("BYE")
	if string(*r.req.CallID()) != a.id {
		a.s.t.Fatalf("BYE in another dialog: %v", r.req)
	}
	r.reply(200)
	return r.req
}

// replaces is the value of Replaces that points at alice's dialog with him.
func (a *actor) replaces() string {
	return fmt.Sprintf("%s;to-tag=%s;from-tag=%s", a.id, a.remote, a.local)
}
