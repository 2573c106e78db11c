package siptest

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// side is one end of a bridge as that leg's media: it has none, and gives on
// what the other end's device says. Where it has to answer the device before
// the other one was asked, it waits.
//
// Its methods run on the goroutines of media operations; what it needs of the
// other side it asks of the bridge, in the loop.
type side struct {
	e *end

	mu      sync.Mutex
	offer   *proposal // what Offer is to return; nil: what the other device says
	answer  []byte    // what Answer is to return; nil: what the other device says
	heard   []byte    // the latest description of the device
	sent    []byte    // the latest description sent to it
	agreed  []byte    // the latest that it accepted
	stands  []byte    // the device's latest that was accepted
	rounds  int       // how often it did
	waiting *exchange // of the other side: the device's next answer is for it
	open    *exchange // what this side asked last
	wanted  bool      // the device's next offer is for the other side, which has asked for it
	local   *local    // the lab's own media, in place of another device
	with    *local    // whom the exchange under way is with; nil: the other device
	leaving *local    // has no place any more once the exchange is complete
	stale   []*local  // to be closed by the next operation
}

// proposal is an offer to make; without sdp the device is asked for one.
type proposal struct{ sdp []byte }

// exchange is a question of one side to the other.
type exchange struct {
	from    *side
	offer   []byte // nil: an offer is asked for
	tries   int
	result  chan outcome
	settled atomic.Bool
}

type outcome struct {
	sdp   []byte
	err   error
	again bool // the side has another partner now, who is to be asked
}

func (ex *exchange) done(sdp []byte, err error) { ex.settle(outcome{sdp: sdp, err: err}) }

