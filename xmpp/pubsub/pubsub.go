// Package pubsub publishes to nodes and follows them (XEP-0060), those that every
// account has of its own among them (XEP-0163, PEP).
//
// The verbs are functions on a client. Where they take a service, the zero JID is our own
// account, and the bare address of a contact its. Event says what comes by itself; Listen takes it.
package pubsub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/rsm"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Namespaces of publishing and subscribing.
const (
	NS        = "http://jabber.org/protocol/pubsub"
	NSEvent   = NS + "#event"
	NSOwner   = NS + "#owner"
	NSOptions = NS + "#publish-options"
	NSConfig  = NS + "#node_config"
)

// maxItems bounds the items of one answer or event.
const maxItems = 10000

var (
	// ErrPrecondition says that a node is not configured as what was published needs it (§7.1.5).
	ErrPrecondition = errors.New("pubsub: the node's configuration does not allow it")
	// ErrAnswer says that what came is not an answer, or one beyond all bounds.
	ErrAnswer = errors.New("pubsub: not an answer to the request")
	// ErrNoItem says that there is no such item or node.
	ErrNoItem = errors.New("pubsub: no such item")
)

// Item is what a node holds (§5.5).
type Item struct {
	ID        string // "" lets the service choose one
	Payload   *xmltree.Element
	Publisher jid.JID // as the service says; the zero JID if it does not
}

// ParseItem reads an item of an answer or an event.
func ParseItem(e *xmltree.Element) (Item, error) {
	if !e.Is(NS, "item") && !e.Is(NSEvent, "item") {
		return Item{}, ErrAnswer
	}
	i := Item{ID: e.Get("id"), Payload: e.First()}
	if p := e.Get("publisher"); p != "" {
		var err error
		if i.Publisher, err = jid.Parse(p); err != nil {
			return Item{}, fmt.Errorf("%w: publisher: %w", ErrAnswer, err)
		}
	}
	return i, nil
}

// Element is the item as it is published.
func (i Item) Element() *xmltree.Element {
	return xmltree.New(NS, "item", i.Payload).Set("id", i.ID)
}

// Publish publishes an item and returns its id (§7.1). options are what the node must be like for that, or is
// made like if it is new (§7.1.5), such as form.Text("pubsub#access_model", "whitelist"); the error is ErrPrecondition if it is not.
// A service that does not know options ignores them: see PublishPrivate.
func Publish(ctx context.Context, c *xmpp.Client, service jid.JID, node string, item Item, options ...form.Field) (id string, err error) {
	q := xmltree.New(NS, "pubsub", xmltree.New(NS, "publish", item.Element()).Set("node", node))
	if len(options) > 0 {
		q.Add(xmltree.New(NS, "publish-options", form.Submit(NSOptions, options...).Element()))
	}
	answer, err := c.Set(ctx, service, q)
	if condition(err) == stanza.Conflict { // §7.1.5: what precondition-not-met stands beside
		return "", fmt.Errorf("%w: %w", ErrPrecondition, err)
	}
	if err != nil {
		return "", err
	}
	if chosen := answer.Child(NS, "publish").Child(NS, "item").Get("id"); chosen != "" {
		return chosen, nil
	}
	return item.ID, nil
}

func condition(err error) stanza.Condition {
	var refused stanza.Error
	if errors.As(err, &refused) {
		return refused.Condition
	}
	return ""
}

// absent makes ErrNoItem of the service's own word for it.
func absent(err error) error {
	if condition(err) == stanza.ItemNotFound {
		return fmt.Errorf("%w: %w", ErrNoItem, err)
	}
	return err
}

// Retract takes an item back (§7.2). notify tells those who follow the node.
func Retract(ctx context.Context, c *xmpp.Client, service jid.JID, node, id string, notify bool) error {
	r := xmltree.New(NS, "retract", xmltree.New(NS, "item").Set("id", id)).Set("node", node)
	if notify {
		r.Set("notify", "true")
	}
	_, err := c.Set(ctx, service, xmltree.New(NS, "pubsub", r))
	return absent(err)
}

// Get asks for the items of some ids (§6.5.8); without any, for all that the service gives at once. Those that are not there are left out, or
// ErrNoItem, as the service likes; without the node it is ErrNoItem.
func Get(ctx context.Context, c *xmpp.Client, service jid.JID, node string, ids ...string) ([]Item, error) {
	items := xmltree.New(NS, "items").Set("node", node)
	for _, id := range ids {
		items.Add(xmltree.New(NS, "item").Set("id", id))
	}
	all, _, err := ask(ctx, c, service, node, xmltree.New(NS, "pubsub", items))
	return all, err
}

