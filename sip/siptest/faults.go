package siptest

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// Direction of a message, seen from the lab.
type Direction int

// The directions. The zero value is either.
const (
	FromDevice Direction = iota + 1 // the lab receives it
	ToDevice                        // the lab sends it
)

func (d Direction) String() string {
	switch d {
	case 0:
		return "either way"
	case FromDevice:
		return "from device"
	case ToDevice:
		return "to device"
	}
	return "Direction(" + strconv.Itoa(int(d)) + ")"
}

// Match says which messages a fault is about. Zero fields match everything.
type Match struct {
	// Method of the request, or of the request that a response answers.
	Method string
	// Status of a response: a code, or 1 to 6 for its class. 0 is requests
	// alone; AnyStatus is responses of any.
	Status int
	// User whose device it comes from or goes to: by the flow it registered
	// on, or by From or To before that.
	User string
	// Direction of the message.
	Direction Direction
}

// AnyStatus matches responses whatever their status, AnyMessage requests and
// responses.
const (
	AnyStatus  = -1
	AnyMessage = -2
)

// Fault is something that goes wrong with messages. What happens is said by
// the fields from Drop on; several can be combined.
type Fault struct {
	Match Match
	// First is the number of the first message that is hit, among those that
	// match, counted from 1; 0 is 1. Retransmissions count too.
	First int
	// Count is how many messages are hit; 0 is one, negative is all from
	// First on.
	Count int

	// Drop loses the message.
	Drop bool
	// Delay delivers it later.
	Delay time.Duration
	// Copies delivers it so many times more.
	Copies int
	// Close ends the message's connection after it, and after the lab's
	// immediate answer to it.
	Close bool
	// Cut lets the connection fall silent, see Server.Cut: before the message
	// if the lab sends it, before its answer if the lab receives it.
	Cut bool

	// Answer refuses requests of devices with this status, 300 to 699,
	// instead of processing them, with RetryAfter in whole seconds if that is
	// not 0. Retransmissions do not count here. It excludes Drop, Delay and
	// Copies.
	Answer     int
	RetryAfter time.Duration
}

// Injected is a fault at work.
type Injected struct {
	s     *Server
	f     Fault
	seen  int
	hits  int
	ended bool
}

// faults are those at work. Safe for concurrent use.
type faults struct {
	mu  sync.Mutex
	all []*Injected
}

// Inject makes something go wrong from now on.
func (s *Server) Inject(f Fault) *Injected {
	i := &Injected{s: s, f: f}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.all = append(s.faults.all, i)
	return i
}

// Remove ends the fault. What it has delayed is still delivered.
func (i *Injected) Remove() {
	i.s.faults.mu.Lock()
	defer i.s.faults.mu.Unlock()
	i.ended = true
	i.s.faults.all = slices.DeleteFunc(i.s.faults.all, func(x *Injected) bool { return x == i })
}

// Hits is how many messages the fault has hit.
func (i *Injected) Hits() int {
	i.s.faults.mu.Lock()
	defer i.s.faults.mu.Unlock()
	return i.hits
}

// Mend ends all faults, the loss of media packets included. What is cut stays
// cut.
func (s *Server) Mend() {
	s.faults.mu.Lock()
	s.faults.all = nil
	s.faults.mu.Unlock()
	s.SetLoss(0)
}

// facts are what faults look at in a message.
type facts struct {
	method string
	status int // 0: a request
	user   string
	dir    Direction
}

func (m *Match) matches(f *facts) bool {
	switch {
	case m.Status == AnyMessage:
	case m.Status == AnyStatus:
		if f.status == 0 {
			return false
		}
	case m.Status >= 1 && m.Status <= 6:
		if f.status/100 != m.Status {
			return false
		}
	case m.Status != f.status:
		return false
	}
	return (m.Method == "" || strings.EqualFold(m.Method, f.method)) &&
		(m.User == "" || m.User == f.user) && (m.Direction == 0 || m.Direction == f.dir)
}

// hit counts a message that matches, and tells whether it is hit. The caller
// holds mu.
func (i *Injected) hit(f *facts) bool {
	if !i.f.Match.matches(f) {
		return false
	}
	i.seen++
	first, count := max(i.f.First, 1), i.f.Count
	if count == 0 {
		count = 1
	}
	if i.seen < first || count > 0 && i.seen >= first+count {
		return false
	}
	i.hits++
	return true
}

