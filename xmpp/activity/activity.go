// Package activity tells others what we are doing (XEP-0108), such as being on the phone.
package activity

import (
	"context"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of activities, and the name of their node.
const NS = "http://jabber.org/protocol/activity"

// Bounds of what is taken, in bytes.
const (
	maxName = 128
	maxText = 1024
)

// Activity is what somebody does. Its zero value is nothing in particular.
type Activity struct {
	General  string // such as "talking" (§3.1)
	Specific string // such as "on_the_phone"; "" is none
	Text     string // for people
}

// OnThePhone is what who has a call does.
var OnThePhone = Activity{General: "talking", Specific: "on_the_phone"}

// Parse reads an activity. ok is false if e is none, or one beyond all bounds.
func Parse(e *xmltree.Element) (a Activity, ok bool) {
	if !e.Is(NS, "activity") {
		return a, false
	}
	for c := range e.Elements() {
		switch {
		case c.Name.Space != NS:
		case c.Name.Local == "text":
			if a.Text == "" || c.GetNS(xmltree.NSXML, "lang") == "" {
				a.Text = c.Text()
			}
		case a.General == "":
			a.General = c.Name.Local
			if s := c.First(); s != nil && s.Name.Space == NS {
				a.Specific = s.Name.Local
			}
		}
	}
	if len(a.General) > maxName || len(a.Specific) > maxName || len(a.Text) > maxText {
		return Activity{}, false
	}
	return a, true
}

// Element is the activity as it goes over the wire.
func (a Activity) Element() *xmltree.Element {
	e := xmltree.New(NS, "activity")
	if a.General == "" {
		return e // §2.3: nothing any more
	}
	general := xmltree.New(NS, a.General)
	if a.Specific != "" {
		general.Add(xmltree.New(NS, a.Specific))
	}
	e.Add(general)
	if a.Text != "" {
		e.Add(xmltree.NewText(NS, "text", a.Text))
	}
	return e
}

// Publish tells our contacts; the zero value takes it back (§2.3).
func Publish(ctx context.Context, c *xmpp.Client, a Activity) error {
	_, err := pubsub.Publish(ctx, c, jid.JID{}, NS, pubsub.Item{ID: "current", Payload: a.Element()})
	return err
}

// Listen calls changed when somebody does something else; the zero value is nothing any more. from is a bare address; the zero
// JID is our own. It must be called before the client connects, and changed must not wait for the network.
func Listen(c *xmpp.Client, changed func(from jid.JID, a Activity)) error {
	return pubsub.Listen(c, pubsub.Listener{Node: NS, Notify: true, Event: func(ev *pubsub.Event) {
		switch {
		case len(ev.Items) > 0:
			a, _ := Parse(ev.Items[0].Payload)
			changed(ev.From, a)
		case len(ev.Retracted) > 0 || ev.Purged || ev.Deleted:
			changed(ev.From, Activity{})
		}
	}})
}
