package memnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// streamBuffer bounds what is on its way in one direction of a connection, as
// a socket's buffers do. A write that does not fit waits.
const streamBuffer = 256 << 10

// listener is a host's accepting socket. Its fields are under the network's
// lock, which cond uses.
type listener struct {
	host     *Host
	local    netip.AddrPort
	cond     sync.Cond
	waiting  []*conn
	room     chan struct{} // closed and replaced when waiting shrinks
	closed   bool
	deadline waiter
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	n := l.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case l.closed:
			return nil, l.fail(net.ErrClosed)
		case l.deadline.passed():
			return nil, l.fail(os.ErrDeadlineExceeded)
		case len(l.waiting) > 0:
			c := l.waiting[0]
			l.waiting = l.waiting[1:]
			close(l.room)
			l.room = make(chan struct{})
			return c, nil
		}
		l.cond.Wait()
	}
}

func (l *listener) fail(err error) error {
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: err}
}

// SetDeadline bounds Accept as [net.TCPListener.SetDeadline] does.
func (l *listener) SetDeadline(t time.Time) error {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	l.deadline.set(t, &l.cond)
	return nil
}

// Close implements [net.Listener]. Connections that nobody accepted are reset.
func (l *listener) Close() error {
	n := l.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return l.fail(net.ErrClosed)
	}
	l.closed = true
	l.deadline.set(time.Time{}, &l.cond)
	delete(l.host.listens, l.local)
	for _, c := range l.waiting {
		n.forget(c)
		c.in.reset()
		c.out.reset()
	}
	l.waiting = nil
	close(l.room)
	l.cond.Broadcast()
	return nil
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(shown(l.local)) }

// conn is one end of a connection.
type conn struct {
	net           *Network
	from, to      *Host
	local, remote netip.AddrPort
	in, out       *half
}

// forget takes both ends out of the network's books. The caller holds mu.
func (n *Network) forget(c *conn) {
	delete(n.conns, connKey{c.local, c.remote})
	delete(n.conns, connKey{c.remote, c.local})
}

func (c *conn) Read(b []byte) (int, error) {
	k, err := c.in.read(b)
	if err != nil && err != io.EOF {
		err = c.fail("read", err)
	}
	return k, err
}

// Write implements [net.Conn]. It returns when everything is on its way, which
// does not say that it arrived.
func (c *conn) Write(b []byte) (int, error) {
	c.net.mu.Lock()
	delay := c.net.delay(c.net.path(c.from, c.to))
	c.net.mu.Unlock()
	k, err := c.out.write(b, delay)
	if err != nil {
		err = c.fail("write", err)
	}
	return k, err
}

// CloseWrite sends a FIN: the other end reads what was written and then EOF.
func (c *conn) CloseWrite() error {
	c.net.mu.Lock()
	delay := c.net.delay(c.net.path(c.from, c.to))
	c.net.mu.Unlock()
	if err := c.out.fin(delay); err != nil {
		return c.fail("close", err)
	}
	return nil
}

// Close implements [net.Conn]. The other end reads what was written and then
// EOF; its own writes fail.
func (c *conn) Close() error {
	if !c.in.closeRead() {
		return c.fail("close", net.ErrClosed)
	}
	c.net.mu.Lock()
	delay := c.net.delay(c.net.path(c.from, c.to))
	peerClosed := c.out.readerGone()
	if peerClosed {
		c.net.forget(c)
	}
	c.net.mu.Unlock()
	c.out.closeWrite(delay)
	return nil
}

func (c *conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error  { return c.in.setDeadline(t, &c.in.readBy) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.out.setDeadline(t, &c.out.writeBy) }

// half is one direction of a connection: a queue between the end that writes
// and the end that reads.
type half struct {
	mu     sync.Mutex
	cond   sync.Cond
	queue  []segment
	size   int  // bytes in queue
	silent bool // what is under way is held

	broken      bool // reset
	finished    bool // a FIN is queued or was read
	writeClosed bool // the writing end is closed
	readClosed  bool // the reading end is closed

	readBy, writeBy waiter
	due             waiter // the first segment's arrival
}

// segment is what one write put under way, or a FIN.
type segment struct {
	at   time.Time
	held bool
	b    []byte // empty for a FIN
}

func newHalf() *half {
	h := &half{}
	h.cond.L = &h.mu
	return h
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readClosed:
			return 0, net.ErrClosed
		case h.broken:
			return 0, syscall.ECONNRESET
		case h.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		}
		if len(h.queue) > 0 && !h.queue[0].held {
			if s := &h.queue[0]; s.at.After(time.Now()) {
				h.due.set(s.at, &h.cond)
			} else if len(s.b) == 0 {
				return 0, io.EOF // the FIN stays: so does EOF
			} else {
				return h.take(b), nil
			}
		}
		h.cond.Wait()
	}
}

