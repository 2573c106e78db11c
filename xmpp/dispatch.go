package xmpp

import (
	"context"
	"iter"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/xmpplink"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// handle takes an element from the stream. It must not wait for the network.
func (c *Client) handle(e *xmltree.Element) {
	if e.Name.Space != NSClient {
		c.log.Debug("xmpp: an unknown element", "name", e.Name)
		return
	}
	var err error
	switch e.Name.Local {
	case "message":
		var m *Message
		if m, err = c.parser.message(e); err == nil {
			c.message(m)
		}
	case "presence":
		var p *Presence
		if p, err = c.parser.presence(e); err == nil {
			c.presence(p)
		}
	case "iq":
		err = c.iq(e)
	default:
		c.log.Debug("xmpp: an unknown element", "name", e.Name)
	}
	if err != nil {
		c.log.Warn("xmpp: a stanza was dropped", "err", err)
	}
}

func (c *Client) message(m *Message) {
	for _, x := range c.extensions {
		if x.Message != nil && x.Message(m) {
			return
		}
	}
	if c.messages.put(m) {
		return
	}
	c.log.Warn("xmpp: a message found no room", "from", m.From.String(), "type", string(m.Type))
	switch m.Type {
	case stanza.ErrorMessage, stanza.GroupChatMessage, stanza.HeadlineMessage:
		return // RFC 6120 §8.3.1, RFC 6121 §8: no answer to those
	}
	bounce := &Message{Error: &stanza.Error{Condition: stanza.ResourceConstraint, Type: stanza.Wait}}
	bounce.ID, bounce.To, bounce.Type = m.ID, m.From, stanza.ErrorMessage
	c.post(bounce.Element())
}

func (c *Client) presence(p *Presence) {
	for _, x := range c.extensions {
		if x.Presence != nil && x.Presence(p) {
			return
		}
	}
	c.roster.presence(p)
}

func (c *Client) iq(e *xmltree.Element) error {
	iq, failed, err := c.parser.iq(e)
	if err != nil {
		return err
	}
	switch iq.Type {
	case stanza.GetIQ, stanza.SetIQ:
		c.request(iq)
	case stanza.ResultIQ, stanza.ErrorIQ:
		c.answered(iq, failed)
	default:
		c.refuse(iq, stanza.BadRequest, stanza.Modify)
	}
	return nil
}

// skipped is told of stanzas that were left out. A request gets its answer all the same.
func (c *Client) skipped(s xmpplink.Skip) {
	c.log.Warn("xmpp: a stanza was left out", "from", s.From, "err", s.Err)
	if s.Local != "iq" || s.Type != "get" && s.Type != "set" {
		return
	}
	from, err := c.parser.jid(s.From)
	if err != nil {
		return
	}
	iq := new(IQ)
	iq.ID, iq.From = s.ID, from.jid
	c.refuse(iq, stanza.NotAcceptable, stanza.Modify)
}

// Messages yields messages that no extension has taken, in order. Several may
// read; each message goes to one of them. It ends with ctx or the client.
// Config.MessageQueue says what happens when nobody reads.
func (c *Client) Messages(ctx context.Context) iter.Seq[*Message] { return c.messages.all(ctx) }

// Sent is a stanza on its way.
type Sent struct{ sent *xmpplink.Sent }

// Wait waits until the server has confirmed that it has the stanza (XEP-0198).
// ErrUnknown says that the session ended before. Without stream management it knows no more than that the stanza
// was written.
func (s *Sent) Wait(ctx context.Context) error {
	select {
	case <-s.sent.Done:
		return s.sent.Err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Stanza is a [Message] or a [Presence].
type Stanza interface{ Element() *xmltree.Element }

// Send sends a message or presence; requests go by Do. It returns when the
// stanza is in the stream's queue, which survives a reconnect that resumes the session, and waits for a connection if there is none.
func (c *Client) Send(ctx context.Context, s Stanza) (*Sent, error) {
	stream, err := c.online(ctx)
	if err != nil {
		return nil, err
	}
	sent, err := stream.Send(ctx, s.Element())
	if err != nil {
		return nil, err
	}
	return &Sent{sent}, nil
}

// Reply sends what answers to something that has come, such as a receipt. Unlike
// Send it never waits, and so may be called by hooks of extensions; without a connection, or without room, the answer is
// lost, and that is logged.
func (c *Client) Reply(s Stanza) { c.post(s.Element()) }
