package siptest_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// device is a scripted telephone with several dialogs: what comes for a
// dialog waits until the script asks for it. It is registered, and the lab
// takes its calls for that (Auth.OpenCalls).
type device struct {
	l    *lab
	t    *testing.T
	user string
	name string // of its descriptions: "alice", "alice#2"
	addr string
	via  string // "UDP" or "TLS"
	send func(text string)
	in   chan sipgo.Message
	kept []sipgo.Message
	n    int // dialogs so far
	sdps int
}

// device registers a scripted device of a user's.
func (l *lab) device(user string, over sip.Transport) *device {
	l.t.Helper()
	l.hosts++
	ip := fmt.Sprintf("10.0.1.%d", l.hosts)
	d := &device{l: l, t: l.t, user: user, name: user, addr: ip + ":5060", via: strings.ToUpper(string(over)), in: make(chan sipgo.Message, 64)}
	if n := len(l.Devices(user)); n > 0 {
		d.name = fmt.Sprintf("%s#%d", user, n+1)
	}
	host := l.net.Host(ip)
	seen := make(map[string]bool)
	read := func(f *sipwire.Framer, p []byte) {
		f.Write(p)
		for {
			frame, err := f.Next()
			if err != nil || frame.Kind == sipwire.NoFrame {
				return
			}
			if frame.Kind != sipwire.Message {
				continue
			}
			// What comes again was heard the first time.
			if m, err := sipwire.Parse(bytes.Clone(frame.Data), true); err == nil && !seen[string(frame.Data)] {
				seen[string(frame.Data)] = true
				d.in <- m
			}
		}
	}
	if over == sip.UDP {
		conn, err := host.ListenPacket(l.t.Context(), "udp", ":5060")
		if err != nil {
			l.t.Fatal(err)
		}
		l.t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				read(new(sipwire.Framer), buf[:n])
			}
		}()
		d.send = func(text string) { conn.WriteTo([]byte(text), net.UDPAddrFromAddrPort(l.Addr(sip.UDP))) }
	} else {
		raw, err := host.Dial(l.t.Context(), "tcp", l.Addr(sip.TLS).String())
		if err != nil {
			l.t.Fatal(err)
		}
		conn := tls.Client(raw, &tls.Config{RootCAs: l.CA(), ServerName: l.Domain()})
		l.t.Cleanup(func() { conn.Close() })
		go func() {
			f := new(sipwire.Framer)
			buf := make([]byte, 64<<10)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				read(f, buf[:n])
			}
		}()
		d.send = func(text string) { conn.Write([]byte(text)) }
	}
	d.register()
	return d
}

func (d *device) register() {
	d.t.Helper()
	acct := d.l.Config(d.user).Account
	client := digest.NewClient(digest.ClientConfig{Rand: rand.Reader, Credentials: func(string, digest.Algorithm) (digest.Credential, error) {
		return digest.Credential{Username: acct.Username, Password: acct.Password}, nil
	}})
	var attempt digest.Attempt
	aor := "sip:" + d.user + "@pbx.example"
	g := &dialog{d: d, t: d.t, id: "reg" + d.addr, target: "sip:pbx.example", local: "<" + aor + ">;tag=r", remote: "<" + aor + ">"}
	g.request("REGISTER", "")
	res := g.response("REGISTER", 401)
	if err := client.Challenge(&attempt, []string{sipwire.Header(res, "WWW-Authenticate")}, nil); err != nil {
		d.t.Fatal(err)
	}
	auth := client.Authorize(&attempt, "REGISTER", "sip:pbx.example", nil)
	g.request("REGISTER", "", auth[0].Name+": "+auth[0].Value, "Supported: gruu, outbound, path")
	g.response("REGISTER", 200)
}

// contact is where the device is reached; +sip.instance counts in REGISTER alone.
func (d *device) contact() string {
	return fmt.Sprintf("<sip:%s@%s;transport=%s>;+sip.instance=%q", d.user, d.addr, strings.ToLower(d.via), "<"+d.instance()+">")
}

