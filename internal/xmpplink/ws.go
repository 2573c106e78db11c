package xmpplink

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmppstream"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// ws is the transport of RFC 7395: each message is one element, complete with its namespaces (§3.3.3).
type ws struct {
	conn   WebSocket
	parser xmltree.Parser
	size   int
}

func newWS(conn WebSocket, maxSize int) *ws {
	if maxSize <= 0 {
		maxSize = xmppstream.DefaultSize
	}
	return &ws{conn: conn, size: maxSize}
}

func (w *ws) open(o *xmppstream.Open) (*xmppstream.Open, error) {
	if err := w.conn.WriteMessage(o.Element().AppendXML(nil, "")); err != nil {
		return nil, err
	}
	e, err := w.next()
	if err != nil {
		return nil, err
	}
	return xmppstream.ParseOpen(e)
}

func (w *ws) next() (*xmltree.Element, error) {
	b, err := w.conn.ReadMessage()
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
		if err := w.conn.WriteMessage(b[at:end]); err != nil {
			return fmt.Errorf("element %d of %d: %w", i+1, len(starts), err)
		}
	}
	return nil
}

func (w *ws) footer() []byte { return xmltree.New(xmppstream.NSFraming, "close").AppendXML(nil, "") }

func (w *ws) space() string             { return "" }
func (w *ws) content() string           { return xmppstream.NSClient }
func (w *ws) deadline(when time.Time)   { w.conn.SetDeadline(when) }
func (w *ws) close() error              { return w.conn.Close() }
func (w *ws) tls() *tls.ConnectionState { return w.conn.TLS() }
