package xmppdial

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ips(list ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

// world is a client with addresses of both families, a clock, and a record of what was dialled when.
type world struct {
	t      testing.TB
	n      *memnet.Network
	client *memnet.Host
	res    *locate.Static
	start  time.Time

	mu     sync.Mutex
	dials  []string // offset and address
	opened []*countedConn
}

func newWorld(t testing.TB) *world {
	n := memnet.New()
	return &world{
		t: t, n: n, client: n.Host("10.0.0.1", "2001:db8::1"), start: time.Now(),
		res: &locate.Static{SRV: map[string][]locate.SRV{}, IP: map[string][]netip.Addr{}, Err: map[string]error{}},
	}
}

// countedConn knows whether it was closed.
type countedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *countedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// dial is the client's Dial.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, fmt.Sprintf("%v %s", time.Since(w.start), address))
	w.mu.Unlock()
	c, err := w.client.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	counted := &countedConn{Conn: c, closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened = append(w.opened, counted)
	return counted, nil
}

func (w *world) dialled() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.dials, ", ")
}

// open is how many connections are.
func (w *world) open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range w.opened {
		select {
		case <-c.closed:
		default:
			n++
		}
	}
	return n
}

// closeAll closes what a test that failed has left open.
func (w *world) closeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.opened {
		c.Close()
	}
}

func (w *world) dialer() *Dialer { return &Dialer{Dial: w.dial, Resolver: w.res} }

// serve runs a server on a new host and lets serve have each connection.
func (w *world) serve(addr, port string, serve func(net.Conn)) *memnet.Host {
	w.t.Helper()
	h := w.n.Host(addr)
	w.listen(h, port, serve)
	return h
}

func (w *world) listen(h *memnet.Host, port string, serve func(net.Conn)) {
	w.t.Helper()
	l := must(h.Listen(w.t.Context(), "tcp", ":"+port))(w.t)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	w.t.Cleanup(func() {
		w.closeAll()
		l.Close()
		wg.Wait()
	})
}

// drain reads until the other end closes.
func drain(c net.Conn) {
	for b := make([]byte, 512); ; {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// authority makes certificates.
type authority struct {
	t  testing.TB
	ca *testca.CA
}

func newAuthority(t testing.TB) *authority {
	return &authority{t, must(testca.NewCA(time.Now()))(t)}
}

func (a *authority) server(tmpl testca.Template) *tls.Config {
	a.t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{must(a.ca.Issue(tmpl))(a.t)}}
}

func (a *authority) client() *tls.Config { return &tls.Config{RootCAs: a.ca.Pool()} }
