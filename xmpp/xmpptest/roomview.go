package xmpptest

import (
	"crypto/rand"
	"fmt"
)

// Room is a room as the server sees it (XEP-0045).
type Room struct {
	JID, Name, Subject string
	Persistent         bool
	Locked             bool // its owner has not configured it yet
	Occupants          []Occupant
	Affiliations       map[string]string // other than none, by bare address
}

// Occupant is somebody in a room.
type Occupant struct {
	Nick, Role, Affiliation string
	Sessions                []string // full addresses
}

// Room is the room of a name, such as "lounge"; nil if there is none.
func (s *Server) Room(name string) *Room {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[name]
	if r == nil {
		return nil
	}
	v := &Room{
		JID: r.addr.String(), Name: r.cfg.name, Subject: r.subject.Child(nsClient, "subject").Text(), Persistent: r.cfg.persistent, Locked: r.locked,
		Affiliations: make(map[string]string),
	}
	for who, a := range r.rights {
		v.Affiliations[who.String()] = a
	}
	for _, o := range r.occupants {
		w := Occupant{Nick: o.nick, Role: o.role, Affiliation: r.affiliation(o.user)}
		for _, a := range o.sessions {
			w.Sessions = append(w.Sessions, a.String())
		}
		v.Occupants = append(v.Occupants, w)
	}
	return v
}

// AddRoom makes a room that stays when it is empty. fields are those of its configuration without "muc#roomconfig_" (XEP-0045
// §15.5.3), such as "membersonly": "1"; nil is a room for all. The error says what is wrong with the name, the owner or a field.
func (s *Server) AddRoom(name, owner string, fields map[string]string) error {
	a, ok := parseAddr(name + "@" + s.cfg.Rooms)
	if !ok || a.local == "" || !a.isBare() {
		return fmt.Errorf("xmpptest: %q is not a room's name", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.users[owner]
	switch {
	case s.closed:
		return ErrClosed
	case u == nil:
		return errNoUsers
	case s.rooms[a.local] != nil:
		return fmt.Errorf("xmpptest: there is a room %s", a)
	}
	r := s.newRoom(a, u.addr)
	r.locked, r.cfg.persistent = false, true
	protect := ""
	for f, v := range fields {
		if !r.cfg.set(f, v, s.cfg.Limits.Occupants, &protect) {
			return fmt.Errorf("xmpptest: a room's %s cannot be %q", f, v)
		}
	}
	s.rooms[a.local] = r
	return nil
}

func (s *Server) newRoom(a, owner addr) *room {
	r := &room{addr: a, rights: map[addr]string{owner: "owner"}, locked: true, secret: make([]byte, 16), cfg: defaultRoom(s)}
	_, _ = rand.Read(r.secret) // never fails
	return r
}
