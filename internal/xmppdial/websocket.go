package xmppdial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// subprotocol is XMPP's name among the WebSocket subprotocols (RFC 7395 §3.1).
const subprotocol = "xmpp"

// maxHandshake bounds the octets of an HTTP response's header, that of a WebSocket's opening handshake too.
const maxHandshake = 16 << 10

// DefaultMaxMessage is the longest message taken from a WebSocket if nothing else is said, in octets.
const DefaultMaxMessage = 1 << 20

// Errors of WebSockets.
var (
	// ErrSubprotocol: the server does not speak XMPP there.
	ErrSubprotocol = errors.New("xmppdial: the WebSocket's peer does not speak the subprotocol xmpp")

	// ErrBinary: the server sent what is no text.
	ErrBinary = errors.New("xmppdial: binary WebSocket message")

	// ErrMessageTooBig: the server sent a message longer than allowed.
	ErrMessageTooBig = websocket.ErrMessageTooBig
)

// WebSocket carries XMPP, one element in each message (RFC 7395 §3.3). One goroutine may read while another writes.
type WebSocket struct {
	ws   *websocket.Conn
	conn *tls.Conn
}

// DialWebSocket opens a WebSocket, "wss://host:port/path", of an XMPP server. The certificate has to name the host of the URL: if that comes from [Web.Endpoints], the
// domain has vouched for it by HTTPS. Redirects are not followed. The WebSocket outlives the context.
func (w *Web) DialWebSocket(ctx context.Context, endpoint string) (*WebSocket, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, fmt.Errorf("xmppdial: %w", err)
	}
	host, port, err := splitHostPort(u.Host)
	if err != nil {
		return nil, err
	}
	if port == 0 {
		port = 443
	}
	raw, err := w.dial()(ctx, "tcp", Target{Host: host, Port: port}.Address())
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, w.tlsConfig(host))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("xmppdial: TLS handshake with %s: %w", u.Host, err)
	}
	u.Scheme = "ws" // the connection is there, with TLS
	ws, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport: &http.Transport{
				DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
				MaxResponseHeaderBytes: maxHandshake,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Subprotocols: []string{subprotocol},
	})
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("xmppdial: WebSocket handshake with %s: %w", u.Host, err)
	}
	if ws.Subprotocol() != subprotocol {
		_ = ws.CloseNow()
		return nil, ErrSubprotocol
	}
	limit := w.MaxMessage
	if limit <= 0 {
		limit = DefaultMaxMessage
	}
	ws.SetReadLimit(limit)
	return &WebSocket{ws, conn}, nil
}

// ReadMessage waits for the next message. The error is io.EOF if the server has closed the WebSocket in an orderly way, and io.ErrUnexpectedEOF if it
// has just gone. After any error the WebSocket is closed, after the end of the context too.
func (s *WebSocket) ReadMessage(ctx context.Context) ([]byte, error) {
	typ, b, err := s.ws.Read(ctx)
	if err != nil {
		switch c := websocket.CloseStatus(err); {
		case c == websocket.StatusNormalClosure, c == websocket.StatusGoingAway:
			err = io.EOF
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF // the connection has ended without a word
		}
		_ = s.ws.CloseNow()
		return nil, err
	}
	if typ != websocket.MessageText { // RFC 7395 §3.2
		_ = s.ws.CloseNow()
		return nil, ErrBinary
	}
	return b, nil
}

// WriteMessage sends one message. After an error the WebSocket is closed, after the end of the context too.
func (s *WebSocket) WriteMessage(ctx context.Context, b []byte) error {
	return s.ws.Write(ctx, websocket.MessageText, b)
}

// Close ends the WebSocket with the closing handshake (RFC 6455 §7), which takes at most 10 s. A reader that waits is told io.EOF, or another error if the server does
// not take part.
func (s *WebSocket) Close() {
	_ = s.ws.Close(websocket.StatusNormalClosure, "") // the end in any case; servers that hang up first make it an error
}

// Abort ends the WebSocket without a word. It does not wait.
func (s *WebSocket) Abort() { s.conn.NetConn().Close() }

// ConnectionState is that of TLS.
func (s *WebSocket) ConnectionState() tls.ConnectionState { return s.conn.ConnectionState() }

// LocalAddr is our address on the connection.
func (s *WebSocket) LocalAddr() net.Addr { return s.conn.LocalAddr() }
