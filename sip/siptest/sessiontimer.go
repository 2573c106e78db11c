package siptest

import (
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// sessionTimer keeps the session timer of one dialog (RFC 4028). Whoever is
// the refresher makes a re-INVITE or an UPDATE at half of the interval; the
// other ends the call when none has come shortly before its end.
type sessionTimer struct {
	g        *leg
	interval time.Duration // 0: none agreed
	ours     bool          // we are the refresher
	timer    timerq.Timer

	request wish // of the INVITE or UPDATE being answered
}

// wish is what a request says of session timers.
type wish struct {
	supported bool
	expires   time.Duration // 0: nothing
	refresher string        // "uac", "uas" or ""
}

func wishOf(m sipgo.Message) wish {
	w := wish{supported: sipwire.HasToken(m, "Supported", "timer")}
	v := sipwire.Header(m, "Session-Expires")
	seconds, params, ok := sipwire.ParseValue(v)
	if !ok {
		return w
	}
	w.expires, _ = sipwire.ParseSeconds(seconds)
	r, _ := sipwire.Param(params, "refresher")
	w.refresher = strings.ToLower(r)
	return w
}

// asked looks at an INVITE or UPDATE of the device. It refuses an interval
// that is too small, and returns false (RFC 4028 §9).
func (t *sessionTimer) asked(now time.Time, s *transaction.Server) bool {
	w := wishOf(s.Request())
	if w.supported && w.expires > 0 && w.expires < minSE {
		t.g.l.respond(now, s, 422, seconds("Min-SE", minSE))
		return false
	}
	t.request = w
	return true
}

// decorate adds what the lab says of session timers.
func (t *sessionTimer) decorate(m sipgo.Message) {
	switch m := m.(type) {
	case *sipgo.Request:
		if m.Method != sipgo.INVITE && m.Method != sipgo.UPDATE {
			return
		}
		interval := t.interval
		if interval == 0 {
			interval = t.g.l.cfg.Calls.SessionExpires
		}
		if interval == 0 {
			return
		}
		// Within the call the roles stay as they are (RFC 4028 §7.4).
		refresher := "uac"
		if t.interval > 0 && !t.ours {
			refresher = "uas"
		}
		m.AppendHeader(sipgo.NewHeader("Session-Expires", sessionExpires(interval, refresher)))
		m.AppendHeader(seconds("Min-SE", minSE))
	case *sipgo.Response:
		cseq := m.CSeq()
		if !m.IsSuccess() || cseq == nil || cseq.MethodName != sipgo.INVITE && cseq.MethodName != sipgo.UPDATE {
			return
		}
		t.answer(time.Now(), m)
	}
}

// answer says in a 2xx what is agreed (RFC 4028 §9), and starts the timer.
func (t *sessionTimer) answer(now time.Time, r *sipgo.Response) {
	w := t.request
	interval := w.expires
	if interval == 0 && w.supported {
		interval = t.g.l.cfg.Calls.SessionExpires
	}
	if interval == 0 {
		t.stop()
		return
	}
	refresher := "uac"
	if w.refresher == "uas" || !w.supported {
		refresher = "uas"
	}
	r.AppendHeader(sipgo.NewHeader("Session-Expires", sessionExpires(interval, refresher)))
	if refresher == "uac" {
		r.AppendHeader(sipgo.NewHeader("Require", "timer"))
	}
	t.set(now, interval, refresher == "uas")
}

// agreed looks at a response to the lab's INVITE (RFC 4028 §7.2).
func (t *sessionTimer) agreed(now time.Time, r *sipgo.Response) {
	cseq := r.CSeq()
	if !r.IsSuccess() || cseq == nil || cseq.MethodName != sipgo.INVITE && cseq.MethodName != sipgo.UPDATE ||
		t.g.m.State() == call.Ended {
		return
	}
	w := wishOf(r)
	switch {
	case w.expires > 0:
		t.set(now, max(w.expires, minSE), w.refresher != "uas")
	case t.interval > 0:
		t.set(now, t.interval, true) // who does not know timers leaves it to us
	case t.g.l.cfg.Calls.SessionExpires > 0:
		t.set(now, t.g.l.cfg.Calls.SessionExpires, true)
	}
}

func (t *sessionTimer) set(now time.Time, interval time.Duration, ours bool) {
	t.interval, t.ours = interval, ours
	t.timer.F = t.due
	wait := interval / 2
	if !ours {
		wait = interval - min(32*time.Second, interval/3) // RFC 4028 §10
	}
	t.g.l.ep.Q.Set(&t.timer, now.Add(wait))
}

func (t *sessionTimer) stop() {
	t.interval = 0
	t.g.l.ep.Q.Stop(&t.timer)
}

func (t *sessionTimer) due(now time.Time) {
	if !t.ours {
		t.g.m.Hangup(now, call.Reason{Protocol: "SIP", Cause: 408, Text: "Session timer expired"})
		return
	}
	// Again should this one fail; a success sets the timer anew.
	t.g.l.ep.Q.Set(&t.timer, now.Add(32*time.Second))
	t.g.owner.refresh(now, t.g)
}

func sessionExpires(d time.Duration, refresher string) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + ";refresher=" + refresher
}
