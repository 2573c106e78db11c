package call

import (
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// Session timers (RFC 4028): one side, the refresher, says in time that the
// call is still there; where nothing is heard of it, the other hangs up. So a
// call whose peer has vanished without a word ends on both sides, and in the
// servers between.

// SessionTimer is what a call wants of session timers.
type SessionTimer struct {
	// Off knows nothing of them. Whoever decorates messages then does not say
	// "timer" in Supported.
	Off bool
	// Expires is the interval that is asked for, and the most that is agreed
	// to. 0 asks for none, and takes what the peer wants.
	Expires time.Duration
	// MinSE is the least that is agreed to; 0 is the least there is, 90 s
	// (RFC 4028 §5).
	MinSE time.Duration
	// Refresher is who shall refresh, Local or Remote, where the peer leaves
	// that open. 0: whoever is the caller.
	Refresher Side
}

const (
	optionTimer = "timer"
	leastSE     = 90 * time.Second // RFC 4028 §4, §5
	mostSE      = 30 * 24 * time.Hour
	statusSmall = 422 // Session Interval Too Small (RFC 4028 §6)
)

// session is the session timer of a call.
type session struct {
	cfg      SessionTimer
	minSE    time.Duration // the largest that a 422 has asked for
	grown    int           // how often one has
	interval time.Duration // agreed; 0: there is no timer
	ours     bool          // we are the refresher
	again    bool          // a refresh was refused, and tried again
	until    time.Time     // when to hang up
	timer    timerq.Timer
}

// sessionWish is what a message says of session timers.
type sessionWish struct {
	supported bool
	expires   time.Duration // 0: nothing
	minSE     time.Duration
	refresher string // "uac", "uas" or ""
}

func sessionWishOf(m sipgo.Message) sessionWish {
	w := sessionWish{
		supported: sipwire.HasToken(m, "Supported", optionTimer) || sipwire.HasToken(m, "Require", optionTimer),
		expires:   intervalOf(header(m, "Session-Expires", "x")),
		minSE:     intervalOf(sipwire.Header(m, "Min-SE")),
	}
	if _, params, ok := sipwire.ParseValue(header(m, "Session-Expires", "x")); ok {
		r, _ := sipwire.Param(params, "refresher")
		w.refresher = strings.ToLower(r)
	}
	return w
}

// header is a field by its name or its compact form.
func header(m sipgo.Message, name, short string) string {
	if v := sipwire.Header(m, name); v != "" {
		return v
	}
	return sipwire.Header(m, short)
}

// intervalOf reads seconds; 0 where there are none, or more than anybody means.
func intervalOf(value string) time.Duration {
	seconds, _, ok := sipwire.ParseValue(value)
	if !ok {
		return 0
	}
	d, ok := sipwire.ParseSeconds(seconds)
	if !ok || d > mostSE {
		return 0
	}
	return d
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// least is the least interval that we agree to.
func (s *session) least() time.Duration { return max(s.cfg.MinSE, leastSE) }

// asks is the interval that our next request has, and who it wants to refresh.
// Within the call the roles stay as they are (RFC 4028 §7.4). 0: it asks for
// none.
func (s *session) asks() (interval time.Duration, refresher string) {
	switch {
	case s.cfg.Off || s.interval == 0 && s.cfg.Expires == 0:
		return 0, ""
	case s.interval > 0:
		interval, refresher = s.interval, "uas"
		if s.ours {
			refresher = "uac"
		}
	default:
		interval = max(s.cfg.Expires, s.least())
		switch s.cfg.Refresher {
		case Local:
			refresher = "uac"
		case Remote:
			refresher = "uas"
		}
	}
	return max(interval, s.minSE), refresher
}

// ask says in an INVITE or UPDATE what we want.
func (s *session) ask(req *sipgo.Request) {
	interval, refresher := s.asks()
	if interval == 0 {
		return
	}
	req.RemoveHeader("Session-Expires")
	req.RemoveHeader("Min-SE")
	value := seconds(interval)
	if refresher != "" {
		value += ";refresher=" + refresher
	}
	req.AppendHeader(sipgo.NewHeader("Session-Expires", value))
	if least := max(s.minSE, s.least()); least > leastSE {
		req.AppendHeader(sipgo.NewHeader("Min-SE", seconds(least)))
	}
}

// grow takes a 422 and tells whether to ask again: with the interval that the
// server has named as its least (RFC 4028 §7.3).
func (s *session) grow(r *sipgo.Response) bool {
	asked, _ := s.asks()
	least := intervalOf(sipwire.Header(r, "Min-SE"))
	if asked == 0 || least <= asked || s.grown == maxGlare {
		return false
	}
	s.grown++
	s.minSE = least
	return true
}

// intervalError refuses a session interval that is too small.
type intervalError struct{ least time.Duration }

func (e *intervalError) Error() string  { return "a session interval below " + e.least.String() }
func (e *intervalError) SIPStatus() int { return statusSmall }

// tooSmall refuses an INVITE or UPDATE whose interval is too small, if who
// made it can do anything about that (RFC 4028 §9).
func (s *session) tooSmall(req *sipgo.Request) error {
	if w := sessionWishOf(req); !s.cfg.Off && w.supported && w.expires > 0 && w.expires < s.least() {
		return &intervalError{s.least()}
	}
	return nil
}

// answerSession says in a 2xx of ours what the timer is, and starts it
// (RFC 4028 §9).
func (c *Call) answerSession(now time.Time, req *sipgo.Request, r *sipgo.Response) {
	s := &c.session
	if s.cfg.Off {
		return
	}
	w := sessionWishOf(req)
	interval := w.expires
	if most := s.cfg.Expires; most > 0 && (interval > most || interval == 0 && w.supported) {
		interval = max(most, w.minSE, s.least())
		if w.expires > 0 {
			interval = min(interval, w.expires) // it must not grow
		}
	}
	if interval == 0 {
		s.stop(c)
		return
	}
	ours := s.cfg.Refresher == Local
	switch {
	case !w.supported || w.refresher == "uas":
		ours = true // RFC 4028 §9, table 2
	case w.refresher == "uac":
		ours = false
	case s.interval > 0:
		ours = s.ours
	}
	refresher := "uac"
	if ours {
		refresher = "uas"
	}
	r.AppendHeader(sipgo.NewHeader("Session-Expires", seconds(interval)+";refresher="+refresher))
	if !ours {
		r.AppendHeader(sipgo.NewHeader("Require", optionTimer)) // or he might not
	}
	c.setSession(now, interval, ours)
}

// sessionAgreed reads the timer from a 2xx for us. "If the 2xx response did
// not contain a Session-Expires header field, there is no session expiration"
// (RFC 4028 §7.2).
func (c *Call) sessionAgreed(now time.Time, r *sipgo.Response) {
	if c.session.cfg.Off {
		return
	}
	w := sessionWishOf(r)
	if w.expires == 0 {
		c.session.stop(c)
		return
	}
	c.setSession(now, w.expires, w.refresher != "uas")
}

// setSession starts the timer anew. The refresher's time has come at half the
// interval (RFC 4028 §7.4, §10). Both give up before it ends: "the minimum of
// 32 seconds and one third of the session interval is RECOMMENDED" (§10).
func (c *Call) setSession(now time.Time, interval time.Duration, ours bool) {
	s := &c.session
	interval = max(interval, leastSE)
	s.interval, s.ours, s.again = interval, ours, false
	s.until = now.Add(interval - min(32*time.Second, interval/3))
	s.timer.F = c.sessionDue
	at := s.until
	if ours {
		at = now.Add(interval / 2)
	}
	c.env.Timers().Set(&s.timer, at)
}

func (s *session) stop(c *Call) {
	s.interval = 0
	c.env.Timers().Stop(&s.timer)
}

func (c *Call) sessionDue(now time.Time) {
	s := &c.session
	if !now.Before(s.until) {
		c.drop(now, End{By: Network, Err: ErrExpired, Reasons: []Reason{{Protocol: "SIP", Cause: 408, Text: "Session timer expired"}}})
		return
	}
	c.env.Timers().Set(&s.timer, s.until)
	// It does not count among the offers that wait: a queue that is full
	// must not end the call.
	c.queued = append(c.queued, &reoffer{c: c, refresh: true, done: c.refreshed})
	c.next(now)
}

// refreshed: a refusal is not the end, unless it says that the dialog is gone
// (RFC 4028 §10). It is tried once more, halfway to the end, not "continuously".
func (c *Call) refreshed(now time.Time, err error) {
	s := &c.session
	if err == nil || c.state == Ended || s.again || s.interval == 0 {
		return
	}
	s.again = true
	c.env.Timers().Set(&s.timer, now.Add(s.until.Sub(now)/2))
}

// Explain are the header fields that belong to the answer which an error of
// NewIncoming means.
func Explain(err error) []sipgo.Header {
	switch e := err.(type) {
	case *intervalError:
		return []sipgo.Header{sipgo.NewHeader("Min-SE", seconds(e.least))}
	case *bodyError:
		if e.status == sipgo.StatusUnsupportedMediaType { // RFC 3261 §8.2.3
			return []sipgo.Header{sipgo.NewHeader("Accept", Accepted), sipgo.NewHeader("Accept-Encoding", "identity")}
		}
	}
	return nil
}

func (c *Call) explain(now time.Time, s *transaction.Server, err error) {
	r := c.response(s, StatusOf(err), "")
	for _, h := range Explain(err) {
		r.AppendHeader(h)
	}
	c.respond(now, s, r)
}
