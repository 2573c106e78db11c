// Package transport carries SIP messages: over UDP, over TCP and TLS
// connections, and over WebSockets (RFC 3261 §18, RFC 5626, RFC 7118).
//
// A [Flow] is one connection, or one remote address of a UDP socket. Flows are
// dialled ([Transport.Dial], [Transport.DialAny]), accepted by listeners
// ([Transport.Listen]) or named on a socket ([Socket.Flow]). What arrives goes
// to the [Handler]; what leaves goes through [Flow.Send], which never waits.
//
// Goroutines: one reader per connection and per UDP socket, and a writer while
// a connection has something to write. An idle connection holds no buffers but
// a small one to read into.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Proto is a transport protocol by its name in URIs, in lower case.
type Proto string

// The protocols there are.
const (
	UDP Proto = "udp"
	TCP Proto = "tcp"
	TLS Proto = "tls"
	WS  Proto = "ws"
	WSS Proto = "wss"
)

// Secure tells whether the protocol runs over TLS.
func (p Proto) Secure() bool { return p == TLS || p == WSS }

// Reliable tells whether the protocol runs over connections.
func (p Proto) Reliable() bool { return p != UDP }

// Handler takes what arrives. Its methods are called on readers' goroutines,
// in order for each flow. They may block, which makes the flow's peer wait.
type Handler interface {
	// Accepted tells of a new connection on a listener, before anything
	// else does of that flow.
	Accepted(f *Flow)
	// Message takes a message. raw is what was received, valid only during
	// the call.
	Message(f *Flow, m sipgo.Message, raw []byte)
	// Bad takes what is no valid message.
	Bad(f *Flow, bad *sipwire.BadMessage)
	// Pong is the answer to a ping.
	Pong(f *Flow)
	// STUN is the answer to a Binding request: the mapped address or, as a
	// *STUNError, what the server found wrong.
	STUN(f *Flow, id [12]byte, mapped netip.AddrPort, err error)
	// Closed tells that a connection has ended: io.EOF if the peer closed
	// it, ErrClosed after Close(nil), the error of Close, or what went
	// wrong. It comes once for each connection that was dialled or
	// accepted, after everything else. UDP flows do not end.
	Closed(f *Flow, err error)
}

// Config is what a Transport is made with. The zero value uses the system's
// network and the bounds named here.
type Config struct {
	// Dial, Listen and ListenPacket are the network: "tcp" to dial and
	// listen, "udp" to listen for packets and, without sending any, to
	// find out the local address that leads somewhere. Nil: package net's.
	Dial         func(ctx context.Context, network, addr string) (net.Conn, error)
	Listen       func(ctx context.Context, network, addr string) (net.Listener, error)
	ListenPacket func(ctx context.Context, network, addr string) (net.PacketConn, error)

	// TLS is the server side's configuration, for listeners of TLS and WSS.
	TLS *tls.Config

	// Tap, if not nil, sees everything that is sent and received. It must
	// not block and must not use the flow.
	Tap func(Event)

	// Logger gets what nobody else is told. Nil: nothing.
	Logger *slog.Logger

	// AttemptTimeout bounds one attempt to dial, handshakes included; and
	// AttemptDelay is how long DialAny waits for one before it starts the
	// next beside it (RFC 8305 §5). 0: 10 s, 250 ms.
	AttemptTimeout time.Duration
	AttemptDelay   time.Duration

	// HandshakeTimeout bounds the handshakes of an accepted connection.
	// 0: 10 s.
	HandshakeTimeout time.Duration
	// IdleTimeout closes an accepted connection on which nothing arrives
	// for so long. 0: never.
	IdleTimeout time.Duration
	// WriteTimeout closes a connection whose peer does not take what is
	// written. 0: 10 s.
	WriteTimeout time.Duration

	// MaxConns bounds the accepted connections; more are closed at once.
	// 0: 16,384.
	MaxConns int
	// MaxQueue bounds the bytes that wait to be written on one connection,
	// with some overhead for each message. 0: 2 MiB.
	MaxQueue int
	// MaxHeader and MaxBody bound a message received on a connection.
	// 0: the Framer's.
	MaxHeader, MaxBody int

	// MaxPeers bounds the remote addresses that a UDP socket remembers, and
	// PeerTimeout is how long it remembers one that is silent. Neither
	// counts for those asked for with Socket.Flow. 0: 16,384; 10 minutes.
	MaxPeers    int
	PeerTimeout time.Duration
	// ReadBuffer is the size of a UDP socket's receive queue in the kernel.
	// 0: the system's.
	ReadBuffer int
}

