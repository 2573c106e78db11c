package xmpptest

import (
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Archived is a message in an archive.
type Archived struct {
	ID     string // the stanza-id (XEP-0359)
	Time   time.Time
	Stanza *xmltree.Element // must not be changed
}

// Archive is what a user's or a room's archive holds, the oldest first. jid is a bare address; a user's name will do.
func (s *Server) Archive(jid string) []Archived {
	s.mu.Lock()
	defer s.mu.Unlock()
	var from *archive
	if u := s.users[jid]; u != nil {
		from = &u.archive
	} else if a, ok := parseAddr(jid); ok {
		if u := s.account(a); u != nil {
			from = &u.archive
		} else if r := s.rooms[a.local]; r != nil && a.domain == s.cfg.Rooms {
			from = &r.archive
		}
	}
	if from == nil {
		return nil
	}
	all := make([]Archived, len(from.entries))
	for i, e := range from.entries {
		all[i] = Archived{e.id, e.at, e.e}
	}
	return all
}

// Session is one of a user's sessions as the server sees it.
type Session struct {
	JID       string
	Connected bool // not: the connection was lost and the session can be resumed
	Available bool
	Priority  int
	Carbons   bool
	Managed   bool // has stream management
	Resumable bool
	Unacked   int // stanzas that the client has not confirmed
}

// Sessions are a user's sessions by their resources.
func (s *Server) Sessions(user string) []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[user]
	if u == nil {
		return nil
	}
	var all []Session
	for _, sess := range u.sorted() {
		m := &sess.managed
		all = append(all, Session{
			JID: sess.addr.String(), Connected: sess.conn != nil, Available: sess.available, Priority: sess.priority, Carbons: sess.carbons,
			Managed: m.enabled, Resumable: m.id != "", Unacked: len(m.queue),
		})
	}
	return all
}

// Contact is an item of a user's roster (RFC 6121 §2.1.2).
type Contact struct {
	JID, Name    string
	Groups       []string
	Subscription string // "none", "to", "from", "both"
	Ask          bool   // he has asked and has no answer
	Requested    bool   // he was asked and has not answered
	Approved     bool   // in advance
}

// Roster are a user's contacts by their addresses, and those who have asked to become one.
func (s *Server) Roster(user string) []Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[user]
	if u == nil {
		return nil
	}
	var all []Contact
	for _, i := range u.roster.sorted() {
		all = append(all, Contact{i.addr.String(), i.name, slices.Clone(i.groups), i.subscription(), i.ask, i.in != nil, i.approved})
	}
	return all
}

// Subscribe makes users see each other's presence, as if they had asked and been answered long ago.
func (s *Server) Subscribe(user, other string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, b := s.users[user], s.users[other]
	if a == nil || b == nil || a == b {
		return errNoUsers
	}
	for _, p := range [][2]*account{{a, b}, {b, a}} {
		i := p[0].roster.ensure(p[1].addr, s.cfg.Limits.Roster)
		if i == nil {
			return errRosterFull
		}
		i.to, i.from, i.ask, i.in = true, true, false, nil
		s.push(p[0], i)
	}
	s.showTo(a, b.addr, true)
	s.showTo(b, a.addr, true)
	return nil
}
