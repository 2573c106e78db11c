package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

const sdpBody = "v=0\r\no=BroadWorks 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"

// ask writes a request as a server would, with header lines of the test's.
func (c *conn) ask(method, callID, branch string, cseq int, toTag, body string, lines ...string) {
	if toTag != "" {
		toTag = ";tag=" + toTag
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s sip:alice@10.0.0.1;transport=tls SIP/2.0\r\n", method)
	fmt.Fprintf(&b, "Via:SIP/2.0/TLS 10.0.0.2:5061;branch=z9hG4bK%s\r\n", branch)
	fmt.Fprintf(&b, "From:\"Bob\"<sip:bob@example.com;user=phone>;tag=bobs\r\nTo:<sip:alice@example.com>%s\r\n", toTag)
	fmt.Fprintf(&b, "Call-ID:%s\r\nCSeq:%d %s\r\nMax-Forwards:10\r\nContact:<sip:10.0.0.2:5061;transport=tls>\r\nSupported:\r\n", callID, cseq, method)
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	if body != "" {
		b.WriteString("Content-Type:application/sdp\r\n")
	}
	fmt.Fprintf(&b, "Content-Length:%d\r\n\r\n%s", len(body), body)
	c.write(b.String())
}

// What a user agent says to requests that are no call (RFC 3261 §8.2).
func TestAnswers(t *testing.T) {
	bubble(t, "§8.2.1: an unknown method gets 405 with Allow", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		for _, m := range []string{"PUBLISH", "FOO"} {
			c.ask(m, "x-"+m, "b"+m, 1, "", "")
			if r := c.response(405); sipwire.Header(r, "Allow") != allow || sipwire.ToTag(r) == "" {
				t.Errorf("answer %v", r)
			}
		}
	})
	bubble(t, "§8.2.2.3: an unknown extension gets 420 with Unsupported", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		c.ask("INVITE", "x", "b", 1, "", sdpBody, "Require: 100rel, outbound, precondition, nothingSupportsThis")
		r := c.response(420)
		if u := sipwire.Header(r, "Unsupported"); u != "precondition, nothingSupportsThis" {
			t.Errorf("Unsupported: %s", u)
		}
	})
	bubble(t, "§8.2.2.2: a merged request gets 482", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		c.ask("INVITE", "x", "one", 1, "", sdpBody)
		c.response(100)
		c.ask("INVITE", "x", "two", 1, "", sdpBody)
		c.response(482)
		in, err := ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		in.Reject(t.Context(), 486)
		c.response(486)
	})
	bubble(t, "§11.2: OPTIONS is answered truthfully", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.AcceptQueue = 1
		_, c := registered(t, s, cfg, 3600)
		c.ask("OPTIONS", "o1", "o1", 1, "", "")
		r := c.response(200)
		for name, want := range map[string]string{"Allow": allow, "Supported": supported, "Accept": "application/sdp, multipart/mixed", "Accept-Encoding": "identity", "Accept-Language": "en"} {
			if got := sipwire.Header(r, name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		c.ask("INVITE", "x", "i", 1, "", sdpBody) // fills the queue
		c.response(100)
		c.ask("OPTIONS", "o2", "o2", 1, "", "")
		c.response(486)
	})
	bubble(t, "§12.2.2, §15.1.2: requests within no dialog get 481", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		c.ask("BYE", "x", "b1", 1, "nobody", "")
		c.response(481)
		c.ask("BYE", "x", "b2", 2, "", "")
		c.response(481)
		c.ask("CANCEL", "x", "b3", 1, "", "")
		c.response(481)
		c.ask("INVITE", "x", "b4", 4, "nobody", sdpBody)
		c.response(481)
		c.ask("ACK", "x", "b4", 4, "nobody", "")
		c.ask("ACK", "x", "b5", 4, "nobody", "")
		c.quiet(time.Second)
	})
	bubble(t, "§8.2.3: a body of another type gets 415 with Accept", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		c.ask("INVITE", "x", "b1", 1, "", "", "Content-Type:text/plain") // empty: an offer in the 2xx
		c.response(100)
		c.write("INVITE sip:alice@10.0.0.1 SIP/2.0\r\nVia:SIP/2.0/TLS 10.0.0.2:5061;branch=z9hG4bKb2\r\nFrom:<sip:b@example.com>;tag=1\r\n" +
			"To:<sip:alice@example.com>\r\nCall-ID:y\r\nCSeq:1 INVITE\r\nMax-Forwards:9\r\nContact:<sip:b@10.0.0.2>\r\nContent-Type:text/plain\r\nContent-Length:2\r\n\r\nhi")
		if r := c.response(415); sipwire.Header(r, "Accept") != "application/sdp, multipart/mixed" {
			t.Errorf("answer %v", r)
		}
	})
	bubble(t, "the queue of calls is bounded: 486", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.AcceptQueue = 2
		_, c := registered(t, s, cfg, 3600)
		for i := range 2 {
			c.ask("INVITE", fmt.Sprint("x", i), fmt.Sprint("b", i), 1, "", sdpBody)
			c.response(100)
		}
		c.ask("INVITE", "x3", "b3", 1, "", sdpBody)
		c.response(486)
	})
}

