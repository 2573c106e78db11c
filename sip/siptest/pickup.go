package siptest

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// pickUpOf answers a call here that rings at another user's devices, or at any
// of the group's if callee is nil: the one that has rung longest.
func (l *life) pickUpOf(now time.Time, s *transaction.Server, who, callee *User) {
	var first *end
	for _, g := range l.legs {
		e, ok := g.owner.(*end)
		if !ok || !g.m.Outgoing() || e.b.over || e.b.winner != nil || e.b.a == nil ||
			callee != nil && e.user != callee || callee == nil && (e.user == who || !sameGroup(e.user, who)) {
			continue
		}
		if first == nil || e.since.Before(first.since) {
			first = e
		}
	}
	switch {
	case callee != nil && callee != who && !sameGroup(callee, who):
		l.respond(now, s, sipgo.StatusForbidden)
	case first == nil:
		l.respond(now, s, sipgo.StatusNotFound)
	default:
		l.pickUp(now, s, who, first.b)
	}
}

// pickUp makes the caller of s the callee of a call that rings.
func (l *life) pickUp(now time.Time, s *transaction.Server, who *User, b *bridge) {
	if b.over || b.winner != nil {
		l.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	e := b.newEnd(&leg{headers: b.answering(b.a)}, who)
	if !l.incoming(now, s, e.leg) {
		return
	}
	b.callee = who
	b.won(now, e)
	theirs, _ := call.SDP(b.a.m.Invite())
	ours, _ := call.SDP(s.Request())
	switch {
	case b.transfer != nil, theirs == nil:
		// The offer of who picks up goes to the other end, as any.
	case ours == nil:
		e.side.prepare(theirs)
	default:
		// Both have made an offer. The lab answers this one itself, and makes
		// the caller's in a re-INVITE.
		e.sound(nil)
	}
	e.m.Answer(now, offeranswer.Options{}, func(time.Time, error) {})
}

// pickedUp makes the caller's offer to an end that the lab's own media have
// answered.
func (b *bridge) pickedUp(now time.Time, e *end) {
	offer, _ := call.SDP(b.a.m.Invite())
	e.side.prepare(offer)
	e.m.Reoffer(now, offeranswer.Options{}, func(now time.Time, err error) {
		switch {
		case b.over || b.accepted:
		case !e.alive(): // which ends the call
		case err != nil:
			b.finish()
			_ = b.a.m.Reject(now, statusOf(err), "")
			e.m.Hangup(now)
		default:
			b.answered(now, e)
		}
	})
}
