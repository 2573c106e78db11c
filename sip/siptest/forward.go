package siptest

import (
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// course is where a call goes, by the settings of whom it was meant for.
type course struct {
	user    *User      // who is called in the end; nil with a number of the lab
	devices []*binding // to ring
	service Service    // or what answers instead of devices
	mailbox bool       // or the user's mailbox
	trail   trail      // who forwarded it there
	status  int        // or why the call goes nowhere
}

// course finds out where a call to u goes whose devices are these: what he has
// set for all calls comes first, then what he has set for being busy.
func (l *life) course(u *User, devices []*binding, t trail) course {
	set := u.state.get()
	switch {
	case set.ForwardAlways != "":
		return l.forwarded(u, set.ForwardAlways, unconditional, t)
	case set.VoicemailAlways && u.state.takes():
		return course{user: u, mailbox: true, trail: t}
	case set.DoNotDisturb:
		return l.instead(u, doNotDisturb, t)
	case len(devices) == 0:
		return l.instead(u, unavailable, t)
	case l.busy(u):
		return l.instead(u, userBusy, t)
	}
	if l.cfg.Calls.OneDevice {
		devices = devices[len(devices)-1:]
	}
	return course{user: u, devices: devices, trail: t}
}

// instead is where a call goes that the devices of u do not take.
func (l *life) instead(u *User, why cause, t trail) course {
	set := u.state.get()
	to, voicemail := set.ForwardNoAnswer, set.VoicemailNoAnswer
	switch why {
	case userBusy, doNotDisturb:
		to, voicemail = set.ForwardBusy, set.VoicemailBusy
	case unavailable:
		if set.ForwardNotReachable != "" {
			to = set.ForwardNotReachable
		}
	}
	switch {
	case to != "":
		return l.forwarded(u, to, why, t)
	case voicemail && u.state.takes():
		return course{user: u, mailbox: true, trail: t}
	}
	return course{status: why.status}
}

// forwarded is where a call goes that u forwards to a number.
func (l *life) forwarded(u *User, to string, why cause, t trail) course {
	if t = t.and(u, why); len(t) > maxDiversions {
		return course{status: sipgo.StatusLoopDetected}
	}
	if svc := l.service(to); svc != nil {
		return course{user: u, service: svc, trail: t}
	}
	target := l.srv.users.find(to)
	switch {
	case target == nil:
		return course{status: sipgo.StatusNotFound}
	case t.by(target):
		return course{status: sipgo.StatusLoopDetected}
	}
	now := time.Now()
	return l.course(target, reachable(l.srv.loc.of(target, now), now), t)
}

// proceed sends the call of s on its course.
func (l *life) proceed(now time.Time, s *transaction.Server, caller *User, c course) {
	switch {
	case c.status != 0:
		l.respond(now, s, c.status)
	case c.mailbox:
		l.serve(now, s, depositFor(c.user, l.callerID(s.Request(), caller)))
	case c.service != nil:
		l.serve(now, s, c.service)
	default:
		l.bridge(now, s, caller, c)
	}
}

// patience is how long the devices of b's callee ring, and whether the call
// can go elsewhere after that or before.
func (b *bridge) patience() (d time.Duration, elsewhere bool) {
	d = b.limit
	for _, why := range []cause{userBusy, unavailable} {
		elsewhere = elsewhere || b.l.instead(b.callee, why, b.trail).status == 0
	}
	if b.l.instead(b.callee, unanswered, b.trail).status == 0 {
		elsewhere = true
		after := b.callee.state.get().NoAnswerAfter
		if after <= 0 {
			after = defaultNoAnswer
		}
		d = min(d, after)
	}
	return d, elsewhere
}

// forward sends a call elsewhere that its callee's devices did not take. It
// returns false if he has set nothing for that, or that leads nowhere.
func (b *bridge) forward(now time.Time, why cause) bool {
	return b.divert(now, b.l.instead(b.callee, why, b.trail))
}

// divert sends a call on another course. It returns false if that is none, or
// none for a call that is transferred or goes into a conference: devices take
// both, and a mailbox who is transferred, but for one who is parked.
func (b *bridge) divert(now time.Time, c course) bool {
	deposits := c.mailbox && b.transfer != nil && !b.transfer.waits
	if c.status != 0 || b.early || b.over || b.winner != nil || !b.called() && len(c.devices) == 0 && !deposits {
		return false
	}
	// The devices have had their time. What they say from now on is no part
	// of this call.
	former := b.bs
	b.bs, b.best, b.told = nil, nil, nil
	for _, e := range former {
		e.m.Hangup(now)
	}
	if b.called() && len(c.trail) > len(b.trail) {
		_ = b.a.m.Ring(now, 181, "") // an error: the caller has gone
	}
	if deposits {
		b.finish()
		b.l.depositEnd(now, b.transfer.who, c.user, b.transfer.taken)
		return true
	}
	if c.mailbox {
		c.service = depositFor(c.user, b.as)
	}
	if c.service != nil {
		b.finish()
		b.l.connect(now, b.a.leg, c.service)
		return true
	}
	b.callee, b.trail = c.user, c.trail
	if b.called() {
		b.a.headers[0] = sipgo.NewHeader("P-Asserted-Identity", c.user.identity(b.l.cfg.Domain))
	}
	b.dial(now, c.devices)
	return true
}

// dial rings devices of the callee.
func (b *bridge) dial(now time.Time, devices []*binding) {
	wait, elsewhere := b.patience()
	b.alone = len(devices) == 1 && !elsewhere
	for _, d := range devices {
		e := b.newEnd(&leg{}, b.callee)
		if b.invite == nil {
			e.side.prepare(b.offer)
		}
		b.l.outgoing(now, d, e.leg, b.start(d))
		if b.invite != nil {
			b.invite.ready(e)
		}
		b.toward(e.m.Invite(), d)
		b.bs = append(b.bs, e)
	}
	b.ring.F = b.rang
	b.l.ep.Q.Set(&b.ring, now.Add(wait))
	for _, e := range slices.Clone(b.bs) {
		if e.alive() { // one that refuses may end all of it
			e.m.Dial(now, offeranswer.Options{})
		}
	}
}

// causeOf is what the refusal of all devices means for forwarding; not ok: the
// caller is to have it as it is.
func causeOf(r *refusal) (why cause, ok bool) {
	switch r.status {
	case sipgo.StatusBusyHere, 600:
		return userBusy, true
	case sipgo.StatusTemporarilyUnavailable, sipgo.StatusRequestTimeout, sipgo.StatusInternalServerError:
		if r.unreached {
			return unavailable, true
		}
		return unanswered, r.status != sipgo.StatusInternalServerError
	}
	return cause{}, false
}
