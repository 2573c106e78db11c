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

// calling100rel is a call whose INVITE says this of 100rel: "Require" or "Supported".
func calling100rel(t *testing.T, w *world, alice, bob *party, how string) (a, b *Call) {
	t.Helper()
	a = alice.callSaying(how)
	w.run(50 * time.Millisecond)
	if len(bob.incoming) != 1 {
		t.Fatal("no incoming call")
	}
	return a, bob.incoming[0]
}

// RFC 3262 §3, §4: a reliable 183, its PRACK, and a 2xx without a description.
func TestReliableProgress(t *testing.T) {
	for _, how := range []string{"Require", "Supported"} {
		for _, stream := range []bool{true, false} {
			w, alice, bob := newWorld(t, stream)
			a, b := calling100rel(t, w, alice, bob, how)
			b.Progress(w.now, none, func(time.Time, error) {})
			w.run(50 * time.Millisecond)
			b.Answer(w.now, none, func(time.Time, error) {})
			w.run(50 * time.Millisecond)
			if a.State() != Established || b.State() != Established {
				t.Fatalf("%s: states %v, %v; wire %q", how, a.State(), b.State(), w.wire)
			}
			w.check("alice INVITE", "bob 183 INVITE", "alice PRACK", "bob 200 PRACK", "bob 200 INVITE", "alice ACK")
			if want := "setanswer bob answers \"alice offers 1\" false"; !slices.Contains(alice.media.log, want) {
				t.Errorf("alice's media %q: RFC 3262 §5: the answer of a reliable response is no promise", alice.media.log)
			}
			a.Hangup(w.now)
			w.over(alice, bob)
		}
	}
}

