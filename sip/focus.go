package sip

import (
	"context"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// UA is the user agent that the call is one of.
func (c *Call) UA() *UA { return c.ua }

// Target is the URI where the peer of the call's present dialog is reached: his
// Contact (RFC 3261 §12.1). With [Call.Dialog] it points others at the call. ""
// before there is a dialog, and after the user agent was closed.
func (c *Call) Target() string {
	target := ""
	_ = c.run(context.Background(), func(time.Time) {
		if uri, ok := c.m.Target(); ok {
			target = sipwire.FormatURI(&uri)
		}
	})
	return target
}

// Focus is the conference URI, where the peer is the focus of a conference: his
// Contact has the feature tag isfocus (RFC 4579 §4). "" where he is not, or the
// user agent was closed.
func (c *Call) Focus() string {
	focus := ""
	_ = c.run(context.Background(), func(time.Time) { focus = c.set.focus })
	return focus
}

// learnFocus looks whether who sent an INVITE, or has taken one, is a focus.
func (s *dialogSet) learnFocus(m sipgo.Message) {
	s.focus = ""
	if cs := sipwire.Contacts(m); len(cs) == 1 {
		if _, ok := sipwire.Param(cs[0].Params, "isfocus"); ok {
			uri := *cs[0].Address.Clone()
			uri.Headers = nil
			s.focus = sipwire.FormatURI(&uri)
		}
	}
}
