package call

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Fork is an early dialog of an INVITE of ours: a proxy has sent it on to
// several, and each that says something is a dialog of its own (RFC 3261
// §12.1.2, §13.2.2.4).
type Fork struct {
	RemoteTag string
	Target    sipgo.Uri // its Contact
	Asserted  string    // P-Asserted-Identity of its latest response, "" if it has none
	Status    int       // of its latest provisional response
	Media     bool      // it has answered our offer: there may be early media
	Heard     bool      // ... which are those that are heard
}

// Forks are the early dialogs of an outgoing call, in the order in which they
// came up. None once it is answered.
func (c *Call) Forks() []Fork {
	if !c.out || c.active != nil || c.state == Ended {
		return nil
	}
	fs := make([]Fork, len(c.legs))
	for i, l := range c.legs {
		fs[i] = Fork{
			RemoteTag: l.remoteTag, Target: l.target, Asserted: l.asserted, Status: l.status,
			Media: l.sounds(), Heard: l == c.heard,
		}
	}
	return fs
}

// Listen makes the early media of one fork those that are heard, and sent to.
// ErrFork where there is no such fork, or it has no media.
func (c *Call) Listen(now time.Time, remoteTag string, done func(now time.Time, err error)) {
	l := c.legFor(remoteTag)
	switch {
	case c.state == Ended:
		done(now, ErrEnded)
		return
	case !c.out || c.active != nil:
		done(now, ErrState)
		return
	case l == nil || !l.sounds():
		done(now, ErrFork)
		return
	}
	p := c.promise(done)
	c.choose(now, l, func(now time.Time, err error) { p.tell(now, c, err) })
}

// ErrFork is a fork that is not there, or is not to be heard.
var ErrFork = errors.New("no such fork, or it has no media")

func (c *Call) choose(now time.Time, l *leg, done func(now time.Time, err error)) {
	var err error
	c.do(now, func(context.Context) {
		if l.media != nil {
			err = c.made.Select(l.media)
		}
	}, func(now time.Time) {
		if err == nil && c.active == nil && slices.Contains(c.legs, l) {
			c.heard = l
			c.forked(now)
		}
		done(now, err)
	})
}

// forked tells the user that the forks have changed.
func (c *Call) forked(now time.Time) {
	if c.out && c.active == nil && c.state != Ended {
		c.env.Event(now, c, Event{Kind: ForksChanged, Forks: c.Forks()})
	}
}

// says notes what a fork says of itself.
func (l *leg) says(r *sipgo.Response) {
	l.status = r.StatusCode
	if v := sipwire.Header(r, "P-Asserted-Identity"); v != "" {
		l.asserted = v
	}
}

// sounds tells whether there may be early media of a fork: it has answered our
// offer, and has not refused all of it (RFC 3264 §6).
func (l *leg) sounds() bool {
	live := func(s offeranswer.Stream) bool { return !s.Disabled }
	return l.answered && (len(l.streams) == 0 || slices.ContainsFunc(l.streams, live))
}

// audible notes that a fork has agreed on media. Those of the first are heard
// by themselves.
func (l *leg) audible(now time.Time) {
	c := l.c
	if !c.out || c.active != nil {
		return
	}
	if c.heard == nil && l.sounds() {
		c.heard = l
	}
	c.forked(now)
}

// silenced chooses another fork where the one that was heard has gone.
func (l *leg) silenced(now time.Time) {
	c := l.c
	if c.active != nil || c.state == Ended {
		return
	}
	if c.heard == l {
		c.heard = nil
		if i := slices.IndexFunc(c.legs, func(o *leg) bool { return o.sounds() }); i >= 0 {
			c.choose(now, c.legs[i], func(time.Time, error) {})
		}
	}
	c.forked(now)
}

// lose notes what number a dialog that is given up has come to: if its 2xx comes
// all the same, its BYE has to have a higher one than its PRACKs had (RFC 3261
// §12.2.1.1). Those of as many dialogs as there can be are kept.
func (c *Call) lose(l *leg) {
	if !c.out || l.localCSeq <= c.cseq || len(c.lost) == maxLegs {
		return
	}
	if c.lost == nil {
		c.lost = make(map[string]uint32)
	}
	c.lost[strings.Clone(l.remoteTag)] = l.localCSeq
}

// Numbers are the CSeq numbers of the dialogs of an outgoing call that were not
// chosen, by the peer's tag, where requests other than the INVITE went in them:
// whoever ends one has to go on from there.
func (c *Call) Numbers() map[string]uint32 {
	for _, l := range c.legs {
		if l != c.active {
			c.lose(l)
		}
	}
	return c.lost
}
