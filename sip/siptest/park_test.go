package siptest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// bob parks alice with *68 and retrieves her with *88, from another device
// and from another user's: she hears music of the lab's meanwhile.
func TestPark(t *testing.T) {
	for _, c := range []struct{ name, park, who, retrieve string }{
		{"own extension", "*68", "bob", "*88"},
		{"by another", "*68", "carol", "*881002"},
		{"at another", "*681001", "carol", "*88alice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
				alice, bob := l.device("alice", on), l.device("bob", on)
				a, b := connect(alice, bob)
				p := bob.dial(c.park, bob.describe())
				a.reinvited("lab")
				p.response("INVITE", 200)
				b.bye()
				p.bye()
				// She can hold what she hears.
				a.request("INVITE", alice.describe())
				check(t, a.response("INVITE", 200), "lab")

				who := l.device(c.who, on)
				r := who.dial(c.retrieve, who.describe())
				a.reinvited(who.name + " 1")
				check(t, r.response("INVITE", 200), "alice 4")
				who.dial(c.retrieve, who.describe()).response("INVITE", 404)
				r.hangup()
				a.bye()
				l.nothingLeft(alice, bob, who)
			})
		})
	}
}

// REFER to the code parks too (RFC 5589 §6.1, with the lab as the target).
func TestParkByTransfer(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		a, b := connect(alice, bob)
		b.refer("<sip:*68@pbx.example>", 202)
		b.told(100, "active")
		a.reinvited("lab")
		b.told(200, "terminated")
		b.bye()
		r := bob.dial("*88", bob.describe())
		a.reinvited("bob 2")
		r.response("INVITE", 200)
		a.hangup()
		r.bye()
		l.nothingLeft(alice, bob)
	})
}

func TestParkRefused(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		bob.dial("*68", bob.describe()).response("INVITE", 404)
		bob.dial("*88", bob.describe()).response("INVITE", 404)
		bob.dial("*88nobody", bob.describe()).response("INVITE", 404)
		a1, b1 := connect(alice, bob)
		bob.dial("*68nobody", bob.describe()).response("INVITE", 404)
		a2, b2 := connect(alice, bob)
		bob.dial("*68", bob.describe()).response("INVITE", 485)
		a2.hangup()
		b2.bye()
		p := bob.dial("*68", bob.describe())
		a1.reinvited("lab")
		p.response("INVITE", 200)
		b1.bye()
		p.bye()
		c, b3 := connect(carol, bob)
		bob.dial("*68", bob.describe()).response("INVITE", 486)
		c.hangup()
		b3.bye()
		// Who is parked may go.
		a1.hangup()
		bob.dial("*88", bob.describe()).response("INVITE", 404)
	})
}

// A device that wants no music of the lab's is parked all the same.
func TestParkWithoutMusic(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		a, b := connect(alice, bob)
		p := bob.dial("*68", bob.describe())
		a.reply(a.expect("INVITE"), 488, "")
		p.response("INVITE", 200)
		b.bye()
		p.bye()
		r := bob.dial("*88", bob.describe())
		a.reinvited("bob 3")
		r.response("INVITE", 200)
		r.hangup()
		a.bye()
		l.nothingLeft(alice, bob)
	})
}

// Nobody retrieves the call: bob is rung after Calls.ParkRecall, and again.
func TestParkRecall(t *testing.T) {
	both(t, func(c *siptest.Config) { c.Calls.ParkRecall = 30 * time.Second }, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		a, b := connect(alice, bob)
		began := time.Now()
		p := bob.dial("*68", bob.describe())
		a.reinvited("lab")
		p.response("INVITE", 200)
		b.bye()
		p.bye()
		first := bob.ring()
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("rung after %v, want 30 s", d)
		}
		first.reply(first.invite, 486, "")
		second := bob.ring()
		if d := time.Since(began); d != 60*time.Second {
			t.Errorf("rung again after %v, want 60 s", d)
		}
		second.reply(second.invite, 200, bob.describe())
		a.reinvited("bob 3")
		check(t, second.expect("ACK"), "alice 3")
		a.hangup()
		second.bye()
		l.nothingLeft(alice, bob)
	})
}