func (d *device) instance() string { return "urn:uuid:" + d.addr }

// describe is the next session description of the device.
func (d *device) describe() string {
	d.sdps++
	host, _, _ := net.SplitHostPort(d.addr)
	return fmt.Sprintf("v=0\r\no=%s 1 %d IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n", d.name, d.sdps, host, host)
}

// whose tells from whom a description is: "bob 2" is the second of bob's;
// "lab" is the lab itself.
func whose(m sipgo.Message) string {
	for line := range strings.Lines(string(m.Body())) {
		if o, ok := strings.CutPrefix(line, "o="); ok {
			f := strings.Fields(o)
			if f[1] != "1" {
				return "lab"
			}
			return f[0] + " " + f[2]
		}
	}
	return ""
}

// dialog is one dialog of a device's.
type dialog struct {
	d      *device
	t      *testing.T
	id     string
	local  string // From of its requests, with the tag
	remote string // To of them; the lab's tag once it is known
	target string
	cseq   int
	invite *sipgo.Request // of the lab; nil: ours
}

func (g *dialog) tags() (local, remote string) {
	_, local, _ = strings.Cut(g.local, ";tag=")
	_, remote, _ = strings.Cut(g.remote, ";tag=")
	return local, remote
}

// replaces names the dialog to the lab; early adds early-only.
func (g *dialog) replaces() string {
	local, remote := g.tags()
	return g.id + ";to-tag=" + remote + ";from-tag=" + local
}

// dial sends an INVITE.
func (d *device) dial(to, sdp string, headers ...string) *dialog {
	d.t.Helper()
	g := d.dialog(to)
	g.request("INVITE", sdp, headers...)
	return g
}

// dialog is one that the next request to somebody may begin.
func (d *device) dialog(to string) *dialog {
	d.n++
	if !strings.Contains(to, ":") {
		to = "sip:" + to + "@pbx.example"
	}
	return &dialog{
		d: d, t: d.t, id: fmt.Sprintf("%s-%d@%s", d.name, d.n, d.addr), target: to,
		local: fmt.Sprintf("<sip:%s@pbx.example>;tag=t%d", d.user, d.n), remote: "<" + to + ">",
	}
}

// request sends a request within the dialog.
func (g *dialog) request(method, body string, headers ...string) {
	g.t.Helper()
	if method != "ACK" && method != "CANCEL" {
		g.cseq++
	}
	branch := fmt.Sprintf("z9hG4bK%s-%d", g.id, g.cseq)
	switch {
	case len(headers) == 1 && headers[0] == "refused":
		headers = nil // its ACK belongs to the transaction (RFC 3261 §17.1.1.3)
	case method == "ACK":
		branch += "a"
	}
	fields := []string{
		fmt.Sprintf("Via: SIP/2.0/%s %s;branch=%s;rport", g.d.via, g.d.addr, branch),
		"From: " + g.local, "To: " + g.remote, "Call-ID: " + g.id,
		fmt.Sprintf("CSeq: %d %s", g.cseq, method), "Max-Forwards: 70",
		"Contact: " + g.d.contact(),
	}
	if body != "" && !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(h, "Content-Type:") }) {
		fields = append(fields, "Content-Type: application/sdp")
	}
	fields = append(fields, headers...)
	g.d.send(fmt.Sprintf("%s %s SIP/2.0\r\n%s\r\nContent-Length: %d\r\n\r\n%s", method, g.target, strings.Join(fields, "\r\n"), len(body), body))
}

// next waits for what comes in a dialog, "" being any new one.
func (d *device) next(what string, match func(m sipgo.Message) bool) sipgo.Message {
	d.t.Helper()
	for i, m := range d.kept {
		if match(m) {
			d.kept = append(d.kept[:i:i], d.kept[i+1:]...)
			return m
		}
	}
	for {
		select {
		case m := <-d.in:
			if match(m) {
				return m
			}
			d.kept = append(d.kept, m)
		case <-time.After(5 * time.Minute):
			var got []string
			for _, m := range d.kept {
				got = append(got, strings.SplitN(string(sipwire.Append(nil, m)), "\r\n", 2)[0])
			}
			d.t.Fatalf("%s: no %s; what came instead: %q\n%s", d.name, what, got, d.l.ladder())
		}
	}
}

