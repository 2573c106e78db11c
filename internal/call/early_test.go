package call

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// answerer is a scripted peer that gets each request once and answers BYE by
// itself.
func answerer(p *party, got *[]string, on func(now time.Time, req *sipgo.Request)) {
	seen := map[string]bool{}
	p.script = func(now time.Time, m sipgo.Message) {
		req, ok := m.(*sipgo.Request)
		if !ok || seen[sipwire.TopBranch(req)+string(req.Method)] && req.Method != sipgo.ACK {
			return
		}
		seen[sipwire.TopBranch(req)+string(req.Method)] = true
		if got != nil {
			*got = append(*got, string(req.Method)+" "+sipwire.ToTag(req))
		}
		if req.Method == sipgo.BYE {
			p.say(now, reply(req, 200, "", ""))
		}
		if on != nil {
			on(now, req)
		}
	}
}

func (p *party) say(now time.Time, m sipgo.Message) { p.Send(now, p.link, m) }

// RFC 3261 §13.2.1, RFC 3264: each fork has a dialog and media of its own, all
// on the same offer. The one that answers keeps its early media; the others
// are closed, and what they still say is passed over.
func TestForkedEarlyMedia(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var invite *sipgo.Request
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			invite = req
			bob.say(now, reply(req, 183, "one", "early one"))
			bob.say(now, reply(req, 180, "two", ""))
			bob.say(now, reply(req, 183, "three", "early three"))
			bob.say(now, reply(req, 180, "", "")) // no tag, no dialog
		}
	})
	a := alice.call(none)
	w.run(time.Second)
	if len(a.legs) != 3 {
		t.Fatalf("%d dialogs, want 3", len(a.legs))
	}
	bob.say(w.now, reply(invite, 200, "three", ""))
	bob.say(w.now, reply(invite, 183, "four", "early four"))
	w.run(time.Second)
	if a.State() != Established || a.RemoteTag() != "three" {
		t.Errorf("%v with %q", a.State(), a.RemoteTag())
	}
	want := []string{"offer", "setanswer early one true", "setanswer early three true",
		"closeleg one", "setanswer early three false"}
	if !slices.Equal(alice.media.log, want) {
		t.Errorf("media %q, want %q", alice.media.log, want)
	}
	a.Hangup(w.now)
	w.over(alice)
}

// What comes after CANCEL alerts nobody and opens no media.
func TestProvisionalAfterCancel(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var invite *sipgo.Request
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		switch req.Method {
		case sipgo.INVITE:
			invite = req
			bob.say(now, reply(req, 100, "", ""))
		case sipgo.CANCEL:
			bob.say(now, reply(req, 200, "x", ""))
			bob.say(now, reply(invite, 183, "x", "early"))
			bob.say(now, reply(invite, 487, "x", ""))
		}
	})
	a := alice.call(none)
	w.run(time.Second)
	a.Hangup(w.now, Reason{Protocol: "SIP", Cause: 200, Text: "Call completed elsewhere"})
	a.Hangup(w.now) // once is enough
	w.over(alice)
	if want := []string{"calling", "ended"}; !slices.Equal(alice.events, want) {
		t.Errorf("events %q, want %q", alice.events, want)
	}
	if want := []string{"offer", "close"}; !slices.Equal(alice.media.log, want) {
		t.Errorf("media %q, want %q", alice.media.log, want)
	}
	if end := a.End(); end.By != Local || end.Status != 487 || len(end.Reasons) != 1 || end.Error() != nil {
		t.Errorf("end %+v", end)
	}
}

// No final response after CANCEL: the call ends 64*T1 after it (RFC 3261 §9.1).
func TestCancelUnanswered(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			bob.say(now, reply(req, 180, "x", ""))
		}
	})
	a := alice.call(none)
	w.run(time.Second)
	a.Hangup(w.now)
	w.run(32*time.Second - time.Nanosecond)
	if a.State() != Ringing {
		t.Errorf("%v before 64*T1", a.State())
	}
	w.run(time.Nanosecond)
	if a.State() != Ended || a.End().By != Local || a.End().Error() != nil {
		t.Errorf("%v, end %+v", a.State(), a.End())
	}
	w.over(alice)
}

