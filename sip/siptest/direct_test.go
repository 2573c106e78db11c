package siptest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// onHold lets a device put its call on hold.
func (g *dialog) onHold(far *dialog) {
	g.t.Helper()
	g.request("INVITE", g.d.describe()+"a=sendonly\r\n")
	far.reply(far.expect("INVITE"), 200, far.d.describe()+"a=recvonly\r\n")
	far.expect("ACK")
	g.response("INVITE", 200)
	synctest.Wait()
}

// mailboxes gives bob and carol one.
func mailboxes(c *siptest.Config) {
	c.Users[1].Voicemail, c.Users[2].Voicemail = &siptest.Voicemail{}, &siptest.Voicemail{Messages: 1}
}

// bob has alice on hold and sends her to a mailbox: the lab is her partner from
// then on, and bob's two legs end. Who is in the mailbox may hang up.
func TestVoicemailTransfer(t *testing.T) {
	for _, c := range []struct{ name, code, box, asserted string }{
		{"own", "*55", "bob", `"Bob" <sip:1002@pbx.example;user=phone>`},
		{"another's", "*55carol", "carol", "<sip:carol@pbx.example>"},
		{"REFER", "", "bob", `"Bob" <sip:1002@pbx.example;user=phone>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, mailboxes, func(t *testing.T, l *lab, on sip.Transport) {
				alice, bob := l.device("alice", on), l.device("bob", on)
				a, b := connect(alice, bob)
				var p *dialog
				if c.code == "" {
					b.refer("<sip:*551002@pbx.example>", 202)
					b.told(100, "active")
				} else {
					b.onHold(a)
					p = bob.dial(c.code, bob.describe())
				}
				req := a.expect("INVITE")
				check(t, req, "lab")
				if got := sipwire.Header(req, "P-Asserted-Identity"); got != c.asserted {
					t.Errorf("alice is told that she talks to %q", got)
				}
				a.reply(req, 200, alice.describe())
				a.expect("ACK")
				if c.code == "" {
					b.told(200, "terminated")
				} else {
					check(t, p.response("INVITE", 200), "lab")
					p.bye()
				}
				b.bye()
				calls := l.CallList()
				if len(calls) != 1 || calls[0].Mailbox != c.box || calls[0].Parked || len(calls[0].Legs) != 1 || calls[0].Legs[0].User != "alice" {
					t.Errorf("in the lab: %+v", calls)
				}
				bob.dial("*88", bob.describe()).response("INVITE", 404) // she is not parked
				a.bye()
				l.nothingLeft(alice, bob)
			})
		})
	}
}

// What is refused leaves the call where it was.
func TestVoicemailTransferRefused(t *testing.T) {
	both(t, mailboxes, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		bob.dial("*55", bob.describe()).response("INVITE", 481)
		a, b := connect(alice, bob)
		if res := bob.dial("*55", bob.describe()).response("INVITE", 481); res.Reason != "No Call On Hold" {
			t.Errorf("refused with %q", res.Reason)
		}
		b.onHold(a)
		for _, code := range []string{"*55nobody", "*55alice"} {
			bob.dial(code, bob.describe()).response("INVITE", 404)
		}
		if err := l.Deposit("carol", siptest.VoiceMessage{PCM: make([]int16, 1600)}); err != nil {
			t.Fatal(err)
		}
		bob.dial("*55carol", bob.describe()).response("INVITE", 404) // it is full
		// Alice is on her way to somebody else.
		frank := l.device("frank", on)
		b.refer("<sip:frank@pbx.example>", 202)
		b.told(100, "active")
		f := frank.ring()
		b.told(180, "active")
		bob.dial("*55", bob.describe()).response("INVITE", 491)
		f.reply(f.invite, 486, "")
		f.expect("ACK")
		b.told(486, "terminated")
		// Alice's device does not want it.
		p := bob.dial("*55", bob.describe())
		a.reply(a.expect("INVITE"), 488, "")
		p.response("INVITE", 488)
		if calls := l.CallList(); len(calls) != 1 || calls[0].Mailbox != "" || len(calls[0].Legs) != 2 {
			t.Errorf("in the lab: %+v", calls)
		}
		// The two talk to each other as before, and not with the lab.
		a.request("INVITE", alice.describe())
		b.reinvited("alice 3")
		check(t, a.response("INVITE", 200), "bob 10")
		// Two on hold: which one?
		b.onHold(a)
		a2, b2 := connect(alice, bob)
		b2.onHold(a2)
		bob.dial("*55", bob.describe()).response("INVITE", 485)
		a2.hangup()
		b2.bye()
		a.hangup()
		b.bye()
		l.nothingLeft(alice, bob)
	})
}

// Hang-ups while alice is on her way into the mailbox. Whether bob's leg is
// there still does not matter to her.
func TestVoicemailTransferHangup(t *testing.T) {
	both(t, mailboxes, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		for _, who := range []string{"alice", "bob"} {
			a, b := connect(alice, bob)
			b.onHold(a)
			p := bob.dial("*55", bob.describe())
			req := a.expect("INVITE")
			if who == "alice" {
				a.hangup()
				a.reply(req, 487, "")
				b.bye()
				p.response("INVITE", 481)
				continue
			}
			b.hangup()
			a.reply(req, 200, alice.describe())
			a.expect("ACK")
			p.response("INVITE", 200)
			p.bye()
			a.hangup()
		}
		l.nothingLeft(alice, bob)
	})
}

// What alice says after the beep is in the mailbox, from her, and with # her
// leg ends.
func TestVoicemailTransferHeard(t *testing.T) {
	speech := mediatest.Speech(1, rate)
	for _, by := range []sip.Transport{sip.UDP, sip.TLS} {
		t.Run(string(by), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, mailboxes)
				alice, bob := l.caller("alice", nil, over(l, by)), l.caller("bob", nil, over(l, by))
				a, b := talk(t, alice, bob, "bob")
				if err := b.Hold(t.Context()); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				code, err := bob.Dial(t.Context(), "*55carol", nil)
				if err != nil {
					t.Fatal(err)
				}
				ended(t, b, sip.Remote)
				ended(t, code, sip.Remote)
				if took := time.Since(began); took > time.Second {
					t.Errorf("bob was let go after %v", took)
				}
				wait(t, 3*time.Second-time.Since(began))
				s, _ := media.FromCall(a)
				if err := s.SetSource(media.NewPCMSource(rate, speech, false)); err != nil {
					t.Fatal(err)
				}
				wait(t, 6*time.Second)
				press(t, s, "#")
				ended(t, a, sip.Remote)
				box := l.Mailbox("carol")
				if len(box) != 1 || box[0].From != "1001" || box[0].Name != "Alice" {
					t.Fatalf("in the mailbox: %d messages", len(box))
				}
				if ok, score := mediatest.Heard(speech, box[0].PCM, rate); !ok {
					t.Errorf("the message: %+v", score)
				}
				l.idle()
			})
		})
	}
}

// Who is transferred to somebody whose calls go to his mailbox gets there.
func TestTransferToMailbox(t *testing.T) {
	for _, c := range []struct {
		name  string
		there bool          // carol has a device
		says  int           // it; 0: nothing
		after time.Duration // alice is on her way
	}{
		{"absent", false, 0, 0}, {"busy", true, 486, 0}, {"no answer", true, 0, 18 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, mailboxes, func(t *testing.T, l *lab, on sip.Transport) {
				alice, bob := l.device("alice", on), l.device("bob", on)
				ds := []*device{alice, bob}
				var carol *device
				if c.there {
					carol = l.device("carol", on)
					ds = append(ds, carol)
				}
				a, b := connect(alice, bob)
				began := time.Now()
				b.refer("<sip:carol@pbx.example>", 202)
				b.told(100, "active")
				var g *dialog
				if c.there {
					g = carol.ring()
					b.told(180, "active")
				}
				if c.says != 0 {
					g.reply(g.invite, c.says, "")
					g.expect("ACK")
				}
				a.reinvited("lab")
				if took := time.Since(began); took != c.after {
					t.Errorf("after %v, want %v", took, c.after)
				}
				if c.there && c.says == 0 {
					g.reply(g.expect("CANCEL"), 200, "")
					g.reply(g.invite, 487, "")
					g.expect("ACK")
				}
				b.told(200, "terminated")
				b.bye()
				if calls := l.CallList(); len(calls) != 1 || calls[0].Mailbox != "carol" {
					t.Errorf("in the lab: %+v", calls)
				}
				a.bye() // after five seconds of silence
				l.nothingLeft(ds...)
			})
		})
	}
}

// Who is parked waits on where who has parked him does not answer, and goes to
// no mailbox.
func TestParkRecallToMailbox(t *testing.T) {
	mod := func(c *siptest.Config) {
		mailboxes(c)
		c.Calls.ParkRecall = time.Minute
	}
	both(t, mod, func(t *testing.T, l *lab, on sip.Transport) {
		alice, bob := l.device("alice", on), l.device("bob", on)
		a, b := connect(alice, bob)
		p := bob.dial("*68", bob.describe())
		a.reinvited("lab")
		p.response("INVITE", 200)
		b.bye()
		p.bye()
		r := bob.ring()
		r.reply(r.expect("CANCEL"), 200, "")
		r.reply(r.invite, 487, "")
		r.expect("ACK")
		if calls := l.CallList(); len(calls) != 1 || !calls[0].Parked || calls[0].Mailbox != "" {
			t.Errorf("in the lab: %+v", calls)
		}
		r = bob.ring()
		r.reply(r.invite, 200, bob.describe())
		a.reinvited("bob 3")
		check(t, r.expect("ACK"), "alice 3")
		a.hangup()
		r.bye()
		l.nothingLeft(alice, bob)
	})
}
