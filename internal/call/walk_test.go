package call

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// The random walk: two parties call each other and do to their calls, at any
// time, whatever a user may, over a wire that loses, delays and doubles
// messages, with media that take their time and sometimes refuse. Whatever
// happens, both must agree about what is left, and nothing may be left behind.

// model are media that keep to RFC 3264 and fail the test where their call
// does not.
type model struct {
	w      *walk
	who    string
	offer  string // made for the INVITE
	closed bool
	legs   map[string]*modelLeg
}

type modelLeg struct {
	m      *model
	open   string // our offer that waits for its answer
	last   string // our offer that had it, as long as no other exchange followed
	staged string
	agreed string // offer and answer
	closed bool
}

func (m *model) check(format string, args ...any) {
	m.w.t.Helper()
	if m.closed {
		m.w.t.Errorf("%s: %s: media are used after Close", m.w.now.Sub(epoch), m.who)
	}
	if format != "" {
		m.w.t.Errorf("%s: %s: %s", m.w.now.Sub(epoch), m.who, fmt.Sprintf(format, args...))
	}
}

func (m *model) refuses() bool { return m.w.rough && m.w.rng.IntN(20) == 0 }

func (m *model) sdp() string {
	m.w.sdps++
	return fmt.Sprint(m.who, " ", m.w.sdps)
}

func (m *model) Offer(context.Context, offeranswer.Options) ([]byte, error) {
	m.check("")
	if m.refuses() {
		return nil, errNo
	}
	if m.w.rng.IntN(5) == 0 {
		return nil, nil // let the peer offer
	}
	m.offer = m.sdp()
	return []byte(m.offer), nil
}

func (m *model) Leg(dialog string) (offeranswer.Leg, error) {
	m.check("")
	l := m.legs[dialog]
	if l == nil {
		l = &modelLeg{m: m, open: m.offer}
		m.legs[dialog] = l
	}
	return l, nil
}

func (m *model) Select(offeranswer.Leg) error             { return nil }
func (m *model) Rebind(context.Context, netip.Addr) error { return nil }
func (m *model) Close() error {
	m.closed = true
	return nil
}

func (l *modelLeg) Offer(_ context.Context, o offeranswer.Options) ([]byte, error) {
	l.m.check("")
	if l.open != "" || l.staged != "" {
		l.m.check("an offer while one is open")
	}
	if l.m.refuses() {
		return nil, errNo
	}
	if l.agreed != "" && !o.NewKeys && l.m.w.rng.IntN(10) == 0 {
		return nil, nil // a re-INVITE without an offer
	}
	l.open, l.last = l.m.sdp(), ""
	return []byte(l.open), nil
}

func (l *modelLeg) Answer(_ context.Context, offer []byte, _ offeranswer.Options) ([]byte, error) {
	l.m.check("")
	if l.open != "" || l.staged != "" {
		l.m.check("an answer while an offer is open")
	}
	if l.m.refuses() {
		return nil, errNo
	}
	l.last = ""
	answer := l.m.sdp()
	l.staged = string(offer) + " / " + answer
	return []byte(answer), nil
}

func (l *modelLeg) SetAnswer(_ context.Context, sdp []byte, provisional bool) error {
	l.m.check("")
	offer := l.open
	if offer == "" {
		offer = l.last // a 2xx corrects what its reliable 183 said
	}
	if offer == "" {
		l.m.check("an answer to nothing")
	}
	if l.m.refuses() {
		return errNo
	}
	if l.agreed = offer + " / " + string(sdp); !provisional {
		l.open, l.last = "", offer
	}
	return nil
}

func (l *modelLeg) Commit() error {
	l.m.check("")
	if l.staged == "" {
		l.m.check("nothing to commit")
	}
	l.agreed, l.staged = l.staged, ""
	return nil
}

func (l *modelLeg) Rollback() error {
	l.m.check("")
	l.open, l.staged = "", ""
	return nil
}

func (l *modelLeg) Local() []byte                 { return nil }
func (l *modelLeg) Streams() []offeranswer.Stream { return nil }
func (l *modelLeg) Close() error                  { l.closed = true; return nil }

type walk struct {
	*world
	parties [2]*party
	rough   bool // messages are lost, media refuse
	sdps    int
	media   []*model
	pending int // callbacks that were promised
	done    map[string]int
}

func newWalk(t *testing.T, reliable bool, seed uint64) *walk {
	w, alice, bob := newWorld(t, reliable)
	w.rng = rand.New(rand.NewPCG(seed, 0))
	k := &walk{world: w, parties: [2]*party{alice, bob}, rough: true, done: map[string]int{}}
	for _, p := range k.parties {
		p.newMedia = func() (offeranswer.Media, error) {
			m := &model{w: k, who: p.name, legs: map[string]*modelLeg{}}
			k.media = append(k.media, m)
			return m, nil
		}
	}
	w.lose = func(*party, sipgo.Message) bool { return k.rough && !reliable && k.rng.IntN(100) < 15 }
	return k
}

