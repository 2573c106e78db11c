package pubsub

import (
	"context"
	"errors"
	"fmt"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Create makes a node (§8.1) and returns its name, which the service chooses if it is "". config may be empty: the service's default.
func Create(ctx context.Context, c *xmpp.Client, service jid.JID, node string, config ...form.Field) (string, error) {
	q := xmltree.New(NS, "pubsub", xmltree.New(NS, "create").Set("node", node))
	if len(config) > 0 {
		q.Add(xmltree.New(NS, "configure", form.Submit(NSConfig, config...).Element()))
	}
	answer, err := c.Set(ctx, service, q)
	if err != nil {
		return "", err
	}
	if chosen := answer.Child(NS, "create").Get("node"); chosen != "" {
		return chosen, nil
	}
	return node, nil
}

// Config asks how a node is configured (§8.2).
func Config(ctx context.Context, c *xmpp.Client, service jid.JID, node string) (*form.Data, error) {
	answer, err := c.Get(ctx, service, xmltree.New(NSOwner, "pubsub", xmltree.New(NSOwner, "configure").Set("node", node)))
	if err != nil {
		return nil, absent(err)
	}
	return form.Parse(answer.Child(NSOwner, "configure").Child(form.NS, "x"))
}

// Configure changes how a node is configured (§8.2.4); what config leaves out stays.
func Configure(ctx context.Context, c *xmpp.Client, service jid.JID, node string, config ...form.Field) error {
	return owner(ctx, c, service, xmltree.New(NSOwner, "configure", form.Submit(NSConfig, config...).Element()).Set("node", node))
}

// Delete deletes a node with all items (§8.4).
func Delete(ctx context.Context, c *xmpp.Client, service jid.JID, node string) error {
	return owner(ctx, c, service, xmltree.New(NSOwner, "delete").Set("node", node))
}

// Purge deletes all items of a node (§8.5).
func Purge(ctx context.Context, c *xmpp.Client, service jid.JID, node string) error {
	return owner(ctx, c, service, xmltree.New(NSOwner, "purge").Set("node", node))
}

func owner(ctx context.Context, c *xmpp.Client, service jid.JID, e *xmltree.Element) error {
	_, err := c.Set(ctx, service, xmltree.New(NSOwner, "pubsub", e))
	return absent(err)
}

// Affiliation is what somebody may do with a node (§4.1): "owner", "publisher", "publish-only", "member", "none" or "outcast".
type Affiliation struct {
	JID         jid.JID
	Affiliation string
}

// Affiliations asks who may do what with a node (§8.9.1).
func Affiliations(ctx context.Context, c *xmpp.Client, service jid.JID, node string) ([]Affiliation, error) {
	answer, err := c.Get(ctx, service, xmltree.New(NSOwner, "pubsub", xmltree.New(NSOwner, "affiliations").Set("node", node)))
	if err != nil {
		return nil, absent(err)
	}
	var all []Affiliation
	for e := range answer.Child(NSOwner, "affiliations").Named(NSOwner, "affiliation") {
		j, err := jid.Parse(e.Get("jid"))
		if err != nil || len(all) == maxItems {
			return nil, ErrAnswer
		}
		all = append(all, Affiliation{j, e.Get("affiliation")})
	}
	return all, nil
}

// SetAffiliations changes what some may do with a node (§8.9.2).
func SetAffiliations(ctx context.Context, c *xmpp.Client, service jid.JID, node string, all ...Affiliation) error {
	e := xmltree.New(NSOwner, "affiliations").Set("node", node)
	for _, a := range all {
		e.Add(xmltree.New(NSOwner, "affiliation").Set("jid", a.JID.String()).Set("affiliation", a.Affiliation))
	}
	return owner(ctx, c, service, e)
}

const accessModel = "pubsub#access_model"

// ErrNotPrivate says that a server does not keep a node of our account to ourselves.
var ErrNotPrivate = errors.New("pubsub: the server does not keep the node private")

// EnsurePrivate makes a node of our own account one that only we can read (XEP-0223), with the rest of config, before anything is in it:
// it is made if there is none, else changed, and then looked at. By themselves such nodes are open to all contacts (XEP-0163 §2).
func EnsurePrivate(ctx context.Context, c *xmpp.Client, node string, config ...form.Field) error {
	private, err := isPrivate(ctx, c, node)
	if private {
		return nil
	}
	config = append([]form.Field{form.Text(accessModel, "whitelist")}, config...)
	if errors.Is(err, ErrNoItem) {
		_, err = Create(ctx, c, jid.JID{}, node, config...)
	} else if err == nil {
		err = Configure(ctx, c, jid.JID{}, node, config...)
	}
	if err != nil && condition(err) != stanza.Conflict { // another client was first
		return err
	}
	if private, err = isPrivate(ctx, c, node); err == nil && !private {
		err = ErrNotPrivate
	}
	return err
}

func isPrivate(ctx context.Context, c *xmpp.Client, node string) (bool, error) {
	config, err := Config(ctx, c, jid.JID{}, node)
	return err == nil && config.Get(accessModel) == "whitelist", err
}

// PublishPrivate publishes an item to a node of our own account that only we can read (XEP-0223), and kept as the rest of config says. A node that is configured otherwise is changed
// first. It never publishes where the server ignores that: then it is ErrNotPrivate.
func PublishPrivate(ctx context.Context, c *xmpp.Client, node string, item Item, config ...form.Field) error {
	info, err := c.Info(ctx, c.Account(), "")
	if err != nil {
		return err
	}
	options := append([]form.Field{form.Flag("pubsub#persist_items", true), form.Text(accessModel, "whitelist")}, config...)
	if !info.Has(NSOptions) {
		// Options would be ignored, and contacts told.
		if err := EnsurePrivate(ctx, c, node, options...); err != nil {
			return err
		}
	}
	_, err = Publish(ctx, c, jid.JID{}, node, item, options...)
	if errors.Is(err, ErrPrecondition) {
		if err := Configure(ctx, c, jid.JID{}, node, options...); err != nil {
			return err
		}
		_, err = Publish(ctx, c, jid.JID{}, node, item, options...)
	}
	if err != nil {
		return err
	}
	private, err := isPrivate(ctx, c, node)
	if err == nil && !private {
		err = ErrNotPrivate
	}
	if err != nil {
		// It should not be there. That it may not go away is the smaller news.
		return fmt.Errorf("%w (retracted: %v)", err, Retract(ctx, c, jid.JID{}, node, item.ID, false))
	}
	return nil
}
