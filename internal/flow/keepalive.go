// Package flow keeps a registered flow alive, notices that it is dead, and
// tells when to try again (RFC 5626 §4.4 and §4.5, RFC 6223).
//
// Both machines are pure: time is an argument, randomness is given, what is to
// be sent goes out through an interface.
package flow

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/hoorn-phone/hoorn/internal/timerq"
)

// The intervals of RFC 5626 §4.4.1 and §4.4.2 where the server recommends none.
const (
	minStream, maxStream     = 95 * time.Second, 120 * time.Second
	minDatagram, maxDatagram = 24 * time.Second, 29 * time.Second
)

// pongWait is how long a pong may take (RFC 5626 §4.4.1).
const pongWait = 10 * time.Second

// The retransmission timers of STUN over UDP (RFC 5389 §7.2.1).
const (
	defaultRTO      = 500 * time.Millisecond
	defaultRequests = 7  // Rc
	lastWait        = 16 // Rm, times RTO
)

// Terms are what the server said about keep-alives in its answer to a REGISTER.
type Terms struct {
	// Answered: the server answers keep-alives, because the response
	// required outbound (RFC 5626 §6) or had a keep parameter in the
	// topmost Via (RFC 6223 §4.3). Without it keep-alives only hold NAT
	// bindings open and silence proves nothing.
	Answered bool
	// Interval is the Flow-Timer or the value of keep, which have one
	// meaning (RFC 6223 §5): the server wants a keep-alive at least this
	// often. 0 means that it recommends nothing.
	Interval time.Duration
}

// Config is what a KeepAlive is made with.
type Config struct {
	// Reliable: the flow is a connection, which carries CRLFs; otherwise
	// it is UDP, which carries STUN if the server answers it.
	Reliable bool
	// Rand returns numbers uniform in [0, 1).
	Rand func() float64
	// TxID returns a new random STUN transaction ID. Needed for UDP only.
	TxID func() [12]byte
	// RTO is STUN's first retransmission timeout; 0 means 500 ms, right
	// for a path whose round-trip time is not known (RFC 5389 §7.2.1).
	RTO time.Duration
	// Requests is how often a STUN request is sent in all before the flow
	// has failed; 0 means 7 (RFC 5626 §4.4.2), with which silence is
	// noticed 79 RTO after the first.
	Requests int
}

// User is who runs the flow. Its methods are called from within those of the
// KeepAlive and must not block.
type User interface {
	// SendPing sends CRLFCRLF.
	SendPing(now time.Time)
	// SendSTUN sends a STUN Binding request.
	SendSTUN(now time.Time, id [12]byte)
	// FlowFailed is called once, when the flow is to be given up. The
	// KeepAlive has stopped by then.
	FlowFailed(now time.Time, err error)
}

// TimeoutError says that a keep-alive was not answered. It is a timeout in the
// sense of net.Error.
type TimeoutError struct {
	// What was missing: "pong" or "STUN response".
	What string
	// After is the time since the keep-alive was first sent.
	After time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("flow: no %s within %v", e.What, e.After)
}

// Timeout implements net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary implements net.Error.
func (e *TimeoutError) Temporary() bool { return true }

// MappedError says that the address which a NAT has given to the flow has
// changed, so that what was registered leads nowhere (RFC 5626 §4.4.2).
type MappedError struct{ Was, Is netip.AddrPort }

func (e *MappedError) Error() string {
	return fmt.Sprintf("flow: mapped address changed from %v to %v", e.Was, e.Is)
}

// STUNError says that the server refused a Binding request, which fails the
// flow too (RFC 5626 §4.4.2).
type STUNError struct{ Err error }

func (e *STUNError) Error() string { return "flow: STUN refused: " + e.Err.Error() }

// Unwrap is the server's answer.
func (e *STUNError) Unwrap() error { return e.Err }

// KeepAlive is the keep-alive machine of one flow.
type KeepAlive struct {
	q    *timerq.Queue
	cfg  Config
	user User

	terms   Terms
	running bool
	next    timerq.Timer // the next keep-alive
	answer  timerq.Timer // a missing pong, or STUN's retransmission

	sent   time.Time // when the one that is awaited was first sent
	id     [12]byte  // its STUN transaction
	tries  int       // how often it was sent
	mapped netip.AddrPort
}

