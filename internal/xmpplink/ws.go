package xmpplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmppdial"
	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// ws is the transport of RFC 7395: each message is one element, complete with its namespaces (§3.3.3).
type ws struct {
	conn   *xmppdial.WebSocket
	parser xmltree.Parser
	size   int
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
}

func newWS(conn *xmppdial.WebSocket, maxSize int) *ws {
	if maxSize <= 0 {
		maxSize = xmppstream.DefaultSize
	}
	w := &ws{conn: conn, size: maxSize}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *ws) open(o *xmppstream.Open, with []byte) (*xmppstream.Open, error) {
	if err := w.conn.WriteMessage(w.ctx, o.Element().AppendXML(nil, "")); err != nil {
		return nil, err
	}
	if len(with) > 0 {
		if err := w.conn.WriteMessage(w.ctx, with); err != nil {
			return nil, err
		}
	}
	e, err := w.next()
	if err != nil {
		return nil, err
	}
	return xmppstream.ParseOpen(e)
}

func (w *ws) next() (*xmltree.Element, error) {
	b, err := w.conn.ReadMessage(w.ctx)
	if err != nil {
		return nil, err
	}
	if len(b) > w.size {
		return nil, skip(&w.parser, b[:min(4096, len(b))], xmltree.TooMuch, len(b))
	}
	e, err := w.parser.Parse(b)
	var bad *xmltree.SyntaxError
	switch {
	case errors.As(err, &bad):
		return nil, skip(&w.parser, b, bad.Reason, len(b))
	case err != nil:
		return nil, err
	case e.Is(xmppstream.NSFraming, "close"):
		if host := e.Get("see-other-uri"); host != "" { // §3.6.1
			return nil, &StreamError{Condition: "see-other-host", Host: host}
		}
		return nil, ErrPeerClosed
	}
	return e, nil
}

// write sends each element in a message of its own.
func (w *ws) write(b []byte, starts []int) error {
	for i, at := range starts {
		end := len(b)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		if err := w.conn.WriteMessage(w.ctx, b[at:end]); err != nil {
			return fmt.Errorf("element %d of %d: %w", i+1, len(starts), err)
		}
	}
	return nil
}

func (w *ws) footer() []byte { return xmltree.New(xmppstream.NSFraming, "close").AppendXML(nil, "") }

func (w *ws) space() string   { return "" }
func (w *ws) content() string { return xmppstream.NSClient }

// deadline ends what waits if the time is past. A later one is not needed: what
// is written last goes into the connection's buffers.
func (w *ws) deadline(when time.Time) {
	if time.Until(when) <= 0 {
		w.cancel()
	}
}

func (w *ws) close() error {
	w.cancel()
	w.conn.Abort()
	return nil
}

func (w *ws) tls() *tls.ConnectionState {
	cs := w.conn.ConnectionState()
	return &cs
}
