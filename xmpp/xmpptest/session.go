package xmpptest

import (
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const nsBind = "urn:ietf:params:xml:ns:xmpp-bind"

// account is a user with what is his.
type account struct {
	name string
	addr addr // bare
	keys keys

	sessions map[string]*session // by resource
	roster   roster
	offline  []*stanza
	archive  archive
	blocked  map[addr]bool
	nodes    nodes
	vcard    *xmltree.Element // of XEP-0054, or nil
	private  map[string]*xmltree.Element
}

// session is a bound resource (RFC 6120 §7). It outlives its connection if it can be resumed.
type session struct {
	user *account
	addr addr  // full
	conn *conn // nil: the connection is lost

	available  bool
	presence   *xmltree.Element // the last one that went to nobody in particular
	priority   int
	directed   map[addr]bool // who has seen presence that was sent to them alone (RFC 6121 §4.6)
	interested bool          // in the roster: it has asked for it
	blockList  bool          // it has asked for the list of blocked addresses
	carbons    bool
	caps       string          // node#ver of its capabilities (XEP-0115)
	asked      string          // id of our question what they are
	wants      map[string]bool // nodes of which it wants to hear (XEP-0163 §4)

	managed managed
	doomed  bool // about to end
}

// begin handles the first element after the login: a wish for a resource, or for the session of a lost connection.
func (c *conn) begin(e *xmltree.Element) (done bool, err error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch {
	case c.s.closed:
		return false, &streamError{condition: "system-shutdown"}
	case e.Is(nsManagement, "resume") && !c.s.cfg.NoManagement:
		refusal := c.s.resume(c, e)
		if refusal != nil {
			return false, c.send(refusal)
		}
		return true, nil
	case e.Is(nsManagement, "enable"), e.Is(nsManagement, "resume"):
		return false, c.send(xmltree.New(nsManagement, "failed", xmltree.New(nsError, "unexpected-request"))) // XEP-0198 §3
	case e.Is(nsClient, "iq") && e.Get("type") == "set" && e.Child(nsBind, "bind") != nil:
		return c.s.bind(c, e)
	}
	return false, &streamError{condition: "not-authorized"} // RFC 6120 §7.1
}

// bind gives a connection a session (RFC 6120 §7).
func (s *Server) bind(c *conn, iq *xmltree.Element) (done bool, err error) {
	resource := iq.Child(nsBind, "bind").Child(nsBind, "resource").Text()
	if resource == "" {
		resource = s.newID()
	}
	st := &stanza{iq, c.user.addr, addr{}}
	refuse := func(err *stanzaError) (bool, error) {
		e := st.failed(err).Element
		return false, c.send(e.Set("from", "").Set("to", ""))
	}
	if !validResource(resource) {
		return refuse(errBadRequest)
	}
	old := c.user.sessions[resource]
	if old == nil && len(c.user.sessions) >= s.cfg.Limits.Sessions {
		return refuse(errConstraint) // RFC 6120 §7.6.2.1
	}
	if old != nil {
		s.endSession(old, &streamError{condition: "conflict"}) // RFC 6120 §7.7.2.2
	}
	sess := &session{user: c.user, addr: c.user.addr.with(resource), conn: c, directed: make(map[addr]bool)}
	c.user.sessions[resource], c.sess = sess, sess
	s.applyFaults(sess)
	result := st.result(xmltree.New(nsBind, "bind", xmltree.NewText(nsBind, "jid", sess.addr.String()))).Element
	c.out.put(result.Set("from", "").Set("to", ""), s.cfg.Limits.Unsent)
	return true, nil
}

// receive handles an element that a session sent. An error ends its stream.
func (s *Server) receive(sess *session, e *xmltree.Element) error {
	switch {
	case e.Name.Space == nsManagement:
		return s.manage(sess, e)
	case e.Name.Space == "urn:xmpp:csi:0":
		return nil
	case e.Name.Space == nsClient && (e.Name.Local == "message" || e.Name.Local == "presence" || e.Name.Local == "iq"):
		err := s.handle(sess, e)
		sess.managed.in++
		return err
	}
	return &streamError{condition: "unsupported-stanza-type"}
}

// deliver sends a stanza to a session, now or when it is resumed.
func (s *Server) deliver(sess *session, st *stanza) {
	if sess.doomed {
		return
	}
	if sess.conn == nil && st.kind() == "message" && st.Child(nsDelay, "delay") == nil {
		// It arrives when the session is resumed (XEP-0203 §2).
		st = &stanza{fork(st.Element).Add(delayed(time.Now(), s.cfg.Domain)), st.from, st.to}
	}
	if sess.managed.enabled {
		m := &sess.managed
		m.out++
		m.queue = append(m.queue, st)
		if len(m.queue) > s.cfg.Limits.Queue {
			s.doom(sess)
			return
		}
	}
	if sess.conn == nil {
		return
	}
	if !sess.conn.out.put(st.Element, s.cfg.Limits.Unsent) {
		s.doom(sess)
		return
	}
	s.askAck(sess)
}

// doom ends a session that does not read, but not in the midst of whatever is being delivered.
func (s *Server) doom(sess *session) {
	s.cfg.Logger.Warn("a client does not read or confirm", "session", sess.addr)
	sess.doomed = true
	time.AfterFunc(0, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			s.endSession(sess, &streamError{condition: "resource-constraint"})
		}
	})
}

