package siptest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// refer sends a REFER within the dialog and checks how it is answered.
func (g *dialog) refer(to string, status int, headers ...string) {
	g.t.Helper()
	g.request("REFER", "", append([]string{"Refer-To: " + to}, headers...)...)
	g.response("REFER", status)
}

// told takes a NOTIFY about a transfer: the status, and "active" or
// "terminated".
func (g *dialog) told(status int, state string) {
	g.t.Helper()
	req := g.expect("NOTIFY")
	got, _, _ := sipwire.ParseStatus(req.Body())
	sub, _, _ := strings.Cut(sipwire.Header(req, "Subscription-State"), ";")
	if got != status || sub != state || !strings.HasPrefix(sipwire.Header(req, "Event"), "refer") ||
		sipwire.Header(req, "Content-Type") != "message/sipfrag;version=2.0" {
		g.t.Errorf("NOTIFY of %d, %s, want %d, %s:\n%s", got, sub, status, state, sipwire.Append(nil, req))
	}
	g.reply(req, 200, "")
}

// attended is a Refer-To that names another dialog (RFC 5589 §7).
func attended(user string, other *dialog) string {
	return fmt.Sprintf("<sip:%s@pbx.example?Replaces=%s>", user, sipwire.EscapeHeader(other.replaces()))
}

// bob transfers alice to carol (RFC 5589 §6.1): the lab rings carol for her,
// without an offer; what carol offers alice answers, and bob gets BYE.
func TestBlindTransfer(t *testing.T) {
	for _, caller := range []bool{true, false} { // alice
		three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
			var a, b *dialog
			if caller {
				a, b = connect(alice, bob)
			} else {
				b, a = connect(bob, alice)
			}
			b.refer("<sip:carol@pbx.example>", 202)
			b.told(100, "active")
			c := carol.ring()
			if got := sipwire.Header(c.invite, "Referred-By"); got != "<sip:1002@pbx.example;user=phone>" {
				t.Errorf("Referred-By %q", got)
			}
			if got := sipwire.Header(c.invite, "P-Asserted-Identity"); got != `"Alice" <sip:1001@pbx.example;user=phone>` {
				t.Errorf("P-Asserted-Identity %q", got)
			}
			check(t, c.invite, "")
			b.told(180, "active")
			c.reply(c.invite, 200, carol.describe())
			req := a.expect("INVITE")
			check(t, req, "carol 1")
			if got := sipwire.Header(req, "P-Asserted-Identity"); got != "<sip:carol@pbx.example>" {
				t.Errorf("alice is told that she talks to %q", got)
			}
			a.reply(req, 200, alice.describe())
			a.expect("ACK")
			check(t, c.expect("ACK"), "alice 2")
			b.told(200, "terminated")
			b.bye()
			// The two talk.
			c.request("INVITE", carol.describe())
			a.reinvited("carol 2")
			check(t, c.response("INVITE", 200), "alice 3")
			a.hangup()
			c.bye()
		})
	}
}

// The old call stays where the transfer comes to nothing (RFC 5589 §6.2).
func TestTransferFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		mod    func(*siptest.Config)
		to     string
		refer  int
		notify int
		answer int // of carol
	}{
		{"busy", nil, "sip:carol@pbx.example", 202, 486, 486},
		{"declined", nil, "<sip:carol@pbx.example>", 202, 603, 603},
		{"unknown", nil, "<sip:nobody@pbx.example>", 202, 404, 0},
		{"elsewhere", nil, "<sip:carol@elsewhere.example>", 202, 404, 0},
		{"a number", nil, "<tel:+1-555>", 202, 404, 0},
		{"a dialog that is none", nil, "<sip:carol@pbx.example?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2>", 202, 481, 0},
		{"not allowed", func(c *siptest.Config) { c.Calls.NoTransfer = true }, "<sip:carol@pbx.example>", 403, 0, 0},
		{"no URI", nil, "<>", 400, 0, 0},
		{"two", nil, "<sip:carol@pbx.example>\r\nRefer-To: <sip:bob@pbx.example>", 400, 0, 0},
		{"malformed Replaces", nil, "<sip:carol@pbx.example?Replaces=x>", 400, 0, 0},
		{"not for calls", nil, "<sip:carol@pbx.example;method=BYE>", 403, 0, 0},
		{"mail", nil, "<mailto:carol@pbx.example>", 416, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			three(t, c.mod, func(t *testing.T, l *lab, alice, bob, carol *device) {
				a, b := connect(alice, bob)
				b.refer(c.to, c.refer)
				if c.refer == 202 {
					b.told(100, "active")
					if c.answer != 0 {
						g := carol.ring()
						b.told(180, "active")
						g.reply(g.invite, c.answer, "")
						g.expect("ACK")
					}
					b.told(c.notify, "terminated")
				}
				b.request("INVITE", bob.describe())
				a.reinvited("bob 2")
				check(t, b.response("INVITE", 200), "alice 2")
				a.hangup()
				b.bye()
			})
		})
	}
}