// Requests that come past the account's server are refused.
func TestAdmission(t *testing.T) {
	for _, any := range []bool{false, true} {
		bubble(t, fmt.Sprint("any source ", any), func(t *testing.T, s *server) {
			cfg := s.config()
			cfg.AnySource = any
			cfg.Listen = []string{"tcp:10.0.0.1:5060"}
			registered(t, s, cfg, 3600)
			raw, err := s.host.Dial(t.Context(), "tcp", "10.0.0.1:5060")
			if err != nil {
				t.Fatal(err)
			}
			stranger := &conn{t: t, c: raw, in: make(chan sipMessage, 8)}
			go stranger.read()
			defer raw.Close()
			stranger.ask("OPTIONS", "x", "b", 1, "", "")
			stranger.response(map[bool]int{false: 403, true: 200}[any])
		})
	}
}

// An incoming call as BroadWorks writes it, from ringing to BYE.
func TestIncomingCall(t *testing.T) {
	bubble(t, "answered", func(t *testing.T, s *server) {
		gruu := `Contact: %s;expires=3600;pub-gruu="sip:alice@example.com;gr=urn:uuid:f81d4fae"`
		ua, outcome := start(t, s.config())
		c := s.accept()
		req := c.request("REGISTER")
		c.reply(req, 200, fmt.Sprintf(gruu, contactOf(req)))
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		c.ask("INVITE", "BW102838841270123-1135433227@AS", "BroadWorks.1", 960978525, "", sdpBody,
			`P-Asserted-Identity:"Robert"<sip:+12025550123@example.com;user=phone>`, "Call-Info:<sip:AS>;appearance-index=1", "Record-Route:<sip:10.0.0.2:5061;lr;transport=tls>")
		in, err := ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r := in.Remote(); r.Name != "Robert" || r.URI != "sip:+12025550123@example.com;user=phone" {
			t.Errorf("remote %+v", r)
		}
		if h := in.Header("call-info"); len(h) != 1 || h[0] != "<sip:AS>;appearance-index=1" {
			t.Errorf("Call-Info %q", h)
		}
		if err := in.Ring(t.Context()); err != nil {
			t.Fatal(err)
		}
		ringing := c.response(180)
		done := make(chan error, 1)
		go func() { done <- in.Answer(t.Context(), nil) }()
		ok := c.response(200)
		if sipwire.ToTag(ok) != sipwire.ToTag(ringing) {
			t.Error("180 and 200 have different tags")
		}
		if got := contactOfResponse(ok); got != "<sip:alice@example.com;gr=urn:uuid:f81d4fae>" {
			t.Errorf("Contact %s (RFC 5627 §4.4.2: the GRUU)", got)
		}
		if sipwire.Header(ok, "Record-Route") == "" || !strings.Contains(string(ok.Body()), "m=audio") {
			t.Errorf("200: %v", ok)
		}
		c.ask("ACK", "BW102838841270123-1135433227@AS", "BroadWorks.2", 960978525, sipwire.ToTag(ok), "")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		c.ask("BYE", "BW102838841270123-1135433227@AS", "BroadWorks.3", 960978526, sipwire.ToTag(ok), "", `Reason: Q.850;cause=16;text="Terminated"`)
		c.response(200)
		if err := in.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if end := in.End(); end.By != Remote || len(end.Reasons) != 1 || end.Reasons[0] != (Reason{Protocol: "Q.850", Cause: 16, Text: "Terminated"}) {
			t.Errorf("end %+v", end)
		}
	})
	bubble(t, "answered elsewhere", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		c.ask("INVITE", "x", "b", 1, "", sdpBody)
		in, _ := ua.Accept(t.Context())
		c.response(100)
		c.ask("CANCEL", "x", "b", 1, "", "", `Reason: SIP;cause=200;text="Call completed elsewhere"`)
		ok := c.response(200)
		gone := c.response(487)
		if sipwire.ToTag(ok) != sipwire.ToTag(gone) {
			t.Error("RFC 3261 §9.2: the tags of both answers differ")
		}
		in.Wait(t.Context())
		if end := in.End(); end.By != Remote || len(end.Reasons) != 1 || end.Reasons[0].Cause != 200 {
			t.Errorf("end %+v", end)
		}
	})
}

