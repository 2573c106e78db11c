package siptest

import (
	"context"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/media"
)

// toMailbox sends the far end of the call that the caller has on hold to a
// user's mailbox, the caller's own if no extension was dialled.
func (l *life) toMailbox(now time.Time, s *transaction.Server, who *User, digits string) {
	u := l.extension(who, digits)
	if u == nil || !u.state.takes() {
		l.respond(now, s, sipgo.StatusNotFound)
		return
	}
	switch es := l.others(s, who, (*end).holds); len(es) {
	case 0:
		// Not 404, as there is such a mailbox.
		l.respondWith(now, s, sipgo.StatusCallTransactionDoesNotExists, "No Call On Hold")
	case 1:
		e, far := es[0], es[0].b.partner(es[0])
		if e.transfer != nil || far.transfer != nil {
			l.respond(now, s, sipgo.StatusRequestPending) // somebody is on his way elsewhere
			return
		}
		l.depositEnd(now, far, u, func(now time.Time, status int) {
			if status != sipgo.StatusOK {
				l.respond(now, s, status)
				return
			}
			l.serve(now, s, confirm)
		})
	default:
		l.respond(now, s, sipgo.StatusAmbiguous)
	}
}

// holds tells whether the device has the other end on hold.
func (e *end) holds() bool {
	heard, _ := e.side.latest()
	return holds(heard)
}

// depositEnd lets an end that talks to somebody leave a message for u instead.
// Its leg ends with that.
func (l *life) depositEnd(now time.Time, e *end, u *User, done func(now time.Time, status int)) {
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
		}
		b := &bridge{l: l, a: e, box: u, id: l.uuid()}
		d := depositFor(u, l.identity(e.user, e.private))
		b.host(now, e, func(ctx context.Context, s *media.Session) error {
			err := d.take(ctx, l, s)
			l.ep.Post(func(now time.Time) {
				if e.b == b {
					e.m.Hangup(now)
				}
			})
			return err
		}, func(now time.Time, err error) {
			if err != nil {
				done(now, statusOf(err))
				return
			}
			done(now, sipgo.StatusOK)
		})
	})
}