// The transferee does not want what the target offers.
func TestTransfereeRefuses(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b := connect(alice, bob)
		b.refer("<sip:carol@pbx.example>", 202)
		b.told(100, "active")
		c := carol.ring()
		b.told(180, "active")
		c.reply(c.invite, 200, carol.describe())
		a.reply(a.expect("INVITE"), 488, "")
		c.expect("ACK")
		c.bye()
		b.told(488, "terminated")
		a.request("INVITE", alice.describe())
		b.reinvited("alice 2")
		check(t, a.response("INVITE", 200), "bob 2")
		a.hangup()
		b.bye()
	})
}

// Hang-ups in the middle of a blind transfer.
func TestTransferHangup(t *testing.T) {
	t.Run("transferor", func(t *testing.T) {
		// He need not wait (RFC 5589 §6.1).
		three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
			a, b := connect(alice, bob)
			b.refer("<sip:carol@pbx.example>", 202, "Refer-Sub: false")
			b.hangup()
			c := carol.ring()
			c.reply(c.invite, 200, carol.describe())
			a.reinvited("carol 1")
			check(t, c.expect("ACK"), "alice 2")
			c.hangup()
			a.bye()
		})
	})
	t.Run("transferor, and the target is busy", func(t *testing.T) {
		three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
			a, b := connect(alice, bob)
			b.refer("<sip:carol@pbx.example>", 202, "Refer-Sub: false")
			b.hangup()
			c := carol.ring()
			c.reply(c.invite, 486, "")
			c.expect("ACK")
			if got := sipwire.Header(a.bye(), "Reason"); got != "SIP;cause=486" {
				t.Errorf("Reason %q", got)
			}
		})
	})
	t.Run("transferee", func(t *testing.T) {
		three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
			a, b := connect(alice, bob)
			b.refer("<sip:carol@pbx.example>", 202)
			b.told(100, "active")
			c := carol.ring()
			b.told(180, "active")
			a.hangup()
			c.reply(c.expect("CANCEL"), 200, "")
			c.reply(c.invite, 487, "")
			c.expect("ACK")
			b.told(487, "terminated")
			b.bye()
		})
	})
	t.Run("transferee, as the target answers", func(t *testing.T) {
		three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
			a, b := connect(alice, bob)
			b.refer("<sip:carol@pbx.example>", 202)
			b.told(100, "active")
			c := carol.ring()
			b.told(180, "active")
			c.reply(c.invite, 200, carol.describe())
			req := a.expect("INVITE")
			a.hangup()
			a.reply(req, 487, "")
			b.told(487, "terminated")
			b.bye()
			c.expect("ACK")
			c.bye()
		})
	})
}

// Nobody answers: the target stops ringing after Calls.RingTime.
func TestTransferRingTime(t *testing.T) {
	three(t, func(c *siptest.Config) { c.Calls.RingTime = 20 * time.Second }, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b := connect(alice, bob)
		b.refer("<sip:carol@pbx.example>", 202)
		began := time.Now()
		b.told(100, "active")
		c := carol.ring()
		b.told(180, "active")
		b.told(480, "terminated")
		if d := time.Since(began); d != 20*time.Second {
			t.Errorf("after %v, want 20 s", d)
		}
		c.reply(c.expect("CANCEL"), 200, "")
		c.reply(c.invite, 487, "")
		a.hangup()
		b.bye()
	})
}

// bob has asked carol, and joins alice with her (RFC 5589 §7.3): the lab asks
// alice for an offer, carol answers it, both legs of bob end.
func TestAttendedTransfer(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b1 := connect(alice, bob)
		b2, c := connect(bob, carol)
		b1.refer(attended("carol", b2), 202)
		b1.told(100, "active")
		req := a.expect("INVITE")
		check(t, req, "")
		a.reply(req, 200, alice.describe())
		c.reinvited("alice 2")
		check(t, a.expect("ACK"), "carol 2")
		b1.told(200, "terminated")
		b1.bye()
		b2.bye()
		a.request("INVITE", alice.describe())
		c.reinvited("alice 3")
		check(t, a.response("INVITE", 200), "carol 3")
		c.hangup()
		a.bye()
	})
}

// Either side meets an offer of its own (RFC 3261 §14.1): it is asked again.
func TestAttendedTransferGlare(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b1 := connect(alice, bob)
		b2, c := connect(bob, carol)
		b1.refer(attended("carol", b2), 202, "Refer-Sub: false")
		a.reply(a.expect("INVITE"), 491, "")
		a.expect("ACK")
		a.reply(a.expect("INVITE"), 200, alice.describe())
		c.reply(c.expect("INVITE"), 491, "")
		c.expect("ACK")
		// What a device offers meanwhile is refused.
		a.request("INVITE", alice.describe())
		a.response("INVITE", 491)
		c.reinvited("alice 2")
		check(t, a.expect("ACK"), "carol 2")
		b1.bye()
		b2.bye()
		c.hangup()
		a.bye()
	})
}

