package call

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// send sends a request within a call's dialog, past its machine.
func (p *party) send(l *leg, method sipgo.RequestMethod, sdp string) {
	req := l.request(method)
	if sdp != "" {
		setSDP(req, []byte(sdp))
	}
	p.via(req)
	p.say(p.w.now, req)
}

// answers collects what a party is answered, past its machine.
func (p *party) answers(on func(r *sipgo.Response)) {
	p.script = func(_ time.Time, m sipgo.Message) {
		if r, ok := m.(*sipgo.Response); ok {
			on(r)
		}
	}
}

// RFC 3311 §5.2: an offer in an UPDATE is answered; one without refreshes.
func TestUpdate_RFC3311_5_2(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	bob.media.log = nil
	var got []string
	alice.answers(func(r *sipgo.Response) { got = append(got, strconv.Itoa(r.StatusCode)+" "+string(r.Body())) })
	alice.send(a.active, sipgo.UPDATE, "offer")
	w.run(time.Second)
	alice.send(a.active, sipgo.UPDATE, "")
	w.run(time.Second)
	if want := []string{`200 bob answers "offer"`, "200 "}; !slices.Equal(got, want) {
		t.Errorf("answers %q, want %q", got, want)
	}
	if want := []string{"answer offer", "commit"}; !slices.Equal(bob.media.log, want) {
		t.Errorf("media %q", bob.media.log)
	}
	// An offer that is refused leaves the session as it was.
	bob.media.refuse = map[string]error{"answer": coded(606)}
	got = nil
	alice.send(a.active, sipgo.UPDATE, "another")
	w.run(time.Second)
	if !slices.Equal(got, []string{"606 "}) || b.State() != Established {
		t.Errorf("answers %q, %v", got, b.State())
	}
}

// RFC 3311 §5.2, RFC 3261 §14.2: offers that come while another is open. 491
// where the open one is ours, 500 with Retry-After where it is the peer's.
func TestUntimelyOffers(t *testing.T) {
	tests := []struct {
		name   string
		bring  func(t *testing.T, w *world, alice, bob *party) *leg // alice's view of the dialog
		method sipgo.RequestMethod
		sdp    string
		want   int
	}{
		{"caller's UPDATE while we ring", ringing, sipgo.UPDATE, "offer", 500},
		{"caller's refresh while we ring", ringing, sipgo.UPDATE, "", 200},
		{"caller's re-INVITE while we ring", ringing, sipgo.INVITE, "offer", 500},
		{"UPDATE while a re-INVITE is answered", answering, sipgo.UPDATE, "offer", 500},
		{"refresh while a re-INVITE is answered", answering, sipgo.UPDATE, "", 200},
		{"re-INVITE while a re-INVITE is answered", answering, sipgo.INVITE, "", 500},
		{"UPDATE while an UPDATE is answered", updating, sipgo.UPDATE, "", 500},
		{"re-INVITE while ours is open", offering, sipgo.INVITE, "offer", 491},
		{"UPDATE while our re-INVITE is open", offering, sipgo.UPDATE, "offer", 491},
		{"refresh while our re-INVITE is open", offering, sipgo.UPDATE, "", 200},
		{"re-INVITE while the offer in our 2xx is open", offered2xx, sipgo.INVITE, "offer", 491},
		{"UPDATE while the offer in our 2xx is open", offered2xx, sipgo.UPDATE, "offer", 491},
		{"refresh while the offer in our 2xx is open", offered2xx, sipgo.UPDATE, "", 200},
	}
	for _, tt := range tests {
		w, alice, bob := newWorld(t, true)
		l := tt.bring(t, w, alice, bob)
		var status int
		var after string
		alice.answers(func(r *sipgo.Response) {
			if r.CSeq().SeqNo == l.localCSeq && r.StatusCode >= 200 {
				status, after = r.StatusCode, sipwire.Header(r, "Retry-After")
			}
		})
		alice.send(l, tt.method, tt.sdp)
		w.run(100 * time.Millisecond)
		if status != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, status, tt.want)
		}
		if n, err := strconv.Atoi(after); (tt.want == 500) != (err == nil && n >= 0 && n <= 10) {
			t.Errorf("%s: Retry-After %q", tt.name, after)
		}
	}
}

