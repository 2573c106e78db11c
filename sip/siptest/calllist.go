package siptest

import (
	"cmp"
	"errors"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// ErrNoCall is returned by methods that are to change a call which is not in
// the lab.
var ErrNoCall = errors.New("siptest: no such call")

// CallInfo is a call as the lab sees it.
type CallInfo struct {
	// ID names the call until one of its legs gets another partner.
	ID string
	// State is where it stands.
	State CallState
	// Legs are the dialogs with devices: the caller's first, and where the call
	// rings those with all devices that do. A transfer that rings is a call
	// of its own, without the leg of who is transferred.
	Legs []CallLeg
	// Parked says that one leg waits for somebody to retrieve it, with music.
	Parked bool
	// Mailbox is whose mailbox the leg is in, to leave a message; "" elsewhere.
	Mailbox string
	// Conference is the URI of the conference that the leg is in, "" elsewhere.
	Conference string
	// Since is when its oldest leg began.
	Since time.Time
}

// CallState is where a call stands.
type CallState string

// The states.
const (
	CallRinging CallState = "ringing" // not answered yet
	CallTalking CallState = "talking" // both legs have been answered, or the one with a service number
	CallMoving  CallState = "moving"  // a leg is getting another partner, and may go back
)

// CallLeg is a dialog of the lab with a device. Its identifiers are those that
// the device knows.
type CallLeg struct {
	// User is whose device it is.
	User string
	// Device is how transcripts call it: "alice", "alice#2".
	Device string
	// CallID and the tags; Local is the device's tag, "" before there is one.
	CallID, Local, Remote string
	// Answered says that there was a 2xx.
	Answered bool
	// Held says that the device's latest description does not receive: it has
	// the other one on hold. Descriptions that are always inactive, as those
	// of sip.NoMedia, say so too.
	Held bool
}

// CallList are the calls in the lab, the oldest first. It is empty while the
// lab is down.
func (s *Server) CallList() []CallInfo {
	var calls []CallInfo
	_ = s.run(func(l *life, _ time.Time) { calls = l.callList() })
	return calls
}

func (l *life) callList() []CallInfo {
	bridges := make(map[*bridge]bool)
	var calls []CallInfo
	for _, g := range l.legs {
		if g.m.State() == call.Ended {
			continue
		}
		e, ok := g.owner.(*end)
		if !ok {
			c := CallInfo{ID: g.m.ID(), State: stateOf(g), Legs: []CallLeg{l.callLeg(g, nil, nil)}, Since: g.since}
			if s, ok := g.owner.(*serviceCall); ok {
				if d, ok := s.svc.(*deposit); ok {
					c.Mailbox = d.user.Name
				}
			}
			calls = append(calls, c)
			continue
		}
		if b := e.b; !b.over && !b.away && !bridges[b] {
			bridges[b] = true
			calls = append(calls, b.info())
		}
	}
	slices.SortFunc(calls, func(a, b CallInfo) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return calls
}

func stateOf(g *leg) CallState {
	if s := g.m.State(); s == call.Established || s == call.Answering {
		return CallTalking
	}
	return CallRinging
}

// ends are the ends of a bridge that are alive and nowhere else.
func (b *bridge) ends() []*end {
	var es []*end
	for _, e := range append([]*end{b.a, b.winner}, b.bs...) {
		if e.alive() && e.b == b && !slices.Contains(es, e) {
			es = append(es, e)
		}
	}
	return es
}

func (b *bridge) info() CallInfo {
	c := CallInfo{ID: b.id, State: CallTalking, Parked: b.accepted && b.winner == nil && b.called() && b.seat == nil && b.box == nil}
	for _, e := range b.ends() {
		c.Legs = append(c.Legs, b.l.callLeg(e.leg, e.user, e.side))
		if stateOf(e.leg) == CallRinging {
			c.State = CallRinging
		}
		if c.Since.IsZero() || e.since.Before(c.Since) {
			c.Since = e.since
		}
	}
	if b.box != nil {
		c.Mailbox = b.box.Name
	}
	if b.seat != nil {
		uri := b.seat.c.uri()
		c.Conference = sipwire.FormatURI(&uri)
	}
	if b.moving != nil {
		c.State = CallMoving
	}
	return c
}

func (l *life) callLeg(g *leg, u *User, m *side) CallLeg {
	c := CallLeg{
		Device: l.srv.loc.whoIs(placeOf(g.flow)), CallID: g.m.ID(), Remote: g.m.LocalTag(),
		Answered: stateOf(g) == CallTalking,
	}
	if d, ok := g.m.Dialog(); ok {
		c.Local = d.RemoteTag
	}
	if u != nil {
		c.User = u.Name
	} else if g.at != nil {
		c.User = g.at.user.Name
	}
	if m != nil {
		heard, _ := m.latest()
		c.Held = holds(heard)
	}
	return c
}

// Hangup ends a call, as an administrator would: by its CallInfo.ID, or the
// Call-ID of one of its legs. All legs hear of it; callers that were not
// answered get 480. ErrNoCall if there is none.
func (s *Server) Hangup(id string) error {
	err := ErrNoCall
	if down := s.run(func(l *life, now time.Time) {
		for _, g := range l.legs {
			e, ok := g.owner.(*end)
			if g.m.State() == call.Ended || g.m.ID() != id && (!ok || e.b.id != id || e.b.over) {
				continue
			}
			err = nil
			es := []*leg{g}
			if ok {
				es = es[:0]
				for _, e := range append(e.b.ends(), e) {
					es = append(es, e.leg)
				}
			}
			for _, g := range es {
				if g.m.Reject(now, sipgo.StatusTemporarilyUnavailable, "") != nil {
					g.m.Hangup(now)
				}
			}
			return
		}
	}); down != nil {
		return down
	}
	return err
}
