package transport

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// wsClient is a WebSocket client that is not ours.
func (w *world) wsClient(t *testing.T, subprotocols ...string) (*websocket.Conn, error) {
	t.Helper()
	must(w.server.Listen(t.Context(), WS, ":80"))(t)
	c, _, err := websocket.Dial(t.Context(), "ws://10.0.0.2/any/path", &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{DialContext: w.a.Dial}},
		HTTPHeader:   http.Header{"Origin": {"https://webphone.example"}},
		Subprotocols: subprotocols,
	})
	return c, err
}

// RFC 7118 §5: text and binary messages are the same; Content-Length is not
// needed; RFC 5626's keep-alive is answered.
func TestWebSocketMessages_RFC7118_5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		c, err := w.wsClient(t, "xmpp", "sip")
		if err != nil {
			t.Fatal(err)
		}
		f := w.sh.next(t, "accepted").f
		msg := strings.Replace(string(options("v=0")), "Content-Length: 3\r\n", "", 1)
		for _, typ := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			c.Write(t.Context(), typ, []byte(msg))
			if e := w.sh.next(t, "message"); e.text != msg {
				t.Errorf("got %q", e.text)
			}
		}
		c.Write(t.Context(), websocket.MessageText, ping)
		if typ, b, err := c.Read(t.Context()); err != nil || typ != websocket.MessageText || string(b) != "\r\n" {
			t.Errorf("ping answered with %v %q, %v", typ, b, err)
		}
		c.Write(t.Context(), websocket.MessageText, []byte("hello"))
		w.sh.next(t, "bad")
		c.Write(t.Context(), websocket.MessageText, nil)

		// What is no text is sent as binary.
		f.Send(options("v=0"))
		f.Send(options("\xff"))
		for _, want := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			if typ, _, err := c.Read(t.Context()); err != nil || typ != want {
				t.Errorf("%v, %v; want %v", typ, err, want)
			}
		}
		// A CRLF that nobody asked for is nothing; while a pong is awaited
		// it is one.
		c.Write(t.Context(), websocket.MessageText, pong)
		synctest.Wait()
		w.sh.none(t)
		f.pinged.Store(true)
		c.Write(t.Context(), websocket.MessageText, pong)
		w.sh.next(t, "pong")

		go c.Close(websocket.StatusGoingAway, "")
		if e := w.sh.next(t, "closed"); e.err != io.EOF {
			t.Errorf("closed with %v", e.err)
		}
	})
}

func TestWebSocketTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_, s *Config) { s.MaxHeader, s.MaxBody = 1000, 1000 })
		defer w.close()
		c, err := w.wsClient(t, "sip")
		if err != nil {
			t.Fatal(err)
		}
		w.sh.next(t, "accepted")
		c.Write(t.Context(), websocket.MessageText, options(repeat(3000)))
		if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("closed with %v", err)
		}
		if e := w.sh.next(t, "closed"); !errors.Is(e.err, websocket.ErrMessageTooBig) {
			t.Errorf("closed with %v", e.err)
		}
	})
}

// RFC 7118 §4.1: who does not speak the subprotocol is refused.
func TestWebSocketSubprotocol_RFC7118_4_1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		if _, err := w.wsClient(t, "xmpp"); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("a client without sip: %v", err)
		}
		w.sh.none(t)
	})
	for _, c := range []struct{ name, answer string }{
		{"other subprotocol", ""},
		{"refused", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"},
		{"redirected", "HTTP/1.1 302 Found\r\nLocation: ws://10.0.0.9/\r\nContent-Length: 0\r\n\r\n"},
		{"no HTTP", "220 mail.example.com ESMTP\r\n"},
		{"endless header", "HTTP/1.1 101 Switching Protocols\r\nX: " + strings.Repeat("x", 100_000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				defer w.close()
				l := must(w.b.Listen(t.Context(), "tcp", ":80"))(t)
				defer l.Close()
				go func() {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					defer conn.Close()
					br := bufio.NewReader(conn)
					req, err := http.ReadRequest(br)
					if err != nil {
						t.Error(err)
						return
					}
					if req.Host != "example.com" || req.URL.Path != "/sip" || req.Header.Get("Sec-WebSocket-Protocol") != "sip" {
						t.Errorf("asked for %s at %s, %v", req.URL, req.Host, req.Header)
					}
					if c.answer == "" {
						req.Header.Set("Sec-WebSocket-Protocol", "chat")
						websocket.Accept(&upgrade{conn: conn, br: br, header: make(http.Header)}, req, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
						<-time.After(time.Second) // until the client has closed
						return
					}
					io.WriteString(conn, c.answer)
				}()
				target := w.target(WS, "10.0.0.2:80")
				target.Path = "/sip"
				start := time.Now()
				f, err := w.client.Dial(context.Background(), target)
				if err == nil || time.Since(start) > time.Second {
					t.Errorf("%v, %v after %v", f, err, time.Since(start))
				}
			})
		})
	}
}

func TestWebSocketHost(t *testing.T) {
	for _, c := range []struct {
		p    Proto
		addr string
		host string
		want string
	}{
		{WS, "10.0.0.2:80", "", "10.0.0.2"},
		{WS, "10.0.0.2:8080", "edge.example.com", "edge.example.com:8080"},
		{WSS, "10.0.0.2:443", "edge.example.com", "edge.example.com"},
		{WSS, "10.0.0.2:80", "edge.example.com", "edge.example.com:80"},
		{WS, "[2001:db8::2]:80", "", "[2001:db8::2]"},
	} {
		target := Target{Proto: c.p, Host: c.host}
		target.Addr.UnmarshalText([]byte(c.addr))
		if got := target.httpHost(); got != c.want {
			t.Errorf("%v: %s, want %s", target, got, c.want)
		}
	}
}
