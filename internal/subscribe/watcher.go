package subscribe

import (
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// Watcher is one subscriber of a Notifier. There is one NOTIFY to him at a
// time: he sees them in order, and what happens meanwhile is told together.
type Watcher struct {
	n       *Notifier
	d       dialog
	event   sipwire.Event
	carrier Carrier // nil: the dialog is ours

	pending bool
	version uint32
	until   time.Time
	expire  timerq.Timer

	sent     time.Time // when the latest NOTIFY was
	inFlight bool
	dirty    bool // there is something to tell
	full     bool // ... which is everything
	next     timerq.Timer

	reason string // over is set: why
	after  time.Duration
	over   bool // the next NOTIFY is the last
	gone   bool
}

// From is who watches.
func (w *Watcher) From() (uri sipgo.Uri, name string) { return w.d.remoteURI, w.d.remoteName }

// Version is the number of this NOTIFY, from 0: what documents with a version
// want.
func (w *Watcher) Version() uint32 { return w.version }

// Pending tells whether the subscription waits for Activate.
func (w *Watcher) Pending() bool { return w.pending }

// Until is when the subscription ends without a refresh.
func (w *Watcher) Until() time.Time { return w.until }

// begin starts the subscription: a NOTIFY follows at once (RFC 6665 §4.2.1.2),
// also where the subscription is over with it (§4.4.3).
func (w *Watcher) begin(now time.Time, life time.Duration) {
	w.full = true
	if life == 0 {
		w.over, w.reason = true, "timeout"
	} else {
		w.lives(now, life)
	}
	w.Changed(now)
}

func (w *Watcher) lives(now time.Time, life time.Duration) {
	w.until = now.Add(life)
	w.n.env.Timers().Set(&w.expire, w.until)
}

// refreshed takes a SUBSCRIBE in the dialog (RFC 6665 §4.2.1.1).
func (w *Watcher) refreshed(now time.Time, tx *transaction.Server) {
	req := tx.Request()
	if w.carrier == nil && !w.d.sequence(req) {
		w.n.refuse(now, tx, sipgo.StatusInternalServerError, sipgo.NewHeader("Retry-After", "1"))
		return
	}
	if w.over {
		// What ends it is on its way already.
		w.n.refuse(now, tx, sipgo.StatusCallTransactionDoesNotExists)
		return
	}
	life, ok := w.n.life(now, tx)
	if !ok {
		return
	}
	w.d.flow = tx.Flow()
	w.d.retarget(req)
	respond(w.n.env, now, tx, sipgo.StatusOK, w.d.localTag, sipgo.NewHeader("Expires", sipwire.FormatSeconds(life)))
	w.full = true
	if life == 0 {
		w.End(now, "timeout", 0)
		return
	}
	w.lives(now, life)
	w.Changed(now)
}

// expired ends what was not refreshed (RFC 6665 §4.2.2).
func (w *Watcher) expired(now time.Time) { w.End(now, "timeout", 0) }

// Activate ends the wait of a pending subscription.
func (w *Watcher) Activate(now time.Time) {
	if w.pending {
		w.pending, w.full = false, true
		w.Changed(now)
	}
}

// End ends the subscription with a last NOTIFY, for a reason of RFC 6665
// §4.1.3, "" for none; after is when to come again, 0: unsaid.
func (w *Watcher) End(now time.Time, reason string, after time.Duration) {
	if w.over || w.gone {
		return
	}
	w.over, w.reason, w.after = true, reason, after
	w.n.env.Timers().Stop(&w.expire)
	w.Changed(now)
}

// Changed says that there is something to tell this subscriber. What ends a
// subscription, and what begins it, need not keep to the interval.
func (w *Watcher) Changed(now time.Time) {
	if w.gone {
		return
	}
	w.dirty = true
	switch {
	case w.inFlight:
	case w.over, w.full, w.sent.IsZero(), now.Sub(w.sent) >= w.n.cfg.Interval:
		w.notify(now)
	case !w.next.Active():
		w.n.env.Timers().Set(&w.next, w.sent.Add(w.n.cfg.Interval))
	}
}

func (w *Watcher) due(now time.Time) {
	if w.dirty && !w.inFlight {
		w.notify(now)
	}
}

func (w *Watcher) state(now time.Time) sipwire.SubscriptionState {
	switch {
	case w.over:
		return sipwire.SubscriptionState{
			State: sipwire.SubscriptionTerminated, Reason: w.reason,
			RetryAfter: w.after, HasRetryAfter: w.after > 0,
		}
	case w.pending:
		return sipwire.SubscriptionState{State: sipwire.SubscriptionPending, Expires: w.until.Sub(now), HasExpires: true}
	}
	return sipwire.SubscriptionState{State: sipwire.SubscriptionActive, Expires: w.until.Sub(now), HasExpires: true}
}

// notify tells how things stand (RFC 6665 §4.2.2).
func (w *Watcher) notify(now time.Time) {
	n := w.n
	n.env.Timers().Stop(&w.next)
	var contentType string
	var body []byte
	if !w.pending {
		contentType, body = n.src.State(now, w, w.full)
	}
	w.dirty, w.full, w.inFlight, w.sent = false, false, true, now
	w.version++
	headers := []sipgo.Header{
		sipgo.NewHeader("Event", w.event.String()),
		sipgo.NewHeader("Subscription-State", w.state(now).String()),
	}
	last := w.over
	if last {
		n.env.Timers().Stop(&w.expire)
	}
	h := &notifyHandler{w: w, last: last}
	if w.carrier != nil {
		err := w.carrier(now, call.Within{
			Method: sipgo.NOTIFY, Headers: headers, ContentType: contentType, Body: body, Apart: true,
			Done: func(now time.Time, r *sipgo.Response, err error) {
				if err != nil {
					h.Failed(now, err)
					return
				}
				h.Response(now, nil, r)
			},
		})
		if err != nil {
			h.Failed(now, err)
		}
		return
	}
	req := w.d.request(n.env, sipgo.NOTIFY)
	for _, x := range headers {
		req.AppendHeader(x)
	}
	setBody(req, contentType, body)
	n.env.Request(now, w.d.flow, req, h)
}

type notifyHandler struct {
	w    *Watcher
	last bool
}

func (h *notifyHandler) NextCSeq() uint32 { h.w.d.localCSeq++; return h.w.d.localCSeq }

// Response takes the answer to a NOTIFY. 481, and what else says that the
// subscriber is not there, ends the subscription (RFC 6665 §4.2.2, RFC 5057
// §5.1); other refusals are of this NOTIFY alone.
func (h *notifyHandler) Response(now time.Time, f transaction.Flow, r *sipgo.Response) {
	w := h.w
	if r.StatusCode < 200 || w.gone {
		return
	}
	if r.IsSuccess() {
		if f != nil {
			w.d.flow = f
		}
		w.d.retarget(r)
		h.done(now, nil)
		return
	}
	err := call.Refused("NOTIFY", r)
	if endsUsage(r.StatusCode) || r.StatusCode == sipgo.StatusRequestTimeout {
		w.left(now, err)
		return
	}
	h.done(now, err)
}

// Failed: a subscriber that is silent, or out of reach, is none (RFC 6665 §4.2.2).
func (h *notifyHandler) Failed(now time.Time, err error) {
	if !h.w.gone {
		h.w.left(now, err)
	}
}

func (h *notifyHandler) done(now time.Time, err error) {
	w := h.w
	w.inFlight = false
	switch {
	case h.last:
		w.left(now, err)
	case err != nil && !w.dirty:
		w.full = true // he did not take this one: the next has to say it all
	case w.dirty:
		w.full = w.full || err != nil
		w.Changed(now)
	}
}

func (w *Watcher) left(now time.Time, err error) {
	w.remove()
	w.n.src.Left(now, w, err)
}

func (w *Watcher) remove() {
	if w.gone {
		return
	}
	w.gone = true
	n := w.n
	n.env.Timers().Stop(&w.expire)
	n.env.Timers().Stop(&w.next)
	if i := slices.Index(n.watchers, w); i >= 0 {
		n.watchers = slices.Delete(n.watchers, i, i+1)
	}
	if w.carrier == nil {
		n.env.Dialog(w.d.id, w.d.localTag, false)
	}
}