// closeTimeout bounds the parting words of a connection: what is queued, TLS's
// close_notify, the WebSocket's closing handshake.
const closeTimeout = 2 * time.Second

var (
	// ErrClosed: closed by this side.
	ErrClosed = errors.New("transport: closed")
	// ErrQueueFull: the peer does not take what is sent. It closes the flow.
	ErrQueueFull = errors.New("transport: send queue is full")
	// ErrTooLarge: the message does not fit into a UDP datagram.
	ErrTooLarge = errors.New("transport: message is too large for UDP")
	// ErrIdle: nothing arrived for Config.IdleTimeout.
	ErrIdle = errors.New("transport: connection was idle for too long")
)

// Transport is a set of flows, listeners and sockets. It is safe for
// concurrent use.
type Transport struct {
	cfg    Config
	h      Handler
	log    *slog.Logger
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu       sync.Mutex
	closed   bool
	accepted int // accepted connections
	flows    map[*Flow]struct{}
	listens  map[net.Listener]struct{}
	sockets  []*Socket
	pending  map[net.Conn]struct{} // accepted, in a handshake
	wg       sync.WaitGroup
}

// New returns a Transport that gives what arrives to h.
func New(cfg Config, h Handler) *Transport {
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Listen == nil {
		cfg.Listen = new(net.ListenConfig).Listen
	}
	if cfg.ListenPacket == nil {
		cfg.ListenPacket = new(net.ListenConfig).ListenPacket
	}
	setDefault(&cfg.AttemptTimeout, 10*time.Second)
	setDefault(&cfg.AttemptDelay, 250*time.Millisecond)
	setDefault(&cfg.HandshakeTimeout, 10*time.Second)
	setDefault(&cfg.WriteTimeout, 10*time.Second)
	setDefault(&cfg.PeerTimeout, 10*time.Minute)
	setDefault(&cfg.MaxConns, 16384)
	setDefault(&cfg.MaxQueue, 2<<20)
	setDefault(&cfg.MaxPeers, 16384)
	setDefault(&cfg.MaxHeader, sipwire.DefaultMaxHeader)
	setDefault(&cfg.MaxBody, sipwire.DefaultMaxBody)
	t := &Transport{
		cfg:     cfg,
		h:       h,
		log:     cfg.Logger,
		flows:   make(map[*Flow]struct{}),
		listens: make(map[net.Listener]struct{}),
		pending: make(map[net.Conn]struct{}),
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Close ends everything: listeners and sockets at once, dials with an error,
// connections after what is queued on them was written, for which they have
// two seconds. It returns when all goroutines have ended, so it must not be
// called from a Handler. It is idempotent.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.closed = true
	for l := range t.listens {
		l.Close()
	}
	for c := range t.pending {
		c.Close()
	}
	sockets := t.sockets
	t.sockets = nil
	flows := make([]*Flow, 0, len(t.flows))
	for f := range t.flows {
		flows = append(flows, f)
	}
	t.mu.Unlock()
	t.cancel()
	for _, s := range sockets {
		s.Close()
	}
	for _, f := range flows {
		f.Close(nil)
	}
	t.wg.Wait()
	return nil
}

// start runs fn in a goroutine that Close waits for; not once Close was called.
func (t *Transport) start(fn func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(fn)
	return true
}

// EventKind tells what an Event carries.
type EventKind uint8

// The kinds of events.
const (
	EventMessage EventKind = iota // a SIP message, or what should have been one
	EventPing                     // CRLFCRLF, or a WebSocket's Ping
	EventPong                     // CRLF, or a WebSocket's Pong
	EventSTUN                     // a STUN message
)

// Event is something that was sent or received, decrypted and unwrapped.
type Event struct {
	Time          time.Time
	Flow          *Flow
	Proto         Proto
	Local, Remote netip.AddrPort
	Out           bool
	Kind          EventKind
	Data          []byte // valid only during the call
}

// tap shows an event to who wants to see it.
func (f *Flow) tap(out bool, kind EventKind, data []byte) {
	if f.t.cfg.Tap == nil {
		return
	}
	f.t.cfg.Tap(Event{
		Time: time.Now(), Flow: f, Proto: f.proto, Local: f.Local(), Remote: f.remote,
		Out: out, Kind: kind, Data: data,
	})
}
