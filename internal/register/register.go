// Package register keeps one binding alive at a registrar: RFC 3261 section 10
// with the outbound (RFC 5626), GRUU (RFC 5627), Path (RFC 3327),
// Service-Route (RFC 3608) and keep (RFC 6223) extensions.
//
// A [Machine] stands for one Contact of one address of record, over whatever
// flow its user has at the time. It has no clock, no socket and no goroutine:
// the loop that owns it gives the time, sends its requests and hears what came
// of them. It refreshes by itself. When a request fails it says so and waits:
// when to try again, and over which flow, is its user's decision.
package register

import (
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/timerq"
)

const (
	defaultExpires = time.Hour
	// A lifetime longer than this is taken as this, unless more was asked for;
	// a Min-Expires above it is refused.
	maxExpires = 24 * time.Hour
	maxDelta   = (1<<32 - 1) * time.Second // of delta-seconds, RFC 3261 section 20.19
	// No registrar makes the machine refresh more often.
	minRefresh = 5 * time.Second
	// A refresh starts at least this long before the binding ends, where the
	// lifetime allows: a transaction may take 64*T1, 32 s.
	refreshLead = 40 * time.Second
	// Repeats of one request with something changed (423, 420, 439).
	maxRepeats = 4

	defaultT1 = 500 * time.Millisecond
)

var (
	// ErrNotGranted is the failure of a REGISTER whose 2xx says that our
	// binding has no lifetime left.
	ErrNotGranted = errors.New("register: the registrar accepted the request but granted no binding")
	// ErrTimeout ends an Unregister that was not answered within 64*T1.
	ErrTimeout = errors.New("register: the binding was not removed in time")
)

// Config describes a binding. Registrar, AOR and Contact are required.
type Config struct {
	// Registrar is the Request-URI. A user part is left out (RFC 3261 section 10.2).
	Registrar sipgo.Uri
	// AOR is the address of record, in To and From.
	AOR sipgo.Uri
	// DisplayName goes with AOR; empty for none.
	DisplayName string

	// Contact tells the Contact URI of the current flow. It is asked before
	// each REGISTER.
	Contact func() sipgo.Uri
	// ContactParams are further Contact parameters, such as q. Values are
	// given unquoted; an empty value is a parameter without one.
	ContactParams []Param
	// Instance is the URN for +sip.instance, without angle brackets:
	// urn:uuid:... Empty for none, which rules out Outbound and GRUU.
	Instance string
	// RegID tells the flows of an instance apart (RFC 5626 section 4.2): 1 to
	// 2^31-1; 0 means 1. It is sent with Outbound only.
	RegID int
	// Outbound asks for RFC 5626.
	Outbound bool
	// GRUU asks for RFC 5627.
	GRUU bool
	// Keep tells that the sender puts a keep parameter in its Via (RFC 6223);
	// the answer to it is then read.
	Keep bool

	// Expires is the lifetime to ask for, in whole seconds; 0 means one hour.
	Expires time.Duration
	// T1 is the round-trip estimate of RFC 3261 section 17; 0 means 500 ms.
	T1 time.Duration

	// CallID and FromTag identify the machine's requests; empty ones are made up.
	CallID, FromTag string
	// Rand gives numbers in [0, 1) for the jitter of refreshes; nil for a
	// generator of our own.
	Rand func() float64
}

// Param is a parameter of a header.
type Param struct{ Name, Value string }

// Sender carries the requests of a machine.
type Sender interface {
	// Register sends a REGISTER that lacks only Via, Route, credentials and
	// what the user agent says about itself. It answers 401 and 407 by itself,
	// repeating the request with the number of Machine.NextCSeq, and calls
	// done once with the final response, or with the error in its place. It may
	// do so before it returns. After cancel it calls done no more; cancel may
	// be nil.
	Register(now time.Time, req *sipgo.Request, done func(now time.Time, res *sipgo.Response, err error)) (cancel func())
}

