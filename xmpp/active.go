package xmpp

import (
	"context"

	"github.com/hoorn-phone/hoorn/internal/xmpplink"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const nsActive = "urn:xmpp:csi:0"

// SetActive tells the server whether anybody looks at this client (XEP-0352).
// While nobody does, the server may hold back what can wait, such as presence. It is remembered: a server
// takes each new stream, a resumed one too, for an active one, and is told again. Clients begin active.
//
// It does not wait for a connection; a server that does not know this is not told. The error is ErrClosed, or why the client ended.
func (c *Client) SetActive(ctx context.Context, active bool) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.State == Closed {
		return c.status.Err
	}
	if c.inactive == active && c.stream != nil {
		tell(c.stream, active)
	}
	c.inactive = !active
	return nil
}

// tell tells a stream whether we are active; c.mu is held, so that the last word is the one that counts.
func tell(stream *xmpplink.Stream, active bool) {
	if stream.Features().Child(nsActive, "csi") == nil {
		return
	}
	word := "inactive"
	if active {
		word = "active"
	}
	stream.Nonza(xmltree.New(nsActive, word)) // if the stream has ended the next one is told
}
