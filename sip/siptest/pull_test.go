package siptest_test

import (
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// alice has a call with bob on one device and pulls it to another: bob is
// asked first, the pulling device gets his answer, the old leg ends half a
// second later. By code, and by Replaces (RFC 3891 §3), as caller and callee.
func TestPull(t *testing.T) {
	for _, way := range []string{"code", "Replaces"} {
		for _, caller := range []bool{true, false} {
			name := way + " as callee"
			if caller {
				name = way + " as caller"
			}
			t.Run(name, func(t *testing.T) {
				both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
					bob, alice := l.device("bob", on), l.device("alice", on)
					var a, b *dialog
					if caller {
						a, b = connect(alice, bob)
					} else {
						b, a = connect(bob, alice)
					}
					here := l.device("alice", on)
					var c *dialog
					if way == "code" {
						c = here.dial("*11", here.describe())
					} else {
						c = here.dial("bob", here.describe(), "Replaces: "+a.replaces())
					}
					if ack := b.reinvited("alice#2 1"); whose(ack) != "" {
						t.Errorf("the ACK has a description")
					}
					began := time.Now()
					res := c.response("INVITE", 200)
					check(t, res, "bob 2")
					if got := sipwire.Header(res, "P-Asserted-Identity"); got != `"Bob" <sip:1002@pbx.example;user=phone>` {
						t.Errorf("P-Asserted-Identity %q", got)
					}
					a.bye()
					if d := time.Since(began); d != 500*time.Millisecond {
						t.Errorf("BYE after %v, want 500 ms", d)
					}
					// Hold goes through the new bridge.
					c.request("INVITE", here.describe())
					b.reinvited("alice#2 2")
					check(t, c.response("INVITE", 200), "bob 3")
					b.hangup()
					c.bye()
					l.nothingLeft(alice, bob, here)
				})
			})
		}
	}
}

// A device that pulls without an offer gets that of the far end in the 2xx,
// and answers in its ACK (RFC 3261 §13.2.1).
func TestPullWithoutOffer(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		bob, alice := l.device("bob", on), l.device("alice", on)
		a, b := connect(alice, bob)
		here := l.device("alice", on)
		c := here.dial("*11", "")
		req := b.expect("INVITE")
		check(t, req, "")
		b.reply(req, 200, bob.describe())
		check(t, c.response("INVITE", 200, here.describe()), "bob 2")
		check(t, b.expect("ACK"), "alice#2 1")
		a.bye()
		c.hangup()
		b.bye()
		l.nothingLeft(alice, bob, here)
	})
}

// In each of these the call stays where it was.
func TestPullRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		mod    func(*siptest.Config)
		way    func(a *dialog) (to string, headers []string)
		status int
		calls  int
	}{
		{"no call", nil, code, 404, 0},
		{"several calls", nil, code, 485, 2},
		{"no pull", func(c *siptest.Config) { c.Users[0].NoPull = true }, code, 403, 1},
		{"no pull, yet Replaces", func(c *siptest.Config) { c.Users[0].NoPull = true }, replacing, 200, 1},
		{"no Replaces", func(c *siptest.Config) { c.Users[0].NoReplaces = true }, replacing, 403, 1},
		{"no Replaces, yet the code", func(c *siptest.Config) { c.Users[0].NoReplaces = true }, code, 200, 1},
		{"early only", nil, func(a *dialog) (string, []string) {
			return "bob", []string{"Replaces: " + a.replaces() + ";early-only"}
		}, 486, 1},
		{"unknown dialog", nil, func(a *dialog) (string, []string) {
			return "bob", []string{"Replaces: nobody;to-tag=1;from-tag=2"}
		}, 481, 1},
		{"wrong tag", nil, func(a *dialog) (string, []string) {
			return "bob", []string{"Replaces: " + a.replaces() + "x"}
		}, 481, 1},
		{"two Replaces", nil, func(a *dialog) (string, []string) {
			return "bob", []string{"Replaces: " + a.replaces(), "Replaces: " + a.replaces()}
		}, 400, 1},
		{"Replaces and Join", nil, func(a *dialog) (string, []string) {
			return "bob", []string{"Replaces: " + a.replaces(), "Join: " + a.replaces()}
		}, 400, 1},
		{"malformed", nil, func(a *dialog) (string, []string) {
			return "bob", []string{"Replaces: x;to-tag=1"}
		}, 400, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, c.mod, func(t *testing.T, l *lab, on sip.Transport) {
				bob, alice := l.device("bob", on), l.device("alice", on)
				var as, bs []*dialog
				for range c.calls {
					a, b := connect(alice, bob)
					as, bs = append(as, a), append(bs, b)
				}
				here := l.device("alice", on)
				var a *dialog
				if len(as) > 0 {
					a = as[0]
				}
				to, headers := c.way(a)
				pulled := here.dial(to, here.describe(), headers...)
				if c.status == 200 {
					bs[0].reinvited("alice#2 1")
				}
				pulled.response("INVITE", c.status)
				if c.status == 200 {
					a.bye()
					as[0] = pulled
				}
				for i := range as {
					as[i].hangup()
					bs[i].bye()
				}
				l.nothingLeft(alice, bob, here)
			})
		})
	}
}