func ringing(t *testing.T, w *world, alice, bob *party) *leg {
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	bob.incoming[0].Ring(w.now, 180, "")
	w.run(50 * time.Millisecond)
	return a.legs[0]
}

func answering(t *testing.T, w *world, alice, bob *party) *leg {
	a, _ := establish(t, w, alice, bob)
	bob.hold = true
	alice.send(a.active, sipgo.INVITE, "first")
	w.run(50 * time.Millisecond)
	return a.active
}

func updating(t *testing.T, w *world, alice, bob *party) *leg {
	a, _ := establish(t, w, alice, bob)
	bob.hold = true
	alice.send(a.active, sipgo.UPDATE, "first")
	w.run(50 * time.Millisecond)
	return a.active
}

func offering(t *testing.T, w *world, alice, bob *party) *leg {
	a, b := establish(t, w, alice, bob)
	alice.script = func(time.Time, sipgo.Message) {}
	b.Reoffer(w.now, none, nil)
	w.run(50 * time.Millisecond)
	return a.active
}

func offered2xx(t *testing.T, w *world, alice, bob *party) *leg {
	a, _ := establish(t, w, alice, bob)
	alice.script = func(time.Time, sipgo.Message) {}
	alice.send(a.active, sipgo.INVITE, "")
	w.run(50 * time.Millisecond)
	return a.active
}