// An outgoing call: Service-Route, the peer's route set, credentials in the
// dialog.
func TestOutgoingCall(t *testing.T) {
	bubble(t, "routes and credentials", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600, "Service-Route: <sip:orig@10.0.0.2:5061;lr>", "Require: outbound")
		type result struct {
			call *Call
			err  error
		}
		dialled := make(chan result, 1)
		go func() {
			call, err := ua.Dial(t.Context(), "bob", nil)
			dialled <- result{call, err}
		}()
		invite := c.request("INVITE")
		if r := sipwire.Header(invite, "Route"); r != "<sip:orig@10.0.0.2:5061;lr>" {
			t.Errorf("Route %q, want the Service-Route (RFC 3608 §5)", r)
		}
		if got := contactOf(invite); !strings.Contains(got, ";ob") {
			t.Errorf("Contact %s lacks ob (RFC 5626 §4.3)", got)
		}
		c.reply(invite, 407, `Proxy-Authenticate: Digest realm="p",nonce="n1",algorithm=SHA-256,qop="auth"`)
		c.request("ACK")
		invite = c.request("INVITE")
		auth := sipwire.Header(invite, "Proxy-Authorization")
		c.reply(invite, 200, "Contact: <sip:bob@10.9.9.9>", "Record-Route: <sip:p2.example.com;lr;x=y>, <sip:p1.example.com;lr>")
		ack := c.request("ACK")
		if got := sipwire.Header(ack, "Proxy-Authorization"); got != auth || auth == "" {
			t.Errorf("RFC 3261 §22.1: the ACK has credentials %q, its INVITE %q", got, auth)
		}
		if got := ack.Recipient.String(); got != "sip:bob@10.9.9.9" {
			t.Errorf("ACK to %s", got)
		}
		var routes []string
		for v := range sipwire.Values(ack, "Route") {
			routes = append(routes, v)
		}
		if fmt.Sprint(routes) != "[<sip:p1.example.com;lr> <sip:p2.example.com;lr;x=y>]" {
			t.Errorf("RFC 3261 §12.1.2: route set %v", routes)
		}
		// The 200 has no description: the call is ended at once.
		bye := c.request("BYE")
		c.reply(bye, 407, `Proxy-Authenticate: Digest realm="p",nonce="n2",stale=true,algorithm=SHA-256,qop="auth"`)
		again := c.request("BYE")
		if a := sipwire.Header(again, "Proxy-Authorization"); !strings.Contains(a, `nonce="n2"`) || again.CSeq().SeqNo != bye.CSeq().SeqNo+1 {
			t.Errorf("BYE repeated as %v", again)
		}
		c.reply(again, 200)
		if r := <-dialled; r.err == nil {
			t.Error("no error")
		}
	})
	bubble(t, "RFC 3263 §4.3: 503 moves the call to the account's other server", func(t *testing.T, s *server) {
		s.listen("10.0.0.3:5061", true)
		cfg := s.config()
		cfg.Account.Flows = 2
		cfg.Network.Resolver.(*locate.Static).IP["example.com"] = []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}
		ua, outcome := start(t, cfg)
		conns := map[string]*conn{}
		var first *conn
		for range 2 {
			c := s.accept()
			req := c.request("REGISTER")
			conns[c.c.LocalAddr().String()] = c
			if strings.Contains(contactOf(req), "reg-id=1") {
				first = c
			}
			c.granted(req, 3600, "Require: outbound")
		}
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		if len(conns) != 2 || first == nil {
			t.Fatalf("two flows to %v", conns)
		}
		synctest.Wait()
		go ua.Dial(t.Context(), "bob", nil)
		one := first.request("INVITE")
		first.reply(one, 503)
		first.request("ACK")
		for _, c := range conns {
			if c != first {
				two := c.request("INVITE")
				if two.CallID().Value() != one.CallID().Value() || sipwire.TopBranch(two) == sipwire.TopBranch(one) {
					t.Errorf("the second INVITE: %v", two)
				}
				c.reply(two, 486)
				c.request("ACK")
			}
		}
	})
	bubble(t, "no server at all", func(t *testing.T, s *server) {
		s.stop()
		ua, outcome := start(t, s.config())
		var de *DialError
		if err := <-outcome; !errors.As(err, &de) || len(de.Attempts) != 1 {
			t.Errorf("Register: %v", err)
		}
		if _, err := ua.Dial(t.Context(), "bob", nil); !errors.As(err, &de) {
			t.Errorf("Dial: %v", err)
		}
	})
}

