package sip

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

// server is a scripted peer: a test reads what a user agent sends and says
// word for word what it gets. It lives at example.com on an in-memory network
// and speaks TLS with a certificate made in the bubble, or TCP.
type server struct {
	t     *testing.T
	net   *memnet.Network
	host  *memnet.Host
	phone *memnet.Host
	ca    *testca.CA
	tls   *tls.Config
	conns chan *conn
	stop  func()
	udp   bool // see listenUDP
}

// conn is a connection of the user agent's. Messages wait in it in order.
type conn struct {
	t     *testing.T
	c     net.Conn
	in    chan sipgo.Message
	pings atomic.Int32
	mute  atomic.Bool // no pongs
	mu    sync.Mutex
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, net: memnet.New(), conns: make(chan *conn, 8)}
	s.host, s.phone = s.net.Host("10.0.0.2", "10.0.0.3"), s.net.Host("10.0.0.1")
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.ca = ca
	cert := s.issue(testca.Template{URIs: []string{"sip:example.com"}})
	s.tls = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.listen("10.0.0.2:5061", true)
	return s
}

func (s *server) issue(tmpl testca.Template) tls.Certificate {
	cert, err := s.ca.Issue(tmpl)
	if err != nil {
		s.t.Fatal(err)
	}
	return cert
}

// listen serves on an address until stop or the end of the test.
func (s *server) listen(addr string, secure bool) {
	l, err := s.host.Listen(s.t.Context(), "tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				if secure {
					tc := tls.Server(c, s.tls)
					if tc.HandshakeContext(s.t.Context()) != nil {
						c.Close()
						return
					}
					c = tc
				}
				conn := &conn{t: s.t, c: c, in: make(chan sipgo.Message, 64)}
				s.conns <- conn
				conn.read()
			})
		}
	})
	s.stop = func() { l.Close() }
	s.t.Cleanup(func() {
		l.Close()
		for {
			select {
			case c := <-s.conns:
				c.c.Close()
			default:
				wg.Wait()
				return
			}
		}
	})
}

func (s *server) config() *Config {
	proxy := "sip:example.com:5061;transport=tls"
	if s.udp {
		proxy = "sip:example.com:5061;transport=udp"
	}
	return &Config{
		Account: Account{AOR: "sip:alice@example.com", Password: "secret", Proxy: proxy},
		TLS:     &TLSConfig{RootCAs: s.ca.Pool()},
		Network: Network{
			Dial: s.phone.Dial, Listen: s.phone.Listen, ListenPacket: s.phone.ListenPacket,
			Resolver: &locate.Static{IP: map[string][]netip.Addr{"example.com": {netip.MustParseAddr("10.0.0.2")}}},
		},
	}
}

// accept waits for a connection.
func (s *server) accept() *conn {
	s.t.Helper()
	select {
	case c := <-s.conns:
		s.t.Cleanup(func() { c.c.Close() })
		return c
	case <-time.After(time.Hour):
		s.t.Fatal("no connection came")
		return nil
	}
}

func (c *conn) read() {
	var f sipwire.Framer
	buf := make([]byte, 4096)
	for {
		n, err := c.c.Read(buf)
		if err != nil {
			close(c.in)
			return
		}
		_, _ = f.Write(buf[:n])
		for {
			frame, err := f.Next()
			if err != nil {
				c.t.Error("framing:", err)
				return
			}
			if frame.Kind == sipwire.NoFrame {
				break
			}
			switch frame.Kind {
			case sipwire.Ping:
				if !c.mute.Load() {
					c.write("\r\n")
				}
				c.pings.Add(1)
			case sipwire.Message:
				msg, err := sipwire.Parse(bytes.Clone(frame.Data), true)
				if err != nil {
					c.t.Errorf("the user agent sent what cannot be read: %v\n%s", err, frame.Data)
					continue
				}
				c.in <- msg
			}
		}
	}
}

func (c *conn) write(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.c.Write([]byte(s))
}

// request waits for a request of this method; anything else in between fails
// the test.
func (c *conn) request(method string) *sipgo.Request {
	c.t.Helper()
	select {
	case m, ok := <-c.in:
		req, isReq := m.(*sipgo.Request)
		if !ok || !isReq || string(req.Method) != method {
			c.t.Fatalf("got %v, want %s", m, method)
		}
		return req
	case <-time.After(2 * time.Hour):
		c.t.Fatalf("no %s came", method)
		return nil
	}
}

// response waits for a response with this status.
func (c *conn) response(status int) *sipgo.Response {
	c.t.Helper()
	select {
	case m, ok := <-c.in:
		res, isRes := m.(*sipgo.Response)
		if !ok || !isRes || res.StatusCode != status {
			c.t.Fatalf("got %v, want %d", m, status)
		}
		return res
	case <-time.After(2 * time.Hour):
		c.t.Fatalf("no %d came", status)
		return nil
	}
}

// quiet fails the test if anything comes within d.
func (c *conn) quiet(d time.Duration) {
	c.t.Helper()
	select {
	case m, ok := <-c.in:
		if ok {
			c.t.Fatalf("got %v, want silence", m)
		}
		c.t.Fatal("the connection was closed")
	case <-time.After(d):
	}
}

// reply answers a request; lines are further header fields.
func (c *conn) reply(req *sipgo.Request, status int, lines ...string) {
	tag := ""
	if sipwire.ToTag(req) == "" {
		tag = "server"
	}
	res := sipwire.ResponseTo(req, status, "", tag)
	c.write(withLines(res, "", lines))
}

func withLines(m sipgo.Message, body string, lines []string) string {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		m.AppendHeader(sipgo.NewHeader(name, strings.TrimSpace(value)))
	}
	if body != "" {
		m.SetBody([]byte(body))
	}
	return string(sipwire.Append(nil, m))
}

// contactOf is the Contact of a REGISTER as it stands.
func contactOf(req *sipgo.Request) string { return req.Contact().Value() }

// granted answers a REGISTER with 200.
func (c *conn) granted(req *sipgo.Request, expires int, lines ...string) {
	c.reply(req, 200, append([]string{fmt.Sprintf("Contact: %s;expires=%d", contactOf(req), expires)}, lines...)...)
}

// start makes the user agent and lets it register in the background.
func start(t *testing.T, cfg *Config) (ua *UA, outcome <-chan error) {
	t.Helper()
	ua, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ch := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := ua.Register(t.Context())
		ch <- err
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		ua.Shutdown(ctx)
		<-done
	})
	return ua, ch
}

// registered brings up a user agent that the scripted registrar has granted
// its binding.
func registered(t *testing.T, s *server, cfg *Config, expires int, lines ...string) (*UA, *conn) {
	t.Helper()
	ua, outcome := start(t, cfg)
	c := s.accept()
	c.granted(c.request("REGISTER"), expires, lines...)
	if err := <-outcome; err != nil {
		t.Fatal(err)
	}
	return ua, c
}

type (
	sipMessage = sipgo.Message
	sipRequest = sipgo.Request
)

func contactOfResponse(r *sipgo.Response) string { return r.Contact().Value() }
