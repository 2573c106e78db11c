package siptest

import (
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// dialog finds the leg that a Replaces names.
func (l *life) dialog(r sipwire.DialogRef) (g *leg, d call.Dialog, ok bool) {
	g = l.legs[legKey{r.CallID, r.Local}]
	if g == nil {
		return nil, call.Dialog{}, false
	}
	d, ok = g.m.DialogWith(r.Remote)
	return g, d, ok
}

// maxBygone bounds the dialogs that are remembered after their end, the
// oldest go first.
const maxBygone = 1024

// bygone are dialogs that have ended: one that names them comes too late.
type bygone struct {
	keys []legKey
	next int
}

func (b *bygone) add(k legKey) {
	if len(b.keys) < maxBygone {
		b.keys = append(b.keys, k)
		return
	}
	b.keys[b.next] = k
	b.next = (b.next + 1) % maxBygone
}

// replacing takes an INVITE with Replaces (RFC 3891 §3). It returns false for
// one without.
func (l *life) replacing(now time.Time, s *transaction.Server, caller *User) bool {
	req := s.Request()
	headers := req.GetHeaders("Replaces")
	if len(headers) == 0 {
		return false
	}
	r, err := sipwire.ParseReplaces(headers[0].Value())
	if err != nil || len(headers) > 1 || len(req.GetHeaders("Join")) > 0 {
		// "If more than one Replaces header field is present in an INVITE, or
		// if a Replaces header field is present in a request other than
		// INVITE, the UAS MUST reject the request with a 400."
		l.respond(now, s, sipgo.StatusBadRequest)
		return true
	}
	g, d, ok := l.dialog(r)
	if !ok {
		if l.replacesAtDevice(now, s, caller, r) {
			return true
		}
		status := sipgo.StatusCallTransactionDoesNotExists
		if slices.Contains(l.bygone.keys, legKey{r.CallID, r.Local}) {
			status = sipgo.StatusGlobalDecline // "references a dialog that has already terminated"
		}
		l.respond(now, s, status)
		return true
	}
	e, ok := g.owner.(*end)
	switch {
	case !ok:
		l.respond(now, s, sipgo.StatusForbidden) // a service number's
	case g.m.State() == call.Ended:
		l.respond(now, s, sipgo.StatusGlobalDecline) // its BYE is not answered yet
	case !d.Confirmed && !d.Initiated:
		// "If the Replaces header field matches an early dialog that was not
		// initiated by this UA, it returns a 481".
		l.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
	case !l.mayReplace(caller, e, d.Confirmed):
		l.respond(now, s, sipgo.StatusForbidden)
	case d.Confirmed && r.EarlyOnly:
		l.respond(now, s, sipgo.StatusBusyHere)
	case !d.Confirmed:
		l.pickUp(now, s, caller, e.b)
	default:
		l.takeOver(now, s, caller, e)
	}
	return true
}

// mayReplace tells whether a user may take the place of a leg.
func (l *life) mayReplace(who *User, e *end, confirmed bool) bool {
	switch {
	case l.cfg.Calls.AnyReplaces:
		return true
	case who == e.user:
		return !who.NoReplaces
	}
	return !confirmed && sameGroup(who, e.user)
}

func sameGroup(a, b *User) bool { return a.Group != "" && a.Group == b.Group }

// replacesAtDevice passes on an INVITE with Replaces that names a dialog as
// the device knows it which is to be called: the tags are the other way round
// from the lab's. That device alone gets the INVITE, and decides.
func (l *life) replacesAtDevice(now time.Time, s *transaction.Server, caller *User, r sipwire.DialogRef) bool {
	g, d, ok := l.dialog(sipwire.DialogRef{CallID: r.CallID, Local: r.Remote, Remote: r.Local})
	if !ok || g.at == nil {
		return false
	}
	e, ok := g.owner.(*end)
	uri := &s.Request().Recipient
	callee, _, found := l.locate(now, uri, userPart(uri))
	switch {
	case !ok || !found || callee != e.user:
		return false
	case !l.mayReplace(caller, e, d.Confirmed):
		l.respond(now, s, sipgo.StatusForbidden)
	default:
		at := l.srv.loc.again(g.at, now)
		if at == nil || !at.live(now) {
			l.respond(now, s, sipgo.StatusTemporarilyUnavailable)
			break
		}
		l.bridge(now, s, caller, course{user: callee, devices: []*binding{at}}, sipgo.NewHeader("Replaces", r.Replaces()))
	}
	return true
}

// userPart is whom a URI names: the user part, or the number of a tel URI.
func userPart(uri *sipgo.Uri) string {
	if uri.Scheme == "tel" {
		return uri.Raw()
	}
	return uri.User
}

// takeOverLinger is how long the former leg stays after a new one has taken its
// place. The lab cannot hear whether the new one's sound has begun.
const takeOverLinger = 500 * time.Millisecond

// takeOver puts the caller of s in the place of old, whose far end is asked to
// talk to him before he is answered. Whatever fails, he gets a refusal, and
// the call is where it was.
func (l *life) takeOver(now time.Time, s *transaction.Server, who *User, old *end) {
	if c := old.conference(); c != nil && old.talks() {
		c.join(now, s, who, old)
		return
	}
	far := old.b.partner(old)
	if !old.talks() || !far.alive() {
		l.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	l.enter(now, s, who, far, func() bool { return old.talks() && old.b.partner(old) == far && far.b == old.b }, takeOverLinger)
}

// enter answers the caller of s once far is his partner. same tells whether
// what he wants still holds.
func (l *life) enter(now time.Time, s *transaction.Server, who *User, far *end, same func() bool, linger time.Duration) {
	b := &bridge{l: l, id: l.uuid()}
	first := far.b.a != far // he calls, as the one did whose place he takes
	e := b.newEnd(&leg{headers: b.answering(far)}, who)
	if !l.incoming(now, s, e.leg) {
		return
	}
	ready := func() bool { return !e.alive() || !same() || far.free() }
	l.when(now, ready, func(now time.Time, ok bool) {
		switch {
		case !e.alive():
		case !same() || !far.alive():
			_ = e.m.Reject(now, sipgo.StatusCallTransactionDoesNotExists, "")
		case !ok:
			_ = e.m.Reject(now, sipgo.StatusRequestPending, "")
		default:
			if b.a, b.winner = e, far; !first {
				b.a, b.winner = far, e
			}
			b.gather(e, e, linger, nil, far)
			e.m.Answer(now, offeranswer.Options{}, func(time.Time, error) {})
		}
	})
}

// answering are the header fields of the lab's responses to who gets far as
// his partner.
func (b *bridge) answering(far *end) []sipgo.Header {
	hs := []sipgo.Header{sipgo.NewHeader("X-BroadWorks-Correlation-Info", b.id)}
	if far.user != nil && !far.private {
		hs = append(hs, sipgo.NewHeader("P-Asserted-Identity", far.user.identity(b.l.cfg.Domain)))
	}
	return hs
}