// The same for a caller who has no final answer yet: 491, as the open offer is
// his own.
func TestUntimelyOfferOfCallee(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Progress(w.now, none, func(time.Time, error) {})
	w.run(50 * time.Millisecond)
	w.wire = nil
	bob.send(b.active, sipgo.UPDATE, "offer")
	bob.send(b.active, sipgo.UPDATE, "")
	w.run(50 * time.Millisecond)
	w.check("bob UPDATE", "bob UPDATE", "alice 491 UPDATE", "alice 200 UPDATE")
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 5407 §3.1.4: a re-INVITE that overtakes the ACK of the call's 2xx says
// that the 2xx arrived.
func TestReinviteBeforeAck(t *testing.T) {
	for _, hangup := range []bool{false, true} {
		w, alice, bob := newWorld(t, false)
		lost := 0
		w.lose = func(p *party, m sipgo.Message) bool {
			if describeMessage(m) == "ACK" && lost < 2 {
				lost++
				return true
			}
			return false
		}
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		b.Answer(w.now, none, func(time.Time, error) {})
		w.run(50 * time.Millisecond)
		if a.State() != Established || b.State() != Answering {
			t.Fatalf("%v, %v", a.State(), b.State())
		}
		if hangup {
			b.Hangup(w.now)
		}
		outcome := errNo
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(100 * time.Millisecond)
		if hangup {
			if b.State() != Ended || b.End().By != Local || a.State() != Ended || outcome != ErrEnded {
				t.Errorf("%v, %+v, %v, %v", b.State(), b.End(), a.State(), outcome)
			}
		} else if b.State() != Established || outcome != nil {
			t.Errorf("%v, %v", b.State(), outcome)
		}
		w.run(time.Minute)
		if !hangup && (a.State() != Established || b.State() != Established) {
			t.Errorf("later: %v, %v", a.State(), b.State())
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// The ACK of a re-INVITE is lost and sent again, the one of the call before it
// too (RFC 3261 §13.2.2.4).
func TestLostAcksOfTwo2xx(t *testing.T) {
	w, alice, bob := newWorld(t, false)
	var invites []*sipgo.Request
	var acks []uint32
	bob.script = func(now time.Time, m sipgo.Message) {
		req, ok := m.(*sipgo.Request)
		switch {
		case !ok:
		case req.Method == sipgo.INVITE:
			invites = append(invites, req)
			bob.say(now, reply(req, 200, "x", "answer"))
		case req.Method == sipgo.ACK:
			acks = append(acks, req.CSeq().SeqNo)
		case req.Method == sipgo.BYE:
			bob.say(now, reply(req, 200, "", ""))
		}
	}
	a := alice.call(none)
	w.run(100 * time.Millisecond)
	a.Reoffer(w.now, none, nil)
	w.run(100 * time.Millisecond)
	for _, invite := range slices.Backward(invites) {
		bob.say(w.now, reply(invite, 200, "x", "answer"))
		w.run(50 * time.Millisecond)
	}
	one, two := invites[0].CSeq().SeqNo, invites[1].CSeq().SeqNo
	if want := []uint32{one, two, two, one}; !slices.Equal(acks, want) {
		t.Errorf("ACKs of %v, want %v", acks, want)
	}
	a.Hangup(w.now)
	w.over(alice)
}

// RFC 3261 §14.1: after so many 491 an offer is given up.
func TestGlareExhausted(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	asked := 0
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			asked++
			bob.say(now, sipwire.ResponseTo(req, 491, "", ""))
		}
	})
	var outcome error
	a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(time.Minute)
	var se *StatusError
	if asked != maxGlare+1 || !errors.As(outcome, &se) || se.Code != 491 {
		t.Errorf("asked %d times, outcome %v", asked, outcome)
	}
	if a.State() != Established {
		t.Errorf("%v", a.State())
	}
	rollbacks := 0
	for _, s := range alice.media.log {
		if s == "rollback" {
			rollbacks++
		}
	}
	if rollbacks != maxGlare+1 {
		t.Errorf("%d rollbacks of %d offers", rollbacks, asked)
	}
	a.Hangup(w.now)
	b.Abort(w.now, errNo)
	w.over(alice, bob)
}

// While ours waits after a 491, the peer's offer goes first; ours follows.
func TestGlarePeerFirst(t *testing.T) {
	for _, method := range []sipgo.RequestMethod{sipgo.INVITE, sipgo.UPDATE} {
		w, alice, bob := newWorld(t, true)
		a, b := establish(t, w, alice, bob)
		once := true
		bob.script = func(now time.Time, m sipgo.Message) {
			if req, ok := m.(*sipgo.Request); ok && req.Method == sipgo.INVITE && once {
				once = false
				bob.say(now, sipwire.ResponseTo(req, 491, "", ""))
				bob.script = nil
				return
			}
			bob.table.Receive(now, bob.link, m)
		}
		outcome := errNo
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(50 * time.Millisecond)
		if !a.reoff.glare.Active() {
			t.Fatal("alice does not wait")
		}
		alice.hold = true
		if method == sipgo.INVITE {
			b.Reoffer(w.now, none, nil)
		} else {
			bob.send(b.active, sipgo.UPDATE, "bob's offer")
		}
		w.run(10 * time.Second) // alice's time has come, and bob's offer is still being answered
		if a.inward == nil || len(a.queued) != 1 {
			t.Fatalf("%s: %v answered, %d wait", method, a.inward, len(a.queued))
		}
		alice.release()
		w.run(time.Second)
		if outcome != nil {
			t.Errorf("%s: outcome %v", method, outcome)
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// A re-INVITE without an answer ends the call (RFC 3261 §12.2.1.2); one that
// cannot be sent, or is refused, does not.
func TestReofferFails(t *testing.T) {
	t.Run("timeout", func(t *testing.T) {
		w, alice, bob := newWorld(t, false)
		a, b := establish(t, w, alice, bob)
		bob.script = func(time.Time, sipgo.Message) {}
		var outcome error
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(32 * time.Second)
		if !errors.Is(outcome, transaction.ErrTimeout) || a.State() != Ended || !errors.Is(a.End().Err, transaction.ErrTimeout) {
			t.Errorf("outcome %v, %v, %+v", outcome, a.State(), a.End())
		}
		b.Abort(w.now, errNo)
		w.over(alice, bob)
	})
	t.Run("connection lost", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		a, _ := establish(t, w, alice, bob)
		bob.script = func(time.Time, sipgo.Message) {}
		var outcome error
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(time.Second)
		alice.table.FlowFailed(w.now, alice.link, errNo)
		if w.run(time.Second); outcome != errNo || a.State() != Established {
			t.Errorf("outcome %v, %v", outcome, a.State())
		}
		bob.script = nil
		a.Hangup(w.now)
		w.over(alice, bob)
		if !slices.Contains(alice.media.log, "rollback") {
			t.Errorf("media %q", alice.media.log)
		}
	})
	for _, status := range []int{408, 481} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			w, alice, bob := newWorld(t, true)
			a, b := establish(t, w, alice, bob)
			answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
				if req.Method == sipgo.INVITE {
					bob.say(now, sipwire.ResponseTo(req, status, "", ""))
				}
			})
			a.Reoffer(w.now, none, nil)
			w.run(time.Second)
			if a.State() != Ended || a.End().Status != status || !slices.Contains(w.wire, "alice BYE") {
				t.Errorf("%v, %+v, wire %q", a.State(), a.End(), w.wire)
			}
			b.Abort(w.now, errNo)
			w.over(alice, bob)
		})
	}
	t.Run("answered with nothing", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		a, b := establish(t, w, alice, bob)
		answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
			if req.Method == sipgo.INVITE {
				bob.say(now, reply(req, 200, "", ""))
			}
		})
		var outcome error
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(time.Second)
		if outcome != ErrAnswer || a.State() != Established {
			t.Errorf("%v, %v", outcome, a.State())
		}
		b.Abort(w.now, errNo)
		a.Hangup(w.now)
		w.over(alice, bob)
	})
	t.Run("media refuse the answer", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		a, _ := establish(t, w, alice, bob)
		alice.media.refuse = map[string]error{"setanswer": errNo}
		var outcome error
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.over(alice, bob)
		if outcome != errNo || a.End().Err != errNo {
			t.Errorf("%v, %+v", outcome, a.End())
		}
	})
	t.Run("media make no offer", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		a, _ := establish(t, w, alice, bob)
		alice.media.refuse = map[string]error{"offer": errNo}
		var outcome error
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(time.Second)
		if outcome != errNo || a.State() != Established {
			t.Errorf("%v, %v", outcome, a.State())
		}
		w.check()
		a.Hangup(w.now)
		w.over(alice, bob)
	})
}

