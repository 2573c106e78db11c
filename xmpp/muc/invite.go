package muc

import (
	"context"
	"iter"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// maxInvitations bounds invitations that wait for a reader.
const maxInvitations = 256

// Invitation is a wish to see us in a room.
type Invitation struct {
	Room     jid.JID
	From     jid.JID // who invites: as the room says if it came through that, where it may be an occupant's address
	Direct   bool    // it did not come through the room (XEP-0249)
	Reason   string
	Password string // of the room
	Thread   string // of the conversation of two that shall go on in the room (XEP-0045 §7.9)
	Continue bool   // that it shall
}

// Invitations yields invitations that come in. Several may read; each goes to one
// of them. Up to 256 wait; what comes then is dropped and logged. It ends with ctx or the client.
func (r *Rooms) Invitations(ctx context.Context) iter.Seq[*Invitation] { return r.invitations.All(ctx) }

// invited takes invitations away. One through the room comes from its bare address, from where no
// user can send, and is for that room alone; who sends a direct one is who From says.
func (r *Rooms) invited(m *xmpp.Message) bool {
	i := &Invitation{From: m.From, Direct: true}
	x := m.Child(NSUser, "x")
	if mediated := x.Child(NSUser, "invite"); mediated != nil && m.From.Resourcepart() == "" && m.From.Localpart() != "" {
		i.Room, i.From, i.Direct = m.From, parseReal(mediated.Get("from")), false
		i.Reason, i.Password = clip(mediated.Child(NSUser, "reason").Text()), clip(x.Child(NSUser, "password").Text())
		if c := mediated.Child(NSUser, "continue"); c != nil {
			i.Continue, i.Thread = true, clip(c.Get("thread"))
		}
	} else if direct := m.Child(NSDirect, "x"); direct != nil {
		room, err := jid.Parse(direct.Get("jid"))
		if err != nil || room.Localpart() == "" {
			return false
		}
		i.Room = room.Bare()
		i.Reason, i.Password = clip(direct.Get("reason")), clip(direct.Get("password"))
		i.Continue, i.Thread = direct.Get("continue") == "true" || direct.Get("continue") == "1", clip(direct.Get("thread"))
	} else {
		return false
	}
	if !r.invitations.Put(i) {
		r.log.Warn("muc: an invitation found no room", "to", i.Room.String(), "from", i.From.String())
	}
	return true
}

// Accept joins the room of an invitation, with its password.
func (r *Rooms) Accept(ctx context.Context, i *Invitation, nick string, opts *Options) (*Room, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Password == "" {
		o.Password = i.Password
	}
	return r.Join(ctx, i.Room, nick, &o)
}

// Decline tells who invites that we do not come (§7.8.2). A direct invitation is not answered (XEP-0249 §2): then it does nothing.
func (r *Rooms) Decline(ctx context.Context, i *Invitation, reason string) error {
	if i.Direct {
		return nil
	}
	d := xmltree.New(NSUser, "decline").Set("to", i.From.String())
	if reason != "" {
		d.Add(xmltree.NewText(NSUser, "reason", reason))
	}
	m := &xmpp.Message{Payload: []*xmltree.Element{xmltree.New(NSUser, "x", d)}}
	m.ID, m.To, m.Type = xmpp.NewID(), i.Room, stanza.NormalMessage
	_, err := r.c.Send(ctx, m)
	return err
}

// Invite invites somebody through the room (§7.8.2), which in a room for members makes them one, if we may do
// that. A refusal of the room is a message of type error.
func (room *Room) Invite(ctx context.Context, who jid.JID, reason string) error {
	invite := xmltree.New(NSUser, "invite").Set("to", who.String())
	if reason != "" {
		invite.Add(xmltree.NewText(NSUser, "reason", reason))
	}
	return room.say(ctx, xmltree.New(NSUser, "x", invite))
}

// InviteDirectly invites somebody without the room (XEP-0249), with its
// password if it has one. It does not make them members.
func (room *Room) InviteDirectly(ctx context.Context, who jid.JID, reason string) error {
	x := xmltree.New(NSDirect, "x").Set("jid", room.key).Set("password", room.opts.Password).Set("reason", reason)
	m := &xmpp.Message{Payload: []*xmltree.Element{x}}
	m.ID, m.To, m.Type = xmpp.NewID(), who, stanza.NormalMessage
	_, err := room.rooms.c.Send(ctx, m)
	return err
}