func (g *dialog) mine(m sipgo.Message) bool { return string(*m.CallID()) == g.id }

// expect waits for a request within the dialog. An ACK is passed over unless it
// is wanted.
func (g *dialog) expect(method string) *sipgo.Request {
	g.t.Helper()
	m := g.d.next(method+" in "+g.id, func(m sipgo.Message) bool {
		req, ok := m.(*sipgo.Request)
		return ok && g.mine(m) && string(req.Method) == method
	})
	return m.(*sipgo.Request)
}

// reply answers a request of the lab's.
func (g *dialog) reply(req *sipgo.Request, status int, body string, headers ...string) {
	g.t.Helper()
	tag, _ := g.tags()
	res := sipwire.ResponseTo(req, status, "", tag)
	res.AppendHeader(sipgo.NewHeader("Contact", g.d.contact()))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		res.AppendHeader(sipgo.NewHeader(name, value))
	}
	if body != "" {
		res.AppendHeader(sipgo.NewHeader("Content-Type", "application/sdp"))
		res.SetBody([]byte(body))
	}
	g.d.send(string(sipwire.Append(nil, res)))
}

// ring waits for an INVITE that begins a dialog, and answers 180.
func (d *device) ring() *dialog {
	d.t.Helper()
	g := d.incoming("INVITE")
	g.reply(g.invite, 180, "")
	synctest.Wait()
	return g
}

// incoming waits for a request that begins a dialog.
func (d *device) incoming(method string) *dialog {
	d.t.Helper()
	req := d.next(method, func(m sipgo.Message) bool {
		req, ok := m.(*sipgo.Request)
		return ok && string(req.Method) == method && sipwire.ToTag(m) == ""
	}).(*sipgo.Request)
	d.n++
	g := &dialog{
		d: d, t: d.t, id: string(*req.CallID()), invite: req, cseq: 100,
		local: sipwire.Header(req, "To") + fmt.Sprintf(";tag=t%d", d.n), remote: sipwire.Header(req, "From"),
	}
	if c := req.Contact(); c != nil { // MESSAGE has none
		g.target = sipwire.FormatURI(&c.Address)
	}
	return g
}

// answer accepts the INVITE that ring took, and waits for the ACK. An INVITE
// without an offer gets one; then the ACK has the answer.
func (g *dialog) answer() *sipgo.Request {
	g.t.Helper()
	g.reply(g.invite, 200, g.d.describe())
	return g.expect("ACK")
}

// response waits for a final response to the last request of that method, and
// acknowledges a 2xx to INVITE with the body.
func (g *dialog) response(method string, status int, ack ...string) *sipgo.Response {
	g.t.Helper()
	res := g.d.next(fmt.Sprintf("final response to %s in %s", method, g.id), func(m sipgo.Message) bool {
		res, ok := m.(*sipgo.Response)
		return ok && g.mine(m) && res.StatusCode >= 200 && string(res.CSeq().MethodName) == method && int(res.CSeq().SeqNo) == g.cseq
	}).(*sipgo.Response)
	if res.StatusCode != status {
		g.t.Fatalf("%s: %s was answered with %d %s, want %d\n%s", g.id, method, res.StatusCode, res.Reason, status, g.d.l.ladder())
	}
	if method == "INVITE" {
		if status < 300 {
			g.remote = sipwire.Header(res, "To")
			g.target = sipwire.FormatURI(&res.Contact().Address)
			body := ""
			if len(ack) > 0 {
				body = ack[0]
			}
			g.request("ACK", body)
			synctest.Wait()
			return res
		}
		to := g.remote
		g.remote = sipwire.Header(res, "To")
		g.request("ACK", "", "refused")
		g.remote = to
	}
	return res
}

