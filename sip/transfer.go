package sip

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/subscribe"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// TransferOptions are the wishes about a transfer. The zero value has none.
type TransferOptions struct {
	// NoHold leaves out that the peer is put on hold first.
	NoHold bool
	// NoSubscription asks the peer not to tell how it goes (RFC 4488): the
	// transfer counts as done as soon as he has accepted to try. A peer that
	// cannot leave it out is listened to all the same.
	NoSubscription bool
}

// graceFor is how long a server may take between the ends of two calls whose
// peers it has joined.
const graceFor = 32 * time.Second

// ErrTransferUnknown is the error of a transfer whose peer accepted to do what
// was asked, and never told what became of it.
var ErrTransferUnknown = errors.New("sip: the peer did not tell what became of the transfer")

// TransferEvent is news of a transfer.
type TransferEvent struct {
	Time time.Time
	// Status is how the target has answered, as the peer tells (RFC 3515
	// §2.4.5): 100 and 180 on the way, then the final one. 202 is the peer's
	// own: that he tries.
	Status int
	Phrase string
}

// Transfer is a request to somebody to call somebody else (REFER, RFC 3515)
// under way. Its methods may be called from any goroutine.
type Transfer struct {
	ua    *UA
	call  *Call // whose peer is asked; nil outside of a call
	other *Call // whose peer is the target, of an attended transfer
	m     *subscribe.Subscriber
	log   eventLog[TransferEvent]
	done  chan struct{}
	sub   bool         // not Refer-Sub: false in the answer
	over  bool         // in the loop
	grace timerq.Timer // until the server ends the second call, too

	mu  sync.Mutex
	err error
}

// Transfer sends the peer to somebody else (blind transfer, RFC 5589 §6). He is
// put on hold first. It returns when the target has answered, and ends the call
// then. uri is as in [UA.Dial].
//
// If it fails the call is still there, on hold: *StatusError with Method REFER
// where the peer refuses, with INVITE where the target does, *TimeoutError where
// the peer does not answer, ErrNoNotify or ErrTransferUnknown where he does not
// tell. A peer that hangs up without having told is ErrTransferUnknown as well.
// ErrState before the call is established, ErrBusy during another transfer of it.
func (c *Call) Transfer(ctx context.Context, uri string, o *TransferOptions) error {
	t, err := c.StartTransfer(ctx, uri, o)
	if err != nil {
		return err
	}
	return t.Wait(ctx)
}

// TransferTo connects the peer with the peer of another call (attended
// transfer, RFC 5589 §7), which must be established. Both calls end if it
// succeeds. A server that ends both calls has done so too. It is like Transfer
// otherwise.
func (c *Call) TransferTo(ctx context.Context, other *Call, o *TransferOptions) error {
	t, err := c.StartTransferTo(ctx, other, o)
	if err != nil {
		return err
	}
	return t.Wait(ctx)
}

// StartTransfer is Transfer, and returns when the REFER is out.
func (c *Call) StartTransfer(ctx context.Context, uri string, o *TransferOptions) (*Transfer, error) {
	to, err := c.ua.target(uri)
	if err != nil {
		return nil, err
	}
	return c.transferTo(ctx, nil, o, func() (string, error) { return "<" + sipwire.FormatURI(&to) + ">", nil })
}

// StartTransferTo is TransferTo, and returns when the REFER is out.
func (c *Call) StartTransferTo(ctx context.Context, other *Call, o *TransferOptions) (*Transfer, error) {
	if other == nil || other == c || other.ua != c.ua {
		return nil, ErrState
	}
	return c.transferTo(ctx, other, o, func() (string, error) {
		target, ok := other.m.Target()
		if !ok || other.m.State() != call.Established {
			return "", ErrState
		}
		ref, err := other.dialog().reference()
		if err != nil {
			return "", err
		}
		return referTo(&target, ref), nil
	})
}

