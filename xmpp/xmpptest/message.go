package xmpptest

import (
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsCarbons   = "urn:xmpp:carbons:2"                    // XEP-0280
	nsForward   = "urn:xmpp:forward:0"                    // XEP-0297
	nsHints     = "urn:xmpp:hints"                        // XEP-0334
	nsStanzaID  = "urn:xmpp:sid:0"                        // XEP-0359
	nsChatState = "http://jabber.org/protocol/chatstates" // XEP-0085
	nsMUCUser   = "http://jabber.org/protocol/muc#user"
)

// messageFrom sends a message on, with copies for the sender's archive and other sessions.
func (s *Server) messageFrom(sess *session, st *stanza) {
	switch st.typ() {
	case "", "normal", "chat", "headline", "groupchat", "error":
	default:
		st.Set("type", "") // RFC 6121 §5.2.2
	}
	if st.to.bare() == sess.user.addr {
		s.route(st) // a note to himself is archived where it arrives
		return
	}
	copied := st
	if keeps(st) {
		id := sess.user.archive.add(s, st.Element, st.to)
		copied = &stanza{withStanzaID(st.Element, sess.user.addr, id), st.from, st.to}
	}
	if carbonable(st) {
		for _, other := range sess.user.sorted() {
			if other != sess && other.carbons {
				s.deliver(other, carbon("sent", copied, other))
			}
		}
	}
	s.route(st)
}

// messageTo brings a message to an account (RFC 6121 §8.5.2.1.1, §8.5.3).
func (s *Server) messageTo(st *stanza, a *account) {
	exact := a.sessions[st.to.resource]
	switch st.typ() {
	case "groupchat":
		if exact == nil {
			s.bounce(st, errUnavailable)
			return
		}
		s.deliver(exact, st)
		return
	case "error":
		if exact != nil {
			s.deliver(exact, st)
		}
		return
	}
	e := withoutStanzaIDs(st.Element, a.addr)
	if keeps(st) {
		e = withStanzaID(e, a.addr, a.archive.add(s, e, st.from))
	}
	st = &stanza{e, st.from, st.to}
	if exact != nil {
		s.deliver(exact, st)
		s.carbonsOf(st, a, []*session{exact})
		return
	}
	if st.typ() == "headline" && !st.to.isBare() {
		return
	}
	s.messageToAccount(st, a)
}

// messageToAccount delivers a message to those of a user's sessions that are most available (RFC 6121 §8.5.2.1.1), or keeps it.
func (s *Server) messageToAccount(st *stanza, a *account) {
	ranked := a.ranked()
	if len(ranked) == 0 {
		s.keepOffline(st, a)
		return
	}
	best := ranked
	if st.typ() != "headline" {
		for i, sess := range ranked {
			if sess.priority < ranked[0].priority {
				best = ranked[:i]
				break
			}
		}
	}
	for _, sess := range best {
		s.deliver(sess, st)
	}
	s.carbonsOf(st, a, best)
}

// carbonsOf gives copies of a message to the sessions that did not get it (XEP-0280 §7).
func (s *Server) carbonsOf(st *stanza, a *account, had []*session) {
	if !carbonable(st) || st.from.domain == s.cfg.Rooms {
		return
	}
next:
	for _, sess := range a.sorted() {
		if !sess.carbons || sess.addr == st.from {
			continue
		}
		for _, h := range had {
			if h == sess {
				continue next
			}
		}
		s.deliver(sess, carbon("received", st, sess))
	}
}

func carbon(direction string, st *stanza, to *session) *stanza {
	e := xmltree.New(nsClient, "message", xmltree.New(nsCarbons, direction, xmltree.New(nsForward, "forwarded", st.Element)))
	return addressed(e.Set("type", st.typ()), to.addr.bare(), to.addr)
}

// carbonable tells what is copied (XEP-0280 §6.1).
func carbonable(st *stanza) bool {
	if st.Child(nsCarbons, "private") != nil || st.Child(nsHints, "no-copy") != nil || st.Child(nsCarbons, "sent") != nil || st.Child(nsCarbons, "received") != nil {
		return false
	}
	switch st.typ() {
	case "chat":
		return true
	case "", "normal":
		for c := range st.Elements() {
			if c.Name.Space != nsHints && c.Name.Space != nsStanzaID && c.Name.Local != "thread" {
				return true
			}
		}
	}
	return false
}

// keeps tells what is worth keeping, in the archive (XEP-0313 §5.1.1) and for those who are offline
// (RFC 6121 §8.5.2.2.1): more than what somebody is doing just now.
func keeps(st *stanza) bool {
	switch st.typ() {
	case "", "normal", "chat":
	default:
		return false
	}
	if st.Child(nsHints, "no-store") != nil || st.Child(nsHints, "no-permanent-store") != nil || st.Child("http://jabber.org/protocol/pubsub#event", "event") != nil {
		return false
	}
	return substance(st.Element)
}

// substance tells a message from notes about typing.
func substance(e *xmltree.Element) bool {
	for c := range e.Elements() {
		switch {
		case c.Is(nsHints, "store"):
			return true
		case c.Name.Space == nsChatState, c.Name.Space == nsHints, c.Name.Space == nsStanzaID, c.Name.Space == nsDelay,
			c.Is(nsClient, "thread"), c.Is(nsMUCUser, "x") && c.First() == nil, c.Is(nsOccupant, "occupant-id"):
		default:
			return true
		}
	}
	return false
}

// withoutStanzaIDs removes the ids that only we may give (XEP-0359 §5).
func withoutStanzaIDs(e *xmltree.Element, by addr) *xmltree.Element {
	forged := false
	for c := range e.Named(nsStanzaID, "stanza-id") {
		a, ok := parseAddr(c.Get("by"))
		forged = forged || !ok || a == by
	}
	if !forged {
		return e
	}
	c := fork(e)
	c.Nodes = c.Nodes[:0]
	for _, n := range e.Nodes {
		if n.Element.Is(nsStanzaID, "stanza-id") {
			if a, ok := parseAddr(n.Element.Get("by")); !ok || a == by {
				continue
			}
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c
}

func withStanzaID(e *xmltree.Element, by addr, id string) *xmltree.Element {
	if id == "" {
		return e
	}
	return fork(e).Add(xmltree.New(nsStanzaID, "stanza-id").Set("by", by.String()).Set("id", id))
}

// keepOffline keeps a message until its user is there (XEP-0160).
func (s *Server) keepOffline(st *stanza, a *account) {
	switch {
	case st.typ() == "headline", st.typ() == "error":
	case !keeps(st):
	case s.cfg.NoOffline:
		if !a.archive.has(st.Element, a.addr) {
			s.bounce(st, errUnavailable)
		}
	case len(a.offline) >= s.cfg.Limits.Offline:
		s.bounce(st, errUnavailable) // RFC 6121 §8.5.2.2.1
	default:
		e := st.Element
		if e.Child(nsDelay, "delay") == nil {
			e = fork(e).Add(delayed(time.Now(), s.cfg.Domain))
		}
		a.offline = append(a.offline, &stanza{e, st.from, st.to})
	}
}

// flushOffline delivers what was kept to a session that has become available.
func (s *Server) flushOffline(sess *session) {
	kept := sess.user.offline
	sess.user.offline = nil
	for _, st := range kept {
		s.deliver(sess, st)
	}
}
