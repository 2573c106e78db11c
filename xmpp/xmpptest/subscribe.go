package xmpptest

import "github.com/hoorn-phone/hoorn/xmpp/xmltree"

// subscriptionTo sends a presence stanza about subscriptions on behalf of a user.
func (s *Server) subscriptionTo(a *account, to addr, typ string) {
	s.route(addressed(xmltree.New(nsClient, "presence").Set("type", typ).Set("id", s.newID()), a.addr, to))
}

// subscriptionFrom handles what a user says about subscriptions (RFC 6121 §3, appendix A.2).
func (s *Server) subscriptionFrom(a *account, st *stanza) {
	to := st.to.bare()
	st = st.forward(a.addr, to)
	if to == a.addr {
		return // RFC 6121 §3.1.2: one sees oneself anyway
	}
	i := a.roster.items[to]
	switch st.typ() {
	case "subscribe":
		if i = a.roster.ensure(to, s.cfg.Limits.Roster); i == nil {
			return
		}
		if !i.to && !i.ask {
			i.ask = true
			s.push(a, i)
		}
		s.route(st)
	case "unsubscribe":
		if i != nil && (i.to || i.ask) {
			i.to, i.ask = false, false
			s.push(a, i)
		}
		s.route(st)
	case "subscribed":
		switch {
		case i != nil && i.in != nil:
			i.from, i.in, i.approved = true, nil, false
			s.push(a, i)
			s.route(st)
			s.showTo(a, to, true)
		case i == nil || !i.from: // RFC 6121 §3.4.2
			if i = a.roster.ensure(to, s.cfg.Limits.Roster); i != nil && !i.approved {
				i.approved = true
				s.push(a, i)
			}
		}
	case "unsubscribed":
		if i == nil || !i.from && i.in == nil && !i.approved {
			return
		}
		from, asked := i.from, i.in != nil
		changed := i.from || i.approved
		i.from, i.in, i.approved = false, nil, false
		if from || asked {
			s.route(st)
		}
		if from {
			s.showTo(a, to, false) // RFC 6121 §3.2.1
		}
		if changed {
			s.push(a, i)
		} else if !i.listed {
			delete(a.roster.items, to)
		}
	}
}

// subscriptionAt handles what others say to a user about subscriptions (RFC 6121 §3, appendix A.3).
func (s *Server) subscriptionAt(a *account, st *stanza) {
	from := st.from.bare()
	st = st.forward(from, a.addr)
	i := a.roster.items[from]
	switch st.typ() {
	case "subscribe":
		switch {
		case i != nil && i.from:
			s.subscriptionTo(a, from, "subscribed") // RFC 6121 §3.1.3
		case i != nil && i.approved:
			i.from, i.approved = true, false
			s.push(a, i)
			s.subscriptionTo(a, from, "subscribed") // RFC 6121 §3.4.2
			s.showTo(a, from, true)
		default:
			if i = a.roster.ensure(from, s.cfg.Limits.Roster); i == nil || i.in != nil {
				return
			}
			i.in = st
			s.toAvailable(a, st)
		}
	case "subscribed":
		if i != nil && i.ask && !i.to {
			i.to, i.ask = true, false
			s.toInterested(a, st)
			s.push(a, i)
		}
	case "unsubscribe":
		if i == nil || !i.from && i.in == nil {
			return
		}
		was := i.from
		i.from, i.in = false, nil
		s.toInterested(a, st)
		if was {
			s.push(a, i)
			s.showTo(a, from, false) // RFC 6121 §3.3.3
		} else if !i.listed {
			delete(a.roster.items, from)
		}
	case "unsubscribed":
		if i != nil && (i.to || i.ask) {
			i.to, i.ask = false, false
			s.toInterested(a, st)
			s.push(a, i)
		}
	}
}

func (s *Server) toAvailable(a *account, st *stanza) {
	for _, sess := range a.sorted() {
		if sess.available {
			s.deliver(sess, st)
		}
	}
}

func (s *Server) toInterested(a *account, st *stanza) {
	for _, sess := range a.sorted() {
		if sess.interested {
			s.deliver(sess, st)
		}
	}
}