// A call that ends while an offer of ours is open: the offer's 2xx still gets
// its ACK, and whoever waits for outcomes is told.
func TestEndWhileOffering(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	bob.hold = true
	var told []error
	for range 3 {
		a.Reoffer(w.now, none, func(_ time.Time, err error) { told = append(told, err) })
	}
	w.run(50 * time.Millisecond)
	a.Hangup(w.now)
	if len(told) != 3 || told[0] != ErrEnded {
		t.Errorf("told %v", told)
	}
	w.run(time.Second)
	bob.release()
	w.over(alice, bob)
	// The peer answers the open INVITE with 487 (RFC 3261 §15.1.2).
	w.check("alice INVITE", "alice BYE", "bob 200 BYE", "bob 487 INVITE", "alice ACK")
	_ = b

	w, alice, bob = newWorld(t, true)
	a, _ = establish(t, w, alice, bob)
	a.Reoffer(w.now, none, nil)
	w.run(15 * time.Millisecond) // the 2xx is on its way
	a.Hangup(w.now)
	w.over(alice, bob)
	w.check("alice INVITE", "bob 200 INVITE", "alice BYE", "alice ACK", "bob 200 BYE")
}

// RFC 5407 §3.2.2: a re-INVITE and a BYE cross. The BYE ends the call for both;
// the re-INVITE gets 481, which is told to whoever asked for it, and changes
// nothing in how the call has ended.
func TestReofferCrossesBye_RFC5407_3_2_2(t *testing.T) {
	for _, offer := range []bool{true, false} {
		w, alice, bob := newWorld(t, true)
		a, b := establish(t, w, alice, bob)
		outcome := errNo
		alice.media.late = !offer
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(0) // media have made the offer
		b.Hangup(w.now)
		w.over(alice, bob)
		w.check("alice INVITE", "bob BYE", "bob 481 INVITE", "alice 200 BYE", "alice ACK")
		if outcome != ErrEnded {
			t.Errorf("outcome %v", outcome)
		}
		if a.End().By != Remote || a.End().Err != nil || b.End().By != Local || b.End().Err != nil {
			t.Errorf("ends %+v, %+v", a.End(), b.End())
		}
	}
}

