package call

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Hangup ends the call in whatever way its state needs: CANCEL, a refusal, or
// BYE. The reasons go into the Reason header (RFC 3326). It is idempotent.
func (c *Call) Hangup(now time.Time, reasons ...Reason) {
	end := End{By: Local, Reasons: reasons}
	switch {
	case c.server != nil && c.state != Ended:
		// Not answered: 603, as the user declines (RFC 3261 §21.6.2).
		headers := make([]sipgo.Header, 0, len(reasons))
		for _, r := range reasons {
			headers = append(headers, sipgo.NewHeader("Reason", r.String()))
		}
		end.Status = sipgo.StatusGlobalDecline
		c.refuse(now, end.Status, "", end, headers...)
	default:
		c.drop(now, end)
	}
}

// drop ends a confirmed dialog with a BYE, or whatever there is instead.
func (c *Call) drop(now time.Time, end End) {
	switch {
	case c.state == Ended:
	case c.server != nil:
		c.refuse(now, sipgo.StatusInternalServerError, "", end)
	case c.accept != nil && c.state == Answering:
		// "The callee's UA MUST NOT send a BYE on a confirmed dialog until
		// it has received an ACK for its 2xx response" (RFC 3261 §15).
		if c.ending == nil {
			c.ending = &end
		}
	case c.active != nil && c.active.confirmed:
		c.active.bye(now, end.Reasons)
		c.finish(now, end)
	default:
		c.giveUp(now, end)
	}
}

// OnRequest takes a request within the call's dialogs: BYE, INVITE, UPDATE, PRACK.
// Other methods are the caller's business, after Sequence.
func (c *Call) OnRequest(now time.Time, s *transaction.Server) {
	req := s.Request()
	if l := c.legFor(sipwire.FromTag(req)); l != nil && l.over && req.Method == sipgo.BYE {
		// Both ended it at once (RFC 5407 §3.2.1).
		c.respond(now, s, c.response(s, sipgo.StatusOK, ""))
		return
	}
	l, ok := c.sequence(now, s)
	if !ok {
		return
	}
	switch req.Method {
	case sipgo.BYE:
		c.respond(now, s, c.response(s, sipgo.StatusOK, ""))
		c.byeReceived(now, l, req)
	case sipgo.INVITE, sipgo.UPDATE:
		c.reofferReceived(now, l, s)
	case sipgo.PRACK:
		c.pracked(now, l, s)
	default:
		c.respond(now, s, c.response(s, sipgo.StatusMethodNotAllowed, ""))
	}
}

// Sequence finds the dialog of a request and checks its number (RFC 3261
// §12.2.2). It answers itself, and returns false, where one of both is wrong.
func (c *Call) Sequence(now time.Time, s *transaction.Server) bool {
	_, ok := c.sequence(now, s)
	return ok
}

func (c *Call) sequence(now time.Time, s *transaction.Server) (*leg, bool) {
	req := s.Request()
	l := c.legFor(sipwire.FromTag(req))
	cseq := req.CSeq()
	if l == nil || l.over || cseq == nil || c.state == Ended {
		c.respond(now, s, c.response(s, sipgo.StatusCallTransactionDoesNotExists, ""))
		return nil, false
	}
	if l.haveRemoteCSeq && cseq.SeqNo < l.remoteCSeq {
		// Where several PRACKs are under way, one may overtake the other. The
		// RAck says what each is about; one refused would not be sent again
		// (RFC 3262 §4), and the call end for want of it.
		if req.Method != sipgo.PRACK || c.reliable.acknowledged(sipwire.Header(req, "RAck"), c.invite.CSeq()) < 0 {
			c.respond(now, s, c.response(s, sipgo.StatusInternalServerError, "CSeq out of order"))
			return nil, false
		}
	} else {
		l.remoteCSeq, l.haveRemoteCSeq = cseq.SeqNo, true
	}
	// The dialog lives where the peer's latest request came from (a flow
	// that was replaced, RFC 5626 §5.3).
	l.flow = s.Flow()
	return l, true
}

func (c *Call) byeReceived(now time.Time, l *leg, bye *sipgo.Request) {
	end := End{By: Remote, Reasons: sipwire.Reasons(bye)}
	switch {
	case c.server != nil:
		// An early dialog ended by its caller: the INVITE still wants its
		// answer (RFC 3261 §15.1.2).
		c.refuse(now, sipgo.StatusRequestTerminated, "", end)
	case l == c.active && l.confirmed:
		c.finish(now, end)
	case c.out && c.active == nil:
		l.drop(now) // one early dialog of many; the INVITE goes on
	}
}

