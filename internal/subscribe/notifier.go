package subscribe

import (
	"mime"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// NotifierConfig says what others can subscribe to.
type NotifierConfig struct {
	// Package is the event package.
	Package string
	// Types are those of its bodies; who accepts none of them gets 406. None:
	// the package has no bodies.
	Types []string
	// Expires is the life of who does not ask for one; 0 is one hour. Less
	// than Min gets 423, more than Max is Max; 0 is no minimum, and one day.
	Expires, Min, Max time.Duration
	// Interval is how long there is between two NOTIFYs to one subscriber; changes
	// meanwhile are told together. 0: as fast as they are answered.
	Interval time.Duration
	// MaxWatchers bounds the subscribers; more get 503. 0 is 1,000.
	MaxWatchers int
	// T1 is the round-trip estimate; 0 is 500 ms.
	T1 time.Duration
}

// Source has the state that a Notifier tells.
type Source interface {
	// Authorize decides on a new subscription: 200, 202 for one that has to
	// wait ("pending"), or a refusal such as 403 or 404.
	Authorize(now time.Time, req *sipgo.Request) (status int)
	// State is what to tell a subscriber now: all of it, or what is new since the
	// version before this one. No body: nothing to tell.
	State(now time.Time, w *Watcher, full bool) (contentType string, body []byte)
	// Left is called once for each subscriber that is no more. Nil: he
	// unsubscribed, his time is over, or we ended it.
	Left(now time.Time, w *Watcher, err error)
}

// Notifier is the notifier's side of one resource: all who watch it. It is not
// safe for concurrent use: the loop that owns its queue owns it.
type Notifier struct {
	env      Env
	cfg      NotifierConfig
	src      Source
	watchers []*Watcher
}

// NewNotifier makes a notifier that nobody watches yet.
func NewNotifier(env Env, cfg NotifierConfig, src Source) *Notifier {
	if cfg.Max <= 0 {
		cfg.Max = maxExpires
	}
	if cfg.Expires <= 0 {
		cfg.Expires = min(defaultExpires, cfg.Max)
	}
	if cfg.MaxWatchers <= 0 {
		cfg.MaxWatchers = 1000
	}
	if cfg.T1 <= 0 {
		cfg.T1 = defaultT1
	}
	return &Notifier{env: env, cfg: cfg, src: src}
}

// Watchers are the subscribers there are.
func (n *Notifier) Watchers() []*Watcher { return slices.Clone(n.watchers) }

// OnSubscribe takes a SUBSCRIBE for the resource, in a dialog or to make one
// (RFC 6665 §4.2.1).
func (n *Notifier) OnSubscribe(now time.Time, tx *transaction.Server) {
	req := tx.Request()
	ev, ok := sipwire.EventOf(req)
	if !ok || ev.Package != n.cfg.Package {
		n.refuse(now, tx, 489, sipgo.NewHeader("Allow-Events", n.cfg.Package))
		return
	}
	if tag := sipwire.ToTag(req); tag != "" {
		w := n.find(req, tag, ev)
		if w == nil {
			n.refuse(now, tx, sipgo.StatusCallTransactionDoesNotExists)
			return
		}
		w.refreshed(now, tx)
		return
	}
	life, ok := n.life(now, tx)
	if !ok {
		return
	}
	if !n.acceptable(req) {
		n.refuse(now, tx, sipgo.StatusNotAcceptable)
		return
	}
	if c := req.Contact(); c == nil || c.Address.Host == "" {
		n.refuse(now, tx, sipgo.StatusBadRequest)
		return
	}
	status := n.src.Authorize(now, req)
	if status/100 != 2 {
		n.refuse(now, tx, status)
		return
	}
	w := n.admit(now, tx, ev, n.env.ID(12), nil)
	if w == nil {
		return
	}
	w.pending = status == sipgo.StatusAccepted
	// 200 also for what has to wait (RFC 6665 §8.3.1 deprecates 202).
	respond(n.env, now, tx, sipgo.StatusOK, w.d.localTag, sipgo.NewHeader("Expires", sipwire.FormatSeconds(life)))
	w.begin(now, life)
}

// OnRefer makes the subscription of a REFER, and accepts it with 202 (RFC 3515
// §2.4.4), for the given life. Where the REFER came in a call's dialog, carrier
// sends the NOTIFYs, and tag is ours there. Nil: it was refused, since there are
// too many. What the watcher is told is up to its Source, as ever; End with
// "noresource" is the end of it (§2.4.7).
func (n *Notifier) OnRefer(now time.Time, tx *transaction.Server, life time.Duration, tag string, carrier Carrier) *Watcher {
	ev := sipwire.Event{Package: "refer"}
	if carrier != nil {
		if cseq := tx.Request().CSeq(); cseq != nil {
			// Several REFERs in one dialog are told apart so (§2.4.6).
			ev.ID = (&dialog{localCSeq: cseq.SeqNo}).referID()
		}
	}
	if carrier == nil {
		tag = n.env.ID(12)
	}
	w := n.admit(now, tx, ev, tag, carrier)
	if w == nil {
		return nil
	}
	respond(n.env, now, tx, sipgo.StatusAccepted, w.d.localTag)
	w.begin(now, life)
	return w
}

// life is how long a SUBSCRIBE may make a subscription live. It answers itself
// where that is too short (RFC 6665 §4.2.1.1).
func (n *Notifier) life(now time.Time, tx *transaction.Server) (time.Duration, bool) {
	d, ok := sipwire.Seconds(tx.Request(), "Expires")
	switch {
	case !ok:
		d = n.cfg.Expires
	case d != 0 && d < n.cfg.Min && d < time.Hour:
		// 423 is for less than an hour alone (RFC 6665 §4.2.1.1).
		n.refuse(now, tx, 423, sipgo.NewHeader("Min-Expires", sipwire.FormatSeconds(n.cfg.Min)))
		return 0, false
	}
	return min(d, n.cfg.Max), true
}

// acceptable tells whether a subscriber can read one of our bodies.
func (n *Notifier) acceptable(req *sipgo.Request) bool {
	if len(n.cfg.Types) == 0 || sipwire.Find(req, "Accept") == nil {
		return true
	}
	for v := range sipwire.Values(req, "Accept") {
		kind, _, _ := mime.ParseMediaType(v)
		major, _, _ := strings.Cut(kind, "/")
		if kind == "*/*" || slices.ContainsFunc(n.cfg.Types, func(t string) bool {
			return strings.EqualFold(t, kind) || kind == major+"/*" && strings.HasPrefix(strings.ToLower(t), major+"/")
		}) {
			return true
		}
	}
	return false
}

// admit makes a watcher, or answers 503.
func (n *Notifier) admit(now time.Time, tx *transaction.Server, ev sipwire.Event, tag string, carrier Carrier) *Watcher {
	if len(n.watchers) >= n.cfg.MaxWatchers {
		n.refuse(now, tx, sipgo.StatusServiceUnavailable, sipgo.NewHeader("Retry-After", "60"))
		return nil
	}
	w := &Watcher{n: n, event: ev, carrier: carrier}
	w.expire.F, w.next.F = w.expired, w.due
	w.d = dialog{localTag: tag, localCSeq: uint32(n.env.Float() * (1 << 16))}
	w.d.fromRequest(tx.Flow(), tx.Request())
	w.d.retarget(tx.Request())
	w.d.sequence(tx.Request())
	n.watchers = append(n.watchers, w)
	if carrier == nil {
		n.env.Dialog(w.d.id, w.d.localTag, true)
	}
	return w
}

func (n *Notifier) find(req *sipgo.Request, tag string, ev sipwire.Event) *Watcher {
	id := req.CallID()
	for _, w := range n.watchers {
		if id != nil && w.d.id == string(*id) && w.d.localTag == tag && w.d.remoteTag == sipwire.FromTag(req) &&
			(w.event.Same(ev) || ev.Package == "refer" && ev.ID == "") {
			return w
		}
	}
	return nil
}

func (n *Notifier) refuse(now time.Time, tx *transaction.Server, status int, headers ...sipgo.Header) {
	respond(n.env, now, tx, status, n.env.ID(12), headers...)
}

// Changed tells all subscribers that the state has.
func (n *Notifier) Changed(now time.Time) {
	for _, w := range n.Watchers() {
		w.Changed(now)
	}
}

// Close ends all subscriptions with a reason of RFC 6665 §4.1.3: "deactivated"
// sends them elsewhere, "noresource" home.
func (n *Notifier) Close(now time.Time, reason string) {
	for _, w := range n.Watchers() {
		w.End(now, reason, 0)
	}
}

// Stop ends all without a word.
func (n *Notifier) Stop() {
	for _, w := range n.Watchers() {
		w.remove()
	}
}
