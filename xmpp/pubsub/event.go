package pubsub

import (
	"context"
	"fmt"
	"iter"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/feed"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/delay"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Event is what has happened to a node (§7.1.2, §7.2.2, §8). One of its parts is set, or Items and Retracted.
type Event struct {
	// From is whose node it is: a service, or a bare address. The zero JID is our own account.
	From jid.JID
	Node string

	Items      []Item   // published; without payloads if the node says so
	Retracted  []string // ids
	Purged     bool     // all items are gone
	Deleted    bool     // the node is gone
	Configured *form.Data
	// Subscription is a change of ours.
	Subscription *Subscription
	Delay        delay.Delay // Stamp is zero if it is new; else it is what was published last, told at sign-in
}

// ParseEvent reads the event of a message. ok is false if it has none, or one that is not whole.
func ParseEvent(m *xmpp.Message) (ev *Event, ok bool) {
	e := m.Child(NSEvent, "event").First()
	if e == nil || e.Name.Space != NSEvent || m.Error != nil {
		return nil, false
	}
	ev = &Event{From: m.From, Node: e.Get("node")}
	ev.Delay, _ = delay.Of(m.Payload)
	var err error
	switch e.Name.Local {
	case "items":
		err = ev.items(e)
	case "purge":
		ev.Purged = true
	case "delete":
		ev.Deleted = true
	case "configuration":
		if x := e.Child(form.NS, "x"); x != nil {
			ev.Configured, err = form.Parse(x)
		} else {
			ev.Configured = new(form.Data)
		}
	case "subscription":
		var s Subscription
		s, err = parseSubscription(e)
		ev.Subscription = &s
	default:
		return nil, false
	}
	if err != nil || ev.Node == "" {
		return nil, false
	}
	return ev, true
}

func (ev *Event) items(e *xmltree.Element) error {
	for c := range e.Elements() {
		if len(ev.Items)+len(ev.Retracted) == maxItems {
			return ErrAnswer
		}
		switch {
		case c.Is(NSEvent, "item"):
			i, err := ParseItem(c)
			if err != nil {
				return err
			}
			ev.Items = append(ev.Items, i)
		case c.Is(NSEvent, "retract"):
			ev.Retracted = append(ev.Retracted, c.Get("id"))
		}
	}
	return nil
}

// Listener takes the events of a node.
type Listener struct {
	Node string
	// Notify asks for the events of contacts and of our own account (XEP-0163 §4: the feature Node+"+notify").
	Notify bool
	// From decides whose events count; others are logged and dropped: anybody can have a node of that name. Nil: everybody's.
	From func(jid.JID) bool
	// Event gets them in the order of the wire; like any hook of an extension it must not wait for the network.
	Event func(*Event)
}

// Listen takes events of a node for l. It must be called before the client connects. Of several listeners to one node the first gets all.
func Listen(c *xmpp.Client, l Listener) error {
	if l.Node == "" || l.Event == nil {
		return fmt.Errorf("pubsub: a listener needs a node and an Event")
	}
	x := &xmpp.Extension{Name: l.Node}
	if l.Notify {
		x.Features = []string{l.Node + "+notify"}
	}
	x.Message = func(m *xmpp.Message) bool {
		// A cheap look first: this is asked of every message.
		if m.Child(NSEvent, "event").First().Get("node") != l.Node {
			return false
		}
		switch ev, ok := ParseEvent(m); {
		case !ok:
			c.Logger().Warn("pubsub: an event was left out", "node", l.Node, "from", m.From.String())
		case l.From != nil && !l.From(m.From):
			c.Logger().Warn("pubsub: an event from a stranger", "node", l.Node, "from", m.From.String())
		default:
			l.Event(ev)
		}
		return true
	}
	return c.Use(x)
}

// maxEvents bounds what waits for Events.
const maxEvents = 1024

// Events are those of some nodes, for programs that read them one after the other.
type Events struct{ feed *feed.Feed[*Event] }

// Follow collects events of some nodes: of contacts and ourselves, and of services where we are subscribed. from is as in Listener.
// It must be called before the client connects. Up to 1,024 wait for All; without room, new ones are dropped and counted by Missed.
func Follow(c *xmpp.Client, from func(jid.JID) bool, nodes ...string) (*Events, error) {
	e := &Events{feed.New[*Event](maxEvents, c.Wait)}
	for _, node := range nodes {
		if err := Listen(c, Listener{Node: node, Notify: true, From: from, Event: func(ev *Event) { e.feed.Put(ev) }}); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// All yields events in the order in which they came, until ctx or the client ends. Several may read; each event goes to one.
func (e *Events) All(ctx context.Context) iter.Seq[*Event] { return e.feed.All(ctx) }

// Missed tells how many events found no room.
func (e *Events) Missed() uint64 { return e.feed.Missed() }
