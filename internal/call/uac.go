package call

import (
	"context"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Start says whom an outgoing call goes to and as whom.
type Start struct {
	To       sipgo.Uri
	As       *sipgo.Uri // To header field, where it is not To; nil: it is
	From     sipgo.Uri
	FromName string
	Routes   []string // preloaded route set (Service-Route, outbound proxy), each a name-addr
	Headers  []sipgo.Header
	Options  offeranswer.Options
	CallID   string // "": drawn
}

// New makes an outgoing call, which stands still until Dial.
func New(env Env, t Timers, s Start) *Call {
	c := newCall(env, t)
	c.out, c.state = true, Calling
	if c.id = s.CallID; c.id == "" {
		c.id = env.ID(24)
	}
	c.localTag = env.ID(12)
	c.cseq = 1 + uint32(env.Float()*(1<<16))

	target := *s.To.Clone()
	target.Headers = nil
	req := sipgo.NewRequest(sipgo.INVITE, target)
	if s.As != nil {
		target = *s.As.Clone()
		target.Headers = nil
	}
	for _, r := range s.Routes {
		req.AppendHeader(sipgo.NewHeader("Route", r))
	}
	maxForwards := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	req.AppendHeader(&sipgo.FromHeader{DisplayName: s.FromName, Address: s.From, Params: sipgo.HeaderParams{{K: "tag", V: c.localTag}}})
	req.AppendHeader(&sipgo.ToHeader{Address: target})
	callID := sipgo.CallIDHeader(c.id)
	req.AppendHeader(&callID)
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: c.cseq, MethodName: sipgo.INVITE})
	for _, h := range s.Headers {
		req.AppendHeader(h)
	}
	env.Decorate(req)
	c.session.ask(req)
	c.invite = req
	return c
}

// Dial makes the offer and sends the INVITE.
func (c *Call) Dial(now time.Time, o offeranswer.Options) {
	c.env.Event(now, c, Event{Kind: StateChanged, State: Calling})
	c.holding.remember(o.Direction)
	o = c.holding.beginning(o)
	var sdp []byte
	var err error
	c.do(now, func(ctx context.Context) {
		if err = c.makeMedia(ctx); err == nil {
			sdp, err = c.made.Offer(ctx, o)
		}
	}, func(now time.Time) {
		if err != nil {
			c.finish(now, End{By: Network, Err: err})
			return
		}
		if sdp != nil {
			setSDP(c.invite, sdp)
		}
		if contact := c.env.Contact(nil); contact != nil {
			c.invite.AppendHeader(contact)
		}
		c.client = c.env.Request(now, nil, c.invite, (*inviteHandler)(c))
		c.hope(now)
	})
}

// inviteHandler takes the responses to the initial INVITE.
type inviteHandler Call

func (h *inviteHandler) NextCSeq() uint32 {
	h.cseq++
	return h.cseq
}

func (h *inviteHandler) Failed(now time.Time, err error) {
	c := (*Call)(h)
	c.finalSeen = true
	if c.state == Ended {
		c.release(now)
		return
	}
	end := End{By: Network, Err: err}
	if c.ending != nil {
		end = *c.ending
	}
	c.finish(now, end)
}

func (h *inviteHandler) Response(now time.Time, flow transaction.Flow, r *sipgo.Response) {
	c := (*Call)(h)
	switch {
	case r.StatusCode < 200:
		c.provisional(now, flow, r)
	case r.StatusCode < 300:
		c.accepted(now, flow, r)
	default:
		c.finalSeen = true
		if c.state == Ended {
			c.release(now)
			return
		}
		if c.active != nil {
			return // a fork answered before
		}
		if r.StatusCode == statusSmall && c.ending == nil && c.session.grow(r) {
			c.redial(now)
			return
		}
		end := endOf(r)
		if c.ending != nil {
			end.By, end.Err = c.ending.By, c.ending.Err
			end.Reasons = c.ending.Reasons
		}
		c.finish(now, end)
	}
}

