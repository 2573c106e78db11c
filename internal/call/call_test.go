package call

import (
	"errors"
	"slices"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

var none = offeranswer.Options{}

// establish brings up a call, and forgets what the wire saw.
func establish(t *testing.T, w *world, alice, bob *party) (a, b *Call) {
	t.Helper()
	a = alice.call(none)
	w.run(50 * time.Millisecond)
	if len(bob.incoming) != 1 {
		t.Fatal("no incoming call")
	}
	b = bob.incoming[0]
	b.Answer(w.now, none, func(_ time.Time, err error) {
		if err != nil {
			t.Fatal("Answer:", err)
		}
	})
	w.run(50 * time.Millisecond)
	if a.State() != Established || b.State() != Established {
		t.Fatalf("states %v, %v", a.State(), b.State())
	}
	w.wire, alice.events, bob.events = nil, nil, nil
	return a, b
}

// RFC 3261 §13, §15: the plain call.
func TestCall(t *testing.T) {
	for _, reliable := range []bool{true, false} {
		w, alice, bob := newWorld(t, reliable)
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		if err := b.Ring(w.now, 180, ""); err != nil {
			t.Fatal(err)
		}
		w.run(time.Second)
		b.Answer(w.now, none, func(time.Time, error) {})
		w.run(time.Second)
		a.Hangup(w.now)
		w.over(alice, bob)
		w.check("alice INVITE", "bob 180 INVITE", "bob 200 INVITE", "alice ACK", "alice BYE", "bob 200 BYE")
		if want := []string{"calling", "ringing", "progress 180", "media", "established", "ended"}; !slices.Equal(alice.events, want) {
			t.Errorf("alice saw %q, want %q", alice.events, want)
		}
		if want := []string{"ringing", "answering", "media", "established", "ended"}; !slices.Equal(bob.events, want) {
			t.Errorf("bob saw %q, want %q", bob.events, want)
		}
		if a.End().By != Local || b.End().By != Remote || a.End().Error() != nil {
			t.Errorf("ends %+v, %+v", a.End(), b.End())
		}
		if want := []string{"answer alice offers 1", "commit", "close"}; !slices.Equal(bob.media.log, want) {
			t.Errorf("bob's media %q, want %q", bob.media.log, want)
		}
		if want := []string{"offer", `setanswer bob answers "alice offers 1" false`, "close"}; !slices.Equal(alice.media.log, want) {
			t.Errorf("alice's media %q, want %q", alice.media.log, want)
		}
	}
}

func TestReject(t *testing.T) {
	w, alice, bob := newWorld(t, false)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	if err := bob.incoming[0].Reject(w.now, 486, ""); err != nil {
		t.Fatal(err)
	}
	w.over(alice, bob)
	w.check("alice INVITE", "bob 486 INVITE", "alice ACK")
	var se *StatusError
	if err := a.End().Error(); !errors.As(err, &se) || se.Code != 486 || se.Phrase != "Busy Here" {
		t.Errorf("error %v", err)
	}
}

// An INVITE that nobody answers fails after exactly 64*T1 (RFC 3261 §17.1.1.2, Timer B).
func TestBlackHole(t *testing.T) {
	w, alice, bob := newWorld(t, false)
	w.lose = func(*party, sipgo.Message) bool { return true }
	a := alice.call(none)
	w.run(32*time.Second - time.Nanosecond)
	if a.State() != Calling {
		t.Fatalf("state %v before 64*T1", a.State())
	}
	w.run(time.Nanosecond)
	if a.State() != Ended || !errors.Is(a.End().Err, transaction.ErrTimeout) {
		t.Fatalf("state %v, end %+v after 64*T1", a.State(), a.End())
	}
	w.over(alice, bob)
}

// RFC 3261 §9.1: CANCEL waits for a provisional response.
func TestCancelBeforeProvisional(t *testing.T) {
	w, alice, bob := newWorld(t, false)
	a := alice.call(none)
	w.run(5 * time.Millisecond)
	a.Hangup(w.now, Reason{Protocol: "SIP", Cause: 200, Text: "Call completed elsewhere"})
	w.run(time.Second)
	w.check("alice INVITE", "bob 100 INVITE", "alice CANCEL", "bob 200 CANCEL", "bob 487 INVITE", "alice ACK")
	if b := bob.incoming[0]; b.End().By != Remote || len(b.End().Reasons) != 1 || b.End().Reasons[0].Cause != 200 {
		t.Errorf("bob's end %+v", b.End())
	}
	if a.End().By != Local {
		t.Errorf("alice's end %+v", a.End())
	}
	w.over(alice, bob)
}

// A call given up while its offer is still being made never leaves.
func TestHangupBeforeOffer(t *testing.T) {
	w, alice, bob := newWorld(t, false)
	alice.hold = true
	a := alice.call(none)
	a.Hangup(w.now)
	if a.State() != Ended {
		t.Errorf("state %v", a.State())
	}
	alice.release()
	w.over(alice, bob)
	w.check()
}

// RFC 3261 §9.1, §15: a 2xx that crosses the CANCEL is acknowledged, and the
// call ended by BYE.
func TestAnswerCrossesCancel(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Ring(w.now, 180, "")
	w.run(50 * time.Millisecond)
	b.Answer(w.now, none, func(time.Time, error) {})
	a.Hangup(w.now)
	w.over(alice, bob)
	w.check("alice INVITE", "bob 180 INVITE", "alice CANCEL", "bob 200 INVITE", "bob 200 CANCEL", "alice ACK", "alice BYE", "bob 200 BYE")
	if a.End().By != Local || b.End().By != Remote {
		t.Errorf("ends %+v, %+v", a.End(), b.End())
	}
}

// CANCEL while the answer is being made: the INVITE gets 487, media close.
func TestCancelWhileAnswering(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Ring(w.now, 180, "")
	w.run(50 * time.Millisecond)
	bob.hold = true
	var answered error
	b.Answer(w.now, none, func(_ time.Time, err error) { answered = err })
	a.Hangup(w.now)
	w.run(time.Second)
	if b.State() != Ended {
		t.Errorf("bob is %v", b.State())
	}
	bob.release()
	w.over(alice, bob)
	w.check("alice INVITE", "bob 180 INVITE", "alice CANCEL", "bob 200 CANCEL", "bob 487 INVITE", "alice ACK")
	_ = answered
}

// RFC 3261 §13.3.1.4: the 2xx is sent again at T1, doubling up to T2, until
// 64*T1, and the session then ended with BYE.
func TestNoAck(t *testing.T) {
	for _, reliable := range []bool{true, false} {
		w, alice, bob := newWorld(t, reliable)
		alice.script = func(time.Time, sipgo.Message) {} // hears, says nothing
		a := alice.call(none)
		_ = a
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		start := w.now
		b.Answer(w.now, none, func(time.Time, error) {})
		var at []time.Duration
		seen := 0
		for range 33 * 1000 {
			w.run(time.Millisecond)
			n := 0
			for _, m := range w.wire {
				if m == "bob 200 INVITE" {
					n++
				}
			}
			if n > seen {
				seen = n
				at = append(at, w.now.Sub(start).Round(100*time.Millisecond))
			}
		}
		want := []time.Duration{0}
		for next, step := 500*time.Millisecond, 500*time.Millisecond; next < 32*time.Second; {
			want = append(want, next)
			step = min(2*step, 4*time.Second)
			next += step
		}
		if !slices.Equal(at, want) {
			t.Errorf("reliable %v: 2xx at %v, want %v", reliable, at, want)
		}
		if b.State() != Ended || !errors.Is(b.End().Err, ErrNoAck) || !slices.Contains(w.wire, "bob BYE") {
			t.Errorf("state %v, end %+v, wire %q", b.State(), b.End(), w.wire)
		}
	}
}

// A lost ACK is sent again for each 2xx that comes again (RFC 3261 §13.2.2.4).
func TestLostAck(t *testing.T) {
	w, alice, bob := newWorld(t, false)
	acks := 0
	w.lose = func(p *party, m sipgo.Message) bool {
		if describeMessage(m) != "ACK" {
			return false
		}
		acks++
		return acks < 3
	}
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
	w.run(10 * time.Second)
	if acks != 3 || bob.incoming[0].State() != Established {
		t.Errorf("%d ACKs, bob is %v", acks, bob.incoming[0].State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3261 §15: the callee must not send BYE before the ACK.
func TestHangupBeforeAck(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(5 * time.Millisecond) // the 2xx is out, its ACK is not back
	b.Hangup(w.now)
	w.over(alice, bob)
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "bob BYE", "alice 200 BYE")
}

// reply makes a response as a scripted fork would send it.
func reply(req *sipgo.Request, status int, tag, sdp string) *sipgo.Response {
	r := sipwire.ResponseTo(req, status, "", tag)
	r.AppendHeader(&sipgo.ContactHeader{Address: sipgo.Uri{Scheme: "sip", User: tag, Host: tag + ".invalid"}})
	if sdp != "" {
		setSDP(r, []byte(sdp))
	}
	return r
}

// RFC 3261 §13.2.2.4: of several 2xx the first makes the call, the others get
// ACK and BYE, each in its own dialog.
func TestFork(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var got []string
	bob.script = func(now time.Time, m sipgo.Message) {
		req, ok := m.(*sipgo.Request)
		if !ok {
			return
		}
		got = append(got, string(req.Method)+" "+sipwire.ToTag(req)+" "+req.Recipient.Host)
		switch req.Method {
		case sipgo.INVITE:
			bob.Send(now, &flow{bob}, reply(req, 183, "one", "early one"))
			bob.Send(now, &flow{bob}, reply(req, 183, "two", "early two"))
			bob.Send(now, &flow{bob}, reply(req, 200, "two", "two"))
			bob.Send(now, &flow{bob}, reply(req, 200, "one", "one"))
			bob.Send(now, &flow{bob}, reply(req, 200, "two", "two"))
		case sipgo.BYE:
			bob.Send(now, &flow{bob}, reply(req, 200, "", ""))
		}
	}
	a := alice.call(none)
	w.run(time.Second)
	if a.State() != Established || a.RemoteTag() != "two" {
		t.Fatalf("%v with %q", a.State(), a.RemoteTag())
	}
	want := []string{"INVITE  example.com", "ACK two two.invalid", "ACK one one.invalid", "BYE one one.invalid", "ACK two two.invalid"}
	if !slices.Equal(got, want) {
		t.Errorf("bob got %q, want %q", got, want)
	}
	if !slices.Contains(alice.media.log, "setanswer early one true") || !slices.Contains(alice.media.log, "setanswer two false") {
		t.Errorf("media %q", alice.media.log)
	}
	a.Hangup(w.now)
	w.over(alice)
}

// A 2xx whose description is not that of its own 183 is honoured.
func TestAnswerDiffersFromEarly(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	bob.script = func(now time.Time, m sipgo.Message) {
		if req, ok := m.(*sipgo.Request); ok && req.Method == sipgo.INVITE {
			bob.Send(now, &flow{bob}, reply(req, 183, "x", "early"))
			bob.Send(now, &flow{bob}, reply(req, 183, "x", "early"))
			bob.Send(now, &flow{bob}, reply(req, 200, "x", "late"))
		}
	}
	a := alice.call(none)
	w.run(time.Second)
	if want := []string{"offer", "setanswer early true", "setanswer late false"}; !slices.Equal(alice.media.log, want) {
		t.Errorf("media %q, want %q", alice.media.log, want)
	}
	a.Abort(w.now, errNo)
	w.over(alice)
}

// An answer that media refuse ends the call that is already there: with BYE,
// as a 2xx cannot be taken back.
func TestBadAnswer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.media.refuse = map[string]error{"setanswer": errNo}
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	bob.incoming[0].Answer(w.now, none, func(time.Time, error) {})
	w.over(alice, bob)
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice BYE", "bob 200 BYE")
	if !errors.Is(a.End().Err, errNo) || a.End().By != Network {
		t.Errorf("end %+v", a.End())
	}
}

// An offer that media refuse is answered with 488 (RFC 3261 §13.3.1.3).
func TestBadOffer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	bob.media.refuse = map[string]error{"answer": errNo}
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	bob.incoming[0].Answer(w.now, none, func(_ time.Time, err error) {
		if !errors.Is(err, errNo) {
			t.Errorf("Answer: %v", err)
		}
	})
	w.over(alice, bob)
	w.check("alice INVITE", "bob 488 INVITE", "alice ACK")
	if a.End().Status != 488 {
		t.Errorf("end %+v", a.End())
	}
}

// RFC 3261 §13.2.1: an INVITE without an offer gets it in the 2xx, and the
// answer goes into the ACK.
func TestLateOffer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var s string
	alice.script = func(now time.Time, m sipgo.Message) {
		if r, ok := m.(*sipgo.Response); ok && r.IsSuccess() {
			s = string(r.Body())
			ack := ackFor(r)
			setSDP(ack, []byte("alice's answer"))
			alice.via(ack)
			alice.Send(now, &flow{alice}, ack)
		}
	}
	alice.Send(w.now, &flow{alice}, rawInvite(alice, ""))
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(time.Second)
	if s != "bob offers 1" || b.State() != Established {
		t.Errorf("offer %q, state %v", s, b.State())
	}
	if want := []string{"offer", "setanswer alice's answer false"}; !slices.Equal(bob.media.log, want) {
		t.Errorf("media %q", bob.media.log)
	}
}

