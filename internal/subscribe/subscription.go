package subscribe

import (
	"errors"
	"mime"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// subscription is one dialog of a Subscriber, made by a NOTIFY.
type subscription struct {
	s     *Subscriber
	d     dialog
	n     int
	since time.Time
	over  bool

	exchange uint64 // counts requests, to know late answers
	inFlight bool
	leaving  bool
	repeats  int
	done     func(now time.Time, err error) // of the refresh under way
	kind     string                         // and its body
	body     []byte

	again  timerq.Timer // when to refresh
	expire timerq.Timer // when it is over without that
	silent timerq.Timer // Timer N
}

// verdict is whether to subscribe anew after the end of a subscription.
type verdict uint8

const (
	verdictAnyTime verdict = iota
	verdictNow             // at once
	verdictLater           // not at once
	verdictNever
)

// verdicts are those of the reasons of RFC 6665 §4.1.3; others are as if
// there were none.
var verdicts = map[string]verdict{
	"deactivated": verdictNow,
	"probation":   verdictLater,
	"rejected":    verdictNever,
	"timeout":     verdictNow,
	"giveup":      verdictLater,
	"noresource":  verdictNever,
	"invariant":   verdictNever,
}

// OnNotify takes a NOTIFY for this Call-ID and To tag, in its own dialog.
func (s *Subscriber) OnNotify(now time.Time, tx *transaction.Server) {
	req := tx.Request()
	ev, ok := sipwire.EventOf(req)
	if !ok || !s.matches(ev) || s.phase != subscribing && s.phase != subscribed {
		s.respond(now, tx, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	tag := sipwire.FromTag(req)
	sub := s.find(tag)
	if sub != nil && sub.over || sub == nil && (len(s.subs) >= s.cfg.Forks || !s.window.Active()) {
		// One fork more than is wanted, or one that is over (RFC 6665 §4.4.1).
		s.respond(now, tx, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	if sub != nil && s.cfg.Carrier == nil && !sub.d.sequence(req) {
		s.respond(now, tx, sipgo.StatusInternalServerError, sipgo.NewHeader("Retry-After", "1"))
		return
	}
	state, ok := sipwire.SubscriptionStateOf(req)
	if !ok {
		s.respond(now, tx, sipgo.StatusBadRequest)
		return
	}
	n := Notification{State: state, Body: req.Body(), Request: req}
	if ct := req.ContentType(); ct != nil {
		n.ContentType = string(*ct)
	}
	switch {
	case len(n.Body) > MaxBody:
		s.respond(now, tx, 413)
		return
	case len(n.Body) > 0 && !s.accepts(n.ContentType):
		s.respond(now, tx, sipgo.StatusUnsupportedMediaType, sipgo.NewHeader("Accept", strings.Join(s.cfg.Accept, ", ")))
		return
	}
	if sub == nil {
		sub = s.add(now, tx, req)
	}
	sub.d.flow = tx.Flow()
	sub.d.retarget(req)
	n.Dialog = sub.n
	s.respond(now, tx, sipgo.StatusOK)
	sub.notified(now, n)
}

func (s *Subscriber) find(tag string) *subscription {
	for _, sub := range s.subs {
		if sub.d.remoteTag == tag {
			return sub
		}
	}
	return nil
}

// add makes the subscription of the first NOTIFY of a dialog.
func (s *Subscriber) add(now time.Time, tx *transaction.Server, req *sipgo.Request) *subscription {
	s.made++
	sub := &subscription{s: s, n: s.made, since: now}
	sub.again.F, sub.expire.F, sub.silent.F = sub.due, sub.expired, sub.unheard
	sub.d = dialog{localTag: s.first.localTag, localCSeq: s.first.localCSeq}
	sub.d.fromRequest(tx.Flow(), req)
	sub.d.sequence(req)
	if sub.d.localName == "" {
		sub.d.localName = s.cfg.FromName
	}
	s.subs = append(s.subs, sub)
	s.phase, s.up = subscribed, true
	s.backoff.Registered(now)
	return sub
}

// matches tells whether a NOTIFY is for this. That of a REFER may have the
// REFER's CSeq as id, and must where there were several (RFC 3515 §2.4.6).
func (s *Subscriber) matches(ev sipwire.Event) bool {
	if !s.cfg.Refer {
		return ev.Same(s.cfg.Event)
	}
	return ev.Package == "refer" && (ev.ID == "" || s.cfg.Carrier != nil || ev.ID == s.first.referID())
}

func (s *Subscriber) accepts(contentType string) bool {
	if len(s.cfg.Accept) == 0 {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	return slices.ContainsFunc(s.cfg.Accept, func(a string) bool {
		a, _, _ = strings.Cut(a, ";")
		return strings.EqualFold(strings.TrimSpace(a), kind)
	})
}

func (s *Subscriber) respond(now time.Time, tx *transaction.Server, status int, headers ...sipgo.Header) {
	respond(s.env, now, tx, status, s.first.localTag, headers...)
}

func respond(env Env, now time.Time, tx *transaction.Server, status int, tag string, headers ...sipgo.Header) {
	res := sipwire.ResponseTo(tx.Request(), status, "", tag)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	if status/100 == 2 {
		if c := env.Contact(tx.Flow()); c != nil {
			res.AppendHeader(c)
		}
	}
	env.Decorate(res)
	tx.Respond(now, res)
}

// notified takes what a NOTIFY says of the subscription.
func (sub *subscription) notified(now time.Time, n Notification) {
	s := sub.s
	s.env.Timers().Stop(&sub.silent)
	s.o.Notified(now, n)
	if sub.over || s.phase != subscribed {
		return // the observer has ended it
	}
	if n.State.State == sipwire.SubscriptionTerminated {
		v := verdicts[n.State.Reason]
		after := min(n.State.RetryAfter, maxRetryAfter)
		if v == verdictNow || v == verdictNever {
			after = 0 // it has no meaning there (RFC 6665 §4.1.3)
		}
		sub.finish(now, &TerminatedError{Reason: n.State.Reason}, after, v)
		return
	}
	switch {
	case n.State.HasExpires && n.State.Expires > 0:
		// "If the expires parameter is also present, the subscriber SHOULD
		// take it as the authoritative subscription duration" (RFC 6665 §4.1.3).
		sub.lives(now, min(n.State.Expires, max(s.asked, maxExpires)))
	case !sub.expire.Active() && !s.cfg.Refer:
		d := s.granted
		if d == 0 {
			d = s.asked
		}
		sub.lives(now, d)
	}
	if s.leaving && !sub.leaving {
		sub.leave(now)
	}
}

// lives sets when the subscription is refreshed and when it is over.
func (sub *subscription) lives(now time.Time, d time.Duration) {
	q := sub.s.env.Timers()
	if d <= 0 || sub.leaving || sub.s.cfg.Poll {
		return
	}
	q.Set(&sub.expire, now.Add(d))
	q.Set(&sub.again, now.Add(refreshIn(d, sub.s.env.Float())))
}

// refreshIn is how long after its grant a subscription is refreshed: a tenth
// of its life before the end, but 40 s at least, since a transaction may take
// 32 s, and no earlier than half-way; up to a tenth of that wait is left out at
// random, so that those who lost a server together do not stay in step.
func refreshIn(life time.Duration, random float64) time.Duration {
	wait := life - min(max(life/10, 40*time.Second), life/2)
	return wait - time.Duration(float64(wait)/10*random)
}

func (sub *subscription) due(now time.Time) {
	if !sub.inFlight {
		sub.refresh(now, "", nil, nil)
	}
}

func (sub *subscription) expired(now time.Time) { sub.finish(now, ErrExpired, 0, verdictNow) }

// unheard is due with Timer N: "if this Timer N expires prior to the receipt
// of a NOTIFY request, the subscriber considers the subscription terminated"
// (RFC 6665 §4.1.2.2).
func (sub *subscription) unheard(now time.Time) { sub.finish(now, ErrNoNotify, 0, verdictAnyTime) }

// refresh asks for the state, and more time.
func (sub *subscription) refresh(now time.Time, contentType string, body []byte, done func(now time.Time, err error)) {
	sub.settle(now, ErrReplaced)
	sub.done, sub.kind, sub.body, sub.repeats = done, contentType, body, 0
	sub.ask(now, sub.s.asked)
}

// leave unsubscribes.
func (sub *subscription) leave(now time.Time) {
	if sub.over || sub.leaving {
		return
	}
	sub.leaving = true
	q := sub.s.env.Timers()
	q.Stop(&sub.again)
	q.Stop(&sub.expire)
	sub.settle(now, ErrState)
	sub.kind, sub.body = "", nil
	sub.ask(now, 0)
}

// settle tells who waits for a refresh.
func (sub *subscription) settle(now time.Time, err error) {
	if done := sub.done; done != nil {
		sub.done = nil
		done(now, err)
	}
}

func (sub *subscription) ask(now time.Time, expires time.Duration) {
	s := sub.s
	sub.exchange++
	sub.inFlight = true
	s.env.Timers().Stop(&sub.again)
	s.env.Timers().Set(&sub.silent, now.Add(64*s.cfg.T1))
	h := &refreshHandler{sub: sub, exchange: sub.exchange}
	headers := s.headers(expires)
	if s.cfg.Carrier != nil {
		s.carry(now, sipgo.SUBSCRIBE, headers, sub.kind, sub.body, h)
		return
	}
	req := sub.d.request(s.env, sipgo.SUBSCRIBE)
	for _, x := range headers {
		req.AppendHeader(x)
	}
	setBody(req, sub.kind, sub.body)
	s.env.Request(now, sub.d.flow, req, h)
}

type refreshHandler struct {
	sub      *subscription
	exchange uint64
}

func (h *refreshHandler) NextCSeq() uint32 { h.sub.d.localCSeq++; return h.sub.d.localCSeq }

func (h *refreshHandler) Response(now time.Time, f transaction.Flow, r *sipgo.Response) {
	sub := h.sub
	if r.StatusCode < 200 || h.exchange != sub.exchange || sub.over || !sub.inFlight {
		return
	}
	sub.inFlight = false
	switch {
	case r.IsSuccess():
		if f != nil {
			sub.d.flow = f
		}
		sub.d.retarget(r)
		sub.lives(now, sub.s.life(r))
		sub.settle(now, nil)
	case sub.leaving:
		sub.finish(now, nil, 0, verdictAnyTime) // it is as good as over
	default:
		sub.refused(now, r)
	}
}

func (h *refreshHandler) Failed(now time.Time, err error) {
	sub := h.sub
	if h.exchange != sub.exchange || sub.over || !sub.inFlight {
		return
	}
	sub.inFlight = false
	switch {
	case sub.leaving:
		sub.finish(now, nil, 0, verdictAnyTime)
	case errors.Is(err, transaction.ErrTimeout):
		sub.finish(now, err, 0, verdictAnyTime)
	case isAuth(err):
		sub.finish(now, err, 0, verdictNever)
	default:
		// The connection was lost: who has the next one says so with Moved.
		sub.retained(now, err, 0)
	}
}

// refused takes a final response to a refresh that is no 2xx.
func (sub *subscription) refused(now time.Time, r *sipgo.Response) {
	s := sub.s
	if s.longer(r) && sub.repeats < maxRepeats {
		sub.repeats++
		sub.ask(now, s.asked)
		return
	}
	err := call.Refused("SUBSCRIBE", r)
	switch {
	case r.StatusCode == sipgo.StatusCallTransactionDoesNotExists:
		// The notifier has forgotten us, as after a restart.
		sub.finish(now, err, retryAfter(r), verdictNow)
	case isFatal(r.StatusCode):
		sub.finish(now, err, retryAfter(r), verdictNever)
	case endsUsage(r.StatusCode):
		sub.finish(now, err, retryAfter(r), verdictLater)
	default:
		sub.retained(now, err, retryAfter(r))
	}
}

// retained keeps a subscription whose refresh has failed: it "is still
// considered valid for the duration of the most recently known Expires value"
// (RFC 6665 §4.1.2.2). Half of what is left is waited for before the next.
func (sub *subscription) retained(now time.Time, err error, after time.Duration) {
	q := sub.s.env.Timers()
	q.Stop(&sub.silent)
	if sub.expire.Active() {
		wait := max(sub.expire.At().Sub(now)/2, after)
		if wait >= time.Second {
			q.Set(&sub.again, now.Add(wait))
		}
	}
	sub.settle(now, err)
}

func (sub *subscription) stop() {
	sub.over, sub.inFlight = true, false
	q := sub.s.env.Timers()
	q.Stop(&sub.again)
	q.Stop(&sub.expire)
	q.Stop(&sub.silent)
}

// finish ends the subscription.
func (sub *subscription) finish(now time.Time, err error, after time.Duration, v verdict) {
	if sub.over {
		return
	}
	sub.stop()
	sub.settle(now, ErrState)
	sub.s.isOver(now, sub, err, after, v)
}

// endsUsage tells whether a final response to a refresh ends the subscription
// (RFC 6665 §4.1.2.2, RFC 5057 §5.1).
func endsUsage(status int) bool {
	switch status {
	case 404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604:
		return true
	}
	return false
}

// isFatal tells whether the same request has no better chance later.
func isFatal(status int) bool {
	switch status {
	case 403, 404, 405, 406, 410, 414, 415, 416, 420, 423, 484, 485, 489, 493, 501, 505, 604, 606:
		return true
	}
	return false
}

// isAuth tells whether credentials are what failed.
func isAuth(err error) bool {
	var auth *digest.AuthError
	var weak *digest.ChallengeError
	return errors.As(err, &auth) || errors.As(err, &weak) ||
		errors.Is(err, digest.ErrRspAuth) || errors.Is(err, digest.ErrTooManyChallenges)
}

func retryAfter(r *sipgo.Response) time.Duration {
	d, _ := sipwire.RetryAfter(r)
	return min(d, maxRetryAfter)
}
