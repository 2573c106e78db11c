package e2e_test

import (
	"testing"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Hold and resume by both sides, in every order (RFC 6337 §5.3): who is held
// is told to both, and nobody who holds hears anything.
func TestHoldAndResume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHums(t, "PCMU")
		local, remote, both := sip.Hold{Local: true}, sip.Hold{Remote: true}, sip.Hold{Local: true, Remote: true}
		const sr, so, ro, in = offeranswer.SendRecv, offeranswer.SendOnly, offeranswer.RecvOnly, offeranswer.Inactive
		for i, step := range []struct {
			who    *end
			on     bool
			a, b   sip.Hold
			da, db offeranswer.Direction // what each says
		}{
			{h.a, true, local, remote, so, ro},
			{h.a, true, local, remote, so, ro},
			{h.b, true, both, both, in, so},
			{h.a, false, remote, local, sr, so},
			{h.b, false, sip.Hold{}, sip.Hold{}, sr, sr},
			{h.b, true, remote, local, ro, so},
			{h.b, false, sip.Hold{}, sip.Hold{}, sr, sr},
		} {
			if step.on {
				must(t, step.who.Hold(t.Context()))
			} else {
				must(t, step.who.Resume(t.Context()))
			}
			pass(200 * ms) // what was under way
			if h.a.Held() != step.a || h.b.Held() != step.b {
				t.Errorf("step %d: held %+v and %+v, want %+v and %+v", i, h.a.Held(), h.b.Held(), step.a, step.b)
			}
			if a, b := h.a.Streams()[0], h.b.Streams()[0]; a.Local != step.da || b.Local != step.db || a.Remote != step.db || b.Remote != step.da {
				t.Errorf("step %d: alice has %+v, bob %+v, want %v and %v", i, a, b, step.da, step.db)
			}
			if step.a == (sip.Hold{}) {
				h.during(t, 0, func() {})
				continue
			}
			for x, hears := range map[*end]bool{h.a: step.da.Receives() && step.db.Sends(), h.b: step.db.Receives() && step.da.Sends()} {
				before := x.sess.Stats().Received.Packets
				pass(200 * ms)
				if got := x.sess.Stats().Received.Packets - before; !hears && got != 0 {
					t.Errorf("step %d: %s got %d packets", i, x.p.AOR(), got)
				}
			}
		}
		var told []sip.Hold
		hangup(t, h.a, h.b)
		for _, e := range callEvents(t, h.a.Call) {
			if e.Kind == sip.HoldChanged {
				told = append(told, e.Held)
			}
		}
		want := []sip.Hold{local, both, remote, {}, remote, {}}
		if len(told) != len(want) {
			t.Fatalf("alice was told %+v, want %+v", told, want)
		}
		for i := range want {
			if told[i] != want[i] {
				t.Errorf("alice was told %+v, want %+v", told, want)
			}
		}
	})
}
