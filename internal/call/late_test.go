package call

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// lateMedia ask for an INVITE without an offer.
type lateMedia struct{ *fakeMedia }

func (lateMedia) Offer(context.Context, offeranswer.Options) ([]byte, error) { return nil, nil }
func (m lateMedia) Leg(dialog string) (offeranswer.Leg, error) {
	return lateLeg{&fakeLeg{m.fakeMedia, dialog}}, nil
}

type lateLeg struct{ *fakeLeg }

func (lateLeg) Offer(context.Context, offeranswer.Options) ([]byte, error) { return nil, nil }

func late(t *testing.T) (w *world, alice, bob *party) {
	w, alice, bob = newWorld(t, true)
	alice.newMedia = func() (offeranswer.Media, error) { return lateMedia{alice.media}, nil }
	return w, alice, bob
}

// RFC 3261 §13.2.1: the offer in the 2xx, the answer in the ACK.
func TestOfferless(t *testing.T) {
	w, alice, bob := late(t)
	a, _ := establish(t, w, alice, bob)
	if want := []string{"answer bob offers 1", "commit"}; !slices.Equal(alice.media.log, want) {
		t.Errorf("alice's media: %q, want %q", alice.media.log, want)
	}
	if want := []string{"offer", `setanswer alice answers "bob offers 1" false`}; !slices.Equal(bob.media.log, want) {
		t.Errorf("bob's media: %q, want %q", bob.media.log, want)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
	w.check("alice BYE", "bob 200 BYE")
}

// RFC 3261 §14.1: the same in a re-INVITE.
func TestOfferlessReinvite(t *testing.T) {
	w, alice, bob := late(t)
	a, _ := establish(t, w, alice, bob)
	outcome := errNo
	a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(time.Second)
	if outcome != nil {
		t.Error(outcome)
	}
	if want := "answer bob offers 2"; !slices.Contains(alice.media.log, want) {
		t.Errorf("alice's media: %q lack %q", alice.media.log, want)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice BYE", "bob 200 BYE")
}

// A 2xx that comes again while its offer is being answered is no second one.
func TestOfferlessSlowAnswer(t *testing.T) {
	w, alice, bob := late(t)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	alice.hold = true
	bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
	w.run(2 * time.Second)
	if a.State() == Established {
		t.Error("established without an answer")
	}
	alice.release()
	w.run(time.Second)
	if a.State() != Established {
		t.Error("state", a.State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
	w.check("alice INVITE", "bob 200 INVITE", "bob 200 INVITE", "bob 200 INVITE", "alice ACK", "alice BYE", "bob 200 BYE")
}

// An offer that cannot be answered, and a call given up meanwhile: the 2xx is
// acknowledged before the BYE (RFC 3261 §13.2.2.4, §15).
func TestOfferlessEnds(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		w, alice, bob := late(t)
		alice.media.refuse = map[string]error{"answer": errNo}
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
		w.over(alice, bob)
		// Bob misses his answer and ends the call too.
		w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice BYE", "bob BYE", "bob 200 BYE", "alice 200 BYE")
		if a.End().Err != errNo {
			t.Errorf("end %+v", a.End())
		}
	})
	t.Run("given up", func(t *testing.T) {
		w, alice, bob := late(t)
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		alice.hold = true
		bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
		w.run(50 * time.Millisecond)
		a.Hangup(w.now)
		w.run(50 * time.Millisecond)
		alice.release()
		w.over(alice, bob)
		// Bob misses his answer and ends the call too.
		w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice BYE", "bob BYE", "bob 200 BYE", "alice 200 BYE")
	})
}

// An offer made for somebody else is not repeated after 491.
func TestReofferOnce(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	var once error
	again := errNo
	a.ReofferOnce(w.now, none, func(_ time.Time, err error) { once = err })
	b.Reoffer(w.now, none, func(_ time.Time, err error) { again = err })
	w.run(10 * time.Second)
	var refused *StatusError
	if !errors.As(once, &refused) || refused.Code != 491 {
		t.Errorf("made once: %v, want 491", once)
	}
	if again != nil {
		t.Errorf("made again: %v", again)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}
