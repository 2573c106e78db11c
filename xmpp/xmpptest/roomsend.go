package xmpptest

import (
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const nsDirect = "jabber:x:conference" // XEP-0249

// messageInRoom handles a message to a room or to one in it.
func (s *Server) messageInRoom(r *room, st *stanza) {
	o := r.occupantOf(st.from)
	if st.typ() == "error" {
		return
	}
	if x := st.Child(nsMUCUser, "x"); st.to.isBare() && st.typ() != "groupchat" && x.First() != nil {
		if err := s.invite(r, o, st, x); err != nil {
			s.bounce(st, err)
		}
		return
	}
	switch {
	case o == nil:
		s.bounce(st, errNotAcceptable) // XEP-0045 §7.4
	case st.typ() != "groupchat" && st.to.isBare(), st.typ() == "groupchat" && !st.to.isBare():
		s.bounce(st, errBadRequest)
	case st.typ() == "groupchat":
		if err := s.say(r, o, st); err != nil {
			s.bounce(st, err)
		}
	default:
		if err := s.whisper(r, o, st); err != nil {
			s.bounce(st, err)
		}
	}
}

// clean removes from a message what only the room may say.
func (r *room) clean(e *xmltree.Element) *xmltree.Element {
	e = fork(withoutStanzaIDs(e, r.addr))
	e.Remove(nsOccupant, "occupant-id")
	e.Remove(nsMUCUser, "x")
	return e
}

// say sends a message to everybody in a room (XEP-0045 §7.4).
func (s *Server) say(r *room, o *occupant, st *stanza) *stanzaError {
	subject := st.Child(nsClient, "subject") != nil && st.Child(nsClient, "body") == nil && st.Child(nsClient, "thread") == nil
	switch {
	case o.role == "visitor":
		return errForbidden // §7.4
	case subject && !o.moderates() && !r.cfg.subject:
		return errForbidden // §8.1
	}
	e := r.clean(st.Element)
	e.Set("from", r.addr.with(o.nick).String()).Set("to", "").Add(r.occupantID(o.user))
	if retract := e.Child(nsRetract, "retract"); retract != nil {
		r.retractOwn(o, retract.Get("id"))
	}
	e = s.broadcast(r, o.user, e)
	if subject {
		r.subject = e
	}
	return nil
}

// broadcast archives a message, which has its from, and sends it to everybody.
func (s *Server) broadcast(r *room, author addr, e *xmltree.Element) *xmltree.Element {
	if substance(e) {
		if r.cfg.archives {
			e = withStanzaID(e, r.addr, r.archive.add(s, e, author))
		}
		if e.Child(nsClient, "body") != nil && r.cfg.history > 0 {
			r.history = append(r.history, past{time.Now(), e})
			if over := len(r.history) - r.cfg.history; over > 0 {
				r.history = slices.Delete(r.history, 0, over)
			}
		}
	}
	from := mustFrom(e)
	for _, other := range slices.Clone(r.occupants) {
		for _, real := range slices.Clone(other.sessions) {
			s.route(addressed(fork(e), from, real))
		}
	}
	return e
}

// whisper sends a private message (XEP-0045 §7.5).
func (s *Server) whisper(r *room, o *occupant, st *stanza) *stanzaError {
	to := r.byNick(st.to.resource)
	switch pm := r.cfg.private; {
	case to == nil:
		return errNotFound
	case pm == "none", pm == "moderators" && !o.moderates(), pm == "participants" && o.role == "visitor":
		return errForbidden
	}
	e := r.clean(st.Element).Add(xmltree.New(nsMUCUser, "x"), r.occupantID(o.user))
	for _, real := range slices.Clone(to.sessions) {
		s.route(addressed(fork(e), r.addr.with(o.nick), real))
	}
	return nil
}

// invite passes on invitations and what was answered to them (XEP-0045 §7.8.2).
func (s *Server) invite(r *room, o *occupant, st *stanza, x *xmltree.Element) *stanzaError {
	if d := x.Child(nsMUCUser, "decline"); d != nil {
		to, ok := parseAddr(d.Get("to"))
		if !ok {
			return errMalformed
		}
		decline := fork(d).Set("to", "").Set("from", st.from.bare().String())
		s.route(addressed(xmltree.New(nsClient, "message", xmltree.New(nsMUCUser, "x", decline)), r.addr, to))
		return nil
	}
	switch {
	case o == nil:
		return errNotAcceptable
	case !r.cfg.invites && !o.moderates(), r.cfg.members && !r.cfg.invites && !r.atLeast(st.from, "admin"):
		return errForbidden
	}
	for i := range x.Named(nsMUCUser, "invite") {
		to, ok := parseAddr(i.Get("to"))
		if !ok {
			return errMalformed
		}
		if r.cfg.members && r.affiliation(to) == "none" {
			if err := r.setRight(to.bare(), "member", s.cfg.Limits.Occupants); err != nil {
				return err
			}
		}
		mu := xmltree.New(nsMUCUser, "x", fork(i).Set("to", "").Set("from", st.from.bare().String()))
		direct := xmltree.New(nsDirect, "x").Set("jid", r.addr.String()).Set("reason", i.Child(nsMUCUser, "reason").Text())
		if r.cfg.password != "" {
			mu.Add(xmltree.NewText(nsMUCUser, "password", r.cfg.password))
			direct.Set("password", r.cfg.password)
		}
		s.route(addressed(xmltree.New(nsClient, "message", mu, direct).Set("id", s.newID()), r.addr, to))
	}
	return nil
}

const maxQuestions = 1000 // of occupants to each other; more, and the oldest answers are lost

// iqInRoom handles requests to occupants and their answers (XEP-0045 §7.1 and its note on IQ, XEP-0410).
func (s *Server) iqInRoom(r *room, st *stanza) {
	o := r.occupantOf(st.from)
	if !st.isRequest() {
		if q, ok := r.asked[st.Get("id")]; ok && q.to == st.from && o != nil {
			delete(r.asked, st.Get("id"))
			e := fork(st.Element).Set("id", q.id)
			s.route(addressed(e, r.addr.with(o.nick), q.from))
		}
		return
	}
	to := r.byNick(st.to.resource)
	payload := st.First()
	switch {
	case o == nil:
		s.bounce(st, errNotAcceptable) // XEP-0410 §3.2: not joined
	case to == nil:
		s.bounce(st, errNotFound)
	case to == o && payload.Is(nsPing, "ping"):
		s.route(st.result(nil)) // XEP-0410 §3.3: we know without asking
	case payload.Is(nsVCard, "vCard") && st.typ() == "get":
		card := xmltree.New(nsVCard, "vCard")
		if u := s.account(to.user); u != nil && u.vcard != nil {
			card = u.vcard
		}
		s.route(st.result(card))
	default:
		if len(r.asked) >= maxQuestions || r.asked == nil {
			r.asked = make(map[string]question)
		}
		id := s.newID()
		r.asked[id] = question{st.Get("id"), st.from, to.sessions[0]}
		s.route(addressed(fork(st.Element).Set("id", id), r.addr.with(o.nick), to.sessions[0]))
	}
}
