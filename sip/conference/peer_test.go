package conference

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/internal/transport"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

const sdp = "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\na=inactive\r\n"

// server plays everybody whom alice talks with, word for word as its test says.
type server struct {
	t    *testing.T
	ua   *sip.UA
	tr   sip.Transport
	in   chan received
	kept []received // that came before they were asked for
	seen map[string]bool
	n    int
}

type received struct {
	flow *transport.Flow
	req  *sipgo.Request
	res  *sipgo.Response
}

// onStage runs a script in virtual time, over TLS and over UDP.
func onStage(t *testing.T, name string, fn func(t *testing.T, s *server)) {
	for _, tr := range []sip.Transport{sip.TLS, sip.UDP} {
		t.Run(name+", "+string(tr), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, err := testca.NewCA(time.Now())
				if err != nil {
					t.Fatal(err)
				}
				cert, err := ca.Issue(testca.Template{URIs: []string{"sip:example.com"}})
				if err != nil {
					t.Fatal(err)
				}
				network := memnet.New()
				host, phone := network.Host("10.0.0.2"), network.Host("10.0.0.1")
				s := &server{t: t, tr: tr, in: make(chan received, 64), seen: make(map[string]bool)}
				far := transport.New(transport.Config{
					Dial: host.Dial, Listen: host.Listen, ListenPacket: host.ListenPacket,
					TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
				}, s)
				defer far.Close()
				if _, err := far.Listen(t.Context(), transport.Proto(tr), "10.0.0.2:5070"); err != nil {
					t.Fatal(err)
				}
				s.ua, err = sip.New(&sip.Config{
					Account: sip.Account{AOR: "sip:alice@example.com", Proxy: fmt.Sprintf("sip:example.com:5070;transport=%s", tr)},
					TLS:     &sip.TLSConfig{RootCAs: ca.Pool()},
					Network: sip.Network{Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket,
						Resolver: &locate.Static{IP: map[string][]netip.Addr{"example.com": {netip.MustParseAddr("10.0.0.2")}}}},
				})
				if err != nil {
					t.Fatal(err)
				}
				fn(t, s)
				if err := s.ua.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func (s *server) Accepted(*transport.Flow) {}
func (s *server) Message(fl *transport.Flow, m sipgo.Message, _ []byte) {
	r := received{flow: fl}
	r.req, _ = m.(*sipgo.Request)
	r.res, _ = m.(*sipgo.Response)
	s.in <- r
}
func (s *server) Bad(_ *transport.Flow, bad *sipwire.BadMessage) {
	s.t.Errorf("cannot be read: %v", bad)
}
func (s *server) Pong(*transport.Flow)                                  {}
func (s *server) STUN(*transport.Flow, [12]byte, netip.AddrPort, error) {}
func (s *server) Closed(*transport.Flow, error)                         {}

// take waits for a message, and keeps others for later: what concerns different
// calls comes in any order.
func (s *server) take(what string, is func(received) bool) received {
	s.t.Helper()
	for i, r := range s.kept {
		if is(r) {
			s.kept = append(s.kept[:i:i], s.kept[i+1:]...)
			return r
		}
	}
	timeout := time.After(time.Hour)
	for {
		select {
		case r := <-s.in:
			if !s.first(r) {
				continue
			}
			if is(r) {
				return r
			}
			s.kept = append(s.kept, r)
		case <-timeout:
			s.t.Fatalf("no %s came, but %v", what, s.kept)
		}
	}
}

// first tells a message from a repetition, and from a 100.
func (s *server) first(r received) bool {
	var key string
	switch {
	case r.req != nil:
		key = string(r.req.Method) + sipwire.TopBranch(r.req)
	case r.res.StatusCode == 100:
		return false
	default:
		key = fmt.Sprint(r.res.StatusCode) + sipwire.TopBranch(r.res)
	}
	first := !s.seen[key]
	s.seen[key] = true
	return first
}

func (s *server) request(method string) received {
	s.t.Helper()
	return s.take(method, func(r received) bool { return r.req != nil && string(r.req.Method) == method })
}

// quiet fails the test if anything is left, or comes within a minute.
func (s *server) quiet() {
	s.t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case r := <-s.in:
			if s.first(r) {
				s.kept = append(s.kept, r)
			}
			continue
		case <-timeout:
		}
		break
	}
	for _, r := range s.kept {
		s.t.Errorf("there came %v %v", r.req, r.res)
	}
	s.kept = nil
}

// reply answers a request; a body is the last line, and an SDP.
func (r received) reply(status int, lines ...string) {
	res := sipwire.ResponseTo(r.req, status, "", "far"+r.req.CallID().Value())
	for _, l := range lines {
		if l == sdp {
			res.AppendHeader(sipgo.NewHeader("Content-Type", "application/sdp"))
			res.SetBody([]byte(sdp))
			continue
		}
		name, value, _ := strings.Cut(l, ": ")
		res.AppendHeader(sipgo.NewHeader(name, value))
	}
	_ = r.flow.Send(sipwire.Append(nil, res))
}

// dialog is one with alice, that she has begun.
type dialog struct {
	s       *server
	request *sipgo.Request
	flow    *transport.Flow
	cseq    int
}

func (r received) dialog(s *server) *dialog { return &dialog{s: s, request: r.req, flow: r.flow} }

func (d *dialog) id() string     { return d.request.CallID().Value() }
func (d *dialog) local() string  { return "far" + d.id() }
func (d *dialog) remote() string { return sipwire.FromTag(d.request) }

// say sends a request to alice and waits for its answer.
func (d *dialog) say(answer int, method, body string, lines ...string) {
	d.s.t.Helper()
	d.cseq++
	d.s.n++
	branch := fmt.Sprintf("z9hG4bKs%d", d.s.n)
	var b strings.Builder
	fmt.Fprintf(&b, "%s sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/%s 10.0.0.2:5070;branch=%s\r\nFrom: <sip:far@example.com>;tag=%s\r\nTo: <sip:alice@example.com>;tag=%s\r\n"+
		"Call-ID: %s\r\nCSeq: %d %s\r\nMax-Forwards: 70\r\nContact: <sip:far@10.0.0.2:5070>\r\n",
		method, strings.ToUpper(string(d.s.tr)), branch, d.local(), d.remote(), d.id(), d.cseq, method)
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	if err := d.flow.Send([]byte(b.String())); err != nil {
		d.s.t.Error(err)
	}
	r := d.s.take("answer to "+method, func(r received) bool { return r.res != nil && sipwire.TopBranch(r.res) == branch })
	if r.res.StatusCode != answer {
		d.s.t.Errorf("%s is answered with %v", method, r.res)
	}
	synctest.Wait()
}

// tells says how it goes with a REFER (RFC 3515 §2.4.5).
func (d *dialog) tells(state, status string) {
	d.s.t.Helper()
	d.say(200, "NOTIFY", "SIP/2.0 "+status+"\r\n", "Event: refer", "Subscription-State: "+state, "Content-Type: message/sipfrag")
}

// done says that a REFER has succeeded.
func (d *dialog) done() { d.s.t.Helper(); d.tells("terminated;reason=noresource", "200 OK") }

const confinfoBegin = `<conference-info xmlns="urn:ietf:params:xml:ns:conference-info" entity="sip:conf-1@10.0.0.2:5070" `

// roster says who takes part (RFC 4575).
func (d *dialog) roster(version int, state, users string) {
	d.s.t.Helper()
	body := confinfoBegin + fmt.Sprintf(`state="%s" version="%d"><users state="%s">%s</users></conference-info>`, state, version, state, users)
	d.say(200, "NOTIFY", body, "Event: conference", "Subscription-State: active;expires=3600", "Content-Type: application/conference-info+xml")
}

// takes answers an INVITE of alice's.
func (s *server) takes(r received, contact string) *dialog {
	s.t.Helper()
	r.reply(200, "Contact: "+contact, sdp)
	s.request("ACK")
	return r.dialog(s)
}

// call brings up a call of alice's with somebody.
func (s *server) call(name string) (*sip.Call, *dialog) {
	s.t.Helper()
	c, err := s.ua.Start(s.t.Context(), name, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	d := s.takes(s.request("INVITE"), "<sip:"+name+"@10.0.0.2:5070>")
	if err := c.Answered(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return c, d
}

const focus = "<sip:conf-1@10.0.0.2:5070>;isfocus"

// merging runs Merge in the background.
func (s *server) merging(cfg *Config, calls ...*sip.Call) func() (*Conference, error) {
	var conf *Conference
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		conf, err = Merge(s.t.Context(), cfg, calls...)
	}()
	return func() (*Conference, error) { <-done; return conf, err }
}

// background runs something that waits for the server.
func background(fn func() error) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- fn() }()
	return ch
}

