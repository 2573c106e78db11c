package sip

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/subscribe"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// SubscribeOptions say what to subscribe to. Event is required.
type SubscribeOptions struct {
	// Event is the event package (RFC 6665 §7.2), such as "dialog", perhaps with
	// parameters, as "dialog;id=1".
	Event string
	// Accept are the types of bodies that are understood; a NOTIFY with
	// another one is refused (415). None: the package's default, and all come.
	Accept []string
	// Expires is the life to ask for; it is prolonged as long as the
	// Subscription is. 0 is one hour.
	Expires time.Duration
	// Poll asks for the state once: the subscription ends with it
	// (RFC 6665 §4.4.3).
	Poll bool
	// Forks is how many notifiers may answer where a proxy forks the request
	// (RFC 6665 §4.4.1). 0 is one: others are refused (481).
	Forks int
	// Headers are further header fields, name and value; Body, of type
	// ContentType, is what the package wants to know, such as a filter.
	// They go with each request that begins a subscription.
	Headers     [][2]string
	ContentType string
	Body        []byte
}

// SubscriptionState is how a subscription stands (RFC 6665 §4.1.3).
type SubscriptionState int

// The states of a subscription.
const (
	SubscriptionActive     SubscriptionState = iota + 1
	SubscriptionPending                      // somebody has to allow it yet
	SubscriptionTerminated                   // over; mostly another is made
)

func (s SubscriptionState) String() string {
	switch s {
	case SubscriptionActive:
		return "active"
	case SubscriptionPending:
		return "pending"
	case SubscriptionTerminated:
		return "terminated"
	}
	return "SubscriptionState(" + strconv.Itoa(int(s)) + ")"
}

// Notification is what a notifier said, or that it says nothing any more.
type Notification struct {
	Time time.Time
	// Notifier numbers the dialogs of a Subscription, from 1, forks and those
	// that were made anew: each tells all of its state first, and numbers its
	// documents by itself. 0 where Err is set.
	Notifier int
	State    SubscriptionState
	// Reason is why it was terminated, as RFC 6665 §4.1.3 names it; "" is unsaid.
	Reason string
	// ContentType and Body are the state; no Body: nothing was said of it. A
	// body has at most 256 KB; larger ones are refused (413).
	ContentType string
	Body        []byte
	// Missed is how many notifications before this one were dropped because
	// nobody read them. Who puts parts together calls Refresh then.
	Missed int
	// Err is set where no notifier has said this: there is no subscription
	// any more, for that reason, and another is made after Retry.
	Err   error
	Retry time.Duration
}

// TerminatedError says that the notifier has ended a subscription for good.
type TerminatedError struct {
	Reason string // of RFC 6665 §4.1.3: "rejected", "noresource", …; "" is unsaid
}

func (e *TerminatedError) Error() string {
	if e.Reason == "" {
		return "sip: subscription ended by the notifier"
	}
	return "sip: subscription ended by the notifier: " + e.Reason
}

// Errors of subscriptions, to test for with errors.Is.
var (
	// ErrNoNotify: the subscription was accepted, but nothing was ever said.
	ErrNoNotify = errors.New("sip: no NOTIFY followed the SUBSCRIBE")
	// ErrExpired: the subscription could not be prolonged in time.
	ErrExpired = errors.New("sip: the subscription has expired")
	// ErrNoSubscription: there is no subscription at the moment.
	ErrNoSubscription = errors.New("sip: there is no subscription")
)

// Subscription is an interest in the state of something (RFC 6665). It
// refreshes itself, and is made anew when the notifier has forgotten it or the
// connection is lost, until it is closed or refused for good. Its methods may
// be called from any goroutine.
type Subscription struct {
	ua    *UA
	m     *subscribe.Subscriber // in the loop alone
	queue notifyQueue
	first chan struct{} // closed when it is accepted, or over
	done  chan struct{}

	settled bool // first is closed; in the loop

	mu  sync.Mutex
	err error
}

// Subscribe subscribes to an event package of a SIP URI, or of a user at the
// account's domain; "" is the account's own address of record. It waits until
// the notifier has accepted.
//
// Errors are *StatusError (489 where it does not know the package, 403, …),
// *TerminatedError, *TimeoutError, *AuthError, *URIError, ErrNoNotify,
// ErrNoFlow, ErrClosed or the context's.
func (ua *UA) Subscribe(ctx context.Context, uri string, o *SubscribeOptions) (*Subscription, error) {
	if o == nil {
		o = &SubscribeOptions{}
	}
	cfg, err := ua.subscriberConfig(uri, o)
	if err != nil {
		return nil, err
	}
	sub := &Subscription{ua: ua, first: make(chan struct{}), done: make(chan struct{})}
	refused := false
	err = ua.ep.Run(ctx, func(now time.Time) {
		if refused = ua.draining; refused {
			return
		}
		env := &subscriptionEnv{ua: ua}
		sub.m = subscribe.NewSubscriber(env, cfg, (*subscriptionObserver)(sub))
		env.take = sub.m.OnNotify
		ua.subs[sub] = struct{}{}
		sub.m.Start(now)
	})
	switch {
	case err != nil:
		sub.abandon()
		return nil, publicError("SUBSCRIBE", err)
	case refused:
		return nil, ErrClosed
	}
	select {
	case <-sub.first:
		select {
		case <-sub.done:
			if err := sub.Err(); err != nil {
				return nil, err
			}
		default:
		}
		return sub, nil
	case <-ctx.Done():
		sub.abandon()
		return nil, context.Cause(ctx)
	}
}

