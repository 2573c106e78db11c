// Package idle tells since when somebody has not used a device (XEP-0319).
package idle

import (
	"time"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/delay"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of idle times.
const NS = "urn:xmpp:idle:1"

// Parse reads since when. ok is false if e does not tell.
func Parse(e *xmltree.Element) (since time.Time, ok bool) {
	if !e.Is(NS, "idle") {
		return since, false
	}
	since, err := delay.ParseTime(e.Get("since"))
	return since, err == nil
}

// Element is what goes into a presence.
func Element(since time.Time) *xmltree.Element {
	return xmltree.New(NS, "idle").Set("since", delay.FormatTime(since))
}

// Of tells since when who sent a presence has not used the device. ok is false if the presence does not tell.
func Of(p *xmpp.Presence) (since time.Time, ok bool) { return Parse(p.Child(NS, "idle")) }
