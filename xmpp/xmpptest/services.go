package xmpptest

import (
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsPing     = "urn:xmpp:ping"       // XEP-0199
	nsVersion  = "jabber:iq:version"   // XEP-0092
	nsTime     = "urn:xmpp:time"       // XEP-0202
	nsExternal = "urn:xmpp:extdisco:2" // XEP-0215
	nsVCard    = "vcard-temp"          // XEP-0054
	nsPrivate  = "jabber:iq:private"   // XEP-0049

	maxPrivate = 100 // elements of an account
)

// carbonsOn turns carbons on or off (XEP-0280 §4).
func carbonsOn(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	if !r.set {
		return nil, errBadRequest
	}
	r.sess.carbons = r.payload.Name.Local == "enable"
	return nil, nil
}

func pong(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	if r.set {
		return nil, errBadRequest
	}
	return nil, nil
}

// nothing is for what clients of RFC 3921 ask: a session, which they have by now.
func nothing(*Server, *request) (*xmltree.Element, *stanzaError) { return nil, nil }

func version(*Server, *request) (*xmltree.Element, *stanzaError) {
	return xmltree.New(nsVersion, "query", xmltree.NewText(nsVersion, "name", "hoorn xmpptest"), xmltree.NewText(nsVersion, "version", "1")), nil
}

func tellTime(*Server, *request) (*xmltree.Element, *stanzaError) {
	return xmltree.New(nsTime, "time", xmltree.NewText(nsTime, "tzo", "+00:00"), xmltree.NewText(nsTime, "utc", stamp(time.Now()))), nil
}

// externalServices tells of external services, all or those of a type (XEP-0215 §3).
func externalServices(s *Server, r *request) (*xmltree.Element, *stanzaError) {
	if r.set {
		return nil, errBadRequest
	}
	typ := r.payload.Get("type")
	list := xmltree.New(nsExternal, "services").Set("type", typ)
	for _, x := range s.cfg.Services {
		if typ != "" && typ != x.Type {
			continue
		}
		e := xmltree.New(nsExternal, "service").Set("type", x.Type).Set("host", x.Host).Set("transport", x.Transport)
		if x.Port != 0 {
			e.Set("port", strconv.Itoa(int(x.Port)))
		}
		e.Set("username", x.Username).Set("password", x.Password)
		if x.Password != "" {
			e.Set("restricted", "true")
		}
		if !x.Expires.IsZero() {
			e.Set("expires", stamp(x.Expires))
		}
		list.Add(e)
	}
	return list, nil
}

// vcard answers and changes a vCard (XEP-0054 §3).
func vcard(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	if r.set {
		if r.from.bare() != r.owner.addr {
			return nil, errForbidden
		}
		r.owner.vcard = r.payload
		return nil, nil
	}
	if r.owner.vcard == nil {
		return xmltree.New(nsVCard, "vCard"), nil
	}
	return r.owner.vcard, nil
}

// private keeps elements for their owner alone (XEP-0049).
func private(_ *Server, r *request) (*xmltree.Element, *stanzaError) {
	e := r.payload.First()
	if e == nil {
		return nil, errBadRequest
	}
	key := e.Name.Space + " " + e.Name.Local
	if r.set {
		if len(r.owner.private) >= maxPrivate && r.owner.private[key] == nil {
			return nil, errConstraint
		}
		r.owner.private[key] = e
		return nil, nil
	}
	kept := r.owner.private[key]
	if kept == nil {
		kept = xmltree.New(e.Name.Space, e.Name.Local)
	}
	return xmltree.New(nsPrivate, "query", kept), nil
}
