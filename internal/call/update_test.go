package call

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// early is a call that rings, with its first exchange completed reliably, and
// both allow UPDATE.
func early(t *testing.T, w *world, alice, bob *party) (a, b *Call) {
	t.Helper()
	alice.says, bob.says = "INVITE, PRACK, UPDATE", "INVITE, PRACK, UPDATE"
	a, b = calling100rel(t, w, alice, bob, "Supported")
	b.Progress(w.now, none, func(time.Time, error) {})
	w.run(100 * time.Millisecond)
	if !a.legs[0].exchanged || !b.active.exchanged || a.State() != Ringing || b.State() != Ringing {
		t.Fatalf("no early exchange: %q", w.wire)
	}
	w.wire = nil
	return a, b
}

// RFC 3311 §5.1: before the call is answered either side makes offers by
// UPDATE, after a first exchange that was reliable. The 2xx has no description
// then, as none is owed.
func TestEarlyOffer_RFC3311_5_1(t *testing.T) {
	for _, who := range []string{"alice", "bob"} {
		w, alice, bob := newWorld(t, true)
		ma, mb := alice.negotiate(), bob.negotiate()
		a, b := early(t, w, alice, bob)
		ma.said()
		mb.said()
		p, c, other := alice, a, "bob"
		if who == "bob" {
			p, c, other = bob, b, "alice"
		}
		o := offeranswer.Options{Direction: map[int]offeranswer.Direction{0: offeranswer.SendOnly}}
		if err := p.asked(func(now time.Time, done func(time.Time, error)) { c.Reoffer(now, o, done) }); err != nil {
			t.Errorf("%s: %v", who, err)
		}
		w.check(who+" UPDATE", other+" 200 UPDATE")
		b.Answer(w.now, none, func(time.Time, error) {})
		w.run(100 * time.Millisecond)
		if a.State() != Established || b.State() != Established {
			t.Errorf("%s: %v, %v", who, a.State(), b.State())
		}
		mine, theirs := ma.said(), mb.said()
		if who == "bob" {
			mine, theirs = theirs, mine
		}
		if mine != "offer sendonly, take recvonly" || theirs != "answer recvonly" {
			t.Errorf("%s: %q and %q", who, mine, theirs)
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// An offer that cannot go yet waits: for the reliable response, or for the
// answer of the call, and then goes as what fits.
func TestEarlyOfferWaits(t *testing.T) {
	for _, tt := range []struct {
		name     string
		reliable bool
		allow    string
		want     []string
	}{
		{"in the PRACK", true, "UPDATE", []string{"alice INVITE", "bob 183 INVITE", "alice PRACK", "bob 200 PRACK", "bob 200 INVITE", "alice ACK"}},
		{"in the PRACK, without UPDATE", true, "INVITE", []string{"alice INVITE", "bob 183 INVITE", "alice PRACK", "bob 200 PRACK", "bob 200 INVITE", "alice ACK"}},
		{"in a re-INVITE", false, "UPDATE", []string{"alice INVITE", "bob 183 INVITE", "bob 200 INVITE", "alice ACK", "alice INVITE", "bob 200 INVITE", "alice ACK"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, alice, bob := newWorld(t, true)
			ma, mb := alice.negotiate(), bob.negotiate()
			alice.says, bob.says = tt.allow, tt.allow
			how := ""
			if tt.reliable {
				how = "Supported"
			}
			a := alice.callSaying(how)
			outcome := errNo
			a.Reoffer(w.now, offeranswer.Options{Direction: map[int]offeranswer.Direction{0: offeranswer.RecvOnly}}, func(_ time.Time, err error) { outcome = err })
			w.run(50 * time.Millisecond)
			b := bob.incoming[0]
			b.Progress(w.now, none, func(time.Time, error) {})
			w.run(100 * time.Millisecond)
			if tt.reliable && outcome != nil {
				t.Errorf("before the answer: %v", outcome)
			}
			b.Answer(w.now, none, func(time.Time, error) {})
			w.run(100 * time.Millisecond)
			if outcome != nil {
				t.Errorf("outcome %v", outcome)
			}
			w.check(tt.want...)
			if got := ma.said(); !strings.Contains(got, "offer recvonly, take sendonly") {
				t.Errorf("alice's media: %s", got)
			}
			if got := mb.said(); got != "answer sendrecv, answer sendonly" {
				t.Errorf("bob's media: %s", got)
			}
			a.Hangup(w.now)
			w.over(alice, bob)
		})
	}
}

// RFC 3262 §5: the offer in a PRACK that is refused leaves the first exchange
// as it was, and the response acknowledged.
func TestOfferInPrackRefused(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	ma := alice.negotiate()
	var answer string
	bob.negotiate()
	a := alice.callSaying("Supported")
	var outcome error
	a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
	bob.script = func(now time.Time, msg sipgo.Message) {
		req, ok := msg.(*sipgo.Request)
		if ok && req.Method == sipgo.PRACK {
			answer = sipwire.Header(req, "RAck") + " " + strconv.FormatBool(req.Body() != nil)
			bob.say(now, sipwire.ResponseTo(req, 488, "", ""))
			return
		}
		bob.table.Receive(now, bob.link, msg)
	}
	w.run(50 * time.Millisecond)
	bob.incoming[0].Progress(w.now, none, func(time.Time, error) {})
	w.run(100 * time.Millisecond)
	var refused *StatusError
	if !errors.As(outcome, &refused) || refused.Method != "PRACK" || refused.Code != 488 {
		t.Errorf("outcome %v", outcome)
	}
	if want := fmt.Sprintf("%d %d INVITE true", bob.incoming[0].reliable.rseq, a.cseq); answer != want {
		t.Errorf("PRACK: %s, want %s", answer, want)
	}
	if got := ma.said(); got != "offer sendrecv, take sendrecv, offer sendrecv, rollback" {
		t.Errorf("media: %s", got)
	}
	if a.State() != Ringing {
		t.Error(a.State())
	}
	a.Hangup(w.now)
	bob.script = nil
	w.over(alice)
}

// The first exchange fails in media: the PRACK goes without an offer, which
// waits for better times.
func TestOfferInPrackAfterBadAnswer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.media.refuse = map[string]error{"setanswer": errNo}
	var invite, prack *sipgo.Request
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		switch req.Method {
		case sipgo.INVITE:
			invite = req
			bob.say(now, reliably(reply(req, 183, "x", "answer"), 1))
		case sipgo.PRACK:
			prack = req
			bob.say(now, reply(req, 200, "", ""))
		}
	})
	a := alice.call(none)
	var told []error
	a.Reoffer(w.now, none, func(_ time.Time, err error) { told = append(told, err) })
	w.run(100 * time.Millisecond)
	if prack == nil || prack.Body() != nil || len(a.queued) != 1 || len(told) != 0 {
		t.Fatalf("PRACK %v, %d wait, told %v", prack, len(a.queued), told)
	}
	// The 2xx says nothing better: the call ends, and with it the offer.
	bob.say(w.now, reply(invite, 200, "x", ""))
	w.run(100 * time.Millisecond)
	if a.State() != Ended || !slices.Equal(told, []error{ErrEnded}) {
		t.Errorf("%v, told %v", a.State(), told)
	}
	w.over(alice)
}