func code(*dialog) (string, []string) { return "*11", nil }

func replacing(a *dialog) (string, []string) { return "bob", []string{"Replaces: " + a.replaces()} }

// Somebody else's call is nobody's to take (RFC 3891 §3), but where the
// configuration lets him.
func TestReplacesOfAnother(t *testing.T) {
	for _, any := range []bool{false, true} {
		both(t, func(c *siptest.Config) { c.Calls.AnyReplaces = any }, func(t *testing.T, l *lab, on sip.Transport) {
			bob, alice, carol := l.device("bob", on), l.device("alice", on), l.device("carol", on)
			a, b := connect(alice, bob)
			c := carol.dial("bob", carol.describe(), "Replaces: "+a.replaces())
			if any {
				b.reinvited("carol 1")
				c.response("INVITE", 200)
				a.bye()
				c.hangup()
			} else {
				c.response("INVITE", 403)
				a.hangup()
			}
			b.bye()
			// A dialog that is over: "603 Decline" (RFC 3891 §3).
			carol.dial("bob", carol.describe(), "Replaces: "+a.replaces()).response("INVITE", 603)
			l.nothingLeft(alice, bob, carol)
		})
	}
}

// The far end refuses the new offer, for good or because it makes one itself
// (RFC 3261 §14.1).
func TestPullFarRefuses(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		bob, alice := l.device("bob", on), l.device("alice", on)
		a, b := connect(alice, bob)
		here := l.device("alice", on)
		c := here.dial("*11", here.describe())
		b.reply(b.expect("INVITE"), 488, "")
		c.response("INVITE", 488)
		// As if nothing had been: the former bridge stands.
		b.request("INVITE", bob.describe())
		a.reinvited("bob 2")
		check(t, b.response("INVITE", 200), "alice 2")

		c = here.dial("*11", here.describe())
		for range 2 {
			b.reply(b.expect("INVITE"), 491, "")
		}
		b.reinvited("alice#2 2")
		check(t, c.response("INVITE", 200), "bob 3")
		a.bye()
		c.hangup()
		b.bye()
		l.nothingLeft(alice, bob, here)
	})
}

// The pulling device gives up when the far end has agreed already: the two
// that remain agree anew.
func TestPullGivenUp(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		bob, alice := l.device("bob", on), l.device("alice", on)
		a, b := connect(alice, bob)
		here := l.device("alice", on)
		c := here.dial("*11", here.describe())
		req := b.expect("INVITE")
		c.request("CANCEL", "")
		c.response("CANCEL", 200)
		c.response("INVITE", 487)
		b.reply(req, 200, bob.describe())
		b.expect("ACK")
		req = b.expect("INVITE") // for an offer
		check(t, req, "")
		b.reply(req, 200, bob.describe())
		a.reinvited("bob 3")
		check(t, b.expect("ACK"), "alice 2")
		a.hangup()
		b.bye()
		l.nothingLeft(alice, bob, here)
	})
}

// The call ends while it is pulled: 481 (RFC 3891 §3 has no better).
func TestPullGone(t *testing.T) {
	for _, who := range []string{"far", "old"} {
		t.Run(who, func(t *testing.T) {
			both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
				bob, alice := l.device("bob", on), l.device("alice", on)
				a, b := connect(alice, bob)
				here := l.device("alice", on)
				c := here.dial("*11", here.describe())
				req := b.expect("INVITE")
				if who == "far" {
					b.hangup()
					b.reply(req, 487, "")
					c.response("INVITE", 481)
					a.bye()
				} else {
					// Who has the call hangs up while it goes elsewhere: it goes on there.
					a.hangup()
					b.reply(req, 200, bob.describe())
					b.expect("ACK")
					c.response("INVITE", 200)
					c.hangup()
					b.bye()
				}
				l.nothingLeft(alice, bob, here)
			})
		})
	}
}
