package siptest

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// pull brings the call here that another device of the caller's has.
func (l *life) pull(now time.Time, s *transaction.Server, who *User) {
	if who.NoPull {
		l.respond(now, s, sipgo.StatusForbidden)
		return
	}
	here := placeOf(s.Flow().(*transport.Flow))
	switch es := l.talking(who, func(e *end) bool { return placeOf(e.flow) != here }); len(es) {
	case 0:
		l.respond(now, s, sipgo.StatusNotFound)
	case 1:
		l.takeOver(now, s, who, es[0])
	default:
		l.respond(now, s, sipgo.StatusAmbiguous)
	}
}

// talking are the user's ends in calls with somebody that were answered.
func (l *life) talking(who *User, also func(e *end) bool) []*end {
	var es []*end
	for _, g := range l.legs {
		e, ok := g.owner.(*end)
		if ok && e.user == who && e.talks() && !e.b.over && !e.b.away && e.b.partner(e).alive() && also(e) {
			es = append(es, e)
		}
	}
	return es
}
