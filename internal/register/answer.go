package register

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// A Retry-After beyond this is taken as this: no registrar silences a phone for a day.
const maxRetryAfter = time.Hour

// Rejected is the failure of a REGISTER that was answered with a final
// response other than 2xx.
type Rejected struct {
	Status     int
	Reason     string        // the registrar's words, at most 128 bytes
	RetryAfter time.Duration // at most an hour; 0 if it did not say
}

func (e *Rejected) Error() string {
	return fmt.Sprintf("register: rejected with %d %s", e.Status, strconv.Quote(e.Reason))
}

// done takes the outcome of the request under way.
func (m *Machine) done(now time.Time, res *sipgo.Response, err error) {
	switch {
	case m.removal:
		if err == nil && !res.IsSuccess() {
			err = rejected(res)
		}
		m.left(now, err)
	case err != nil:
		m.hold(now)
		m.failed(now, err, 0, nil, false)
	case res.IsSuccess():
		m.accepted(now, res)
	default:
		m.refused(now, res)
	}
}

func (m *Machine) accepted(now time.Time, res *sipgo.Response) {
	b, lifetime := m.grant(now, res)
	m.binding, m.heldUntil = b, b.Expires
	switch {
	case lifetime == 0:
		m.failed(now, ErrNotGranted, 0, nil, false)
	case m.state == leaving:
		m.remove(now)
	default:
		m.q.Set(&m.timer, now.Add(refreshIn(lifetime, m.cfg.Rand())))
		m.o.Registered(now, b)
	}
}

// failed ends an attempt. One that Unregister waited for makes way for the
// removal of what an earlier one left.
func (m *Machine) failed(now time.Time, err error, retryAfter time.Duration, move *sipgo.Uri, fatal bool) {
	switch {
	case m.state == active:
		m.o.Failed(now, err, retryAfter, move, fatal)
	case m.heldUntil.After(now):
		m.remove(now)
	default:
		m.left(now, nil)
	}
}

// refused takes a final response other than 2xx.
func (m *Machine) refused(now time.Time, res *sipgo.Response) {
	if m.state == active && m.repeats < maxRepeats && m.adapt(res) {
		m.repeats++
		m.send(now)
		return
	}
	var move *sipgo.Uri
	if res.IsRedirection() {
		move = m.redirect(res)
	}
	r := rejected(res)
	m.failed(now, r, r.RetryAfter, move, fatal(res.StatusCode))
}

// adapt changes what the response objects to, and tells whether the request
// is now another one.
func (m *Machine) adapt(res *sipgo.Response) bool {
	before := m.learned
	switch res.StatusCode {
	case 420: // Bad Extension: RFC 3261 section 8.1.3.5
		for option := range sipwire.Values(res, "Unsupported") {
			switch strings.ToLower(option) {
			case "path":
				m.learned.noPath, m.learned.noOutbound = true, true
			case "outbound":
				m.learned.noOutbound = true
			case "gruu":
				m.learned.noGRUU = true
			}
		}
	case 423: // Interval Too Brief: RFC 3261 section 10.2.8
		if least, ok := sipwire.Seconds(res, "Min-Expires"); ok && least > m.asked && least <= maxExpires {
			m.learned.minExpires = least
		}
	case 439: // First Hop Lacks Outbound Support: RFC 5626 section 11.6
		m.learned.noOutbound = m.learned.noOutbound || m.cfg.Outbound
	}
	return m.learned != before
}

// redirect picks the Contact with the highest q of a 3xx (RFC 3261 section
// 8.1.3.4), the first among equals.
func (m *Machine) redirect(res *sipgo.Response) *sipgo.Uri {
	var move *sipgo.Uri
	best := -1.0
	for _, c := range sipwire.Contacts(res) {
		if !isSIP(&c.Address) || m.cfg.Registrar.Scheme == "sips" && c.Address.Scheme != "sips" {
			continue
		}
		s, _ := sipwire.Param(c.Params, "q")
		q, err := strconv.ParseFloat(s, 64)
		if err != nil || !(q >= 0 && q <= 1) {
			q = 1
		}
		if u := own(&c.Address); u != nil && q > best {
			move, best = u, q
		}
	}
	return move
}

func rejected(res *sipgo.Response) *Rejected {
	after, _ := sipwire.RetryAfter(res)
	return &Rejected{
		Status: res.StatusCode, Reason: strings.Clone(res.Reason[:min(len(res.Reason), 128)]),
		RetryAfter: min(after, maxRetryAfter),
	}
}

// fatal tells whether only another configuration can help: credentials (the
// Sender has tried them), address of record, server or software.
func fatal(status int) bool {
	switch status {
	case 401, 403, 404, 405, 407, 410, 416, 420, 421, 501, 505, 604:
		return true
	}
	return false
}
