package sip

import (
	"strconv"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Control is what a server asks of a telephone on behalf of its user, who has
// pressed a button elsewhere: NOTIFY with the event "talk" or "hold" in a
// call's dialog.
type Control int

// The controls.
const (
	ControlTalk Control = iota + 1 // answer the call that rings, or resume the one on hold
	ControlHold                    // put the call on hold
)

func (c Control) String() string {
	switch c {
	case ControlTalk:
		return "talk"
	case ControlHold:
		return "hold"
	}
	return "Control(" + strconv.Itoa(int(c)) + ")"
}

// maxRemote bounds what a server can have a phone do at once.
const maxRemote = 8

// controlled takes a NOTIFY that controls a call. It was answered when it is
// obeyed: that may take a while, and may fail as the user's own wish may.
func controlled(ctl Control) func(c *Call, now time.Time, s *transaction.Server, ev sipwire.Event) {
	return func(c *Call, now time.Time, s *transaction.Server, _ sipwire.Event) {
		ua := c.ua
		allowed := !ua.acct.direct && ua.own(s)
		if ask := ua.cfg.RemoteControl; ask != nil {
			allowed = ask(c, ctl)
		}
		if !allowed {
			ua.respond(now, s, sipgo.StatusForbidden)
			return
		}
		ua.respond(now, s, sipgo.StatusOK)
		if p := c.phone.Load(); p != nil && p.control(c, ctl) {
			return
		}
		c.obey(now, ctl)
	}
}

// obey does what a control asks. In the loop.
func (c *Call) obey(now time.Time, ctl Control) {
	switch {
	case ctl == ControlHold:
		c.m.Hold(now, true, nil)
	case c.dir == Incoming && (c.state == CallIncoming || c.state == CallRinging):
		c.m.Answer(now, offeranswer.Options{}, func(time.Time, error) {})
	default:
		c.m.Hold(now, false, nil)
	}
}

// control does what a control asks of a phone, which has other calls to think
// of. It does not block; false: the phone is closed.
func (p *Phone) control(c *Call, ctl Control) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.remote >= maxRemote {
		return true
	}
	p.remote++
	p.wg.Go(func() {
		// The outcome is seen by what becomes of the call.
		switch s := c.State(); {
		case ctl == ControlHold:
			_ = c.Hold(p.ctx)
		case c.Direction() == Incoming && (s == CallIncoming || s == CallRinging):
			_ = p.Answer(p.ctx, c, nil)
		default:
			_ = p.Activate(p.ctx, c)
		}
		p.mu.Lock()
		p.remote--
		p.mu.Unlock()
	})
	return true
}
