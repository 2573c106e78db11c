package xmpptest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsMUC      = "http://jabber.org/protocol/muc" // XEP-0045
	nsMUCAdmin = nsMUC + "#admin"
	nsMUCOwner = nsMUC + "#owner"
	nsOccupant = "urn:xmpp:occupant-id:0" // XEP-0421
)

// Roles and affiliations (XEP-0045 §5) by their rank.
var (
	roles        = []string{"none", "visitor", "participant", "moderator"}
	affiliations = []string{"outcast", "none", "member", "admin", "owner"}
)

// room is a chat room (XEP-0045).
type room struct {
	addr      addr
	cfg       roomConfig
	locked    bool // its owner has not configured it yet (XEP-0045 §10.1.3)
	occupants []*occupant
	rights    map[addr]string  // affiliations other than none, by bare address
	subject   *xmltree.Element // as it was sent around, or nil
	history   []past
	archive   archive
	secret    []byte // of occupant ids
	asked     map[string]question
}

// past is a message that who joins may see.
type past struct {
	at time.Time
	e  *xmltree.Element
}

// occupant is somebody in a room. He may be there with several sessions under one nick.
type occupant struct {
	nick     string
	user     addr // bare
	role     string
	sessions []addr
	presence *xmltree.Element // the last one
}

// question is an IQ of one occupant to another.
type question struct {
	id       string
	from, to addr // real ones
}

// toRooms brings a stanza to the service or to a room.
func (s *Server) toRooms(st *stanza) {
	if st.to.local == "" {
		switch st.kind() {
		case "iq":
			s.answer(st, nil, s.iq.service)
		case "message":
			s.bounce(st, errUnavailable)
		}
		return
	}
	r := s.rooms[st.to.local]
	switch {
	case st.kind() == "presence":
		s.presenceInRoom(r, st)
	case r == nil:
		s.bounce(st, errNotFound)
	case st.kind() == "message":
		s.messageInRoom(r, st)
	case st.to.isBare():
		s.answer(st, nil, s.iq.room)
	default:
		s.iqInRoom(r, st)
	}
}

// refusePresence answers presence, which gets errors only here.
func (s *Server) refusePresence(st *stanza, err *stanzaError) {
	if e := st.failed(err); e != nil {
		e.Add(xmltree.New(nsMUC, "x"))
		if sess := s.session(e.to); sess != nil {
			delete(sess.directed, st.to.bare())
		}
		s.route(e)
	}
}

func (r *room) affiliation(who addr) string {
	if a := r.rights[who.bare()]; a != "" {
		return a
	}
	return "none"
}

// rank compares roles or affiliations.
func rank(list []string, v string) int { return slices.Index(list, v) }

func (r *room) atLeast(who addr, affiliation string) bool {
	return rank(affiliations, r.affiliation(who)) >= rank(affiliations, affiliation)
}

// occupantOf is who is in the room with a session.
func (r *room) occupantOf(real addr) *occupant {
	for _, o := range r.occupants {
		if slices.Contains(o.sessions, real) {
			return o
		}
	}
	return nil
}

func (r *room) byNick(nick string) *occupant {
	for _, o := range r.occupants {
		if o.nick == nick {
			return o
		}
	}
	return nil
}

func (o *occupant) moderates() bool { return o != nil && o.role == "moderator" }

// occupantID is the same for a user as long as the room is there (XEP-0421 §3).
func (r *room) occupantID(user addr) *xmltree.Element {
	h := hmac.New(sha256.New, r.secret)
	h.Write([]byte(user.bare().String()))
	return xmltree.New(nsOccupant, "occupant-id").Set("id", hex.EncodeToString(h.Sum(nil)[:16]))
}

// presenceInRoom handles presence to a room or a nick in it; the room may not be there yet.
func (s *Server) presenceInRoom(r *room, st *stanza) {
	var o *occupant
	if r != nil {
		o = r.occupantOf(st.from)
	}
	x := st.Child(nsMUC, "x")
	switch {
	case st.typ() == "unavailable":
		if o != nil {
			s.leave(r, o, st.from, st.Element)
		}
	case st.typ() != "":
	case st.to.resource == "":
		s.refusePresence(st, errMalformed) // XEP-0045 §7.2.1
	case o != nil && st.to.resource != o.nick:
		s.changeNick(r, o, st)
	case o != nil && x == nil:
		o.presence = st.Element
		s.showOccupant(r, o)
	case x == nil:
		s.refusePresence(st, errNotAcceptable)
	case r == nil:
		s.createRoom(st, x)
	default:
		s.join(r, st, x)
	}
}

