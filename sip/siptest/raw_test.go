package siptest_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"

	"crypto/rand"
)

// raw is a device that says what a test writes, over UDP.
type raw struct {
	l    *lab
	t    *testing.T
	conn net.PacketConn
	addr string
	cseq int
}

func (l *lab) raw() *raw {
	l.t.Helper()
	l.hosts++
	host := l.net.Host(fmt.Sprintf("10.0.1.%d", l.hosts))
	conn, err := host.ListenPacket(l.t.Context(), "udp", ":5060")
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	return &raw{l: l, t: l.t, conn: conn, addr: fmt.Sprintf("10.0.1.%d:5060", l.hosts)}
}

// request sends a request: the start line without the version, and header
// fields in place of the usual ones or beside them.
func (r *raw) request(start, body string, headers ...string) {
	r.t.Helper()
	r.cseq++
	method, _, _ := strings.Cut(start, " ")
	fields := []string{
		fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK%d;rport", r.addr, r.cseq),
		"From: <sip:alice@pbx.example>;tag=raw",
		"To: <sip:bob@pbx.example>",
		"Call-ID: raw" + r.addr,
		fmt.Sprintf("CSeq: %d %s", r.cseq, method),
		"Max-Forwards: 70",
		"Contact: <sip:raw@" + r.addr + ">",
	}
	if body != "" {
		fields = append(fields, "Content-Type: application/sdp")
	}
	for _, h := range headers {
		name, _, _ := strings.Cut(h, ":")
		replaced := false
		for i := range fields {
			if strings.HasPrefix(fields[i], name+":") {
				fields[i], replaced = h, true
			}
		}
		if !replaced {
			fields = append(fields, h)
		}
	}
	r.send(start + " SIP/2.0\r\n" + strings.Join(fields, "\r\n") + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
}

func (r *raw) send(text string) {
	r.t.Helper()
	if _, err := r.conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(r.l.Addr(sip.UDP))); err != nil {
		r.t.Fatal(err)
	}
}

// receive waits for a message that is no 100.
func (r *raw) receive() sipgo.Message {
	r.t.Helper()
	buf := make([]byte, 64<<10)
	for {
		r.conn.SetReadDeadline(time.Now().Add(time.Hour))
		n, _, err := r.conn.ReadFrom(buf)
		if err != nil {
			r.t.Fatal(err)
		}
		m, err := sipwire.Parse(buf[:n], false)
		if err != nil {
			r.t.Fatal(err)
		}
		if res, ok := m.(*sipgo.Response); !ok || res.StatusCode != 100 {
			return m
		}
	}
}

// response waits for a response.
func (r *raw) response(status int) *sipgo.Response {
	r.t.Helper()
	for {
		res, ok := r.receive().(*sipgo.Response)
		if ok && res.StatusCode < 200 && status >= 200 {
			continue
		}
		if !ok || res.StatusCode != status {
			r.t.Fatalf("received %v, want %d", res, status)
		}
		return res
	}
}

// expect waits for a request.
func (r *raw) expect(method string) *sipgo.Request {
	r.t.Helper()
	m := r.receive()
	req, ok := m.(*sipgo.Request)
	if !ok || string(req.Method) != method {
		r.t.Fatalf("received\n%s\nwant %s", sipwire.Append(nil, m), method)
	}
	return req
}

// reply answers a request of the lab's.
func (r *raw) reply(req *sipgo.Request, status int, body string, headers ...string) {
	r.t.Helper()
	res := sipwire.ResponseTo(req, status, "", "raw-"+r.addr)
	res.AppendHeader(sipgo.NewHeader("Contact", "<sip:raw@"+r.addr+">"))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		res.AppendHeader(sipgo.NewHeader(name, value))
	}
	if body != "" {
		res.AppendHeader(sipgo.NewHeader("Content-Type", "application/sdp"))
		res.SetBody([]byte(body))
	}
	r.send(string(sipwire.Append(nil, res)))
}

