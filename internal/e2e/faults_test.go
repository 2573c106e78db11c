package e2e_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

type options = offeranswer.Options

// Messages that the lab loses, delays or repeats in the course of a call: it
// comes up, speech is heard, and it ends.
func TestFaults(t *testing.T) {
	type match = siptest.Match
	const toDevice, fromDevice = siptest.ToDevice, siptest.FromDevice
	for _, c := range []struct {
		name  string
		over  []sip.Transport
		fault siptest.Fault
	}{
		{"200 lost on the way to the caller", all, siptest.Fault{Match: match{Method: "INVITE", Status: 200, User: "alice", Direction: toDevice}, Drop: true}},
		{"200 lost on the way from the callee", all, siptest.Fault{Match: match{Method: "INVITE", Status: 200, User: "bob", Direction: fromDevice}, Drop: true}},
		{"200 repeated", all, siptest.Fault{Match: match{Method: "INVITE", Status: 200, User: "alice", Direction: toDevice}, Copies: 3}},
		{"INVITE repeated by the lab", all, siptest.Fault{Match: match{Method: "INVITE", User: "bob", Direction: toDevice}, Copies: 1}},
		{"INVITE repeated by the caller", all, siptest.Fault{Match: match{Method: "INVITE", User: "alice", Direction: fromDevice}, Copies: 1}},
		{"INVITE lost", udp, siptest.Fault{Match: match{Method: "INVITE", User: "bob", Direction: toDevice}, Drop: true, Count: 3}},
		{"180 lost", all, siptest.Fault{Match: match{Method: "INVITE", Status: 180}, Drop: true, Count: 2}},
		{"ACK delayed on the way from the caller", all, siptest.Fault{Match: match{Method: "ACK", User: "alice", Direction: fromDevice}, Delay: 5 * time.Second}},
		{"ACK delayed on the way to the callee", all, siptest.Fault{Match: match{Method: "ACK", User: "bob", Direction: toDevice}, Delay: 5 * time.Second}},
		{"ACK lost on the way to the callee", all, siptest.Fault{Match: match{Method: "ACK", User: "bob", Direction: toDevice}, Drop: true, Count: 2}},
		{"BYE lost", udp, siptest.Fault{Match: match{Method: "BYE"}, Drop: true, Count: 2}},
		{"200 of BYE lost", udp, siptest.Fault{Match: match{Method: "BYE", Status: 200}, Drop: true, Count: 2}},
		{"everything late", all, siptest.Fault{Match: match{Status: siptest.AnyMessage}, Delay: 700 * time.Millisecond, Count: -1}},
		{"everything twice", all, siptest.Fault{Match: match{Status: siptest.AnyMessage}, Copies: 1, Count: -1}},
	} {
		for _, transport := range c.over {
			t.Run(c.name+" over "+string(transport), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t)
					s := settings{ua: w.over(transport), media: media.Config{Codecs: codecsNamed("PCMU")}}
					alice, bob := w.phone("alice", s), w.phone("bob", s)
					inj := w.Inject(c.fault)
					a, b := alice.call(bob, "bob")
					hum(t, a, b)
					for _, x := range []*end{a, b} {
						if r := x.sess.Stats().Received; r.Lost+r.SourceSwitches+r.BadSRTP != 0 {
							t.Errorf("%s: %+v", x.p.AOR(), r)
						}
					}
					must(t, a.Hangup(t.Context()))
					ended(t, a.Call, sip.Local)
					ended(t, b.Call, sip.Remote)
					checkIdle(t, w)
					if inj.Hits() == 0 {
						t.Error("the fault has hit nothing")
					}
				})
			})
		}
	}
}

var (
	all = []sip.Transport{sip.TLS, sip.UDP}
	udp = []sip.Transport{sip.UDP}
)

// The ACK never comes: whoever answered ends the call after 64*T1, and says
// so to the other side (RFC 3261 §13.3.1.4).
func TestNoAck(t *testing.T) {
	for _, transport := range all {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				s := settings{ua: w.over(transport), media: media.Config{Codecs: codecsNamed("PCMU")}}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				w.Inject(siptest.Fault{Match: siptest.Match{Method: "ACK", User: "bob"}, Drop: true, Count: -1})
				ca := alice.start("bob")
				cb := bob.accept()
				start := time.Now()
				if err := cb.Answer(t.Context(), nil); !errors.Is(err, sip.ErrNoAck) {
					t.Errorf("bob got %v", err)
				}
				if d := time.Since(start); d != 32*time.Second {
					t.Errorf("after %v, want 32s", d)
				}
				ended(t, cb, sip.Nobody)
				ended(t, ca, sip.Remote)
				checkIdle(t, w)
			})
		})
	}
}
