// Package carbons delivers what our other clients send and receive (XEP-0280).
package carbons

import (
	"context"
	"errors"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/delay"
	"github.com/hoorn-phone/hoorn/xmpp/forward"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of carbons.
const NS = "urn:xmpp:carbons:2"

// ErrCarbon says that a message carries no carbon copy, or one that is not what it says.
var ErrCarbon = errors.New("carbons: not a carbon copy")

// Carbon is a copy of a message that another of our clients has sent or received.
type Carbon struct {
	Sent    bool // by another client of ours; else received by it
	Message *xmpp.Message
	Delay   delay.Delay // Stamp is zero if the message was not held
}

// Use asks for copies at the beginning of each session. deliver gets them in the order of the wire, between the
// messages that come to us; like any hook of an extension it must not wait for the network. A copy counts only from our own
// account: with any other sender it is a forgery (§11, CVE-2017-5589), which is logged and dropped. It must
// be called before the client connects.
func Use(c *xmpp.Client, deliver func(*Carbon)) error {
	return c.Use(&xmpp.Extension{
		Name:   "carbons",
		Inline: xmltree.New(NS, "enable"),
		Bound: func(ctx context.Context) error {
			if c.Inlined(NS) {
				return nil
			}
			return Enable(ctx, c)
		},
		Message: func(m *xmpp.Message) bool {
			if outer(m) == nil {
				return false
			}
			// Unlike elsewhere, no sender at all is not enough: the server writes it (§7.1).
			if !m.From.Equal(c.Account()) {
				c.Logger().Warn("carbons: a forged copy", "from", m.From.String())
				return true
			}
			carbon, err := Parse(m, c.Account())
			if err != nil {
				c.Logger().Warn("carbons: a copy was left out", "err", err)
				return true
			}
			deliver(carbon)
			return true
		},
	})
}

// Disable asks for no more copies in this session (§4.2); Enable asks for them again.
func Disable(ctx context.Context, c *xmpp.Client) error {
	_, err := c.Set(ctx, jid.JID{}, xmltree.New(NS, "disable"))
	return err
}

// Enable asks for copies again, after Disable.
func Enable(ctx context.Context, c *xmpp.Client) error {
	_, err := c.Set(ctx, jid.JID{}, xmltree.New(NS, "enable"))
	return err
}

// Private marks a message that no other client of either side shall get a copy of (§8).
func Private() *xmltree.Element { return xmltree.New(NS, "private") }

func outer(m *xmpp.Message) *xmltree.Element {
	if e := m.Child(NS, "received"); e != nil {
		return e
	}
	return m.Child(NS, "sent")
}

// Parse reads the copy in a message, whose sender the caller has checked. account is whose client we are: what it is
// said to have sent must come from it.
func Parse(m *xmpp.Message, account jid.JID) (*Carbon, error) {
	e := outer(m)
	if e == nil {
		return nil, ErrCarbon
	}
	f, err := forward.Parse(e.Child(forward.NS, "forwarded"))
	if err != nil {
		return nil, errors.Join(ErrCarbon, err)
	}
	c := &Carbon{Sent: e.Name.Local == "sent", Message: f.Message, Delay: f.Delay}
	switch {
	case c.Sent && !c.Message.From.Bare().Equal(account), f.Message.Type == stanza.GroupChatMessage: // §6.1 leaves out groupchat
		return nil, ErrCarbon
	}
	return c, nil
}