// The offer that alice refused the lab's for is as good as the one it asked for.
func TestAttendedTransferGlareOffer(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b1 := connect(alice, bob)
		b2, c := connect(bob, carol)
		b1.refer(attended("carol", b2), 202, "Refer-Sub: false")
		a.reply(a.expect("INVITE"), 491, "")
		a.expect("ACK")
		a.request("INVITE", alice.describe())
		c.reinvited("alice 2")
		check(t, a.response("INVITE", 200), "carol 2")
		b1.bye()
		b2.bye()
		c.hangup()
		a.bye()
	})
}

// The far end refuses: alice's offer, which is on the table already, goes to
// bob, and both calls are as they were.
func TestAttendedTransferRefused(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b1 := connect(alice, bob)
		b2, c := connect(bob, carol)
		b1.refer(attended("carol", b2), 202)
		b1.told(100, "active")
		a.reply(a.expect("INVITE"), 200, alice.describe())
		c.reply(c.expect("INVITE"), 488, "")
		b1.told(488, "terminated")
		b1.reinvited("alice 2")
		check(t, a.expect("ACK"), "bob 3")
		for _, g := range [][2]*dialog{{b1, a}, {b2, c}} {
			g[0].hangup()
			g[1].bye()
		}
	})
	t.Run("at once", func(t *testing.T) {
		three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
			a, b1 := connect(alice, bob)
			b2, c := connect(bob, carol)
			b1.refer(attended("carol", b2), 202)
			b1.told(100, "active")
			a.reply(a.expect("INVITE"), 488, "")
			b1.told(488, "terminated")
			for _, g := range [][2]*dialog{{b1, a}, {b2, c}} {
				g[0].hangup()
				g[1].bye()
			}
		})
	})
}

// One of the two hangs up while they are joined: the other goes back to bob.
func TestAttendedTransferHangup(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b1 := connect(alice, bob)
		b2, c := connect(bob, carol)
		b1.refer(attended("carol", b2), 202)
		b1.told(100, "active")
		a.reply(a.expect("INVITE"), 200, alice.describe())
		req := c.expect("INVITE")
		c.hangup()
		c.reply(req, 487, "")
		b1.told(481, "terminated")
		b2.bye()
		b1.reinvited("alice 2")
		check(t, a.expect("ACK"), "bob 3")
		a.hangup()
		b1.bye()
	})
}

// Carol still rings when bob lets go (RFC 5589 §7.6): she rings on for alice.
func TestSemiAttendedTransfer(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b1 := connect(alice, bob)
		b2 := bob.dial("carol", bob.describe())
		c := carol.ring()
		b2.learn(180)
		b1.refer(attended("carol", b2), 202)
		b1.told(100, "active")
		c.answer()
		a.reply(a.expect("INVITE"), 200, alice.describe())
		c.reinvited("alice 2")
		check(t, a.expect("ACK"), "carol 2")
		b1.told(200, "terminated")
		b2.response("INVITE", 487)
		b1.bye()
		a.hangup()
		c.bye()
	})
}

// Not bob's dialog: not his to give away.
func TestAttendedTransferOfAnother(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob, carol, frank := l.device("alice", on), l.device("bob", on), l.device("carol", on), l.device("frank", on)
		a, b := connect(alice, bob)
		d, c := connect(frank, carol)
		b.refer(attended("carol", d), 202)
		b.told(100, "active")
		b.told(403, "terminated")
		a.hangup()
		b.bye()
		d.hangup()
		c.bye()
		l.nothingLeft(alice, bob, carol, frank)
	})
}

// The second REFER of a dialog names its subscription (RFC 3515 §2.4.6).
func TestReferTwice(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		a, b := connect(alice, bob)
		b.refer("<sip:nobody@pbx.example>", 202)
		b.told(100, "active")
		b.told(404, "terminated")
		b.refer("<sip:carol@pbx.example>", 202)
		req := b.expect("NOTIFY")
		if got, want := sipwire.Header(req, "Event"), fmt.Sprintf("refer;id=%d", b.cseq); got != want {
			t.Errorf("Event %q, want %q", got, want)
		}
		b.reply(req, 200, "")
		c := carol.ring()
		b.told(180, "active")
		// A third while the second is under way.
		b.refer("<sip:carol@pbx.example>", 491)
		a.refer("<sip:carol@pbx.example>", 491)
		a.hangup()
		c.reply(c.expect("CANCEL"), 200, "")
		c.reply(c.invite, 487, "")
		b.told(487, "terminated")
		b.bye()
	})
}
