package xmpp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	mellium "mellium.im/xmpp"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
	"mellium.im/xmpp/stream"

	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Session returns the client as a mellium session, so that code for those runs
// on it, such as mellium.im/xmpp/disco and upload. It is made at the first call and lasts as long as the client; it
// waits for a connection. What it sends goes the way of Do and Send; what it receives is the answers to its requests,
// and nothing else: messages and the requests of others are the client's.
//
// A request whose answer never came because the session with the server ended
// gets the error recipient-unavailable.
func (c *Client) Session(ctx context.Context) (*mellium.Session, error) {
	if _, err := c.online(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.adapter != nil {
		return c.adapter, nil
	}
	if c.closing {
		return nil, ErrClosed
	}
	in, fromClient := io.Pipe()
	fromSession, out := io.Pipe()
	b := &bridge{c: c, to: fromClient}
	ready := func(_ context.Context, in, out *stream.Info, _ *mellium.Session, _ any) (mellium.SessionState, io.ReadWriter, any, error) {
		in.XMLNS, out.XMLNS = NSClient, NSClient
		return mellium.Secure | mellium.Authn | mellium.Ready, nil, nil, nil
	}
	s, err := mellium.NewSession(ctx, c.cfg.Account.Domain(), c.session.JID, duplex{in, out}, 0, ready)
	if err != nil {
		return nil, err
	}
	c.adapter = s
	c.wg.Go(func() { b.forward(fromSession) })
	c.wg.Go(func() { s.Serve(nil) })
	context.AfterFunc(c.ctx, func() {
		fromClient.CloseWithError(io.EOF)
		fromSession.CloseWithError(context.Cause(c.ctx))
	})
	return s, nil
}

type duplex struct {
	io.Reader
	io.Writer
}

// bridge takes what a mellium session writes, and writes what it waits for.
type bridge struct {
	c  *Client
	mu sync.Mutex // answers come from several goroutines
	to *io.PipeWriter
}

// forward sends what the session writes, until the client ends.
func (b *bridge) forward(from io.Reader) {
	header := (&xmppstream.Open{Version: "1.0", Space: NSClient}).AppendHeader(nil)
	scan := xmppstream.NewScanner(io.MultiReader(bytes.NewReader(header), from))
	var p *xmltree.Parser
	for {
		piece, err := scan.Next()
		if err != nil {
			return
		}
		switch piece.Kind {
		case xmppstream.Header:
			if _, p, err = xmppstream.ParseHeader(piece.Data); err != nil {
				return
			}
		case xmppstream.Element:
			e, err := p.Parse(piece.Data)
			if err != nil {
				b.c.log.Warn("xmpp: a mellium session wrote what is no stanza", "err", err)
				continue
			}
			b.send(e)
		case xmppstream.Footer:
			return
		}
	}
}

func (b *bridge) send(e *xmltree.Element) {
	if e.Name.Local != "iq" || e.Get("type") != "get" && e.Get("type") != "set" {
		if stream, err := b.c.online(b.c.ctx); err == nil {
			stream.Send(b.c.ctx, e)
		}
		return
	}
	to, err := jid.Parse(e.Get("to"))
	iq := &IQ{Payload: e.First()}
	iq.To, iq.Type = to, stanza.IQType(e.Get("type"))
	if err != nil && e.Get("to") != "" {
		b.answer(e, stanza.ErrorIQ, errorElement(stanza.Error{Type: stanza.Modify, Condition: stanza.JIDMalformed}))
		return
	}
	b.c.wg.Go(func() {
		answer, err := b.c.Do(b.c.ctx, iq)
		var refused stanza.Error
		switch {
		case errors.As(err, &refused):
			b.answer(e, stanza.ErrorIQ, errorElement(refused))
		case err != nil:
			b.answer(e, stanza.ErrorIQ, errorElement(stanza.Error{Type: stanza.Wait, Condition: stanza.RecipientUnavailable}))
		default:
			b.answer(e, stanza.ResultIQ, answer.Payload)
		}
	})
}

// answer gives the session the answer to a request, under the request's own id.
func (b *bridge) answer(request *xmltree.Element, typ stanza.IQType, payload *xmltree.Element) {
	e := xmltree.New(NSClient, "iq", payload).Set("id", request.Get("id")).Set("type", string(typ)).Set("from", request.Get("to"))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to.Write(e.AppendXML(nil, ""))
}
