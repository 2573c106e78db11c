package sip

import (
	"context"
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Fork is one of those who are called by an INVITE that a server has sent on
// to several (RFC 3261 §13.2.2.4), and who have said something.
type Fork struct {
	// ID names it within the call.
	ID string
	// Remote is who it is: what the account's server asserts of it (RFC 3325),
	// else its Contact.
	Remote Party
	// Status is its latest provisional response, such as 180 or 183.
	Status int
	// Media says that it has answered our offer already: it can be heard
	// (early media).
	Media bool
	// Heard says that it is the one that is heard.
	Heard bool
}

// ErrFork is the error of a fork that is not there, or has no media yet.
var ErrFork = call.ErrFork

// Forks are those who are called at the moment, in the order in which they
// were first heard of: none for an incoming call, and none once somebody has
// answered. An event of the kind ForksChanged tells of changes. At most 32 are
// kept; what further ones say before they answer is passed over.
func (c *Call) Forks() []Fork {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.forks)
}

// Listen chooses whose early media are heard, and who hears ours; until then
// it is the first who has any. It is without effect on who gets the call: the
// first who answers. ErrFork where the fork is gone or has no media, ErrState
// once the call is answered and for an incoming one.
func (c *Call) Listen(ctx context.Context, fork string) error {
	return c.await(ctx, func(now time.Time, done func(time.Time, error)) { c.m.Listen(now, fork, done) })
}

// forksOf are the machine's forks as users see them.
func (c *Call) forksOf(fs []call.Fork) []Fork {
	out := make([]Fork, len(fs))
	for i, f := range fs {
		out[i] = Fork{ID: f.RemoteTag, Remote: Party{URI: sipwire.FormatURI(&f.Target)}, Status: f.Status, Media: f.Media, Heard: f.Heard}
		if f.Asserted == "" || c.ua.acct.direct {
			continue
		}
		if name, uri, _, err := sipwire.ParseNameAddr(f.Asserted); err == nil {
			out[i].Remote = Party{URI: sipwire.FormatURI(&uri), Name: name}
		}
	}
	return out
}