func TestBadURIs(t *testing.T) {
	bubble(t, "refused at once", func(t *testing.T, s *server) {
		ua, err := New(s.config())
		if err != nil {
			t.Fatal(err)
		}
		defer ua.Close()
		for _, uri := range []string{"", " ", "sip:", "sip:@", "http://example.com", "sip:bob@example.com>\r\nX: y", "mailto:bob@example.com", "sip:bob@exa mple.com"} {
			var ue *URIError
			if _, err := ua.Dial(t.Context(), uri, nil); !errors.As(err, &ue) {
				t.Errorf("%q: %v", uri, err)
			}
		}
		for _, aor := range []string{"", "alice", "sip:example.com", "tel:+1", "sip:al ice@x"} {
			if _, err := New(&Config{Account: Account{AOR: aor}}); err == nil {
				t.Errorf("AOR %q was accepted", aor)
			}
		}
		if _, err := ua.Start(t.Context(), "bob", &DialOptions{Headers: [][2]string{{"Subject", "x\r\nY: z"}}}); err == nil {
			t.Error("a header value with a line end was accepted")
		}
	})
}

// RFC 5627 §4.4: the public GRUU is the Contact of a call, the temporary one
// that of an anonymous call.
func TestGRUU(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		bubble(t, fmt.Sprint("anonymous ", anonymous), func(t *testing.T, s *server) {
			ua, outcome := start(t, s.config())
			c := s.accept()
			req := c.request("REGISTER")
			c.reply(req, 200, "Contact: "+contactOf(req)+`;expires=3600;pub-gruu="sip:alice@example.com;gr=urn:uuid:f8";temp-gruu="sip:tgruu.7hs==jd@example.com;gr"`)
			if err := <-outcome; err != nil {
				t.Fatal(err)
			}
			if info := ua.reg.Info(); info.PublicGRUU != "sip:alice@example.com;gr=urn:uuid:f8" || info.TempGRUU != "sip:tgruu.7hs==jd@example.com;gr" {
				t.Errorf("info %+v", info)
			}
			call, err := ua.Start(t.Context(), "bob", &DialOptions{Anonymous: anonymous})
			if err != nil {
				t.Fatal(err)
			}
			invite := c.request("INVITE")
			want := map[string]string{"Contact": "<sip:alice@example.com;gr=urn:uuid:f8>", "Privacy": "", "P-Preferred-Identity": ""}
			if anonymous {
				want = map[string]string{"Contact": "<sip:tgruu.7hs==jd@example.com;gr>", "Privacy": "id", "P-Preferred-Identity": "<sip:alice@example.com>"}
			}
			for name, v := range want {
				if got := sipwire.Header(invite, name); got != v {
					t.Errorf("%s: %q, want %q", name, got, v)
				}
			}
			if from := invite.From().Address.String(); anonymous != (from == "sip:anonymous@anonymous.invalid") {
				t.Errorf("From %s", from)
			}
			c.reply(invite, 486)
			c.request("ACK")
			call.Wait(t.Context())
		})
	}
}
