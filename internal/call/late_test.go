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

// RFC 3261 §13.2.2.4: a 2xx with an offer that crosses the hang-up gets an
// answer all the same, which refuses every stream, and then a BYE. So the callee
// sees a caller who hangs up, and not one who breaks the rules.
func TestOfferlessAnswerCrossesHangup_RFC3261_13_2_2_4(t *testing.T) {
	for name, hangup := range map[string]func(w *world, alice *party, a *Call){
		"before it comes": func(w *world, _ *party, a *Call) {
			w.run(time.Millisecond)
			a.Hangup(w.now)
		},
		"while it is being answered": func(w *world, alice *party, a *Call) {
			alice.hold = true
			w.run(50 * time.Millisecond)
			a.Hangup(w.now)
			w.run(50 * time.Millisecond)
			alice.release()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, alice, bob := late(t)
			m := bob.negotiate()
			a := alice.call(none)
			w.run(50 * time.Millisecond)
			b := bob.incoming[0]
			b.Answer(w.now, none, func(time.Time, error) {})
			hangup(w, alice, a)
			w.over(alice, bob)
			if got, want := m.said(), "offer sendrecv, take -"; got != want {
				t.Errorf("bob's media: %q, want %q", got, want)
			}
			if b.End().By != Remote || b.End().Err != nil {
				t.Errorf("bob: %+v", b.End())
			}
			w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice BYE", "bob 200 BYE")
		})
	}
}

// RFC 3264 §6: the answer has the offer's m= lines, all with port 0.
func TestDeclined_RFC3264_6(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
	for _, tt := range []struct{ offer, want string }{
		{"v=0\r\no=- 7 7 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000/2 RTP/SAVP 0 8\r\na=sendrecv\r\nm=video 0 RTP/AVP 96\r\n",
			head + "m=audio 0 RTP/SAVP 0 8\r\nm=video 0 RTP/AVP 96\r\n"},
		{"v=0\nm=audio 4000 RTP/AVP 0\n", head + "m=audio 0 RTP/AVP 0\r\n"},
		{"v=0\r\n", ""},
		{"m=audio 4000\r\n", ""},
		{"m=\r\n", ""},
		{"", ""},
	} {
		if got := string(declined([]byte(tt.offer))); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.offer, got, tt.want)
		}
	}
}
