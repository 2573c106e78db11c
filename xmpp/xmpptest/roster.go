package xmpptest

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsRoster = "jabber:iq:roster"

	maxName   = 1023 // bytes of a contact's name and of a group (RFC 6121 §2.3.3)
	maxGroups = 100
	maxGone   = 1000 // contacts that were removed and are remembered for versions
)

// roster is a user's (RFC 6121 §2).
type roster struct {
	items   map[addr]*item
	version int
	removed map[addr]int // with their versions
	oldest  int          // versions before this one get the whole roster
}

// item is a contact. Appendix A.1 of RFC 6121 has the states that to, from, ask and in make.
type item struct {
	addr     addr
	name     string
	groups   []string
	to, from bool
	ask      bool    // "Pending Out"
	in       *stanza // "Pending In": the request
	approved bool    // in advance (RFC 6121 §3.4)
	listed   bool    // not: there is but a request, which is not in the roster (RFC 6121 §3.1.3)
	version  int
}

func (i *item) subscription() string {
	switch {
	case i.to && i.from:
		return "both"
	case i.to:
		return "to"
	case i.from:
		return "from"
	}
	return "none"
}

func (i *item) element() *xmltree.Element {
	e := xmltree.New(nsRoster, "item").Set("jid", i.addr.String()).Set("name", i.name).Set("subscription", i.subscription())
	if i.ask {
		e.Set("ask", "subscribe")
	}
	if i.approved {
		e.Set("approved", "true")
	}
	for _, g := range i.groups {
		e.Add(xmltree.NewText(nsRoster, "group", g))
	}
	return e
}

// ensure returns an item, which is made if need be; nil: there are too many.
func (r *roster) ensure(a addr, limit int) *item {
	i := r.items[a]
	if i == nil && len(r.items) < limit {
		i = &item{addr: a}
		r.items[a] = i
	}
	return i
}

// sorted are the contacts in an order that does not change.
func (r *roster) sorted() []*item {
	all := make([]*item, 0, len(r.items))
	for _, i := range r.items {
		all = append(all, i)
	}
	slices.SortFunc(all, func(x, y *item) int { return cmp.Compare(x.addr.String(), y.addr.String()) })
	return all
}

// rosterIQ answers who is in the roster, and changes it (RFC 6121 §2.1).
func rosterIQ(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	if r.set {
		return nil, s.setRoster(r)
	}
	r.sess.interested = true
	ro := &r.owner.roster
	query := xmltree.New(nsRoster, "query").Set("ver", strconv.Itoa(ro.version))
	ver, versioned := r.payload.Lookup("", "ver")
	if known, err := strconv.Atoi(ver); versioned && err == nil && known >= ro.oldest && known <= ro.version && ver != "" {
		// RFC 6121 §2.6.3: nothing now, and pushes of what is new.
		s.deliver(r.sess, r.result(nil))
		s.pushSince(r.sess, known)
		return nil, errAnswered
	}
	for _, i := range ro.sorted() {
		if i.listed {
			query.Add(i.element())
		}
	}
	return query, nil
}

// pushSince tells a session what has changed since a version.
func (s *Server) pushSince(sess *session, known int) {
	type change struct {
		version int
		e       *xmltree.Element
	}
	var all []change
	ro := &sess.user.roster
	for _, i := range ro.items {
		if i.listed && i.version > known {
			all = append(all, change{i.version, i.element()})
		}
	}
	for a, v := range ro.removed {
		if v > known {
			all = append(all, change{v, gone(a)})
		}
	}
	slices.SortFunc(all, func(x, y change) int { return x.version - y.version })
	for _, c := range all {
		s.pushTo(sess, c.e, c.version)
	}
}

func gone(a addr) *xmltree.Element {
	return xmltree.New(nsRoster, "item").Set("jid", a.String()).Set("subscription", "remove")
}

func (s *Server) pushTo(sess *session, e *xmltree.Element, version int) {
	iq := xmltree.New(nsClient, "iq", xmltree.New(nsRoster, "query", e).Set("ver", strconv.Itoa(version)))
	iq.Set("type", "set").Set("id", s.newID())
	s.deliver(sess, addressed(iq, sess.addr.bare(), sess.addr))
}

// push tells all interested sessions of a contact that has changed (RFC 6121 §2.1.6).
func (s *Server) push(a *account, i *item) {
	a.roster.version++
	i.version, i.listed = a.roster.version, true
	delete(a.roster.removed, i.addr)
	for _, sess := range a.sorted() {
		if sess.interested {
			s.pushTo(sess, i.element(), i.version)
		}
	}
}

// setRoster adds, changes or removes a contact (RFC 6121 §2.3 to §2.5).
func (s *Server) setRoster(r *request) *stanzaError {
	var want *xmltree.Element
	for e := range r.payload.Elements() {
		if want != nil || !e.Is(nsRoster, "item") {
			return errBadRequest
		}
		want = e
	}
	a, ok := parseAddr(want.Get("jid"))
	if !ok {
		return errBadRequest
	}
	a = a.bare()
	ro := &r.owner.roster
	if want.Get("subscription") == "remove" {
		i := ro.items[a]
		if i == nil || !i.listed {
			return errNotFound
		}
		s.removeContact(r.owner, i)
		return nil
	}
	groups := []string{}
	for g := range want.Named(nsRoster, "group") {
		switch t := g.Text(); {
		case t == "" || len(t) > maxName || len(groups) == maxGroups:
			return errNotAcceptable
		case slices.Contains(groups, t):
			return errBadRequest
		default:
			groups = append(groups, t)
		}
	}
	if len(want.Get("name")) > maxName {
		return errNotAcceptable
	}
	i := ro.ensure(a, s.cfg.Limits.Roster)
	if i == nil {
		return errConstraint
	}
	i.name, i.groups = want.Get("name"), groups
	s.push(r.owner, i)
	return nil
}

// removeContact removes a contact and the subscriptions both ways (RFC 6121 §2.5.2).
func (s *Server) removeContact(a *account, i *item) {
	if i.to || i.ask {
		s.subscriptionTo(a, i.addr, "unsubscribe")
	}
	if i.from || i.in != nil {
		s.subscriptionTo(a, i.addr, "unsubscribed")
		if i.from {
			s.showTo(a, i.addr, false)
		}
	}
	ro := &a.roster
	delete(ro.items, i.addr)
	ro.version++
	if len(ro.removed) >= maxGone {
		clear(ro.removed)
		ro.oldest = ro.version
	}
	ro.removed[i.addr] = ro.version
	for _, sess := range a.sorted() {
		if sess.interested {
			s.pushTo(sess, gone(i.addr), ro.version)
		}
	}
}