// New returns a machine that does nothing before Start.
func New(q *timerq.Queue, cfg Config, user User) *KeepAlive {
	if cfg.RTO <= 0 {
		cfg.RTO = defaultRTO
	}
	if cfg.Requests <= 0 {
		cfg.Requests = defaultRequests
	}
	k := &KeepAlive{q: q, cfg: cfg, user: user}
	k.next.F, k.answer.F = k.due, k.missing
	return k
}

// Start begins keep-alives, or goes on with them on other terms. It is called
// with the terms of each successful registration; terms that have not changed
// change nothing.
func (k *KeepAlive) Start(now time.Time, t Terms) {
	if k.running && t == k.terms {
		return
	}
	if !t.Answered {
		k.q.Stop(&k.answer)
	}
	k.terms, k.running = t, true
	k.schedule(now)
}

// Stop ends keep-alives. Start can begin them again.
func (k *KeepAlive) Stop() {
	k.running = false
	k.q.Stop(&k.next)
	k.q.Stop(&k.answer)
}

// Probe sends a keep-alive at once, if the server answers them and none is
// awaited: is the flow still there, after the network has changed or the
// machine has slept?
func (k *KeepAlive) Probe(now time.Time) {
	if k.running && k.terms.Answered && !k.answer.Active() {
		k.due(now)
	}
}

// Pong takes the answer to a ping.
func (k *KeepAlive) Pong(time.Time) {
	if k.cfg.Reliable {
		k.q.Stop(&k.answer)
	}
}

// STUN takes the answer to a Binding request: the mapped address, or what the
// server found wrong. Answers to other requests than the latest are ignored.
func (k *KeepAlive) STUN(now time.Time, id [12]byte, mapped netip.AddrPort, err error) {
	if k.cfg.Reliable || !k.answer.Active() || id != k.id {
		return
	}
	k.q.Stop(&k.answer)
	switch was := k.mapped; {
	case err != nil:
		k.fail(now, &STUNError{err})
	case was.IsValid() && was != mapped:
		k.fail(now, &MappedError{was, mapped})
	default:
		k.mapped = mapped
	}
}

// Mapped is the flow's address as the server sees it, once STUN has told.
func (k *KeepAlive) Mapped() netip.AddrPort { return k.mapped }

// due sends a keep-alive and sets the time of the next.
func (k *KeepAlive) due(now time.Time) {
	k.schedule(now)
	switch {
	case !k.terms.Answered:
		k.user.SendPing(now)
	case k.answer.Active():
		// The interval is shorter than an answer may take. The one
		// that is awaited will tell.
	case k.cfg.Reliable:
		k.sent = now
		k.q.Set(&k.answer, now.Add(pongWait))
		k.user.SendPing(now)
	default:
		k.sent, k.tries, k.id = now, 0, k.cfg.TxID()
		k.request(now)
	}
}

// request sends the STUN request, for the first time or again. The waits
// between double from RTO; after the last it is Rm times RTO.
func (k *KeepAlive) request(now time.Time) {
	wait := k.cfg.RTO << k.tries
	k.tries++
	if k.tries == k.cfg.Requests {
		wait = k.cfg.RTO * lastWait
	}
	k.q.Set(&k.answer, now.Add(wait))
	k.user.SendSTUN(now, k.id)
}

// missing is called when an answer should have come.
func (k *KeepAlive) missing(now time.Time) {
	switch {
	case k.cfg.Reliable:
		k.fail(now, &TimeoutError{"pong", now.Sub(k.sent)})
	case k.tries < k.cfg.Requests:
		k.request(now)
	default:
		k.fail(now, &TimeoutError{"STUN response", now.Sub(k.sent)})
	}
}

func (k *KeepAlive) fail(now time.Time, err error) {
	k.Stop()
	k.user.FlowFailed(now, err)
}

// schedule draws the time of the next keep-alive.
func (k *KeepAlive) schedule(now time.Time) {
	low, high := minStream, maxStream
	if !k.cfg.Reliable {
		low, high = minDatagram, maxDatagram
	}
	// RFC 5626 §4.4: 80 to 100 percent of what the server recommends. Over
	// UDP that may only shorten the interval, since a NAT forgets sooner
	// than a server.
	if t := max(k.terms.Interval, time.Second); k.terms.Interval > 0 && (k.cfg.Reliable || t < high) {
		low, high = t*8/10, t
	}
	k.q.Set(&k.next, now.Add(low+time.Duration(k.cfg.Rand()*float64(high-low))))
}