// Who retrieves gives up when alice has agreed: she is parked again.
func TestRetrieveGivenUp(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		a, b := connect(alice, bob)
		p := bob.dial("*68", bob.describe())
		a.reinvited("lab")
		p.response("INVITE", 200)
		b.bye()
		p.bye()
		r := bob.dial("*88", bob.describe())
		req := a.expect("INVITE")
		r.request("CANCEL", "")
		r.response("CANCEL", 200)
		r.response("INVITE", 487)
		a.reply(req, 200, alice.describe())
		a.expect("ACK")
		a.reinvited("lab")
		r = bob.dial("*88", bob.describe())
		a.reinvited("bob 4")
		r.response("INVITE", 200)
		a.hangup()
		r.bye()
		l.nothingLeft(alice, bob)
	})
}

// groups puts alice, bob and carol into groups of call pickup.
func groups(alice, bob, carol string) func(*siptest.Config) {
	return func(c *siptest.Config) {
		c.Users[0].Group, c.Users[1].Group, c.Users[2].Group = alice, bob, carol
	}
}

// frank calls bob, whose devices ring; carol, of his group, picks the call up.
// The lab answers her itself and then makes frank's offer to her; he gets her
// answer in his 2xx.
func TestPickup(t *testing.T) {
	for _, way := range []string{"*971002", "*33bob", "*98", "Replaces"} {
		t.Run(way, func(t *testing.T) {
			both(t, groups("", "sales", "sales"), func(t *testing.T, l *lab, on sip.Transport) {
				bob, carol, frank := l.device("bob", on), l.device("carol", on), l.device("frank", on)
				d := frank.dial("bob", frank.describe())
				b := bob.ring()
				synctest.Wait()
				to, headers := way, []string(nil)
				if way == "Replaces" {
					to, headers = "bob", []string{"Replaces: " + b.replaces()}
				}
				c := carol.dial(to, carol.describe(), headers...)
				check(t, c.response("INVITE", 200), "lab")
				c.reinvited("frank 1")
				check(t, d.response("INVITE", 200), "carol 2")
				cancel := b.expect("CANCEL")
				if got := cancel.GetHeader("Reason").Value(); got != `SIP;cause=200;text="Call completed elsewhere"` {
					t.Errorf("Reason %q", got)
				}
				b.reply(cancel, 200, "")
				b.reply(b.invite, 487, "")
				c.request("INVITE", carol.describe())
				d.reinvited("carol 3")
				c.response("INVITE", 200)
				d.hangup()
				c.bye()
				l.nothingLeft(bob, carol, frank)
			})
		})
	}
}

// Pickup without an offer: carol gets frank's.
func TestPickupWithoutOffer(t *testing.T) {
	both(t, groups("", "sales", "sales"), func(t *testing.T, l *lab, on sip.Transport) {
		bob, carol, frank := l.device("bob", on), l.device("carol", on), l.device("frank", on)
		d := frank.dial("bob", frank.describe())
		b := bob.ring()
		c := carol.dial("*98", "")
		check(t, c.response("INVITE", 200, carol.describe()), "frank 1")
		check(t, d.response("INVITE", 200), "carol 1")
		b.reply(b.expect("CANCEL"), 200, "")
		b.reply(b.invite, 487, "")
		d.hangup()
		c.bye()
		l.nothingLeft(bob, carol, frank)
	})
}

// Frank calls without an offer: he gets carol's.
func TestPickupOfLateOffer(t *testing.T) {
	both(t, groups("", "sales", "sales"), func(t *testing.T, l *lab, on sip.Transport) {
		bob, carol, frank := l.device("bob", on), l.device("carol", on), l.device("frank", on)
		d := frank.dial("bob", "")
		b := bob.ring()
		c := carol.dial("*98", carol.describe())
		check(t, d.response("INVITE", 200, frank.describe()), "carol 1")
		check(t, c.response("INVITE", 200), "frank 1")
		b.reply(b.expect("CANCEL"), 200, "")
		b.reply(b.invite, 487, "")
		d.hangup()
		c.bye()
		l.nothingLeft(bob, carol, frank)
	})
}

