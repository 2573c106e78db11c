package call

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Reliable provisional responses (RFC 3262).
//
// As caller we acknowledge them, one after the other, with PRACK. As callee
// we send them to who requires it, and to who supports it where they carry a
// session description: a promise that got lost is early media unheard.

// option100rel is the option tag of RFC 3262.
const option100rel = "100rel"

// numbered takes a reliable provisional response and tells whether it counts:
// "if the value of the RSeq is not one higher than the value of the sequence
// number, the response MUST NOT be acknowledged with a PRACK request, and MUST
// NOT be processed further by the UAC" (RFC 3262 §4). So retransmissions fall
// away. A response that is not reliable always counts.
func (l *leg) numbered(r *sipgo.Response) (rseq uint32, ok bool) {
	if !sipwire.HasToken(r, "Require", option100rel) {
		return 0, true
	}
	n, err := strconv.ParseUint(sipwire.Header(r, "RSeq"), 10, 32)
	if err != nil || n == 0 || l.rseq != 0 && uint32(n) != l.rseq+1 {
		return 0, false
	}
	l.rseq = uint32(n)
	return l.rseq, true
}

// acknowledgeReliably answers a reliable provisional response with PRACK, and
// takes its session description: an answer counts like that of a 2xx; an
// offer, where the INVITE had none, is answered in the PRACK (RFC 3262 §5).
func (l *leg) acknowledgeReliably(now time.Time, r *sipgo.Response, rseq uint32) {
	c := l.c
	cseq := c.cseq
	if h := r.CSeq(); h != nil {
		cseq = h.SeqNo
	}
	rack := sipgo.NewHeader("RAck", fmt.Sprintf("%d %d INVITE", rseq, cseq))
	send := func(now time.Time, sdp []byte) { l.prack(now, rack, sdp) }
	sdp, err := SDP(r)
	switch {
	case err != nil || sdp == nil || len(c.mediaOps) >= maxOps || l.exchanged:
		send(now, nil)
	case c.invite.Body() != nil && !l.settled:
		l.lastSDP, l.exchanged = string(sdp), true
		offer := c.forPrack(l)
		if offer == nil {
			send(now, nil)
		}
		l.setAnswer(now, sdp, false, func(now time.Time, err error) {
			switch {
			case offer == nil:
				c.next(now)
			case c.reoff != offer:
				send(now, nil)
			case err != nil:
				l.settled = false // the 2xx may say it better
				c.requeue(offer)
				send(now, nil)
			default:
				offer.offer(now, rack)
			}
		})
	case !l.settled:
		l.settled, l.exchanged = true, true
		c.makeAnswer(now, l, sdp, offeranswer.Options{}, func(now time.Time, answer []byte, err error) {
			send(now, answer) // without one if media refuse: the callee learns of it in our BYE
			if err != nil {
				c.giveUp(now, End{By: Network, Err: err})
			}
		})
	default:
		send(now, nil)
	}
}

// forPrack is the offer that waits for the first exchange in an early dialog,
// which the PRACK then carries: "the UAC MAY generate an additional offer in the
// PRACK" (RFC 3262 §5). nil: there is none.
func (c *Call) forPrack(l *leg) *reoffer {
	if c.reoff != nil || c.inward != nil || len(c.queued) == 0 || !c.queued[0].early() || c.earlyLeg() != l {
		return nil
	}
	r := c.queued[0]
	c.queued = c.queued[1:]
	c.reoff, r.l, r.method = r, l, sipgo.PRACK
	r.glare.F = r.start
	l.settled = true
	return r
}

// prack acknowledges a reliable provisional response.
func (l *leg) prack(now time.Time, rack sipgo.Header, sdp []byte) {
	if l.c.state == Ended || l.over {
		return
	}
	req := l.request(sipgo.PRACK)
	req.AppendHeader(rack)
	if sdp != nil {
		setSDP(req, sdp)
	}
	l.c.env.Request(now, l.flow, req, prackHandler{l})
}

// prackHandler takes the answer to a PRACK, of which nothing depends: the
// INVITE goes on.
type prackHandler struct{ l *leg }

