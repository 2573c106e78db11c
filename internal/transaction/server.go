package transaction

import (
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
)

// ServerUser is told what becomes of a server transaction.
type ServerUser interface {
	// Failed says that the transaction came to nothing: ErrNoAck for a final
	// response other than 2xx to an INVITE, ErrTimeout for another request
	// that its user did not answer within 64*T1. Done follows.
	Failed(now time.Time, s *Server, err error)

	// Done says that the transaction is gone.
	Done(now time.Time, s *Server)
}

type serverState uint8

const (
	serverTrying     serverState = iota // nothing sent yet
	serverProceeding                    // a provisional response sent
	serverAccepted
	serverCompleted
	serverConfirmed
	serverTerminated
)

// Server is a server transaction.
type Server struct {
	// User may be set at any time, and be nil. Setting it to nil lets go of
	// whatever it holds while the transaction lingers.
	User ServerUser

	t       *Table
	flow    Flow
	req     *sipgo.Request // until the final response
	cancels *Server
	key     string
	similar uint64 // mergeHash; 0 for a request that cannot be merged

	timer    timerq.Timer // the next retransmission or end, whichever comes first
	end      time.Time    // Timer H, I, J or L; zero for none
	interval time.Duration

	provisional *sipgo.Response // the latest one sent
	final       []byte          // the final response, where it may have to be sent again

	state  serverState
	invite bool
}

// Request is the request. It is nil once a final response was sent: what
// lingers only absorbs retransmissions.
func (s *Server) Request() *sipgo.Request { return s.req }

// Flow is where responses go.
func (s *Server) Flow() Flow { return s.flow }

// SetFlow moves the transaction to another flow, after the one the request
// came on has failed.
func (s *Server) SetFlow(f Flow) { s.flow = f }

// Cancels is the INVITE transaction that a CANCEL is for, or nil. It may have
// sent its final response already.
func (s *Server) Cancels() *Server { return s.cancels }

// Final tells whether a final response was sent or the transaction is gone.
func (s *Server) Final() bool { return s.state >= serverAccepted }

func (s *Server) start(now time.Time) {
	s.timer.F = s.due
	if s.invite {
		s.interval = trying
	} else {
		// RFC 4320 §4.1: a 100 is due when the client's Timer E has reached
		// T2, not before. §4.2: an answer after the client's Timer F is of
		// no use, so the transaction ends then.
		s.interval = s.t.untilSlow()
		s.end = now.Add(64 * s.t.cfg.T1)
	}
	s.arm(now)
}

// untilSlow is the time it takes Timer E to be set to T2.
func (t *Table) untilSlow() time.Duration {
	var sum time.Duration
	for e := t.cfg.T1; e < t.cfg.T2; e *= 2 {
		sum += e
	}
	return max(sum, t.cfg.T1)
}

func (s *Server) arm(now time.Time) {
	next := s.end
	if s.interval > 0 {
		if at := now.Add(s.interval); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if next.IsZero() {
		s.t.q.Stop(&s.timer)
		return
	}
	s.t.q.Set(&s.timer, next)
}

func (s *Server) due(now time.Time) {
	if !s.end.IsZero() && !now.Before(s.end) {
		switch s.state {
		case serverTrying, serverProceeding:
			s.fail(now, ErrTimeout)
		case serverCompleted:
			if s.invite {
				s.fail(now, ErrNoAck) // Timer H
				return
			}
			s.remove(now) // Timer J
		default:
			s.remove(now) // Timer I, Timer L
		}
		return
	}
	if s.state == serverTrying {
		s.Respond(now, sipwire.ResponseTo(s.req, 100, "", ""))
		return
	}
	// Timer G doubles up to T2 (§17.2.1).
	s.interval = min(2*s.interval, s.t.cfg.T2)
	s.arm(now)
	s.t.resend(now, s.flow, s.final)
}

// Respond sends a response. After a final response everything is ignored,
// except that the user sends its 2xx to an INVITE again through here until
// the ACK comes.
func (s *Server) Respond(now time.Time, r *sipgo.Response) {
	switch {
	case s.state == serverAccepted:
		if r.StatusCode >= 200 && r.StatusCode < 300 {
			s.t.sink.Send(now, s.flow, r)
		}
		return
	case s.state > serverAccepted:
		return
	case r.StatusCode < 200:
		s.provisional = r
		if s.state == serverTrying {
			s.state, s.interval = serverProceeding, 0
			s.arm(now)
		}
		s.t.sink.Send(now, s.flow, r)
		return
	}

	s.interval = 0
	s.t.open--
	reliable := s.flow.Reliable()
	var linger time.Duration
	switch {
	case s.invite && r.StatusCode < 300:
		s.state = serverAccepted
		linger = 64 * s.t.cfg.T1 // Timer L, RFC 6026 §7.1
	case s.invite:
		s.state = serverCompleted
		linger = 64 * s.t.cfg.T1 // Timer H
		s.final = s.t.keep(r)
		if !reliable {
			s.interval = s.t.cfg.T1 // Timer G
		}
	default:
		s.state = serverCompleted
		if !reliable {
			linger = 64 * s.t.cfg.T1 // Timer J
			s.final = s.t.keep(r)
		}
	}
	s.req, s.provisional, s.cancels = nil, nil, nil
	s.end = now.Add(linger)
	if linger > 0 {
		s.arm(now)
	}
	s.t.sink.Send(now, s.flow, r)
	if linger == 0 {
		s.remove(now)
	}
}

// repeated takes a retransmission of the request.
func (s *Server) repeated(now time.Time) {
	switch s.state {
	case serverProceeding:
		s.t.sink.Send(now, s.flow, s.provisional)
	case serverCompleted:
		s.t.resend(now, s.flow, s.final)
	}
}

// acked takes an ACK with the branch of the transaction and tells whether it
// was for it.
func (s *Server) acked(now time.Time, f Flow, ack *sipgo.Request) bool {
	switch s.state {
	case serverCompleted:
		s.state, s.interval = serverConfirmed, 0
		if s.flow.Reliable() {
			s.remove(now)
			return true
		}
		s.end = now.Add(s.t.cfg.T4) // Timer I
		s.arm(now)
		return true
	case serverConfirmed:
		return true
	}
	return false
}

// respondedTag is the To tag of the final response, as far as it was kept.
func (s *Server) respondedTag() string {
	if s.final == nil {
		return ""
	}
	m, err := sipwire.Parse(s.final, false)
	if err != nil {
		return ""
	}
	return sipwire.ToTag(m)
}

func (s *Server) fail(now time.Time, err error) {
	if u := s.User; u != nil {
		u.Failed(now, s, err)
	}
	s.remove(now)
}

// remove takes the transaction out of the table.
func (s *Server) remove(now time.Time) {
	if s.state == serverTerminated {
		return
	}
	if !s.Final() {
		s.t.open--
	}
	s.state = serverTerminated
	s.t.q.Stop(&s.timer)
	delete(s.t.servers, s.key)
	if s.similar != 0 {
		if n := s.t.similar[s.similar] - 1; n > 0 {
			s.t.similar[s.similar] = n
		} else {
			delete(s.t.similar, s.similar)
		}
	}
	s.req, s.provisional, s.final, s.cancels = nil, nil, nil, nil
	if u := s.User; u != nil {
		s.User = nil
		u.Done(now, s)
	}
}
