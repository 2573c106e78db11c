package siptest

import (
	"errors"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Transfer, pull, park and pickup are one thing to a B2BUA: an end gets
// another partner. The ends are put into a new bridge; there one of them makes
// its offer and the other answers it, as in any exchange. Only when that is
// done do the former partners hear of it. If it fails, or somebody hangs up
// meanwhile, each end goes back to the bridge it came from; where its device
// has agreed to something by then, the two that remain agree anew.

// move is a bridge in the making.
type move struct {
	keeps  []kept
	fresh  *end          // came for this, and ends if it fails; nil: both talked before
	linger time.Duration // from success to the BYE of the former partners
	done   func(now time.Time, err error)
}

// kept is an end that goes back if the move fails.
type kept struct {
	e     *end
	from  *bridge
	round int
	alone bool // with the lab's own media
}

// gather moves ends into b. The exchange that makes them partners is that of
// driver, who is patient: other offers of both are refused meanwhile.
func (b *bridge) gather(fresh, driver *end, linger time.Duration, done func(now time.Time, err error), keeps ...*end) {
	b.moving = &move{fresh: fresh, linger: linger, done: done}
	b.accepted, b.patient = true, driver
	for _, e := range keeps {
		n, alone := e.side.round()
		b.moving.keeps = append(b.moving.keeps, kept{e: e, from: e.b, round: n, alone: alone})
		e.b.away = true
		e.b = b
	}
}

// errHungUp is why a move failed during which somebody hung up.
var errHungUp = &refusedOffer{sipgo.StatusCallTransactionDoesNotExists}

// free tells whether the end can be moved now.
func (e *end) free() bool {
	b := e.b
	return e.talks() && !b.over && !b.away && b.moving == nil && b.asking == nil && b.patient == nil
}

// Waiting for an end that is busy with something else: an exchange under way,
// another move.
const (
	lookAgain = 100 * time.Millisecond
	lookAtAll = 80 // times
)

// when runs fn as soon as cond holds; ok is false if it does not for long.
func (l *life) when(now time.Time, cond func() bool, fn func(now time.Time, ok bool)) {
	t := &timerq.Timer{}
	looks := 0
	t.F = func(now time.Time) {
		ok := cond()
		if looks++; !ok && looks < lookAtAll {
			l.ep.Q.Set(t, now.Add(lookAgain))
			return
		}
		fn(now, ok)
	}
	t.F(now)
}

// settled makes the move final.
func (b *bridge) settled(now time.Time) {
	mv := b.moving
	b.moving, b.patient, b.transfer = nil, nil, nil
	var left []*end
	for _, k := range mv.keeps {
		k.from.finish()
		if o := k.from.partner(k.e); o.alive() && o.b == k.from {
			left = append(left, o)
		}
	}
	if mv.done != nil {
		mv.done(now, nil)
	}
	for _, o := range left {
		if mv.linger == 0 {
			o.m.Hangup(now)
			continue
		}
		o.bye.F = func(now time.Time) { o.m.Hangup(now, elsewhere) } // its call was taken over
		b.l.ep.Q.Set(&o.bye, now.Add(mv.linger))
	}
}

// undo takes the move back.
func (b *bridge) undo(now time.Time, err error) {
	mv, asking := b.moving, b.asking
	b.moving, b.patient, b.asking = nil, nil, nil
	b.finish()
	if asking != nil {
		asking.done(nil, &refusedOffer{statusOf(err)})
	}
	for _, k := range mv.keeps {
		k.e.b, k.from.away = k.from, false
	}
	for _, k := range mv.keeps {
		// Its answer, if one is under way, may come after all.
		k.from.resume(now, k, asking != nil && asking.from != k.e.side)
	}
	if f := mv.fresh; f.alive() && f.m.Reject(now, statusOf(err), "") != nil {
		f.m.Hangup(now)
	}
	if mv.done != nil {
		mv.done(now, err)
	}
}

// resume goes on with an end that comes back.
func (b *bridge) resume(now time.Time, k kept, underWay bool) {
	e, o := k.e, b.partner(k.e)
	n, _ := e.side.round()
	asks := e.side.asks()
	switch {
	case !e.alive():
		b.gone(now, e)
	case o == nil && k.alone:
		// The lab's own media were its partner, and are again.
		if n != k.round || underWay {
			e.hold(now)
		}
		if asks != nil {
			asks.settle(outcome{again: true})
		}
	case !o.alive():
		if e.transfer == nil {
			e.m.Hangup(now, call.Reason{Protocol: "SIP", Cause: 480})
		}
		if asks != nil {
			asks.done(nil, &refusedOffer{481})
		}
	case asks != nil:
		asks.settle(outcome{again: true}) // its offer goes to the former partner
	case n != k.round || underWay:
		b.sync(now, o, func(now time.Time, err error) {
			if err != nil {
				b.hangup(now, call.Reason{Protocol: "SIP", Cause: statusOf(err)})
			}
		})
	}
}

// hangup ends both legs.
func (b *bridge) hangup(now time.Time, reasons ...call.Reason) {
	a, w := b.a, b.winner
	for _, e := range []*end{a, w} {
		if e.alive() && e.b == b {
			e.m.Hangup(now, reasons...)
		}
	}
}

// join makes two ends partners that both talk to somebody else. On success
// those get BYE.
func (l *life) join(now time.Time, x, y *end, done func(now time.Time, err error)) {
	b := &bridge{l: l, a: x, winner: y, id: l.uuid()}
	b.gather(nil, y, 0, done, x, y)
	b.meet(now, y)
}

// meet completes a move whose driver has to be told to ask.
func (b *bridge) meet(now time.Time, driver *end) {
	b.sync(now, driver, func(now time.Time, err error) {
		switch {
		case b.moving == nil:
		case err != nil:
			b.undo(now, err)
		default:
			b.settled(now)
		}
	})
}

// sync brings a new exchange about: the partner of y is asked for an offer in
// a re-INVITE without one, y gets that, and its answer goes back in the ACK
// (RFC 3725 §4.4).
func (b *bridge) sync(now time.Time, y *end, done func(now time.Time, err error)) {
	b.patient = y
	tries := 0
	var try func(now time.Time)
	try = func(now time.Time) {
		if ex := b.partner(y).side.asks(); ex != nil { // the offer is here already
			y.side.prepare(ex.offer)
			y.side.expect(ex)
		}
		y.m.ReofferOnce(now, offeranswer.Options{}, func(now time.Time, err error) {
			if b.patient != y {
				return
			}
			var refused *refusedOffer // by the partner, who was asked several times
			if err != nil && !errors.As(err, &refused) && b.again(now, y, y, &tries, err, try) {
				return
			}
			b.patient = nil
			if err != nil {
				y.side.forget()
			}
			done(now, err)
		})
	}
	try(now)
}

// maxTries bounds how often one question is repeated after 491. A device whose
// 2xx waits for its ACK meanwhile has patience for 64*T1 (RFC 3261 §13.3.1.4).
const maxTries = 4

// again repeats what met another offer, after the time of RFC 3261 §14.1. It
// returns false where that is no use.
func (b *bridge) again(now time.Time, who, asked *end, tries *int, err error, fn func(now time.Time)) bool {
	if b.over || b.patient != who || statusOf(err) != 491 || *tries >= maxTries || !asked.alive() {
		return false
	}
	*tries++
	const unit = 10 * time.Millisecond
	wait := time.Duration(b.l.ep.Float()*201) * unit
	if asked.m.Outgoing() { // the Call-ID is ours
		wait = time.Duration(210+int(b.l.ep.Float()*191)) * unit
	}
	b.retry.F = fn
	b.l.ep.Q.Set(&b.retry, now.Add(wait))
	return true
}