// redial sends the INVITE again with a larger session interval: the same
// Call-ID, From and To, another number (RFC 4028 §7.3, RFC 3261 §8.1.3.5).
func (c *Call) redial(now time.Time) {
	for len(c.legs) > 0 {
		c.legs[0].drop(now) // the final response has ended the early dialogs
	}
	req := c.invite.Clone()
	for req.RemoveHeader("Via") {
	}
	c.cseq++
	req.ReplaceHeader(&sipgo.CSeqHeader{SeqNo: c.cseq, MethodName: sipgo.INVITE})
	c.session.ask(req)
	c.invite, c.finalSeen = req, false
	c.client = c.env.Request(now, nil, req, (*inviteHandler)(c))
}

// endOf is what a final response makes of a call.
func endOf(r *sipgo.Response) End {
	end := End{By: Remote, Status: r.StatusCode, Phrase: r.Reason, Reasons: sipwire.Reasons(r)}
	end.After, _ = sipwire.RetryAfter(r)
	if r.IsRedirection() {
		end.Contacts = contactsByQ(r)
	}
	return end
}

// silenceLimit is how long an INVITE waits after its latest provisional response.
// A callee says something every minute (RFC 3261 §13.3.1.1), and a proxy that
// hears nothing gives up after little more than three (Timer C, §16.6): by now
// nobody is left who could answer.
const silenceLimit = 4 * time.Minute

// hope waits for the next response to the INVITE.
func (c *Call) hope(now time.Time) {
	if c.finalSeen || c.state == Ended {
		return
	}
	if c.silence.F == nil {
		c.silence.F = func(now time.Time) { c.giveUp(now, End{By: Network, Err: transaction.ErrTimeout}) }
	}
	c.env.Timers().Set(&c.silence, now.Add(silenceLimit))
}

// statusTerminated says that its early dialog is over, and nothing of the INVITE
// (RFC 6228 §4).
const statusTerminated = 199

func (c *Call) provisional(now time.Time, flow transaction.Flow, r *sipgo.Response) {
	if c.active == nil && c.ending == nil {
		c.hope(now)
	}
	if c.state == Ended || c.active != nil || c.ending != nil || r.StatusCode == 100 {
		return
	}
	var l *leg
	if tag := sipwire.ToTag(r); tag != "" {
		if l = c.legFor(tag); l == nil {
			if r.StatusCode == statusTerminated && !sipwire.HasToken(r, "Require", option100rel) {
				return // never heard of
			}
			if len(c.legs) >= maxLegs {
				return
			}
			l = c.fromResponse(flow, r)
		} else {
			l.refresh(r)
		}
	}
	var rseq uint32
	if l != nil {
		var ok bool
		if rseq, ok = l.numbered(r); !ok {
			return
		}
	}
	if l != nil && r.StatusCode == statusTerminated {
		if rseq != 0 {
			l.acknowledgeReliably(now, r, rseq)
		}
		l.drop(now)
		c.next(now)
		return
	}
	if l != nil {
		l.says(r)
	}
	c.setState(now, Ringing)
	c.env.Event(now, c, Event{Kind: Progress, Status: r.StatusCode, Reason: r.Reason})
	if l != nil {
		c.forked(now)
	}
	if rseq != 0 {
		l.acknowledgeReliably(now, r, rseq)
		c.next(now) // an early offer may go now
		return
	}
	if l == nil || len(c.mediaOps) >= maxOps {
		return
	}
	if c.invite.Body() == nil {
		return // an offer only counts in a reliable response (RFC 3261 §13.2.1)
	}
	// An answer in an unreliable 1xx is a promise of the one in the 2xx, and
	// good enough to hear early media (RFC 3261 §13.2.1).
	if sdp, err := SDP(r); err == nil && sdp != nil && string(sdp) != l.lastSDP && !l.exchanged {
		l.lastSDP = string(sdp)
		l.setAnswer(now, sdp, true, func(time.Time, error) {})
	}
}