// Offers that wait are bounded.
func TestQueueBounded(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, _ := establish(t, w, alice, bob)
	done, busy := 0, 0
	for range 3 * maxPending {
		a.Reoffer(w.now, none, func(_ time.Time, err error) {
			switch err {
			case nil:
				done++
			case ErrBusy:
				busy++
			}
		})
	}
	w.run(time.Minute)
	if done != maxPending+1 || busy != 2*maxPending-1 {
		t.Errorf("%d done, %d refused", done, busy)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// What media tell the call.
func TestMediaNotify(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, _ := establish(t, w, alice, bob)
	alice.notify(offeranswer.Event{Kind: offeranswer.Started})
	alice.notify(offeranswer.Event{Kind: offeranswer.Timeout, Err: errNo})
	for range 100 {
		alice.notify(offeranswer.Event{Kind: offeranswer.NeedOffer})
	}
	w.run(time.Second)
	if want := []string{"started", "timeout no", "media", "media"}; !slices.Equal(alice.events, want) {
		t.Errorf("events %q, want %q", alice.events, want)
	}
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice INVITE", "bob 200 INVITE", "alice ACK")
	w.wire = nil
	alice.notify(offeranswer.Event{Kind: offeranswer.Failed, Err: errNo})
	alice.notify(offeranswer.Event{Kind: offeranswer.Failed})
	w.over(alice, bob)
	w.check("alice BYE", "bob 200 BYE")
	if err := a.End().Err; !errors.Is(err, ErrMedia) || !errors.Is(err, errNo) {
		t.Errorf("end %+v", a.End())
	}
}

// NeedOffer before the call stands waits until it does.
func TestNeedOfferEarly(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	alice.notify(offeranswer.Event{Kind: offeranswer.NeedOffer})
	alice.notify(offeranswer.Event{Kind: offeranswer.NeedOffer})
	w.run(50 * time.Millisecond)
	bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
	w.run(time.Second)
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice INVITE", "bob 200 INVITE", "alice ACK")
	a.Hangup(w.now)
	w.over(alice, bob)
}

// Media that fail end the call in whatever way its state needs.
func TestMediaFail(t *testing.T) {
	fail := offeranswer.Event{Kind: offeranswer.Failed}
	t.Run("calling", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		a := alice.call(none)
		w.run(250 * time.Millisecond)
		alice.notify(fail)
		w.over(alice, bob)
		w.check("alice INVITE", "bob 100 INVITE", "alice CANCEL", "bob 200 CANCEL", "bob 487 INVITE", "alice ACK")
		if a.End().By != Network || a.End().Err != ErrMedia {
			t.Errorf("end %+v", a.End())
		}
	})
	t.Run("early media", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		b.Progress(w.now, none, func(time.Time, error) {})
		w.run(50 * time.Millisecond)
		bob.notify(fail)
		w.over(alice, bob)
		if a.End().Status != 500 || b.End().By != Network || b.End().Err != ErrMedia {
			t.Errorf("ends %+v, %+v", a.End(), b.End())
		}
	})
	t.Run("before the ACK", func(t *testing.T) {
		w, alice, bob := newWorld(t, true)
		alice.call(none)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		b.Answer(w.now, none, func(time.Time, error) {})
		w.run(5 * time.Millisecond)
		bob.notify(fail)
		w.over(alice, bob)
		// RFC 3261 §15: no BYE before the ACK.
		w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "bob BYE", "alice 200 BYE")
		if b.End().Err != ErrMedia {
			t.Errorf("end %+v", b.End())
		}
	})
}

