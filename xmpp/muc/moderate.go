package muc

import (
	"context"
	"errors"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of moderation (XEP-0425), now and until version 0.2.1, where it came in a fastening (XEP-0422).
const (
	nsModerate    = "urn:xmpp:message-moderate:1"
	nsModerateOld = "urn:xmpp:message-moderate:0"
	nsRetract     = "urn:xmpp:message-retract:1"
	nsRetractOld  = "urn:xmpp:message-retract:0"
	nsFasten      = "urn:xmpp:fasten:0"
)

// ErrNoModeration says that the room does not let messages be retracted by moderators.
var ErrNoModeration = errors.New("muc: the room has no moderation of messages")

// Moderate retracts a message of somebody (XEP-0425 §3); id is the one that the room gave it (XEP-0359). It speaks
// the version that the room announces. The error is ErrNoModeration or a stanza.Error, Forbidden to all but moderators.
func (room *Room) Moderate(ctx context.Context, id, reason string) error {
	info := room.Info()
	var payload *xmltree.Element
	switch {
	case info.Has(nsModerate):
		m := xmltree.New(nsModerate, "moderate", xmltree.New(nsRetract, "retract")).Set("id", id)
		payload = because(m, nsModerate, reason)
	case info.Has(nsModerateOld):
		m := xmltree.New(nsModerateOld, "moderate", xmltree.New(nsRetractOld, "retract"))
		payload = xmltree.New(nsFasten, "apply-to", because(m, nsModerateOld, reason)).Set("id", id)
	default:
		return ErrNoModeration
	}
	_, err := room.rooms.c.Set(ctx, room.addr, payload)
	return err
}

// Moderation is that a moderator has retracted a message.
type Moderation struct {
	ID     string  // of the message, as the room gave it (XEP-0359)
	By     jid.JID // the moderator's address in the room; the zero JID if the room does not tell
	ByID   string  // their occupant-id, if the room told it
	Reason string
}

// ParseModeration reads a message in which a room tells of one, in either version. Only the
// room itself can: the same from an occupant is nothing.
func ParseModeration(m *xmpp.Message) (*Moderation, bool) {
	if m.From.Resourcepart() != "" || m.Type != stanza.GroupChatMessage {
		return nil, false
	}
	if r := m.Child(nsRetract, "retract"); r != nil {
		if by := r.Child(nsModerate, "moderated"); by != nil && r.Get("id") != "" {
			return moderation(r.Get("id"), by, r.Child(nsRetract, "reason").Text()), true
		}
	}
	if a := m.Child(nsFasten, "apply-to"); a != nil {
		by := a.Child(nsModerateOld, "moderated")
		if by.Child(nsRetractOld, "retract") != nil && a.Get("id") != "" {
			return moderation(a.Get("id"), by, by.Child(nsModerateOld, "reason").Text()), true
		}
	}
	return nil, false
}

func moderation(id string, by *xmltree.Element, reason string) *Moderation {
	m := &Moderation{ID: clip(id), ByID: clip(by.Child(NSOccupant, "occupant-id").Get("id")), Reason: clip(reason)}
	local, domain, resource, err := jid.SplitString(by.Get("by"))
	if err != nil || resource == "" {
		return m
	}
	if room, err := jid.New(local, domain, ""); err == nil {
		m.By, _ = occupantJID(room, clip(resource))
	}
	return m
}
