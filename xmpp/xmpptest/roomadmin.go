package xmpptest

import (
	"slices"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func roomOf(s *Server, r *request) *room { return s.rooms[r.to.local] }

// setRight changes an affiliation, within bounds.
func (r *room) setRight(who addr, affiliation string, limit int) *stanzaError {
	if affiliation == "none" {
		delete(r.rights, who)
		return nil
	}
	if len(r.rights) >= 10*limit && r.rights[who] == "" {
		return errConstraint
	}
	r.rights[who] = affiliation
	return nil
}

// roomAdmin answers and changes roles and affiliations (XEP-0045 §8, §9).
func roomAdmin(s *Server, q *request) (*xmltree.Element, *stanzaError) {
	r := roomOf(s, q)
	if q.set {
		return nil, s.administer(r, q)
	}
	i := q.payload.Child(nsMUCAdmin, "item")
	list := xmltree.New(nsMUCAdmin, "query")
	if role := i.Get("role"); role != "" {
		if !r.occupantOf(q.from).moderates() {
			return nil, errForbidden
		}
		for _, o := range r.occupants {
			if o.role == role {
				list.Add(xmltree.New(nsMUCAdmin, "item").Set("jid", o.sessions[0].String()).Set("nick", o.nick).Set("role", o.role).Set("affiliation", r.affiliation(o.user)))
			}
		}
		return list, nil
	}
	wanted := i.Get("affiliation")
	switch {
	case !slices.Contains(affiliations, wanted):
		return nil, errBadRequest
	case !r.atLeast(q.from, "admin") && !(r.cfg.members && r.atLeast(q.from, "member") && wanted != "outcast"):
		return nil, errForbidden
	}
	var all []string
	for who, a := range r.rights {
		if a == wanted {
			all = append(all, who.String())
		}
	}
	slices.Sort(all)
	for _, j := range all {
		list.Add(xmltree.New(nsMUCAdmin, "item").Set("jid", j).Set("affiliation", wanted))
	}
	return list, nil
}

// change is one item of a request, found to be allowed.
type change struct {
	o           *occupant // or nil
	who         addr      // bare, of an affiliation
	role        string    // or ""
	affiliation string    // or ""
	reason      string
}

// administer makes all changes of a request or none.
func (s *Server) administer(r *room, q *request) *stanzaError {
	var all []change
	for i := range q.payload.Named(nsMUCAdmin, "item") {
		c := change{role: i.Get("role"), affiliation: i.Get("affiliation"), reason: i.Child(nsMUCAdmin, "reason").Text()}
		if nick := i.Get("nick"); nick != "" {
			c.o = r.byNick(nick)
		}
		var err *stanzaError
		switch {
		case c.affiliation != "":
			err = r.checkAffiliation(&c, i, q.from)
		case c.role != "":
			err = r.checkRole(&c, q.from)
		default:
			err = errBadRequest
		}
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return errBadRequest
	}
	actor := r.occupantOf(q.from)
	s.deliver(q.sess, q.result(nil))
	for _, c := range all {
		if c.affiliation != "" {
			s.setAffiliation(r, actor, &c)
		} else {
			s.setRole(r, actor, &c)
		}
	}
	return errAnswered
}

// checkRole holds a change of a role against XEP-0045 §5.1.1, §8.2 to §8.7, §9.6 and §9.7.
func (r *room) checkRole(c *change, actor addr) *stanzaError {
	switch {
	case !slices.Contains(roles, c.role):
		return errBadRequest
	case !r.occupantOf(actor).moderates():
		return errForbidden
	case c.o == nil:
		return errNotFound
	case c.role == "moderator" && !r.atLeast(actor, "admin"):
		return errForbidden
	}
	theirs := rank(affiliations, r.affiliation(c.o.user))
	if c.role != "moderator" && c.o.user != actor.bare() && (theirs > rank(affiliations, r.affiliation(actor)) || theirs >= rank(affiliations, "admin")) {
		return errNotAllowed
	}
	if c.o.moderates() && c.role != "moderator" && !r.atLeast(actor, "admin") && theirs >= rank(affiliations, r.affiliation(actor)) {
		return errNotAllowed
	}
	return nil
}

// checkAffiliation holds a change of an affiliation against XEP-0045 §5.2.2, §9 and §10.
func (r *room) checkAffiliation(c *change, i *xmltree.Element, actor addr) *stanzaError {
	if j := i.Get("jid"); j != "" {
		a, ok := parseAddr(j)
		if !ok {
			return errMalformed
		}
		c.who = a.bare()
	} else if c.o != nil {
		c.who = c.o.user
	} else {
		return errNotFound
	}
	owner := r.affiliation(actor) == "owner"
	high := rank(affiliations, "admin")
	switch now := r.affiliation(c.who); {
	case !slices.Contains(affiliations, c.affiliation):
		return errBadRequest
	case !r.atLeast(actor, "admin"):
		return errForbidden
	case !owner && (rank(affiliations, now) >= high || rank(affiliations, c.affiliation) >= high):
		return errNotAllowed
	case c.affiliation == "outcast" && c.who == actor.bare():
		return errConflict // §9.1
	case now == "owner" && c.affiliation != "owner":
		for who, a := range r.rights {
			if a == "owner" && who != c.who {
				return nil
			}
		}
		return errConflict // the last one, §10.6
	}
	return nil
}

// because adds who did it and why.
func (c *change) because(actor *occupant) func(*xmltree.Element) {
	return func(item *xmltree.Element) {
		if actor != nil {
			item.Add(xmltree.New(nsMUCUser, "actor").Set("nick", actor.nick))
		}
		if c.reason != "" {
			item.Add(xmltree.NewText(nsMUCUser, "reason", c.reason))
		}
	}
}

func (s *Server) setRole(r *room, actor *occupant, c *change) {
	if c.role == "none" { // a kick, XEP-0045 §8.2
		s.expel(r, c.o, c.because(actor), 307)
		return
	}
	c.o.role = c.role
	s.showChanged(r, c.o, c.because(actor))
}

// expel makes an occupant leave.
func (s *Server) expel(r *room, o *occupant, about func(*xmltree.Element), status ...int) {
	s.remove(r, o, xmltree.New(nsClient, "presence").Set("type", "unavailable"), about, status...)
}

func (s *Server) showChanged(r *room, o *occupant, about func(*xmltree.Element)) {
	for _, other := range slices.Clone(r.occupants) {
		for _, real := range slices.Clone(other.sessions) {
			i := r.item(o, real)
			about(i)
			s.route(r.present(o, o.presence, o.role, real, i))
		}
	}
}

// setAffiliation changes what somebody is to the room, and what follows if he is in it.
func (s *Server) setAffiliation(r *room, actor *occupant, c *change) {
	if r.setRight(c.who, c.affiliation, s.cfg.Limits.Occupants) != nil {
		return
	}
	for _, o := range slices.Clone(r.occupants) {
		switch {
		case o.user != c.who:
		case c.affiliation == "outcast":
			s.expel(r, o, c.because(actor), 301) // §9.1
		case c.affiliation == "none" && r.cfg.members:
			s.expel(r, o, c.because(actor), 321) // §9.4
		default:
			o.role = r.firstRole(o.user)
			s.showChanged(r, o, c.because(actor))
		}
	}
}