// A hang-up that waits for an ACK which never comes: it was the user's wish.
func TestHangupWithoutAck(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.script = func(time.Time, sipgo.Message) {}
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(50 * time.Millisecond)
	b.Hangup(w.now)
	w.run(time.Minute)
	if b.State() != Ended || b.End().By != Local || b.End().Error() != nil || !slices.Contains(w.wire, "bob BYE") {
		t.Errorf("%v, %+v", b.State(), b.End())
	}
	a.Abort(w.now, errNo)
}

// Without media there is no call; and a call that ends meanwhile closes what
// is made too late.
func TestNoMedia(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.newMedia = func() (offeranswer.Media, error) { return nil, errNo }
	a := alice.call(none)
	w.over(alice, bob)
	w.check()
	if a.End().Err != errNo {
		t.Errorf("end %+v", a.End())
	}

	w, alice, bob = newWorld(t, true)
	bob.newMedia = func() (offeranswer.Media, error) { return nil, errNo }
	a = alice.call(none)
	w.run(50 * time.Millisecond)
	bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
	w.over(alice, bob)
	if a.End().Status != 488 {
		t.Errorf("end %+v", a.End())
	}

	// A leg that cannot be made.
	w, alice, bob = newWorld(t, true)
	alice.newMedia = func() (offeranswer.Media, error) { return legless{alice.media}, nil }
	a = alice.call(none)
	w.run(50 * time.Millisecond)
	bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
	w.over(alice, bob)
	if a.End().Err != errNo {
		t.Errorf("end %+v", a.End())
	}
	w, alice, bob = newWorld(t, true)
	bob.newMedia = func() (offeranswer.Media, error) { return legless{bob.media}, nil }
	a = alice.call(none)
	w.run(50 * time.Millisecond)
	bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
	w.over(alice, bob)
	if a.End().Status != 488 {
		t.Errorf("end %+v", a.End())
	}
}

type legless struct{ *fakeMedia }

func (legless) Leg(string) (offeranswer.Leg, error) { return nil, errNo }

// The loop ends while an operation runs: its media are closed.
func TestAbort(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.hold = true
	a := alice.call(none)
	alice.aborts[0]() // nothing was made yet
	if len(alice.media.log) != 0 {
		t.Errorf("media %q", alice.media.log)
	}
	a.made = alice.media
	alice.aborts[0]()
	if !alice.media.closed {
		t.Error("media were not closed")
	}
	a.Abort(w.now, errNo)
	alice.release()
	w.over(alice, bob)
	w.check()
	if a.End().Err != errNo || a.End().By != Network {
		t.Errorf("end %+v", a.End())
	}
}

// A 2xx for a call that was aborted is acknowledged and ended.
func TestAnswerAfterAbort(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	a.Abort(w.now, errNo)
	b := bob.incoming[0]
	b.Answer(w.now, none, func(time.Time, error) {})
	w.over(alice, bob)
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice BYE", "bob 200 BYE")

	// So is a refusal, and silence.
	w, alice, bob = newWorld(t, true)
	a = alice.call(none)
	w.run(50 * time.Millisecond)
	a.Abort(w.now, errNo)
	bob.incoming[0].Reject(w.now, 486, "")
	w.over(alice, bob)
	w, alice, bob = newWorld(t, false)
	bob.script = func(time.Time, sipgo.Message) {}
	a = alice.call(none)
	w.run(50 * time.Millisecond)
	a.Abort(w.now, errNo)
	w.over(alice)
}