// factsOf reads a message. In the loop.
func (l *life) factsOf(now time.Time, f *transport.Flow, m sipgo.Message, out bool) facts {
	facts := facts{dir: FromDevice}
	if out {
		facts.dir = ToDevice
	}
	req, isReq := m.(*sipgo.Request)
	if isReq {
		facts.method = string(req.Method)
	} else if r, ok := m.(*sipgo.Response); ok {
		facts.status = r.StatusCode
		if cseq := r.CSeq(); cseq != nil {
			facts.method = string(cseq.MethodName)
		}
	}
	if b := l.srv.loc.at(f, now); b != nil {
		facts.user = b.user.Name
		return facts
	}
	// A device is named by From where it made the request.
	name := "To"
	if isReq != out {
		name = "From"
	}
	if _, uri, _, err := sipwire.ParseNameAddr(sipwire.Header(m, name)); err == nil {
		facts.user = uri.User
		if u := l.srv.users.find(uri.User); u != nil {
			facts.user = u.Name
		}
	}
	return facts
}

// fate applies the faults to a message on its way. In the loop.
func (l *life) fate(now time.Time, f *transport.Flow, m sipgo.Message, out bool) []time.Duration {
	fs := &l.srv.faults
	fs.mu.Lock()
	if len(fs.all) == 0 {
		fs.mu.Unlock()
		return endpoint.AsIs
	}
	facts := l.factsOf(now, f, m, out)
	var sum Fault
	hit := false
	for _, i := range fs.all {
		if i.f.Answer != 0 || !i.hit(&facts) {
			continue
		}
		hit = true
		sum.Drop = sum.Drop || i.f.Drop
		sum.Close, sum.Cut = sum.Close || i.f.Close, sum.Cut || i.f.Cut
		sum.Delay += i.f.Delay
		sum.Copies += i.f.Copies
	}
	fs.mu.Unlock()
	if !hit {
		return endpoint.AsIs
	}
	l.srv.tape.mark(f, m, out, &sum)
	switch {
	case sum.Cut:
		l.net.silence(placeOf(f))
	case sum.Close && f.Reliable():
		l.ep.Q.Set(&timerq.Timer{F: func(time.Time) { f.Close(nil) }}, now)
	}
	if sum.Drop {
		return nil
	}
	return slices.Repeat([]time.Duration{sum.Delay}, 1+min(max(sum.Copies, 0), 100))
}

// refuseByFault answers a request that a fault wants refused. In the loop.
func (l *life) refuseByFault(now time.Time, s *transaction.Server) bool {
	fs := &l.srv.faults
	fs.mu.Lock()
	var f *Fault
	if len(fs.all) > 0 {
		facts := l.factsOf(now, s.Flow().(*transport.Flow), s.Request(), false)
		for _, i := range fs.all {
			if i.f.Answer != 0 && i.hit(&facts) {
				f = &i.f
				break
			}
		}
	}
	fs.mu.Unlock()
	if f == nil {
		return false
	}
	var headers []sipgo.Header
	if f.RetryAfter > 0 {
		headers = append(headers, seconds("Retry-After", f.RetryAfter))
	}
	l.respond(now, s, f.Answer, headers...)
	return true
}

// what says what a fault does to a message, for the transcript.
func (f *Fault) what() string {
	var words []string
	add := func(s string) { words = append(words, s) }
	if f.Drop {
		add("lost")
	}
	if f.Delay > 0 && !f.Drop {
		add("delayed " + f.Delay.String())
	}
	if f.Copies > 0 && !f.Drop {
		add("repeated " + strconv.Itoa(f.Copies) + "×")
	}
	if f.Close && !f.Cut {
		add("connection closed")
	}
	if f.Cut {
		add("connection cut")
	}
	return strings.Join(words, ", ")
}

// Disconnect closes the connections of a user's devices, or all there are if
// user is "", as a server does that is tired of them: the devices see the end
// of the connection. It tells how many there were. UDP has none.
func (s *Server) Disconnect(user string) int {
	return s.eachConn(user, (*plugs).hangUp)
}

// Cut lets the connections of a user's devices, or all if user is "", fall
// silent: what is sent either way vanishes from now on, and nobody is told.
// It tells how many there were. Where a device sends from the same address
// again over UDP it stays cut; a new connection is not.
func (s *Server) Cut(user string) int {
	return s.eachConn(user, (*plugs).silence)
}

func (s *Server) eachConn(user string, do func(p *plugs, at place) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.life
	if l == nil {
		return 0
	}
	var places []place
	if user == "" {
		places = l.net.places()
	}
	if u := s.users.find(user); u != nil {
		for _, b := range s.loc.of(u, time.Now()) {
			places = append(places, b.place)
		}
	}
	n := 0
	for _, at := range places {
		if do(&l.net, at) {
			n++
		}
	}
	return n
}
