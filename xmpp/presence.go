package xmpp

import (
	"context"

	"mellium.im/xmpp/stanza"
)

// SetPresence tells everybody who may know how we are (RFC 6121 §4.4): p is
// sent now, and again at the beginning of each session until the next call. To must be empty; Type is
// AvailablePresence or UnavailablePresence. Without a connection it is sent when there is one.
//
// Presence to one person or room is sent with Send.
func (c *Client) SetPresence(ctx context.Context, p *Presence) error {
	own := *p
	c.mu.Lock()
	c.shown = &own
	stream := c.stream
	online := c.status.State == Online
	c.mu.Unlock()
	if stream == nil || !online {
		return nil // the beginning of the session sends it
	}
	_, err := stream.Send(ctx, c.decorate(&own).Element())
	return err
}

// sendInitialPresence makes us available to the server (RFC 6121 §4.2).
func (c *Client) sendInitialPresence(ctx context.Context) {
	c.mu.Lock()
	p, stream := c.shown, c.stream
	if p == nil && !c.cfg.NoPresence {
		p = new(Presence)
		c.shown = p
	}
	c.mu.Unlock()
	if p == nil || stream == nil || p.Type == stanza.UnavailablePresence {
		return
	}
	if _, err := stream.Send(ctx, c.decorate(p).Element()); err != nil {
		c.log.Info("xmpp: presence was not sent", "err", err)
	}
}