// take fills b from the segments that have arrived.
func (h *half) take(b []byte) int {
	k, now := 0, time.Now()
	for k < len(b) && len(h.queue) > 0 {
		s := &h.queue[0]
		if s.held || len(s.b) == 0 || s.at.After(now) {
			break
		}
		c := copy(b[k:], s.b)
		k, s.b = k+c, s.b[c:]
		if len(s.b) > 0 {
			break
		}
		h.queue = h.queue[1:]
	}
	if len(h.queue) == 0 {
		h.queue = nil
	}
	h.size -= k
	h.cond.Broadcast()
	return k
}

func (h *half) write(b []byte, delay time.Duration) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	written := 0
	for {
		switch {
		case h.writeClosed:
			return written, net.ErrClosed
		case h.broken:
			return written, syscall.ECONNRESET
		case h.finished, h.readClosed && !h.silent:
			return written, syscall.EPIPE
		case h.writeBy.passed():
			return written, os.ErrDeadlineExceeded
		case written == len(b):
			return written, nil
		}
		if room := min(streamBuffer-h.size, len(b)-written); room > 0 {
			h.push(append([]byte(nil), b[written:written+room]...), delay)
			written += room
			if written == len(b) {
				return written, nil
			}
		}
		h.cond.Wait()
	}
}

// push puts a segment under way. Streams keep their order, so it arrives no
// sooner than the one before.
func (h *half) push(b []byte, delay time.Duration) {
	at := time.Now().Add(delay)
	if k := len(h.queue); k > 0 && h.queue[k-1].at.After(at) {
		at = h.queue[k-1].at
	}
	h.queue = append(h.queue, segment{at: at, held: h.silent, b: b})
	h.size += len(b)
	h.cond.Broadcast()
}

func (h *half) fin(delay time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.writeClosed:
		return net.ErrClosed
	case h.broken:
		return syscall.ECONNRESET
	}
	h.finish(delay)
	return nil
}

func (h *half) finish(delay time.Duration) {
	if !h.finished && !h.broken {
		h.finished = true
		h.push(nil, delay)
	}
}

// closeRead is the reading end's part in Close: nobody will read what is on
// its way. It tells whether the end was open.
func (h *half) closeRead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readClosed {
		return false
	}
	h.readClosed = true
	h.queue, h.size = nil, 0
	h.readBy.set(time.Time{}, &h.cond)
	h.due.set(time.Time{}, &h.cond)
	h.cond.Broadcast()
	return true
}

// closeWrite is the writing end's part in Close.
func (h *half) closeWrite(delay time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.finish(delay)
	h.writeClosed = true
	h.writeBy.set(time.Time{}, &h.cond)
	h.cond.Broadcast()
}

func (h *half) readerGone() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.readClosed
}

func (h *half) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = true
	h.queue, h.size = nil, 0
	h.cond.Broadcast()
}

// setSilent holds what has not arrived yet, or sends it on its way again.
func (h *half) setSilent(silent bool, delay time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if silent == h.silent {
		return
	}
	h.silent = silent
	now := time.Now()
	for i := range h.queue {
		switch s := &h.queue[i]; {
		case silent && s.at.After(now):
			s.held = true
		case !silent && s.held:
			s.held, s.at = false, now.Add(delay)
		}
	}
	h.cond.Broadcast()
}

func (h *half) setDeadline(t time.Time, w *waiter) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w == &h.readBy && h.readClosed || w == &h.writeBy && h.writeClosed {
		return net.ErrClosed
	}
	w.set(t, &h.cond)
	h.cond.Broadcast()
	return nil
}

// waiter wakes those who wait on a condition when a time has come. It is used
// under the condition's lock.
type waiter struct {
	at    time.Time
	timer *time.Timer
}

// set makes the waiter broadcast at t; the zero time stops it.
func (w *waiter) set(t time.Time, cond *sync.Cond) {
	if t.Equal(w.at) && !t.IsZero() && time.Now().Before(t) {
		return // as it is
	}
	w.at = t
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	if d := time.Until(t); !t.IsZero() && d > 0 {
		w.timer = time.AfterFunc(d, func() {
			cond.L.Lock()
			defer cond.L.Unlock()
			cond.Broadcast()
		})
	}
}

func (w *waiter) passed() bool { return !w.at.IsZero() && !time.Now().Before(w.at) }