// The dialogs that forks can make of one INVITE are bounded; the one that
// answers is taken in all the same.
func TestLegsBounded(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var got []string
	answerer(bob, &got, func(now time.Time, req *sipgo.Request) {
		if req.Method != sipgo.INVITE {
			return
		}
		for i := range 3 * maxLegs {
			bob.say(now, reply(req, 180, fmt.Sprint("fork", i), ""))
		}
		for i := range 3 * maxLegs {
			bob.say(now, reply(req, 200, fmt.Sprint("other", i), "sdp"))
		}
	})
	a := alice.call(none)
	w.run(time.Second)
	if a.State() != Established || a.RemoteTag() != "other0" {
		t.Errorf("%v with %q", a.State(), a.RemoteTag())
	}
	if len(a.legs) > maxLegs {
		t.Errorf("%d dialogs", len(a.legs))
	}
	acks, byes := 0, 0
	for _, s := range got {
		switch s[:3] {
		case "ACK":
			acks++
		case "BYE":
			byes++
		}
	}
	if acks != maxLegs || byes != maxLegs-1 {
		t.Errorf("%d ACKs and %d BYEs", acks, byes)
	}
	a.Hangup(w.now)
	w.over(alice)
}

// A peer that sends a new description with each 183, to media that take their
// time, does not fill the memory.
func TestEarlyAnswersBounded(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var invite *sipgo.Request
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method == sipgo.INVITE {
			invite = req
		}
	})
	a := alice.call(none)
	w.run(time.Second)
	alice.hold = true
	for i := range 10 * maxOps {
		bob.say(w.now, reply(invite, 183, "x", fmt.Sprint("description ", i)))
	}
	w.run(time.Second)
	if len(a.mediaOps) > maxOps {
		t.Errorf("%d operations wait", len(a.mediaOps))
	}
	bob.say(w.now, reply(invite, 200, "x", "final"))
	w.run(time.Second)
	alice.release()
	w.run(time.Second)
	if a.State() != Established || !slices.Contains(alice.media.log, "setanswer final false") {
		t.Errorf("%v, media %q", a.State(), alice.media.log)
	}
	a.Hangup(w.now)
	w.over(alice)
}