// register registers the device for a user.
func (r *raw) register(user string, headers ...string) *sipgo.Response {
	r.t.Helper()
	headers = append([]string{"From: <sip:" + user + "@pbx.example>;tag=reg", "To: <sip:" + user + "@pbx.example>"}, headers...)
	r.request("REGISTER sip:pbx.example", "", headers...)
	res := r.response(401)
	acct := r.l.Config(user).Account
	var attempt digest.Attempt
	client := digest.NewClient(digest.ClientConfig{Rand: rand.Reader, Credentials: func(string, digest.Algorithm) (digest.Credential, error) {
		return digest.Credential{Username: acct.Username, Password: acct.Password}, nil
	}})
	if err := client.Challenge(&attempt, []string{sipwire.Header(res, "WWW-Authenticate")}, nil); err != nil {
		r.t.Fatal(err)
	}
	for _, h := range client.Authorize(&attempt, "REGISTER", "sip:pbx.example", nil) {
		headers = append(headers, h.Name+": "+h.Value)
	}
	r.request("REGISTER sip:pbx.example", "", headers...)
	return r.receive().(*sipgo.Response)
}

const (
	offerText  = "v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
	answerText = "v=0\r\no=- 2 1 IN IP4 10.0.1.2\r\ns=-\r\nc=IN IP4 10.0.1.2\r\nt=0 0\r\nm=audio 4002 RTP/AVP 0\r\n"
)

// Requests and the status that each is answered with.
func TestAnswers(t *testing.T) {
	many := "Contact: " + strings.TrimSuffix(strings.Repeat("<sip:x@10.0.1.1>,", 17), ",")
	for _, c := range []struct {
		start   string
		status  int
		headers []string
		has     string // in the response
	}{
		{"OPTIONS sip:pbx.example", 200, nil, "Allow: ACK,BYE,CANCEL,INFO,INVITE,MESSAGE,NOTIFY,OPTIONS,PRACK,REFER,REGISTER,SUBSCRIBE,UPDATE"},
		{"INVITE sip:bob@pbx.example", 401, nil, "WWW-Authenticate: Digest"},
		{"PUBLISH sip:bob@pbx.example", 405, nil, "Allow: "},
		{"PRACK sip:bob@pbx.example", 481, []string{"To: <sip:bob@pbx.example>;tag=x"}, ""},
		{"INVITE sip:bob@pbx.example", 420, []string{"Require: 100rel, precondition"}, "Unsupported: precondition"},
		{"INVITE sip:bob@pbx.example", 483, []string{"Max-Forwards: 0"}, ""},
		{"INVITE mailto:bob@pbx.example", 416, nil, ""},
		{"INVITE sip:9001@pbx.example", 422, []string{"Supported: timer", "Session-Expires: 60"}, "Min-SE: 90"},
		{"CANCEL sip:bob@pbx.example", 481, nil, ""},
		{"BYE sip:bob@pbx.example", 481, []string{"To: <sip:bob@pbx.example>;tag=x"}, ""},
		{"BYE sip:bob@pbx.example", 481, nil, ""},
		{"INVITE sip:bob@pbx.example", 481, []string{"To: <sip:bob@pbx.example>;tag=x"}, ""},
		{"REGISTER sip:elsewhere.example", 404, []string{"To: <sip:alice@elsewhere.example>"}, ""},
		{"REGISTER sip:pbx.example", 401, []string{"To: <sip:alice@pbx.example>"}, ""},
		{"REGISTER sip:pbx.example", 400, []string{"Authorization: Digest username="}, ""},
		{"INVITE sip:nobody@pbx.example", 404, nil, ""},
		{"INVITE sip:9003@pbx.example", 486, nil, ""},
		{"INVITE tel:+1-1002", 404, nil, ""},
		{"INVITE tel:10-02", 480, nil, ""},
		{"INVITE sip:9001@pbx.example", 415, []string{"Content-Type: text/plain"}, "Accept: application/sdp,multipart/mixed"},
	} {
		t.Run(c.start+fmt.Sprint(" ", c.status), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, func(cfg *siptest.Config) { cfg.Auth.OpenCalls = true })
				r := l.raw()
				if c.status != 401 && !strings.HasPrefix(c.start, "REGISTER") {
					r.register("alice")
				}
				body := ""
				if c.status == 415 {
					body = "hello"
				}
				r.request(c.start, body, c.headers...)
				res := r.response(c.status)
				if text := string(sipwire.Append(nil, res)); !strings.Contains(text, c.has) {
					t.Errorf("the answer lacks %q:\n%s", c.has, text)
				}
			})
		})
	}
	t.Run("REGISTER", func(t *testing.T) {
		for _, c := range []struct {
			status  int
			headers []string
		}{
			{200, nil},
			{200, []string{"Contact: *", "Expires: 0"}},
			{400, []string{"Contact: *"}},
			{400, []string{"Contact: <sip:a@10.0.1.1>, *", "Expires: 0"}},
			{400, []string{many}},
			{200, []string{"Contact: <sip:a@10.0.1.1>;expires=0"}},
			{200, []string{"Path: <sip:p1.example;lr>", "Supported: path"}},
		} {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				res := l.raw().register("carol", c.headers...)
				if res.StatusCode != c.status {
					t.Errorf("%q: %d, want %d", c.headers, res.StatusCode, c.status)
				}
				want := 0
				if c.status == 200 && (len(c.headers) == 0 || strings.HasPrefix(c.headers[0], "Path")) {
					want = 1
				}
				if n := len(l.Devices("carol")); n != want {
					t.Errorf("%q: %d devices, want %d", c.headers, n, want)
				}
				if len(c.headers) > 0 && strings.HasPrefix(c.headers[0], "Path") && sipwire.Header(res, "Path") != "<sip:p1.example;lr>" {
					t.Errorf("Path %q", sipwire.Header(res, "Path"))
				}
			})
		}
	})
}

