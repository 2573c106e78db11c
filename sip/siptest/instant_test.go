package siptest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// message waits for an instant message.
func (p *phone) message() *sip.Message {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	for m := range p.Messages(ctx) {
		return m
	}
	p.t.Fatalf("%s: no message", p.AOR())
	return nil
}

// wordless checks that nothing has come.
func (p *phone) wordless() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Second)
	defer cancel()
	for m := range p.Messages(ctx) {
		p.t.Errorf("%s: a message came unasked: %s", p.AOR(), m.Body)
	}
}

// onBoth runs a test with phones on UDP and on TLS.
func onBoth(t *testing.T, test func(t *testing.T, l *lab, by func(*sip.Config))) {
	t.Helper()
	for _, on := range []sip.Transport{sip.UDP, sip.TLS} {
		t.Run(string(on), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				test(t, l, over(l, on))
				l.idle()
			})
		})
	}
}

// A message reaches all of bob's devices, and carol's not; large ones too.
func TestMessageRelay(t *testing.T) {
	onBoth(t, func(t *testing.T, l *lab, by func(*sip.Config)) {
		alice, carol := l.phone("alice", by), l.phone("carol", by)
		bobs := []*phone{l.phone("bob", by), l.phone("bob", by)}
		for _, body := range [][]byte{[]byte("Watson, come here."), bytes.Repeat([]byte("x"), 30<<10), nil} {
			r, err := alice.SendMessage(t.Context(), "1002", "text/plain;charset=utf-8", body)
			if err != nil || r.Status != 200 || r.Deferred {
				t.Fatalf("%d bytes: %+v, %v", len(body), r, err)
			}
			for _, bob := range bobs {
				m := bob.message()
				if !bytes.Equal(m.Body, body) || m.ContentType != "text/plain;charset=utf-8" || m.Call != nil {
					t.Errorf("%d bytes of %s came, want %d", len(m.Body), m.ContentType, len(body))
				}
				if m.Remote.Name != "Alice" || len(m.Identity.Asserted) != 1 || !strings.HasPrefix(m.Remote.URI, "sip:1001@pbx.example") {
					t.Errorf("from %+v", m.Identity)
				}
			}
		}
		carol.wordless()
		// RFC 3428 §4: "User agents MUST NOT insert Contact header fields into MESSAGE requests."
		for _, text := range l.messages("bob", "MESSAGE ", true) {
			if strings.Contains(text, "\r\nContact:") {
				t.Errorf("with a Contact:\n%s", text)
			}
		}
	})
}

// GRUUs name one device (RFC 5627 §1).
func TestMessageToDevice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) { c.Registrar.GRUU = true })
		alice, one, other := l.phone("alice"), l.phone("bob"), l.phone("bob")
		if _, err := alice.SendMessage(t.Context(), one.reg.Info().PublicGRUU, "text/plain", []byte("you")); err != nil {
			t.Fatal(err)
		}
		if m := one.message(); string(m.Body) != "you" {
			t.Errorf("%q", m.Body)
		}
		other.wordless()
		l.idle()
	})
}

func TestMessageRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, l *lab, by func(*sip.Config)) {
		alice := l.phone("alice", by)
		bob := l.phone("bob", by, func(c *sip.Config) { c.MessageTypes, c.MessageQueue = []string{"text/plain"}, 1 })
		refused := func(to, contentType string, status int) {
			t.Helper()
			var se *sip.StatusError
			_, err := alice.SendMessage(t.Context(), to, contentType, []byte("hello"))
			if !errors.As(err, &se) || se.Code != status {
				t.Errorf("%s: %v, want %d", to, err, status)
			}
		}
		refused("nobody", "text/plain", 404)
		refused("sip:bob@elsewhere.example", "text/plain", 404)
		refused("9001", "text/plain", 404) // a service number
		refused("carol", "text/plain", 480)
		refused("bob", "text/html", 415)
		var accept []string
		for _, text := range l.messages("alice", "SIP/2.0 415", true) {
			m, err := sipwire.Parse([]byte(text), true)
			if err != nil {
				t.Fatal(err)
			}
			accept = append(accept, sipwire.Header(m, "Accept"))
		}
		if len(accept) != 1 || accept[0] != "text/plain" { // of the device, not of the lab
			t.Errorf("Accept %q", accept)
		}
		if _, err := alice.SendMessage(t.Context(), "bob", "text/plain", []byte("first")); err != nil {
			t.Fatal(err)
		}
		refused("bob", "text/plain", 480) // his queue is full
		if m := bob.message(); string(m.Body) != "first" {
			t.Errorf("%q", m.Body)
		}
	})
}