// 183 with our answer, then the same answer in the 200 (RFC 3261 §13.2.1).
func TestProgressThenAnswer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	outcome := errNo
	b.Progress(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(50 * time.Millisecond)
	if outcome != nil || b.State() != Ringing || a.State() != Ringing {
		t.Fatalf("%v, %v, %v", outcome, b.State(), a.State())
	}
	b.Progress(w.now, none, func(_ time.Time, err error) { outcome = err })
	if outcome != ErrState {
		t.Errorf("a second Progress: %v", outcome)
	}
	b.Answer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(50 * time.Millisecond)
	if outcome != nil || a.State() != Established || b.State() != Established {
		t.Errorf("%v, %v, %v", outcome, a.State(), b.State())
	}
	w.check("alice INVITE", "bob 183 INVITE", "bob 200 INVITE", "alice ACK")
	if want := []string{"answer alice offers 1", "commit"}; !slices.Equal(bob.media.log, want) {
		t.Errorf("bob's media %q, want %q", bob.media.log, want)
	}
	const sdp = `bob answers "alice offers 1"`
	if want := []string{"offer", "setanswer " + sdp + " true", "setanswer " + sdp + " false"}; !slices.Equal(alice.media.log, want) {
		t.Errorf("alice's media %q, want %q", alice.media.log, want)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// Answer while Progress is still under way.
func TestAnswerOvertakesProgress(t *testing.T) {
	for _, fail := range []bool{false, true} {
		w, alice, bob := newWorld(t, true)
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		bob.hold = true
		var early error
		answered := errNo
		b.Progress(w.now, none, func(_ time.Time, err error) { early = err })
		b.Answer(w.now, none, func(_ time.Time, err error) { answered = err })
		if fail {
			bob.media.refuse = map[string]error{"answer": errNo}
			work := bob.work
			bob.work, bob.hold = nil, false
			work[0]()
			bob.media.refuse = nil
		} else {
			bob.release()
		}
		w.run(time.Second)
		if (early != nil) != fail || answered != nil {
			t.Errorf("progress %v, answer %v", early, answered)
		}
		if a.State() != Established || b.State() != Established {
			t.Errorf("states %v, %v", a.State(), b.State())
		}
		w.check("alice INVITE", "bob 200 INVITE", "alice ACK")
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// Progress without effect: a refusal by media leaves the call ringing, and it
// can still be answered.
func TestProgressRefused(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	bob.media.refuse = map[string]error{"answer": errNo}
	var outcome error
	b.Progress(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(50 * time.Millisecond)
	if !errors.Is(outcome, errNo) || b.State() != Incoming {
		t.Errorf("%v, %v", outcome, b.State())
	}
	bob.media.refuse = nil
	b.Answer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(50 * time.Millisecond)
	if outcome != nil || a.State() != Established {
		t.Errorf("%v, %v", outcome, a.State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// "The UAS MUST send a non-100 provisional response at every minute" (RFC 3261
// §13.3.1.1).
func TestProvisionalEveryMinute(t *testing.T) {
	for _, progress := range []bool{false, true} {
		w, alice, bob := newWorld(t, true)
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		status := "180"
		b.Ring(w.now, 180, "")
		if progress {
			w.run(30 * time.Second)
			b.Progress(w.now, none, func(time.Time, error) {})
			status = "183"
		}
		w.run(10 * time.Millisecond)
		w.wire = nil
		w.run(time.Minute - 20*time.Millisecond)
		w.check()
		w.run(3 * time.Minute)
		w.check("bob "+status+" INVITE", "bob "+status+" INVITE", "bob "+status+" INVITE")
		b.Reject(w.now, 480, "")
		w.over(alice, bob)
		if a.End().Status != 480 {
			t.Errorf("end %+v", a.End())
		}
	}
}

// What is not possible in a state says so, and does nothing.
func TestWrongState(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	var outcome error
	told := func(_ time.Time, err error) { outcome = err }
	wrong := func(what string, want error) {
		t.Helper()
		if !errors.Is(outcome, want) {
			t.Errorf("%s: %v, want %v", what, outcome, want)
		}
		outcome = nil
	}
	outcome = b.Ring(w.now, 100, "")
	wrong("Ring 100", ErrState)
	outcome = b.Ring(w.now, 200, "")
	wrong("Ring 200", ErrState)
	outcome = b.Reject(w.now, 200, "")
	wrong("Reject 200", ErrState)
	outcome = b.Reject(w.now, 700, "")
	wrong("Reject 700", ErrState)
	outcome = a.Ring(w.now, 180, "")
	wrong("the caller rings", ErrState)
	a.Answer(w.now, none, told)
	wrong("the caller answers", ErrState)
	a.ReofferOnce(w.now, none, told)
	wrong("ReofferOnce before the answer", ErrState)
	b.Answer(w.now, none, func(time.Time, error) {})
	b.Answer(w.now, none, told)
	wrong("Answer twice", ErrState)
	w.run(time.Second)
	outcome = b.Reject(w.now, 486, "")
	wrong("Reject after Answer", ErrState)
	outcome = b.Ring(w.now, 180, "")
	wrong("Ring after Answer", ErrState)
	b.Progress(w.now, none, told)
	wrong("Progress after Answer", ErrState)
	a.Hangup(w.now)
	w.run(time.Second)
	a.Reoffer(w.now, none, told)
	wrong("Reoffer after the end", ErrEnded)
	b.Answer(w.now, none, told)
	wrong("Answer after the end", ErrState)
	w.over(alice, bob)
	if a.Hangup(w.now); len(w.wire) != 5 {
		t.Errorf("wire %q", w.wire)
	}
}

// A callback is told of the end too: once.
func TestCallbacksToldOfTheEnd(t *testing.T) {
	for _, op := range []string{"answer", "progress"} {
		w, alice, bob := newWorld(t, true)
		a := alice.call(none)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		bob.hold = true
		var told []error
		done := func(_ time.Time, err error) { told = append(told, err) }
		if op == "answer" {
			b.Answer(w.now, none, done)
		} else {
			b.Progress(w.now, none, done)
		}
		a.Hangup(w.now)
		w.run(time.Second)
		if len(told) != 1 || told[0] != ErrEnded {
			t.Errorf("%s: told %v when the caller gave up", op, told)
		}
		bob.release()
		w.over(alice, bob)
		if len(told) != 1 {
			t.Errorf("%s: told %v", op, told)
		}
	}
}

// Hang-up of a call that rings here: 603, with the reasons.
func TestDecline(t *testing.T) {
	w, alice, bob := newWorld(t, false)
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Ring(w.now, 180, "")
	b.Hangup(w.now, Reason{Protocol: "Q.850", Cause: 21, Text: "Rejected"})
	w.over(alice, bob)
	w.check("alice INVITE", "bob 180 INVITE", "bob 603 INVITE", "alice ACK")
	if end := a.End(); end.Status != 603 || len(end.Reasons) != 1 || end.Reasons[0] != (Reason{Protocol: "Q.850", Cause: 21, Text: "Rejected"}) {
		t.Errorf("alice's end %+v", end)
	}
	if end := b.End(); end.By != Local || end.Status != 603 || end.Phrase != "Decline" || end.Error() != nil {
		t.Errorf("bob's end %+v", end)
	}
}

// RFC 3261 §8.1.3.4: the Contacts of a redirection in the order of their q;
// Retry-After; Reason.
func TestRefusal(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		if req.Method != sipgo.INVITE {
			return
		}
		r := sipwire.ResponseTo(req, 302, "Elsewhere", "x")
		for _, c := range []string{"<sip:low@example.com>;q=0.1", "<sip:none@example.com>", "<sip:nan@example.com>;q=NaN", "<sip:high@example.com>;Q=0.9", "<sip:low2@example.com>;q=0.1"} {
			_, uri, params, err := sipwire.ParseNameAddr(c)
			if err != nil {
				t.Fatal(err)
			}
			r.AppendHeader(&sipgo.ContactHeader{Address: uri, Params: params})
		}
		r.AppendHeader(sipgo.NewHeader("Retry-After", "120 (busy);duration=5"))
		r.AppendHeader(sipgo.NewHeader("Reason", `Q.850;cause=17;text="User, busy", SIP;cause=486`))
		bob.say(now, r)
	})
	a := alice.call(none)
	w.over(alice)
	var se *StatusError
	if !errors.As(a.End().Error(), &se) {
		t.Fatalf("end %+v", a.End())
	}
	want := []string{"sip:none@example.com", "sip:nan@example.com", "sip:high@example.com", "sip:low@example.com", "sip:low2@example.com"}
	if se.Code != 302 || se.Phrase != "Elsewhere" || se.After != 2*time.Minute || !slices.Equal(se.Contacts, want) {
		t.Errorf("%+v", se)
	}
	if rs := []Reason{{Protocol: "Q.850", Cause: 17, Text: "User, busy"}, {Protocol: "SIP", Cause: 486}}; !slices.Equal(se.Reasons, rs) {
		t.Errorf("reasons %v", se.Reasons)
	}
	if se.Error() != "INVITE: 302 Elsewhere" {
		t.Errorf("%q", se.Error())
	}
}

// A refusal that a fork sends after another has answered changes nothing.
func TestRefusalAfterAnswer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, _ := establish(t, w, alice, bob)
	(*inviteHandler)(a).Response(w.now, alice.link, reply(a.Invite(), 603, "other", ""))
	if a.State() != Established {
		t.Errorf("%v", a.State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}
