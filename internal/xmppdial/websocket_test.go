package xmppdial

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/hoorn-phone/hoorn/internal/testca"
)

// socket serves WebSockets by somebody else's code.
func socket(subprotocols []string, serve func(ctx context.Context, c *websocket.Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: subprotocols})
		if err != nil {
			return
		}
		defer c.CloseNow() //nolint:errcheck // over in any case
		serve(r.Context(), c)
	})
}

func echo(ctx context.Context, c *websocket.Conn) {
	c.SetReadLimit(-1)
	for {
		typ, b, err := c.Read(ctx)
		if err != nil || c.Write(ctx, typ, b) != nil {
			return
		}
	}
}

const open = `<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="example.com" version="1.0"/>` // RFC 7395 §3.3.2

// RFC 7395 §3: found by host-meta, opened, and one element in each message.
func TestWebSocket_RFC7395(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t), newAuthority(t)
		w.https("10.0.0.2", a.server(testca.Template{DNS: []string{"example.com"}}), pages{hostMetaPath: xrd("wss://web.example.com/ws?x=1")})
		var host, origin, path string
		w.https("10.0.0.3", a.server(testca.Template{DNS: []string{"web.example.com"}}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, origin, path = r.Host, r.Header.Get("Origin"), r.RequestURI
			socket([]string{"xmpp"}, echo).ServeHTTP(w, r)
		}))
		w.res.IP["example.com"], w.res.IP["web.example.com"] = ips("10.0.0.2"), ips("10.0.0.3")
		web := w.web(a)
		endpoints, err := web.Endpoints(t.Context(), "example.com")
		if err != nil || len(endpoints) != 1 {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		s, err := web.DialWebSocket(ctx, endpoints[0])
		if err != nil {
			t.Fatal(err)
		}
		cancel() // the WebSocket outlives it
		if host != "web.example.com" || origin != "" || path != "/ws?x=1" {
			t.Errorf("host %q, origin %q, path %q", host, origin, path)
		}
		if cs := s.ConnectionState(); cs.Version != tls.VersionTLS13 || cs.ServerName != "web.example.com" || !strings.HasPrefix(s.LocalAddr().String(), "10.0.0.1:") {
			t.Errorf("state %+v", cs)
		}
		for _, msg := range []string{open, strings.Repeat("x", DefaultMaxMessage)} {
			if err := s.WriteMessage(t.Context(), []byte(msg)); err != nil {
				t.Fatal(err)
			}
			if b, err := s.ReadMessage(t.Context()); err != nil || string(b) != msg {
				t.Fatalf("%d octets, %v", len(b), err)
			}
		}
		read := make(chan error)
		go func() {
			_, err := s.ReadMessage(t.Context())
			read <- err
		}()
		synctest.Wait()
		begin := time.Now()
		s.Close()
		if err := <-read; err != io.EOF || time.Since(begin) != 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := s.ReadMessage(t.Context()); err == nil {
			t.Error("something is read from a closed WebSocket")
		}
		synctest.Wait()
		if w.open() != 0 {
			t.Errorf("%d connections are open", w.open())
		}
	})
}