func (ex *exchange) settle(o outcome) {
	if !ex.settled.Swap(true) {
		ex.result <- o
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

// forget takes back what prepare and expect said, as the offer came to nothing.
func (m *side) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offer, m.waiting, m.wanted = nil, nil, false
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

// round counts the exchanges that the device has agreed to, and tells whether
// the lab's own media are its partner.
func (m *side) round() (n int, alone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rounds, m.local != nil
}

func (m *side) alone() bool { _, alone := m.round(); return alone }

// asks is what this side still waits for, nil if nothing.
func (m *side) asks() *exchange {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open == nil || m.open.settled.Load() {
		return nil
	}
	return m.open
}

// Offer makes the offer to the device (offeranswer.Media and Leg).
func (m *side) Offer(ctx context.Context, _ offeranswer.Options) ([]byte, error) {
	m.mu.Lock()
	p, loc := m.offer, m.local
	m.offer = nil
	m.wanted = p != nil && p.sdp == nil
	m.mu.Unlock()
	switch {
	case p != nil:
		return m.say(p.sdp, nil), nil
	case loc != nil:
		sdp, err := loc.offer(ctx)
		return m.say(sdp, loc), err
	}
	return m.ask(ctx, nil)
}

// Answer answers the device's offer.
func (m *side) Answer(ctx context.Context, offer []byte, _ offeranswer.Options) ([]byte, error) {
	m.mu.Lock()
	sdp, loc, wanted := m.answer, m.local, m.wanted
	m.answer, m.wanted, m.heard = nil, false, offer
	m.mu.Unlock()
	switch {
	case sdp != nil:
		return m.say(sdp, nil), nil
	case loc != nil && !wanted:
		sdp, err := loc.answer(ctx, offer)
		return m.say(sdp, loc), err
	}
	return m.ask(ctx, offer)
}

// SetAnswer takes the device's answer.
func (m *side) SetAnswer(ctx context.Context, sdp []byte, provisional bool) error {
	m.mu.Lock()
	m.heard = sdp
	with := m.with
	var ex *exchange
	if !provisional {
		ex, m.waiting = m.waiting, nil
	}
	m.mu.Unlock()
	if with != nil {
		with.setAnswer(ctx, sdp)
	}
	if !provisional {
		m.agree()
	}
	if ex != nil {
		ex.done(sdp, nil)
	}
	return nil
}

// agree notes that the exchange is complete.
func (m *side) agree() {
	m.mu.Lock()
	old := m.stale
	m.stale, m.agreed, m.stands = nil, m.sent, m.heard
	m.rounds++
	if m.leaving != nil && m.leaving == m.local {
		old, m.local = append(old, m.local), nil
	}
	m.leaving = nil
	m.mu.Unlock()
	for _, loc := range old {
		loc.close()
	}
}

func (m *side) say(sdp []byte, with *local) []byte {
	if sdp != nil {
		m.mu.Lock()
		m.sent, m.with, m.leaving = sdp, with, nil
		if with == nil {
			m.leaving = m.local
		}
		m.mu.Unlock()
	}
	return sdp
}

// ask asks the other side, and waits.
func (m *side) ask(ctx context.Context, offer []byte) ([]byte, error) {
	l := m.e.l
	for {
		ex := &exchange{from: m, offer: offer, result: make(chan outcome, 1)}
		m.mu.Lock()
		m.open = ex
		m.mu.Unlock()
		if !l.ep.Post(func(now time.Time) { m.e.asked(now, ex) }) {
			return nil, ErrDown
		}
		select {
		case r := <-ex.result:
			if !r.again {
				return m.say(r.sdp, nil), r.err
			}
			m.mu.Lock()
			loc := m.local
			m.mu.Unlock()
			if loc != nil && offer != nil {
				sdp, err := loc.answer(ctx, offer)
				return m.say(sdp, loc), err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-l.ctx.Done():
			return nil, ErrDown
		}
	}
}

// Leg gives every dialog of the leg the same side: a device that forks is one
// device to the lab.
func (m *side) Leg(string) (offeranswer.Leg, error) { return sideLeg{m}, nil }

// Select has nothing to choose from.
func (m *side) Select(offeranswer.Leg) error { return nil }

// Rebind has no sockets to move.
func (m *side) Rebind(context.Context, netip.Addr) error { return nil }

// Close releases the lab's own media, if there are any.
func (m *side) Close() error {
	m.mu.Lock()
	old := m.stale
	if m.local != nil {
		old = append(old, m.local)
	}
	m.local, m.stale = nil, nil
	m.mu.Unlock()
	for _, loc := range old {
		loc.close()
	}
	return nil
}

type sideLeg struct{ *side }

// Commit notes that the answer is on its way.
func (l sideLeg) Commit() error {
	l.mu.Lock()
	with := l.with
	l.mu.Unlock()
	if with != nil {
		with.commit()
	}
	l.agree()
	return nil
}

// Rollback forgets an offer that was refused: one of the device's that says hold
// holds nobody.
func (l sideLeg) Rollback() error {
	l.mu.Lock()
	with := l.with
	l.sent, l.heard, l.with, l.leaving = l.agreed, l.stands, nil, nil
	l.mu.Unlock()
	if with != nil {
		with.rollback()
	}
	return nil
}

// Close leaves the side to its other dialogs.
func (l sideLeg) Close() error { return nil }

// Streams are not looked at.
func (l sideLeg) Streams() []offeranswer.Stream { return nil }

// Local is what was last sent to the device.
func (l sideLeg) Local() []byte {
	_, sent := l.latest()
	return sent
}

// exchange takes a question of one end to the other. In the loop.
func (b *bridge) exchange(now time.Time, ex *exchange) {
	e := ex.from.e
	if b.transfer != nil && !b.take(now, ex) {
		return
	}
	other := b.partner(e)
	switch {
	case b.away:
		ex.done(nil, &refusedOffer{491})
	case b.over || other == nil && b.winner != nil:
		ex.done(nil, &refusedOffer{481})
	case e != b.a && e != b.winner:
		ex.done(nil, &refusedOffer{481}) // a device that came too late
	case !b.accepted && e != b.a && ex.offer != nil:
		// The offer in the 2xx of a device whose INVITE had none, since the
		// caller's had none: it goes into the 2xx to the caller, and the
		// answer in his ACK comes back.
		b.a.side.prepare(ex.offer)
		b.a.side.expect(ex)
		b.answerCaller(now)
	case b.asking != nil && b.asking.offer == nil && ex.offer != nil && b.asking.from == other.side:
		// The offer that the other side had asked for.
		// Or one of its own, before it was asked once more.
		asking := b.asking
		if b.retry.Active() {
			b.l.ep.Q.Stop(&b.retry)
			b.asking = nil
		}
		other.side.expect(ex)
		asking.done(ex.offer, nil)
	case b.asking != nil || other == nil || e != b.patient && other.m.State() != call.Established:
		// Both at once (RFC 3261 §14.1).
		ex.done(nil, &refusedOffer{491})
	default:
		b.put(now, ex, other)
	}
}

// put makes the offer to an end, or asks it for one.
func (b *bridge) put(now time.Time, ex *exchange, other *end) {
	b.asking = ex
	other.side.prepare(ex.offer)
	if ex.offer != nil {
		other.side.expect(ex)
	}
	other.m.ReofferOnce(now, offeranswer.Options{}, func(now time.Time, err error) {
		if b.asking != ex {
			return
		}
		if err != nil && b.again(now, ex.from.e, other, &ex.tries, err, func(now time.Time) {
			if b.asking == ex {
				b.put(now, ex, other)
			}
		}) {
			return
		}
		b.asking = nil
		if err != nil {
			other.side.forget()
			ex.done(nil, &refusedOffer{passedOn(statusOf(err), sipgo.StatusRequestPending)})
		}
	})
}

// passedOn is the status with which one end refused, for the other one that has
// asked. 481 and 408 would end his dialog (RFC 3261 §12.2.1.2), and it is the
// first one's that is over: he may be on his way to somebody else, or gets a
// BYE. He is told instead.
func passedOn(status, instead int) int {
	if status == sipgo.StatusCallTransactionDoesNotExists || status == sipgo.StatusRequestTimeout {
		return instead
	}
	return status
}
