package transport

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// queueOverhead is what a queued message counts beside its bytes.
const queueOverhead = 64

var ping, pong = []byte("\r\n\r\n"), []byte("\r\n")

// Flow is a connection, or a UDP socket with one remote address. It is safe
// for concurrent use.
type Flow struct {
	t        *Transport
	proto    Proto
	remote   netip.AddrPort
	link     link    // nil for UDP
	sock     *Socket // of UDP
	accepted bool
	pinged   atomic.Bool // a pong is awaited

	used atomic.Int64 // UDP: when it was last used, in Unix nanoseconds
	held bool         // UDP: not to be forgotten; under sock.mu

	mu      sync.Mutex
	local   netip.AddrPort
	viaHost string // of Via, once it was asked for
	queue   [][]byte
	queued  int  // bytes in the queue and with the writer, with overhead
	writing bool // a writer is at work
	err     error
}

// link is a connection as a flow uses it.
type link interface {
	// run reads, and calls receive of the flow, until there is an error.
	run(f *Flow) error
	// write writes messages and waits at most until the deadline.
	write(batch [][]byte, deadline time.Time) error
	// ping sends a ping; f gets the pong.
	ping(f *Flow) error
	// close says goodbye, which abort may cut short, and ends the connection.
	close()
	// abort ends the connection at once.
	abort()
	local() netip.AddrPort
	tls() *tls.ConnectionState
}

// Proto is the flow's protocol.
func (f *Flow) Proto() Proto { return f.proto }

// Reliable tells whether the flow is a connection.
func (f *Flow) Reliable() bool { return f.proto.Reliable() }

// Secure tells whether the flow is protected by TLS.
func (f *Flow) Secure() bool { return f.proto.Secure() }

// Accepted tells whether the flow is a connection that a listener accepted.
func (f *Flow) Accepted() bool { return f.accepted }

// Remote is the peer's address.
func (f *Flow) Remote() netip.AddrPort { return f.remote }

// Local is this side's address. For a UDP socket on all addresses it is the
// one that leads to the peer, as far as that is known.
func (f *Flow) Local() netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.local.IsValid() {
		f.local = f.sock.source(f.remote)
	}
	return f.local
}

// Via is the sent-by for a Via header field: an address literal, in brackets
// if IPv6, and a port.
func (f *Flow) Via() (host string, port int) {
	l := f.Local()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.viaHost == "" {
		f.viaHost = l.Addr().WithZone("").String()
		if l.Addr().Is6() {
			f.viaHost = "[" + f.viaHost + "]"
		}
	}
	return f.viaHost, int(l.Port())
}

// MTU is the size of the largest request that should be sent on the flow, in
// bytes, or 0 if there is no bound: over UDP, where the path's MTU is not
// known, 1,300 (RFC 3261 §18.1.1).
func (f *Flow) MTU() int {
	if f.proto == UDP {
		return 1300
	}
	return 0
}

// TLS is the state of the TLS connection; nil if there is none.
func (f *Flow) TLS() *tls.ConnectionState {
	if f.link == nil {
		return nil
	}
	return f.link.tls()
}

// Err is why the flow has ended; nil if it has not.
func (f *Flow) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Send sends a message. On a connection it queues the message, which the caller
// must not change any more, and never waits; an error means that the flow has
// ended or, as ErrQueueFull, does now. On UDP the message is the caller's again
// when Send returns, with the system's error, or ErrTooLarge above 65,507 bytes.
func (f *Flow) Send(b []byte) error {
	if f.link == nil {
		return f.sock.send(f, EventMessage, b)
	}
	return f.enqueue(EventMessage, b)
}

// SendPing sends a keep-alive: CRLFCRLF (RFC 5626 §3.5.1), which on UDP nobody
// answers, or a Ping frame on a WebSocket, which every peer answers (RFC 7118
// §6). The handler gets the pong.
func (f *Flow) SendPing() error {
	if f.link == nil {
		return f.sock.send(f, EventPing, ping)
	}
	f.pinged.Store(true)
	return f.link.ping(f)
}

// SendSTUN sends a Binding request on a UDP flow (RFC 5626 §3.5.2). The handler
// gets the answer.
func (f *Flow) SendSTUN(id [12]byte) error {
	if f.link != nil {
		return errors.New("transport: STUN is for UDP")
	}
	return f.sock.send(f, EventSTUN, bindingRequest(id))
}