// Observer hears what becomes of the binding. It may call the machine.
type Observer interface {
	// Registered is called for each 2xx, those to refreshes included.
	Registered(now time.Time, b Binding)
	// Unregistered ends each Unregister. With an error the registrar was not
	// heard to remove the binding and may keep it until it expires.
	Unregistered(now time.Time, err error)
	// Failed is called when a REGISTER came to nothing. The machine then
	// waits for Refresh or FlowChanged; a binding granted earlier still lives
	// until it expires. The error is a *Rejected if the registrar answered.
	//
	// retryAfter is how long the registrar wants to be left alone; at most an
	// hour, 0 if it did not say. move, if not nil, is where a 3xx sends us;
	// it is never less secure in its scheme than the registrar's URI, but
	// whether to follow, and how often, is the observer's decision. fatal
	// says that the same request has no better chance later.
	Failed(now time.Time, err error, retryAfter time.Duration, move *sipgo.Uri, fatal bool)
}

type state uint8

const (
	idle    state = iota // not started, or ended
	active               // registering, registered, or waiting after a failure
	leaving              // removing the binding
)

// Machine is one binding. It is not safe for concurrent use: the loop that
// owns its queue owns the machine.
type Machine struct {
	q     *timerq.Queue
	cfg   Config
	s     Sender
	o     Observer
	timer timerq.Timer // active: the refresh; leaving: when to give up

	state   state
	cseq    uint32
	learned learned

	binding Binding // the newest granted
	// heldUntil is how long the registrar may hold a binding of ours: the
	// granted one, or one whose REGISTER got no answer.
	heldUntil time.Time

	// The request that is under way.
	exchange uint64 // counts requests, so that late answers are known as such
	inFlight bool
	removal  bool // it removes the binding
	asked    time.Duration
	contact  sipgo.Uri
	repeats  int
	cancel   func()
}

// learned is what the registrar, or a proxy on the way, made us change. It
// holds for one flow.
type learned struct {
	minExpires                 time.Duration
	noOutbound, noGRUU, noPath bool
}

// New makes a machine that does nothing until Start. Its timer is on q.
func New(q *timerq.Queue, cfg Config, s Sender, o Observer) *Machine {
	if cfg.Expires <= 0 {
		cfg.Expires = defaultExpires
	}
	cfg.Expires = min(roundUp(cfg.Expires), maxDelta)
	if cfg.T1 <= 0 {
		cfg.T1 = defaultT1
	}
	if cfg.RegID <= 0 {
		cfg.RegID = 1
	}
	if cfg.Instance == "" {
		// RFC 5626 section 4.2.1 and RFC 5627 section 4.1: both rest on the instance.
		cfg.Outbound, cfg.GRUU = false, false
	}
	if cfg.CallID == "" {
		cfg.CallID = rand.Text()
	}
	if cfg.FromTag == "" {
		cfg.FromTag = rand.Text()
	}
	if cfg.Rand == nil {
		cfg.Rand = mathrand.Float64
	}
	m := &Machine{q: q, cfg: cfg, s: s, o: o}
	m.timer.F = m.due
	return m
}

// Start registers and keeps the binding alive from then on. It does nothing
// on a machine that was started and not stopped or unregistered since.
func (m *Machine) Start(now time.Time) {
	if m.state != idle {
		return
	}
	m.state = active
	m.register(now)
}

// Refresh registers now, unless a request is under way already (RFC 3261
// section 10.2 allows no second one). After a failure it is the way to try again.
func (m *Machine) Refresh(now time.Time) {
	if m.state == active && !m.inFlight {
		m.register(now)
	}
}

// FlowChanged tells that requests go over another flow from now on. A request
// under way is given up and made again there, with the same Call-ID and a
// higher CSeq, by which the registrar knows the newer.
func (m *Machine) FlowChanged(now time.Time) {
	if m.state == idle {
		return
	}
	m.abandon(now)
	m.learned = learned{}
	if m.state == leaving {
		m.remove(now)
		return
	}
	m.register(now)
}