// A late offer that comes to nothing: no answer in the ACK, one that media
// refuse, one that cannot be read.
func TestLateOfferFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		ack  func(ack *sipgo.Request)
		want error // nil: the body's
	}{
		{"no answer", func(*sipgo.Request) {}, ErrOffer},
		{"refused", func(ack *sipgo.Request) { setSDP(ack, []byte("answer")) }, errNo},
		{"no description", func(ack *sipgo.Request) { ack.SetBody([]byte("answer")) }, nil},
	} {
		w, alice, bob := newWorld(t, true)
		bob.media.refuse = map[string]error{"setanswer": errNo}
		alice.script = func(now time.Time, m sipgo.Message) {
			switch m := m.(type) {
			case *sipgo.Response:
				if m.IsSuccess() && m.CSeq().MethodName == sipgo.INVITE {
					ack := ackFor(m)
					tt.ack(ack)
					alice.via(ack)
					alice.say(now, ack)
				}
			case *sipgo.Request:
				alice.say(now, sipwire.ResponseTo(m, 200, "", ""))
			}
		}
		alice.say(w.now, rawInvite(alice, ""))
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		b.Answer(w.now, none, func(time.Time, error) {})
		w.over(bob)
		if err := b.End().Err; b.End().By != Network || tt.want != nil && err != tt.want || tt.want == nil && StatusOf(err) != 400 {
			t.Errorf("%s: end %+v", tt.name, b.End())
		}
		if !slices.Contains(w.wire, "bob BYE") {
			t.Errorf("%s: wire %q", tt.name, w.wire)
		}
	}
	// The callee cannot make one.
	w, alice, bob := newWorld(t, true)
	bob.media.refuse = map[string]error{"offer": errNo}
	alice.script = func(time.Time, sipgo.Message) {}
	alice.say(w.now, rawInvite(alice, ""))
	w.run(50 * time.Millisecond)
	var outcome error
	bob.incoming[0].Answer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(time.Second)
	if outcome != errNo || !slices.Contains(w.wire, "bob 488 INVITE") {
		t.Errorf("%v, wire %q", outcome, w.wire)
	}
	// The caller gets none.
	w, alice, bob = late(t)
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			bob.say(now, reply(req, 183, "x", "an offer that does not count"))
			bob.say(now, reply(req, 200, "x", ""))
		}
	})
	a := alice.call(none)
	w.over(alice)
	if a.End().Err != ErrAnswer || len(alice.media.log) > 1 {
		t.Errorf("end %+v, media %q", a.End(), alice.media.log)
	}
}

// New keys are asked of media where a peer wants an offer in mid-call.
func TestReinviteWithoutOffer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var asked offeranswer.Options
	bob.newMedia = func() (offeranswer.Media, error) { return &asking{bob.media, &asked}, nil }
	a, b := establish(t, w, alice, bob)
	alice.send(a.active, sipgo.INVITE, "")
	w.run(50 * time.Millisecond)
	if !asked.NewKeys {
		t.Errorf("asked for %+v", asked)
	}
	b.Abort(w.now, errNo)
	a.Hangup(w.now)
	w.over(alice, bob)
}

type asking struct {
	*fakeMedia
	o *offeranswer.Options
}

func (m *asking) Leg(dialog string) (offeranswer.Leg, error) {
	return &askingLeg{&fakeLeg{m.fakeMedia, dialog}, m.o}, nil
}

type askingLeg struct {
	*fakeLeg
	o *offeranswer.Options
}

func (l *askingLeg) Offer(ctx context.Context, o offeranswer.Options) ([]byte, error) {
	*l.o = o
	return l.fakeLeg.Offer(ctx, o)
}
