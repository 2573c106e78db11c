package sip

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
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

// Side is who ended a call.
type Side int

// The sides.
const (
	Local  Side = iota + 1 // the user of this call
	Remote                 // the peer, or a server on the way
	Nobody                 // a failure: see the error
)

func (s Side) String() string {
	switch s {
	case Local:
		return "local"
	case Remote:
		return "remote"
	case Nobody:
		return "nobody"
	}
	return "Side(" + strconv.Itoa(int(s)) + ")"
}

// Reason is why a request was sent, as in a Reason header (RFC 3326).
type Reason struct {
	Protocol string // "SIP" or "Q.850"
	Cause    int    // a status code or a Q.850 cause
	Text     string
}

func (r Reason) String() string { return call.Reason(r).String() }

// End says how a call ended.
type End struct {
	By Side
	// Cause is what became of the call, in one word.
	Cause Cause
	// Status is the final response that refused the call, 0 if it was
	// answered or given up.
	Status int
	Phrase string
	// Reasons came or went with the end. {"SIP", 200, …} on a call that rang
	// here says that it was answered elsewhere (RFC 3326 §2).
	Reasons []Reason
	// Err is set where the call did not end by anybody's wish: *StatusError,
	// *TimeoutError, ErrNoAck, what media said, ….
	Err error
}

// Party is one side of a call as its headers name it.
type Party struct {
	URI  string
	Name string // display name
}

// Event is something that happened to a call.
type Event struct {
	Time time.Time
	Kind EventKind
	// State is the new one, of StateChanged.
	State CallState
	// Status and Phrase are the provisional response's, of Progress.
	Status int
	Phrase string
	// Streams are those agreed, of MediaChanged.
	Streams []offeranswer.Stream
	// Digit is the one of DigitReceived.
	Digit Digit
	// Err says more, of MediaTimeout.
	Err error
	// Held says who is on hold now, of HoldChanged.
	Held Hold
	// Forks are those who are called now, of ForksChanged.
	Forks []Fork
}

// EventKind is the kind of an Event.
type EventKind int

// The kinds of events.
const (
	StateChanged EventKind = iota + 1
	Progress               // a provisional response came
	MediaChanged           // an offer/answer exchange was completed: early media too
	MediaStarted           // the peer's first packet came
	MediaTimeout           // the peer's packets stay out
	HoldChanged            // one side was put on hold, or taken back
	ForksChanged           // those who are called are others, or say otherwise
)

// Those that are not of one dialog.
const (
	// PartyChanged tells that the call has moved to another dialog: Call.Remote
	// is who is there now.
	PartyChanged EventKind = iota + 64
)

func (k EventKind) String() string {
	switch k {
	case StateChanged:
		return "state changed"
	case Progress:
		return "progress"
	case MediaChanged:
		return "media changed"
	case MediaStarted:
		return "media started"
	case MediaTimeout:
		return "media timeout"
	case DigitReceived:
		return "digit received"
	case HoldChanged:
		return "hold changed"
	case ForksChanged:
		return "forks changed"
	case PartyChanged:
		return "party changed"
	}
	return "EventKind(" + strconv.Itoa(int(k)) + ")"
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

// DialOptions are the wishes about one call. The zero value has none.
type DialOptions struct {
	// Media is what the offer shall contain.
	Media offeranswer.Options
	// MaxRedirects is how many redirections (3xx) the call follows, to the
	// targets that are named, the most wanted first and none twice (RFC 3261
	// §8.1.3.4). 0 is 5; negative: none, and a 3xx is the call's end.
	MaxRedirects int
	// Replaces asks the callee to let this call take the place of one that he
	// has (RFC 3891), as the side sees it whose place it is. Nil: none. A
	// callee that cannot do it refuses with 420 (Bad Extension).
	Replaces *Dialog
	// EarlyOnly goes with Replaces: only if that call is not answered yet;
	// otherwise it is refused with 486 (Busy Here).
	EarlyOnly bool
	// Join asks the callee to mix this call with one that he has (RFC 3911),
	// as his peer in it sees it. Nil: none. Not together with Replaces.
	Join *Dialog
	// Headers are further header fields of the INVITE, name and value.
	Headers [][2]string
	// DisplayName in From, in place of the account's.
	DisplayName string
	// Anonymous keeps our identity from the callee: From says nothing, the
	// server is asked for privacy (RFC 3323, RFC 3325 §9.3) and told who we
	// are in P-Preferred-Identity, and the Contact is the temporary GRUU,
	// where the server gives one (RFC 5627 §3.1.2).
	Anonymous bool
}

// Dial calls somebody and waits until he has answered. uri is a SIP or tel
// URI, or a user or number at the account's domain. If the context ends before that,
// the call is given up (CANCEL).
//
// Errors are *StatusError (486, 603, …), *TimeoutError, *AuthError,
// *DialError, *CertificateError, *URIError, ErrNoFlow, an error of media, or
// the context's.
func (ua *UA) Dial(ctx context.Context, uri string, o *DialOptions) (*Call, error) {
	c, err := ua.Start(ctx, uri, o)
	if err != nil {
		return nil, err
	}
	if err := c.Answered(ctx); err != nil {
		_ = c.Hangup(ctx)
		return nil, err
	}
	return c, nil
}

// Start begins a call and returns at once: Events and Answered tell how it goes on.
// The context is for the beginning only.
func (ua *UA) Start(ctx context.Context, uri string, o *DialOptions) (*Call, error) {
	if o == nil {
		o = &DialOptions{}
	}
	inv, err := ua.invitation(uri, o)
	if err != nil {
		return nil, err
	}
	c := newCall(ua, Outgoing)
	c.anonymous = o.Anonymous
	refused := false
	err = ua.ep.Run(ctx, func(now time.Time) {
		if refused = ua.draining; refused {
			return
		}
		set := c.outgoing(inv)
		c.begun(set)
		c.local, c.remote = set.local, set.remote
		set.begin(now)
	})
	switch {
	case err != nil:
		// What Run was given may still run, but not after this.
		ua.ep.Post(func(now time.Time) {
			if c.m != nil {
				c.hangup(now)
			}
		})
		return nil, publicError("INVITE", err)
	case refused:
		return nil, ErrClosed
	}
	return c, nil
}

// invitation says in an INVITE what the options wish.
func (ua *UA) invitation(uri string, o *DialOptions) (*invitation, error) {
	to, err := ua.target(uri)
	if err != nil {
		return nil, err
	}
	headers := make([]sipgo.Header, 0, len(o.Headers))
	for _, h := range o.Headers {
		if err := checkHeader(h[0], h[1]); err != nil {
			return nil, err
		}
		headers = append(headers, sipgo.NewHeader(h[0], h[1]))
	}
	if headers, err = appendReferences(headers, o); err != nil {
		return nil, err
	}
	name := o.DisplayName
	if name == "" {
		name = ua.acct.name
	}
	inv := &invitation{to: to, from: ua.acct.aor, name: name, headers: headers, media: o.Media,
		targets: targets{left: redirections(o.MaxRedirects)}}
	if o.Anonymous {
		inv.headers = append(inv.headers, sipgo.NewHeader("Privacy", "id"),
			sipgo.NewHeader("P-Preferred-Identity", sipwire.FormatNameAddr(name, &inv.from, nil)))
		inv.from, inv.name = sipgo.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}, "Anonymous"
	}
	return inv, nil
}

