// Package call is the call machine: one user's call with its dialogs, its
// offer/answer exchanges and its end (RFC 3261 §12 to §15, RFC 3264,
// RFC 3326).
//
// A [Call] has no clock, no goroutine and no socket. It is driven from one
// loop: by its user (Dial, Ring, Answer, Reject, Hangup, Reoffer), by the
// network (responses to what it sent, OnRequest, OnAck), by media (the end of
// an operation) and by its timers. What it wants done it asks of its [Env].
//
//	outgoing                                incoming
//
//	 Calling ──18x──▶ Ringing                Incoming ──Ring──▶ Ringing
//	    │                │                       │                 │
//	    └───────2xx──────┤                       └──────Answer─────┤
//	                     │                                         ▼
//	                     │                                     Answering
//	                     ▼                                         │ACK
//	                Established ◀──────────────────────────────────┘
//	                     │ BYE, failure
//	                     ▼
//	 any ──CANCEL──▶   Ended
//
// # Media never hold the machine up
//
// Operations on media may block, so they run outside the loop, one after the
// other, and come back as a call of the machine. Whatever happens meanwhile
// (CANCEL, BYE, another response) is handled at once; a result that comes too
// late is dropped, and the media closed.
package call

import (
	"context"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Env is the surroundings of a call. All of it is called in the loop and
// calls back in the loop.
type Env interface {
	// Request sends a request; flow may be nil for what starts a dialog.
	Request(now time.Time, flow transaction.Flow, req *sipgo.Request, h RequestHandler) Outgoing
	// Ack sends the ACK of a 2xx, with the credentials of its INVITE (RFC 3261
	// §22.1), or sends it again as it was.
	Ack(now time.Time, flow transaction.Flow, ack *sipgo.Request, invite Outgoing)
	// Contact is our address for a dialog that lives on flow, nil where the
	// flow is yet to be chosen.
	Contact(flow transaction.Flow) *sipgo.ContactHeader
	// Decorate adds what every request or response of ours says: Allow,
	// Supported, User-Agent.
	Decorate(m sipgo.Message)
	// Timers is the loop's queue.
	Timers() *timerq.Queue
	// ID draws an identifier of n signs; Float draws from [0,1).
	ID(n int) string
	Float() float64
	// Go runs work outside the loop and then done in it. abort runs instead
	// of done if the loop has ended.
	Go(work func(), done func(now time.Time), abort func())
	// NewMedia makes the media of this call; runs outside the loop.
	NewMedia(ctx context.Context, notify func(offeranswer.Event)) (offeranswer.Media, error)
	// Post brings fn into the loop from anywhere, without blocking for long.
	Post(fn func(now time.Time))
	// Event tells the user.
	Event(now time.Time, c *Call, e Event)
	// Ended tells that no more requests for this call are expected, and the
	// call can be forgotten.
	Ended(now time.Time, c *Call)
}

// RequestHandler gets what becomes of a request.
type RequestHandler interface {
	Response(now time.Time, flow transaction.Flow, r *sipgo.Response)
	Failed(now time.Time, err error)
	NextCSeq() uint32
}

// Outgoing is a request under way.
type Outgoing interface {
	// Cancel ends an INVITE (RFC 3261 §9.1).
	Cancel(now time.Time, headers ...sipgo.Header)
}

// Timers are the base timers of RFC 3261 §17.1.1.1, and what is wanted of
// session timers.
type Timers struct {
	T1, T2  time.Duration
	Session SessionTimer
}

// Limits of what a peer can make a call keep.
const (
	maxLegs    = 32 // early dialogs of one INVITE
	maxPending = 8  // offers of ours that wait for their turn
	maxOps     = 32 // operations on media that wait, before early answers are passed over
)

// Call is one call. Its fields are for the loop alone.
type Call struct {
	env    Env
	timers Timers
	state  State
	out    bool // we are the caller

	id       string // Call-ID
	localTag string

	legs   []*leg
	active *leg // the dialog that became the call
	heard  *leg // the early dialog whose media are heard

	invite    *sipgo.Request    // the initial INVITE, sent or received
	client    Outgoing          // outgoing: the INVITE under way
	cseq      uint32            // of the INVITE before there is a dialog
	finalSeen bool              // outgoing: the INVITE has its final response
	lost      map[string]uint32 // outgoing: see Numbers
	silence   timerq.Timer      // until an INVITE that nobody answers is given up

	server   *transaction.Server // incoming: the INVITE until its final response
	offer    []byte              // incoming: the offer in the INVITE
	early    bool                // incoming: an answer was sent in a 183
	alert    *alert              // incoming: the latest provisional response
	offered  bool                // incoming: the offer went out in a reliable response
	reliable *reliable           // incoming: what waits for a PRACK
	accept   *accepted           // a 2xx of ours that waits for its ACK
	inward   *transaction.Server // the peer's re-INVITE or UPDATE being answered
	reoff    *reoffer            // our re-INVITE under way
	queued   []*reoffer
	holding  holding
	session  session

	media    offeranswer.Media // as the loop knows it
	made     offeranswer.Media // as the operation under way sees it
	mediaOps []mediaOp
	mediaRun bool
	ctx      context.Context // ends with the call; for media
	cancel   context.CancelFunc

	promises []*promise // told at the latest when the call ends

	byes     int  // not answered yet
	ending   *End // wanted by the user; waits for a response or an ACK
	end      End
	released bool
}

func newCall(env Env, t Timers) *Call {
	if t.T1 == 0 {
		t.T1 = 500 * time.Millisecond
	}
	if t.T2 == 0 {
		t.T2 = 4 * time.Second
	}
	c := &Call{env: env, timers: t}
	c.session.cfg = t.Session
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// ID is the Call-ID.
func (c *Call) ID() string { return c.id }

// LocalTag is our tag, which with the Call-ID names the call.
func (c *Call) LocalTag() string { return c.localTag }

// State is where the call stands.
func (c *Call) State() State { return c.state }

// Outgoing tells whether we are the caller.
func (c *Call) Outgoing() bool { return c.out }

// Invite is the initial INVITE.
func (c *Call) Invite() *sipgo.Request { return c.invite }

// Media is the call's media, nil before there are any.
func (c *Call) Media() offeranswer.Media { return c.media }

// End says how the call ended; meaningful when State is Ended.
func (c *Call) End() End { return c.end }

// Flow is the flow that the call's dialog lives on, nil before there is one.
func (c *Call) Flow() transaction.Flow {
	if c.active == nil {
		return nil
	}
	return c.active.flow
}

// RemoteTag is the peer's tag in the call's dialog, "" before there is one.
func (c *Call) RemoteTag() string {
	if c.active == nil {
		return ""
	}
	return c.active.remoteTag
}

// Confirmed tells whether the call was accepted: a 2xx came or went.
func (c *Call) Confirmed() bool { return c.active != nil && c.active.confirmed }

// Streams describes the agreed media of the call. In the loop it may lag
// behind an operation under way.
func (c *Call) Streams() []offeranswer.Stream {
	if c.active == nil {
		return nil
	}
	return c.active.streams
}

func (c *Call) setState(now time.Time, s State) {
	if c.state == s {
		return
	}
	c.state = s
	c.env.Event(now, c, Event{Kind: StateChanged, State: s})
}

// finish ends the call for its user. What is still on its way (the answer to
// a BYE, a late 2xx) is dealt with by the legs.
func (c *Call) finish(now time.Time, end End) {
	if c.state == Ended {
		return
	}
	c.end, c.state = end, Ended
	c.cancel()
	c.env.Timers().Stop(&c.silence)
	c.alert.stop(c)
	c.alert = nil
	c.reliable.stop(c)
	c.session.stop(c)
	queued := c.queued
	c.queued = nil
	for _, r := range queued {
		r.finish(now, ErrEnded)
	}
	if r := c.reoff; r != nil {
		c.reoff = nil
		c.env.Timers().Stop(&r.glare)
		if r.out != nil && r.method == sipgo.INVITE {
			r.out.Cancel(now) // the peer may have forgotten it with the call
		}
		r.finish(now, ErrEnded)
	}
	if s := c.inward; s != nil {
		c.inward = nil
		c.respond(now, s, c.response(s, sipgo.StatusRequestTerminated, ""))
	}
	c.closeMedia(now)
	for len(c.promises) > 0 {
		c.promises[0].tell(now, c, ErrEnded)
	}
	c.env.Event(now, c, Event{Kind: StateChanged, State: Ended})
	c.release(now)
}

// promise is a callback of the user's, told once: what became of its
// operation or, at the latest, that the call has ended.
type promise struct {
	done func(now time.Time, err error)
}

func (c *Call) promise(done func(now time.Time, err error)) *promise {
	p := &promise{done}
	c.promises = append(c.promises, p)
	return p
}

func (p *promise) tell(now time.Time, c *Call, err error) {
	if i := slices.Index(c.promises, p); i >= 0 {
		c.promises = slices.Delete(c.promises, i, i+1)
		p.done(now, err)
	}
}

// Abort ends the call without a word to anybody, as when its user agent goes.
// Late answers to what was sent before are still acknowledged, and ended.
func (c *Call) Abort(now time.Time, err error) {
	c.accept.stop(c)
	c.accept = nil
	c.finish(now, End{By: Network, Err: err})
}

// release lets the call be forgotten once its BYE is answered, its 2xx is
// acknowledged and no late one can come any more.
func (c *Call) release(now time.Time) {
	if c.state != Ended || c.released || c.byes > 0 || c.accept != nil || c.out && c.client != nil && !c.finalSeen {
		return
	}
	c.released = true
	c.env.Ended(now, c)
}

// Moved tells that a flow was replaced. What the call has to say next goes
// over the new one: requests, and the answers to those that came over the old
// one and were not answered yet.
func (c *Call) Moved(from, to transaction.Flow) {
	for _, l := range c.legs {
		if l.flow == from {
			l.flow = to
		}
	}
	servers := []*transaction.Server{c.server, c.inward}
	if c.accept != nil {
		servers = append(servers, c.accept.s)
	}
	for _, s := range servers {
		if s != nil && s.Flow() == from {
			s.SetFlow(to)
		}
	}
}

// legFor finds the dialog with the peer's tag.
func (c *Call) legFor(remoteTag string) *leg {
	for _, l := range c.legs {
		if l.remoteTag == remoteTag {
			return l
		}
	}
	return nil
}

// response makes a response to s with our tag.
func (c *Call) response(s *transaction.Server, status int, reason string) *sipgo.Response {
	return sipwire.ResponseTo(s.Request(), status, reason, c.localTag)
}

func (c *Call) respond(now time.Time, s *transaction.Server, r *sipgo.Response) {
	c.env.Decorate(r)
	s.Respond(now, r)
}