// Parameters of the Contact that the lab does not know come back in
// Request-URI and To, and its Path as Route.
func TestContactParameters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice, r := l.phone("alice"), l.raw()
		r.register("bob", "Contact: <sip:5403362012@"+r.addr+";transport=UDP;rinstance=c71a>", "Path: <sip:edge.example;lr>", "Supported: path")
		a := alice.call("bob")
		req := r.expect("INVITE")
		if got := sipwire.FormatURI(&req.Recipient); got != "sip:5403362012@"+r.addr+";transport=UDP;rinstance=c71a" {
			t.Errorf("Request-URI %s", got)
		}
		if got := sipwire.Header(req, "To"); got != `"Bob" <sip:5403362012@pbx.example;rinstance=c71a>` {
			t.Errorf("To %s", got)
		}
		if got := sipwire.Header(req, "Route"); got != "<sip:edge.example;lr>" {
			t.Errorf("Route %s", got)
		}
		r.reply(req, 480, "", "Retry-After: 7", "Reason: Q.850;cause=19")
		end := ended(t, a, sip.Remote)
		if end.Status != 480 || len(end.Reasons) != 1 || end.Reasons[0].Cause != 19 {
			t.Errorf("end %+v", end)
		}
		if m := l.messages("alice", "SIP/2.0 480", true)[0]; !strings.Contains(m, "\r\nRetry-After:7\r\n") {
			t.Errorf("the 480:\n%s", m)
		}
		l.idle()
	})
}

