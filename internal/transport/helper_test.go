package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/certcheck"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

var protos = []Proto{UDP, TCP, TLS, WS, WSS}

// event is what a recorder was told.
type event struct {
	what   string // accepted, message, bad, pong, stun, closed
	f      *Flow
	text   string // of a message
	status int    // of a bad one
	mapped netip.AddrPort
	err    error
}

// recorder is a Handler that hands everything to the test. Its channel is
// unbuffered if block is set, so that readers wait.
type recorder struct {
	events chan event
	closed map[*Flow]int
	mu     sync.Mutex
}

func newRecorder(size int) *recorder {
	return &recorder{events: make(chan event, size), closed: make(map[*Flow]int)}
}

func (r *recorder) Accepted(f *Flow) { r.events <- event{what: "accepted", f: f} }

func (r *recorder) Message(f *Flow, m sipgo.Message, raw []byte) {
	if m == nil {
		panic("no message")
	}
	r.events <- event{what: "message", f: f, text: string(raw)}
}

func (r *recorder) Bad(f *Flow, bad *sipwire.BadMessage) {
	r.events <- event{what: "bad", f: f, status: bad.Status, err: bad}
}

func (r *recorder) Pong(f *Flow) { r.events <- event{what: "pong", f: f} }

func (r *recorder) STUN(f *Flow, id [12]byte, mapped netip.AddrPort, err error) {
	r.events <- event{what: "stun", f: f, text: string(id[:]), mapped: mapped, err: err}
}

func (r *recorder) Closed(f *Flow, err error) {
	r.mu.Lock()
	r.closed[f]++
	n := r.closed[f]
	r.mu.Unlock()
	if n > 1 {
		panic("Closed came twice")
	}
	r.events <- event{what: "closed", f: f, err: err}
}

// next is the next event, which must be of a kind.
func (r *recorder) next(t *testing.T, what string) event {
	t.Helper()
	select {
	case e := <-r.events:
		if e.what != what {
			t.Fatalf("got %s (%q, %v), want %s", e.what, e.text, e.err, what)
		}
		return e
	case <-t.Context().Done():
		t.Fatalf("the test ended, want %s", what)
		panic("unreachable")
	}
}

// none checks that nothing came. Everything must be blocked (synctest.Wait).
func (r *recorder) none(t *testing.T) {
	t.Helper()
	select {
	case e := <-r.events:
		t.Fatalf("got %s (%q, %v)", e.what, e.text, e.err)
	default:
	}
}

// options is a small request that its body makes distinguishable.
func options(body string) []byte {
	return fmt.Appendf(nil, "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK%d\r\n"+
		"Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: a\r\n"+
		"CSeq: 1 OPTIONS\r\nContent-Length: %d\r\n\r\n%s", len(body), len(body), body)
}

// world is a network with two hosts, each of which runs a Transport.
type world struct {
	n              *memnet.Network
	a, b           *memnet.Host
	client, server *Transport
	ch, sh         *recorder
	ca             *testca.CA
	mu             sync.Mutex
	seen           []string // what the client's tap saw
}

const domain = "example.com"

// newWorld makes a world whose server has a certificate for example.com.
func newWorld(t *testing.T, adjust func(client, server *Config)) *world {
	t.Helper()
	w := &world{n: memnet.New(), ch: newRecorder(1000), sh: newRecorder(1000)}
	w.a, w.b = w.n.Host("10.0.0.1", "2001:db8::1"), w.n.Host("10.0.0.2", "2001:db8::2")
	w.ca = must(testca.NewCA(time.Now()))(t)
	cert := must(w.ca.Issue(testca.Template{URIs: []string{"sip:" + domain}}))(t)
	cc, sc := hostConfig(w.a), hostConfig(w.b)
	sc.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	cc.Tap = func(e Event) {
		arrow := "<-"
		if e.Out {
			arrow = "->"
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, fmt.Sprintf("%s %d %s %s %d", e.Proto, e.Kind, arrow, e.Remote.Addr(), len(e.Data)))
	}
	if adjust != nil {
		adjust(&cc, &sc)
	}
	w.client, w.server = New(cc, w.ch), New(sc, w.sh)
	return w
}

func hostConfig(h *memnet.Host) Config {
	return Config{Dial: h.Dial, Listen: h.Listen, ListenPacket: h.ListenPacket}
}

func (w *world) close() {
	w.client.Close()
	w.server.Close()
}

func (w *world) target(p Proto, addr string) Target {
	return Target{
		Proto: p, Addr: netip.MustParseAddrPort(addr), Domain: domain,
		TLS: certcheck.Config(&tls.Config{RootCAs: w.ca.Pool()}, certcheck.Options{Domain: domain}),
	}
}

// connect listens at the server and dials it.
func (w *world) connect(t *testing.T, p Proto, ip string) *Flow {
	t.Helper()
	must(w.server.Listen(t.Context(), p, ":5060"))(t)
	return must(w.client.Dial(t.Context(), w.target(p, net.JoinHostPort(ip, "5060"))))(t)
}

// raw listens at the server without a Transport, for peers that misbehave, and
// returns both ends of a connection.
func (w *world) raw(t *testing.T) (*Flow, net.Conn) {
	t.Helper()
	l := must(w.b.Listen(t.Context(), "tcp", ":7000"))(t)
	defer l.Close()
	f := must(w.client.Dial(t.Context(), w.target(TCP, "10.0.0.2:7000")))(t)
	return f, must(l.Accept())(t)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// timeout is a context that ends in virtual time.
func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func repeat(n int) string { return strings.Repeat("0123456789", n/10) }