func (f *Flow) enqueue(kind EventKind, b []byte) error {
	f.mu.Lock()
	if f.err != nil {
		defer f.mu.Unlock()
		return f.err
	}
	if f.queued+len(b)+queueOverhead > f.t.cfg.MaxQueue {
		f.mu.Unlock()
		f.Close(ErrQueueFull)
		return ErrQueueFull
	}
	f.queued += len(b) + queueOverhead
	f.queue = append(f.queue, b)
	if !f.writing {
		f.writing = true
		// The reader still runs, so Close cannot be past its wait.
		f.t.wg.Go(f.write)
	}
	if f.t.cfg.Tap != nil {
		// Shown before it is written, so that no answer is shown first.
		f.t.cfg.Tap(Event{
			Time: time.Now(), Flow: f, Proto: f.proto, Local: f.local, Remote: f.remote,
			Out: true, Kind: kind, Data: b,
		})
	}
	f.mu.Unlock()
	return nil
}

// write is the writer: it ends when there is nothing left to write.
func (f *Flow) write() {
	done := 0
	for {
		f.mu.Lock()
		f.queued -= done
		if len(f.queue) == 0 {
			f.writing = false
			closing := f.err != nil
			f.mu.Unlock()
			if closing {
				f.link.close()
			}
			return
		}
		batch := f.queue
		f.queue, done = nil, f.queued
		f.mu.Unlock()
		if err := f.link.write(batch, time.Now().Add(f.t.cfg.WriteTimeout)); err != nil {
			f.end(err, false)
			f.link.abort() // also if it was closing
			f.mu.Lock()
			f.queue, f.writing = nil, false
			f.mu.Unlock()
			return
		}
	}
}

// Close ends the flow. With nil it ends politely, after what is queued was
// written, within two seconds; with an error at once. It does not wait. A UDP
// flow is forgotten: what comes from its peer is a new one's.
func (f *Flow) Close(err error) {
	if f.link == nil {
		f.sock.forget(f, err)
		return
	}
	if err == nil {
		f.end(ErrClosed, true)
	} else {
		f.end(err, false)
	}
}

// end closes a connection for a reason, unless it has ended before. polite:
// after what is queued.
func (f *Flow) end(reason error, polite bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return
	}
	f.err = reason
	if !polite {
		f.queue = nil
		f.link.abort()
		return
	}
	time.AfterFunc(closeTimeout, f.link.abort)
	if !f.writing { // otherwise the writer does it
		f.t.wg.Go(f.link.close)
	}
}

// run is the reader of a connection.
func (f *Flow) run() {
	err := f.link.run(f)
	var framing *sipwire.FramingError
	switch {
	case errors.As(err, &framing):
		f.refuse(framing)
	case f.accepted && f.t.cfg.IdleTimeout > 0 && errors.Is(err, os.ErrDeadlineExceeded):
		f.end(ErrIdle, true)
	default:
		f.end(err, false)
	}
	f.t.remove(f)
	f.t.h.Closed(f, f.Err())
}

// refuse ends a connection on which the borders of messages are lost. A
// request whose header section could be read is answered first, here, because
// nobody else could before the connection closes.
func (f *Flow) refuse(lost *sipwire.FramingError) {
	if lost.Head != nil {
		f.tap(false, EventMessage, lost.Head)
		var bad *sipwire.BadMessage
		if _, err := sipwire.Parse(lost.Head, true); errors.As(err, &bad) {
			if res := bad.Response(rand.Text()[:10]); res != nil {
				f.enqueue(EventMessage, sipwire.Append(nil, res)) //nolint:errcheck // it ends anyway
			}
		}
	}
	f.end(lost, true)
}

// receive takes a message that has arrived.
func (f *Flow) receive(data []byte, stream bool) {
	if f.link != nil && f.Err() != nil {
		return // closed by this side; the reader does not know yet
	}
	f.tap(false, EventMessage, data)
	m, err := sipwire.Parse(data, stream)
	if err != nil {
		var bad *sipwire.BadMessage
		if !errors.As(err, &bad) {
			bad = &sipwire.BadMessage{Reason: err.Error()}
		}
		f.t.h.Bad(f, bad)
		return
	}
	f.t.h.Message(f, m, data)
}

// receiveCRLF takes a CRLF between messages. Which of a ping's two halves it
// is, or that it is a pong, cannot be told from the stream alone: while a pong
// is awaited it is the pong; otherwise every second one makes a ping (RFC 5626
// §4.4.1).
func (f *Flow) receiveCRLF(second bool) {
	switch {
	case f.pinged.Swap(false):
		f.tap(false, EventPong, pong)
		f.t.h.Pong(f)
	case second:
		f.tap(false, EventPing, ping)
		f.enqueue(EventPong, pong) //nolint:errcheck // a flow that has ended needs no pong
	}
}

// remove takes a connection that has ended out of the books.
func (t *Transport) remove(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.flows, f)
	if f.accepted {
		t.accepted--
	}
}
