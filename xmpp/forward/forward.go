// Package forward puts a message into another (XEP-0297), as archives and
// carbons do.
package forward

import (
	"errors"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/delay"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of forwarded stanzas.
const NS = "urn:xmpp:forward:0"

// ErrForward says that an element forwards no message.
var ErrForward = errors.New("forward: not a forwarded message")

// Forwarded is a message inside another. Only who forwards it vouches for it: its sender may be anything (§7).
type Forwarded struct {
	Message *xmpp.Message
	Delay   delay.Delay // when it was first sent; Stamp is zero if that is not told
}

// Parse reads a forwarded message.
func Parse(e *xmltree.Element) (*Forwarded, error) {
	if !e.Is(NS, "forwarded") {
		return nil, ErrForward
	}
	inner := e.Child(xmpp.NSClient, "message")
	if inner == nil {
		return nil, ErrForward
	}
	m, err := xmpp.ParseMessage(inner)
	if err != nil {
		return nil, errors.Join(ErrForward, err)
	}
	f := &Forwarded{Message: m}
	if d := e.Child(delay.NS, "delay"); d != nil {
		if f.Delay, err = delay.Parse(d); err != nil {
			return nil, errors.Join(ErrForward, err)
		}
	}
	return f, nil
}

// Element is the forwarded message as it goes over the wire.
func (f *Forwarded) Element() *xmltree.Element {
	e := xmltree.New(NS, "forwarded")
	if !f.Delay.Stamp.IsZero() {
		e.Add(f.Delay.Element())
	}
	return e.Add(f.Message.Element())
}
