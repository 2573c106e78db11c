package xmpptest

import (
	"slices"
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// managed is the stream management of a session (XEP-0198). Counts wrap at 2^32.
type managed struct {
	enabled bool
	id      string // "": cannot be resumed
	in      uint32 // stanzas handled
	out     uint32 // stanzas sent
	acked   uint32 // of these, what the client has confirmed
	queue   []*stanza
	asked   bool // an <r/> is under way
	timer   *time.Timer
}

// drop gives up what was not confirmed, and returns it.
func (m *managed) drop() []*stanza {
	lost := m.queue
	m.queue = nil
	return lost
}

// forget makes it impossible to resume the session.
func (m *managed) forget(s *Server, sess *session) {
	if m.timer != nil {
		m.timer.Stop()
	}
	if m.id != "" && s.resumable[m.id] == sess {
		delete(s.resumable, m.id)
	}
}

func (s *Server) hibernating(id string) *session { return s.resumable[id] }

// manage handles an element of stream management.
func (s *Server) manage(sess *session, e *xmltree.Element) error {
	m := &sess.managed
	say := func(e *xmltree.Element) { sess.conn.out.put(e, s.cfg.Limits.Unsent) }
	switch e.Name.Local {
	case "enable":
		if m.enabled || s.cfg.NoManagement {
			say(xmltree.New(nsManagement, "failed", xmltree.New(nsError, "unexpected-request")))
			return nil
		}
		*m = managed{enabled: true}
		enabled := xmltree.New(nsManagement, "enabled")
		if isTrue(e.Get("resume")) && s.cfg.Hibernate > 0 {
			m.id = s.newID()
			s.resumable[m.id] = sess
			enabled.Set("id", m.id).Set("resume", "true").Set("max", strconv.Itoa(int(s.cfg.Hibernate/time.Second)))
		}
		say(enabled)
	case "r":
		if m.enabled && !s.dropsAck(sess) {
			say(xmltree.New(nsManagement, "a").Set("h", count(m.in)))
		}
	case "a":
		h, err := strconv.ParseUint(e.Get("h"), 10, 32)
		if err != nil {
			return &streamError{condition: "bad-format"}
		}
		if err := m.ack(uint32(h)); err != nil {
			return err
		}
		m.asked = false
		s.askAck(sess)
	case "resume":
		say(xmltree.New(nsManagement, "failed", xmltree.New(nsError, "unexpected-request")))
	default:
		return &streamError{condition: "unsupported-stanza-type"}
	}
	return nil
}

// ack takes the client's count.
func (m *managed) ack(h uint32) error {
	n := h - m.acked
	if n > uint32(len(m.queue)) {
		return &streamError{condition: "undefined-condition", app: xmltree.New(nsManagement, "handled-count-too-high").Set("h", count(h)).Set("send-count", count(m.out))}
	}
	m.queue = slices.Delete(m.queue, 0, int(n))
	m.acked = h
	return nil
}

// askAck asks the client to confirm what it was sent, unless that is under way.
func (s *Server) askAck(sess *session) {
	m := &sess.managed
	if m.enabled && !m.asked && len(m.queue) > 0 && sess.conn != nil {
		m.asked = true
		sess.conn.out.put(xmltree.New(nsManagement, "r"), s.cfg.Limits.Unsent)
	}
}

// resume gives a session to a new connection (XEP-0198 §5), or returns the refusal.
func (s *Server) resume(c *conn, e *xmltree.Element) *xmltree.Element {
	refuse := func(condition string) *xmltree.Element {
		return xmltree.New(nsManagement, "failed", xmltree.New(nsError, condition))
	}
	sess := s.resumable[e.Get("previd")]
	h, err := strconv.ParseUint(e.Get("h"), 10, 32)
	switch {
	case err != nil:
		return refuse("bad-request")
	case sess == nil || sess.user != c.user:
		return refuse("item-not-found")
	}
	m := &sess.managed
	if refused, tell := s.refusesResume(sess); refused {
		handled := m.in
		s.endSession(sess, nil)
		r := refuse("item-not-found")
		if tell {
			r.Set("h", count(handled))
		}
		return r
	}
	if err := m.ack(uint32(h)); err != nil {
		s.endSession(sess, nil)
		return refuse("bad-request")
	}
	if old := sess.conn; old != nil {
		// The client knows better than we do that this connection is lost.
		old.sess = nil
		old.out.finish(&streamError{condition: "conflict"})
	}
	if m.timer != nil {
		m.timer.Stop()
	}
	sess.conn, c.sess = c, sess
	s.applyFaults(sess)
	limit := s.cfg.Limits.Unsent
	c.out.put(xmltree.New(nsManagement, "resumed").Set("h", count(m.in)).Set("previd", m.id), limit)
	for _, st := range m.queue {
		c.out.put(st.Element, limit)
	}
	m.asked = false
	s.askAck(sess)
	return nil
}

func count(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
