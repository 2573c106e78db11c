package siptest

import (
	"context"
	"errors"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// elsewhere is what the devices hear that did not get the call (RFC 3326 §2).
var elsewhere = call.Reason{Protocol: "SIP", Cause: 200, Text: "Call completed elsewhere"}

// bridge is a call between two users: a leg with the caller, and one with
// each device of the callee until one of them has answered.
type bridge struct {
	l      *life
	caller *User
	callee *User // who is rung now
	trail  trail // who forwarded the call to him

	a, winner *end
	bs        []*end // alive
	alone     bool   // one device is rung, and nothing else can follow
	accepted  bool   // the caller is being answered
	over      bool
	early     bool // the caller hears the device already
	told      []int
	best      *refusal
	ring      timerq.Timer
	asking    *exchange // under way between the two sides
	id        string    // X-BroadWorks-Correlation-Info
}

// end is a leg of the bridge with its side.
type end struct {
	*leg
	side  *side
	after string // Retry-After of its refusal
}

// refusal is why a device did not take the call.
type refusal struct {
	status   int
	phrase   string
	contacts []string
	reasons  []call.Reason
	after    string // Retry-After

	unreached bool // the device itself said nothing
}

func (b *bridge) newEnd(g *leg) *end {
	e := &end{leg: g, side: &side{b: b, g: g}}
	g.owner = b
	g.media = func(context.Context, *leg, func(offeranswer.Event)) (offeranswer.Media, error) { return e.side, nil }
	return e
}

// bridge rings the devices that the call of s goes to.
func (l *life) bridge(now time.Time, s *transaction.Server, caller *User, c course) {
	b := &bridge{l: l, caller: caller, callee: c.user, trail: c.trail, id: l.uuid()}
	b.a = b.newEnd(&leg{headers: []sipgo.Header{
		sipgo.NewHeader("P-Asserted-Identity", c.user.identity(l.cfg.Domain)),
		sipgo.NewHeader("X-BroadWorks-Correlation-Info", b.id),
	}})
	if !l.incoming(now, s, b.a.leg) {
		return
	}
	if len(c.trail) > 0 {
		_ = b.a.m.Ring(now, 181, "")
	}
	b.dial(now, c.devices)
}

var noOptions offeranswer.Options

// start is the INVITE to a device.
func (b *bridge) start(req *sipgo.Request, d *binding) call.Start {
	l := b.l
	from, name, asserted, privacy := l.callerID(req, b.caller)
	headers := []sipgo.Header{
		sipgo.NewHeader("Call-Info", "<sip:"+l.host()+">;appearance-index=1"),
		sipgo.NewHeader("X-BroadWorks-Correlation-Info", b.id),
	}
	if asserted != "" {
		headers = append(headers, sipgo.NewHeader("P-Asserted-Identity", asserted))
	}
	headers = append(headers, sipgo.NewHeader("Privacy", privacy))
	headers = append(headers, b.trail.headers(b.callee, l.cfg.Domain)...)
	return call.Start{To: d.contact, From: from, FromName: name, Routes: d.path, Headers: headers}
}

// toward completes an INVITE: To has the user's address with those parameters
// of the Contact that the lab does not know, as BroadWorks does it.
func (b *bridge) toward(invite *sipgo.Request, d *binding, hops int) {
	to := sipgo.Uri{Scheme: "sip", User: d.contact.User, Host: b.l.cfg.Domain}
	if to.User == "" {
		to.User = b.callee.Name
	}
	for _, p := range d.contact.UriParams {
		if !slices.Contains(knownParams, p.K) {
			to.UriParams = append(to.UriParams, p)
		}
	}
	invite.ReplaceHeader(&sipgo.ToHeader{DisplayName: b.callee.DisplayName, Address: to})
	forwards := sipgo.MaxForwardsHeader(hops)
	invite.ReplaceHeader(&forwards)
}

// knownParams are the URI parameters of RFC 3261 §19.1.1 and their like.
var knownParams = []string{"transport", "user", "method", "ttl", "maddr", "lr", "ob", "gr"}

func (b *bridge) find(g *leg) *end {
	if g == b.a.leg {
		return b.a
	}
	for _, e := range b.bs {
		if e.leg == g {
			return e
		}
	}
	return nil
}

// other is the other side, nil while there is none.
func (b *bridge) other(m *side) *side {
	switch {
	case m != b.a.side:
		return b.a.side
	case b.winner != nil:
		return b.winner.side
	}
	return nil
}

// response looks at what a device says to its INVITE.
func (b *bridge) response(now time.Time, g *leg, r *sipgo.Response) {
	e := b.find(g)
	if e == nil || b.over {
		return
	}
	switch {
	case r.StatusCode == sipgo.StatusTrying:
	case r.StatusCode < 200:
		if b.winner == nil {
			b.progress(now, r)
		}
	case r.IsSuccess():
		if b.winner == nil {
			b.won(now, g)
		}
	default:
		e.after = sipwire.Header(r, "Retry-After")
	}
}

// progress tells the caller what the device does: each status once. One with
// a session description that will be passed on waits for that.
func (b *bridge) progress(now time.Time, r *sipgo.Response) {
	if sdp, err := call.SDP(r); err == nil && sdp != nil && b.hears() && r.StatusCode == sipgo.StatusSessionInProgress {
		return
	}
	if slices.Contains(b.told, r.StatusCode) {
		return
	}
	b.told = append(b.told, r.StatusCode)
	_ = b.a.m.Ring(now, r.StatusCode, "") // an error: the caller has gone
}

// hears tells whether early media pass through: with several devices the
// caller would hear one and then get another (see the package documentation).
func (b *bridge) hears() bool { return b.alone && b.a.m.Invite().Body() != nil }

// won makes a device the callee. The others hear so.
func (b *bridge) won(now time.Time, g *leg) {
	b.winner = b.find(g)
	b.l.ep.Q.Stop(&b.ring)
	for _, e := range slices.Clone(b.bs) {
		if e != b.winner {
			e.m.Hangup(now, elsewhere)
		}
	}
}

func (b *bridge) event(now time.Time, g *leg, ev call.Event) {
	e := b.find(g)
	switch {
	case e == nil:
	case ev.Kind == call.StateChanged && ev.State == call.Ended:
		if e == b.a {
			b.callerGone(now)
		} else {
			b.calleeGone(now, e)
		}
	case e == b.a || b.over:
	case ev.Kind == call.MediaChanged && b.winner == nil && b.hears() && !b.early:
		b.early = true
		heard, _ := e.side.latest()
		b.a.side.reply(heard)
		b.a.m.Progress(now, offeranswer.Options{}, func(time.Time, error) {})
	case ev.Kind == call.StateChanged && ev.State == call.Established:
		if e != b.winner {
			e.m.Hangup(now, elsewhere)
			return
		}
		if !b.accepted {
			heard, _ := e.side.latest()
			b.a.side.reply(heard)
			b.answerCaller(now)
		}
	}
}

func (b *bridge) answerCaller(now time.Time) {
	b.accepted = true
	b.a.m.Answer(now, offeranswer.Options{}, func(now time.Time, err error) {
		if err != nil && b.winner != nil {
			b.winner.m.Hangup(now)
		}
	})
}

// callerGone ends what is left when the caller's leg has ended.
func (b *bridge) callerGone(now time.Time) {
	b.finish()
	reasons := b.a.m.End().Reasons
	for _, e := range slices.Clone(b.bs) {
		e.m.Hangup(now, reasons...)
	}
}

func (b *bridge) finish() {
	b.over = true
	b.l.ep.Q.Stop(&b.ring)
}

// calleeGone takes the end of one device's leg.
func (b *bridge) calleeGone(now time.Time, e *end) {
	b.bs = slices.DeleteFunc(b.bs, func(x *end) bool { return x == e })
	if b.over {
		return
	}
	ended := e.m.End()
	if e == b.winner {
		b.finish()
		if b.a.m.Reject(now, statusOf(ended.Error()), "") != nil {
			b.a.m.Hangup(now, ended.Reasons...)
		}
		return
	}
	if b.winner != nil {
		return
	}
	r := refusalOf(e, ended)
	if b.best == nil || r.better(b.best) {
		b.best = r
	}
	if len(b.bs) > 0 && r.status < 600 {
		return
	}
	if why, ok := causeOf(b.best); !ok || !b.forward(now, why) {
		b.refuse(now, b.best)
	}
}

// rang ends a call that nobody answers, unless it goes elsewhere.
func (b *bridge) rang(now time.Time) {
	if b.forward(now, unanswered) {
		return
	}
	b.refuse(now, &refusal{status: sipgo.StatusTemporarilyUnavailable})
}

// refuse gives up: the caller is told, and with the end of his leg the
// devices that still ring are.
func (b *bridge) refuse(now time.Time, r *refusal) {
	headers := make([]sipgo.Header, 0, len(r.reasons)+len(r.contacts)+1)
	for _, reason := range r.reasons {
		headers = append(headers, reason.Header())
	}
	for _, c := range r.contacts {
		headers = append(headers, sipgo.NewHeader("Contact", "<"+c+">"))
	}
	if r.after != "" {
		headers = append(headers, sipgo.NewHeader("Retry-After", r.after))
	}
	_ = b.a.m.Reject(now, r.status, r.phrase, headers...) // an error: the caller has gone
}

func (b *bridge) refresh(now time.Time, g *leg) {
	e := b.find(g)
	if e == nil || b.asking != nil || g.m.State() != call.Established {
		return
	}
	_, sent := e.side.latest()
	if sent == nil {
		return
	}
	e.side.prepare(sent)
	g.m.Reoffer(now, offeranswer.Options{}, nil)
}

// refusalOf is what the end of a device's leg means to the caller.
func refusalOf(e *end, ended call.End) *refusal {
	r := &refusal{status: statusOf(ended.Error()), phrase: ended.Phrase, contacts: ended.Contacts, reasons: ended.Reasons, after: e.after, unreached: ended.Status == 0}
	switch {
	case r.status == 401 || r.status == 407:
		// The challenge was for the lab, and means nothing to the caller.
		*r = refusal{status: sipgo.StatusTemporarilyUnavailable}
	case r.status == 503:
		// "SHOULD NOT forward 503" (RFC 3261 §16.7 step 6): one device
		// cannot, the lab can.
		*r = refusal{status: sipgo.StatusInternalServerError, unreached: true}
	case ended.Status != r.status:
		r.phrase = ""
	}
	return r
}

// better tells whether r is rather for the caller than o: the order of
// RFC 3261 §16.7 step 6.
func (r *refusal) better(o *refusal) bool {
	class, other := r.status/100, o.status/100
	if class == 6 || other == 6 {
		return class == 6 && other != 6
	}
	if class != other {
		return class < other
	}
	rank := func(status int) int {
		return slices.Index([]int{484, 420, 415, 407, 401}, status)
	}
	return rank(r.status) > rank(o.status)
}

// statusOf is the status that the end of a leg means to the other: 480 for a
// device that cannot be reached, 408 for one that does not answer.
func statusOf(err error) int {
	var status *call.StatusError
	var timeout interface{ Timeout() bool }
	var coder offeranswer.StatusCoder
	switch {
	case errors.As(err, &status):
		return status.Code
	case errors.As(err, &coder):
		return coder.SIPStatus()
	case errors.As(err, &timeout) && timeout.Timeout():
		return sipgo.StatusRequestTimeout
	case errors.Is(err, call.ErrState), errors.Is(err, call.ErrBusy):
		return sipgo.StatusRequestPending
	}
	return sipgo.StatusTemporarilyUnavailable
}

// callerID is how a caller is shown: his number or name, unless he asked for
// privacy (RFC 3323).
func (l *life) callerID(req *sipgo.Request, caller *User) (from sipgo.Uri, name, asserted, privacy string) {
	if sipwire.HasToken(req, "Privacy", "id") || sipwire.HasToken(req, "Privacy", "user") {
		return sipgo.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}, "Anonymous", "", "id"
	}
	return caller.uri(l.cfg.Domain), caller.DisplayName, caller.identity(l.cfg.Domain), "none"
}

// uri is the user as others see him.
func (u *User) uri(domain string) sipgo.Uri {
	uri := sipgo.Uri{Scheme: "sip", User: u.shown(), Host: domain}
	if u.Number != "" {
		uri.UriParams = sipgo.HeaderParams{{K: "user", V: "phone"}}
	}
	return uri
}

// identity is a P-Asserted-Identity (RFC 3325).
func (u *User) identity(domain string) string {
	uri := u.uri(domain)
	return sipwire.FormatNameAddr(u.DisplayName, &uri, nil)
}
