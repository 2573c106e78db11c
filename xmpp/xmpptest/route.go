package xmpptest

import (
	"encoding/xml"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// handle takes a stanza from a session (RFC 6120 §10, RFC 6121 §8).
func (s *Server) handle(sess *session, e *xmltree.Element) error {
	if from := e.Get("from"); from != "" {
		a, ok := parseAddr(from)
		if !ok || a != sess.addr && a != sess.addr.bare() {
			return &streamError{condition: "invalid-from"} // RFC 6120 §8.1.2.1
		}
	}
	st := &stanza{Element: e, from: sess.addr}
	e.Set("from", sess.addr.String())
	to, addressed := e.Lookup("", "to")
	if addressed {
		var ok bool
		if st.to, ok = parseAddr(to); !ok {
			st.to = sess.addr.bare()
			s.bounce(st, errMalformed)
			return nil
		}
		if sess.user.blocks(st.to) && st.typ() != "error" && st.typ() != "result" {
			// XEP-0191 §3.2
			s.bounce(st, &stanzaError{typ: "cancel", condition: "not-acceptable", app: xmltree.New("urn:xmpp:blocking:errors", "blocked")})
			return nil
		}
	} else {
		st.to = sess.addr.bare() // RFC 6120 §10.3
	}
	switch st.kind() {
	case "message":
		e.Set("to", st.to.String())
		s.messageFrom(sess, st)
	case "presence":
		s.presenceFrom(sess, st, addressed)
	case "iq":
		if err := checkIQ(e); err != nil {
			s.bounce(st, err)
			return nil
		}
		if st.isRequest() || !s.learned(sess, st) && addressed {
			s.route(st)
		}
	}
	return nil
}

// checkIQ holds an IQ against RFC 6120 §8.2.3.
func checkIQ(e *xmltree.Element) *stanzaError {
	n := 0
	for range e.Elements() {
		n++
	}
	switch typ := e.Get("type"); {
	case e.Get("id") == "":
		return errBadRequest
	case typ == "get" || typ == "set":
		if n != 1 {
			return errBadRequest
		}
	case typ != "result" && typ != "error":
		return errBadRequest
	}
	return nil
}

// route brings a stanza to whom it is addressed. It has its from.
func (s *Server) route(st *stanza) {
	switch {
	case st.to.domain == s.cfg.Domain && st.to.local == "":
		if st.kind() == "iq" {
			s.answer(st, nil, s.iq.server)
		} else if st.kind() == "message" && st.typ() != "groupchat" {
			s.bounce(st, errUnavailable)
		}
	case st.to.domain == s.cfg.Domain:
		s.toUser(st)
	case st.to.domain == s.cfg.Rooms:
		s.toRooms(st)
	case st.to.domain == s.cfg.PubSub:
		if st.kind() == "iq" {
			s.answer(st, nil, s.iq.pubsub)
		} else {
			s.bounce(st, errUnavailable)
		}
	default:
		s.bounce(st, errNoServer) // RFC 6120 §10.4: we talk to nobody
	}
}

// bounce answers a stanza with an error where that is allowed; presence never gets one but from rooms.
func (s *Server) bounce(st *stanza, err *stanzaError) {
	if st.kind() == "presence" && err != errMalformed && err.condition != "not-acceptable" {
		return
	}
	if e := st.failed(err); e != nil {
		s.route(e)
	}
}

// toUser brings a stanza to an account of ours or to one of its sessions (RFC 6121 §8.5).
func (s *Server) toUser(st *stanza) {
	a := s.account(st.to)
	if a == nil {
		if st.kind() != "presence" {
			s.bounce(st, errUnavailable)
		}
		return
	}
	if a.blocks(st.from) && st.typ() != "error" && st.typ() != "result" {
		// XEP-0191 §3.2: as if he did not exist.
		if st.kind() == "message" && st.typ() != "groupchat" && st.typ() != "headline" || st.isRequest() {
			s.bounce(st, errUnavailable)
		}
		return
	}
	switch st.kind() {
	case "message":
		s.messageTo(st, a)
	case "presence":
		s.presenceTo(st, a)
	case "iq":
		s.iqTo(st, a)
	}
}

func (s *Server) iqTo(st *stanza, a *account) {
	if st.to.isBare() {
		if st.from.bare() == a.addr {
			s.answer(st, a, s.iq.own)
		} else {
			s.answer(st, a, s.iq.others)
		}
		return
	}
	if sess := a.sessions[st.to.resource]; sess != nil {
		s.deliver(sess, st)
		return
	}
	if st.isRequest() {
		s.bounce(st, errUnavailable) // RFC 6121 §8.5.3.2.3
	}
}

// request is an IQ that we answer.
type request struct {
	*stanza
	sess    *session // whose it is
	owner   *account // whom it is addressed to; nil: a service
	payload *xmltree.Element
	set     bool
}

// iqHandler returns what is in the result, which may be nil, or an error; errAnswered if it has answered itself.
type iqHandler func(s *Server, r *request) (*xmltree.Element, *stanzaError)

type iqTable map[xml.Name]iqHandler

// answer answers a request by a table. Results go nowhere.
func (s *Server) answer(st *stanza, owner *account, table iqTable) {
	if !st.isRequest() {
		return
	}
	r := &request{stanza: st, sess: s.session(st.from), owner: owner, payload: st.First(), set: st.typ() == "set"}
	h := table[r.payload.Name]
	if r.sess == nil || h == nil {
		s.bounce(st, errUnavailable) // RFC 6120 §8.4
		return
	}
	payload, err := h(s, r)
	if err == errAnswered {
		return
	}
	if err != nil {
		s.bounce(st, err)
		return
	}
	s.route(st.result(payload))
}