// createRoom makes a room for who enters it first (XEP-0045 §10.1.1).
func (s *Server) createRoom(st *stanza, x *xmltree.Element) {
	if len(s.rooms) >= s.cfg.Limits.Rooms {
		s.refusePresence(st, errConstraint)
		return
	}
	r := s.newRoom(st.to.bare(), st.from.bare())
	s.rooms[r.addr.local] = r
	s.join(r, st, x, 201)
}

// join lets a session into a room (XEP-0045 §7.2).
func (s *Server) join(r *room, st *stanza, x *xmltree.Element, status ...int) {
	o := r.byNick(st.to.resource)
	already := o != nil && slices.Contains(o.sessions, st.from)
	if err := r.mayJoin(o, st, x, s.cfg.Limits.Occupants); err != nil && !already {
		s.refusePresence(st, err)
		return
	}
	if o == nil {
		o = &occupant{nick: st.to.resource, user: st.from.bare(), role: r.firstRole(st.from)}
		r.occupants = append(r.occupants, o)
	}
	o.presence = st.Element
	if !already {
		o.sessions = append(o.sessions, st.from)
	}
	for _, other := range r.occupants {
		if other != o {
			s.route(r.presenceOf(other, st.from))
		}
	}
	for _, other := range r.occupants {
		for _, real := range other.sessions {
			if real != st.from && !already {
				s.route(r.presenceOf(o, real))
			}
		}
	}
	if r.cfg.anyone {
		status = append(status, 100)
	}
	if r.cfg.archives {
		status = append(status, 170)
	}
	s.route(r.presenceOf(o, st.from, status...))
	for _, p := range r.past(x.Child(nsMUC, "history")) {
		e := fork(p.e).Add(delayed(p.at, r.addr.String()))
		s.route(addressed(e, mustFrom(e), st.from))
	}
	s.route(r.subjectFor(st.from))
}

func mustFrom(e *xmltree.Element) addr {
	a, _ := parseAddr(e.Get("from"))
	return a
}

// mayJoin says why somebody cannot enter; o has the nick that he wants.
func (r *room) mayJoin(o *occupant, st *stanza, x *xmltree.Element, limit int) *stanzaError {
	affiliation := r.affiliation(st.from)
	switch {
	case r.locked && affiliation != "owner":
		return errNotFound // XEP-0045 §10.1.1
	case affiliation == "outcast":
		return errForbidden // §7.2.7
	case r.cfg.members && affiliation == "none":
		return errRegistration // §7.2.6
	case r.cfg.password != "" && x.Child(nsMUC, "password").Text() != r.cfg.password:
		return &stanzaError{typ: "auth", condition: "not-authorized"} // §7.2.5
	case o != nil && o.user != st.from.bare():
		return errConflict // §7.2.8
	case o == nil && len(r.occupants) >= min(r.cfg.maxUsers, limit) && !r.atLeast(st.from, "admin"):
		return &stanzaError{typ: "wait", condition: "service-unavailable"} // §7.2.9
	}
	return nil
}

// firstRole is that of who enters (XEP-0045 §5.1.2).
func (r *room) firstRole(who addr) string {
	switch affiliation := r.affiliation(who); {
	case affiliation == "owner", affiliation == "admin":
		return "moderator"
	case affiliation == "none" && r.cfg.moderated:
		return "visitor"
	}
	return "participant"
}

// presenceOf is the presence of an occupant as another, with a real address, sees it.
func (r *room) presenceOf(o *occupant, to addr, status ...int) *stanza {
	return r.present(o, o.presence, o.role, to, r.item(o, to), status...)
}

func (r *room) present(o *occupant, presence *xmltree.Element, role string, to addr, item *xmltree.Element, status ...int) *stanza {
	e := fork(presence)
	e.Remove(nsMUC, "x")
	e.Remove(nsMUCUser, "x")
	e.Remove(nsOccupant, "occupant-id")
	if !slices.Contains(o.sessions, to) {
		e.Set("id", "")
	} else {
		status = append(slices.Clone(status), 110)
	}
	x := xmltree.New(nsMUCUser, "x", item.Set("role", role))
	slices.Sort(status)
	for _, n := range status {
		x.Add(xmltree.New(nsMUCUser, "status").Set("code", strconv.Itoa(n)))
	}
	return addressed(e.Add(r.occupantID(o.user), x), r.addr.with(o.nick), to)
}

