// Package push asks the server to wake a device that is not connected, by the push service of its app (XEP-0357).
package push

import (
	"context"
	"errors"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of push notifications.
const NS = "urn:xmpp:push:0"

// Supported tells whether our account's server can do it (§3.1).
func Supported(ctx context.Context, c *xmpp.Client) (bool, error) {
	info, err := c.Info(ctx, c.Account(), "")
	return info.Has(NS), err
}

// Enable asks for notifications to a node of a push service (§5). options are what the service wants to
// be published with, such as form.Text("secret", "…"); they may be secret. It holds until Disable, beyond sessions.
func Enable(ctx context.Context, c *xmpp.Client, service jid.JID, node string, options ...form.Field) error {
	e := xmltree.New(NS, "enable").Set("jid", service.String()).Set("node", node)
	if len(options) > 0 {
		e.Add(form.Submit(pubsub.NSOptions, options...).Element())
	}
	_, err := c.Set(ctx, jid.JID{}, e)
	return err
}

// Disable ends notifications to a node of a push service, or, if it is "", to all of it (§6). It is no error if there were none.
func Disable(ctx context.Context, c *xmpp.Client, service jid.JID, node string) error {
	_, err := c.Set(ctx, jid.JID{}, xmltree.New(NS, "disable").Set("jid", service.String()).Set("node", node))
	var refused stanza.Error
	if errors.As(err, &refused) && refused.Condition == stanza.ItemNotFound {
		return nil
	}
	return err
}