// One of bob's devices takes nothing, the other one does: alice hears of that
// one. Where none answers she gets 480 after 20 s, before her transaction
// gives up.
func TestMessageSilence(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, one, other := l.device("alice", on), l.device("bob", on), l.device("bob", on)
		send := func() *dialog {
			g := alice.dialog("bob")
			g.request("MESSAGE", "hello", "Content-Type: text/plain", "Subject: greetings")
			return g
		}
		g := send()
		a, b := one.incoming("MESSAGE"), other.incoming("MESSAGE")
		if got := sipwire.Header(a.invite, "Subject"); got != "greetings" {
			t.Errorf("Subject %q", got)
		}
		a.reply(a.invite, 405, "", "Allow: INVITE")
		b.reply(b.invite, 202, "")
		g.response("MESSAGE", 202)

		g = send()
		a, b = one.incoming("MESSAGE"), other.incoming("MESSAGE")
		a.reply(a.invite, 503, "")
		b.reply(b.invite, 405, "", "Allow: INVITE")
		if res := g.response("MESSAGE", 405); sipwire.Header(res, "Allow") != "INVITE" {
			t.Errorf("Allow %q", sipwire.Header(res, "Allow"))
		}

		began := time.Now()
		g = send()
		a, b = one.incoming("MESSAGE"), other.incoming("MESSAGE")
		g.response("MESSAGE", 480)
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("refused after %v, want 20 s", d)
		}
		a.reply(a.invite, 200, "") // too late
		b.reply(b.invite, 200, "")
		l.nothingLeft(alice, one, other)
	})
}

// The messages under way are bounded.
func TestMessagesBounded(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		var gs, bobs []*dialog
		for range 1000 {
			g := alice.dialog("bob")
			g.request("MESSAGE", "hello", "Content-Type: text/plain")
			synctest.Wait()
			gs = append(gs, g)
			bobs = append(bobs, bob.incoming("MESSAGE"))
		}
		g := alice.dialog("bob")
		g.request("MESSAGE", "one too many", "Content-Type: text/plain")
		g.response("MESSAGE", 503)
		for i, b := range bobs {
			b.reply(b.invite, 200, "")
			gs[i].response("MESSAGE", 200)
		}
		if on == sip.TLS { // no datagram is that large
			g = alice.dialog("bob")
			g.request("MESSAGE", strings.Repeat("x", 64<<10+1), "Content-Type: text/plain")
			g.response("MESSAGE", 413)
		}
		l.nothingLeft(alice, bob)
	})
}

// Within a call a message goes to the other end, and its answer comes back.
func TestMessageInCall(t *testing.T) {
	onBoth(t, func(t *testing.T, l *lab, by func(*sip.Config)) {
		alice, bob := l.phone("alice", by), l.phone("bob", by, func(c *sip.Config) { c.MessageTypes = []string{"text/plain"} })
		a, b := talk(t, alice, bob, "bob")
		for i, c := range []*sip.Call{a, b} {
			text := fmt.Sprint("message ", i)
			if r, err := c.SendMessage(t.Context(), "text/plain", []byte(text)); err != nil || r.Status != 200 {
				t.Fatalf("%+v, %v", r, err)
			}
			to, in := bob, b
			if c == b {
				to, in = alice, a
			}
			if m := to.message(); string(m.Body) != text || m.Call != in {
				t.Errorf("%q came, in %v", m.Body, m.Call)
			}
		}
		var se *sip.StatusError
		if _, err := a.SendMessage(t.Context(), "text/html", []byte("hello")); !errors.As(err, &se) || se.Code != 415 {
			t.Errorf("%v, want 415", err)
		}
		a.Hangup(t.Context())
		ended(t, b, sip.Remote)
	})
}