// item says what an occupant is; who he is only to those who may know it (XEP-0045 §7.2.3, §7.2.4).
func (r *room) item(o *occupant, to addr) *xmltree.Element {
	i := xmltree.New(nsMUCUser, "item").Set("affiliation", r.affiliation(o.user)).Set("role", o.role)
	if r.cfg.anyone || r.occupantOf(to).moderates() || slices.Contains(o.sessions, to) {
		i.Set("jid", o.sessions[0].String())
	}
	return i
}

// showOccupant tells everybody of an occupant who has changed.
func (s *Server) showOccupant(r *room, o *occupant, status ...int) {
	for _, other := range slices.Clone(r.occupants) {
		for _, real := range slices.Clone(other.sessions) {
			s.route(r.presenceOf(o, real, status...))
		}
	}
}

// leave takes a session out of a room (XEP-0045 §7.14).
func (s *Server) leave(r *room, o *occupant, real addr, presence *xmltree.Element) {
	if len(o.sessions) > 1 {
		s.route(r.present(o, presence, "none", real, r.item(o, real)))
		o.sessions = slices.DeleteFunc(o.sessions, func(a addr) bool { return a == real })
		return
	}
	s.remove(r, o, presence, nil)
}

// remove takes an occupant out of a room and tells everybody, him too. about is what is in his item besides; status says why (XEP-0045 §15.6).
func (s *Server) remove(r *room, o *occupant, presence *xmltree.Element, about func(item *xmltree.Element), status ...int) {
	var all []*stanza
	for _, other := range r.occupants {
		for _, real := range other.sessions {
			item := r.item(o, real)
			if about != nil {
				about(item)
			}
			all = append(all, r.present(o, presence, "none", real, item, status...))
		}
	}
	r.occupants = slices.DeleteFunc(r.occupants, func(x *occupant) bool { return x == o })
	for _, real := range o.sessions {
		if sess := s.session(real); sess != nil {
			delete(sess.directed, r.addr)
		}
	}
	if len(r.occupants) == 0 && !r.cfg.persistent && s.rooms[r.addr.local] == r {
		delete(s.rooms, r.addr.local)
	}
	for _, st := range all {
		s.route(st)
	}
}

// changeNick gives an occupant another name (XEP-0045 §7.6).
func (s *Server) changeNick(r *room, o *occupant, st *stanza) {
	nick := st.to.resource
	if r.byNick(nick) != nil {
		e := st.failed(errConflict)
		s.route(e) // he stays in the room
		return
	}
	gone := xmltree.New(nsClient, "presence").Set("type", "unavailable")
	for _, other := range r.occupants {
		for _, real := range other.sessions {
			s.route(r.present(o, gone, o.role, real, r.item(o, real).Set("nick", nick), 303))
		}
	}
	o.nick, o.presence = nick, st.Element
	s.showOccupant(r, o)
}

// past is the part of the history that somebody wants (XEP-0045 §7.2.14).
func (r *room) past(want *xmltree.Element) []past {
	all := r.history
	number := func(name string) (int, bool) {
		n, err := strconv.Atoi(want.Get(name))
		return max(n, 0), err == nil
	}
	if n, ok := number("maxstanzas"); ok {
		all = all[max(0, len(all)-n):]
	}
	since, err := time.Parse(time.RFC3339, want.Get("since"))
	if n, ok := number("seconds"); ok {
		if t := time.Now().Add(-time.Duration(min(n, 1<<30)) * time.Second); err != nil || t.After(since) {
			since, err = t, nil
		}
	}
	if err == nil {
		all = slices.DeleteFunc(slices.Clone(all), func(p past) bool { return p.at.Before(since) })
	}
	if n, ok := number("maxchars"); ok {
		from := len(all)
		for from > 0 {
			if n -= len(all[from-1].e.String()); n < 0 {
				break
			}
			from--
		}
		all = all[from:]
	}
	return all
}

// subjectFor is the subject for who has joined: the last thing he is sent (XEP-0045 §7.2.15).
func (r *room) subjectFor(to addr) *stanza {
	e := r.subject
	if e == nil {
		e = xmltree.New(nsClient, "message", xmltree.New(nsClient, "subject")).Set("type", "groupchat").Set("from", r.addr.String())
	}
	e = fork(e)
	return addressed(e, mustFrom(e), to)
}
