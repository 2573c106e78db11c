package call

import (
	"errors"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// Within is a request within the call's dialog that is not about the session:
// INFO, MESSAGE, REFER, NOTIFY.
type Within struct {
	Method      sipgo.RequestMethod
	Headers     []sipgo.Header
	ContentType string // of Body
	Body        []byte
	// Apart says that the request belongs to another usage of the dialog
	// (RFC 5057 §4), such as a subscription: that it is unknown to the peer, or stays
	// unanswered, does not end the call.
	Apart bool
	// Done gets the final response, or the reason why there is none. It may
	// be nil.
	Done func(now time.Time, r *sipgo.Response, err error)
}

// Within sends a request within the call's dialog, which may be an early one:
// of an outgoing call where there is exactly one, or nobody could say which is
// meant. ErrState where there is none yet, ErrEnded where there is none any more.
//
// A peer that knows nothing of the dialog, or is silent, ends the call:
// "if the response for a request within a dialog is a 481 or a 408, the UAC
// SHOULD terminate the dialog" (RFC 3261 §12.2.1.2; RFC 5057 §5). A call of ours
// that is not answered goes on: its INVITE has an end of its own.
func (c *Call) Within(now time.Time, w Within) error {
	l := c.active
	if l == nil {
		l = c.earlyLeg()
	}
	switch {
	case c.state == Ended:
		return ErrEnded
	case l == nil || l.over:
		return ErrState
	}
	req := l.request(w.Method)
	for _, h := range w.Headers {
		req.AppendHeader(h)
	}
	if w.Body != nil {
		ct := sipgo.ContentTypeHeader(w.ContentType)
		req.AppendHeader(&ct)
		req.SetBody(w.Body)
	}
	c.env.Request(now, l.flow, req, &withinHandler{l: l, w: w})
	return nil
}

type withinHandler struct {
	l *leg
	w Within
}

func (h *withinHandler) NextCSeq() uint32 { h.l.localCSeq++; return h.l.localCSeq }

func (h *withinHandler) Response(now time.Time, flow transaction.Flow, r *sipgo.Response) {
	if r.StatusCode < 200 {
		return
	}
	h.l.flow = flow
	h.done(now, r, nil)
	if r.StatusCode == sipgo.StatusCallTransactionDoesNotExists || r.StatusCode == sipgo.StatusRequestTimeout {
		h.gone(now, End{By: Network, Status: r.StatusCode, Phrase: r.Reason, Err: Refused(string(h.w.Method), r)})
	}
}

func (h *withinHandler) Failed(now time.Time, err error) {
	h.done(now, nil, err)
	if errors.Is(err, transaction.ErrTimeout) {
		h.gone(now, End{By: Network, Err: err})
	}
}

func (h *withinHandler) done(now time.Time, r *sipgo.Response, err error) {
	if h.w.Done != nil {
		h.w.Done(now, r, err)
	}
}

func (h *withinHandler) gone(now time.Time, end End) {
	if c := h.l.c; !h.w.Apart && c.active == h.l {
		c.drop(now, end)
	}
}
