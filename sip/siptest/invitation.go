package siptest

import (
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// invitation is somebody whom the lab calls into a conference (RFC 4579 §5.2):
// the devices ring in a bridge without a caller.
type invitation struct {
	c      *conference
	b      *bridge
	report *report
	seats  map[*end]*seat // of the devices that ring
	status int            // the latest of them
	over   bool
}

// referred takes a REFER to a conference: to call somebody into it (RFC 4579
// §5.5), to bring a call of the sender's into it, or to let somebody leave it
// (§5.11). Who takes part may, and who has made it.
func (c *conference) referred(now time.Time, s *transaction.Server, who *User, g *leg) {
	r, status := readRefer(s.Request())
	switch {
	case status != 0:
	case who != c.creator && !c.has(who), r.method != "" && r.method != "BYE":
		status = sipgo.StatusForbidden
	case r.method == "BYE":
		c.expel(now, s, who, g, r)
		return
	case c.full():
		status = sipgo.StatusBusyHere
	}
	if status != 0 {
		c.l.respond(now, s, status)
		return
	}
	rep, ok := c.accept(now, s, g, r.silent)
	switch {
	case !ok:
	case r.replaces != nil:
		c.bring(now, who, *r.replaces, rep)
	default:
		c.invite(now, who, &r.uri, rep)
	}
}

// bring moves the far end of the sender's other call into the conference; the
// sender's leg of that call ends.
func (c *conference) bring(now time.Time, who *User, ref sipwire.DialogRef, rep *report) {
	g, _, ok := c.l.dialog(ref)
	if !ok {
		rep.tell(now, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	e, ok := g.owner.(*end)
	if !ok || e.user != who && !c.l.cfg.Calls.AnyReplaces {
		rep.tell(now, sipgo.StatusForbidden)
		return
	}
	far := e.b.partner(e)
	if !e.talks() || !far.alive() || far.transfer != nil || e.transfer != nil {
		rep.tell(now, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	c.take(now, far, rep.tell)
}

// expel lets those leave whom Refer-To names. Only who has made the conference
// may name others than himself.
func (c *conference) expel(now time.Time, s *transaction.Server, who *User, g *leg, r refer) {
	seats := c.named(&r.uri)
	others := slices.ContainsFunc(seats, func(s *seat) bool { return s.e.user != who })
	switch {
	case others && who != c.creator:
		c.l.respond(now, s, sipgo.StatusForbidden)
		return
	case len(seats) == 0:
		c.l.respond(now, s, sipgo.StatusNotFound)
		return
	}
	rep, ok := c.accept(now, s, g, r.silent)
	if !ok {
		return
	}
	rep.tell(now, sipgo.StatusOK)
	for _, s := range seats {
		s.e.m.Hangup(now)
	}
}

// named are the parties that a URI means: all devices of a user, or the one
// whose GRUU or Contact it is.
func (c *conference) named(uri *sipgo.Uri) []*seat {
	l, text := c.l, sipwire.FormatURI(uri)
	gr, one := uri.UriParams.Get("gr")
	u := l.srv.users.find(userPart(uri))
	ours := uri.Scheme == "tel" || l.ours(uri)
	var all []*seat
	for _, s := range c.seats {
		at := s.e.at
		switch {
		case at != nil && text == sipwire.FormatURI(&at.contact):
		case u == nil || !ours || s.e.user != u:
			continue
		case one && (at == nil || at.instance != gr):
			continue
		}
		all = append(all, s)
	}
	return all
}

// invite rings whom a URI names.
func (c *conference) invite(now time.Time, by *User, uri *sipgo.Uri, rep *report) {
	l := c.l
	if uri.Scheme != "tel" && !l.ours(uri) {
		rep.tell(now, sipgo.StatusNotFound)
		return
	}
	callee, devices, found := l.locate(now, uri, userPart(uri))
	if !found {
		rep.tell(now, sipgo.StatusNotFound)
		return
	}
	to := course{user: callee, devices: devices}
	if !isGRUU(uri) {
		to = l.course(callee, devices, nil)
	}
	switch {
	case to.status != 0:
		rep.tell(now, to.status)
		return
	case len(to.devices) == 0:
		rep.tell(now, sipgo.StatusTemporarilyUnavailable)
		return
	}
	self, referrer := c.uri(), by.uri(l.cfg.Domain)
	i := &invitation{c: c, report: rep, seats: make(map[*end]*seat)}
	i.b = &bridge{
		l: l, callee: to.user, trail: to.trail, invite: i, hops: 69, limit: l.cfg.Calls.RingTime, id: l.uuid(),
		as:    identity{from: self, name: "Conference", asserted: "<" + sipwire.FormatURI(&self) + ">", privacy: "none"},
		extra: []sipgo.Header{sipgo.NewHeader("Referred-By", "<"+sipwire.FormatURI(&referrer)+">")},
	}
	c.calling = append(c.calling, i)
	c.l.ep.Q.Stop(&c.lobby)
	c.changed()
	i.b.dial(now, to.devices)
}

// ready gives a device that is to ring its place, and the mixer as its partner.
func (i *invitation) ready(e *end) {
	s := &seat{c: i.c, e: e, invited: true}
	i.seats[e] = s
	e.sound(s.play)
}

func (i *invitation) progress(now time.Time, status int) {
	i.status = status
	i.report.tell(now, status)
	i.c.changed()
}

// answered makes a party of the device that has answered.
func (i *invitation) answered(now time.Time, e *end) {
	i.done()
	i.b.finish()
	b := &bridge{l: i.b.l, a: e, accepted: true, id: i.b.id}
	e.b = b
	s := i.seats[e]
	s.since, b.seat = now, s
	i.c.seats = append(i.c.seats, s)
	s.enter(now)
	i.report.tell(now, sipgo.StatusOK)
}

// failed gives up.
func (i *invitation) failed(now time.Time, status int) {
	if i.over {
		return
	}
	i.done()
	i.b.finish()
	i.b.dismiss(now, nil)
	i.report.tell(now, status)
	i.c.changed()
	i.c.settle(now)
}

func (i *invitation) done() {
	i.over = true
	i.c.calling = slices.DeleteFunc(i.c.calling, func(x *invitation) bool { return x == i })
}
