package xmpp

import (
	"context"
	"crypto/rand"
	"errors"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/xmpplink"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Bounds of requests of others: what exceeds them is answered with resource-constraint.
const (
	maxRunning = 16 // handlers at once
	maxWaiting = 64 // requests that wait for one
)

// maxWaiters bounds our own requests without an answer.
const maxWaiters = 4096

// ErrTooMany says that too many requests have no answer yet.
var ErrTooMany = errors.New("xmpp: too many requests without an answer")

// waiter waits for the answer to a request.
type waiter struct {
	to     jid.JID
	answer chan *IQ // with room for one
	err    error    // answer is closed instead
	failed *stanza.Error
}

// Do sends a request and waits for the answer. ID and From are filled in; Type
// must be GetIQ or SetIQ. The error is a stanza.Error as it came from whom was
// asked; ErrUnknown if the session ended without an answer; ctx's if that ends first.
// It waits for a connection if there is none.
//
// An answer counts only if it comes from whom was asked (RFC 6120 §8.1.2.1): others
// cannot guess into it.
func (c *Client) Do(ctx context.Context, iq *IQ) (*IQ, error) {
	if iq.Type != stanza.GetIQ && iq.Type != stanza.SetIQ || iq.Payload == nil {
		return nil, errors.New("xmpp: a request is a get or a set and has a payload")
	}
	req := *iq
	req.ID, req.From = NewID(), jid.JID{}
	w := &waiter{to: req.To, answer: make(chan *IQ, 1)}
	stream, err := c.online(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	switch {
	case c.stream != stream:
		c.mu.Unlock()
		return nil, ErrUnknown
	case len(c.waiters) >= maxWaiters:
		c.mu.Unlock()
		return nil, ErrTooMany
	}
	c.waiters[req.ID] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiters, req.ID)
		c.mu.Unlock()
	}()
	if _, err := stream.Send(ctx, req.Element()); err != nil {
		return nil, err
	}
	select {
	case answer, ok := <-w.answer:
		switch {
		case !ok:
			return nil, w.err
		case w.failed != nil:
			return nil, *w.failed
		}
		return answer, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Get asks to for something: a request of type get (RFC 6120 §8.2.3). The zero JID is one's own account.
func (c *Client) Get(ctx context.Context, to jid.JID, payload *xmltree.Element) (*xmltree.Element, error) {
	return c.ask(ctx, stanza.GetIQ, to, payload)
}

// Set asks to to do something: a request of type set.
func (c *Client) Set(ctx context.Context, to jid.JID, payload *xmltree.Element) (*xmltree.Element, error) {
	return c.ask(ctx, stanza.SetIQ, to, payload)
}

func (c *Client) ask(ctx context.Context, typ stanza.IQType, to jid.JID, payload *xmltree.Element) (*xmltree.Element, error) {
	iq := &IQ{Payload: payload}
	iq.Type, iq.To = typ, to
	answer, err := c.Do(ctx, iq)
	if err != nil {
		return nil, err
	}
	return answer.Payload, nil
}

// NewID returns an id that nobody can guess.
func NewID() string { return rand.Text() }

// failWaiters ends all waits; c.mu is held.
func (c *Client) failWaiters(err error) {
	for id, w := range c.waiters {
		w.err = err
		close(w.answer)
		delete(c.waiters, id)
	}
}

// answered takes a result or an error.
func (c *Client) answered(iq *IQ, failed *stanza.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.waiters[iq.ID]
	switch {
	case w == nil: // nobody waits any more, or it is for a sign of life
	case !c.mayAnswer(w.to, iq.From):
		c.log.Warn("xmpp: an answer from another than who was asked", "asked", w.to.String(), "from", iq.From.String())
	default:
		delete(c.waiters, iq.ID)
		w.failed = failed
		w.answer <- iq
	}
}

// mayAnswer tells whether an answer from one address can be to a question to
// another. c.mu is held.
func (c *Client) mayAnswer(to, from jid.JID) bool {
	if to.Equal(from) {
		return true
	}
	account := c.cfg.Account
	own := func(j jid.JID) bool { return j.Domainpart() == "" || j.Equal(account.Bare()) }
	switch {
	case own(to) && own(from):
		return true
	case own(to):
		// RFC 6120 §10.3.3: the server answers for the account. Servers of old named themselves.
		return from.Equal(account.Domain()) || c.session != nil && from.Equal(c.session.JID)
	case to.Equal(account.Domain()):
		return own(from)
	}
	return false
}

// request answers a get or a set.
func (c *Client) request(iq *IQ) {
	if iq.Payload == nil || iq.ID == "" {
		c.refuse(iq, stanza.BadRequest, stanza.Modify) // RFC 6120 §8.2.3
		return
	}
	h := c.handlers[IQName{iq.Type, iq.Payload.Name.Space, iq.Payload.Name.Local}]
	if h == nil {
		c.refuse(iq, stanza.ServiceUnavailable, stanza.Cancel) // §8.4
		return
	}
	c.mu.Lock()
	full := c.waiting >= maxRunning+maxWaiting
	if !full {
		c.waiting++
	}
	c.mu.Unlock()
	if full {
		c.refuse(iq, stanza.ResourceConstraint, stanza.Wait)
		return
	}
	c.wg.Go(func() {
		defer func() {
			c.mu.Lock()
			c.waiting--
			c.mu.Unlock()
		}()
		select {
		case c.requests <- struct{}{}:
			defer func() { <-c.requests }()
		case <-c.ctx.Done():
			return
		}
		c.reply(iq, h)
	})
}

func (c *Client) reply(iq *IQ, h IQHandler) {
	payload, err := h(c.ctx, iq)
	var refused stanza.Error
	switch {
	case errors.As(err, &refused):
		c.respond(iq, stanza.ErrorIQ, errorElement(refused))
	case err != nil:
		c.log.Warn("xmpp: a request could not be handled", "payload", iq.Payload.Name, "err", err)
		c.refuse(iq, stanza.InternalServerError, stanza.Cancel)
	default:
		c.respond(iq, stanza.ResultIQ, payload)
	}
}

func (c *Client) refuse(iq *IQ, condition stanza.Condition, typ stanza.ErrorType) {
	c.respond(iq, stanza.ErrorIQ, errorElement(stanza.Error{Condition: condition, Type: typ}))
}

func (c *Client) respond(iq *IQ, typ stanza.IQType, payload *xmltree.Element) {
	answer := &IQ{Payload: payload}
	answer.ID, answer.To, answer.Type = iq.ID, iq.From, typ
	c.post(answer.Element())
}

// post sends an answer, for which nobody waits. The reader calls it, so it does
// not wait for room: who floods us with requests and takes no answers gets none.
func (c *Client) post(e *xmltree.Element) {
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	if stream == nil {
		return
	}
	if _, err := stream.TrySend(e); err != nil {
		c.log.Warn("xmpp: an answer could not be sent", "err", err)
	}
}

// online returns the stream, and waits for it if there is none.
func (c *Client) online(ctx context.Context) (*xmpplink.Stream, error) {
	for {
		c.mu.Lock()
		stream, state, changed, err, closing := c.stream, c.status.State, c.changed, c.status.Err, c.closing
		c.mu.Unlock()
		switch {
		case stream != nil:
			return stream, nil
		case state == Closed:
			return nil, err
		case closing:
			return nil, ErrClosed
		case state == Offline:
			return nil, ErrOffline
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// ErrOffline says that the client was not started.
var ErrOffline = errors.New("xmpp: the client is not connected: Connect comes first")