func (ua *UA) subscriberConfig(uri string, o *SubscribeOptions) (subscribe.SubscriberConfig, error) {
	cfg := subscribe.SubscriberConfig{
		Target: ua.acct.aor, From: ua.acct.aor, FromName: ua.acct.name, Routes: ua.preloaded,
		Accept: slices.Clone(o.Accept), Expires: o.Expires, Poll: o.Poll, Forks: o.Forks,
		ContentType: o.ContentType, Body: slices.Clone(o.Body), T1: ua.cfg.Timers.T1,
	}
	var err error
	if uri != "" {
		if cfg.Target, err = ua.target(uri); err != nil {
			return cfg, err
		}
	}
	var ok bool
	if cfg.Event, ok = sipwire.ParseEvent(o.Event); !ok {
		return cfg, fmt.Errorf("sip: SubscribeOptions.Event %q is no event package", o.Event)
	}
	if len(o.Body) > 0 && o.ContentType == "" {
		return cfg, errors.New("sip: SubscribeOptions.Body has no ContentType")
	}
	if err := checkHeader("X", o.ContentType); err != nil {
		return cfg, err
	}
	for _, a := range o.Accept {
		if err := checkHeader("Accept", a); err != nil {
			return cfg, err
		}
	}
	for _, h := range o.Headers {
		if err := checkHeader(h[0], h[1]); err != nil {
			return cfg, err
		}
		cfg.Headers = append(cfg.Headers, sipgo.NewHeader(h[0], h[1]))
	}
	return cfg, nil
}

// abandon ends a subscription that nobody waits for any more.
func (s *Subscription) abandon() {
	s.ua.ep.Post(func(now time.Time) {
		if s.m != nil {
			s.m.Close(now)
		}
	})
}

// Notifications iterates over what is said, until the subscription is over or
// the context is. What nobody has read yet waits, up to 64 notifications and 1
// MB of bodies; then the oldest are dropped, and Missed of the next says how many.
// Of several readers each notification reaches one.
func (s *Subscription) Notifications(ctx context.Context) iter.Seq[Notification] {
	return s.queue.all(ctx)
}

// Refresh has the notifier tell its state again, in a notification, and
// prolongs the subscription. It returns when the notifier has agreed.
// ErrNoSubscription where there is none at the moment; an attempt to make one
// is then made at once.
func (s *Subscription) Refresh(ctx context.Context) error {
	result := make(chan error, 1)
	err := s.ua.ep.Run(ctx, func(now time.Time) {
		s.m.Refresh(now, "", nil, func(_ time.Time, err error) { result <- err })
	})
	if err != nil {
		return publicError("SUBSCRIBE", err)
	}
	select {
	case err := <-result:
		return subscriptionError("SUBSCRIBE", err)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ua.ep.Context().Done():
		return ErrClosed
	}
}