func rawInvite(p *party, sdp string) *sipgo.Request {
	c := &Call{env: partyEnv{p}, id: "raw", localTag: "rawtag"}
	l := &leg{c: c, localURI: sipgo.Uri{Scheme: "sip", User: "alice", Host: "example.com"}, remoteURI: sipgo.Uri{Scheme: "sip", User: "bob", Host: "example.com"}}
	l.target = l.remoteURI
	req := l.request(sipgo.INVITE)
	if sdp != "" {
		setSDP(req, []byte(sdp))
	}
	p.via(req)
	return req
}

func ackFor(r *sipgo.Response) *sipgo.Request {
	ack := sipgo.NewRequest(sipgo.ACK, r.Contact().Address)
	ack.AppendHeader(r.From())
	ack.AppendHeader(r.To())
	ack.AppendHeader(r.CallID())
	ack.AppendHeader(&sipgo.CSeqHeader{SeqNo: r.CSeq().SeqNo, MethodName: sipgo.ACK})
	return ack
}

// RFC 3261 §14.2: a re-INVITE from the peer; a refused one changes nothing.
func TestReinviteFromPeer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	var outcome error
	a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(time.Second)
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK")
	if outcome != nil {
		t.Error(outcome)
	}
	w.wire = nil
	bob.media.refuse = map[string]error{"answer": errNo}
	a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(time.Second)
	w.check("alice INVITE", "bob 488 INVITE", "alice ACK")
	var se *StatusError
	if !errors.As(outcome, &se) || se.Code != 488 {
		t.Errorf("outcome %v", outcome)
	}
	if a.State() != Established || b.State() != Established {
		t.Errorf("states %v, %v", a.State(), b.State())
	}
	if !slices.Contains(alice.media.log, "rollback") || !slices.Contains(bob.media.log, "rollback") {
		t.Errorf("no rollback: %q, %q", alice.media.log, bob.media.log)
	}
	b.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3261 §14.1: offers that cross both get 491; the owner of the Call-ID waits