// pick draws one of a party's calls. Maps are in random order, so they are
// gone through by tag, for the seed's sake.
func (k *walk) pick(p *party) *Call {
	if len(p.calls) == 0 {
		return nil
	}
	i := k.rng.IntN(p.ids + 1)
	for n := range p.ids + 1 {
		tag := partyEnv{p}.tagOf((i + n) % (p.ids + 1))
		if c := p.calls[tag]; c != nil {
			return c
		}
	}
	return nil
}

func (e partyEnv) tagOf(i int) string { return fmt.Sprintf("%s%0*d", e.name[:1], 11, i) }

// told is a callback that has to be called once.
func (k *walk) told(what string) func(time.Time, error) {
	k.pending++
	n := 0
	return func(time.Time, error) {
		k.pending--
		if n++; n > 1 {
			k.t.Errorf("%s was told %d times", what, n)
		}
	}
}

func (k *walk) step() {
	p := k.parties[k.rng.IntN(2)]
	c := k.pick(p)
	op := k.rng.IntN(20)
	if c == nil || op == 0 && len(p.calls) < 6 {
		how := []string{"", "Supported", "Require"}[k.rng.IntN(3)]
		p.callSaying(how)
		k.done["dial"+how]++
		return
	}
	now := k.now
	incoming := c.State() == Incoming || c.State() == Ringing && !c.Outgoing()
	switch {
	case op < 3 && incoming:
		k.note("ring", c.Ring(now, 180, ""))
	case op < 5 && incoming:
		c.Progress(now, none, k.told("Progress"))
		k.done["progress"]++
	case op < 10 && incoming:
		c.Answer(now, none, k.told("Answer"))
		k.done["answer"]++
	case op == 10:
		k.note("reject", c.Reject(now, 486, ""))
	case op == 11:
		c.Hangup(now, Reason{Protocol: "SIP", Cause: 200})
		k.done["hangup"]++
	case op < 16:
		c.Reoffer(now, none, k.told("Reoffer"))
		k.done["reoffer"]++
	case op == 16:
		c.notify(offeranswer.Event{Kind: offeranswer.NeedOffer})
	case op == 17 && k.rng.IntN(4) == 0:
		c.notify(offeranswer.Event{Kind: offeranswer.Failed, Err: errNo})
	case op == 18 && c.State() == Established:
		p.send(c.active, sipgo.UPDATE, "") // a session refresh
		k.done["refresh"]++
	}
}

func (k *walk) note(what string, err error) {
	if err == nil {
		k.done[what]++
	}
}

// agree fails the test unless what one has is what the other has.
func (k *walk) agree() {
	k.t.Helper()
	for _, p := range k.parties {
		for _, c := range p.calls {
			if c.State() != Established {
				continue
			}
			other := p.peer.calls[c.RemoteTag()]
			if other == nil || other.State() != Established || other.RemoteTag() != c.LocalTag() {
				k.t.Errorf("%s has a call (%s) that %s has not: %v", p.name, c.LocalTag(), p.peer.name, other)
				continue
			}
			mine, his := c.made.(*model).legs[c.RemoteTag()], other.made.(*model).legs[other.RemoteTag()]
			if mine.agreed != his.agreed || mine.agreed == "" {
				k.t.Errorf("%s has agreed on %q, %s on %q", p.name, mine.agreed, p.peer.name, his.agreed)
			}
			if mine.open+his.open+mine.staged+his.staged != "" {
				k.t.Errorf("open exchanges at rest: %+v, %+v", mine, his)
			}
			if c.active.remoteCSeq > other.active.localCSeq {
				k.t.Errorf("%s has seen CSeq %d, %s is at %d", p.name, c.active.remoteCSeq, p.peer.name, other.active.localCSeq)
			}
			k.done["agreed"]++
		}
	}
}

func TestRandomWalk(t *testing.T) {
	total := map[string]int{}
	for _, reliable := range []bool{true, false} {
		for seed := range uint64(16) {
			k := newWalk(t, reliable, seed)
			for range 10 {
				for range 60 {
					k.step()
					k.run(time.Duration(k.rng.IntN(400)) * time.Millisecond)
				}
				// Rest, so that what is left can be compared.
				k.rough = false
				k.run(2 * time.Minute)
				k.agree()
				k.rough = true
			}
			k.rough = false
			for _, p := range k.parties {
				for _, c := range p.calls {
					c.Hangup(k.now)
				}
			}
			k.over(k.parties[:]...)
			for i, m := range k.media {
				if !m.closed {
					t.Errorf("media %d of %s are open", i, m.who)
				}
			}
			if k.pending != 0 {
				t.Errorf("%d callbacks were not told", k.pending)
			}
			for what, n := range k.done {
				total[what] += n
			}
			if t.Failed() {
				t.Fatalf("reliable %v, seed %d", reliable, seed)
			}
		}
	}
	for _, what := range []string{"dial", "dialSupported", "dialRequire", "ring", "progress", "answer", "reject", "hangup", "reoffer", "refresh", "agreed"} {
		if total[what] < 150 {
			t.Errorf("%s was done %d times only", what, total[what])
		}
	}
	t.Logf("%v", total)
}
