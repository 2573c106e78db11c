package siptest

import "github.com/hoorn-phone/hoorn/internal/call"

// busy tells whether a user takes no other call: he has as many as he may
// have, or one and no call waiting. Legs that end soon since another has taken
// their place do not count.
func (l *life) busy(u *User) bool {
	limit := u.CallLimit
	if u.NoCallWaiting {
		limit = 1
	}
	if limit <= 0 {
		return false
	}
	n := 0
	calls := make(map[*bridge]bool) // several devices that ring are one call
	for _, g := range l.legs {
		e, ok := g.owner.(*end)
		switch {
		case g.m.State() == call.Ended:
		case !ok && g.at != nil && g.at.user == u:
			n++
		case ok && e.user == u && !e.b.over && !e.b.away && !calls[e.b]:
			calls[e.b] = true
			n++
		}
	}
	return n >= limit
}