func (prackHandler) Response(time.Time, transaction.Flow, *sipgo.Response) {}
func (prackHandler) Failed(time.Time, error)                               {}
func (h prackHandler) NextCSeq() uint32                                    { h.l.localCSeq++; return h.l.localCSeq }

// reliable are the provisional responses of ours that a PRACK has to answer. A
// second must not be sent before the first is acknowledged; after that several
// may be out (RFC 3262 §3). Those out and those that wait for the first are
// maxPending together; what comes on top is dropped, as a provisional response
// is no promise.
type reliable struct {
	rseq   uint32 // of the latest
	sent   bool   // the first is out, or was
	open   bool   // the first is acknowledged: the others go out at once
	out    []*provisional
	queue  []*sipgo.Response // wait until open
	making bool              // our offer for the first one
	then   []func(now time.Time)
}

// provisional is a reliable response that is out, with its timer.
type provisional struct {
	res      *sipgo.Response
	rseq     uint32
	interval time.Duration
	deadline time.Time
	timer    timerq.Timer
}

// reliably tells whether a provisional response is to be sent reliably.
func (c *Call) reliably(sdp bool) bool {
	return sipwire.HasToken(c.invite, "Require", option100rel) ||
		sdp && sipwire.HasToken(c.invite, "Supported", option100rel)
}

// sayReliably sends a provisional response until a PRACK comes for it.
func (c *Call) sayReliably(now time.Time, r *sipgo.Response) {
	p := c.reliable
	if p == nil {
		p = &reliable{rseq: uint32(c.env.Float() * (1 << 30))}
		c.reliable = p
	}
	if p.making {
		c.do(now, func(context.Context) {}, func(now time.Time) { c.enqueueReliably(now, r) }) // after that
		return
	}
	if c.offer == nil && !c.offered {
		// "If the INVITE request did not contain an offer, the UAS MUST
		// [...] send an offer" in the first reliable response (RFC 3262 §5).
		c.offered, p.making = true, true
		c.makeOffer(now, c.active, offeranswer.Options{}, false, func(now time.Time, sdp []byte, err error) {
			p.making = false
			if err != nil {
				c.refuse(now, StatusOf(err), "", End{By: Network, Err: err})
				return
			}
			setSDP(r, sdp)
			c.enqueueReliably(now, r)
		})
		return
	}
	c.enqueueReliably(now, r)
}

func (c *Call) enqueueReliably(now time.Time, r *sipgo.Response) {
	p := c.reliable
	switch {
	case c.server == nil || len(p.out)+len(p.queue) >= maxPending:
	case p.sent && !p.open:
		p.queue = append(p.queue, r)
	default:
		c.sendReliably(now, r)
	}
}

func (c *Call) sendReliably(now time.Time, r *sipgo.Response) {
	p := c.reliable
	p.rseq++
	p.sent = true
	r.AppendHeader(sipgo.NewHeader("Require", option100rel))
	r.AppendHeader(sipgo.NewHeader("RSeq", strconv.FormatUint(uint64(p.rseq), 10)))
	o := &provisional{res: r, rseq: p.rseq, interval: c.timers.T1, deadline: now.Add(64 * c.timers.T1)}
	o.timer.F = func(now time.Time) { c.repeatReliably(now, o) }
	p.out = append(p.out, o)
	c.say(now, r)
	c.env.Timers().Set(&o.timer, now.Add(o.interval))
}

// repeatReliably: "starts at T1 seconds and doubles for each retransmission",
// and "if a reliable provisional response is retransmitted for 64*T1 seconds
// without reception of a corresponding PRACK, the UAS SHOULD reject the
// original request with a 5xx response" (RFC 3262 §3). Each response has its
// own clock.
func (c *Call) repeatReliably(now time.Time, o *provisional) {
	if c.server == nil {
		return
	}
	if !now.Before(o.deadline) {
		c.refuse(now, sipgo.StatusGatewayTimeout, "", End{By: Network, Err: ErrNoPrack})
		return
	}
	c.server.Respond(now, o.res)
	o.interval *= 2
	at := now.Add(o.interval)
	if at.After(o.deadline) {
		at = o.deadline
	}
	c.env.Timers().Set(&o.timer, at)
}

