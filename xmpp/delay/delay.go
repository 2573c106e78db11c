// Package delay tells when a stanza was first sent (XEP-0203), and has the
// format of times that XMPP uses (XEP-0082).
package delay

import (
	"errors"
	"fmt"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// NS is the namespace of delays.
const NS = "urn:xmpp:delay"

// ErrDelay says that an element tells no delay.
var ErrDelay = errors.New("delay: not a delay")

// Delay says who has held a stanza, and since when.
type Delay struct {
	From   jid.JID // who says so; the zero JID is unknown. It is not verified: see Of
	Stamp  time.Time
	Reason string // for people
}

// Parse reads a delay.
func Parse(e *xmltree.Element) (Delay, error) {
	if !e.Is(NS, "delay") {
		return Delay{}, ErrDelay
	}
	d := Delay{Reason: e.Text()}
	var err error
	if d.Stamp, err = ParseTime(e.Get("stamp")); err != nil {
		return Delay{}, err
	}
	if from := e.Get("from"); from != "" {
		if d.From, err = jid.Parse(from); err != nil {
			return Delay{}, fmt.Errorf("%w: %w", ErrDelay, err)
		}
	}
	return d, nil
}

// Element is the delay as it goes over the wire.
func (d Delay) Element() *xmltree.Element {
	e := xmltree.NewText(NS, "delay", d.Reason).Set("stamp", FormatTime(d.Stamp))
	if d.From.Domainpart() != "" {
		e.Set("from", d.From.String())
	}
	return e
}

// Of returns the first delay among payloads that one of by has told; without by, that
// anybody has. Who receives a message from a stranger should believe only its own server and the room (§5).
func Of(payload []*xmltree.Element, by ...jid.JID) (Delay, bool) {
	for _, e := range payload {
		d, err := Parse(e)
		if err != nil {
			continue
		}
		if len(by) == 0 {
			return d, true
		}
		for _, j := range by {
			if d.From.Equal(j) {
				return d, true
			}
		}
	}
	return Delay{}, false
}

// ParseTime reads a time of XEP-0082 §3.2.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %.40q is not a time", ErrDelay, s)
	}
	return t.UTC(), nil
}

// FormatTime writes a time as XEP-0082 §3.2 has it, in UTC and to the microsecond.
func FormatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.999999Z") }
