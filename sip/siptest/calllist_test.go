package siptest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// who writes down the calls in the lab.
func who(l *lab) []string {
	synctest.Wait()
	var out []string
	for _, c := range l.CallList() {
		var legs []string
		for _, g := range c.Legs {
			s := g.Device
			if g.Held {
				s += " holds"
			}
			legs = append(legs, s)
		}
		s := string(c.State) + ": " + strings.Join(legs, ", ")
		if c.Parked {
			s += " (parked)"
		}
		out = append(out, s)
	}
	return out
}

func checkCalls(t *testing.T, l *lab, want ...string) {
	t.Helper()
	if got := who(l); !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
}

// What the lab says of its calls while they come, move and go.
func TestCallList(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		checkCalls(t, l)
		a := alice.dial("bob", alice.describe())
		b := bob.ring()
		checkCalls(t, l, "ringing: alice, bob")
		b.answer()
		a.response("INVITE", 200)
		checkCalls(t, l, "talking: alice, bob")
		local, remote := a.tags()
		if g := l.CallList()[0].Legs[0]; g != (siptest.CallLeg{User: "alice", Device: "alice", CallID: a.id, Local: local, Remote: remote, Answered: true}) {
			t.Errorf("alice's leg is %+v", g)
		}
		a.request("INVITE", alice.describe()+"a=sendonly\r\n")
		b.reply(b.expect("INVITE"), 200, bob.describe()+"a=recvonly\r\n")
		a.response("INVITE", 200)
		checkCalls(t, l, "talking: alice holds, bob")

		// What is refused changes nothing (RFC 3261 §14.1).
		a.request("INVITE", alice.describe())
		b.reply(b.expect("INVITE"), 488, "")
		a.response("INVITE", 488)
		checkCalls(t, l, "talking: alice holds, bob")

		wait(t, time.Second) // the list is in the order of time
		b.refer("<sip:carol@pbx.example>", 202, "Refer-Sub: false")
		c := carol.ring()
		checkCalls(t, l, "talking: alice holds, bob", "ringing: carol")
		c.reply(c.invite, 200, carol.describe())
		req := a.expect("INVITE")
		checkCalls(t, l, "moving: alice holds, carol")
		a.reply(req, 200, alice.describe())
		b.bye()
		checkCalls(t, l, "talking: alice, carol")

		p := carol.dial("*68", carol.describe())
		a.reinvited("lab")
		p.response("INVITE", 200)
		c.bye()
		p.bye()
		checkCalls(t, l, "talking: alice (parked)")
		a.hangup()
		checkCalls(t, l)
	})
}

func TestServerHangup(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		if err := l.Hangup("nothing"); !errors.Is(err, siptest.ErrNoCall) {
			t.Errorf("no call: %v", err)
		}
		for _, leg := range []bool{false, true} {
			a, b := connect(alice, bob)
			id := l.CallList()[0].ID
			if leg {
				id = b.id
			}
			if err := l.Hangup(id); err != nil {
				t.Error(err)
			}
			a.bye()
			b.bye()
		}
		a := alice.dial("bob", alice.describe())
		b := bob.ring()
		if err := l.Hangup(a.id); err != nil {
			t.Error(err)
		}
		a.response("INVITE", 480)
		b.reply(b.expect("CANCEL"), 200, "")
		b.reply(b.invite, 487, "")
		l.nothingLeft(alice, bob)
		l.Kill()
		if err := l.Hangup(a.id); !errors.Is(err, siptest.ErrDown) || len(l.CallList()) != 0 {
			t.Errorf("down: %v", err)
		}
	})
}

// A user has as many calls as he may have; another finds him busy.
func TestCallLimit(t *testing.T) {
	for _, c := range []struct {
		name  string
		mod   func(u *siptest.User)
		calls int
	}{
		{"limit", func(u *siptest.User) { u.CallLimit = 2 }, 2},
		{"no call waiting", func(u *siptest.User) { u.NoCallWaiting = true }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(cfg *siptest.Config) { c.mod(&cfg.Users[1]) }, func(t *testing.T, l *lab, on sip.Transport) {
				alice, bob := l.device("alice", on), l.device("bob", on)
				var as, bs []*dialog
				for range c.calls {
					a, b := connect(alice, bob)
					as, bs = append(as, a), append(bs, b)
				}
				alice.dial("bob", alice.describe()).response("INVITE", 486)
				for i := range as {
					as[i].hangup()
					bs[i].bye()
				}
				a, b := connect(alice, bob)
				a.hangup()
				b.bye()
				l.nothingLeft(alice, bob)
			})
		})
	}
}

// A device redirects a call (RFC 3261 §8.1.3.4): within the lab it is
// followed, but not back to where it has been.
func TestRedirect(t *testing.T) {
	three(t, nil, func(t *testing.T, l *lab, alice, bob, carol *device) {
		move := func(g *dialog, to string) {
			tag, _ := g.tags()
			res := sipwire.ResponseTo(g.invite, 302, "", tag)
			g.d.send(strings.Replace(string(sipwire.Append(nil, res)), "\r\n\r\n", "\r\nContact: "+to+"\r\n\r\n", 1))
			g.expect("ACK")
		}
		a := alice.dial("bob", alice.describe())
		move(bob.ring(), "<sip:carol@pbx.example>")
		a.learn(181)
		c := carol.ring()
		if got, want := sipwire.Header(c.invite, "Diversion"), `"Bob" <sip:1002@pbx.example;user=phone>;reason=deflection;counter=1`; got != want {
			t.Errorf("Diversion %q, want %q", got, want)
		}
		c.answer()
		check(t, a.response("INVITE", 200), "carol 1")
		a.hangup()
		c.bye()

		for _, to := range []string{"<sip:bob@elsewhere.example>", "<sip:nobody@pbx.example>", "<sip:bob@pbx.example>"} {
			a = alice.dial("bob", alice.describe())
			move(bob.ring(), to)
			if res := a.response("INVITE", 302); sipwire.FormatURI(&res.Contact().Address) != strings.Trim(to, "<>") {
				t.Errorf("Contact %v, want %s", res.Contact(), to)
			}
		}
		// Round and round.
		a = alice.dial("bob", alice.describe())
		move(bob.ring(), "<sip:carol@pbx.example>")
		move(carol.ring(), "<sip:bob@pbx.example>")
		a.response("INVITE", 302)
	})
}