// RFC 4028: the caller refreshes, or the lab ends the call before the time;
// the lab refreshes where it is asked to.
func TestSessionTimer(t *testing.T) {
	setUp := func(t *testing.T, headers ...string) (*lab, *raw, *sipgo.Response) {
		l := start(t, func(c *siptest.Config) { c.Auth.OpenCalls = true })
		r := l.raw()
		r.register("alice")
		r.request("INVITE sip:9001@pbx.example", offerText, headers...)
		res := r.response(200)
		ack(r, res)
		return l, r, res
	}
	t.Run("not refreshed", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l, r, res := setUp(t, "Supported: timer", "Session-Expires: 90")
			if got := sipwire.Header(res, "Session-Expires"); got != "90;refresher=uac" || !sipwire.HasToken(res, "Require", "timer") {
				t.Errorf("Session-Expires %q", got)
			}
			began := time.Now()
			bye := r.expect("BYE")
			if took := time.Since(began); took != 60*time.Second {
				t.Errorf("BYE after %v, want a minute", took)
			}
			r.reply(bye, 200, "")
			l.idle()
		})
	})
	t.Run("refreshed", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l, r, res := setUp(t, "Supported: timer", "Session-Expires: 90;refresher=uac")
			for range 5 {
				wait(t, 45*time.Second)
				r.request("UPDATE sip:10.0.0.1", "", "To: "+sipwire.Header(res, "To"), "Supported: timer", "Session-Expires: 90;refresher=uac")
				if got := sipwire.Header(r.response(200), "Session-Expires"); got != "90;refresher=uac" {
					t.Errorf("Session-Expires %q", got)
				}
			}
			r.request("BYE sip:10.0.0.1", "", "To: "+sipwire.Header(res, "To"))
			r.response(200)
			l.idle()
		})
	})
	t.Run("by the lab", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l, r, res := setUp(t, "Supported: timer", "Session-Expires: 200;refresher=uas")
			if got := sipwire.Header(res, "Session-Expires"); got != "200;refresher=uas" {
				t.Errorf("Session-Expires %q", got)
			}
			began := time.Now()
			req := r.expect("INVITE")
			if took := time.Since(began); took != 100*time.Second {
				t.Errorf("refreshed after %v, want 100 s", took)
			}
			if got := sipwire.Header(req, "Session-Expires"); got != "200;refresher=uac" {
				t.Errorf("Session-Expires %q", got)
			}
			r.reply(req, 200, offerText)
			r.expect("ACK")
			r.request("BYE sip:10.0.0.1", "", "To: "+sipwire.Header(res, "To"))
			r.response(200)
			l.idle()
		})
	})
	t.Run("between users, by the lab", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			l := start(t, func(c *siptest.Config) { c.Calls.SessionExpires = 1800 * time.Second })
			alice, bob := l.phone("alice"), l.phone("bob")
			a, b := talk(t, alice, bob, "bob")
			l.ClearTranscript()
			wait(t, 2800*time.Second) // not until the registrations are refreshed
			ms := l.messages("bob", "UPDATE", true)
			if len(ms) != 3 {
				t.Fatalf("%d refreshes in 2800 s, want three", len(ms))
			}
			if !strings.Contains(ms[0], "\r\nSession-Expires:1800;refresher=uac\r\n") || strings.Contains(ms[0], "m=audio") {
				t.Errorf("the refresh:\n%s", ms[0])
			}
			if n := len(l.messages("alice", "UPDATE", true)); n != 0 {
				t.Errorf("%d refreshes reached the other side", n)
			}
			a.Hangup(t.Context())
			ended(t, b, sip.Remote)
			l.idle()
		})
	})
}

func ack(r *raw, res *sipgo.Response) {
	r.t.Helper()
	r.request("ACK sip:10.0.0.1", "", "To: "+sipwire.Header(res, "To"), fmt.Sprintf("CSeq: %d ACK", res.CSeq().SeqNo))
}

// A request that arrives over two paths is served once (RFC 3261 §8.2.2.2).
func TestMergedInvite(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) { c.Auth.OpenCalls = true })
		r := l.raw()
		r.register("alice")
		r.request("INVITE sip:9004@pbx.example", offerText)
		r.response(180)
		r.request("INVITE sip:9004@pbx.example", offerText, fmt.Sprintf("CSeq: %d INVITE", r.cseq))
		r.response(482)
	})
}

// parse reads a message on the tape.
func parse(t *testing.T, text string) sipgo.Message {
	t.Helper()
	m, err := sipwire.Parse([]byte(text), false)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
