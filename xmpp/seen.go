package xmpp

import (
	"cmp"
	"slices"
	"strconv"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// Presence returns who is there of a bare address: the last presence of each
// resource that is available, the one with the highest priority first (RFC 6121 §4.7.2.3, §8.5.2.1).
func (r *Roster) Presence(j jid.JID) []*Presence {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.contacts[j.Bare().String()]
	if e == nil {
		return nil
	}
	all := make([]*Presence, 0, len(e.resources))
	for _, p := range e.resources {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Presence) int {
		return cmp.Or(cmp.Compare(b.Priority(), a.Priority()), cmp.Compare(a.From.Resourcepart(), b.From.Resourcepart()))
	})
	return all
}

// Show is how available somebody is (RFC 6121 §4.7.2.1).
type Show string

// The values of Show.
const (
	ShowAvailable    Show = ""
	ShowChat         Show = "chat" // glad to talk
	ShowAway         Show = "away"
	ShowExtendedAway Show = "xa"
	ShowDoNotDisturb Show = "dnd"
)

// Show tells how available who sent it is; what is unknown is ShowAvailable.
func (p *Presence) Show() Show {
	switch s := Show(plain(p.Payload, "show")); s {
	case ShowChat, ShowAway, ShowExtendedAway, ShowDoNotDisturb:
		return s
	}
	return ShowAvailable
}

// Status is the text that goes with it (§4.7.2.2).
func (p *Presence) Status() string { return plain(p.Payload, "status") }

// Priority is that of the resource, -128 to 127 (§4.7.2.3). A negative one takes no messages that go to the bare address.
func (p *Presence) Priority() int {
	n, err := strconv.ParseInt(plain(p.Payload, "priority"), 10, 8)
	if err != nil {
		return 0
	}
	return int(n)
}

// forgetPresence begins anew: the server tells who is there after our own presence (§4.2.2).
func (r *Roster) forgetPresence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, e := range r.contacts {
		if len(e.resources) == 0 {
			continue
		}
		if e.resources = nil; e.contact == nil {
			delete(r.contacts, key)
		}
		r.watchers.changed(key)
	}
}

// presence takes a presence that no extension has taken.
func (r *Roster) presence(p *Presence) {
	switch p.Type {
	case stanza.SubscribePresence:
		if !r.requests.put(p) {
			r.c.log.Warn("xmpp: a request for presence found no room", "from", p.From.String())
		}
	case stanza.AvailablePresence, stanza.UnavailablePresence, stanza.ErrorPresence:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen(p)
	}
}

// seen notes who is there; r.mu is held.
func (r *Roster) seen(p *Presence) {
	key, resource := p.From.Bare().String(), p.From.Resourcepart()
	e := r.contacts[key]
	if p.Type != stanza.AvailablePresence {
		switch {
		case e == nil:
			return
		case resource == "": // all of it is gone, §4.6.2 or an error of the whole account
			clear(e.resources)
		default:
			delete(e.resources, resource)
		}
		if len(e.resources) == 0 && e.contact == nil {
			delete(r.contacts, key)
		}
		r.watchers.changed(key)
		return
	}
	switch {
	case e == nil && len(r.contacts) >= maxSeen:
		r.c.log.Warn("xmpp: a presence found no room", "from", p.From.String())
		return
	case e == nil:
		e = new(entry)
		r.contacts[key] = e
	case e.resources[resource] == nil && len(e.resources) >= maxResources:
		r.c.log.Warn("xmpp: a presence found no room", "from", p.From.String())
		return
	}
	if e.resources == nil {
		e.resources = make(map[string]*Presence)
	}
	e.resources[resource] = p
	r.watchers.changed(key)
}
