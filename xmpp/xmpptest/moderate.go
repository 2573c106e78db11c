package xmpptest

import (
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const (
	nsModerate  = "urn:xmpp:message-moderate:1" // XEP-0425
	nsModerate0 = "urn:xmpp:message-moderate:0" // its older version, by XEP-0422
	nsRetract   = "urn:xmpp:message-retract:1"  // XEP-0424
	nsRetract0  = "urn:xmpp:message-retract:0"
	nsFasten    = "urn:xmpp:fasten:0"
)

// moderate retracts a message of somebody else (XEP-0425 §4), asked for in either version and told in both.
func moderate(s *Server, q *request) (*xmltree.Element, *stanzaError) {
	r := roomOf(s, q)
	what, version, retract := q.payload, nsModerate, nsRetract
	if q.payload.Name.Space == nsFasten {
		what, version, retract = q.payload.Child(nsModerate0, "moderate"), nsModerate0, nsRetract0
	}
	o := r.occupantOf(q.from)
	switch {
	case !q.set, what.Child(retract, "retract") == nil:
		return nil, errBadRequest
	case !o.moderates():
		return nil, errForbidden
	}
	id := q.payload.Get("id")
	if _, ok := r.archive.find(id); !ok {
		return nil, errNotFound
	}
	reason := what.Child(version, "reason").Text()
	why := func(space string) *xmltree.Element {
		if reason == "" {
			return nil
		}
		return xmltree.NewText(space, "reason", reason)
	}
	by := r.addr.with(o.nick).String()
	moderated := func(space string, more ...*xmltree.Element) *xmltree.Element {
		return xmltree.New(space, "moderated", more...).Set("by", by)
	}
	r.bury(id, moderated(nsModerate, r.occupantID(o.user)), why(nsRetract))
	s.deliver(q.sess, q.result(nil))
	e := xmltree.New(nsClient, "message",
		xmltree.New(nsRetract, "retract", moderated(nsModerate, r.occupantID(o.user)), why(nsRetract)).Set("id", id),
		xmltree.New(nsFasten, "apply-to", moderated(nsModerate0, xmltree.New(nsRetract0, "retract"), why(nsModerate0))).Set("id", id),
	).Set("type", "groupchat").Set("id", s.newID()).Set("from", r.addr.String())
	s.broadcast(r, r.addr, e)
	return nil, errAnswered
}

// bury leaves a tombstone in the archive in place of a message (XEP-0424 §4.3), and nothing in the history.
func (r *room) bury(id string, about ...*xmltree.Element) {
	n, ok := r.archive.find(id)
	if !ok {
		return
	}
	entry := &r.archive.entries[n]
	tomb := xmltree.New(nsRetract, "retracted", about...).Set("stamp", stamp(time.Now()))
	e := xmltree.New(nsClient, "message", entry.e.Child(nsOccupant, "occupant-id"), tomb)
	e.Set("type", "groupchat").Set("from", entry.e.Get("from")).Set("id", entry.e.Get("id"))
	entry.e = e
	kept := r.history[:0:0]
	for _, p := range r.history {
		if !hasStanzaID(p.e, r.addr, id) {
			kept = append(kept, p)
		}
	}
	r.history = kept
}

func hasStanzaID(e *xmltree.Element, by addr, id string) bool {
	for c := range e.Named(nsStanzaID, "stanza-id") {
		if c.Get("by") == by.String() && c.Get("id") == id {
			return true
		}
	}
	return false
}

// retractOwn buries a message that its author retracts (XEP-0424 §4.3).
func (r *room) retractOwn(o *occupant, id string) {
	if n, ok := r.archive.find(id); ok && r.archive.entries[n].with == o.user {
		r.bury(id)
	}
}
