package sip

import (
	"context"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// A call is the user's; dialogs come and go under it: a redirect, a transfer
// that was asked of us, an INVITE that replaces the dialog. Each set of them
// has a machine of its own. The call has a current one and, while it moves,
// the one that it moves to:
//
//	c.set ── INVITE of the beginning          c.move.set ── INVITE of the move
//	   │                                          │ 2xx, ACK
//	   │◀───────────── arrived ───────────────────┘
//	   └── BYE once the new one is heard, 500 ms later at the latest
//
// A move that fails leaves the call as it was. A current set that ends during
// the move does not end the call, which then stands or falls with the other.

// breakAfter is how long a former dialog is kept for the sake of the sound
// when its successor stands, and is not heard.
const breakAfter = 500 * time.Millisecond

// dialogSet is one Call-ID and local tag of a call, with the dialogs that
// answers to its INVITE make. In the loop.
type dialogSet struct {
	c       *Call
	m       *call.Call
	media   *mediaView
	inv     *invitation     // ours; nil: theirs
	refusal *sipgo.Response // a 3xx to it

	local, remote Party
	identity      Identity
	focus         string // the conference URI; "": the peer is no focus

	// The transactions of INVITEs, which outlive the call.
	server  *transaction.Server
	invites []*endpoint.Outgoing
}

// invitation is what an INVITE of ours says.
type invitation struct {
	to      sipgo.Uri
	from    sipgo.Uri
	name    string // of From
	headers []sipgo.Header
	media   offeranswer.Options
	targets targets
}

// move is a call on its way from one dialog set to another.
type move struct {
	set   *dialogSet
	heard bool // the peer's media have come already
	// replaces: the peer of the former dialog is told that somebody has taken
	// his place.
	replaces bool
	// progress hears of provisional responses; nil: nobody does.
	progress func(now time.Time, status int, phrase string)
	// done is told that the call has moved, or why not.
	done func(now time.Time, err error)
}

// leaving is a former dialog set that is kept until the new one is heard.
type leaving struct {
	set     *dialogSet
	timer   timerq.Timer
	reasons []call.Reason
}

// replaced is why a dialog ends whose place another has taken. RFC 3891 §3 asks
// for a BYE and no more; without a reason his user would believe that we have hung
// up (RFC 3326 §2).
var replaced = call.Reason{Protocol: "SIP", Cause: 200, Text: "Call completed elsewhere"}

// outgoing makes the dialog set of an INVITE of ours; begin sends it.
func (c *Call) outgoing(inv *invitation) *dialogSet {
	ua := c.ua
	set := &dialogSet{c: c, media: c.shared.view(), inv: inv}
	set.m = call.New((*env)(set), ua.timers(), call.Start{
		To: inv.to, From: inv.from, FromName: inv.name, Routes: ua.preloaded(), Headers: inv.headers,
		As: inv.targets.to,
	})
	set.local = Party{URI: ua.acct.aor.String(), Name: inv.name}
	set.remote = Party{URI: inv.to.String()}
	ua.calls[callKey{set.m.ID(), set.m.LocalTag()}] = set
	return set
}

// incoming makes the dialog set of an INVITE that came. One that it cannot
// take it refuses, and returns nil.
func (c *Call) incoming(now time.Time, s *transaction.Server) *dialogSet {
	ua := c.ua
	set := &dialogSet{c: c, media: c.shared.view(), server: s}
	m, err := call.NewIncoming((*env)(set), ua.timers(), s)
	if err != nil {
		ua.respond(now, s, call.StatusOf(err), call.Explain(err)...)
		return nil
	}
	set.m = m
	m.Limit(now)
	if to := s.Request().To(); to != nil {
		set.local = Party{URI: sipwire.FormatURI(&to.Address), Name: to.DisplayName}
	}
	set.identity = identityOf(s.Request(), !ua.acct.direct && ua.own(s))
	set.remote = set.identity.callerOf()
	set.learnFocus(s.Request())
	c.learnSession(s.Request(), sipwire.FromTag(s.Request()))
	ua.calls[callKey{m.ID(), m.LocalTag()}] = set
	return set
}

// begun makes a dialog set the call's first.
func (c *Call) begun(set *dialogSet) {
	c.set, c.m, c.id = set, set.m, set.m.ID()
	c.identity = set.identity
}

// moveTo lets the call follow a dialog set that was made for it. One call
// moves to one place at a time: false, and the set is the caller's to end.
func (c *Call) moveTo(mv *move) bool {
	if c.move != nil || c.m.State() == call.Ended {
		return false
	}
	c.move = mv
	return true
}

// event takes what happened in one of the call's dialog sets.
func (c *Call) event(now time.Time, set *dialogSet, ev call.Event) {
	ended := ev.Kind == call.StateChanged && ev.State == call.Ended
	if ended {
		if next := c.recurse(now, set); next != nil {
			next.begin(now)
			return
		}
	}
	mv := c.move
	if mv != nil && mv.set == set {
		switch {
		case ev.Kind == call.Progress && mv.progress != nil:
			mv.progress(now, ev.Status, ev.Reason)
		case ev.Kind == call.MediaStarted:
			mv.heard = true
		case ev.Kind == call.StateChanged && ev.State == call.Established:
			c.arrived(now)
			return
		case ended:
			c.move = nil
			err := set.m.End().Error()
			if err == nil {
				err = ErrEnded
			}
			mv.done(now, err)
		}
	}
	switch l := c.leaving; {
	case l != nil && l.set == set && ended:
		c.left()
	case l != nil && set == c.set && (ended || ev.Kind == call.MediaStarted):
		c.leave(now)
	}
	switch {
	case set != c.set:
		return // a former one, or one that is not the call's yet
	case ended && c.move != nil:
		// The old end is gone before the new one stands. Nobody hung up the
		// call: who asks for a transfer often ends his part at once.
		c.set, c.m = c.move.set, c.move.set.m
		return
	case ev.Kind == call.StateChanged && !ended && (c.state == CallEstablished || c.state == CallState(ev.State)):
		return // to the user it stands already
	}
	c.tell(now, ev)
}

// arrived makes the dialog set that the call moved to its current one.
func (c *Call) arrived(now time.Time) {
	mv, old := c.move, c.set
	c.move = nil
	set := mv.set
	c.set, c.m = set, set.m
	if old != set && old.m.State() != call.Ended {
		c.leave(now) // one of an earlier move
		l := &leaving{set: old}
		if mv.replaces {
			l.reasons = []call.Reason{replaced}
		}
		l.timer.F = c.leave
		c.leaving = l
		c.ua.ep.Q.Set(&l.timer, now.Add(breakAfter))
	}
	// The new leg is the one to hear and to be heard by, from its first frame.
	tag := set.m.RemoteTag()
	c.ua.ep.Go(func(context.Context) { _ = set.media.choose(tag) }, func(time.Time) {}, nil)
	c.party(now, set)
	c.tell(now, call.Event{Kind: call.MediaChanged, Streams: set.m.Streams()})
	// Who was on hold in the former dialog is not on hold in this one for that:
	// mostly the peer who sent us on had held the call.
	if held := set.m.Held(); Hold(held) != c.held {
		c.tell(now, call.Event{Kind: call.HoldChanged, Held: held})
	}
	if c.state != CallEstablished {
		c.tell(now, call.Event{Kind: call.StateChanged, State: call.Established})
	}
	mv.done(now, nil)
	if mv.heard {
		c.leave(now)
	}
}

// party tells the user with whom he talks now.
func (c *Call) party(now time.Time, set *dialogSet) {
	c.mu.Lock()
	c.local, c.remote, c.identity = set.local, set.remote, set.identity
	c.mu.Unlock()
	c.log.add(Event{Time: now, Kind: PartyChanged})
}

// leave ends the dialog set that was kept for the sake of the sound.
func (c *Call) leave(now time.Time) {
	if l := c.leaving; l != nil {
		c.left()
		l.set.m.Hangup(now, l.reasons...)
	}
}

// left forgets it.
func (c *Call) left() {
	c.ua.ep.Q.Stop(&c.leaving.timer)
	c.leaving = nil
}

// hangup ends the call with whatever it has: an INVITE that it was to move to,
// too.
func (c *Call) hangup(now time.Time, reasons ...call.Reason) {
	c.leave(now)
	if mv := c.move; mv != nil && mv.set != c.set {
		c.move = nil
		mv.set.m.Hangup(now, reasons...)
		mv.done(now, ErrEnded)
	}
	c.m.Hangup(now, reasons...)
}