// begin finds the way first, since media have to know the address that the
// peer will see.
func (s *dialogSet) begin(now time.Time) {
	probe := &endpoint.Outgoing{Req: s.m.Invite()}
	(*handler)(s.c.ua).Route(now, probe, func(now time.Time, f *transport.Flow, err error) {
		switch {
		case s.m.State() == call.Ended: // hung up meanwhile
		case err != nil:
			s.m.Abort(now, err)
		default:
			s.c.flow.Store(f)
			s.m.Dial(now, s.inv.media)
		}
	})
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

// Header returns the values of a header field of an incoming call's INVITE;
// nil for outgoing calls.
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

// Streams are the streams agreed on, in the order of the m= lines.
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

// Ring tells the caller that the user is being alerted (180). ErrState after
// Answer or the end.
func (c *Call) Ring(ctx context.Context) error {
	var err error
	if e := c.run(ctx, func(now time.Time) { err = c.m.Ring(now, sipgo.StatusRinging, "") }); e != nil {
		return e
	}
	return err
}

// Progress answers the caller's offer before the call is answered, so that he
// hears us already (183, early media). ErrState where the caller has made no
// offer, the second time, and after Answer or the end.
func (c *Call) Progress(ctx context.Context) error {
	return c.await(ctx, func(now time.Time, done func(time.Time, error)) {
		c.m.Progress(now, offeranswer.Options{}, done)
	})
}

// AnswerOptions are the wishes about an answer. The zero value has none.
type AnswerOptions struct {
	Media offeranswer.Options
}

// Answer accepts an incoming call and waits until the caller has acknowledged it. If
// the context ends first the call goes on being answered; Hangup ends it. The
// error is one of media, if they cannot take the caller's offer; ErrEnded if
// the caller gave up meanwhile; ErrNoAck if he stays silent; ErrState if the
// call was answered before. After Progress the options are without effect.
func (c *Call) Answer(ctx context.Context, o *AnswerOptions) error {
	if o == nil {
		o = &AnswerOptions{}
	}
	err := c.await(ctx, func(now time.Time, done func(time.Time, error)) {
		c.m.Answer(now, o.Media, done)
	})
	if err != nil {
		return err
	}
	return c.Answered(ctx)
}

// Reject refuses an incoming call with a final response of 300 to 699, such
// as 486 (Busy Here), which lets the caller's server try the user's other
// devices, or 603 (Decline), which is for all of them. Reasons go into Reason
// headers. ErrState for another status, and once the call is answered or over.
func (c *Call) Reject(ctx context.Context, status int, reasons ...Reason) error {
	headers := make([]sipgo.Header, len(reasons))
	for i, r := range reasons {
		headers[i] = sipgo.NewHeader("Reason", r.String())
	}
	var err error
	if e := c.run(ctx, func(now time.Time) { err = c.m.Reject(now, status, "", headers...) }); e != nil {
		return e
	}
	return err
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

func internalReasons(rs []Reason) []call.Reason {
	out := make([]call.Reason, len(rs))
	for i, r := range rs {
		out[i] = call.Reason(r)
	}
	return out
}

// checkHeader refuses what would break a message, or belongs to the machine.
func checkHeader(name, value string) error {
	switch {
	case !sipwire.IsToken(name):
		return fmt.Errorf("sip: header field name %q is not a token", name)
	case strings.ContainsAny(value, "\r\n\x00"):
		return fmt.Errorf("sip: header field %s: the value has a line end", name)
	}
	switch strings.ToLower(name) {
	case "content-encoding", "e", "content-disposition", "rack", "rseq", "via", "v", "from", "f", "to", "t", "call-id", "i", "cseq", "max-forwards", "contact", "m", "route", "record-route",
		"content-length", "l", "content-type", "c", "authorization", "proxy-authorization", "allow", "supported", "k", "require",
		"replaces", "join", "refer-to", "r":
		return fmt.Errorf("sip: header field %s is not for the caller to set", name)
	}
	return nil
}
