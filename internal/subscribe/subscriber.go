package subscribe

import (
	"errors"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/flow"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// SubscriberConfig says what to subscribe to.
type SubscriberConfig struct {
	// Target is the Request-URI and To.
	Target sipgo.Uri
	// From is who asks.
	From     sipgo.Uri
	FromName string
	// Routes is asked for the route of each first request; nil is none.
	Routes func() []string
	// Event is the package, and perhaps an id.
	Event sipwire.Event
	// Accept are the types of bodies that are taken; others get 415. None: all.
	Accept []string
	// Expires is the life to ask for; 0 is one hour.
	Expires time.Duration
	// Poll asks for the state once, with Expires: 0 (RFC 6665 §4.4.3).
	Poll bool
	// Once ends with the first subscription that is over, instead of making
	// another.
	Once bool
	// Refer makes the first request a REFER, whose subscription this is (RFC
	// 3515 §2.4.4). It implies Once, and Event is "refer".
	Refer bool
	// Forks is how many subscriptions one request may make where it is forked (RFC
	// 6665 §4.4.1); 0 is one. NOTIFYs of others get 481.
	Forks int
	// Headers, ContentType and Body are of each first request.
	Headers     []sipgo.Header
	ContentType string
	Body        []byte
	// Carrier sends in the dialog of a call. Nil: the subscription has a
	// dialog of its own.
	Carrier Carrier
	// T1 is the round-trip estimate of RFC 3261 §17; 0 is 500 ms.
	T1 time.Duration
}

// Notification is a NOTIFY that was accepted.
type Notification struct {
	// Dialog numbers the subscriptions of a Subscriber, from 1; each has
	// versions of its own.
	Dialog      int
	State       sipwire.SubscriptionState
	ContentType string
	Body        []byte
	Request     *sipgo.Request
}

// Observer hears what becomes of a Subscriber. It may call it.
type Observer interface {
	// Accepted is called for each 2xx to a request that begins a subscription.
	Accepted(now time.Time, r *sipgo.Response)
	// Notified hands over each NOTIFY that was accepted.
	Notified(now time.Time, n Notification)
	// Lost: there is no subscription any more; another is made after retry.
	Lost(now time.Time, err error, retry time.Duration)
	// Ended comes once, last. Nil: we unsubscribed, or all there was to tell was
	// told (a poll, a REFER).
	Ended(now time.Time, err error)
}

type phase uint8

const (
	idle        phase = iota
	subscribing       // no subscription yet
	subscribed        // one at least
	waiting           // to subscribe anew
	ended
)

// Subscriber is the subscriber's side. It is not safe for concurrent use: the
// loop that owns its queue owns it.
type Subscriber struct {
	env Env
	cfg SubscriberConfig
	o   Observer

	phase   phase
	leaving bool
	up      bool // there was a subscription once
	// unreached: it waits since the latest attempt had no connection.
	unreached bool

	// What belongs to the first request under way, and those that it made.
	first   dialog
	attempt int // counts first requests, to know late answers
	repeats int
	heard   bool // the latest has a 2xx
	asked   time.Duration
	granted time.Duration
	window  timerq.Timer // Timer N, within which forks make subscriptions
	subs    []*subscription

	made    int // subscriptions so far
	retry   timerq.Timer
	backoff flow.Backoff
	quick   int // subscriptions made anew at once, in a row
}

const (
	// maxRepeats bounds repeats of a request with another Expires (423).
	maxRepeats = 4
	// maxQuick bounds how often a notifier can have us subscribe anew at once.
	maxQuick = 3
	// settled is how long a subscription has to live for not to count as a
	// failed attempt.
	settled = 30 * time.Second
)

// NewSubscriber makes a machine that does nothing until Start.
func NewSubscriber(env Env, cfg SubscriberConfig, o Observer) *Subscriber {
	if cfg.Expires <= 0 {
		cfg.Expires = defaultExpires
	}
	cfg.Expires = (cfg.Expires + time.Second - 1).Truncate(time.Second)
	if cfg.T1 <= 0 {
		cfg.T1 = defaultT1
	}
	if cfg.Forks <= 0 {
		cfg.Forks = 1
	}
	if cfg.Refer {
		cfg.Once, cfg.Poll, cfg.Event = true, false, sipwire.Event{Package: "refer"}
	}
	s := &Subscriber{env: env, cfg: cfg, o: o, asked: cfg.Expires}
	s.backoff = flow.Backoff{Rand: env.Float, BaseAllFail: settled}
	s.window.F = s.closed
	s.retry.F = s.subscribe
	return s
}

// Start subscribes. It does nothing the second time.
func (s *Subscriber) Start(now time.Time) {
	if s.phase == idle {
		s.subscribe(now)
	}
}

// subscribe makes a new attempt, with a Call-ID and From tag of its own: "an
// unrelated initial SUBSCRIBE request" (RFC 6665 §4.1.2.2).
func (s *Subscriber) subscribe(now time.Time) {
	s.phase = subscribing
	s.attempt++
	s.unreached = false
	s.repeats, s.granted, s.subs = 0, 0, nil
	s.first = dialog{
		id: s.env.ID(24), localTag: s.env.ID(12),
		localURI: s.cfg.From, localName: s.cfg.FromName, remoteURI: s.cfg.Target, target: s.cfg.Target,
		localCSeq: uint32(s.env.Float() * (1 << 16)),
	}
	if s.cfg.Carrier == nil {
		if s.cfg.Routes != nil {
			s.first.routes = s.cfg.Routes()
		}
		s.env.Dialog(s.first.id, s.first.localTag, true)
	}
	s.send(now)
}

// send sends the first request.
func (s *Subscriber) send(now time.Time) {
	method, expires := sipgo.SUBSCRIBE, s.asked
	if s.cfg.Poll {
		expires = 0
	}
	var headers []sipgo.Header
	if s.cfg.Refer {
		method = sipgo.REFER
	} else {
		headers = s.headers(expires)
	}
	headers = append(headers, s.cfg.Headers...)
	s.heard = false
	s.env.Timers().Set(&s.window, now.Add(64*s.cfg.T1))
	h := &firstHandler{s: s, attempt: s.attempt}
	if s.cfg.Carrier != nil {
		s.carry(now, method, headers, s.cfg.ContentType, s.cfg.Body, h)
		return
	}
	req := s.first.request(s.env, method)
	for _, x := range headers {
		req.AppendHeader(x)
	}
	setBody(req, s.cfg.ContentType, s.cfg.Body)
	s.env.Request(now, nil, req, h)
}

// carry sends a request in a dialog of somebody else's.
func (s *Subscriber) carry(now time.Time, method sipgo.RequestMethod, headers []sipgo.Header, contentType string, body []byte, h RequestHandler) {
	w := call.Within{Method: method, Headers: headers, ContentType: contentType, Body: body, Apart: true}
	w.Done = func(now time.Time, r *sipgo.Response, err error) {
		if err != nil {
			h.Failed(now, err)
			return
		}
		h.Response(now, nil, r)
	}
	if err := s.cfg.Carrier(now, w); err != nil {
		h.Failed(now, err)
	}
}

// headers are those of every SUBSCRIBE (RFC 6665 §4.1.2.1).
func (s *Subscriber) headers(expires time.Duration) []sipgo.Header {
	hs := []sipgo.Header{
		sipgo.NewHeader("Event", s.cfg.Event.String()),
		sipgo.NewHeader("Expires", sipwire.FormatSeconds(expires)),
	}
	if len(s.cfg.Accept) > 0 {
		hs = append(hs, sipgo.NewHeader("Accept", strings.Join(s.cfg.Accept, ", ")))
	}
	return hs
}

type firstHandler struct {
	s       *Subscriber
	attempt int
}

func (h *firstHandler) NextCSeq() uint32 { h.s.first.localCSeq++; return h.s.first.localCSeq }

func (h *firstHandler) Response(now time.Time, f transaction.Flow, r *sipgo.Response) {
	s := h.s
	switch {
	case r.StatusCode < 200 || h.attempt != s.attempt || s.phase != subscribing && s.phase != subscribed:
	case r.IsSuccess():
		s.first.flow = f
		s.accepted(now, r)
	case s.phase == subscribed:
		// A NOTIFY says more than the response of whatever proxy made this.
	default:
		s.refused(now, r)
	}
}

func (h *firstHandler) Failed(now time.Time, err error) {
	if s := h.s; h.attempt == s.attempt && s.phase == subscribing {
		s.unreached = true
		s.failed(now, err, 0, isAuth(err))
	}
}

func (s *Subscriber) accepted(now time.Time, r *sipgo.Response) {
	s.granted, s.heard = s.life(r), true
	s.o.Accepted(now, r)
	if s.phase != subscribing && s.phase != subscribed {
		return
	}
	if s.cfg.Refer && strings.EqualFold(sipwire.Header(r, "Refer-Sub"), "false") {
		// No subscription was made (RFC 4488 §4).
		s.end(now, nil)
		return
	}
	for _, sub := range s.subs {
		if !sub.over && !sub.expire.Active() {
			sub.lives(now, s.granted)
		}
	}
}

// life is how long a subscription lives by the Expires of a 2xx (RFC 6665
// §4.1.2.1); where that is missing, as long as was asked for.
func (s *Subscriber) life(r *sipgo.Response) time.Duration {
	if s.cfg.Refer {
		return 0
	}
	d, ok := sipwire.Seconds(r, "Expires")
	if !ok || d == 0 {
		d = s.asked
	}
	return min(d, max(s.asked, maxExpires))
}

// refused takes a final response that is no 2xx.
func (s *Subscriber) refused(now time.Time, r *sipgo.Response) {
	if s.longer(r) && s.repeats < maxRepeats {
		s.repeats++
		s.send(now)
		return
	}
	s.failed(now, call.Refused(s.method(), r), retryAfter(r), isFatal(r.StatusCode))
}

func (s *Subscriber) method() string {
	if s.cfg.Refer {
		return "REFER"
	}
	return "SUBSCRIBE"
}

// longer takes a 423 (Interval Too Brief), and tells whether another request
// will do better (RFC 6665 §4.1.2.1).
func (s *Subscriber) longer(r *sipgo.Response) bool {
	least, ok := sipwire.Seconds(r, "Min-Expires")
	if r.StatusCode != 423 || !ok || least <= s.asked || least > maxExpires || s.cfg.Poll {
		return false
	}
	s.asked = least
	return true
}

// closed is due with Timer N: forks come no more.
func (s *Subscriber) closed(now time.Time) {
	if s.phase != subscribing {
		return
	}
	err := ErrNoNotify
	if !s.heard {
		err = transaction.ErrTimeout // Timer F is as long, and due now as well
	}
	s.failed(now, err, 0, false)
}

// failed ends an attempt that has made no subscription.
func (s *Subscriber) failed(now time.Time, err error, after time.Duration, fatal bool) {
	switch {
	case s.leaving:
		s.end(now, nil)
	case fatal || !s.up || s.cfg.Once || s.cfg.Poll:
		s.end(now, err)
	default:
		s.again(now, err, max(after, s.backoff.Failed(now, false)))
	}
}

// again waits to subscribe anew.
func (s *Subscriber) again(now time.Time, err error, wait time.Duration) {
	s.clear()
	s.phase = waiting
	s.env.Timers().Set(&s.retry, now.Add(wait))
	s.o.Lost(now, err, wait)
}

// clear forgets the first request and what it made.
func (s *Subscriber) clear() {
	q := s.env.Timers()
	q.Stop(&s.window)
	q.Stop(&s.retry)
	for _, sub := range s.subs {
		sub.stop()
	}
	if (s.phase == subscribing || s.phase == subscribed) && s.cfg.Carrier == nil {
		s.env.Dialog(s.first.id, s.first.localTag, false)
	}
}

func (s *Subscriber) end(now time.Time, err error) {
	if s.phase == ended {
		return
	}
	s.clear()
	s.phase = ended
	s.o.Ended(now, err)
}

// Stop ends the machine without a word to anybody, the observer included.
func (s *Subscriber) Stop() {
	s.clear()
	s.phase = ended
}

// Close unsubscribes (RFC 6665 §4.1.2.3). Observer.Ended follows: once the
// last NOTIFY has come, or Timer N has passed.
func (s *Subscriber) Close(now time.Time) {
	if s.leaving || s.phase == ended {
		return
	}
	s.leaving = true
	switch s.phase {
	case subscribing: // the first NOTIFY has to come, to know where to send it
	case subscribed:
		for _, sub := range slices.Clone(s.subs) {
			sub.leave(now)
		}
	default:
		s.end(now, nil)
	}
}

// Refresh asks for the state again (RFC 6665 §4.1.2.2), perhaps with a body.
// done, which may be nil, gets what the notifier says, of the first where there are
// several. Where a subscription waits to be made anew that is done at once, and
// done gets ErrState, as it does where there is none.
func (s *Subscriber) Refresh(now time.Time, contentType string, body []byte, done func(now time.Time, err error)) {
	switch {
	case s.phase == subscribed && !s.leaving:
		for _, sub := range slices.Clone(s.subs) {
			if !sub.over {
				sub.refresh(now, contentType, body, done)
				done = nil
			}
		}
		return
	case s.phase == waiting:
		s.env.Timers().Stop(&s.retry)
		s.subscribe(now)
	}
	if done != nil {
		done(now, ErrState)
	}
}

// Moved tells that what lived on a flow lives on another one now, nil being
// whichever leads to the peer. Who could not be reached is asked again. The notifier
// is told our new Contact by a refresh, which it answers with the state: nothing is
// missed that happened in between.
func (s *Subscriber) Moved(now time.Time, from, to transaction.Flow) {
	if s.phase == waiting && s.unreached {
		s.env.Timers().Stop(&s.retry)
		s.subscribe(now)
		return
	}
	for _, sub := range slices.Clone(s.subs) {
		switch {
		case sub.over || sub.d.flow != from:
		case s.leaving:
			sub.d.flow = to
		default:
			sub.d.flow = to
			sub.refresh(now, "", nil, nil)
		}
	}
}

// Flow is what the newest subscription lives on; nil where there is none.
func (s *Subscriber) Flow() transaction.Flow {
	for _, sub := range slices.Backward(s.subs) {
		if !sub.over {
			return sub.d.flow
		}
	}
	return nil
}

// isOver takes a subscription that is over; with the last the attempt is.
func (s *Subscriber) isOver(now time.Time, over *subscription, err error, after time.Duration, v verdict) {
	for _, sub := range s.subs {
		if !sub.over {
			return
		}
	}
	if s.phase != subscribed {
		return
	}
	switch {
	case s.leaving:
		s.end(now, nil)
	case s.cfg.Once || s.cfg.Poll:
		if t, ok := errors.AsType[*TerminatedError](err); ok && t.Reason != "rejected" && t.Reason != "giveup" {
			err = nil // all was told (RFC 6665 §4.4.3, RFC 3515 §2.4.7)
		}
		s.end(now, err)
	case v == verdictNever:
		s.end(now, err)
	default:
		s.againAfter(now, over, err, after, v)
	}
}

// againAfter decides when to subscribe anew.
func (s *Subscriber) againAfter(now time.Time, over *subscription, err error, after time.Duration, v verdict) {
	if now.Sub(over.since) >= settled {
		s.quick = 0
	}
	wait := s.backoff.Failed(now, false)
	switch {
	case v == verdictNow && s.quick < maxQuick:
		s.quick++
		wait = 0
	case v == verdictLater && after == 0:
		wait = max(wait, settled)
	}
	s.again(now, err, max(wait, after))
}