// Frank heard early media of bob's, and has his answer for good (RFC 3261
// §13.2.1): carol and he agree anew once he is answered.
func TestPickupOfEarlyMedia(t *testing.T) {
	both(t, groups("", "sales", "sales"), func(t *testing.T, l *lab, on sip.Transport) {
		bob, carol, frank := l.device("bob", on), l.device("carol", on), l.device("frank", on)
		d := frank.dial("bob", frank.describe())
		b := bob.ring()
		b.reply(b.invite, 183, bob.describe())
		d.learn(183)
		c := carol.dial("*98", carol.describe())
		c.response("INVITE", 200)
		c.reinvited("frank 1")
		check(t, d.response("INVITE", 200), "bob 1")
		d.reply(d.expect("INVITE"), 200, frank.describe())
		c.reinvited("frank 2")
		check(t, d.expect("ACK"), "carol 3")
		b.reply(b.expect("CANCEL"), 200, "")
		b.reply(b.invite, 487, "")
		d.hangup()
		c.bye()
		l.nothingLeft(bob, carol, frank)
	})
}

// A call that rings for who is transferred can be picked up as any.
func TestPickupOfTransfer(t *testing.T) {
	both(t, groups("sales", "sales", ""), func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob, carol, frank := l.device("alice", on), l.device("bob", on), l.device("carol", on), l.device("frank", on)
		c, d := connect(carol, frank)
		d.refer("<sip:bob@pbx.example>", 202)
		d.told(100, "active")
		b := bob.ring()
		d.told(180, "active")
		a := alice.dial("*98", alice.describe())
		c.reinvited("alice 1")
		check(t, a.response("INVITE", 200), "carol 2")
		d.told(200, "terminated")
		d.bye()
		b.reply(b.expect("CANCEL"), 200, "")
		b.reply(b.invite, 487, "")
		a.hangup()
		c.bye()
		l.nothingLeft(alice, bob, carol, frank)
	})
}

func TestPickupRefused(t *testing.T) {
	three(t, groups("sales", "sales", "board"), func(t *testing.T, l *lab, alice, bob, carol *device) {
		alice.dial("*98", alice.describe()).response("INVITE", 404)
		alice.dial("*97bob", alice.describe()).response("INVITE", 404)
		alice.dial("*97nobody", alice.describe()).response("INVITE", 404)
		a := alice.dial("bob", alice.describe())
		b := bob.ring()
		carol.dial("*97bob", carol.describe()).response("INVITE", 403)
		carol.dial("*98", carol.describe()).response("INVITE", 404)
		carol.dial("bob", carol.describe(), "Replaces: "+b.replaces()).response("INVITE", 403)
		// The early dialog of the caller is not one that the lab began (RFC 3891 §3).
		a.learn(180)
		alice.dial("bob", alice.describe(), "Replaces: "+a.replaces()).response("INVITE", 481)
		b.answer()
		a.response("INVITE", 200)
		a.hangup()
		b.bye()
	})
}

// Hang-ups while a call is picked up.
func TestPickupHangup(t *testing.T) {
	both(t, groups("", "sales", "sales"), func(t *testing.T, l *lab, on sip.Transport) {
		bob, carol, frank := l.device("bob", on), l.device("carol", on), l.device("frank", on)
		for _, who := range []string{"caller", "picker"} {
			d := frank.dial("bob", frank.describe())
			b := bob.ring()
			d.learn(180)
			c := carol.dial("*98", carol.describe())
			c.response("INVITE", 200)
			req := c.expect("INVITE")
			if who == "caller" {
				d.request("CANCEL", "")
				d.response("CANCEL", 200)
				d.response("INVITE", 487)
				c.bye()
			} else {
				c.hangup()
				d.response("INVITE", 480)
			}
			c.reply(req, 487, "")
			b.reply(b.expect("CANCEL"), 200, "")
			b.reply(b.invite, 487, "")
		}
		l.nothingLeft(bob, carol, frank)
	})
}
