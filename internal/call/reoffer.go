package call

import (
	"context"
	"errors"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// reoffer is an offer of ours after the first, from the wish to its outcome:
// a re-INVITE; in an early dialog an UPDATE (RFC 3311 §5.1) or the PRACK of the
// reliable response that completed the first exchange (RFC 3262 §5).
type reoffer struct {
	c       *Call
	l       *leg
	o       offeranswer.Options
	hold    *bool // it is about hold; nil: hold stays as our user wants it
	refresh bool  // it repeats what was agreed, for the session timer
	mends   bool  // it follows an answer that could not be used
	later   bool  // only a re-INVITE will do
	done    func(now time.Time, err error)

	method sipgo.RequestMethod
	bare   bool // an UPDATE without an offer
	out    Outgoing
	glare  timerq.Timer // set while we wait after a refusal that means: not now
	tries  int
	late   bool // sent without an offer: the 2xx has one
	ack    *ack // of its 2xx
}

// maxGlare bounds how often one offer is repeated after 491 and its like.
const maxGlare = 6

// active tells whether the offer is open towards the peer.
func (r *reoffer) active() bool { return !r.bare && !r.glare.Active() }

func (r *reoffer) finish(now time.Time, err error) {
	if r.done != nil {
		r.done(now, err)
	}
}

// Reoffer makes a new offer to the peer (RFC 3261 §14.1). It waits for its
// turn behind other exchanges, and before the call is answered for what lets
// it through. done, if not nil, is told the outcome; a refusal changes nothing
// in what was agreed.
func (c *Call) Reoffer(now time.Time, o offeranswer.Options, done func(now time.Time, err error)) {
	c.reoffer(now, &reoffer{c: c, o: o, done: done})
}

// ReofferOnce is Reoffer for the offer of somebody behind us, in a call that
// is established. A 491 is its outcome: to wait and repeat it is up to him, or two
// who wait for each other behind us would do so for long.
func (c *Call) ReofferOnce(now time.Time, o offeranswer.Options, done func(now time.Time, err error)) {
	r := &reoffer{c: c, o: o, done: done, tries: maxGlare}
	if c.state != Established && c.state != Ended {
		r.finish(now, ErrState)
		return
	}
	c.reoffer(now, r)
}

func (c *Call) reoffer(now time.Time, r *reoffer) {
	switch {
	case c.state == Ended:
		r.finish(now, ErrEnded)
	case len(c.queued) >= maxPending:
		r.finish(now, ErrBusy)
	default:
		c.queued = append(c.queued, r)
		c.next(now)
	}
}

// next starts the offer whose turn it is.
func (c *Call) next(now time.Time) {
	if c.reoff != nil || c.inward != nil || c.accept != nil || len(c.queued) == 0 {
		return
	}
	l := c.active
	if c.state != Established {
		if l = c.updatable(); l == nil || !c.queued[0].early() {
			return
		}
	}
	r := c.queued[0]
	c.queued = c.queued[1:]
	c.reoff, r.l = r, l
	r.glare.F = r.start
	r.start(now)
}

// early tells whether the offer can be made before the call is answered.
func (r *reoffer) early() bool { return r.hold == nil && !r.refresh && !r.later }

// updatable is the early dialog in which an UPDATE can carry an offer now: its
// first exchange was completed reliably, and the peer allows UPDATE
// (RFC 3311 §5.1).
func (c *Call) updatable() *leg {
	l := c.earlyLeg()
	if l == nil || !l.exchanged || !l.firm || !l.updates || c.reliable.waiting() {
		return nil
	}
	return l
}

// earlyLeg is the early dialog that is meant where none is named: of a call
// that came its only one, of one of ours the only one that there is.
func (c *Call) earlyLeg() *leg {
	switch {
	case c.ending != nil:
	case c.server != nil && (c.state == Incoming || c.state == Ringing):
		return c.active
	case c.out && c.active == nil && len(c.legs) == 1:
		return c.legs[0]
	}
	return nil
}

// requeue puts an offer back to where it waits.
func (c *Call) requeue(r *reoffer) {
	c.env.Timers().Stop(&r.glare)
	c.reoff = nil
	// Another one, as answers to the former may still come.
	c.queued = slices.Insert(c.queued, 0, &reoffer{
		c: c, o: r.o, hold: r.hold, refresh: r.refresh, mends: r.mends, later: r.later, done: r.done, tries: r.tries,
	})
}

func (r *reoffer) start(now time.Time) {
	c := r.c
	if c.inward != nil || c.accept != nil || !r.l.confirmed && c.updatable() != r.l {
		c.requeue(r) // the peer's offer came first; ours waits for it
		return
	}
	r.method, r.bare = sipgo.INVITE, false
	switch {
	case r.refresh:
		r.repeat(now)
		return
	case r.hold != nil && *r.hold == c.holding.agreed.Local:
		c.reoff = nil // it is so, or an answer has said it meanwhile
		r.finish(now, nil)
		c.next(now)
		return
	case !r.l.confirmed:
		r.method = sipgo.UPDATE
	}
	r.offer(now, nil)
}

// offer makes the offer and sends it; rack is for a PRACK.
func (r *reoffer) offer(now time.Time, rack sipgo.Header) {
	c := r.c
	if r.method != sipgo.INVITE {
		r.l.settled = true // what answers to the INVITE still say is history
	}
	c.makeOffer(now, r.l, r.o, r.held(), func(now time.Time, sdp []byte, err error) {
		switch {
		case c.reoff != r:
		case err == nil && sdp == nil && r.method != sipgo.INVITE:
			// Media want the peer to offer, for which nothing but a re-INVITE can
			// ask.
			r.later = true
			c.requeue(r)
			r.prack(now, rack)
		case err != nil:
			r.refused(now, err)
			r.prack(now, rack)
		default:
			r.send(now, sdp, rack)
		}
	})
}

// prack acknowledges without an offer, where the offer was to be in a PRACK.
func (r *reoffer) prack(now time.Time, rack sipgo.Header) {
	if rack != nil {
		r.l.prack(now, rack, nil)
	}
}

func (r *reoffer) send(now time.Time, sdp []byte, headers ...sipgo.Header) {
	req := r.l.request(r.method)
	for _, h := range headers {
		if h != nil {
			req.AppendHeader(h)
		}
	}
	if sdp != nil {
		setSDP(req, sdp)
	}
	r.late = sdp == nil && r.method == sipgo.INVITE
	if r.method != sipgo.PRACK && r.l.confirmed {
		r.c.session.ask(req)
	}
	r.out = r.c.env.Request(now, r.l.flow, req, r)
}

// repeat refreshes the session: with an UPDATE that says nothing, where the
// peer takes that (RFC 4028 §7.4: "it is RECOMMENDED that the UPDATE request not
// contain an offer"), or a re-INVITE with the description last agreed. Where that
// was an answer which had to leave out what we want, it is said again: a
// session refresh is named by RFC 6337 §5.3 among the offers that do.
func (r *reoffer) repeat(now time.Time) {
	c, l := r.c, r.l
	if l.updates {
		r.method, r.bare = sipgo.UPDATE, true
		r.send(now, nil)
		return
	}
	r.method, r.bare = sipgo.INVITE, false
	if l.narrow {
		r.refresh = false
		r.offer(now, nil)
		return
	}
	var sdp []byte
	c.do(now, func(context.Context) {
		if l.media != nil {
			sdp = l.media.Local()
		}
	}, func(now time.Time) {
		switch {
		case c.reoff != r:
		case sdp == nil:
			r.refresh = false // nothing to repeat: an offer like others
			r.offer(now, nil)
		default:
			r.send(now, sdp)
		}
	})
}

func (r *reoffer) NextCSeq() uint32 { r.l.localCSeq++; return r.l.localCSeq }

func (r *reoffer) Failed(now time.Time, err error) {
	c := r.c
	if c.reoff != r {
		return
	}
	if !errors.Is(err, transaction.ErrTimeout) || !r.l.confirmed {
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
	if res.IsSuccess() {
		if r.ack != nil {
			r.ack.again(now, l)
			return
		}
		l.flow = flow
		if r.method != sipgo.PRACK {
			l.refresh(res)
		}
		if r.method == sipgo.INVITE {
			cseq := uint32(0)
			if h := res.CSeq(); h != nil {
				cseq = h.SeqNo
			}
			r.ack = l.owe(r.out, cseq)
			if !r.late || c.reoff != r {
				l.acknowledge(now, nil)
			}
		}
	}
	if c.reoff != r {
		return // the call has ended meanwhile, or the dialog has
	}
	after, timed := sipwire.RetryAfter(res)
	switch code := res.StatusCode; {
	case res.IsSuccess():
		r.accepted(now, res)
	case code == sipgo.StatusRequestPending && r.tries < maxGlare:
		r.again(now, c.glareWait())
	case code == sipgo.StatusInternalServerError && timed && after <= 10*time.Second && r.tries < maxGlare:
		// The peer's offer was first (RFC 3261 §14.2, RFC 3311 §5.2).
		r.again(now, after)
	case code == statusSmall && r.method != sipgo.PRACK && c.session.grow(res):
		r.rollback(now)
		r.start(now)
	case r.bare && (code == sipgo.StatusMethodNotAllowed || code == sipgo.StatusNotImplemented):
		l.updates = false
		r.repeat(now)
	case l.confirmed && (code == sipgo.StatusCallTransactionDoesNotExists || code == sipgo.StatusRequestTimeout):
		// The dialog does not exist any more (RFC 3261 §12.2.1.2).
		err := Refused(string(r.method), res)
		c.reoff = nil
		r.finish(now, err)
		c.drop(now, End{By: Network, Status: code, Phrase: res.Reason, Err: err})
	default:
		r.refused(now, Refused(string(r.method), res))
	}
}

// accepted takes the answer in a 2xx.
func (r *reoffer) accepted(now time.Time, res *sipgo.Response) {
	c, l := r.c, r.l
	if r.method != sipgo.PRACK && l.confirmed {
		c.sessionAgreed(now, res)
	}
	agreed := func(now time.Time, err error) {
		if c.reoff != r {
			return
		}
		if err != nil {
			r.unusable(now, err)
			return
		}
		c.reoff = nil
		c.holding.remember(r.o.Direction)
		r.finish(now, nil)
		c.next(now)
	}
	sdp, err := SDP(res)
	switch {
	case r.late:
		c.answerLate(now, l, sdp, err, func(now time.Time, err error) {
			if err == nil || c.reoff != r {
				agreed(now, err)
				return
			}
			// The peer's offer has no answer, and he has no other way to learn
			// that (RFC 3261 §13.2.2.4).
			c.reoff = nil
			r.finish(now, err)
			c.drop(now, End{By: Network, Err: err})
		})
	case r.refresh && (r.bare || err == nil && (sdp == nil || string(sdp) == l.remoteSDP)):
		agreed(now, nil)
	case err != nil:
		r.refused(now, err)
	case sdp == nil:
		r.refused(now, ErrAnswer)
	case r.refresh:
		// The peer has changed something on the occasion. Where that is no
		// answer to what is agreed, an offer that can have one follows.
		l.setAnswer(now, sdp, false, func(now time.Time, err error) {
			if err != nil && c.reoff == r {
				c.queued = append(c.queued, &reoffer{c: c})
			}
			agreed(now, nil)
		})
	default:
		l.setAnswer(now, sdp, false, agreed)
	}
}

// unusable takes an answer that media refuse, as it contradicts itself or the
// offer: ours stays as
// it was, but the peer believes in what he said. So another offer follows, and
// where that comes to nothing either, the call is over.
func (r *reoffer) unusable(now time.Time, err error) {
	c := r.c
	if !r.mends {
		c.queued = slices.Insert(c.queued, 0, &reoffer{c: c, mends: true, done: func(now time.Time, failed error) {
			if failed != nil {
				c.drop(now, End{By: Network, Err: err, Reasons: reasonOf(err)})
			}
		}})
	}
	r.refused(now, err)
}

// again makes the offer once more after a while.
func (r *reoffer) again(now time.Time, after time.Duration) {
	r.tries++
	r.rollback(now)
	r.c.env.Timers().Set(&r.glare, now.Add(after))
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
	if r.bare {
		return
	}
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
