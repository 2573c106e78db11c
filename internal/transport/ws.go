package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// subprotocol is SIP's name among the WebSocket subprotocols (RFC 7118 §4.1).
const subprotocol = "sip"

// maxHandshake bounds the bytes of a WebSocket's opening handshake.
const maxHandshake = 16 << 10

var errSubprotocol = errors.New("transport: the WebSocket's peer does not speak the subprotocol sip")

// wsLink is a WebSocket. Each of its messages is a SIP message (RFC 7118 §5).
type wsLink struct {
	ws   *websocket.Conn
	conn net.Conn // raw, or TLS over it
	raw  net.Conn
	idle time.Duration
	f    *Flow // while run runs
	buf  bytes.Buffer
}

// ready completes a link with its WebSocket.
func (l *wsLink) ready(t *Transport, ws *websocket.Conn) *wsLink {
	ws.SetReadLimit(int64(t.cfg.MaxHeader + t.cfg.MaxBody))
	l.ws = ws
	return l
}

// ponged is called by the reader for each Pong frame.
func (l *wsLink) ponged(context.Context, []byte) {
	if l.f != nil && l.f.pinged.Swap(false) {
		l.f.tap(false, EventPong, pong)
		l.f.t.h.Pong(l.f)
	}
}

// dialWS opens a WebSocket on a connection.
func dialWS(ctx context.Context, t *Transport, target Target, conn, raw net.Conn) (*wsLink, error) {
	path := target.Path
	if path == "" {
		path = "/"
	}
	transport := &http.Transport{
		// The connection is there, with TLS if there is to be any, so the
		// request is made as for plain HTTP.
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		MaxResponseHeaderBytes: maxHandshake,
	}
	l := &wsLink{conn: conn, raw: raw}
	ws, _, err := websocket.Dial(ctx, "ws://"+target.Addr.String()+path, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Host:           target.httpHost(),
		Subprotocols:   []string{subprotocol},
		OnPongReceived: l.ponged,
	})
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != subprotocol {
		ws.CloseNow() //nolint:errcheck // not needed
		return nil, errSubprotocol
	}
	return l.ready(t, ws), nil
}

// httpHost is the Host header field of a WebSocket's opening handshake.
func (t Target) httpHost() string {
	host := t.domain()
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	usual := uint16(80)
	if t.Proto.Secure() {
		usual = 443
	}
	if port := t.Addr.Port(); port != usual {
		return fmt.Sprintf("%s:%d", host, port)
	}
	return host
}

// acceptWS takes a client's opening handshake. Any path and any origin will
// do: SIP does not authenticate by what a browser sends of itself.
func acceptWS(t *Transport, conn, raw net.Conn) (*wsLink, error) {
	w := &upgrade{conn: conn, header: make(http.Header)}
	w.br = bufio.NewReader(io.LimitReader(conn, maxHandshake))
	req, err := http.ReadRequest(w.br)
	if err != nil {
		return nil, err
	}
	offered := strings.Split(strings.Join(req.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
	if !slices.ContainsFunc(offered, func(s string) bool { return strings.TrimSpace(s) == subprotocol }) {
		http.Error(w, "the subprotocol sip is required", http.StatusBadRequest)
		return nil, errSubprotocol
	}
	l := &wsLink{conn: conn, raw: raw}
	ws, err := websocket.Accept(w, req, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // the origin, not TLS
		OnPongReceived:     l.ponged,
	})
	if err != nil {
		return nil, err
	}
	return l.ready(t, ws), nil
}

// upgrade is the http.ResponseWriter of an opening handshake.
type upgrade struct {
	conn   net.Conn
	br     *bufio.Reader
	header http.Header
	err    error
}

func (w *upgrade) Header() http.Header { return w.header }

func (w *upgrade) WriteHeader(status int) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	if status != http.StatusSwitchingProtocols {
		w.header.Set("Connection", "close")
	}
	w.header.Write(&b) //nolint:errcheck // into memory
	b.WriteString("\r\n")
	_, w.err = w.conn.Write(b.Bytes())
}

func (w *upgrade) Write(b []byte) (int, error) { return w.conn.Write(b) }

// Hijack implements http.Hijacker.
func (w *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(w.br, bufio.NewWriter(w.conn)), w.err
}

func (l *wsLink) run(f *Flow) error {
	l.f = f
	defer l.ws.CloseNow() //nolint:errcheck // gives back its buffers
	for {
		if l.idle > 0 {
			if err := l.raw.SetReadDeadline(time.Now().Add(l.idle)); err != nil {
				return err
			}
		}
		_, r, err := l.ws.Reader(context.Background())
		if err == nil {
			_, err = l.buf.ReadFrom(r)
		}
		if err != nil {
			if s := websocket.CloseStatus(err); s == websocket.StatusNormalClosure || s == websocket.StatusGoingAway {
				return io.EOF
			}
			return err
		}
		switch b := l.buf.Bytes(); {
		case len(b) == 0:
		case bytes.Equal(b, ping):
			// RFC 5626's keep-alive works here too.
			f.tap(false, EventPing, ping)
			f.enqueue(EventPong, pong) //nolint:errcheck // it has ended
		case bytes.Equal(b, pong):
			l.ponged(context.Background(), nil)
		default:
			// Content-Length is not needed (RFC 7118 §5), as in a datagram.
			f.receive(b, false)
		}
		if l.buf.Reset(); l.buf.Cap() > 4<<10 {
			l.buf = bytes.Buffer{}
		}
	}
}

func (l *wsLink) write(batch [][]byte, deadline time.Time) error {
	if err := l.raw.SetWriteDeadline(deadline); err != nil {
		return err
	}
	for _, b := range batch {
		typ := websocket.MessageText
		if !utf8.Valid(b) {
			typ = websocket.MessageBinary
		}
		if err := l.ws.Write(context.Background(), typ, b); err != nil {
			return err
		}
	}
	return nil
}

// ping sends a Ping frame; its goroutine lives until the Pong comes or it is
// given up.
func (l *wsLink) ping(f *Flow) error {
	f.mu.Lock()
	if f.err != nil {
		defer f.mu.Unlock()
		return f.err
	}
	f.t.wg.Go(func() {
		ctx, cancel := context.WithTimeout(f.t.ctx, f.t.cfg.WriteTimeout)
		defer cancel()
		f.tap(true, EventPing, ping)
		l.ws.Ping(ctx) //nolint:errcheck // whoever misses the Pong will see
	})
	f.mu.Unlock()
	return nil
}

// close does the closing handshake.
func (l *wsLink) close() {
	l.ws.Close(websocket.StatusNormalClosure, "") //nolint:errcheck // the end in any case
	l.abort()
}

func (l *wsLink) abort() { l.raw.Close() }

func (l *wsLink) local() netip.AddrPort { return addrPort(l.raw.LocalAddr()) }

func (l *wsLink) tls() *tls.ConnectionState {
	c, ok := l.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	s := c.ConnectionState()
	return &s
}
