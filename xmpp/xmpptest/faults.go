package xmpptest

import (
	"net"
	"strings"
	"time"
)

// faults are what is done to clients, by whom: a user's name, that and a resource, or "" for everybody.
type faults struct {
	byWho     map[string]*fault
	redirect  string
	redirects int
}

type fault struct {
	silent   bool
	delay    time.Duration
	dropAcks int
	refuse   int
	tell     bool
}

func (s *Server) fault(who string, change func(*fault)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.byWho == nil {
		s.faults.byWho = make(map[string]*fault)
	}
	f := s.faults.byWho[who]
	if f == nil {
		f = new(fault)
		s.faults.byWho[who] = f
	}
	change(f)
	for _, sess := range s.whose(who) {
		s.applyFaults(sess)
	}
}

// whose are the sessions that a fault is about.
func (s *Server) whose(who string) []*session {
	name, resource, full := strings.Cut(who, "/")
	var all []*session
	for _, u := range s.users {
		for _, sess := range u.sorted() {
			if name == "" || name == u.name && (!full || resource == sess.addr.resource) {
				all = append(all, sess)
			}
		}
	}
	return all
}

// faultsOf are those of a session, the narrowest first.
func (s *Server) faultsOf(sess *session) []*fault {
	var all []*fault
	for _, who := range []string{sess.user.name + "/" + sess.addr.resource, sess.user.name, ""} {
		if f := s.faults.byWho[who]; f != nil {
			all = append(all, f)
		}
	}
	return all
}

// applyFaults makes the connection of a session behave as its faults say.
func (s *Server) applyFaults(sess *session) {
	if sess.conn == nil {
		return
	}
	silent, delay := false, time.Duration(0)
	for _, f := range s.faultsOf(sess) {
		silent = silent || f.silent
		delay = max(delay, f.delay)
	}
	sess.conn.out.set(func(o *outbox) { o.silent, o.delay = silent, delay })
}

// Silence makes the server neither read nor write the connections of sessions, now and in the future, or ends that: what has
// waited is handled then. who is a user's name, or "name/resource", or "" for everybody.
func (s *Server) Silence(who string, on bool) { s.fault(who, func(f *fault) { f.silent = on }) }

// Delay makes everything that sessions are sent late, in order; 0 ends that. What is sent while something waits is delayed from when that has gone.
func (s *Server) Delay(who string, d time.Duration) { s.fault(who, func(f *fault) { f.delay = d }) }

// DropAcks leaves the next n requests to confirm stanzas unanswered (XEP-0198 §4).
func (s *Server) DropAcks(who string, n int) { s.fault(who, func(f *fault) { f.dropAcks = n }) }

// RefuseResume refuses the next n attempts to resume a session, which ends
// (XEP-0198 §5). tell says in the refusal how much the server had handled.
func (s *Server) RefuseResume(who string, n int, tell bool) {
	s.fault(who, func(f *fault) { f.refuse, f.tell = n, tell })
}

func (s *Server) dropsAck(sess *session) bool {
	for _, f := range s.faultsOf(sess) {
		if f.dropAcks > 0 {
			f.dropAcks--
			return true
		}
	}
	return false
}

func (s *Server) refusesResume(sess *session) (refuse, tell bool) {
	for _, f := range s.faultsOf(sess) {
		if f.refuse > 0 {
			f.refuse--
			return true, f.tell
		}
	}
	return false, false
}

// Redirect ends the next n streams, once they have TLS, with see-other-host (RFC 6120 §4.9.3.19). host is "host" or "host:port".
func (s *Server) Redirect(host string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.redirect, s.faults.redirects = host, n
}

// redirected is not called with the mutex held.
func (s *Server) redirected() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.redirects <= 0 {
		return nil
	}
	s.faults.redirects--
	return &streamError{condition: "see-other-host", text: s.faults.redirect}
}

// Cut closes the connections of sessions without a word of XMPP or TLS, and tells how many. who is as in Silence.
func (s *Server) Cut(who string) int { return s.cutConns(who, false) }

// Reset is Cut by a TCP reset, which may overtake what was sent. Where the network is not TCP it is Cut.
func (s *Server) Reset(who string) int { return s.cutConns(who, true) }

func (s *Server) cutConns(who string, reset bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, sess := range s.whose(who) {
		c := sess.conn
		if c == nil {
			continue
		}
		if t, ok := c.raw.(*net.TCPConn); ok && reset {
			_ = t.SetLinger(0)
		}
		c.out.close()
		_ = c.raw.Close()
		s.disconnected(c, false)
		n++
	}
	return n
}

// Vanish makes the server forget the connections of sessions without closing
// them, as after a path has broken that neither end has noticed; it tells how many. The sessions can be resumed.
func (s *Server) Vanish(who string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, sess := range s.whose(who) {
		c := sess.conn
		if c == nil {
			continue
		}
		s.disconnected(c, false)
		c.vanished = true
		s.conns[c] = true
		c.out.set(func(o *outbox) { o.lost, o.buf = true, nil })
		n++
	}
	return n
}

// EndStreams ends the streams of sessions, and these with them, with a stream error such as "conflict"
// or "system-shutdown" (RFC 6120 §4.9.3), and tells how many.
func (s *Server) EndStreams(who, condition string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.whose(who)
	for _, sess := range all {
		s.endSession(sess, &streamError{condition: condition})
	}
	return len(all)
}

// Crash makes the server forget all sessions, as one does that is killed and starts again: connections close without a
// word, nothing can be resumed, nobody is told that anybody has gone, and what clients had not confirmed is lost unless an archive has it. Rooms that are not persistent are gone,
// the others empty. Users, rosters, archives, nodes and offline messages stay.
func (s *Server) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.out.close()
		_ = c.raw.Close()
		if c.sess != nil {
			c.sess.conn, c.sess = nil, nil
		}
	}
	for _, u := range s.users {
		for _, sess := range u.sessions {
			sess.managed.forget(s, sess)
		}
		clear(u.sessions)
	}
	for name, r := range s.rooms {
		r.occupants, r.asked = nil, nil
		if !r.cfg.persistent {
			delete(s.rooms, name)
		}
	}
}