// refer takes a REFER to the focus.
func (s *server) refer(want string) *dialog {
	s.t.Helper()
	r := s.request("REFER")
	if got := sipwire.FormatURI(&r.req.Recipient); got != "sip:conf-1@10.0.0.2:5070" {
		s.t.Errorf("REFER goes to %s", got)
	}
	if got := sipwire.Header(r.req, "Refer-To"); got != want {
		s.t.Errorf("Refer-To: %s, want %s", got, want)
	}
	r.reply(202, "Contact: "+focus)
	return r.dialog(s)
}

// replacing is a Refer-To with Replaces: to-tag is the tag of who gets the INVITE.
func (d *dialog) replacing(name string) string {
	return fmt.Sprintf("<sip:%s@10.0.0.2:5070?Replaces=%s>", name,
		sipwire.EscapeHeader(d.id()+";to-tag="+d.local()+";from-tag="+d.remote()))
}

// mixer mixes nothing.
type mixer struct{}

func newMixer() (offeranswer.Mixer, error)       { return mixer{}, nil }
func (mixer) Add(offeranswer.Media) error        { return nil }
func (mixer) Remove(offeranswer.Media) error     { return nil }
func (mixer) Mute(offeranswer.Media, bool) error { return nil }
func (mixer) Close() error                       { return nil }
