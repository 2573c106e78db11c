package call

import (
	"errors"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// A callee who rings says so every minute (RFC 3261 §13.3.1.1). One who falls
// silent is given up after silenceLimit, and forgotten 64*T1 later (§9.1).
func TestSilentCallee(t *testing.T) {
	for _, reliable := range []bool{true, false} {
		w, alice, bob := newWorld(t, reliable)
		a := alice.call(none)
		w.run(time.Second)
		bob.incoming[0].Ring(w.now, 180, "")
		w.run(10 * time.Minute)
		if a.State() != Ringing {
			t.Fatalf("a callee who is reminded of is %v", a.State())
		}
		var said, cancelled time.Time
		lost := false
		w.lose = func(_ *party, m sipgo.Message) bool {
			switch describeMessage(m) {
			case "180 INVITE":
				if !lost {
					said = w.now
				}
			case "CANCEL":
				if cancelled.IsZero() {
					cancelled = w.now
				}
			}
			return lost
		}
		w.run(2 * time.Minute)
		lost = true
		w.run(silenceLimit + time.Second)
		if d := cancelled.Sub(said.Add(latency)); d != silenceLimit {
			t.Errorf("given up after %v, want %v", d, silenceLimit)
		}
		w.run(cancelled.Add(64*500*time.Millisecond - time.Millisecond).Sub(w.now))
		if a.State() == Ended {
			t.Error("forgotten too early")
		}
		w.run(time.Millisecond)
		if a.State() != Ended || a.End().By != Network || !errors.Is(a.End().Err, transaction.ErrTimeout) {
			t.Errorf("%v: %+v", a.State(), a.End())
		}
	}
}

// RFC 3261 §13.3.1: an INVITE is valid for as long as its Expires says. One
// that does not say is not let ring for ever.
func TestRingLimit_RFC3261_13_3_1(t *testing.T) {
	for _, tt := range []struct {
		expires string
		limit   time.Duration
		status  int
	}{
		{"30", 30 * time.Second, 487},
		{"86400", ringLimit, 480},
		{"0", ringLimit, 480},
		{"", ringLimit, 480},
	} {
		w, alice, bob := newWorld(t, true)
		var headers []sipgo.Header
		if tt.expires != "" {
			headers = append(headers, sipgo.NewHeader("Expires", tt.expires))
		}
		a := alice.dial(none, headers...)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		b.Limit(w.now)
		b.Ring(w.now, 180, "")
		w.run(tt.limit - time.Millisecond)
		if b.State() != Ringing {
			t.Errorf("Expires %q: %v before the time", tt.expires, b.State())
		}
		w.run(time.Second)
		if b.State() != Ended || b.End().By != Remote || a.End().Status != tt.status {
			t.Errorf("Expires %q: %+v, %+v", tt.expires, b.End(), a.End())
		}
		w.over(alice, bob)
	}
	// It is over when the call is answered.
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Limit(w.now)
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(2 * ringLimit)
	if a.State() != Established || b.State() != Established {
		t.Errorf("%v, %v", a.State(), b.State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3261 §14.2, RFC 6337 §5.3: an offer that a re-INVITE asks for is made as
// in a new call. That the peer does not want to hear us may have been another's
// word.
func TestOfferAskedUnderHold(t *testing.T) {
	for _, tt := range []struct {
		hold bool // ours
		want string
	}{
		{false, "offer sendrecv"},
		{true, "offer sendonly"},
	} {
		w, alice, bob := newWorld(t, true)
		ma := alice.negotiate()
		bob.negotiate()
		a, b := establish(t, w, alice, bob)
		a.holding.used = true
		if err := bob.holds(b, true); err != nil {
			t.Fatal(err)
		}
		if tt.hold {
			if err := alice.holds(a, true); err != nil {
				t.Fatal(err)
			}
		}
		ma.said()
		bob.send(b.active, sipgo.INVITE, "")
		w.run(50 * time.Millisecond)
		if got := ma.said(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
