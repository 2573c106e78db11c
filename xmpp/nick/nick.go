// Package nick tells others how we call ourselves (XEP-0172).
package nick

import (
	"context"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of nicknames, and the name of their node.
const NS = "http://jabber.org/protocol/nick"

// maxLength bounds nicknames that are taken, in bytes.
const maxLength = 1024

// Parse reads a nickname, which is nobody's word but its owner's. ok is false if there is none, or one that is too long.
func Parse(e *xmltree.Element) (nick string, ok bool) {
	nick = e.Text()
	if !e.Is(NS, "nick") || nick == "" || len(nick) > maxLength {
		return "", false
	}
	return nick, true
}

// Element is a nickname as it goes over the wire: in a request for presence, or a first message (§4.2).
func Element(nick string) *xmltree.Element { return xmltree.NewText(NS, "nick", nick) }

// Publish tells our contacts (§4.5); "" takes it back.
func Publish(ctx context.Context, c *xmpp.Client, nick string) error {
	_, err := pubsub.Publish(ctx, c, jid.JID{}, NS, pubsub.Item{ID: "current", Payload: Element(nick)})
	return err
}

// Get asks somebody; the zero JID is ourselves. It is pubsub.ErrNoItem if there is none.
func Get(ctx context.Context, c *xmpp.Client, of jid.JID) (string, error) {
	i, err := pubsub.Last(ctx, c, of, NS)
	if err != nil {
		return "", err
	}
	nick, ok := Parse(i.Payload)
	if !ok {
		return "", pubsub.ErrNoItem
	}
	return nick, nil
}

// Listen calls changed when somebody's nickname changes, "" if it is gone. from is a bare address; the zero JID is our own. It
// must be called before the client connects, and changed must not wait for the network.
func Listen(c *xmpp.Client, changed func(from jid.JID, nick string)) error {
	return pubsub.Listen(c, pubsub.Listener{Node: NS, Notify: true, Event: func(ev *pubsub.Event) {
		switch {
		case len(ev.Items) > 0:
			nick, _ := Parse(ev.Items[0].Payload)
			changed(ev.From, nick)
		case len(ev.Retracted) > 0 || ev.Purged || ev.Deleted:
			changed(ev.From, "")
		}
	}})
}