// Push (RFC 3515, RFC 5627): alice asks her other device, by its GRUU, to take
// over the call with bob. It hears who asks; NOTIFYs find their way back; its
// INVITE with Replaces names her own dialog.
func TestPush(t *testing.T) {
	both(t, func(c *siptest.Config) { c.Registrar.GRUU = true }, func(t *testing.T, l *lab, on sip.Transport) {
		bob, alice := l.device("bob", on), l.device("alice", on)
		a, b := connect(alice, bob)
		there := l.device("alice", on)
		push := &dialog{d: alice, t: t, id: "push", target: "sip:alice@pbx.example;gr=" + there.instance(),
			local: "<sip:alice@pbx.example>;tag=p", remote: "<sip:alice@pbx.example>"}
		push.request("REFER", "", "Refer-To: "+attended("bob", a))
		in := there.incoming("REFER")
		req := in.invite
		if got := sipwire.Header(req, "P-Asserted-Identity"); got != `"Alice" <sip:alice@pbx.example>` {
			t.Errorf("P-Asserted-Identity %q", got)
		}
		if got := sipwire.Header(req, "Refer-To"); got != attended("bob", a) {
			t.Errorf("Refer-To %q", got)
		}
		in.reply(req, 202, "")
		push.remote = sipwire.Header(push.response("REFER", 202), "To")
		sipfrag := func(status int, state string) {
			in.request("NOTIFY", fmt.Sprintf("SIP/2.0 %d x\r\n", status), "Event: refer", "Subscription-State: "+state, "Content-Type: message/sipfrag;version=2.0")
			push.told(status, strings.Split(state, ";")[0])
			in.response("NOTIFY", 200)
		}
		sipfrag(100, "active;expires=60")
		to, _ := sipwire.ParseReferTo(sipwire.Header(req, "Refer-To"))
		c := there.dial(sipwire.FormatURI(&to.URI), there.describe(), "Replaces: "+to.Headers[0].Value())
		b.reinvited("alice#2 1")
		c.response("INVITE", 200)
		sipfrag(200, "terminated;reason=noresource")
		in.request("NOTIFY", "", "Event: refer", "Subscription-State: active")
		in.response("NOTIFY", 481)
		a.bye()
		b.hangup()
		c.bye()
		l.nothingLeft(alice, bob, there)
	})
}

// REFER outside of calls that leads nowhere, or is refused.
func TestPushRefused(t *testing.T) {
	for _, c := range []struct {
		target, referTo string
		device, status  int
	}{
		{"sip:nobody@pbx.example", "<sip:bob@pbx.example>", 0, 404},
		{"sip:bob@elsewhere.example", "<sip:bob@pbx.example>", 0, 404},
		{"sip:carol@pbx.example", "<sip:bob@pbx.example>", 0, 480},
		{"sip:bob@pbx.example", "<", 0, 400},
		{"sip:bob@pbx.example", "<sip:bob@pbx.example>", 603, 603},
		{"sip:bob@pbx.example", "<sip:bob@pbx.example>", 401, 480},
		{"sip:bob@pbx.example", "<sip:bob@pbx.example>", 503, 500},
	} {
		both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
			alice, bob := l.device("alice", on), l.device("bob", on)
			g := &dialog{d: alice, t: t, id: "push", target: c.target, local: "<sip:alice@pbx.example>;tag=p", remote: "<" + c.target + ">"}
			g.request("REFER", "", "Refer-To: "+c.referTo)
			if c.device != 0 {
				in := bob.incoming("REFER")
				in.reply(in.invite, c.device, "")
			}
			g.response("REFER", c.status)
			l.nothingLeft(alice, bob)
		})
	}
}

// Without a NOTIFY the lab forgets a referral after five minutes, and with
// Refer-Sub: false at once (RFC 4488 §4).
func TestPushWithoutNotify(t *testing.T) {
	both(t, nil, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		for _, sub := range []string{"true", "false"} {
			g := &dialog{d: alice, t: t, id: "push" + sub, target: "sip:bob@pbx.example", local: "<sip:alice@pbx.example>;tag=p", remote: "<sip:bob@pbx.example>"}
			g.request("REFER", "", "Refer-To: <sip:carol@pbx.example>", "Refer-Sub: "+sub)
			in := bob.incoming("REFER")
			if got := sipwire.Header(in.invite, "Refer-Sub"); got != sub {
				t.Errorf("Refer-Sub %q, want %q", got, sub)
			}
			in.reply(in.invite, 202, "", "Refer-Sub: "+sub)
			g.response("REFER", 202)
			legs, _, _ := l.Left()
			if want := map[string]int{"true": 1}[sub]; legs != want {
				t.Errorf("Refer-Sub: %s: %d referrals are kept, want %d", sub, legs, want)
			}
			wait(t, 5*time.Minute)
		}
		l.nothingLeft(alice, bob)
	})
}
