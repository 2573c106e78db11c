package call

import (
	"context"
	"errors"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// reoffer is a re-INVITE of ours, from the wish to its outcome.
type reoffer struct {
	c     *Call
	l     *leg
	o     offeranswer.Options
	hold  *bool // it is about hold; nil: hold stays as our user wants it
	done  func(now time.Time, err error)
	out   Outgoing
	glare timerq.Timer // set while we wait after a 491
	tries int
	late  bool // sent without an offer: the 2xx has one
	ack   *ack // of its 2xx
}

// maxGlare bounds how often one offer is repeated after 491.
const maxGlare = 6

// active tells whether the offer is open towards the peer.
func (r *reoffer) active() bool { return !r.glare.Active() }

func (r *reoffer) finish(now time.Time, err error) {
	if r.done != nil {
		r.done(now, err)
	}
}

// Reoffer makes a new offer to the peer in a re-INVITE (RFC 3261 §14.1). It
// waits for its turn behind other exchanges. done, if not nil, is told the outcome; a
// refusal changes nothing in what was agreed.
func (c *Call) Reoffer(now time.Time, o offeranswer.Options, done func(now time.Time, err error)) {
	c.reoffer(now, &reoffer{c: c, o: o, done: done})
}

// ReofferOnce is Reoffer for the offer of somebody behind us. A 491 is its
// outcome: to wait and repeat it is up to him, or two who wait for each other
// behind us would do so for long.
func (c *Call) ReofferOnce(now time.Time, o offeranswer.Options, done func(now time.Time, err error)) {
	c.reoffer(now, &reoffer{c: c, o: o, done: done, tries: maxGlare})
}

func (c *Call) reoffer(now time.Time, r *reoffer) {
	switch {
	case c.state == Ended:
		r.finish(now, ErrEnded)
	case c.state != Established && (c.state != Answering || r.hold == nil):
		r.finish(now, ErrState)
	case len(c.queued) >= maxPending:
		r.finish(now, ErrBusy)
	default:
		c.queued = append(c.queued, r)
		c.next(now)
	}
}

// next starts the offer whose turn it is.
func (c *Call) next(now time.Time) {
	if c.state != Established || c.reoff != nil || c.inward != nil || c.accept != nil || len(c.queued) == 0 {
		return
	}
	r := c.queued[0]
	c.queued = c.queued[1:]
	c.reoff, r.l = r, c.active
	r.glare.F = r.start
	r.start(now)
}

func (r *reoffer) start(now time.Time) {
	c := r.c
	if c.inward != nil || c.accept != nil {
		// The peer's offer came first; ours waits for it.
		c.reoff = nil
		c.queued = append([]*reoffer{r}, c.queued...)
		return
	}
	if r.hold != nil && *r.hold == c.holding.agreed.Local {
		c.reoff = nil // it is so, or an answer has said it meanwhile
		r.finish(now, nil)
		c.next(now)
		return
	}
	c.makeOffer(now, r.l, r.o, r.held(), func(now time.Time, sdp []byte, err error) {
		if c.reoff != r {
			return
		}
		if err != nil {
			r.refused(now, err)
			return
		}
		req := r.l.request(sipgo.INVITE)
		if r.late = sdp == nil; !r.late {
			setSDP(req, sdp)
		}
		r.out = c.env.Request(now, r.l.flow, req, r)
	})
}

func (r *reoffer) NextCSeq() uint32 { r.l.localCSeq++; return r.l.localCSeq }

func (r *reoffer) Failed(now time.Time, err error) {
	c := r.c
	if c.reoff != r {
		return
	}
	if !errors.Is(err, transaction.ErrTimeout) {
		// It did not get through, or the peer wants credentials that we have
		// not: the dialog and the session are as they were.
		r.refused(now, err)
		return
	}
	// No answer at all: the dialog is gone (RFC 3261 §12.2.1.2: 408, and the
	// session with it).
	c.reoff = nil
	r.finish(now, err)
	c.drop(now, End{By: Network, Err: err})
}

func (r *reoffer) Response(now time.Time, flow transaction.Flow, res *sipgo.Response) {
	c, l := r.c, r.l
	if res.StatusCode < 200 {
		return
	}
	cseq := uint32(0)
	if h := res.CSeq(); h != nil {
		cseq = h.SeqNo
	}
	if res.IsSuccess() {
		if r.ack != nil {
			r.ack.again(now, l)
			return
		}
		l.flow = flow
		l.refresh(res)
		r.ack = l.owe(r.out, cseq)
		if !r.late || c.reoff != r {
			l.acknowledge(now, nil)
		}
	}
	if c.reoff != r {
		return // the call has ended meanwhile
	}
	switch {
	case res.IsSuccess():
		agreed := func(now time.Time, err error) {
			if c.reoff != r {
				return
			}
			c.reoff = nil
			if err == nil {
				c.holding.remember(r.o.Direction)
			}
			r.finish(now, err)
			if err != nil {
				c.drop(now, End{By: Network, Err: err})
				return
			}
			c.next(now)
		}
		sdp, err := SDP(res)
		if r.late {
			c.answerLate(now, l, sdp, err, agreed)
			return
		}
		if err == nil && sdp == nil {
			err = ErrAnswer
		}
		if err != nil {
			r.refused(now, err)
			return
		}
		l.setAnswer(now, sdp, false, agreed)
	case res.StatusCode == sipgo.StatusRequestPending && r.tries < maxGlare:
		r.tries++
		r.rollback(now)
		c.env.Timers().Set(&r.glare, now.Add(c.glareWait()))
	case res.StatusCode == 481 || res.StatusCode == 408:
		// The dialog does not exist any more (RFC 3261 §12.2.1.2).
		err := Refused("INVITE", res)
		c.reoff = nil
		r.finish(now, err)
		c.drop(now, End{By: Network, Status: res.StatusCode, Phrase: res.Reason, Err: err})
	default:
		r.refused(now, Refused("INVITE", res))
	}
}

// refused leaves everything as it was before the offer.
func (r *reoffer) refused(now time.Time, err error) {
	r.rollback(now)
	r.c.reoff = nil
	r.unwish()
	r.finish(now, err)
	r.c.next(now)
}

func (r *reoffer) rollback(now time.Time) {
	l := r.l
	r.c.do(now, func(context.Context) {
		if l.media != nil {
			l.media.Rollback()
		}
	}, nil)
}

// glareWait is how long to wait after a 491: 2.1 to 4 s for the owner of the
// Call-ID, 0 to 2 s for the other, in steps of 10 ms (RFC 3261 §14.1).
func (c *Call) glareWait() time.Duration {
	const unit = 10 * time.Millisecond
	if c.out {
		return time.Duration(210+int(c.env.Float()*191)) * unit
	}
	return time.Duration(c.env.Float()*201) * unit
}
