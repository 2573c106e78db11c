package siptest

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/subscribe"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// maxReports bounds the subscriptions of REFERs to conferences: more get 503.
const maxReports = 1000

// report tells who has sent a REFER what becomes of it (RFC 3515 §2.4.5). Nil
// tells nobody.
type report struct {
	l      *life
	w      *subscribe.Watcher
	status int
}

// accept answers a REFER to a conference with 202, and returns the report that
// its sender gets: in the dialog of g, or in one of its own where g is nil.
// false: it was refused.
func (c *conference) accept(now time.Time, s *transaction.Server, g *leg, silent bool) (*report, bool) {
	l := c.l
	if silent {
		// "the recipient [...] will not create an implicit subscription"
		// (RFC 4488 §4).
		tag := l.tag()
		if g != nil {
			tag = g.m.LocalTag()
		}
		res := sipwire.ResponseTo(s.Request(), sipgo.StatusAccepted, "", tag)
		res.AppendHeader(c.contact())
		res.AppendHeader(sipgo.NewHeader("Refer-Sub", "false"))
		decorate(res)
		s.Respond(now, res)
		return nil, true
	}
	if l.reports >= maxReports {
		l.respond(now, s, sipgo.StatusServiceUnavailable)
		return nil, false
	}
	r := &report{l: l, status: sipgo.StatusTrying}
	life := l.cfg.Calls.RingTime + time.Minute
	e := &watchEnv{l: l, n: new(notifier), c: c}
	e.n.Notifier = subscribe.NewNotifier(e, subscribe.NotifierConfig{Package: "refer", T1: l.cfg.Timers.T1, Max: life, Expires: life}, r)
	l.reports++
	tag := ""
	var carrier subscribe.Carrier
	if g != nil {
		tag = g.m.LocalTag()
		carrier = func(now time.Time, w call.Within) error { return g.m.Within(now, w) }
	}
	r.w = e.n.OnRefer(now, s, life, tag, carrier)
	return r, true
}

// tell is how things stand; a final response is the end of it (RFC 3515 §2.4.7).
func (r *report) tell(now time.Time, status int) {
	if r == nil || status == r.status {
		return
	}
	r.status = status
	if status >= 200 {
		r.w.End(now, "noresource", 0)
		return
	}
	r.w.Changed(now)
}

// Authorize is not asked: REFER was.
func (r *report) Authorize(time.Time, *sipgo.Request) int { return sipgo.StatusOK }

// State is the response so far, as message/sipfrag (RFC 3515 §2.4.5).
func (r *report) State(time.Time, *subscribe.Watcher, bool) (string, []byte) {
	return sipwire.Sipfrag + ";version=2.0", sipwire.AppendStatus(nil, r.status, "")
}

// Left counts.
func (r *report) Left(time.Time, *subscribe.Watcher, error) { r.l.reports-- }
