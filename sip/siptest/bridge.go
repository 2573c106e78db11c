package siptest

import (
	"bytes"
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

// elsewhere is what the devices hear that did not get the call (RFC 3326 §2), and
// who had it when another took it over.
var elsewhere = call.Reason{Protocol: "SIP", Cause: 200, Text: "Call completed elsewhere"}

// bridge joins two ends: first a caller with the devices of the callee, until
// one of them has answered; then two that talk. It can be rebuilt: an end can
// leave it for another one (see move).
type bridge struct {
	l      *life
	caller *User
	callee *User    // who is rung now
	trail  trail    // who forwarded the call to him
	as     identity // how the caller is shown

	a, winner *end
	bs        []*end         // rung, and alive
	alone     bool           // one device is rung, and nothing else can follow
	offer     []byte         // to the devices; nil: they are asked for one
	extra     []sipgo.Header // of the INVITEs to them
	limit     time.Duration  // how long they ring at most
	accepted  bool           // the caller is being answered
	over      bool
	early     bool   // the caller hears the device already
	heard     []byte // the answer that he got for that
	told      []int
	best      *refusal
	ring      timerq.Timer
	hops      int       // Max-Forwards of what rings devices
	asking    *exchange // under way between the two ends
	id        string    // X-BroadWorks-Correlation-Info

	transfer *transfer    // what rings devices for an end that talks already; nil: a caller does
	moving   *move        // its ends come from elsewhere, and may go back
	away     bool         // one end is in another bridge, and may come back
	seat     *seat        // in a conference: an end alone is its party
	box      *User        // an end alone speaks into his mailbox
	invite   *invitation  // what rings devices for a conference; nil: none does
	patient  *end         // whose question is repeated while the other end is busy
	retry    timerq.Timer // of that
}

// end is a party of a bridge: the owner of its leg.
type end struct {
	*leg
	side    *side
	b       *bridge
	user    *User
	private bool   // its number is not shown (RFC 3323)
	after   string // Retry-After of its refusal

	transfer *transfer    // under way, of this end to somebody else
	refers   int          // how many REFERs came
	bye      timerq.Timer // set where another end has taken its place
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

func (b *bridge) newEnd(g *leg, user *User) *end {
	e := &end{leg: g, b: b, user: user}
	e.side = &side{e: e}
	g.owner = e
	g.media = func(context.Context, *leg, func(offeranswer.Event)) (offeranswer.Media, error) { return e.side, nil }
	return e
}

func (e *end) event(now time.Time, _ *leg, ev call.Event) {
	if ev.Kind == call.StateChanged && ev.State == call.Ended {
		e.l.ep.Q.Stop(&e.bye)
	}
	e.b.event(now, e, ev)
}

func (e *end) response(now time.Time, _ *leg, r *sipgo.Response) { e.b.response(now, e, r) }
func (e *end) asked(now time.Time, ex *exchange)                 { e.b.exchange(now, ex) }

// assert tells a device in a re-INVITE with whom it talks, which may have
// changed (RFC 5876 §3.2: P-Asserted-Identity in any request).
func (e *end) assert(m sipgo.Message) {
	req, ok := m.(*sipgo.Request)
	if !ok || req.Method != sipgo.INVITE || sipwire.ToTag(req) == "" || e.b == nil {
		return
	}
	with := e.b.box
	if o := e.b.partner(e); o != nil && o != e && !o.private {
		with = o.user
	}
	if with != nil {
		req.AppendHeader(sipgo.NewHeader("P-Asserted-Identity", with.identity(e.l.cfg.Domain)))
	}
}

func (e *end) alive() bool { return e != nil && e.m.State() != call.Ended }

// talks tells whether the end is in a call that was answered.
func (e *end) talks() bool {
	return e.alive() && (e.m.State() == call.Established || e.m.State() == call.Answering)
}

// bridge rings the devices that the call of s goes to.
func (l *life) bridge(now time.Time, s *transaction.Server, caller *User, c course, extra ...sipgo.Header) {
	req := s.Request()
	b := &bridge{l: l, caller: caller, callee: c.user, trail: c.trail, extra: extra, hops: hops(req) - 1, limit: l.cfg.Calls.RingTime, id: l.uuid()}
	b.as = l.callerID(req, caller)
	b.a = b.newEnd(&leg{headers: []sipgo.Header{
		sipgo.NewHeader("P-Asserted-Identity", c.user.identity(l.cfg.Domain)),
		sipgo.NewHeader("X-BroadWorks-Correlation-Info", b.id),
	}}, caller)
	b.a.private = b.as.asserted == ""
	if !l.incoming(now, s, b.a.leg) {
		return
	}
	b.offer, _ = call.SDP(req) // incoming has looked at it
	if len(c.trail) > 0 {
		_ = b.a.m.Ring(now, 181, "")
	}
	b.dial(now, c.devices)
}

// start is the INVITE to a device.
func (b *bridge) start(d *binding) call.Start {
	hs := []sipgo.Header{
		sipgo.NewHeader("Call-Info", "<sip:"+b.l.host()+">;appearance-index=1"),
		sipgo.NewHeader("X-BroadWorks-Correlation-Info", b.id),
	}
	if b.as.asserted != "" {
		hs = append(hs, sipgo.NewHeader("P-Asserted-Identity", b.as.asserted))
	}
	hs = append(hs, sipgo.NewHeader("Privacy", b.as.privacy))
	hs = append(hs, b.trail.headers(b.callee, b.l.cfg.Domain)...)
	return call.Start{To: d.contact, From: b.as.from, FromName: b.as.name, Routes: d.path, Headers: append(hs, b.extra...)}
}

// toward completes an INVITE: To has the user's address with those parameters
// of the Contact that the lab does not know, as BroadWorks does it.
func (b *bridge) toward(invite *sipgo.Request, d *binding) {
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
	forwards := sipgo.MaxForwardsHeader(max(b.hops-len(b.trail), 0))
	invite.ReplaceHeader(&forwards)
}

// knownParams are the URI parameters of RFC 3261 §19.1.1 and their like.
var knownParams = []string{"transport", "user", "method", "ttl", "maddr", "lr", "ob", "gr"}

// partner is the other end, nil while there is none.
func (b *bridge) partner(e *end) *end {
	if e != b.a {
		return b.a
	}
	return b.winner
}

// response looks at what a device says to its INVITE.
func (b *bridge) response(now time.Time, e *end, r *sipgo.Response) {
	if b.over || !slices.Contains(b.bs, e) {
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
			b.won(now, e)
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
	if b.transfer != nil {
		b.transfer.progress(now, r.StatusCode)
		return
	}
	if b.invite != nil {
		b.invite.progress(now, r.StatusCode)
		return
	}
	_ = b.a.m.Ring(now, r.StatusCode, "") // an error: the caller has gone
}

// called tells whether it is a caller for whom devices ring.
func (b *bridge) called() bool { return b.transfer == nil && b.invite == nil }

// hears tells whether early media pass through: with several devices the
// caller would hear one and then get another (see the package documentation).
func (b *bridge) hears() bool {
	return b.called() && b.alone && b.a.m.Invite().Body() != nil
}

// won makes a device the callee. The others hear so.
func (b *bridge) won(now time.Time, e *end) {
	b.winner = e
	b.l.ep.Q.Stop(&b.ring)
	b.dismiss(now, e)
}

// dismiss ends the ringing of all devices but one.
func (b *bridge) dismiss(now time.Time, but *end) {
	for _, e := range slices.Clone(b.bs) {
		if e != but {
			e.m.Hangup(now, elsewhere)
		}
	}
}

func (b *bridge) event(now time.Time, e *end, ev call.Event) {
	switch {
	case ev.Kind == call.StateChanged && ev.State == call.Ended:
		b.gone(now, e)
	case e == b.a || b.over:
	case ev.Kind == call.MediaChanged && b.winner == nil && b.hears() && !b.early:
		b.early = true
		b.heard, _ = e.side.latest()
		b.a.side.reply(b.heard)
		b.a.m.Progress(now, offeranswer.Options{}, func(time.Time, error) {})
	case ev.Kind == call.StateChanged && ev.State == call.Established:
		if e != b.winner {
			e.m.Hangup(now, elsewhere)
			return
		}
		switch {
		case b.accepted:
		case b.transfer != nil:
			b.transfer.answered(now, b)
		case b.invite != nil:
			b.invite.answered(now, e)
		case e.side.alone():
			b.pickedUp(now, e)
		default:
			b.answered(now, e)
		}
	}
	if ev.Kind == call.StateChanged && ev.State == call.Established && b.moving != nil && b.moving.fresh == e {
		b.settled(now)
	}
	if b.seat != nil && e == b.a {
		b.seat.event(now, ev)
	}
}

// answered gives the callee's answer to the caller. One who got another with
// early media keeps it, as the 2xx must repeat it (RFC 3261 §13.2.1); the two
// agree anew once he is answered.
func (b *bridge) answered(now time.Time, e *end) {
	heard, _ := e.side.latest()
	if !b.early {
		b.a.side.reply(heard)
	}
	b.answerCaller(now)
	if !b.early || bytes.Equal(heard, b.heard) {
		return
	}
	a := b.a
	b.l.when(now, func() bool { return b.over || a.m.State() == call.Established && a.free() }, func(now time.Time, ok bool) {
		if b.over || !ok || a.b != b || b.winner == nil {
			return
		}
		b.sync(now, b.winner, func(now time.Time, err error) {
			if err != nil && !b.over {
				b.hangup(now, call.Reason{Protocol: "SIP", Cause: statusOf(err)})
			}
		})
	})
}

func (b *bridge) answerCaller(now time.Time) {
	b.accepted = true
	b.a.m.Answer(now, offeranswer.Options{}, func(now time.Time, err error) {
		if err != nil && b.winner != nil {
			b.winner.m.Hangup(now)
		}
	})
}

// gone takes the end of a leg.
func (b *bridge) gone(now time.Time, e *end) {
	rung := slices.Contains(b.bs, e)
	b.bs = slices.DeleteFunc(b.bs, func(x *end) bool { return x == e })
	if e.transfer != nil {
		e.transfer.abandon(now)
	}
	switch {
	case b.over || b.away:
	case b.moving != nil && (e == b.a || e == b.winner):
		err := e.m.End().Error()
		if err == nil {
			err = errHungUp
		}
		b.undo(now, err)
	case b.transfer != nil && e == b.winner:
		b.transfer.failed(now, statusOf(e.m.End().Error()))
	case b.invite != nil && e == b.winner:
		b.invite.failed(now, statusOf(e.m.End().Error()))
	case e == b.a:
		b.callerGone(now)
	case e == b.winner:
		b.calleeGone(now, e)
	case b.winner == nil && rung:
		b.refused(now, e)
	}
}

// callerGone ends what is left when the caller's leg has ended.
func (b *bridge) callerGone(now time.Time) {
	if w := b.winner; w.alive() && w.transfer != nil {
		return // who asked for the transfer need not wait for it
	}
	b.finish()
	reasons := b.a.m.End().Reasons
	for _, e := range slices.Clone(b.bs) {
		e.m.Hangup(now, reasons...)
	}
	if w := b.winner; w.alive() && w.m.Reject(now, sipgo.StatusCallTransactionDoesNotExists, "") != nil {
		w.m.Hangup(now, reasons...)
	}
}

// calleeGone takes the end of the callee's leg.
func (b *bridge) calleeGone(now time.Time, e *end) {
	if b.a.alive() && b.a.transfer != nil {
		return
	}
	b.finish()
	ended := e.m.End()
	if b.a.m.Reject(now, statusOf(ended.Error()), "") != nil {
		b.a.m.Hangup(now, ended.Reasons...)
	}
}

func (b *bridge) finish() {
	b.over = true
	b.l.ep.Q.Stop(&b.ring)
	b.l.ep.Q.Stop(&b.retry)
}

// refused takes the refusal of a device that was rung.
func (b *bridge) refused(now time.Time, e *end) {
	r := refusalOf(e, e.m.End())
	if b.best == nil || r.better(b.best) {
		b.best = r
	}
	if len(b.bs) > 0 && r.status < 600 {
		return
	}
	if b.followed(now, b.best) {
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
	if b.transfer != nil {
		b.transfer.failed(now, r.status)
		return
	}
	if b.invite != nil {
		b.invite.failed(now, r.status)
		return
	}
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
	case errors.Is(err, call.ErrEnded):
		return sipgo.StatusCallTransactionDoesNotExists
	case errors.Is(err, call.ErrState), errors.Is(err, call.ErrBusy):
		return sipgo.StatusRequestPending
	}
	return sipgo.StatusTemporarilyUnavailable
}

// identity is how somebody is shown.
type identity struct {
	from     sipgo.Uri
	name     string
	asserted string // P-Asserted-Identity; "": none
	privacy  string
}

// callerID is how a caller is shown: his number or name, unless he asked for
// privacy (RFC 3323).
func (l *life) callerID(req *sipgo.Request, caller *User) identity {
	return l.identity(caller, sipwire.HasToken(req, "Privacy", "id") || sipwire.HasToken(req, "Privacy", "user"))
}

func (l *life) identity(u *User, private bool) identity {
	if private {
		return identity{from: sipgo.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}, name: "Anonymous", privacy: "id"}
	}
	return identity{from: u.uri(l.cfg.Domain), name: u.DisplayName, asserted: u.identity(l.cfg.Domain), privacy: "none"}
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
