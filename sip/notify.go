package sip

import (
	"maps"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// eventPackage takes the requests of one event package (RFC 6665). They are
// answered by what is called here.
type eventPackage struct {
	// within takes a NOTIFY in a call's dialog, whose CSeq was checked. Nil:
	// nothing is subscribed to there, which is 481.
	within func(c *Call, now time.Time, s *transaction.Server, ev sipwire.Event)
	// outside takes a NOTIFY in no call's dialog, which need not be in any
	// dialog that there is. Nil as above.
	outside func(ua *UA, now time.Time, s *transaction.Server, ev sipwire.Event)
	// refresh takes a SUBSCRIBE with a To tag: one to what a request of ours
	// or of the peer's has made, such as REFER. c is the call whose dialog it is in, or
	// nil. Nil: nobody can subscribe here, which is 489.
	refresh func(ua *UA, c *Call, now time.Time, s *transaction.Server, ev sipwire.Event)
}

// notified takes a NOTIFY in a call's dialog.
func (c *Call) notified(now time.Time, s *transaction.Server) {
	p, ev, ok := c.ua.packageOf(now, s)
	switch {
	case !ok:
	case p.within == nil:
		c.ua.unsubscribed(now, s)
	default:
		p.within(c, now, s, ev)
	}
}

// notified takes a NOTIFY in no call's dialog: in a subscription's, or none.
func (ua *UA) notified(now time.Time, s *transaction.Server) {
	if take := ua.subscriptionOf(s.Request()); take != nil {
		take(now, s)
		return
	}
	p, ev, ok := ua.packageOf(now, s)
	switch {
	case !ok:
	case p.outside == nil:
		ua.unsubscribed(now, s)
	default:
		p.outside(ua, now, s, ev)
	}
}

// resubscribed takes a SUBSCRIBE with a To tag, in a call's dialog or, where c
// is nil, in none.
func (ua *UA) resubscribed(c *Call, now time.Time, s *transaction.Server) {
	if take := ua.subscriptionOf(s.Request()); take != nil && c == nil {
		take(now, s)
		return
	}
	p, ev, ok := ua.packageOf(now, s)
	switch {
	case !ok:
	case p.refresh == nil:
		ua.badEvent(now, s)
	default:
		p.refresh(ua, c, now, s, ev)
	}
}

// subscriptionOf finds who has the dialog of a request; nil: nobody.
func (ua *UA) subscriptionOf(req *sipgo.Request) func(now time.Time, s *transaction.Server) {
	if id := req.CallID(); id != nil {
		return ua.dialogs[callKey{string(*id), sipwire.ToTag(req)}]
	}
	return nil
}

// packageOf finds who takes a request of an event package. It answers itself where
// nobody does: "if ... the event package designated in the Event header field of
// the NOTIFY request is not supported, the subscriber will respond with a 489
// (Bad Event) response" (RFC 6665 §4.1.3).
func (ua *UA) packageOf(now time.Time, s *transaction.Server) (p eventPackage, ev sipwire.Event, ok bool) {
	if ev, ok = sipwire.EventOf(s.Request()); ok {
		p, ok = events[ev.Package]
	}
	if !ok {
		ua.badEvent(now, s)
	}
	return p, ev, ok
}

// unsubscribed refuses a NOTIFY that nobody has asked for (RFC 6665 §4.1.3).
func (ua *UA) unsubscribed(now time.Time, s *transaction.Server) {
	ua.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
}

// badEvent refuses what is of no package that we know, or serve, and names
// those there are (RFC 6665 §4.2.1.1, §8.3.2).
func (ua *UA) badEvent(now time.Time, s *transaction.Server) {
	ua.respond(now, s, statusBadEvent, sipgo.NewHeader("Allow-Events", allowEvents()))
}

const statusBadEvent = 489

// allowEvents is the value of Allow-Events.
func allowEvents() string { return strings.Join(slices.Sorted(maps.Keys(events)), ", ") }
