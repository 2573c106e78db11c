package xmpptest

import "github.com/hoorn-phone/hoorn/xmpp/xmltree"

const nsBlocking = "urn:xmpp:blocking" // XEP-0191

// blocks tells whether a user has blocked an address (XEP-0191 §3.2, RFC 3921 §10.1: a full address, a bare one, those of a domain).
func (a *account) blocks(other addr) bool {
	if len(a.blocked) == 0 || other.bare() == a.addr {
		return false
	}
	return a.blocked[other] || a.blocked[other.bare()] || a.blocked[addr{domain: other.domain, resource: other.resource}] || a.blocked[addr{domain: other.domain}]
}

func blockList(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	if r.set {
		return nil, errBadRequest
	}
	r.sess.blockList = true
	list := xmltree.New(nsBlocking, "blocklist")
	for a := range r.owner.blocked {
		list.Add(xmltree.New(nsBlocking, "item").Set("jid", a.String()))
	}
	return list, nil
}

// block blocks and unblocks. Contacts that are affected see the user go and come (XEP-0191 §3.3, §3.4).
func block(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	if !r.set {
		return nil, errBadRequest
	}
	u, on := r.owner, r.payload.Name.Local == "block"
	var all []addr
	for i := range r.payload.Named(nsBlocking, "item") {
		a, ok := parseAddr(i.Get("jid"))
		if !ok {
			return nil, errMalformed
		}
		all = append(all, a)
	}
	switch {
	case on && len(all) == 0:
		return nil, errBadRequest
	case on && len(u.blocked)+len(all) > s.cfg.Limits.Blocked:
		return nil, errConstraint
	}
	before := make(map[addr]bool)
	for _, i := range u.roster.items {
		before[i.addr] = u.blocks(i.addr)
		if on && i.from && !before[i.addr] {
			s.maybeHide(u, i, all)
		}
	}
	for _, a := range all {
		if on {
			u.blocked[a] = true
		} else {
			delete(u.blocked, a)
		}
	}
	if len(all) == 0 {
		clear(u.blocked)
	}
	s.deliver(r.sess, r.result(nil))
	for _, sess := range u.sorted() {
		if sess.blockList {
			iq := xmltree.New(nsClient, "iq", r.payload).Set("type", "set").Set("id", s.newID())
			s.deliver(sess, addressed(iq, u.addr, sess.addr))
		}
	}
	for _, i := range u.roster.sorted() {
		if i.from && before[i.addr] && !u.blocks(i.addr) {
			s.showTo(u, i.addr, true)
		}
	}
	return nil, errAnswered
}

// maybeHide sends unavailable presence to a contact that is about to be blocked.
func (s *Server) maybeHide(u *account, i *item, blocked []addr) {
	for _, a := range blocked {
		if a == i.addr || a == (addr{domain: i.addr.domain}) {
			s.showTo(u, i.addr, false)
			return
		}
	}
}
