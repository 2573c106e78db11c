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
	var to, from sipgo.Uri
	_ = sipgo.ParseUri("sip:bob@example.com", &to)
	_ = sipgo.ParseUri("sip:alice@example.com", &from)
	a = New(partyEnv{alice}, Timers{}, Start{To: to, From: from, Headers: []sipgo.Header{sipgo.NewHeader(how, "100rel")}})
	alice.calls[a.LocalTag()] = a
	a.Dial(w.now, none)
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

// RFC 3262 §3: "The UAS MUST NOT send a second reliable provisional response
// until the first is acknowledged", and then may.
func TestReliableOneAtATime(t *testing.T) {
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
	w.check("alice INVITE", "bob 180 INVITE", "bob 180 INVITE", "alice PRACK", "bob 200 PRACK", "bob 182 INVITE", "alice PRACK", "bob 200 PRACK",
		"bob 183 INVITE", "alice PRACK", "bob 200 PRACK")
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