// referTo is a Refer-To with Replaces (RFC 5589 §7.1).
func referTo(target *sipgo.Uri, ref sipwire.DialogRef) string {
	return "<" + sipwire.FormatURI(target) + "?Replaces=" + sipwire.EscapeHeader(ref.Replaces()) + ">"
}

func (c *Call) transferTo(ctx context.Context, other *Call, o *TransferOptions, referTo func() (string, error)) (*Transfer, error) {
	if o == nil {
		o = &TransferOptions{}
	}
	if c.State() != CallEstablished {
		return nil, ErrState
	}
	if !o.NoHold {
		if err := c.Hold(ctx); err != nil {
			return nil, err
		}
	}
	t := &Transfer{ua: c.ua, call: c, other: other, done: make(chan struct{})}
	err := c.try(ctx, func(now time.Time) error {
		switch {
		case c.m.State() == call.Ended:
			return ErrEnded
		case c.m.State() != call.Established || c.move != nil:
			return ErrState
		case c.transfer != nil && !c.transfer.over, other != nil && other.transfer != nil && !other.transfer.over:
			return ErrBusy
		}
		to, err := referTo()
		if err != nil {
			return err
		}
		c.transfer = t
		if other != nil {
			other.transfer = t
		}
		t.start(now, c.ua.acct.aor, to, o.NoSubscription, nil, c.m.Within)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// ReferOptions are the wishes about a REFER. The zero value has none.
type ReferOptions struct {
	// Replaces is the dialog of the target's whose place the new call is to
	// take, as his peer sees it; nil: none.
	Replaces *Dialog
	// NoSubscription is as in TransferOptions.
	NoSubscription bool
	// Headers are further header fields of the REFER, name and value.
	Headers [][2]string
}

// Refer asks somebody, mostly another device of the user's by its GRUU, to
// call a target (RFC 3515), and returns when that is out. Both are as uri is in
// [UA.Dial]. The error is a *URIError, ErrClosed, about the options, or the
// context's; what becomes of it the Transfer tells.
func (ua *UA) Refer(ctx context.Context, to, target string, o *ReferOptions) (*Transfer, error) {
	if o == nil {
		o = &ReferOptions{}
	}
	uri, err := ua.target(to)
	if err != nil {
		return nil, err
	}
	aim, err := ua.target(target)
	if err != nil {
		return nil, err
	}
	value := "<" + sipwire.FormatURI(&aim) + ">"
	if o.Replaces != nil {
		ref, err := o.Replaces.reference()
		if err != nil {
			return nil, err
		}
		value = referTo(&aim, ref)
	}
	var headers []sipgo.Header
	for _, h := range o.Headers {
		if err := checkHeader(h[0], h[1]); err != nil {
			return nil, err
		}
		headers = append(headers, sipgo.NewHeader(h[0], h[1]))
	}
	t := &Transfer{ua: ua, done: make(chan struct{})}
	refused := false
	if err := ua.ep.Run(ctx, func(now time.Time) {
		if refused = ua.draining; !refused {
			t.start(now, uri, value, o.NoSubscription, headers, nil)
		}
	}); err != nil {
		return nil, publicError("REFER", err)
	}
	if refused {
		return nil, ErrClosed
	}
	return t, nil
}

func (t *Transfer) start(now time.Time, target sipgo.Uri, referTo string, silent bool, headers []sipgo.Header, carrier subscribe.Carrier) {
	ua := t.ua
	t.sub = true
	headers = append([]sipgo.Header{
		sipgo.NewHeader("Refer-To", referTo),
		sipgo.NewHeader("Referred-By", sipwire.FormatNameAddr(ua.acct.name, &ua.acct.aor, nil)), // RFC 3892
		sipgo.NewHeader("Supported", supported),
	}, headers...)
	if silent {
		headers = append(headers, sipgo.NewHeader("Refer-Sub", "false")) // RFC 4488 §4
	}
	env := &subscriptionEnv{ua: ua}
	t.m = subscribe.NewSubscriber(env, subscribe.SubscriberConfig{
		Refer: true, Target: target, From: ua.acct.aor, FromName: ua.acct.name, Routes: ua.preloaded,
		Accept: []string{sipwire.Sipfrag}, Headers: headers, Carrier: carrier, T1: ua.cfg.Timers.T1,
	}, (*transferObserver)(t))
	env.take = t.m.OnNotify
	t.m.Start(now)
}

// Events iterates over the news, from the beginning, until the transfer is
// over or the context is. The latest 64 are kept: a slower reader misses the
// oldest.
func (t *Transfer) Events(ctx context.Context) iter.Seq[TransferEvent] { return t.log.all(ctx) }

// Wait waits until the transfer is over; the error is as in [Call.Transfer].
func (t *Transfer) Wait(ctx context.Context) error {
	select {
	case <-t.done:
	case <-t.ua.ep.Context().Done():
		select {
		case <-t.done:
		default:
			return ErrClosed
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// transferObserver is a Transfer as its subscription sees it: in the loop.
type transferObserver Transfer

func (o *transferObserver) Accepted(now time.Time, r *sipgo.Response) {
	sub, ok := sipwire.ParseReferSub(sipwire.Header(r, "Refer-Sub"))
	o.sub = sub || !ok
	o.log.add(TransferEvent{Time: now, Status: r.StatusCode, Phrase: r.Reason})
}

func (o *transferObserver) Notified(now time.Time, n subscribe.Notification) {
	t := (*Transfer)(o)
	status, phrase, ok := sipwire.ParseStatus(n.Body)
	if !ok || t.over {
		return
	}
	t.log.add(TransferEvent{Time: now, Status: status, Phrase: phrase})
	switch {
	case status >= 300:
		t.end(now, &StatusError{Method: "INVITE", Code: status, Phrase: phrase})
	case status >= 200:
		t.end(now, nil)
	}
}

func (o *transferObserver) Lost(time.Time, error, time.Duration) {}

func (o *transferObserver) Ended(now time.Time, err error) {
	t := (*Transfer)(o)
	switch {
	case err != nil:
		err = subscriptionError("REFER", err)
	case t.sub:
		err = ErrTransferUnknown // it is over, and was not told
	}
	t.end(now, err)
}

// end is the outcome. A call that is not needed any more is hung up.
func (t *Transfer) end(now time.Time, err error) {
	if t.over {
		return
	}
	t.over = true
	t.ua.ep.Q.Stop(&t.grace)
	t.mu.Lock()
	t.err = err
	t.mu.Unlock()
	t.log.close()
	close(t.done)
	if err != nil {
		return
	}
	for _, c := range []*Call{t.call, t.other} {
		if c != nil && c.m.State() != call.Ended {
			c.transferred = true
			c.hangup(now)
		}
	}
}

// callEnded takes the end of one of the calls during the transfer. The peer's
// BYE says nothing by itself; but a server in the middle that ends both calls
// of an attended transfer has joined their peers.
func (t *Transfer) callEnded(now time.Time, end End) {
	if t.over {
		return
	}
	ended := func(c *Call) bool { return c == nil || c.m.State() == call.Ended }
	switch {
	case end.By == Local || end.Err != nil:
		t.end(now, ErrEnded)
	case t.other != nil && ended(t.call) && ended(t.other):
		t.end(now, nil)
	case t.other == nil:
		t.end(now, ErrTransferUnknown)
	case !t.grace.Active():
		t.grace.F = func(now time.Time) { t.end(now, ErrTransferUnknown) }
		t.ua.ep.Q.Set(&t.grace, now.Add(graceFor))
	}
}

// told takes a NOTIFY of the event refer in the call's dialog.
func (c *Call) told(now time.Time, s *transaction.Server, _ sipwire.Event) {
	if t := c.transfer; t != nil && t.call == c {
		t.m.OnNotify(now, s)
		return
	}
	c.ua.unsubscribed(now, s)
}
