package muc

import (
	"context"

	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const nsRegister = "jabber:iq:register" // XEP-0077

// Registration is how one registers with a room (XEP-0045 §7.10).
type Registration struct {
	Registered bool
	Nick       string     // that is registered; "" is none
	Form       *form.Data // to fill in; nil if there is none
}

// Registration asks the room how to register, and whether we are. The error is a stanza.Error: NotAllowed,
// ServiceUnavailable or FeatureNotImplemented where that cannot be done.
func (room *Room) Registration(ctx context.Context) (*Registration, error) {
	answer, err := room.rooms.c.Get(ctx, room.addr, xmltree.New(nsRegister, "query"))
	if err != nil {
		return nil, err
	}
	if !answer.Is(nsRegister, "query") {
		return nil, errAnswer
	}
	reg := &Registration{Registered: answer.Child(nsRegister, "registered") != nil, Nick: clip(answer.Child(nsRegister, "username").Text())}
	if x := answer.Child(form.NS, "x"); x != nil {
		if reg.Form, err = form.Parse(x); err != nil {
			return nil, err
		}
		if reg.Nick == "" {
			reg.Nick = reg.Form.Get("muc#register_roomnick")
		}
	}
	return reg, nil
}

// Register registers a nick with the room, so that it is nobody else's and,
// in many rooms, makes us members. More fields are those that the form of Registration asks for. The error is a stanza.Error: Conflict if
// the nick is registered by somebody else.
func (room *Room) Register(ctx context.Context, nick string, fields ...form.Field) error {
	fields = append([]form.Field{form.Text("muc#register_roomnick", nick)}, fields...)
	_, err := room.rooms.c.Set(ctx, room.addr, xmltree.New(nsRegister, "query", form.Submit(NS+"#register", fields...).Element()))
	return err
}

// Unregister ends that (XEP-0077 §3.2).
func (room *Room) Unregister(ctx context.Context) error {
	_, err := room.rooms.c.Set(ctx, room.addr, xmltree.New(nsRegister, "query", xmltree.New(nsRegister, "remove")))
	return err
}