// Err is why the subscription is over; nil while it is not, after Close, and
// after a poll was answered.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Wait waits until the subscription is over for good and tells why, as Err.
func (s *Subscription) Wait(ctx context.Context) error {
	select {
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close unsubscribes and waits for the notifier's last word, 64*T1 (32 s) at
// the most. The subscription is ended also where the context ends before that.
func (s *Subscription) Close(ctx context.Context) error {
	if !s.ua.ep.Post(s.m.Close) {
		return nil
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// subscriptionObserver is a Subscription as its machine sees it: in the loop.
type subscriptionObserver Subscription

func (o *subscriptionObserver) settle() {
	if !o.settled {
		o.settled = true
		close(o.first)
	}
}

func (o *subscriptionObserver) Accepted(time.Time, *sipgo.Response) { o.settle() }

func (o *subscriptionObserver) Notified(now time.Time, n subscribe.Notification) {
	pub := Notification{
		Time: now, Notifier: n.Dialog, State: SubscriptionActive, Reason: n.State.Reason,
		ContentType: n.ContentType, Body: n.Body,
	}
	switch n.State.State {
	case sipwire.SubscriptionPending:
		pub.State = SubscriptionPending
	case sipwire.SubscriptionTerminated:
		pub.State = SubscriptionTerminated
	}
	o.queue.add(pub)
	o.settle()
}

func (o *subscriptionObserver) Lost(now time.Time, err error, retry time.Duration) {
	o.ua.log.Info("subscription lost", "account", o.ua.AOR(), "error", err, "retry", retry)
	o.queue.add(Notification{Time: now, State: SubscriptionTerminated, Err: subscriptionError("SUBSCRIBE", err), Retry: retry})
}

func (o *subscriptionObserver) Ended(now time.Time, err error) {
	o.mu.Lock()
	o.err = subscriptionError("SUBSCRIBE", err)
	o.mu.Unlock()
	delete(o.ua.subs, (*Subscription)(o))
	o.queue.close()
	o.settle()
	close(o.done)
	o.ua.checkGone(now)
}

// subscriptionError turns what the machine says into the errors of this package.
func subscriptionError(op string, err error) error {
	if t, ok := errors.AsType[*subscribe.TerminatedError](err); ok {
		return &TerminatedError{Reason: t.Reason}
	}
	switch {
	case errors.Is(err, subscribe.ErrNoNotify):
		return ErrNoNotify
	case errors.Is(err, subscribe.ErrExpired):
		return ErrExpired
	case errors.Is(err, subscribe.ErrState):
		return ErrNoSubscription
	case errors.Is(err, subscribe.ErrReplaced):
		return nil // another one asks for the same
	}
	return publicError(op, err)
}

// subscriptionEnv is what a machine of package subscribe lives in.
type subscriptionEnv struct {
	ua *UA
	// take takes the requests that come in its dialogs.
	take func(now time.Time, s *transaction.Server)
}

func (e *subscriptionEnv) Request(now time.Time, flow transaction.Flow, req *sipgo.Request, h subscribe.RequestHandler) {
	o := &endpoint.Outgoing{Req: req, NextCSeq: h.NextCSeq, OnFailed: h.Failed}
	f, _ := flow.(*transport.Flow)
	o.Flow = e.ua.dialogFlow(f, req)
	o.Prepare = func(f *transport.Flow, req *sipgo.Request) {
		req.RemoveHeader("Contact")
		req.AppendHeader(e.Contact(f))
	}
	o.OnResponse = func(now time.Time, r *sipgo.Response) { h.Response(now, o.Flow, r) }
	e.ua.ep.Send(now, o)
}

func (e *subscriptionEnv) Contact(flow transaction.Flow) *sipgo.ContactHeader {
	f, _ := flow.(*transport.Flow)
	if f == nil {
		return nil
	}
	return &sipgo.ContactHeader{Address: e.ua.dialogContact(f, false)}
}

func (e *subscriptionEnv) Decorate(m sipgo.Message) { e.ua.decorate(m) }
func (e *subscriptionEnv) Timers() *timerq.Queue    { return &e.ua.ep.Q }
func (e *subscriptionEnv) ID(n int) string          { return e.ua.ep.ID(n) }
func (e *subscriptionEnv) Float() float64           { return e.ua.ep.Float() }

func (e *subscriptionEnv) Dialog(callID, localTag string, ours bool) {
	if key := (callKey{callID, localTag}); ours {
		e.ua.dialogs[key] = e.take
	} else {
		delete(e.ua.dialogs, key)
	}
}

// resettle finds another connection for the subscriptions that have lost theirs.
func (ua *UA) resettle(now time.Time) {
	if ua.acct.direct {
		ua.rehome(now, nil) // where each peer is, is looked for anew
		return
	}
	for _, f := range ua.flows {
		if f.up() {
			ua.rehome(now, f.flow)
			return
		}
	}
	ua.reconnect(now)
}

// rehome moves the subscriptions whose connection is lost to another one; nil
// is whichever leads there.
func (ua *UA) rehome(now time.Time, to *transport.Flow) {
	for sub := range ua.subs {
		f, _ := sub.m.Flow().(*transport.Flow)
		if f == nil || f.Err() != nil {
			var home transaction.Flow
			if to != nil {
				home = to
			}
			sub.m.Moved(now, sub.m.Flow(), home)
		}
	}
}

// reconnect finds another connection for subscriptions of an account that is
// not registered; the registration of one that is does it by itself.
func (ua *UA) reconnect(now time.Time) {
	f := ua.flows[0]
	if len(ua.subs) == 0 || ua.reg != nil || ua.draining || f.up() {
		return
	}
	f.want(now, func(now time.Time, _ *transport.Flow, err error) {
		if err != nil {
			ua.ep.Q.Set(&ua.reconnecting, now.Add(ua.backoff.Failed(now, false)))
			return
		}
		ua.backoff.Registered(now)
	})
}
