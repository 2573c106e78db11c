package siptest

import (
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// parked is an end that waits, with music, until somebody retrieves it.
type parked struct {
	l      *life
	e      *end
	b      *bridge
	by     *User
	recall timerq.Timer
}

// here tells whether the end still waits.
func (p *parked) here() bool { return p != nil && p.e.alive() && p.e.b == p.b && !p.b.over }

// at is who is parked at a user's extension, nil if nobody is.
func (l *life) parkedAt(u *User) *parked {
	p := l.parked[u]
	if p == nil || p.e.alive() && !p.b.over {
		return p
	}
	l.unpark(u, p)
	return nil
}

func (l *life) unpark(u *User, p *parked) {
	l.ep.Q.Stop(&p.recall)
	if l.parked[u] == p {
		delete(l.parked, u)
	}
}

// extension is whom the digits behind a code mean: the caller himself if
// there are none.
func (l *life) extension(who *User, digits string) *User {
	if digits == "" {
		return who
	}
	return l.srv.users.find(digits)
}

// others are the user's calls with somebody; of several those of the device
// that asks.
func (l *life) others(s *transaction.Server, who *User, also func(e *end) bool) []*end {
	es := l.talking(who, also)
	if len(es) > 1 {
		here := placeOf(s.Flow().(*transport.Flow))
		es = slices.DeleteFunc(es, func(e *end) bool { return placeOf(e.flow) != here })
	}
	return es
}

// park lets the far end of the caller's other call wait at an extension.
func (l *life) park(now time.Time, s *transaction.Server, who *User, digits string) {
	at := l.extension(who, digits)
	es := l.others(s, who, func(*end) bool { return true })
	switch {
	case at == nil || len(es) == 0:
		l.respond(now, s, sipgo.StatusNotFound)
	case l.parkedAt(at) != nil:
		l.respond(now, s, sipgo.StatusBusyHere)
	case len(es) > 1:
		l.respond(now, s, sipgo.StatusAmbiguous)
	default:
		l.parkEnd(now, es[0].b.partner(es[0]), at, who, func(now time.Time, status int) {
			if status != sipgo.StatusOK {
				l.respond(now, s, status)
				return
			}
			l.serve(now, s, confirm)
		})
	}
}

// parkEnd moves an end to an extension.
func (l *life) parkEnd(now time.Time, e *end, at, by *User, done func(now time.Time, status int)) {
	from := e.b
	ready := func() bool { return !e.alive() || e.b != from || e.free() }
	l.when(now, ready, func(now time.Time, ok bool) {
		switch {
		case !e.alive() || e.b != from:
			done(now, sipgo.StatusCallTransactionDoesNotExists)
			return
		case !ok:
			done(now, sipgo.StatusRequestPending)
			return
		case l.parkedAt(at) != nil:
			done(now, sipgo.StatusBusyHere)
			return
		}
		b := &bridge{l: l, a: e, id: l.uuid()}
		p := &parked{l: l, e: e, b: b, by: by}
		l.parked[at] = p
		b.gather(nil, e, 0, func(now time.Time, err error) {
			if err != nil {
				l.unpark(at, p)
				done(now, sipgo.StatusCallTransactionDoesNotExists)
				return
			}
			p.recall.F = func(now time.Time) { p.callBack(now, at) }
			l.ep.Q.Set(&p.recall, now.Add(l.cfg.Calls.ParkRecall))
			done(now, sipgo.StatusOK)
		}, e)
		e.attach(now, music, func(now time.Time, _ error) {
			if b.moving != nil { // music that the device does not want is no reason
				b.settled(now)
			}
		})
	})
}

// hold gives an end that is alone its music again.
func (e *end) hold(now time.Time) { e.attach(now, music, nil) }

// retrieve answers the caller with who is parked at an extension.
func (l *life) retrieve(now time.Time, s *transaction.Server, who *User, digits string) {
	at := l.extension(who, digits)
	p := l.parkedAt(at)
	if at == nil || !p.here() {
		l.respond(now, s, sipgo.StatusNotFound)
		return
	}
	l.enter(now, s, who, p.e, p.here, 0)
}

// callBack rings who has parked a call that nobody retrieves.
func (p *parked) callBack(now time.Time, at *User) {
	l := p.l
	if !p.here() {
		l.unpark(at, p)
		return
	}
	l.ep.Q.Set(&p.recall, now.Add(l.cfg.Calls.ParkRecall)) // should nobody answer
	devices := reachable(l.srv.loc.of(p.by, now), now)
	if len(devices) == 0 || p.e.transfer != nil {
		return
	}
	t := &transfer{l: l, who: p.e, waits: true}
	p.e.transfer = t
	t.ring(now, course{user: p.by, devices: devices}, l.cfg.Calls.ParkRecall/2)
}