func (p *reliable) stop(c *Call) {
	if p == nil {
		return
	}
	for _, o := range p.out {
		c.env.Timers().Stop(&o.timer)
	}
}

// waiting tells whether any response of ours waits for its PRACK.
func (p *reliable) waiting() bool { return p != nil && (p.making || len(p.out)+len(p.queue) > 0) }

// promised tells whether a description of ours waits for its PRACK: "the UAS
// MUST NOT send a 2xx before" (RFC 3262 §3). One that was not sent yet is no
// promise: it goes with the 2xx.
func (p *reliable) promised() bool {
	return p != nil && slices.ContainsFunc(p.out, func(o *provisional) bool { return len(o.res.Body()) > 0 })
}

// acknowledged finds which response of ours a RAck means: its RSeq, and CSeq
// and method of the INVITE (RFC 3262 §7.2). Any that is out will do: PRACKs
// may overtake each other. -1: none.
func (p *reliable) acknowledged(rack string, invite *sipgo.CSeqHeader) int {
	f := strings.Fields(rack)
	if p == nil || invite == nil || len(f) != 3 || f[2] != string(sipgo.INVITE) ||
		f[1] != strconv.FormatUint(uint64(invite.SeqNo), 10) {
		return -1
	}
	return slices.IndexFunc(p.out, func(o *provisional) bool { return f[0] == strconv.FormatUint(uint64(o.rseq), 10) })
}

// goOn sends what has waited for the first PRACK, or the 2xx that has waited
// for one.
func (c *Call) goOn(now time.Time) {
	p := c.reliable
	if c.server == nil {
		return
	}
	p.open = true
	if !p.promised() && len(p.then) > 0 {
		then := p.then
		p.then, p.queue = nil, nil // the 2xx says more
		for _, fn := range then {
			fn(now)
		}
	}
	queue := p.queue
	p.queue = nil
	for _, r := range queue {
		c.sendReliably(now, r)
	}
	c.next(now)
}

// pracked takes a PRACK. One for nothing gets 481 (RFC 3262 §3).
func (c *Call) pracked(now time.Time, l *leg, s *transaction.Server) {
	p, req := c.reliable, s.Request()
	i := p.acknowledged(sipwire.Header(req, "RAck"), c.invite.CSeq())
	if i < 0 || l != c.active {
		c.respond(now, s, c.response(s, sipgo.StatusCallTransactionDoesNotExists, ""))
		return
	}
	sdp, err := SDP(req)
	if err != nil {
		c.respond(now, s, c.response(s, StatusOf(err), ""))
		return
	}
	c.env.Timers().Stop(&p.out[i].timer)
	promised := len(p.out[i].res.Body()) > 0
	p.out = slices.Delete(p.out, i, i+1)
	offering := promised && c.offer == nil && !l.exchanged
	switch {
	case offering:
		// The answer to our offer.
		c.respond(now, s, c.response(s, sipgo.StatusOK, ""))
		if sdp == nil {
			c.refuse(now, sipgo.StatusBadRequest, "", End{By: Network, Err: ErrOffer})
			return
		}
		l.setAnswer(now, sdp, false, func(now time.Time, err error) {
			if err != nil && c.server != nil {
				c.refuse(now, StatusOf(err), "", End{By: Network, Err: err})
				return
			}
			l.exchanged = true
			c.goOn(now)
		})
	case sdp != nil && !promised && !l.exchanged:
		// The caller's first offer has no answer yet (RFC 3262 §5).
		c.respond(now, s, c.response(s, sipgo.StatusNotAcceptableHere, ""))
		c.goOn(now)
	case sdp != nil:
		// A new offer, where our answer was in the response (RFC 3262 §5).
		l.exchanged = true
		c.makeAnswer(now, l, sdp, offeranswer.Options{}, func(now time.Time, answer []byte, err error) {
			r := c.response(s, sipgo.StatusOK, "")
			if err != nil {
				r = c.response(s, StatusOf(err), "")
			} else {
				setSDP(r, answer)
			}
			c.respond(now, s, r)
			c.goOn(now)
		})
	default:
		l.exchanged = l.exchanged || promised
		c.respond(now, s, c.response(s, sipgo.StatusOK, ""))
		c.goOn(now)
	}
}
