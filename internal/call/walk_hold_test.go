package call

import (
	"math/rand/v2"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// One call, whose two ends hold and resume, renegotiate, refresh and send INFO
// at random times, over a wire that loses and delays, with session timers as
// short as they may be. At rest each end says of the hold what the other says, and no
// direction is missing that nobody took away (RFC 3264 §8.4, RFC 6337 §5.3).
func TestRandomHolds(t *testing.T) {
	total := map[string]int{}
	for _, reliable := range []bool{true, false} {
		for seed := range uint64(40) {
			h := newHolds(t, reliable, seed)
			for range 6 {
				h.rough = true
				for range 25 {
					h.step()
					h.run(time.Duration(h.rng.IntN(600)) * time.Millisecond)
				}
				h.rough = false
				h.run(10 * time.Minute) // refreshes by both, too
				h.agree()
			}
			h.calls[0].Hangup(h.now)
			h.over(h.parties[:]...)
			if h.pending != 0 {
				t.Errorf("%d callbacks were not told", h.pending)
			}
			for what, n := range h.done {
				total[what] += n
			}
			if t.Failed() {
				t.Fatalf("reliable %v, seed %d", reliable, seed)
			}
		}
	}
	for _, what := range []string{"hold", "resume", "reoffer", "refresh", "info", "both", "one", "none"} {
		if total[what] < 40 {
			t.Errorf("%s: %d times only", what, total[what])
		}
	}
	t.Logf("%v", total)
}

// holds is such a walk.
type holds struct {
	*walk
	calls [2]*Call
}

func newHolds(t *testing.T, reliable bool, seed uint64) *holds {
	w, alice, bob := newWorld(t, reliable)
	h := &holds{walk: &walk{world: w, parties: [2]*party{alice, bob}, done: map[string]int{}}}
	for i, p := range h.parties {
		p.negotiate()
		// Each refreshes in a part of the walks (RFC 4028 §7.1).
		p.wants(SessionTimer{Expires: 90 * time.Second, MinSE: 90 * time.Second, Refresher: []Side{Local, Remote}[(uint64(i)+seed)%2]})
	}
	h.calls[0], h.calls[1] = establish(t, w, alice, bob)
	w.rng = rand.New(rand.NewPCG(seed, 1)) // from now on the wire is no straight one
	w.lose = func(*party, sipgo.Message) bool { return h.rough && !reliable && h.rng.IntN(100) < 10 }
	return h
}

func (h *holds) step() {
	i := h.rng.IntN(2)
	p, c := h.parties[i], h.calls[i]
	switch op := h.rng.IntN(10); {
	case op < 3:
		c.Hold(h.now, true, h.told("Hold"))
		h.done["hold"]++
	case op < 6:
		c.Hold(h.now, false, h.told("Hold"))
		h.done["resume"]++
	case op == 6:
		c.Reoffer(h.now, none, h.told("Reoffer"))
		h.done["reoffer"]++
	case op == 7:
		p.send(c.active, sipgo.UPDATE, "")
		h.done["refresh"]++
	default:
		told := h.told("Within")
		err := c.Within(h.now, Within{Method: sipgo.INFO, Apart: true, Done: func(now time.Time, _ *sipgo.Response, err error) { told(now, err) }})
		if err != nil {
			h.t.Errorf("INFO: %v", err)
			told(h.now, err)
		}
		h.done["info"]++
	}
}

// agree fails the test unless both say the same, and sound goes where nobody holds.
func (h *holds) agree() {
	h.t.Helper()
	a, b := h.calls[0], h.calls[1]
	if a.State() != Established || b.State() != Established {
		h.t.Errorf("states %v, %v: %+v, %+v", a.State(), b.State(), a.End(), b.End())
		return
	}
	ah, bh := a.Held(), b.Held()
	if ah.Local != bh.Remote || ah.Remote != bh.Local {
		h.t.Errorf("alice says %+v, bob %+v", ah, bh)
	}
	for i, c := range h.calls {
		held := c.Held()
		s := c.Streams()[0]
		if sends, receives := s.Local.Sends() && s.Remote.Receives(), s.Local.Receives() && s.Remote.Sends(); sends == held.Remote || receives == held.Local {
			h.t.Errorf("%s: held %+v, and sends %v, receives %v", h.parties[i].name, held, sends, receives)
		}
	}
	switch {
	case ah.Local && ah.Remote:
		h.done["both"]++
	case ah.Local || ah.Remote:
		h.done["one"]++
	default:
		h.done["none"]++
	}
}
