package siptest

import (
	"fmt"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// refer is what a REFER asks for.
type refer struct {
	uri      sipgo.Uri
	method   string // "" is INVITE
	replaces *sipwire.DialogRef
	silent   bool // no subscription is wanted (RFC 4488 §4)
}

// parseRefer reads a REFER (RFC 3515 §2). Otherwise it returns the status
// that refuses it: only calls are transferred.
func parseRefer(req *sipgo.Request) (r refer, status int) {
	if r, status = readRefer(req); status == 0 && r.method != "" {
		status = sipgo.StatusForbidden
	}
	return r, status
}

// readRefer is parseRefer for who knows what to do with other methods.
func readRefer(req *sipgo.Request) (r refer, status int) {
	headers := req.GetHeaders("Refer-To")
	if len(headers) != 1 {
		return r, sipgo.StatusBadRequest // RFC 3515 §2.4.2
	}
	to, err := sipwire.ParseReferTo(headers[0].Value())
	switch scheme := to.URI.Scheme; {
	case err != nil:
		return r, sipgo.StatusBadRequest
	case scheme != "sip" && scheme != "sips" && scheme != "tel":
		return r, 416
	}
	if r.uri = to.URI; to.Method != "INVITE" {
		r.method = to.Method
	}
	// Other header fields than Replaces have no place in an INVITE of the
	// lab's: it asserts the identity itself.
	for _, h := range to.Headers {
		if !strings.EqualFold(h.Name(), "Replaces") {
			continue
		}
		ref, err := sipwire.ParseReplaces(h.Value())
		if err != nil || r.replaces != nil {
			return r, sipgo.StatusBadRequest
		}
		r.replaces = &ref
	}
	sub, ok := sipwire.ParseReferSub(sipwire.Header(req, "Refer-Sub"))
	r.silent = ok && !sub
	return r, 0
}

// referred takes a REFER within a call: its sender wants the other end to talk
// to somebody else. A back-to-back user agent does that itself.
func (l *life) referred(now time.Time, s *transaction.Server, g *leg) {
	if !g.m.Sequence(now, s) {
		return
	}
	by, ok := g.owner.(*end)
	if !ok {
		l.respond(now, s, sipgo.StatusForbidden) // a service number is not transferred
		return
	}
	if c := by.conference(); c != nil {
		c.referred(now, s, by.user, g)
		return
	}
	who := by.b.partner(by)
	r, status := parseRefer(s.Request())
	switch {
	case status != 0:
	case l.cfg.Calls.NoTransfer:
		status = sipgo.StatusForbidden
	case !by.talks() || !who.alive() || !who.talks() || by.b.over:
		status = sipgo.StatusGlobalDecline
	case by.b.away || by.b.moving != nil || who.transfer != nil || by.transfer != nil:
		status = sipgo.StatusRequestPending
	}
	if status != 0 {
		l.respond(now, s, status)
		return
	}
	by.refers++
	t := &transfer{l: l, who: who, by: by}
	if !r.silent {
		t.event = "refer"
		if cseq := s.Request().CSeq(); by.refers > 1 && cseq != nil {
			// "the id parameter [...] MUST be included in the second and
			// subsequent" (RFC 3515 §2.4.6).
			t.event += fmt.Sprintf(";id=%d", cseq.SeqNo)
		}
	}
	res := sipwire.ResponseTo(s.Request(), sipgo.StatusAccepted, "", "")
	res.AppendHeader(g.Contact(g.m.Flow()))
	if r.silent {
		res.AppendHeader(sipgo.NewHeader("Refer-Sub", "false"))
	}
	decorate(res)
	s.Respond(now, res)
	t.notify(now, sipgo.StatusTrying, false)
	who.transfer = t
	t.begin(now, r)
}

// transfer is an end on its way to somebody else. It talks to its partner
// until the target has answered.
type transfer struct {
	l     *life
	who   *end   // is transferred
	by    *end   // asked for it
	event string // of the NOTIFYs; "": none

	rings *bridge // with the target's devices; nil: none is rung
	early *end    // of by: the call to the target that was not answered yet
	waits bool    // parked, as before, if it comes to nothing
	told  int
	over  bool
}

func (t *transfer) begin(now time.Time, r refer) {
	if r.replaces != nil {
		t.attended(now, *r.replaces)
		return
	}
	t.blind(now, &r.uri)
}

// attended joins who with the far end of the transferor's other call
// (RFC 5589 §7).
func (t *transfer) attended(now time.Time, r sipwire.DialogRef) {
	g, _, ok := t.l.dialog(r)
	if !ok {
		t.failed(now, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	other, ok := g.owner.(*end)
	if !ok || other == t.by || other.user != t.by.user && !t.l.cfg.Calls.AnyReplaces {
		t.failed(now, sipgo.StatusForbidden)
		return
	}
	if other == other.b.a && !other.b.accepted && other.b.transfer == nil {
		t.ringing(other)
		return
	}
	if c := other.conference(); c != nil && other.talks() {
		c.take(now, t.who, func(now time.Time, status int) {
			t.taken(now, status)
			if status == sipgo.StatusOK {
				other.m.Hangup(now) // whose place that was
			}
		})
		return
	}
	far := other.b.partner(other)
	ready := func() bool {
		return t.over || !far.alive() || !other.talks() || other.b.partner(other) != far || far.free() && t.who.free()
	}
	t.l.when(now, ready, func(now time.Time, ok bool) {
		switch {
		case t.over:
		case !far.alive() || !other.talks() || far == t.who || other.b.partner(other) != far:
			t.failed(now, sipgo.StatusCallTransactionDoesNotExists)
		case !ok:
			t.failed(now, sipgo.StatusRequestPending)
		default:
			t.l.join(now, t.who, far, t.outcome)
		}
	})
}

// ringing makes the target of a call that the transferor began, and that still
// rings, ring for who (RFC 5589 §7.6).
func (t *transfer) ringing(other *end) {
	b := other.b
	t.rings, t.early = b, other
	b.transfer, b.a = t, t.who
	other.b = &bridge{l: t.l, over: true}
}

// blind rings the target (RFC 5589 §6). Its INVITE has no offer: the answer to
// the target's will be that of who (RFC 3725 §4.4), so that he is not asked
// before there is somebody to talk to.
func (t *transfer) blind(now time.Time, uri *sipgo.Uri) {
	l := t.l
	if uri.Scheme != "tel" && !l.ours(uri) {
		t.failed(now, sipgo.StatusNotFound)
		return
	}
	if f, digits, ok := l.cfg.featureOf(plainNumber(userPart(uri))); ok {
		t.toCode(now, f, digits)
		return
	}
	if c := l.conferenceAt(uri); c != nil {
		c.take(now, t.who, t.taken)
		return
	}
	callee, devices, found := l.locate(now, uri, userPart(uri))
	c := course{user: callee, devices: devices}
	switch {
	case !found:
		c.status = sipgo.StatusNotFound
	case !isGRUU(uri):
		c = l.course(callee, devices, nil)
	case len(devices) == 0:
		c.status = sipgo.StatusTemporarilyUnavailable
	}
	if c.status == 0 && c.mailbox {
		l.depositEnd(now, t.who, c.user, t.taken)
		return
	}
	if c.status == 0 && len(c.devices) == 0 {
		c.status = sipgo.StatusForbidden
	}
	if c.status != 0 {
		t.failed(now, c.status)
		return
	}
	by := t.by.user.uri(l.cfg.Domain)
	t.ring(now, c, l.cfg.Calls.RingTime, sipgo.NewHeader("Referred-By", "<"+sipwire.FormatURI(&by)+">"))
}

// toCode transfers to an access code: a call can be parked that way, or sent to
// a mailbox.
func (t *transfer) toCode(now time.Time, f Feature, digits string) {
	at := t.l.extension(t.by.user, digits)
	switch {
	case f != Park && f != VoicemailTransfer:
		t.failed(now, sipgo.StatusForbidden)
	case at == nil, f == VoicemailTransfer && !at.state.takes():
		t.failed(now, sipgo.StatusNotFound)
	case f == VoicemailTransfer:
		t.l.depositEnd(now, t.who, at, t.taken)
	default:
		t.l.parkEnd(now, t.who, at, t.by.user, t.taken)
	}
}

func (t *transfer) ring(now time.Time, c course, limit time.Duration, extra ...sipgo.Header) {
	l := t.l
	b := &bridge{
		l: l, caller: t.who.user, callee: c.user, trail: c.trail, a: t.who, transfer: t, accepted: true,
		extra: extra, hops: 69, limit: limit, id: l.uuid(),
	}
	b.as = l.identity(t.who.user, t.who.private)
	t.rings = b
	b.dial(now, c.devices)
}

// progress is what the target does.
func (t *transfer) progress(now time.Time, status int) {
	if status != t.told {
		t.told = status
		t.notify(now, status, false)
	}
}

// take brings who into the bridge with the target, as that asks for him. It
// returns false where the question has to wait, or was answered.
func (b *bridge) take(now time.Time, ex *exchange) bool {
	t, e := b.transfer, ex.from.e
	if b.moving != nil || e != b.winner || b.over {
		return true
	}
	b.l.when(now, func() bool { return t.over || t.who.free() }, func(now time.Time, ok bool) {
		if t.over || !ok {
			ex.done(nil, &refusedOffer{491})
			return
		}
		b.gather(e, e, 0, t.outcome, t.who)
		b.exchange(now, ex)
	})
	return false
}

// answered takes the answer of a target that was rung with the transferor's
// offer: both agree anew.
func (t *transfer) answered(now time.Time, b *bridge) {
	b.accepted = true
	t.l.when(now, func() bool { return t.over || t.who.free() }, func(now time.Time, ok bool) {
		switch {
		case t.over:
		case !ok:
			t.failed(now, sipgo.StatusRequestPending)
		default:
			w := b.winner
			b.gather(w, w, 0, t.outcome, t.who)
			b.meet(now, w)
		}
	})
}

// taken is the outcome of a transfer to something in the lab.
func (t *transfer) taken(now time.Time, status int) {
	var err error
	if status != sipgo.StatusOK {
		err = &refusedOffer{status}
	}
	t.outcome(now, err)
}

func (t *transfer) outcome(now time.Time, err error) {
	if err != nil {
		t.failed(now, statusOf(err))
		return
	}
	t.end()
	t.notify(now, sipgo.StatusOK, true)
	if t.early.alive() {
		_ = t.early.m.Reject(now, sipgo.StatusRequestTerminated, "")
	}
}

// failed leaves the old call in place.
func (t *transfer) failed(now time.Time, status int) {
	if t.over {
		return
	}
	t.end()
	t.notify(now, status, true)
	t.quiet(now)
	if t.early.alive() {
		_ = t.early.m.Reject(now, status, "")
	}
	if !t.by.alive() && t.who.alive() && !t.waits {
		t.who.m.Hangup(now, call.Reason{Protocol: "SIP", Cause: status})
	}
}

// abandon takes the end of who's leg.
func (t *transfer) abandon(now time.Time) {
	if t.over {
		return
	}
	t.end()
	t.notify(now, sipgo.StatusRequestTerminated, true)
	t.quiet(now)
	if t.early.alive() {
		_ = t.early.m.Reject(now, sipgo.StatusRequestTerminated, "")
	}
}

func (t *transfer) end() {
	t.over = true
	t.who.transfer = nil
}

// quiet ends the ringing of the target.
func (t *transfer) quiet(now time.Time) {
	if b := t.rings; b != nil && b.moving == nil {
		b.finish()
		b.dismiss(now, nil)
	}
}

// notify tells the transferor (RFC 3515 §2.4.5). The subscription ends with a
// final response (§2.4.7).
func (t *transfer) notify(now time.Time, status int, final bool) {
	if t.event == "" || !t.by.alive() {
		return
	}
	state := fmt.Sprintf("active;expires=%d", int((t.l.cfg.Calls.RingTime+time.Minute)/time.Second))
	if final {
		state = "terminated;reason=noresource"
	}
	// An error: he has gone.
	_ = t.by.m.Within(now, call.Within{
		Method: sipgo.NOTIFY, Apart: true,
		Headers:     []sipgo.Header{sipgo.NewHeader("Event", t.event), sipgo.NewHeader("Subscription-State", state)},
		ContentType: sipwire.Sipfrag + ";version=2.0",
		Body:        sipwire.AppendStatus(nil, status, ""),
	})
}