func reliably(r *sipgo.Response, rseq int) *sipgo.Response {
	r.AppendHeader(sipgo.NewHeader("Require", option100rel))
	r.AppendHeader(sipgo.NewHeader("RSeq", strconv.Itoa(rseq)))
	return r
}

// RFC 3311 §5.2: both make an offer by UPDATE at once: 491 to both, and each
// comes again in its time (RFC 3261 §14.1).
func TestEarlyGlare_RFC3311_5_2(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := early(t, w, alice, bob)
	var told []error
	done := func(_ time.Time, err error) { told = append(told, err) }
	a.Reoffer(w.now, none, done)
	b.Reoffer(w.now, none, done)
	w.run(5 * time.Second)
	w.check("alice UPDATE", "bob UPDATE", "bob 491 UPDATE", "alice 491 UPDATE",
		"bob UPDATE", "alice 200 UPDATE", "alice UPDATE", "bob 200 UPDATE")
	if !slices.Equal(told, []error{nil, nil}) {
		t.Errorf("outcomes %v", told)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// RFC 3261 §14.2, RFC 3311 §5.2: 500 with Retry-After up to 10 s means that
// the peer's offer was first. Ours comes again after that time; other 500s are
// refusals.
func TestOfferAfter500(t *testing.T) {
	for _, tt := range []struct {
		after string
		wait  time.Duration // 0: refused
	}{{"3", 3 * time.Second}, {"10 (later)", 10 * time.Second}, {"0", time.Nanosecond}, {"11", 0}, {"", 0}} {
		for _, isEarly := range []bool{false, true} {
			w, alice, bob := newWorld(t, true)
			var a *Call
			method := sipgo.INVITE
			if isEarly {
				a, _ = early(t, w, alice, bob)
				method = sipgo.UPDATE
			} else {
				a, _ = establish(t, w, alice, bob)
			}
			var at []time.Duration
			bob.script = func(now time.Time, m sipgo.Message) {
				if req, ok := m.(*sipgo.Request); ok && req.Method == method {
					if at = append(at, now.Sub(epoch)); len(at) == 1 {
						r := sipwire.ResponseTo(req, 500, "", "")
						if tt.after != "" {
							r.AppendHeader(sipgo.NewHeader("Retry-After", tt.after))
						}
						bob.say(now, r)
						return
					}
				}
				bob.table.Receive(now, bob.link, m)
			}
			outcome := errNo
			a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
			w.run(15 * time.Second)
			var refused *StatusError
			switch {
			case tt.wait == 0:
				if !errors.As(outcome, &refused) || refused.Code != 500 || len(at) != 1 {
					t.Errorf("Retry-After %q: %v, asked at %v", tt.after, outcome, at)
				}
			case outcome != nil || len(at) != 2 || at[1]-at[0] != tt.wait.Truncate(time.Second)+2*latency:
				t.Errorf("Retry-After %q: %v, asked at %v", tt.after, outcome, at)
			}
			a.Hangup(w.now)
			bob.script = nil
			w.over(alice, bob)
		}
	}
}

// While our UPDATE is out the callee answers the call: both outcomes are as if
// they had come one after the other.
func TestAnswerDuringEarlyOffer(t *testing.T) {
	for _, who := range []string{"alice", "bob"} {
		w, alice, bob := newWorld(t, true)
		a, b := early(t, w, alice, bob)
		c := a
		if who == "bob" {
			c = b
		}
		outcome := errNo
		c.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(time.Millisecond)
		b.Answer(w.now, none, func(time.Time, error) {})
		w.run(time.Second)
		if outcome != nil || a.State() != Established || b.State() != Established {
			t.Errorf("%s: %v, %v, %v", who, outcome, a.State(), b.State())
		}
		if slices.Contains(w.wire, who+" INVITE") {
			t.Errorf("%s: %q", who, w.wire)
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// The fork with our UPDATE is not the one that answers: the offer goes to who
// does.
func TestOtherForkAnswers(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	var invite *sipgo.Request
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		switch req.Method {
		case sipgo.INVITE:
			if sipwire.ToTag(req) != "" {
				bob.say(now, reply(req, 200, "", "again"))
				return
			}
			invite = req
			r := reliably(reply(req, 183, "one", "early"), 1)
			r.AppendHeader(sipgo.NewHeader("Allow", "UPDATE"))
			bob.say(now, r)
		case sipgo.PRACK:
			bob.say(now, reply(req, 200, "", ""))
		}
	})
	a := alice.call(none)
	w.run(100 * time.Millisecond)
	outcome := errNo
	a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(100 * time.Millisecond)
	if !slices.Contains(w.wire, "alice UPDATE") {
		t.Fatalf("wire %q", w.wire)
	}
	w.wire = nil
	bob.say(w.now, reply(invite, 200, "two", "answer"))
	w.run(100 * time.Millisecond)
	w.check("bob 200 INVITE", "alice ACK", "alice INVITE", "bob 200 INVITE", "alice ACK")
	if outcome != nil || a.RemoteTag() != "two" {
		t.Errorf("%v with %s", outcome, a.RemoteTag())
	}
	a.Hangup(w.now)
	w.over(alice)
}

// An UPDATE that the peer refuses, or does not answer, costs the offer and not
// the call, which still rings.
func TestEarlyOfferRefused(t *testing.T) {
	for _, status := range []int{488, 481, 408, 0} {
		w, alice, bob := newWorld(t, false)
		a, _ := early(t, w, alice, bob)
		bob.script = func(now time.Time, m sipgo.Message) {
			if req, ok := m.(*sipgo.Request); ok && req.Method == sipgo.UPDATE {
				if status != 0 {
					bob.say(now, sipwire.ResponseTo(req, status, "", ""))
				}
				return
			}
			bob.table.Receive(now, bob.link, m)
		}
		var outcome error
		a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
		w.run(33 * time.Second)
		if outcome == nil || a.State() != Ringing || !slices.Contains(alice.media.log, "rollback") {
			t.Errorf("%d: %v, %v", status, outcome, a.State())
		}
		a.Hangup(w.now)
		bob.script = nil
		w.over(alice, bob)
	}
}

// Who has several early dialogs cannot mean one of them: the offer waits.
func TestEarlyOfferOfTwoForks(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	answerer(bob, nil, func(now time.Time, req *sipgo.Request) {
		switch req.Method {
		case sipgo.INVITE:
			for i, tag := range []string{"one", "two"} {
				r := reliably(reply(req, 183, tag, "early"), i+1)
				r.AppendHeader(sipgo.NewHeader("Allow", "UPDATE"))
				bob.say(now, r)
			}
		case sipgo.PRACK:
			bob.say(now, reply(req, 200, "", ""))
		}
	})
	a := alice.call(none)
	w.run(100 * time.Millisecond)
	a.Reoffer(w.now, none, nil)
	w.run(100 * time.Millisecond)
	if slices.Contains(w.wire, "alice UPDATE") || len(a.queued) != 1 {
		t.Errorf("wire %q, %d wait", w.wire, len(a.queued))
	}
	a.Hangup(w.now)
	w.run(40 * time.Second)
	w.over(alice)
}

// Media that want the peer to offer cannot ask by UPDATE: a re-INVITE does,
// once the call is answered.
func TestEarlyOfferless(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	a, b := early(t, w, alice, bob)
	alice.media.late = true
	outcome := errNo
	a.Reoffer(w.now, none, func(_ time.Time, err error) { outcome = err })
	w.run(100 * time.Millisecond)
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(100 * time.Millisecond)
	w.check("bob 200 INVITE", "alice ACK", "alice INVITE", "bob 200 INVITE", "alice ACK")
	if outcome != nil {
		t.Error(outcome)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// A re-offer's answer that media refuse, as one that contradicts itself: ours
// stays as it was, another offer follows, and the call lives.
func TestReofferAnswerUnusable(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	ma, mb := alice.negotiate(), bob.negotiate()
	a, b := establish(t, w, alice, bob)
	ma.said()
	mb.said()
	once := true
	w.lose = func(p *party, m sipgo.Message) bool {
		if r, ok := m.(*sipgo.Response); ok && r.Body() != nil && once {
			once = false
			r.SetBody([]byte(strings.Replace(string(r.Body()), "a=sendonly", "a=sendonly\r\na=inactive", 1)))
			if r.ContentLength() != nil {
				r.RemoveHeader("Content-Length")
			}
		}
		return false
	}
	var outcome error
	a.Reoffer(w.now, offeranswer.Options{Direction: map[int]offeranswer.Direction{0: offeranswer.RecvOnly}}, func(_ time.Time, err error) { outcome = err })
	w.run(time.Second)
	if outcome == nil || a.State() != Established || b.State() != Established {
		t.Fatalf("%v, %v, %v", outcome, a.State(), b.State())
	}
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "alice INVITE", "bob 200 INVITE", "alice ACK")
	if got := ma.said(); !strings.HasPrefix(got, "offer recvonly, take: ") || !strings.HasSuffix(got, "rollback, offer sendrecv, take sendrecv") {
		t.Errorf("alice: %s", got)
	}
	if got := mb.said(); got != "answer sendonly, answer sendrecv" {
		t.Errorf("bob: %s", got)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}
