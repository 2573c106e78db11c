package siptest

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// side is one leg of a bridge as that leg's media: it has none, and gives on
// what the other leg's device says. Where it has to answer the device before
// the other one was asked, it waits.
//
// Its methods run on the goroutines of media operations; what it needs of the
// other side it asks of the bridge, in the loop.
type side struct {
	b *bridge
	g *leg

	mu      sync.Mutex
	offer   *proposal // what Offer is to return; nil: what the other device says
	answer  []byte    // what Answer is to return; nil: what the other device says
	heard   []byte    // the latest answer of the device
	sent    []byte    // the latest description sent to it
	waiting *exchange // of the other side: the device's next answer is for it

}

// proposal is an offer to make; without sdp the device is asked for one.
type proposal struct{ sdp []byte }

// exchange is a question of one side to the other.
type exchange struct {
	from   *side
	offer  []byte // nil: an offer is asked for
	result chan outcome
}

type outcome struct {
	sdp []byte
	err error
}

func (ex *exchange) done(sdp []byte, err error) {
	select {
	case ex.result <- outcome{sdp, err}:
	default: // it has an outcome
	}
}

// refusedOffer is an offer that the other device did not accept.
type refusedOffer struct{ status int }

func (e *refusedOffer) Error() string  { return "siptest: the other side refused the offer" }
func (e *refusedOffer) SIPStatus() int { return e.status }

// prepare says what Offer is to return next.
func (m *side) prepare(sdp []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offer = &proposal{sdp}
}

// expect says for whom the device's next answer is.
func (m *side) expect(ex *exchange) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting = ex
}

// reply says what Answer is to return next.
func (m *side) reply(sdp []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = sdp
}

func (m *side) latest() (heard, sent []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard, m.sent
}

// Offer makes the offer to the device (offeranswer.Media and Leg).
func (m *side) Offer(ctx context.Context, _ offeranswer.Options) ([]byte, error) {
	m.mu.Lock()
	p := m.offer
	m.offer = nil
	m.mu.Unlock()
	if p != nil {
		return m.say(p.sdp), nil
	}
	sdp, err := m.ask(ctx, nil)
	return m.say(sdp), err
}

// Answer answers the device's offer.
func (m *side) Answer(ctx context.Context, offer []byte, _ offeranswer.Options) ([]byte, error) {
	m.mu.Lock()
	sdp := m.answer
	m.answer = nil
	m.mu.Unlock()
	if sdp != nil {
		return m.say(sdp), nil
	}
	sdp, err := m.ask(ctx, offer)
	return m.say(sdp), err
}

// SetAnswer takes the device's answer.
func (m *side) SetAnswer(_ context.Context, sdp []byte, provisional bool) error {
	m.mu.Lock()
	m.heard = sdp
	var ex *exchange
	if !provisional {
		ex, m.waiting = m.waiting, nil
	}
	m.mu.Unlock()
	if ex != nil {
		ex.done(sdp, nil)
	}
	return nil
}

func (m *side) say(sdp []byte) []byte {
	if sdp != nil {
		m.mu.Lock()
		m.sent = sdp
		m.mu.Unlock()
	}
	return sdp
}

// ask asks the other side, and waits.
func (m *side) ask(ctx context.Context, offer []byte) ([]byte, error) {
	ex := &exchange{from: m, offer: offer, result: make(chan outcome, 1)}
	l := m.g.l
	if !l.ep.Post(func(now time.Time) { m.b.exchange(now, ex) }) {
		return nil, ErrDown
	}
	select {
	case r := <-ex.result:
		return r.sdp, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.ctx.Done():
		return nil, ErrDown
	}
}

// Leg gives every dialog of the leg the same side: a device that forks is one
// device to the lab.
func (m *side) Leg(string) (offeranswer.Leg, error) { return sideLeg{m}, nil }

// Select has nothing to choose from.
func (m *side) Select(offeranswer.Leg) error { return nil }

// Rebind has no sockets to move.
func (m *side) Rebind(context.Context, netip.Addr) error { return nil }

// Close has nothing to release.
func (m *side) Close() error { return nil }

type sideLeg struct{ *side }

func (l sideLeg) Commit() error                 { return nil }
func (l sideLeg) Rollback() error               { return nil }
func (l sideLeg) Streams() []offeranswer.Stream { return nil }

// Local is what was last sent to the device.
func (l sideLeg) Local() []byte {
	_, sent := l.latest()
	return sent
}

// exchange takes a question of one side to the other. In the loop.
func (b *bridge) exchange(now time.Time, ex *exchange) {
	other := b.other(ex.from)
	switch {
	case b.over || other == nil && b.winner != nil:
		ex.done(nil, &refusedOffer{481})
	case ex.from != b.a.side && (b.winner == nil || ex.from != b.winner.side):
		ex.done(nil, &refusedOffer{481}) // a device that came too late
	case !b.accepted && ex.from != b.a.side && ex.offer != nil:
		// The offer in the 2xx of a device whose INVITE had none, since the
		// caller's had none: it goes into the 2xx to the caller, and the
		// answer in his ACK comes back.
		b.a.side.prepare(ex.offer)
		b.a.side.expect(ex)
		b.answerCaller(now)
	case b.asking != nil && b.asking.offer == nil && ex.offer != nil && b.asking.from == other:
		// The offer that the other side had asked for.
		asking := b.asking
		other.expect(ex)
		asking.done(ex.offer, nil)
	case b.asking != nil || other == nil || other.g.m.State() != call.Established:
		// Both at once (RFC 3261 §14.1).
		ex.done(nil, &refusedOffer{491})
	default:
		b.asking = ex
		other.prepare(ex.offer)
		if ex.offer != nil {
			other.expect(ex)
		}
		other.g.m.ReofferOnce(now, offeranswer.Options{}, func(now time.Time, err error) {
			b.asking = nil
			if err != nil {
				ex.done(nil, &refusedOffer{statusOf(err)})
			}
		})
	}
}