// disconnected is called when a connection has ended. clean: by the rules, so that its session has too.
func (s *Server) disconnected(c *conn, clean bool) {
	delete(s.conns, c)
	sess := c.sess
	if sess == nil {
		return
	}
	c.sess, sess.conn = nil, nil
	if clean || sess.managed.id == "" {
		s.endSession(sess, nil)
		return
	}
	id := sess.managed.id
	sess.managed.timer = time.AfterFunc(s.cfg.Hibernate, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.hibernating(id) == sess && sess.conn == nil && !s.closed {
			s.endSession(sess, nil)
		}
	})
}

// endSession ends a session for good, and its stream with it.
func (s *Server) endSession(sess *session, failed *streamError) {
	if sess.user.sessions[sess.addr.resource] != sess {
		return
	}
	delete(sess.user.sessions, sess.addr.resource)
	if c := sess.conn; c != nil {
		c.sess, sess.conn = nil, nil
		c.out.finish(failed)
	}
	sess.managed.forget(s, sess)
	s.becomeUnavailable(sess, nil)
	for _, st := range sess.managed.drop() {
		s.undelivered(st)
	}
}

// undelivered handles what a session had not confirmed when it ended, as if it had been sent to a resource that is not there (XEP-0198 §5). A message that the
// archive has is not lost, and is not given to the others who had their copy.
func (s *Server) undelivered(st *stanza) {
	switch {
	case st.isRequest():
		if r := st.failed(errUnavailable); r != nil {
			s.route(r)
		}
	case st.kind() != "message" || st.typ() == "groupchat" || st.typ() == "error" || st.typ() == "headline" || st.Child(nsCarbons, "received") != nil || st.Child(nsCarbons, "sent") != nil:
	default:
		if a := s.account(st.to); a != nil && !a.archive.has(st.Element, a.addr) {
			s.messageToAccount(st, a)
		}
	}
}

// ranked are the sessions of a user that take messages, the most available first (RFC 6121 §8.5.2.1.1).
func (a *account) ranked() []*session {
	var all []*session
	for _, sess := range a.sorted() {
		if sess.available && sess.priority >= 0 {
			all = append(all, sess)
		}
	}
	slices.SortStableFunc(all, func(x, y *session) int { return y.priority - x.priority })
	return all
}

// sorted are all sessions of a user in an order that does not change.
func (a *account) sorted() []*session {
	all := make([]*session, 0, len(a.sessions))
	for _, sess := range a.sessions {
		all = append(all, sess)
	}
	slices.SortFunc(all, func(x, y *session) int {
		if x.addr.resource < y.addr.resource {
			return -1
		}
		return 1
	})
	return all
}
