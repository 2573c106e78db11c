package call

import (
	"context"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// NewIncoming makes the call of an INVITE that came. Nothing is said to the
// caller yet; the transaction sends 100 by itself. A body that cannot be
// understood is an error that means an answer (RFC 3261 §8.2.3).
func NewIncoming(env Env, t Timers, s *transaction.Server) (*Call, error) {
	offer, err := SDP(s.Request())
	if err != nil {
		return nil, err
	}
	c := newCall(env, t)
	if err := c.session.tooSmall(s.Request()); err != nil {
		return nil, err
	}
	c.state, c.server, c.invite, c.offer = Incoming, s, s.Request(), offer
	c.localTag = env.ID(12)
	if id := c.invite.CallID(); id != nil {
		c.id = string(*id)
	}
	s.User = (*serverUser)(c)
	c.active = c.fromRequest(s.Flow(), c.invite)
	return c, nil
}

// ringLimit is how long a call rings whose INVITE does not say how long it is
// valid: a CANCEL can get lost with the server that sent it.
const ringLimit = 10 * time.Minute

// Limit starts the time within which an incoming call has to be answered:
// the INVITE's Expires, after which it gets 487 (RFC 3261 §13.3.1), or
// ringLimit, and 480. Nobody has refused it then: it was missed.
func (c *Call) Limit(now time.Time) {
	status, limit := sipgo.StatusTemporarilyUnavailable, ringLimit
	if d, ok := sipwire.Seconds(c.invite, "Expires"); ok && d > 0 && d <= limit {
		status, limit = sipgo.StatusRequestTerminated, d
	}
	c.silence.F = func(now time.Time) {
		if c.server != nil && (c.state == Incoming || c.state == Ringing) {
			c.refuse(now, status, "", End{By: Remote})
		}
	}
	c.env.Timers().Set(&c.silence, now.Add(limit))
}

// Of is the call that an INVITE's server transaction belongs to.
func Of(s *transaction.Server) (*Call, bool) {
	u, ok := s.User.(*serverUser)
	return (*Call)(u), ok
}

// serverUser hears of the end of the INVITE's server transaction.
type serverUser Call

func (u *serverUser) Done(time.Time, *transaction.Server) {}

// Failed: no ACK came for a refusal. The call is over as it was.
func (u *serverUser) Failed(time.Time, *transaction.Server, error) {}

// Ring tells the caller that the user is being alerted (180), or something
// else that is provisional. In a dialog of its own from then on.
func (c *Call) Ring(now time.Time, status int, reason string, headers ...sipgo.Header) error {
	if c.server == nil || c.state != Incoming && c.state != Ringing || status <= 100 || status >= 200 {
		return ErrState
	}
	r := c.response(c.server, status, reason)
	c.dialogHeaders(r)
	for _, h := range headers {
		r.AppendHeader(h)
	}
	if c.reliably(false) {
		c.sayReliably(now, r)
		return nil
	}
	c.say(now, r)
	return nil
}

// alert is a provisional response that is sent again every minute: proxies
// give up an INVITE of which they hear nothing for three, and "to prevent
// cancellation, the UAS MUST send a non-100 provisional response at every
// minute" (RFC 3261 §13.3.1.1). One that is sent reliably gets there: every two
// and a half will do (RFC 3262 §3).
type alert struct {
	res   *sipgo.Response
	timer timerq.Timer
}

func (a *alert) reliable() bool { return sipwire.HasToken(a.res, "Require", option100rel) }

func (a *alert) interval() time.Duration {
	if a.reliable() {
		return 150 * time.Second
	}
	return time.Minute
}

func (c *Call) say(now time.Time, r *sipgo.Response) {
	c.respond(now, c.server, r)
	if c.state == Incoming {
		c.setState(now, Ringing)
	}
	if c.alert == nil {
		c.alert = &alert{}
		c.alert.timer.F = c.remind
	}
	c.alert.res = r
	c.env.Timers().Set(&c.alert.timer, now.Add(c.alert.interval()))
}

func (c *Call) remind(now time.Time) {
	a := c.alert
	c.env.Timers().Set(&a.timer, now.Add(a.interval()))
	if !a.reliable() {
		c.server.Respond(now, a.res)
		return
	}
	// With the number that it had it would be taken for a retransmission
	// (RFC 3262 §4). What it described is agreed.
	r := c.response(c.server, a.res.StatusCode, a.res.Reason)
	c.dialogHeaders(r)
	c.sayReliably(now, r)
}

func (a *alert) stop(c *Call) {
	if a != nil {
		c.env.Timers().Stop(&a.timer)
	}
}

// Progress answers the offer in a 183, so that the caller hears us before we
// answer. The description is repeated in the 2xx (RFC 3261 §13.2.1).
func (c *Call) Progress(now time.Time, o offeranswer.Options, done func(now time.Time, err error)) {
	if c.server == nil || c.offer == nil || c.early || c.state != Incoming && c.state != Ringing {
		done(now, ErrState)
		return
	}
	c.early = true
	p := c.promise(done)
	c.makeAnswer(now, c.active, c.offer, o, func(now time.Time, sdp []byte, err error) {
		if err != nil {
			c.early = false
			p.tell(now, c, err)
			return
		}
		c.active.lastSDP = string(sdp)
		if c.state != Answering { // otherwise the 2xx follows at once
			r := c.response(c.server, sipgo.StatusSessionInProgress, "")
			c.dialogHeaders(r)
			setSDP(r, sdp)
			if c.reliably(true) {
				c.sayReliably(now, r)
			} else {
				c.say(now, r)
			}
		}
		p.tell(now, c, nil)
	})
}

// Answer accepts the call. done is told when the 2xx is out, or why not. The
// options are without effect where Progress has answered the offer before.
func (c *Call) Answer(now time.Time, o offeranswer.Options, done func(now time.Time, err error)) {
	if c.server == nil || c.ending != nil || c.state != Incoming && c.state != Ringing {
		done(now, ErrState)
		return
	}
	s, l, p := c.server, c.active, c.promise(done)
	c.setState(now, Answering)
	var ready func(now time.Time, sdp []byte, err error)
	ready = func(now time.Time, sdp []byte, err error) {
		if err != nil {
			p.tell(now, c, err)
			c.refuse(now, StatusOf(err), "", End{By: Network, Err: err})
			return
		}
		if c.reliable.promised() {
			c.reliable.then = append(c.reliable.then, func(now time.Time) { ready(now, sdp, nil) })
			return
		}
		c.reliable.stop(c)
		c.env.Timers().Stop(&c.silence)
		c.server = nil
		c.alert.stop(c)
		c.alert = nil
		r := c.response(s, sipgo.StatusOK, "")
		c.dialogHeaders(r)
		c.answerSession(now, c.invite, r)
		if sdp != nil && !l.exchanged { // else it was said, and PRACK or UPDATE may have changed it
			setSDP(r, sdp)
		}
		l.confirmed = true
		c.send2xx(now, l, s, r, c.offer == nil && !c.offered)
		p.tell(now, c, nil)
	}
	switch {
	case c.early:
		// The same answer as in the 183, once that is done.
		c.do(now, func(context.Context) {}, func(now time.Time) {
			if c.early {
				ready(now, []byte(l.lastSDP), nil)
			} else { // it came to nothing
				c.makeAnswer(now, l, c.offer, o, ready)
			}
		})
	case c.offer != nil:
		c.makeAnswer(now, l, c.offer, o, ready)
	case c.offered:
		// Offer and answer went with a reliable response and its PRACK.
		c.do(now, func(context.Context) {}, func(now time.Time) { ready(now, nil, nil) })
	default:
		c.holding.remember(o.Direction)
		c.makeOffer(now, l, o, c.holding.wish, ready)
	}
}

// makeAnswer answers the peer's offer; what it stages is committed, as our
// answer is under way once ready was told.
func (c *Call) makeAnswer(now time.Time, l *leg, offer []byte, o offeranswer.Options, ready func(now time.Time, sdp []byte, err error)) {
	var sdp []byte
	var streams []offeranswer.Stream
	var err error
	hold := c.holding.wish
	full := c.holding.answering(offer, o, hold)
	c.do(now, func(ctx context.Context) {
		if err = c.makeMedia(ctx); err != nil {
			return
		}
		if err = l.makeMedia(); err != nil {
			return
		}
		if sdp, err = l.media.Answer(ctx, offer, full); err == nil {
			err = l.media.Commit()
			streams = l.media.Streams()
		}
		if err != nil {
			sdp = nil
			l.media.Rollback()
		}
	}, func(now time.Time) {
		if err == nil {
			l.streams, l.held, l.remoteSDP, l.firm, l.answered = streams, hold, string(offer), true, true
			l.narrow = narrowed(streams)
			c.holding.remember(o.Direction)
			c.changed(now, l)
			l.audible(now)
		}
		ready(now, sdp, err)
	})
}

// makeOffer makes an offer within a dialog, with the peer on hold or not.
func (c *Call) makeOffer(now time.Time, l *leg, o offeranswer.Options, hold bool, ready func(now time.Time, sdp []byte, err error)) {
	var sdp []byte
	var err error
	l.holds = hold
	o = c.holding.offering(l.streams, o, hold)
	c.do(now, func(ctx context.Context) {
		if err = c.makeMedia(ctx); err != nil {
			return
		}
		if err = l.makeMedia(); err == nil {
			sdp, err = l.media.Offer(ctx, o)
		}
	}, func(now time.Time) { ready(now, sdp, err) })
}

// dialogHeaders adds what a dialog-forming response needs (RFC 3261 §12.1.1);
// Record-Route is copied by whoever made the response.
func (c *Call) dialogHeaders(r *sipgo.Response) {
	if contact := c.env.Contact(c.active.flow); contact != nil && r.Contact() == nil {
		r.AppendHeader(contact)
	}
}

// Reject refuses the call with a final response of 300 to 699.
func (c *Call) Reject(now time.Time, status int, phrase string, headers ...sipgo.Header) error {
	if c.server == nil || status < 300 || status > 699 {
		return ErrState
	}
	c.refuse(now, status, phrase, End{By: Local, Status: status, Phrase: phrase}, headers...)
	return nil
}

func (c *Call) refuse(now time.Time, status int, phrase string, end End, headers ...sipgo.Header) {
	s := c.server
	c.server = nil
	r := c.response(s, status, phrase)
	for _, h := range headers {
		r.AppendHeader(h)
	}
	if end.Status == status {
		end.Phrase = r.Reason
	}
	c.respond(now, s, r)
	c.finish(now, end)
}

// Cancelled takes the CANCEL of the INVITE, which was itself answered by the
// caller of this function (RFC 3261 §9.2). It is without effect once there is
// a final response.
func (c *Call) Cancelled(now time.Time, cancel *sipgo.Request) {
	if c.server == nil {
		return
	}
	c.refuse(now, sipgo.StatusRequestTerminated, "", End{By: Remote, Reasons: sipwire.Reasons(cancel)})
}

// accepted is a 2xx of ours on its way: sent again until the ACK comes, on
// every transport (RFC 3261 §13.3.1.4).
type accepted struct {
	l        *leg
	s        *transaction.Server
	res      *sipgo.Response
	cseq     uint32
	offered  bool // the 2xx carries an offer: the ACK has the answer
	interval time.Duration
	deadline time.Time
	timer    timerq.Timer
}

func (c *Call) send2xx(now time.Time, l *leg, s *transaction.Server, r *sipgo.Response, offered bool) {
	a := &accepted{l: l, s: s, res: r, offered: offered, interval: c.timers.T1, deadline: now.Add(64 * c.timers.T1)}
	if cseq := s.Request().CSeq(); cseq != nil {
		a.cseq = cseq.SeqNo
	}
	a.timer.F = func(now time.Time) { c.resend2xx(now, a) }
	c.accept = a
	c.respond(now, s, r)
	c.env.Timers().Set(&a.timer, now.Add(a.interval))
}

func (c *Call) resend2xx(now time.Time, a *accepted) {
	if !now.Before(a.deadline) {
		// "If the server retransmits the 2xx response for 64*T1 seconds
		// without receiving an ACK, the dialog is confirmed, but the session
		// SHOULD be terminated" (RFC 3261 §13.3.1.4).
		c.accept = nil
		end := End{By: Network, Err: ErrNoAck}
		if c.ending != nil {
			end = *c.ending // what waited for the ACK
		}
		c.drop(now, end)
		c.release(now)
		return
	}
	a.s.Respond(now, a.res)
	a.interval = min(2*a.interval, c.timers.T2)
	at := now.Add(a.interval)
	if at.After(a.deadline) {
		at = a.deadline
	}
	c.env.Timers().Set(&a.timer, at)
}

func (a *accepted) stop(c *Call) {
	if a != nil {
		c.env.Timers().Stop(&a.timer)
	}
}

// OnAck takes an ACK for a 2xx of this call.
func (c *Call) OnAck(now time.Time, ack *sipgo.Request) {
	a := c.accept
	if a == nil {
		return
	}
	if cseq := ack.CSeq(); cseq == nil || cseq.SeqNo != a.cseq {
		return
	}
	c.accept = nil
	a.stop(c)
	switch {
	case c.state == Ended:
		c.release(now)
		return
	case !a.offered || c.ending != nil:
		c.acknowledged(now)
		return
	}
	sdp, err := SDP(ack)
	if err == nil && sdp == nil {
		err = ErrOffer
	}
	if err != nil {
		c.drop(now, End{By: Network, Err: err})
		return
	}
	a.l.setAnswer(now, sdp, false, func(now time.Time, err error) {
		if err != nil {
			c.drop(now, End{By: Network, Err: err})
			return
		}
		c.acknowledged(now)
	})
}

// acknowledged goes on after an ACK: with the hang-up that waited for it, or
// with the offers that did.
func (c *Call) acknowledged(now time.Time) {
	if c.ending != nil {
		c.drop(now, *c.ending)
		return
	}
	if c.state == Answering {
		c.setState(now, Established)
	}
	c.next(now)
}