// Last asks for the newest item (§6.5.7). Without one it is ErrNoItem.
func Last(ctx context.Context, c *xmpp.Client, service jid.JID, node string) (Item, error) {
	items := xmltree.New(NS, "items").Set("node", node).Set("max_items", "1")
	all, _, err := ask(ctx, c, service, node, xmltree.New(NS, "pubsub", items))
	if err == nil && len(all) == 0 {
		err = ErrNoItem
	}
	if err != nil {
		return Item{}, err
	}
	return all[0], nil
}

// Items yields all items of a node, page by page where the service has pages (§6.5.4). size is how many are asked for at once; zero
// leaves it to the service. An error is the last that is yielded.
func Items(ctx context.Context, c *xmpp.Client, service jid.JID, node string, size int) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		r := rsm.Request{Max: max(size, 0)}
		for {
			q := xmltree.New(NS, "pubsub", xmltree.New(NS, "items").Set("node", node))
			if r != (rsm.Request{}) {
				q.Add(r.Element())
			}
			all, page, err := ask(ctx, c, service, node, q)
			if err != nil {
				yield(Item{}, err)
				return
			}
			for _, i := range all {
				if !yield(i, nil) {
					return
				}
			}
			switch {
			case len(all) == 0 || page.Last == "" || page.Count >= 0 && page.Index >= 0 && page.Index+len(all) >= page.Count:
				return
			case page.Last == r.After:
				yield(Item{}, fmt.Errorf("%w: the node does not go on from %.100q", ErrAnswer, r.After))
				return
			}
			r.After = page.Last
		}
	}
}

func ask(ctx context.Context, c *xmpp.Client, service jid.JID, node string, q *xmltree.Element) ([]Item, rsm.Page, error) {
	answer, err := c.Get(ctx, service, q)
	if err != nil {
		return nil, rsm.Page{}, absent(err)
	}
	items := answer.Child(NS, "items")
	if !answer.Is(NS, "pubsub") || items == nil || items.Get("node") != node {
		return nil, rsm.Page{}, ErrAnswer
	}
	var all []Item
	for e := range items.Named(NS, "item") {
		i, err := ParseItem(e)
		if err != nil || len(all) == maxItems {
			return nil, rsm.Page{}, ErrAnswer
		}
		all = append(all, i)
	}
	page, _ := rsm.Parse(answer.Child(rsm.NS, "set"))
	return all, page, nil
}

// Subscription is a state of §4.2.
type Subscription struct {
	Node  string
	JID   jid.JID
	ID    string // "" if the service has no ids
	State string // "none", "pending", "subscribed" or "unconfigured"
}

func parseSubscription(e *xmltree.Element) (Subscription, error) {
	j, err := jid.Parse(e.Get("jid"))
	if err != nil {
		return Subscription{}, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return Subscription{e.Get("node"), j, e.Get("subid"), e.Get("subscription")}, nil
}

// Subscribe asks for the events of a node, for our bare address (§6.1).
func Subscribe(ctx context.Context, c *xmpp.Client, service jid.JID, node string) (Subscription, error) {
	answer, err := c.Set(ctx, service, xmltree.New(NS, "pubsub", xmltree.New(NS, "subscribe").Set("node", node).Set("jid", c.Account().String())))
	if err != nil {
		return Subscription{}, absent(err)
	}
	s, err := parseSubscription(answer.Child(NS, "subscription"))
	if s.Node == "" {
		s.Node = node
	}
	return s, err
}

// Unsubscribe ends a subscription (§6.2). id is needed only if there are several of the same node.
func Unsubscribe(ctx context.Context, c *xmpp.Client, service jid.JID, node, id string) error {
	_, err := c.Set(ctx, service, xmltree.New(NS, "pubsub", xmltree.New(NS, "unsubscribe").Set("node", node).Set("jid", c.Account().String()).Set("subid", id)))
	return absent(err)
}

// Subscriptions are ours at a service (§5.6).
func Subscriptions(ctx context.Context, c *xmpp.Client, service jid.JID) ([]Subscription, error) {
	answer, err := c.Get(ctx, service, xmltree.New(NS, "pubsub", xmltree.New(NS, "subscriptions")))
	if err != nil {
		return nil, err
	}
	var all []Subscription
	for e := range answer.Child(NS, "subscriptions").Named(NS, "subscription") {
		s, err := parseSubscription(e)
		if err != nil || len(all) == maxItems {
			return nil, ErrAnswer
		}
		all = append(all, s)
	}
	return slices.Clip(all), nil
}
