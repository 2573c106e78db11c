package siptest

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// instant is an instant message (RFC 3428) on its way to the devices of a user.
// The first that takes it counts; if none does, its sender gets the best of
// their refusals.
type instant struct {
	l    *life
	s    *transaction.Server
	left int             // devices that have said nothing yet
	best *sipgo.Response // of those that have refused; nil: none
	wait timerq.Timer
	over bool // the sender has been answered
}

const (
	// maxInstants bounds those that are under way: more get 503.
	maxInstants = 1000
	// instantSize is the greatest body in bytes: a larger one gets 413.
	instantSize = 64 << 10
	// instantTime is how long the lab waits for devices. The sender's
	// transaction lasts 32 s, and a 408 would be of no use to it (RFC 4320 §4.2).
	instantTime = 20 * time.Second
)

// messaged passes a MESSAGE on: to all devices of a user, or to the one that a
// GRUU names. Nothing is stored for those who are not there.
func (l *life) messaged(now time.Time, s *transaction.Server) {
	req := s.Request()
	caller, ok := l.callerOf(now, s)
	if !ok {
		return
	}
	uri := &req.Recipient
	callee, devices, found := l.locate(now, uri, userPart(uri))
	status := 0
	switch {
	case len(req.Body()) > instantSize:
		status = sipgo.StatusRequestEntityTooLarge
	case uri.Scheme != "tel" && !l.ours(uri), !found:
		status = sipgo.StatusNotFound
	case len(devices) == 0:
		status = sipgo.StatusTemporarilyUnavailable
	case l.instants >= maxInstants:
		status = sipgo.StatusServiceUnavailable
	}
	if status != 0 {
		l.respond(now, s, status)
		return
	}
	l.instants++
	m := &instant{l: l, s: s, left: len(devices)}
	m.wait.F = m.refuse
	l.ep.Q.Set(&m.wait, now.Add(instantTime))
	as := l.callerID(req, caller)
	for _, d := range devices {
		l.send(now, d.flow, l.instant(req, as, callee, d), m.answered)
	}
}

// copied are the header fields of a message, beside Content-Type, that are for who reads it
// (RFC 3428 §4, RFC 3261 §20.11).
var copied = []string{
	"Content-Encoding", "Content-Language", "Content-Disposition", "Date", "Expires", "Subject", "In-Reply-To", "Priority",
}

// instant is the MESSAGE to a device. It has no Contact (RFC 3428 §4).
func (l *life) instant(in *sipgo.Request, as identity, callee *User, d *binding) *sipgo.Request {
	req := l.outside(sipgo.MESSAGE, d, hops(in)-1, legKey{l.callID(), l.tag()},
		&sipgo.FromHeader{DisplayName: as.name, Address: as.from},
		&sipgo.ToHeader{DisplayName: callee.DisplayName, Address: callee.uri(l.cfg.Domain)})
	if as.asserted != "" {
		req.AppendHeader(sipgo.NewHeader("P-Asserted-Identity", as.asserted))
	}
	req.AppendHeader(sipgo.NewHeader("Privacy", as.privacy))
	for _, name := range append([]string{"Content-Type"}, copied...) {
		for _, h := range in.GetHeaders(name) {
			req.AppendHeader(h)
		}
	}
	req.SetBody(in.Body())
	decorate(req)
	return req
}

// answered takes the final response of a device; res is nil where none came.
func (m *instant) answered(now time.Time, _ int, res *sipgo.Response) {
	if m.left--; m.left == 0 {
		m.l.instants--
	}
	if m.over {
		return
	}
	if res != nil && res.IsSuccess() {
		m.end(now, res)
		return
	}
	if res != nil && (m.best == nil || (&refusal{status: res.StatusCode}).better(&refusal{status: m.best.StatusCode})) {
		m.best = res
	}
	if m.left == 0 {
		m.refuse(now)
	}
}

// refuse tells the sender that no device has taken the message.
func (m *instant) refuse(now time.Time) {
	if m.best != nil {
		m.end(now, m.best)
		return
	}
	m.over = true
	m.l.ep.Q.Stop(&m.wait)
	m.l.respond(now, m.s, sipgo.StatusTemporarilyUnavailable)
}

func (m *instant) end(now time.Time, res *sipgo.Response) {
	m.over = true
	m.l.ep.Q.Stop(&m.wait)
	m.l.passBack(now, m.s, res)
}

// returned are the header fields of a device's response that are for who asked.
var returned = []string{"Allow", "Accept", "Accept-Encoding", "Accept-Language", "Retry-After"}

// passBack answers a request that was passed on with what the device has said.
func (l *life) passBack(now time.Time, s *transaction.Server, res *sipgo.Response) {
	if s.Final() {
		return // its connection was lost meanwhile, or the call has ended
	}
	// No 408 but to INVITE (RFC 4320 §4.2), and no 481 in a dialog that lives on.
	status := passedOn(refusedStatus(res.StatusCode), sipgo.StatusTemporarilyUnavailable)
	out := sipwire.ResponseTo(s.Request(), status, "", l.tag())
	for _, name := range returned {
		for _, h := range res.GetHeaders(name) {
			out.AppendHeader(h)
		}
	}
	s.Respond(now, out)
}
