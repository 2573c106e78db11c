package muc

import (
	"context"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Configuration asks for the form of the room's configuration (XEP-0045 §10.2), whose fields are those of §15.5.5 and
// the service's own. It is answered with Configure or CancelConfiguration. The error is a stanza.Error, Forbidden to all but owners.
func (room *Room) Configuration(ctx context.Context) (*form.Data, error) {
	answer, err := room.rooms.c.Get(ctx, room.addr, xmltree.New(NSOwner, "query"))
	if err != nil {
		return nil, err
	}
	if !answer.Is(NSOwner, "query") {
		return nil, errAnswer
	}
	return form.Parse(answer.Child(form.NS, "x"))
}

const nsConfig = NS + "#roomconfig"

// Configure sets fields of the configuration, such as
// form.Flag("muc#roomconfig_membersonly", true); those not named keep what they have, or in a new room the service's
// defaults. It unlocks a room that was just created (§10.1.3). The error is a stanza.Error: NotAcceptable if the service does not like them.
func (room *Room) Configure(ctx context.Context, fields ...form.Field) error {
	return room.own(ctx, form.Submit(nsConfig, fields...).Element())
}

// AcceptDefaults unlocks a room that was just created, as the service makes them: an instant room (§10.1.2).
func (room *Room) AcceptDefaults(ctx context.Context) error {
	return room.own(ctx, xmltree.New(form.NS, "x").Set("type", string(form.TypeSubmit)))
}

// CancelConfiguration does not fill in the form. A room that was just created should be destroyed by that (§10.1.3);
// services that do not, Prosody and ejabberd among them, do it when we leave.
func (room *Room) CancelConfiguration(ctx context.Context) error {
	return room.own(ctx, xmltree.New(form.NS, "x").Set("type", string(form.TypeCancel)))
}

// Destroy removes the room for good, and all who are in it (§10.9). The venue is where
// they can go instead; the zero JID if nowhere.
func (room *Room) Destroy(ctx context.Context, venue jid.JID, reason string) error {
	d := xmltree.New(NSOwner, "destroy")
	if venue.Domainpart() != "" {
		d.Set("jid", venue.String())
	}
	return room.own(ctx, because(d, NSOwner, reason))
}

func (room *Room) own(ctx context.Context, payload *xmltree.Element) error {
	_, err := room.rooms.c.Set(ctx, room.addr, xmltree.New(NSOwner, "query", payload))
	return err
}