// accepted takes a 2xx: the first makes the call, others are acknowledged and
// ended (RFC 3261 §13.2.2.4).
func (c *Call) accepted(now time.Time, flow transaction.Flow, r *sipgo.Response) {
	c.finalSeen = true
	c.env.Timers().Stop(&c.silence)
	cseq := c.cseq
	if h := r.CSeq(); h != nil {
		cseq = h.SeqNo
	}
	l := c.legFor(sipwire.ToTag(r))
	if l != nil && l.first != nil {
		l.first.again(now, l) // our ACK was lost
		return
	}
	if l == nil {
		if len(c.legs) >= maxLegs && !c.makeRoom(now) {
			return
		}
		l = c.fromResponse(flow, r)
	}
	l.flow, l.confirmed, l.localCSeq = flow, true, max(l.localCSeq, c.cseq)
	l.refresh(r)
	l.recordRoute(r, true) // RFC 3261 §13.2.2.4: computed anew from the 2xx
	l.first = l.owe(c.client, cseq)
	wanted := c.active == nil && c.ending == nil && c.state != Ended
	switch late := c.invite.Body() == nil && !l.settled; {
	case !late:
		l.acknowledge(now, nil)
	case !wanted:
		sdp, _ := SDP(r)
		l.acknowledge(now, declined(sdp))
	}

	if !wanted {
		// A fork came second, or the CANCEL was too late.
		var reasons []Reason
		if c.ending != nil {
			reasons = c.ending.Reasons
		}
		l.bye(now, reasons)
		if c.ending != nil && c.state != Ended {
			c.finish(now, *c.ending)
		} else {
			c.release(now)
		}
		return
	}
	c.active = l
	c.sessionAgreed(now, r)
	for i := len(c.legs) - 1; i >= 0; i-- {
		if other := c.legs[i]; other != l {
			other.drop(now)
		}
	}
	c.settle(now, l, r)
}

// makeRoom forgets an early dialog for one that is confirmed.
func (c *Call) makeRoom(now time.Time) bool {
	for _, l := range c.legs {
		if !l.confirmed {
			l.drop(now)
			return true
		}
	}
	return false
}

// settle completes the offer/answer exchange of the 2xx that made the call.
// It may carry another description than its own unreliable 183 did, and wins.
// After a reliable answer it has no say: "the UAC MUST treat the first session
// description it receives as the answer, and MUST ignore any session
// descriptions in subsequent responses to the initial INVITE" (RFC 3261 §13.2.1).
func (c *Call) settle(now time.Time, l *leg, r *sipgo.Response) {
	established := func(now time.Time, err error) {
		if err != nil {
			c.drop(now, End{By: Network, Err: err, Reasons: reasonOf(err)})
			return
		}
		c.noteHold(now, l) // of what was agreed before it was the call
		c.setState(now, Established)
		c.next(now)
	}
	sdp, err := SDP(r)
	if l.owed != nil {
		c.answerLate(now, l, sdp, err, established)
		return
	}
	if l.settled {
		established(now, nil) // in the PRACK
		return
	}
	if err == nil && sdp == nil && l.lastSDP != "" {
		sdp = []byte(l.lastSDP) // some repeat it only in the 18x
	}
	if err == nil && sdp == nil && c.invite.Body() != nil {
		err = ErrAnswer
	}
	switch {
	case l.exchanged:
		l.setFirst(now, sdp, err, established)
	case err != nil || sdp == nil:
		established(now, err)
	default:
		l.setAnswer(now, sdp, false, established)
	}
}

// giveUp abandons an outgoing call that was not answered: CANCEL once
// something was heard, and BYE if the 2xx is faster (RFC 3261 §9.1, §15).
func (c *Call) giveUp(now time.Time, end End) {
	if c.ending != nil {
		return
	}
	c.ending = &end
	if c.client == nil {
		c.finish(now, end)
		return
	}
	headers := make([]sipgo.Header, 0, len(end.Reasons))
	for _, r := range end.Reasons {
		headers = append(headers, sipgo.NewHeader("Reason", r.String()))
	}
	c.client.Cancel(now, headers...)
}
