package xmpptest

import (
	"strconv"
	"strings"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// presenceFrom handles presence from a session (RFC 6121 §4).
func (s *Server) presenceFrom(sess *session, st *stanza, directed bool) {
	switch st.typ() {
	case "subscribe", "unsubscribe", "subscribed", "unsubscribed":
		if directed {
			s.subscriptionFrom(sess.user, st)
		}
	case "", "unavailable":
		switch {
		case directed:
			s.directed(sess, st)
		case st.typ() == "":
			s.becomeAvailable(sess, st.Element)
		default:
			s.becomeUnavailable(sess, st.Element)
		}
	case "error":
		if directed {
			s.route(st)
		}
	}
	// A probe is not a client's business (RFC 6121 §4.3), and there are no other types.
}

const maxDirected = 1000 // entities; more do not learn that a session has ended

// directed sends presence to one entity (RFC 6121 §4.6).
func (s *Server) directed(sess *session, st *stanza) {
	key := st.to
	if key.domain == s.cfg.Rooms {
		key = key.bare() // one leaves a room under whatever nick one has by then
	}
	if st.typ() == "unavailable" {
		delete(sess.directed, key)
	} else if len(sess.directed) < maxDirected {
		sess.directed[key] = true
	}
	s.route(st)
}

// presenceTo brings presence to a user.
func (s *Server) presenceTo(st *stanza, a *account) {
	switch st.typ() {
	case "subscribe", "unsubscribe", "subscribed", "unsubscribed":
		s.subscriptionAt(a, st)
	default:
		if st.to.isBare() {
			s.toAvailable(a, st)
		} else if sess := a.sessions[st.to.resource]; sess != nil {
			s.deliver(sess, st)
		}
	}
}

// becomeAvailable takes presence that is for all who may see it (RFC 6121 §4.2, §4.4).
func (s *Server) becomeAvailable(sess *session, e *xmltree.Element) {
	first, negative := !sess.available, sess.priority < 0
	sess.available, sess.presence, sess.priority = true, e, 0
	if n, err := strconv.ParseInt(strings.TrimSpace(e.Child(nsClient, "priority").Text()), 10, 8); err == nil {
		sess.priority = int(n)
	}
	a := sess.user
	// All of his own sessions see it, this one too (RFC 6121 §4.2.2).
	for _, other := range a.sorted() {
		if other.available {
			s.deliver(other, addressed(fork(e), sess.addr, a.addr))
		}
	}
	for _, i := range a.roster.sorted() {
		if i.from {
			s.show(sess, i.addr)
		}
	}
	if first {
		s.probe(sess)
	}
	s.learnCaps(sess)
	if sess.priority >= 0 && (first || negative) {
		s.flushOffline(sess)
	}
}

// show sends a session's presence to somebody, unless he is blocked.
func (s *Server) show(sess *session, to addr) {
	if !sess.user.blocks(to) {
		s.route(addressed(fork(sess.presence), sess.addr, to))
	}
}

// showTo tells a contact that a user's sessions are there, or that they are not.
func (s *Server) showTo(a *account, to addr, available bool) {
	for _, sess := range a.sorted() {
		switch {
		case !sess.available:
		case available:
			s.show(sess, to)
		default:
			s.route(unavailable(sess.addr, to))
		}
	}
}

func unavailable(from, to addr) *stanza {
	return addressed(xmltree.New(nsClient, "presence").Set("type", "unavailable"), from, to)
}

// probe gives a new session the presence of those its user may see (RFC 6121 §4.3), and what waits for an answer of his.
func (s *Server) probe(sess *session) {
	a := sess.user
	for _, other := range a.sorted() {
		if other != sess && other.available {
			s.deliver(sess, addressed(fork(other.presence), other.addr, sess.addr))
		}
	}
	for _, i := range a.roster.sorted() {
		c := s.account(i.addr)
		if c == nil || !i.to || a.blocks(i.addr) {
			continue
		}
		if theirs := c.roster.items[a.addr]; theirs == nil || !theirs.from || c.blocks(a.addr) {
			continue
		}
		for _, other := range c.sorted() {
			if other.available {
				s.deliver(sess, addressed(fork(other.presence), other.addr, sess.addr))
			}
		}
	}
	for _, i := range a.roster.sorted() {
		if i.in != nil {
			s.deliver(sess, i.in) // RFC 6121 §3.1.3: until he answers
		}
	}
}

// becomeUnavailable tells all who know a session that it is gone (RFC 6121 §4.5). e is what it said itself, or nil.
func (s *Server) becomeUnavailable(sess *session, e *xmltree.Element) {
	if e == nil {
		e = xmltree.New(nsClient, "presence").Set("type", "unavailable")
	}
	a := sess.user
	directed := sess.directed
	sess.directed = make(map[addr]bool)
	was := sess.available
	sess.available, sess.presence = false, nil
	if was {
		for _, other := range a.sorted() {
			if other.available {
				s.deliver(other, addressed(fork(e), sess.addr, a.addr))
			}
		}
		for _, i := range a.roster.sorted() {
			if i.from && !a.blocks(i.addr) {
				delete(directed, i.addr)
				s.route(addressed(fork(e), sess.addr, i.addr))
			}
		}
	}
	for to := range directed {
		s.route(addressed(fork(e), sess.addr, to))
	}
}
