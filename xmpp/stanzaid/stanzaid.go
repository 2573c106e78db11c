// Package stanzaid has the ids of XEP-0359: which one a sender gave a message, and
// which one an archive did.
package stanzaid

import (
	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of unique ids.
const NS = "urn:xmpp:sid:0"

// maxLength bounds ids that are taken.
const maxLength = 1024

// Of returns the id that by, a room or our own bare account, has given a message; "" if there is none. It
// can be believed only if the message came through by, and by announces that it
// takes away what others write in its name: see Announced (§6). Two ids of the same are none: one of them is forged.
func Of(m *xmpp.Message, by jid.JID) string {
	found := ""
	for _, e := range m.Payload {
		if !e.Is(NS, "stanza-id") {
			continue
		}
		if j, err := jid.Parse(e.Get("by")); err != nil || !j.Equal(by) {
			continue
		}
		if found != "" {
			return ""
		}
		if found = e.Get("id"); len(found) > maxLength {
			return ""
		}
	}
	return found
}

// Announced tells whether ids by an entity with these features can be believed (§6): it announces the
// protocol, or an archive (XEP-0313 §4.1).
func Announced(i *xmpp.Info) bool { return i.Has(NS) || i.Has("urn:xmpp:mam:2") }

// Element is an id that by has given, as it goes over the wire.
func Element(id string, by jid.JID) *xmltree.Element {
	return xmltree.New(NS, "stanza-id").Set("id", id).Set("by", by.String())
}

// Origin returns the id that the sender gave a message (§3.2); "" if there is none. Only the sender vouches for it.
func Origin(m *xmpp.Message) string {
	if id := m.Child(NS, "origin-id").Get("id"); len(id) <= maxLength {
		return id
	}
	return ""
}

// SetOrigin makes the id of a message its origin-id too, after it has given it one if it has none: so it is found
// again where a room or a gateway changes the id.
func SetOrigin(m *xmpp.Message) {
	if m.ID == "" {
		m.ID = xmpp.NewID()
	}
	if m.Child(NS, "origin-id") == nil {
		m.Payload = append(m.Payload, xmltree.New(NS, "origin-id").Set("id", m.ID))
	}
}