// longer than the other, and both get through.
func TestGlare(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	done := map[string]error{}
	a.Reoffer(w.now, none, func(_ time.Time, err error) { done["alice"] = err })
	b.Reoffer(w.now, none, func(_ time.Time, err error) { done["bob"] = err })
	w.run(100 * time.Millisecond)
	w.check("alice INVITE", "bob INVITE", "bob 491 INVITE", "alice 491 INVITE", "alice ACK", "bob ACK")
	w.run(10 * time.Second)
	if len(done) != 2 || done["alice"] != nil || done["bob"] != nil {
		t.Errorf("outcomes %v", done)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3261 §12.2.1.2: 481 to a request within the dialog ends the call.
func TestDialogGone(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	delete(bob.calls, b.LocalTag())
	a.Reoffer(w.now, none, nil)
	w.run(time.Second)
	if a.State() != Ended || a.End().Status != 481 {
		t.Errorf("%v, %+v", a.State(), a.End())
	}
	b.Abort(w.now, errNo)
	w.over(alice, bob)
}

// RFC 3261 §12.2.2: a lower CSeq is refused with 500; an unknown dialog with 481.
func TestSequence(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := establish(t, w, alice, bob)
	l := a.active
	l.localCSeq += 10
	upd := l.request(sipgo.UPDATE)
	alice.via(upd)
	alice.Send(w.now, &flow{alice}, upd)
	w.run(50 * time.Millisecond)
	l.localCSeq -= 10
	old := l.request(sipgo.UPDATE)
	alice.via(old)
	alice.Send(w.now, &flow{alice}, old)
	w.run(50 * time.Millisecond)
	w.check("alice UPDATE", "bob 200 UPDATE", "alice UPDATE", "bob 500 UPDATE")
	if b.State() != Established {
		t.Error(b.State())
	}
	w.wire = nil
	l.localCSeq += 20
	l.remoteTag, l.c.localTag = b.LocalTag(), "stranger"
	bye := l.request(sipgo.BYE)
	alice.via(bye)
	alice.Send(w.now, &flow{alice}, bye)
	w.run(50 * time.Millisecond)
	w.check("alice BYE", "bob 481 BYE")
	if b.State() != Established {
		t.Error("a stranger ended the call")
	}
}

// RFC 3261 §15.1.2: BYE of an early dialog answers the INVITE with 487.
func TestEarlyBye(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Ring(w.now, 180, "")
	w.run(50 * time.Millisecond)
	a.legs[0].bye(w.now, nil)
	w.run(time.Second)
	w.check("alice INVITE", "bob 180 INVITE", "alice BYE", "bob 200 BYE", "bob 487 INVITE", "alice ACK")
	w.over(alice, bob)
}

// RFC 3261 §14.2: a second INVITE before the first has its final response
// gets 500 with Retry-After.
func TestSecondInvite(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, _ := establish(t, w, alice, bob)
	bob.hold = true
	for range 2 {
		req := a.active.request(sipgo.INVITE)
		setSDP(req, []byte("again"))
		alice.via(req)
		alice.Send(w.now, &flow{alice}, req)
	}
	var after string
	alice.script = func(_ time.Time, m sipgo.Message) {
		if r, ok := m.(*sipgo.Response); ok && r.StatusCode == 500 {
			after = sipwire.Header(r, "Retry-After")
		}
	}
	w.run(100 * time.Millisecond)
	if after == "" {
		t.Errorf("no 500 with Retry-After; wire %q", w.wire)
	}
}
