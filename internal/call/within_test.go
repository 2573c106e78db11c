package call

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// RFC 3261 §12.2.1.2, RFC 5057 §5: 481, 408 and silence end the call, unless
// the request is of another usage; other refusals do not. The outcome is told
// once.
func TestWithin(t *testing.T) {
	for _, status := range []int{200, 405, 408, 481, 500, 503, 603, 0} {
		for _, apart := range []bool{false, true} {
			t.Run(fmt.Sprint(status, apart), func(t *testing.T) {
				w, alice, bob := newWorld(t, true)
				a, b := establish(t, w, alice, bob)
				answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
					if req.Method == sipgo.INFO && status != 0 {
						bob.say(now, sipwire.ResponseTo(req, status, "", ""))
					}
				})
				told, got := 0, 0
				var failure error
				err := a.Within(w.now, Within{Method: sipgo.INFO, Apart: apart, Done: func(_ time.Time, r *sipgo.Response, err error) {
					if told++; r != nil {
						got = r.StatusCode
					}
					failure = err
				}})
				w.run(time.Minute)
				if err != nil || told != 1 || got != status || (status == 0) != errors.Is(failure, transaction.ErrTimeout) {
					t.Errorf("%v; told %d times: %d, %v", err, told, got, failure)
				}
				ends := !apart && (status == 0 || status == 408 || status == 481)
				if (a.State() == Ended) != ends || ends && a.End().Status != status {
					t.Errorf("%v, %+v", a.State(), a.End())
				}
				a.Hangup(w.now)
				b.Abort(w.now, errNo)
				w.over(alice, bob)
				if err := a.Within(w.now, Within{Method: sipgo.INFO}); err != ErrEnded {
					t.Errorf("after the end: %v", err)
				}
			})
		}
	}
}

// Before the answer: within the only early dialog there is, and it does not
// end the INVITE.
func TestWithinEarly(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var invite *sipgo.Request
	to := ""
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		switch req.Method {
		case sipgo.INVITE:
			invite = req
		case sipgo.INFO:
			to = sipwire.ToTag(req)
			bob.say(now, sipwire.ResponseTo(req, 481, "", ""))
		}
	})
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	info := func(want error) {
		t.Helper()
		if err := a.Within(w.now, Within{Method: sipgo.INFO}); err != want {
			t.Errorf("%v, want %v", err, want)
		}
		w.run(50 * time.Millisecond)
	}
	info(ErrState)
	bob.say(w.now, reply(invite, 180, "one", ""))
	w.run(50 * time.Millisecond)
	info(nil)
	if to != "one" || a.State() != Ringing {
		t.Errorf("to %q, %v", to, a.State())
	}
	bob.say(w.now, reply(invite, 180, "two", ""))
	w.run(50 * time.Millisecond)
	info(ErrState)
	bob.say(w.now, reply(invite, 200, "two", "answer"))
	w.run(50 * time.Millisecond)
	if a.State() != Established {
		t.Error(a.State())
	}
	a.Hangup(w.now)
	w.over(alice)
}

// RFC 3261 §15.1.2, RFC 5407 §3.1: a BYE that comes during a re-INVITE. Theirs is
// answered 487; ours is told that the call has ended, and what comes to it is
// acknowledged. A request within the dialog is told its answer all the same.
func TestByeDuringReinvite(t *testing.T) {
	for _, final := range []int{200, 481, 487} {
		t.Run("ours "+strconv.Itoa(final), func(t *testing.T) {
			w, alice, bob := newWorld(t, true)
			a, b := establish(t, w, alice, bob)
			var invite, info *sipgo.Request
			acks := 0
			answerer(bob, nil, func(_ time.Time, req *sipgo.Request) {
				switch req.Method {
				case sipgo.INVITE:
					invite = req
				case sipgo.INFO:
					info = req
				case sipgo.ACK:
					acks++
				}
			})
			var outcome error
			told := 0
			a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
			_ = a.Within(w.now, Within{Method: sipgo.INFO, Done: func(time.Time, *sipgo.Response, error) { told++ }})
			w.run(50 * time.Millisecond)
			bob.send(b.active, sipgo.BYE, "")
			w.run(50 * time.Millisecond)
			if a.State() != Ended || a.End().By != Remote || outcome != ErrEnded {
				t.Errorf("%v, %+v, %v", a.State(), a.End(), outcome)
			}
			bob.say(w.now, reply(invite, final, "", ""))
			bob.say(w.now, sipwire.ResponseTo(info, 481, "", ""))
			w.run(50 * time.Millisecond)
			if acks != 1 || told != 1 || a.End().By != Remote {
				t.Errorf("%d ACKs, told %d times, end %+v", acks, told, a.End())
			}
			b.Abort(w.now, errNo)
			w.over(alice, bob)
		})
	}
	t.Run("theirs", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		a, b := establish(t, w, alice, bob)
		alice.hold = true
		b.Reoffer(w.now, none, nil)
		w.run(50 * time.Millisecond)
		bob.send(b.active, sipgo.BYE, "")
		w.run(50 * time.Millisecond)
		w.check("bob INVITE", "bob BYE", "alice 200 BYE", "alice 487 INVITE", "bob ACK")
		if a.State() != Ended || a.End().By != Remote {
			t.Errorf("%v, %+v", a.State(), a.End())
		}
		b.Abort(w.now, errNo)
		alice.release()
		w.over(alice, bob)
	})
}

// RFC 3261 §12.2.2: a number lower than the last is refused with 500, whatever
// the method, and changes nothing.
func TestCSeqBackwards(t *testing.T) {
	for _, m := range []sipgo.RequestMethod{sipgo.INVITE, sipgo.UPDATE, sipgo.BYE, sipgo.PRACK} {
		w, alice, bob := newWorld(t, true)
		a, b := establish(t, w, alice, bob)
		status := 0
		bob.answers(func(r *sipgo.Response) { status = r.StatusCode })
		bob.send(b.active, sipgo.UPDATE, "")
		w.run(50 * time.Millisecond)
		b.active.localCSeq -= 2
		bob.send(b.active, m, "")
		w.run(50 * time.Millisecond)
		if status != 500 || a.State() != Established {
			t.Errorf("%s: %d, %v", m, status, a.State())
		}
		a.Abort(w.now, errNo)
		b.Abort(w.now, errNo)
	}
}