// How a WebSocket ends.
func TestWebSocketEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(ctx context.Context, c *websocket.Conn)
		want  error
	}{
		{"normally", func(_ context.Context, c *websocket.Conn) { _ = c.Close(websocket.StatusNormalClosure, "") }, io.EOF},
		{"the server goes away", func(_ context.Context, c *websocket.Conn) { _ = c.Close(websocket.StatusGoingAway, "") }, io.EOF},
		{"with an error", func(_ context.Context, c *websocket.Conn) { _ = c.Close(websocket.StatusInternalError, "") }, websocket.CloseError{Code: websocket.StatusInternalError}},
		{"without a word", func(_ context.Context, c *websocket.Conn) { _ = c.CloseNow() }, io.ErrUnexpectedEOF},
		{"binary message", func(ctx context.Context, c *websocket.Conn) {
			_ = c.Write(ctx, websocket.MessageBinary, []byte(open))
			echo(ctx, c)
		}, ErrBinary},
		{"long message", func(ctx context.Context, c *websocket.Conn) {
			_ = c.Write(ctx, websocket.MessageText, []byte(strings.Repeat("x", 1001)))
			echo(ctx, c)
		}, ErrMessageTooBig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, a := newWorld(t), newAuthority(t)
				w.https("10.0.0.2", a.server(testca.Template{DNS: []string{"example.com"}}), socket([]string{"xmpp"}, tt.serve))
				w.res.IP["example.com"] = ips("10.0.0.2")
				web := w.web(a)
				web.MaxMessage = 1000
				s, err := web.DialWebSocket(t.Context(), "wss://example.com/")
				if err != nil {
					t.Fatal(err)
				}
				if b, err := s.ReadMessage(t.Context()); !errors.Is(err, tt.want) {
					t.Errorf("%q, %v", b, err)
				}
				synctest.Wait()
				if w.open() != 0 {
					t.Errorf("%d connections are open", w.open())
				}
			})
		})
	}
}

// The end of a context ends what waits with it, and Abort all.
func TestWebSocketContextAndAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t), newAuthority(t)
		server := w.https("10.0.0.2", a.server(testca.Template{DNS: []string{"example.com"}}), socket([]string{"xmpp"}, echo))
		w.res.IP["example.com"] = ips("10.0.0.2")
		dial := func() *WebSocket { return must(w.web(a).DialWebSocket(t.Context(), "wss://example.com/"))(t) }
		s := dial()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.ReadMessage(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(w.start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(w.start))
		}
		s = dial()
		go s.Abort()
		if _, err := s.ReadMessage(t.Context()); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%v", err)
		}
		if err := s.WriteMessage(t.Context(), []byte(open)); err == nil {
			t.Error("something is written to a WebSocket that is gone")
		}
		s = dial()
		s.Abort() // with nobody reading
		// A server that does not take part in the closing handshake holds nobody up for long.
		s = dial()
		w.n.CutSilently(w.client, server)
		begin := time.Now()
		s.Close()
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("closed after %v", took)
		}
		w.n.Heal(w.client, server)
		synctest.Wait()
		if w.open() != 0 {
			t.Errorf("%d connections are open", w.open())
		}
	})
}

// RFC 7395 §3.1, RFC 6455 §4.1: servers that are none.
func TestWebSocketRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		url     string
		cert    string
		handler http.Handler
		want    string
	}{
		{name: "no subprotocol", handler: socket(nil, echo), want: ErrSubprotocol.Error()},
		{name: "other subprotocol", handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Sec-WebSocket-Protocol", "sip")
			socket([]string{"sip"}, echo).ServeHTTP(w, r)
		}), want: "unexpected Sec-WebSocket-Protocol"},
		{name: "not found", handler: http.NotFoundHandler(), want: "404"},
		{name: "redirected", handler: redirect("wss://example.com/there"), want: "302"},
		{name: "certificate", handler: socket([]string{"xmpp"}, echo), cert: "example.org", want: "certificate"},
		{name: "ws", url: "ws://example.com/", want: "no wss URL"},
		{name: "other scheme", url: "https://example.com/", want: "no wss URL"},
		{name: "other port", url: "wss://example.com:444/", want: "connection refused"},
		{name: "silent", want: "deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, a := newWorld(t), newAuthority(t)
				if tt.cert == "" {
					tt.cert = "example.com"
				}
				if tt.handler == nil {
					tt.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				}
				w.https("10.0.0.2", a.server(testca.Template{DNS: []string{tt.cert}}), tt.handler)
				w.res.IP["example.com"] = ips("10.0.0.2")
				if tt.url == "" {
					tt.url = "wss://example.com/"
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				s, err := w.web(a).DialWebSocket(ctx, tt.url)
				if s != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v", err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if w.open() != 0 {
					t.Errorf("%d connections are open", w.open())
				}
			})
		})
	}
}
