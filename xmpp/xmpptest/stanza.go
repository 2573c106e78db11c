package xmpptest

import (
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsClient = xmppstream.NSClient
	nsError  = "urn:ietf:params:xml:ns:xmpp-stanzas"
	nsDelay  = "urn:xmpp:delay" // XEP-0203
)

// stanza is one with its addresses. What it holds does not change any more: the
// same element may be on its way to many.
type stanza struct {
	*xmltree.Element
	from, to addr
}

func (st *stanza) kind() string { return st.Name.Local }
func (st *stanza) typ() string  { return st.Get("type") }

// fork returns a copy to which children and attributes may be added.
func fork(e *xmltree.Element) *xmltree.Element {
	c := *e
	c.Attr = slices.Clone(e.Attr)
	c.Nodes = slices.Clone(e.Nodes)
	return &c
}

// addressed makes a stanza of an element and gives it its addresses.
func addressed(e *xmltree.Element, from, to addr) *stanza {
	e.Set("from", from.String()).Set("to", to.String())
	return &stanza{e, from, to}
}

// forward is a stanza with other addresses.
func (st *stanza) forward(from, to addr) *stanza { return addressed(fork(st.Element), from, to) }

// stanzaError is an error of RFC 6120 §8.3.
type stanzaError struct {
	typ, condition string
	app            *xmltree.Element // condition of an application, or nil
	text           string
}

// The errors that are used all over.
var (
	errBadRequest    = &stanzaError{typ: "modify", condition: "bad-request"}
	errMalformed     = &stanzaError{typ: "modify", condition: "jid-malformed"}
	errNotAcceptable = &stanzaError{typ: "modify", condition: "not-acceptable"}
	errUnavailable   = &stanzaError{typ: "cancel", condition: "service-unavailable"}
	errNotFound      = &stanzaError{typ: "cancel", condition: "item-not-found"}
	errForbidden     = &stanzaError{typ: "auth", condition: "forbidden"}
	errNotAllowed    = &stanzaError{typ: "cancel", condition: "not-allowed"}
	errConflict      = &stanzaError{typ: "cancel", condition: "conflict"}
	errConstraint    = &stanzaError{typ: "wait", condition: "resource-constraint"}
	errNotBuilt      = &stanzaError{typ: "cancel", condition: "feature-not-implemented"}
	errNoServer      = &stanzaError{typ: "cancel", condition: "remote-server-not-found"}
	errAnswered      = &stanzaError{} // there is nothing more to say
	errRegistration  = &stanzaError{typ: "auth", condition: "registration-required"}
)

func (e *stanzaError) element() *xmltree.Element {
	x := xmltree.New(nsClient, "error", xmltree.New(nsError, e.condition)).Set("type", e.typ)
	if e.text != "" {
		x.Add(xmltree.NewText(nsError, "text", e.text))
	}
	return x.Add(e.app)
}

// failed is the answer to a stanza that failed; nil where RFC 6120 §8.3.1 allows none.
func (st *stanza) failed(err *stanzaError) *stanza {
	if st.typ() == "error" || st.kind() == "iq" && st.typ() == "result" {
		return nil
	}
	e := xmltree.New(nsClient, st.kind()).Set("type", "error").Set("id", st.Get("id"))
	if st.kind() == "message" {
		// What a client needs to see which of its messages it was.
		e.Add(st.Child(nsClient, "body"))
	}
	return addressed(e.Add(err.element()), st.to, st.from)
}

// result is the answer to a request.
func (st *stanza) result(payload *xmltree.Element) *stanza {
	return addressed(xmltree.New(nsClient, "iq", payload).Set("type", "result").Set("id", st.Get("id")), st.to, st.from)
}

// isRequest tells an IQ that wants an answer.
func (st *stanza) isRequest() bool {
	return st.kind() == "iq" && (st.typ() == "get" || st.typ() == "set")
}

// stamp writes a time as XEP-0082 has it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func delayed(t time.Time, from string) *xmltree.Element {
	return xmltree.New(nsDelay, "delay").Set("from", from).Set("stamp", stamp(t))
}

func isTrue(s string) bool { return s == "true" || s == "1" }