// reofferReceived takes a re-INVITE or an UPDATE.
func (c *Call) reofferReceived(now time.Time, l *leg, s *transaction.Server) {
	req := s.Request()
	invite := req.Method == sipgo.INVITE
	sdp, err := SDP(req)
	if err == nil && l.confirmed {
		err = c.session.tooSmall(req)
	}
	if err != nil {
		c.explain(now, s, err)
		return
	}
	switch c.untimely(l, req.Method, sdp != nil) {
	case sipgo.StatusInternalServerError:
		c.respondBusy(now, s)
		return
	case sipgo.StatusRequestPending:
		c.respond(now, s, c.response(s, sipgo.StatusRequestPending, ""))
		return
	}
	l.refresh(req)
	if sdp != nil && !l.confirmed {
		l.settled = true
	}
	if !invite && sdp == nil {
		c.accept2xx(now, l, s, nil, false)
		return
	}
	c.inward = s
	if invite && c.accept != nil {
		// Nobody makes a re-INVITE before he has our 2xx, so its ACK was
		// overtaken, or is lost (RFC 5407 §3.1.4).
		c.accept.stop(c)
		c.accept = nil
		if c.acknowledged(now); c.state == Ended {
			return // a hang-up waited for that; finish has answered
		}
	}
	ready := func(now time.Time, answer []byte, err error) {
		if c.inward != s {
			return
		}
		c.inward = nil
		if err != nil {
			// The session stays as it was (RFC 3261 §14.2).
			c.respond(now, s, c.response(s, StatusOf(err), ""))
			c.next(now)
			return
		}
		c.accept2xx(now, l, s, answer, sdp == nil)
		if !invite {
			c.next(now)
		}
	}
	if sdp != nil {
		c.makeAnswer(now, l, sdp, offeranswer.Options{}, ready)
	} else {
		// A peer that asks for an offer in mid-call is often a server that
		// joins us with somebody else, who is not to know the keys of before.
		c.makeOffer(now, l, offeranswer.Options{NewKeys: true}, c.holding.wish, ready)
	}
}

// untimely tells how an INVITE or UPDATE is refused that comes while another
// exchange is open: with 491 where the offer is ours, with 500 where it is the
// peer's (RFC 3261 §14.2, RFC 3311 §5.2). 0: it is not.
func (c *Call) untimely(l *leg, method sipgo.RequestMethod, offer bool) int {
	exchange := method == sipgo.INVITE || offer // otherwise it only refreshes
	switch {
	case c.inward != nil:
		if exchange || c.inward.Request().Method == method {
			return sipgo.StatusInternalServerError
		}
	case c.reoff != nil && c.reoff.l == l && c.reoff.active() && exchange:
		return sipgo.StatusRequestPending
	case l != c.active || !l.confirmed:
		switch {
		case !exchange, l.exchanged && l.firm && method == sipgo.UPDATE: // RFC 3311 §5.1
		case c.out:
			return sipgo.StatusRequestPending
		default:
			return sipgo.StatusInternalServerError
		}
	case c.accept != nil && c.accept.offered && exchange:
		return sipgo.StatusRequestPending
	}
	return 0
}

func (c *Call) accept2xx(now time.Time, l *leg, s *transaction.Server, sdp []byte, offer bool) {
	r := c.response(s, sipgo.StatusOK, "")
	if contact := c.env.Contact(l.flow); contact != nil {
		r.AppendHeader(contact)
	}
	if sdp != nil {
		setSDP(r, sdp)
	}
	if l.confirmed {
		c.answerSession(now, s.Request(), r)
	}
	if s.Request().Method == sipgo.INVITE {
		c.send2xx(now, l, s, r, offer)
		return
	}
	c.respond(now, s, r)
}

// respondBusy: "a UAS that receives a second INVITE before it sends the final
// response to a first INVITE with a lower CSeq sequence number on the same
// dialog MUST return a 500 (Server Internal Error) response to the second
// INVITE and MUST include a Retry-After header field with a randomly chosen
// value of between 0 and 10 seconds" (RFC 3261 §14.2; RFC 3311 §5.2 for UPDATE).
func (c *Call) respondBusy(now time.Time, s *transaction.Server) {
	r := c.response(s, sipgo.StatusInternalServerError, "")
	r.AppendHeader(sipgo.NewHeader("Retry-After", string('0'+rune(c.env.Float()*10))))
	c.respond(now, s, r)
}