// Unregister removes the binding. Observer.Unregistered follows, at the
// latest after 64*T1. A REGISTER under way is awaited first (RFC 3261 section
// 10.2).
func (m *Machine) Unregister(now time.Time) {
	switch {
	case m.state == leaving:
		return
	case m.inFlight:
		m.state = leaving
		m.q.Set(&m.timer, now.Add(64*m.cfg.T1))
	case m.heldUntil.After(now):
		m.state = leaving
		m.q.Set(&m.timer, now.Add(64*m.cfg.T1))
		m.remove(now)
	default:
		m.left(now, nil)
	}
}

// Stop ends the machine without a word to the registrar or the observer.
func (m *Machine) Stop(now time.Time) {
	m.q.Stop(&m.timer)
	m.abandon(now)
	m.state = idle
}

// Binding is what the registrar granted last, and whether it still holds.
func (m *Machine) Binding(now time.Time) (Binding, bool) {
	return m.binding, m.binding.Expires.After(now)
}

// NextCSeq takes the next sequence number, for a Sender that repeats a
// request with credentials (RFC 3261 section 22.2).
func (m *Machine) NextCSeq() uint32 {
	m.cseq++
	return m.cseq
}

// due runs when the timer is.
func (m *Machine) due(now time.Time) {
	switch m.state {
	case active:
		m.Refresh(now)
	case leaving:
		m.abandon(now)
		m.left(now, ErrTimeout)
	}
}

// register makes a new attempt.
func (m *Machine) register(now time.Time) {
	m.q.Stop(&m.timer)
	m.repeats = 0
	m.send(now)
}

// send asks for the binding.
func (m *Machine) send(now time.Time) {
	m.removal = false
	m.asked = max(m.cfg.Expires, m.learned.minExpires)
	m.contact = m.cfg.Contact()
	if m.learned.noOutbound {
		m.contact = withoutOb(m.contact)
	}
	m.dispatch(now, m.request(now))
}

// remove asks for the removal of the binding.
func (m *Machine) remove(now time.Time) {
	m.removal = true
	m.asked = 0
	m.contact = m.cfg.Contact()
	if b := &m.binding; b.Expires.After(now) && !b.Outbound {
		// Without outbound the registrar knows the binding by its URI
		// (RFC 3261 section 10.3), not by instance and reg-id.
		m.contact = b.Contact
	}
	m.dispatch(now, m.request(now))
}

func (m *Machine) dispatch(now time.Time, req *sipgo.Request) {
	m.exchange++
	n := m.exchange
	m.inFlight = true
	ended := false
	cancel := m.s.Register(now, req, func(now time.Time, res *sipgo.Response, err error) {
		if ended || n != m.exchange || !m.inFlight || err == nil && res != nil && res.IsProvisional() {
			return
		}
		ended = true
		m.inFlight, m.cancel = false, nil
		m.done(now, res, err)
	})
	switch {
	case ended || cancel == nil:
	case n == m.exchange && m.inFlight:
		m.cancel = cancel
	default: // given up before the Sender returned
		cancel()
	}
}

// abandon gives up the request under way, if there is one.
func (m *Machine) abandon(now time.Time) {
	if !m.inFlight {
		return
	}
	m.inFlight = false
	m.hold(now)
	if cancel := m.cancel; cancel != nil {
		m.cancel = nil
		cancel()
	}
}

// hold notes that the request under way may have reached the registrar.
func (m *Machine) hold(now time.Time) {
	if at := now.Add(m.asked); !m.removal && at.After(m.heldUntil) {
		m.heldUntil = at
	}
}

// left ends an Unregister.
func (m *Machine) left(now time.Time, err error) {
	m.q.Stop(&m.timer)
	m.state = idle
	if err == nil {
		m.binding, m.heldUntil = Binding{}, time.Time{}
	}
	m.o.Unregistered(now, err)
}

// refreshIn is how long after its grant a binding is refreshed: a tenth of its
// lifetime before the end, but 40 s at least, and no earlier than half-way; of
// that wait, up to a tenth is left out at random, so that phones that lost a
// server together do not stay in step.
func refreshIn(lifetime time.Duration, random float64) time.Duration {
	wait := lifetime - min(max(lifetime/10, refreshLead), lifetime/2)
	wait -= time.Duration(float64(wait) / 10 * random)
	return max(wait, minRefresh)
}

func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}
