package sip

import (
	"context"
	"iter"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transport"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// CallState is where a call stands.
//
//	outgoing                            incoming
//
//	CallCalling ──18x──▶ CallRinging    CallIncoming ──Ring──▶ CallRinging
//	    │                    │               │                     │
//	    └────────2xx─────────┤               └───────Answer────────┤
//	                         │                                     ▼
//	                         │                              CallAnswering
//	                         ▼                                     │ ACK
//	                  CallEstablished ◀────────────────────────────┘
//	                         │ BYE from either side, failure
//	                         ▼
//	any ──CANCEL, refusal──▶ CallEnded: Call.End says how
type CallState int

// The states of a call.
const (
	CallCalling     CallState = iota + 1 // the INVITE is being made or is out
	CallIncoming                         // somebody calls; nothing was said to him yet
	CallRinging                          // the callee is alerted, there or here
	CallAnswering                        // accepted here; the caller's ACK is awaited
	CallEstablished                      // both talk
	CallEnded                            // over
)

func (s CallState) String() string { return call.State(s).String() }

// Direction of a call.
type Direction int

// The directions.
const (
	Outgoing Direction = iota + 1
	Incoming
)

func (d Direction) String() string {
	switch d {
	case Outgoing:
		return "outgoing"
	case Incoming:
		return "incoming"
	}
	return "Direction(" + strconv.Itoa(int(d)) + ")"
}

// Party is one side of a call as its headers name it.
type Party struct {
	URI  string // "sip:…", "sips:…" or "tel:…", without parameters of the header field
	Name string // display name; "" is none
}

// Call is one call. Its methods may be called from any goroutine.
type Call struct {
	ua     *UA
	log    eventLog[Event]
	dir    Direction
	shared sharedMedia

	id        string
	anonymous bool
	joins     *Call
	invite    *sipgo.Request // incoming: as received, not changed any more

	// In the loop.
	set         *dialogSet
	m           *call.Call // set's machine
	move        *move
	leaving     *leaving
	transfer    *Transfer // ours, of its peer, or to its peer: the latest
	transferred bool
	referral    *ReferRequest // the peer's: the latest
	// verification is set while the app does not know of the call yet.
	verification *verification

	mu      sync.Mutex
	local   Party
	remote  Party
	state   CallState
	end     End
	media   offeranswer.Media
	streams []offeranswer.Stream
	held    Hold
	forks   []Fork
	session session
	// identity is that of the dialog set in local and remote.
	identity Identity

	flow  atomic.Pointer[transport.Flow] // that the INVITE came or goes over
	phone atomic.Pointer[Phone]          // whose it is; nil: nobody's

	up       chan struct{} // closed when established or ended
	done     chan struct{} // closed when ended
	upOnce   sync.Once
	doneOnce sync.Once
}

func newCall(ua *UA, dir Direction) *Call {
	return &Call{ua: ua, dir: dir, shared: sharedMedia{use: make(turnstile, 1)}, up: make(chan struct{}), done: make(chan struct{})}
}

// ID is the Call-ID (RFC 3261 §8.1.1.4) of the call's first dialog. It stays
// when the call moves to another; Dialog has the present one.
func (c *Call) ID() string { return c.id }

// Direction tells who called.
func (c *Call) Direction() Direction { return c.dir }

// Local is who we are in this call; Remote is the other side. For an incoming
// call that is what the account's server asserts (RFC 3325), where it does,
// else what the caller says of himself.
func (c *Call) Local() Party {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local
}

// Remote is the other side; see Local. It changes when the call moves to
// another dialog: see PartyChanged.
func (c *Call) Remote() Party {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// Header returns the values of a header field of an incoming call's INVITE, by
// its name in any case: one for each line, not taken apart at commas. Nil where
// there is none, and for outgoing calls.
func (c *Call) Header(name string) []string {
	if c.invite == nil {
		return nil
	}
	var vs []string
	for _, h := range sipwire.Headers(c.invite) {
		if strings.EqualFold(h.Name(), name) {
			vs = append(vs, h.Value())
		}
	}
	return vs
}

// State is where the call stands.
func (c *Call) State() CallState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// End says how the call ended; the zero value before.
func (c *Call) End() End {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// Media is what Config.NewMedia made for this call; nil before there is an
// offer.
func (c *Call) Media() offeranswer.Media {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.media
}

// Streams are the streams agreed on, in the order of the m= lines; nil before.
// The slice is not to be changed.
func (c *Call) Streams() []offeranswer.Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams
}

// Events iterates over what happens to the call, from its beginning, until it
// has ended or the context has. The latest 64 events are kept: a reader that
// is slower misses the oldest.
func (c *Call) Events(ctx context.Context) iter.Seq[Event] { return c.log.all(ctx) }

// Answered waits until the call is established. The error is that of a call
// which ended before: see [UA.Dial].
func (c *Call) Answered(ctx context.Context) error {
	select {
	case <-c.up:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != CallEnded {
		return nil
	}
	if err := c.end.Err; err != nil {
		return err
	}
	return ErrEnded
}

// Wait waits until the call has ended. The error is nil if somebody hung up,
// else End.Err.
func (c *Call) Wait(ctx context.Context) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return c.End().Err
}

// Hangup ends the call: CANCEL, 603 or BYE as its state needs. Reasons go
// into Reason headers. It returns when the request is out, not when it is
// answered, and does nothing to a call that has ended. The call is hung up
// also where the context has ended already.
//
// A call that was not answered yet is over when the peer has confirmed that,
// 32 seconds later at the most: Wait and Events tell.
func (c *Call) Hangup(ctx context.Context, reasons ...Reason) error {
	done := make(chan struct{})
	posted := c.ua.ep.Post(func(now time.Time) {
		c.hangup(now, internalReasons(reasons)...)
		close(done)
	})
	if !posted {
		if c.State() == CallEnded {
			return nil
		}
		return ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.ua.ep.Context().Done():
		return nil // and with it all calls
	}
}

// Renegotiate makes a new offer in the call and waits for the answer: other
// directions, streams, keys. A refusal is a *StatusError, and leaves everything
// as it was. ErrBusy where eight offers wait already, ErrEnded if the call ends
// before.
//
// It is a re-INVITE. Before the call is answered it is an UPDATE (RFC 3311), or
// part of the PRACK of a reliable response (RFC 3262), as soon as a first
// offer has been answered reliably; where that does not happen, or the peer
// does not take UPDATE, it waits until the call is answered.
func (c *Call) Renegotiate(ctx context.Context, o offeranswer.Options) error {
	return c.await(ctx, func(now time.Time, done func(time.Time, error)) { c.m.Reoffer(now, o, done) })
}

func (c *Call) run(ctx context.Context, fn func(now time.Time)) error {
	return publicError("call", c.ua.ep.Run(ctx, fn))
}

// try runs what is done at once, or is refused.
func (c *Call) try(ctx context.Context, fn func(now time.Time) error) error {
	var err error
	if e := c.run(ctx, func(now time.Time) { err = fn(now) }); e != nil {
		return e // fn may still run
	}
	return err
}

// await runs an operation of the machine and waits for its outcome.
func (c *Call) await(ctx context.Context, fn func(now time.Time, done func(time.Time, error))) error {
	result := make(chan error, 1)
	if err := c.run(ctx, func(now time.Time) {
		fn(now, func(_ time.Time, err error) { result <- err })
	}); err != nil {
		return err
	}
	select {
	case err := <-result:
		return publicError("INVITE", err)
	case <-c.done:
		select {
		case err := <-result:
			return publicError("INVITE", err)
		default:
			return ErrEnded
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
