package call

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// said takes what media were told and said since it was last asked.
func (m *negotiated) said() string {
	s := strings.Join(m.log, ", ")
	m.log = nil
	return s
}

// told takes what a party's users heard of hold.
func (p *party) told() string {
	var held []string
	for _, e := range p.events {
		if s, ok := strings.CutPrefix(e, "held "); ok {
			held = append(held, s)
		}
	}
	p.events = nil
	return strings.Join(held, ", ")
}

// asked is an operation whose outcome is looked at.
func (p *party) asked(op func(now time.Time, done func(time.Time, error))) error {
	p.w.t.Helper()
	outcome := errors.New("no outcome")
	op(p.w.now, func(_ time.Time, err error) { outcome = err })
	p.w.run(100 * time.Millisecond)
	return outcome
}

func (p *party) holds(c *Call, on bool) error {
	return p.asked(func(now time.Time, done func(time.Time, error)) { c.Hold(now, on, done) })
}

// RFC 6337 §5.3, RFC 3264 §8.4: every way into hold and out of it, by both.
// Each step says who does what, what goes over the wire, and who is held then.
// An offer says what its maker wants, though he had to answer something else.
func TestHold_RFC6337_5_3(t *testing.T) {
	type step struct {
		who, op       string
		offer, answer string // "": nothing is sent
		a, b          Hold
	}
	local, remote, both := Hold{Local: true}, Hold{Remote: true}, Hold{true, true}
	for name, steps := range map[string][]step{
		"one": {
			{"a", "hold", "sendonly", "recvonly", local, remote},
			{"a", "hold", "", "", local, remote},
			{"a", "resume", "sendrecv", "sendrecv", Hold{}, Hold{}},
			{"a", "resume", "", "", Hold{}, Hold{}},
		},
		"both, the first resumes first": {
			{"a", "hold", "sendonly", "recvonly", local, remote},
			{"b", "hold", "sendonly", "inactive", both, both},
			{"a", "resume", "sendrecv", "sendonly", remote, local},
			{"b", "resume", "sendrecv", "sendrecv", Hold{}, Hold{}},
		},
		"both, the second resumes first": {
			{"a", "hold", "sendonly", "recvonly", local, remote},
			{"b", "hold", "sendonly", "inactive", both, both},
			{"b", "offer", "sendonly", "inactive", both, both},
			{"b", "resume", "sendrecv", "sendonly", local, remote},
			{"a", "resume", "sendrecv", "sendrecv", Hold{}, Hold{}},
		},
		"another offer under hold": {
			{"b", "hold", "sendonly", "recvonly", remote, local},
			{"b", "offer", "sendonly", "recvonly", remote, local},
			{"a", "offer", "sendrecv", "sendonly", remote, local},
			{"b", "resume", "sendrecv", "sendrecv", Hold{}, Hold{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, alice, bob := newWorld(t, true)
			ma, mb := alice.negotiate(), bob.negotiate()
			a, b := establish(t, w, alice, bob)
			ma.said()
			mb.said()
			for i, s := range steps {
				p, c, mine, theirs := alice, a, ma, mb
				if s.who == "b" {
					p, c, mine, theirs = bob, b, mb, ma
				}
				before := [2]Hold{a.Held(), b.Held()}
				err := p.asked(func(now time.Time, done func(time.Time, error)) {
					if s.op == "offer" {
						c.holding.used = true
						c.Reoffer(now, none, done)
						return
					}
					c.Hold(now, s.op == "hold", done)
				})
				if err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				offer, answer := "", ""
				if s.offer != "" {
					offer, answer = "offer "+s.offer+", take "+s.answer, "answer "+s.answer
				}
				if got := mine.said(); got != offer {
					t.Errorf("step %d: who offers: %q, want %q", i, got, offer)
				}
				if got := theirs.said(); got != answer {
					t.Errorf("step %d: who answers: %q, want %q", i, got, answer)
				}
				if a.Held() != s.a || b.Held() != s.b {
					t.Errorf("step %d: held %+v and %+v, want %+v and %+v", i, a.Held(), b.Held(), s.a, s.b)
				}
				for j, p := range []*party{alice, bob} {
					want := ""
					if now := [2]Hold{s.a, s.b}[j]; now != before[j] {
						want = fmt.Sprintf("%+v", now)
					}
					if got := p.told(); got != want {
						t.Errorf("step %d: %s is told %q, want %q", i, p.name, got, want)
					}
				}
			}
			a.Hangup(w.now)
			w.over(alice, bob)
		})
	}
}

// A peer that knows nothing of us offers sendrecv while we hold: the answer
// says sendonly, and inactive to one that holds as well (RFC 3264 §6.1, §8.4).
func TestHoldKeptInAnswers(t *testing.T) {
	for offered, want := range map[string]struct {
		answer string
		held   Hold
	}{
		"a=sendrecv": {"sendonly", Hold{Local: true}},
		"a=recvonly": {"sendonly", Hold{Local: true}},
		"a=sendonly": {"inactive", Hold{true, true}},
		"a=inactive": {"inactive", Hold{true, true}},
	} {
		w, alice, bob := newWorld(t, true)
		m := bob.negotiate()
		alice.negotiate()
		a, b := establish(t, w, alice, bob)
		if err := bob.holds(b, true); err != nil {
			t.Fatal(err)
		}
		m.said()
		alice.script = func(time.Time, sipgo.Message) {}
		alice.send(a.active, sipgo.UPDATE, "v=0\r\no=- 1 9 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n"+offered+"\r\n")
		w.run(100 * time.Millisecond)
		if got := m.said(); got != "answer "+want.answer {
			t.Errorf("%s: %q, want %q", offered, got, want.answer)
		}
		if b.Held() != want.held {
			t.Errorf("%s: held %+v, want %+v", offered, b.Held(), want.held)
		}
	}
}

// RFC 3264 §8.4: "c=0.0.0.0" is the hold of RFC 2543, and is understood.
func TestHoldByAddress_RFC3264_8_4(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.negotiate()
	bob.negotiate()
	a, b := establish(t, w, alice, bob)
	alice.script = func(time.Time, sipgo.Message) {}
	for i, c := range []struct {
		address string
		want    Hold
	}{{"0.0.0.0", Hold{Remote: true}}, {"192.0.2.9", Hold{}}} {
		alice.send(a.active, sipgo.UPDATE, fmt.Sprintf("v=0\r\no=- 1 %d IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n", i+9, c.address))
		w.run(100 * time.Millisecond)
		if b.Held() != c.want {
			t.Errorf("%s: held %+v, want %+v", c.address, b.Held(), c.want)
		}
	}
}

// A hold that is refused changes nothing (RFC 3261 §14.1), and is no wish any
// more: the next answer does not say it.
func TestHoldRefused(t *testing.T) {
	for _, status := range []int{488, 500, 603} {
		w, alice, bob := newWorld(t, true)
		m := alice.negotiate()
		bob.negotiate()
		a, b := establish(t, w, alice, bob)
		bob.script = func(now time.Time, msg sipgo.Message) {
			if req, ok := msg.(*sipgo.Request); ok && req.Method == sipgo.INVITE {
				bob.say(now, sipwire.ResponseTo(req, status, "", ""))
			}
		}
		err := alice.holds(a, true)
		var refused *StatusError
		if !errors.As(err, &refused) || refused.Code != status {
			t.Errorf("%d: %v", status, err)
		}
		if a.Held() != (Hold{}) || a.State() != Established || alice.told() != "" {
			t.Errorf("%d: held %+v, %v", status, a.Held(), a.State())
		}
		bob.script = nil
		m.said()
		if err := bob.asked(func(now time.Time, done func(time.Time, error)) { b.Reoffer(now, none, done) }); err != nil {
			t.Error(err)
		}
		if got := m.said(); got != "answer sendrecv" {
			t.Errorf("%d: afterwards %q", status, got)
		}
		a.Hangup(w.now)
		w.over(alice, bob)
	}
}

// A wish that crosses the peer's offer: the answer says it, and no offer of
// ours is needed.
func TestHoldCrossesOffer(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	ma, mb := alice.negotiate(), bob.negotiate()
	a, b := establish(t, w, alice, bob)
	ma.said()
	mb.said()
	b.Reoffer(w.now, none, nil)
	outcome := errNo
	w.at(5*time.Millisecond, func() {
		// Both offers meet: 491 to both, and each waits for its time (§14.1).
		a.Hold(w.now, true, func(_ time.Time, err error) { outcome = err })
	})
	w.run(10 * time.Second)
	if outcome != nil || a.Held() != (Hold{Local: true}) || b.Held() != (Hold{Remote: true}) {
		t.Errorf("%v; %+v and %+v", outcome, a.Held(), b.Held())
	}
	// The caller waits 2.1 to 4 s, the callee less: bob's comes again first,
	// and alice's answer says it all.
	if got, want := ma.said(), "offer sendonly, rollback, answer sendonly"; got != want {
		t.Errorf("alice: %q, want %q", got, want)
	}
	if n := slices.Index(w.wire, "alice 491 INVITE"); n < 0 {
		t.Errorf("no glare: %q", w.wire)
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// Hold, resume, hold in one breath, behind another offer: each waits for its
// turn, and the last one counts.
func TestHoldQueued(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	m := alice.negotiate()
	bob.negotiate()
	a, b := establish(t, w, alice, bob)
	m.said()
	var told []error
	done := func(_ time.Time, err error) { told = append(told, err) }
	a.Reoffer(w.now, none, done)
	a.Hold(w.now, true, done)
	a.Hold(w.now, false, done)
	a.Hold(w.now, true, done)
	w.run(time.Second)
	if len(told) != 4 || slices.ContainsFunc(told, func(err error) bool { return err != nil }) {
		t.Errorf("outcomes %v", told)
	}
	if a.Held() != (Hold{Local: true}) || b.Held() != (Hold{Remote: true}) {
		t.Errorf("held %+v, %+v", a.Held(), b.Held())
	}
	for range maxPending + 1 {
		a.Reoffer(w.now, none, nil)
	}
	if a.Hold(w.now, false, done); told[len(told)-1] != ErrBusy || !a.holding.wish {
		t.Errorf("a full queue: %v, wish %v", told[len(told)-1], a.holding.wish)
	}
	a.Hangup(w.now)
	if a.Hold(w.now, true, done); told[len(told)-1] != ErrEnded {
		t.Errorf("after the end: %v", told[len(told)-1])
	}
	w.over(alice, bob)
	c := alice.call(none)
	if c.Hold(w.now, true, done); told[len(told)-1] != ErrState {
		t.Errorf("before the answer: %v", told[len(told)-1])
	}
}

// Between our 2xx and its ACK, the wish waits for the ACK.
func TestHoldBeforeAck(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	alice.negotiate()
	bob.negotiate()
	a := alice.call(none)
	w.run(50 * time.Millisecond)
	b := bob.incoming[0]
	b.Answer(w.now, none, func(time.Time, error) {})
	w.run(time.Millisecond)
	if b.State() != Answering {
		t.Fatal(b.State())
	}
	if err := bob.holds(b, true); err != nil {
		t.Fatal(err)
	}
	w.check("alice INVITE", "bob 200 INVITE", "alice ACK", "bob INVITE", "alice 200 INVITE", "bob ACK")
	if b.Held() != (Hold{Local: true}) || a.Held() != (Hold{Remote: true}) {
		t.Errorf("held %+v, %+v", b.Held(), a.Held())
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// What our user wants of a stream comes back after a hold: one that he only
// sends does not become one that he hears.
func TestHoldKeepsDirections(t *testing.T) {
	w, alice, bob := newWorld(t, true)
	m := alice.negotiate()
	bob.negotiate()
	a, _ := establish(t, w, alice, bob)
	m.said()
	for _, step := range []struct {
		op   func(now time.Time, done func(time.Time, error))
		want string
	}{
		{func(now time.Time, done func(time.Time, error)) {
			a.Reoffer(now, offeranswer.Options{Add: []offeranswer.Kind{offeranswer.Audio}, Direction: map[int]offeranswer.Direction{1: offeranswer.SendOnly}}, done)
		}, "offer sendrecv sendonly"},
		{func(now time.Time, done func(time.Time, error)) { a.Hold(now, true, done) }, "offer sendonly sendonly"},
		{func(now time.Time, done func(time.Time, error)) {
			a.Reoffer(now, offeranswer.Options{Direction: map[int]offeranswer.Direction{0: offeranswer.RecvOnly}}, done)
		}, "offer inactive sendonly"},
		{func(now time.Time, done func(time.Time, error)) {
			a.Reoffer(now, offeranswer.Options{Add: []offeranswer.Kind{offeranswer.Audio}}, done)
		}, "offer inactive sendonly sendonly"},
		{func(now time.Time, done func(time.Time, error)) {
			a.Reoffer(now, offeranswer.Options{Remove: []int{1}}, done)
		}, "offer inactive - sendonly"},
		{func(now time.Time, done func(time.Time, error)) { a.Hold(now, false, done) }, "offer recvonly - sendrecv"},
	} {
		if err := alice.asked(step.op); err != nil {
			t.Fatalf("%s: %v", step.want, err)
		}
		if got, _, _ := strings.Cut(m.said(), ","); got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
	a.Hangup(w.now)
	w.over(alice, bob)
}

// Who is held, from what both have said of the streams.
func TestHeldByPeer(t *testing.T) {
	audio := func(local, remote offeranswer.Direction) offeranswer.Stream {
		return offeranswer.Stream{Kind: offeranswer.Audio, Local: local, Remote: remote}
	}
	const (
		sr, so, ro, in = offeranswer.SendRecv, offeranswer.SendOnly, offeranswer.RecvOnly, offeranswer.Inactive
	)
	for _, tt := range []struct {
		name    string
		before  []offeranswer.Stream
		streams []offeranswer.Stream
		want    bool
	}{
		{"both talk", nil, []offeranswer.Stream{audio(sr, sr)}, false},
		{"music", nil, []offeranswer.Stream{audio(ro, so)}, true},
		{"he only listens", nil, []offeranswer.Stream{audio(so, ro)}, false},
		{"silence from the beginning", nil, []offeranswer.Stream{audio(in, in)}, false},
		{"silence after talk", []offeranswer.Stream{audio(sr, sr)}, []offeranswer.Stream{audio(in, in)}, true},
		{"silence to our offer", nil, []offeranswer.Stream{audio(sr, in)}, true},
		{"one of two", nil, []offeranswer.Stream{audio(ro, so), audio(sr, sr)}, false},
		{"the other is off", nil, []offeranswer.Stream{audio(ro, so), {Kind: offeranswer.Audio, Disabled: true}}, true},
		{"the other is text", nil, []offeranswer.Stream{audio(ro, so), {Kind: "text"}}, true},
		{"nothing but text", nil, []offeranswer.Stream{{Kind: "text", Remote: so}}, false},
		{"no streams", []offeranswer.Stream{audio(sr, sr)}, nil, false},
	} {
		var h holding
		h.remote(tt.before)
		if got := h.remote(tt.streams); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