// RFC 3262 §3: a 180 is reliable only where the caller requires it.
func TestReliableRinging(t *testing.T) {
	for how, want := range map[string]bool{"Require": true, "Supported": false} {
		w, alice, bob := newWorld(t, true)
		a, b := calling100rel(t, w, alice, bob, how)
		b.Ring(w.now, 180, "")
		w.run(50 * time.Millisecond)
		if got := slices.Contains(w.wire, "alice PRACK"); got != want {
			t.Errorf("%s: PRACK %v", how, got)
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// RFC 3262 §3: who rings reliably says so every two and a half minutes. Each is
// a response of its own, with the next RSeq and a PRACK, and describes nothing
// again.
func TestReliableReminders_RFC3262_3(t *testing.T) {
	for _, op := range []string{"180", "183"} {
		for _, stream := range []bool{true, false} {
			w, alice, bob := newWorld(t, stream)
			var said []string
			w.lose = func(_ *party, m sipgo.Message) bool {
				if r, ok := m.(*sipgo.Response); ok && r.IsProvisional() {
					said = append(said, fmt.Sprintf("%v %d %s %v", w.now.Sub(epoch), r.StatusCode, sipwire.Header(r, "RSeq"), len(r.Body()) > 0))
				}
				return false
			}
			a, b := calling100rel(t, w, alice, bob, "Require")
			if op == "180" {
				b.Ring(w.now, 180, "")
			} else {
				b.Progress(w.now, none, func(time.Time, error) {})
			}
			w.run(6 * time.Minute)
			first := uint32(0.5*(1<<30)) + 1
			want := []string{
				fmt.Sprintf("50ms %s %d %v", op, first, op == "183"),
				fmt.Sprintf("2m30.05s %s %d false", op, first+1),
				fmt.Sprintf("5m0.05s %s %d false", op, first+2),
			}
			if !slices.Equal(said, want) {
				t.Errorf("%s: said %q, want %q", op, said, want)
			}
			pracks := 0
			for _, m := range w.wire {
				if m == "alice PRACK" {
					pracks++
				}
			}
			if pracks != 3 {
				t.Errorf("%s: %d PRACKs, want 3", op, pracks)
			}
			b.Answer(w.now, none, func(time.Time, error) {})
			w.run(time.Second)
			if a.State() != Established || b.State() != Established {
				t.Errorf("%s: states %v, %v", op, a.State(), b.State())
			}
			a.Hangup(w.now)
			w.over(alice, bob)
		}
	}
}

// RFC 3262 §3: "The UAS MUST NOT send a second reliable provisional response
// until the first is acknowledged"; those that waited then go at once.
func TestReliableFirstAlone(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	first := true
	w.lose = func(p *party, m sipgo.Message) bool {
		if describeMessage(m) == "180 INVITE" && first {
			first = false
			return true
		}
		return false
	}
	a, b := calling100rel(t, w, alice, bob, "Require")
	b.Ring(w.now, 180, "")
	b.Ring(w.now, 182, "Queued")
	b.Ring(w.now, 183, "")
	w.run(time.Second)
	w.check("alice INVITE", "bob 180 INVITE", "bob 180 INVITE", "alice PRACK", "bob 200 PRACK",
		"bob 182 INVITE", "bob 183 INVITE", "alice PRACK", "alice PRACK", "bob 200 PRACK", "bob 200 PRACK")
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3262 §3: sent again at T1, 2*T1, 4*T1 ... and given up with 5xx after
// 64*T1.
func TestReliableWithoutPrack(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var at []time.Duration
	start := time.Duration(0)
	w.lose = func(p *party, m sipgo.Message) bool {
		if describeMessage(m) == "180 INVITE" {
			at = append(at, w.now.Sub(epoch)-start)
			return true
		}
		return false
	}
	_, b := calling100rel(t, w, alice, bob, "Require")
	start = w.now.Sub(epoch)
	b.Ring(w.now, 180, "")
	w.run(40 * time.Second)
	ms := time.Millisecond
	if want := []time.Duration{0, 500 * ms, 1500 * ms, 3500 * ms, 7500 * ms, 15500 * ms, 31500 * ms}; !slices.Equal(at, want) {
		t.Errorf("sent at %v, want %v", at, want)
	}
	if !errors.Is(b.End().Err, ErrNoPrack) || !slices.Contains(w.wire, "bob 504 INVITE") {
		t.Errorf("end %+v, wire %q", b.End(), w.wire)
	}
	w.over(alice, bob)
}

// RFC 3262 §3: no 2xx before the PRACK of a response with a description.
func TestAnswerWaitsForPrack(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	lost := 0
	w.lose = func(p *party, m sipgo.Message) bool {
		if describeMessage(m) == "183 INVITE" && lost < 2 {
			lost++
			return true
		}
		return false
	}
	a, b := calling100rel(t, w, alice, bob, "Supported")
	b.Progress(w.now, none, func(time.Time, error) {})
	w.run(50 * time.Millisecond)
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(10 * time.Second)
	w.check("alice INVITE", "bob 183 INVITE", "bob 183 INVITE", "bob 183 INVITE", "alice PRACK", "bob 200 PRACK", "bob 200 INVITE", "alice ACK")
	if a.State() != Established {
		t.Error(a.State())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3262 §5: an INVITE without an offer gets it in the first reliable
// response, and the answer comes in the PRACK.
func TestOfferInReliable(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.media.late = true
	a, b := calling100rel(t, w, alice, bob, "Require")
	b.Ring(w.now, 180, "")
	w.run(50 * time.Millisecond)
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(50 * time.Millisecond)
	if a.State() != Established || b.State() != Established {
		t.Fatalf("states %v, %v; wire %q", a.State(), b.State(), w.wire)
	}
	if !slices.Contains(alice.media.log, "answer bob offers 1") || !slices.Contains(bob.media.log, `setanswer alice answers "bob offers 1" false`) {
		t.Errorf("media %q, %q", alice.media.log, bob.media.log)
	}
	w.check("alice INVITE", "bob 180 INVITE", "alice PRACK", "bob 200 PRACK", "bob 200 INVITE", "alice ACK")
	b.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3262 §4: what is out of order is neither acknowledged nor processed; each
// fork counts for itself.
func TestReliableForks(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var racks []string
	bob.script = func(now time.Time, m sipgo.Message) {
		req, ok := m.(*sipgo.Request)
		if !ok {
			return
		}
		switch req.Method {
		case sipgo.INVITE:
			for _, s := range []struct {
				tag  string
				rseq int
			}{{"one", 7}, {"two", 100}, {"one", 9}, {"one", 7}, {"one", 8}, {"two", 101}} {
				r := reply(req, 180, s.tag, "")
				r.AppendHeader(sipgo.NewHeader("Require", "100rel"))
				r.AppendHeader(sipgo.NewHeader("RSeq", fmt.Sprint(s.rseq)))
				bob.Send(now, &flow{p: bob}, r)
			}
		case sipgo.PRACK:
			racks = append(racks, sipwire.ToTag(req)+" "+sipwire.Header(req, "RAck"))
			bob.Send(now, &flow{p: bob}, reply(req, 200, "", ""))
		}
	}
	a := alice.call(none)
	w.run(time.Second)
	cseq := a.invite.CSeq().SeqNo
	var want []string
	for _, s := range []string{"one 7", "two 100", "one 8", "two 101"} {
		want = append(want, fmt.Sprintf("%s %d INVITE", s, cseq))
	}
	if !slices.Equal(racks, want) {
		t.Errorf("RAcks %q, want %q", racks, want)
	}
	a.Abort(w.now, errNo)
}

// RFC 3262 §3: a PRACK for nothing gets 481.
func TestStrayPrack(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, _ := establish(t, w, alice, bob)
	req := a.active.request(sipgo.PRACK)
	req.AppendHeader(sipgo.NewHeader("RAck", "1 1 INVITE"))
	alice.via(req)
	alice.Send(w.now, &flow{p: alice}, req)
	w.run(50 * time.Millisecond)
	w.check("alice PRACK", "bob 481 PRACK")
	a.Hangup(w.now)
	w.over(alice, bob)
}

// A provisional response that waits for its turn does not take an answered call
// back to ringing.
func TestAnswerWithProvisionalsWaiting(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := calling100rel(t, w, alice, bob, "Require")
	b.Ring(w.now, 180, "")
	b.Progress(w.now, none, func(time.Time, error) {})
	b.Ring(w.now, 182, "")
	w.run(0)
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(time.Second)
	if a.State() != Established || b.State() != Established {
		t.Errorf("states %v, %v; wire %q", a.State(), b.State(), w.wire)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3311 §5.1: once offer and answer went reliably, either side may make an
// offer in an UPDATE before the call is answered. What the 2xx says then, if
// anything, is the past.
func TestEarlyUpdate_RFC3311_5_1(t *testing.T) {
	for _, caller := range []bool{true, false} {
		w, alice, bob := newWorld(t, true)
		a, b := calling100rel(t, w, alice, bob, "Require")
		b.Progress(w.now, none, func(time.Time, error) {})
		w.run(100 * time.Millisecond)
		w.wire, alice.media.log, bob.media.log = nil, nil, nil
		from, to, l := alice, bob, a.legs[0]
		if !caller {
			from, to, l = bob, alice, b.active
		}
		from.send(l, sipgo.UPDATE, "changed")
		w.run(100 * time.Millisecond)
		w.check(from.name+" UPDATE", to.name+" 200 UPDATE")
		if want := []string{"answer changed", "commit"}; !slices.Equal(to.media.log, want) {
			t.Errorf("media of %s: %q, want %q", to.name, to.media.log, want)
		}
		alice.media.log = nil
		b.Answer(w.now, none, func(time.Time, error) {})
		w.run(100 * time.Millisecond)
		if a.State() != Established || b.State() != Established {
			t.Errorf("%v, %v", a.State(), b.State())
		}
		if !caller && len(alice.media.log) != 0 {
			t.Errorf("the 2xx changed alice's media: %q", alice.media.log)
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// RFC 3262 §5: offers in PRACK. One after our answer is answered; one while the
// first has no answer is not acceptable; one that cannot be read is refused.
func TestOfferInPrack_RFC3262_5(t *testing.T) {
	for _, tt := range []struct {
		name   string
		early  bool // our answer was in the response
		refuse bool
		body   string
		ct     string
		want   []string
	}{
		{"after our answer", true, false, "new", "application/sdp", []string{`200 bob answers "new"`}},
		{"that media refuse", true, true, "new", "application/sdp", []string{"488 "}},
		{"too early", false, false, "new", "application/sdp", []string{"488 "}},
		{"of another type", true, false, "new", "text/plain", []string{"415 "}},
	} {
		w, alice, bob := newWorld(t, true)
		var got []string
		var l *leg
		alice.script = func(now time.Time, m sipgo.Message) {
			r, ok := m.(*sipgo.Response)
			if !ok {
				return
			}
			switch {
			case r.CSeq().MethodName == sipgo.PRACK:
				got = append(got, fmt.Sprint(r.StatusCode, " ", string(r.Body())))
			case sipwire.Header(r, "RSeq") != "" && l == nil:
				c := &Call{env: partyEnv{alice}, id: "raw", localTag: "rawtag"}
				l = &leg{c: c, remoteTag: sipwire.ToTag(r), localCSeq: r.CSeq().SeqNo}
				l.localURI, l.remoteURI, l.target = r.From().Address, r.To().Address, r.Contact().Address
				req := l.request(sipgo.PRACK)
				req.AppendHeader(sipgo.NewHeader("RAck", fmt.Sprint(sipwire.Header(r, "RSeq"), " ", r.CSeq().SeqNo, " INVITE")))
				setSDP(req, []byte(tt.body))
				ct := sipgo.ContentTypeHeader(tt.ct)
				req.ReplaceHeader(&ct)
				alice.via(req)
				alice.say(now, req)
			}
		}
		invite := rawInvite(alice, "offer")
		invite.AppendHeader(sipgo.NewHeader("Require", "100rel"))
		alice.say(w.now, invite)
		w.run(50 * time.Millisecond)
		b := bob.incoming[0]
		if tt.early {
			b.Progress(w.now, none, func(time.Time, error) {})
		} else {
			b.Ring(w.now, 180, "")
		}
		w.run(10 * time.Millisecond)
		if tt.refuse {
			bob.media.refuse = map[string]error{"answer": errNo}
		}
		w.run(100 * time.Millisecond)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		b.Reject(w.now, 486, "")
	}
}

// What goes wrong with an offer in a reliable response.
func TestOfferInReliableFails(t *testing.T) {
	setup := func(t *testing.T) (w *world, alice, bob *party, a, b *Call) {
		w, alice, bob = newWorld(t, true)
		alice.media.late = true
		a, b = calling100rel(t, w, alice, bob, "Require")
		return w, alice, bob, a, b
	}
	t.Run("callee makes none", func(t *testing.T) {
		w, alice, bob, a, b := setup(t)
		bob.media.refuse = map[string]error{"offer": errNo}
		b.Ring(w.now, 180, "")
		w.over(alice, bob)
		if a.End().Status != 488 || b.End().Err != errNo {
			t.Errorf("ends %+v, %+v", a.End(), b.End())
		}
	})
	t.Run("caller refuses it", func(t *testing.T) {
		w, alice, bob, a, b := setup(t)
		alice.media.refuse = map[string]error{"answer": errNo}
		b.Ring(w.now, 180, "")
		w.over(alice, bob)
		if a.End().Err != errNo || b.End().Err != ErrOffer {
			t.Errorf("ends %+v, %+v", a.End(), b.End())
		}
	})
	t.Run("callee refuses the answer", func(t *testing.T) {
		w, alice, bob, a, b := setup(t)
		bob.media.refuse = map[string]error{"setanswer": errNo}
		b.Ring(w.now, 180, "")
		w.over(alice, bob)
		if a.End().Status != 488 || b.End().Err != errNo {
			t.Errorf("ends %+v, %+v", a.End(), b.End())
		}
	})
	t.Run("a second response before the offer was made", func(t *testing.T) {
		w, alice, bob, a, b := setup(t)
		bob.hold = true
		b.Ring(w.now, 180, "")
		b.Ring(w.now, 182, "")
		bob.release()
		b.Answer(w.now, none, func(time.Time, error) {})
		w.run(time.Second)
		if a.State() != Established || b.State() != Established {
			t.Errorf("%v, %v; wire %q", a.State(), b.State(), w.wire)
		}
		if w.wire[1] != "bob 180 INVITE" || !slices.Contains(alice.media.log, "answer bob offers 1") {
			t.Errorf("wire %q, media %q", w.wire, alice.media.log)
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	})
	t.Run("answered before the offer was made", func(t *testing.T) {
		w, alice, bob, a, b := setup(t)
		bob.hold = true
		b.Ring(w.now, 180, "")
		b.Answer(w.now, none, func(time.Time, error) {})
		bob.release()
		w.run(time.Second)
		if a.State() != Established || b.State() != Established {
			t.Errorf("%v, %v; wire %q", a.State(), b.State(), w.wire)
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	})
}

// What waits to be acknowledged is bounded, before the first PRACK and after it.
func TestReliableBounded(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	w.lose = func(_ *party, m sipgo.Message) bool { return describeMessage(m) == "183 INVITE" }
	a, b := calling100rel(t, w, alice, bob, "Require")
	waiting := func() int { return len(b.reliable.queue) + len(b.reliable.out) }
	for range 10 * maxPending {
		b.Ring(w.now, 180, "")
	}
	if n := waiting(); n != maxPending || len(b.reliable.out) != 1 {
		t.Errorf("%d wait, %d are out", n, len(b.reliable.out))
	}
	w.run(time.Second)
	if n := waiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
	for range 10 * maxPending {
		b.Ring(w.now, 183, "")
	}
	if n := len(b.reliable.out); n != maxPending {
		t.Errorf("%d are out", n)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}