// learn waits for a provisional response, and knows the lab's tag from it.
func (g *dialog) learn(status int) {
	g.t.Helper()
	res := g.d.next(fmt.Sprint(status), func(m sipgo.Message) bool {
		res, ok := m.(*sipgo.Response)
		return ok && g.mine(m) && res.StatusCode == status
	})
	g.remote = sipwire.Header(res, "To")
}

// reinvited takes a re-INVITE of the lab's: it checks whose offer it carries,
// "" being none, answers it, and returns the ACK.
func (g *dialog) reinvited(offer string) *sipgo.Request {
	g.t.Helper()
	req := g.expect("INVITE")
	if got := whose(req); got != offer {
		g.t.Errorf("%s: the re-INVITE has the description of %q, want %q", g.id, got, offer)
	}
	g.reply(req, 200, g.d.describe())
	return g.expect("ACK")
}

// bye takes the lab's BYE.
func (g *dialog) bye() *sipgo.Request {
	g.t.Helper()
	req := g.expect("BYE")
	g.reply(req, 200, "")
	return req
}

// hangup says BYE.
func (g *dialog) hangup() {
	g.t.Helper()
	g.request("BYE", "")
	g.response("BYE", 200)
}

// quiet fails the test if something has come that nobody asked for, but for
// ACKs and provisional responses.
func (d *device) quiet() {
	d.t.Helper()
	synctest.Wait()
	for len(d.in) > 0 {
		d.kept = append(d.kept, <-d.in)
	}
	for _, m := range d.kept {
		switch m := m.(type) {
		case *sipgo.Request:
			if m.Method != sipgo.ACK {
				d.t.Errorf("%s: %s came unasked", d.name, m.Method)
			}
		case *sipgo.Response:
			if m.StatusCode >= 200 {
				d.t.Errorf("%s: a %d came unasked", d.name, m.StatusCode)
			}
		}
	}
}

// ladder is what happened so far, for when a script goes wrong.
func (l *lab) ladder() string {
	var b strings.Builder
	l.Transcript().WriteText(&b, nil)
	return b.String()
}

// both runs a script with devices on UDP and on TLS.
func both(t *testing.T, mod func(*siptest.Config), script func(t *testing.T, l *lab, on sip.Transport)) {
	t.Helper()
	for _, on := range []sip.Transport{sip.UDP, sip.TLS} {
		t.Run(string(on), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, func(c *siptest.Config) {
					c.Auth.OpenCalls = true
					if mod != nil {
						mod(c)
					}
				})
				script(t, l, on)
			})
		})
	}
}

// three is both with a device of three users each, of whose calls nothing is left
// in the end.
func three(t *testing.T, mod func(*siptest.Config), script func(t *testing.T, l *lab, alice, bob, carol *device)) {
	t.Helper()
	both(t, mod, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob, carol := l.device("alice", on), l.device("bob", on), l.device("carol", on)
		script(t, l, alice, bob, carol)
		l.nothingLeft(alice, bob, carol)
	})
}

// connect brings up a call between two devices; the callee's user has no other.
func connect(from, to *device) (a, b *dialog) {
	from.t.Helper()
	a = from.dial(to.user, from.describe())
	b = to.ring()
	b.answer()
	a.response("INVITE", 200)
	synctest.Wait()
	return a, b
}

// check compares what a message describes.
func check(t *testing.T, m sipgo.Message, want string) {
	t.Helper()
	if got := whose(m); got != want {
		t.Errorf("the description is of %q, want %q", got, want)
	}
}

// nothingLeft waits until every call is over, and checks that the lab has
// kept nothing of them.
func (l *lab) nothingLeft(ds ...*device) {
	l.t.Helper()
	for _, d := range ds {
		d.quiet()
	}
	l.idle()
	for _, d := range ds {
		d.quiet()
	}
	if legs, transactions, timers := l.Left(); legs != 0 || transactions != 0 || timers != 0 {
		l.t.Errorf("left in the lab: %d dialogs, %d transactions, %d timers\n%s", legs, transactions, timers, l.ladder())
	}
}
