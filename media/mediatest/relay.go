package mediatest

import (
	"errors"
	"net"
	"sync"
	"time"
)

// A Relay is an impaired path between a client and a server over datagram
// sockets: what the client sends to the relay goes to the server, and what the
// server answers goes to whoever the client was last. Make it with [NewRelay].
type Relay struct {
	near, far net.PacketConn
	target    net.Addr
	wg        sync.WaitGroup

	mu     sync.Mutex
	client net.Addr
	closed bool
	up     *path
	down   *path
}

// A path is one direction: a link and the goroutine that empties it.
type path struct {
	link *Link
	wake chan struct{} // a packet was sent, or the relay closed; never full for long
	send func([]byte)
}

// NewRelay starts a relay. Clients send to near; the server at target is sent
// to, and answers, from far. up is the way from client to server. The relay
// owns both sockets. It runs until Close, or until a socket fails.
func NewRelay(near, far net.PacketConn, target net.Addr, up, down Impairment) *Relay {
	r := &Relay{near: near, far: far, target: target}
	r.up = &path{NewLink(up), make(chan struct{}, 1), func(b []byte) {
		_, _ = far.WriteTo(b, target) // a datagram that cannot be sent is lost
	}}
	r.down = &path{NewLink(down), make(chan struct{}, 1), func(b []byte) {
		r.mu.Lock()
		client := r.client
		r.mu.Unlock()
		if client != nil {
			_, _ = near.WriteTo(b, client)
		}
	}}
	r.wg.Add(4)
	go r.read(near, r.up, true)
	go r.read(far, r.down, false)
	go r.forward(r.up)
	go r.forward(r.down)
	return r
}

// Addr is where clients send to.
func (r *Relay) Addr() net.Addr { return r.near.LocalAddr() }

// Close stops the relay; packets on their way are lost. It is idempotent.
func (r *Relay) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	err := errors.Join(r.near.Close(), r.far.Close())
	r.up.poke()
	r.down.poke()
	r.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Stats returns what became of the packets from client to server and back.
func (r *Relay) Stats() (up, down LinkStats) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up.link.Stats(), r.down.link.Stats()
}

func (p *path) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (r *Relay) read(conn net.PacketConn, p *path, fromClient bool) {
	defer r.wg.Done()
	defer p.poke()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buf)
		r.mu.Lock()
		if err != nil {
			r.closed = true
			r.mu.Unlock()
			return
		}
		if fromClient {
			r.client = from
		}
		p.link.Send(time.Now(), buf[:n])
		r.mu.Unlock()
		p.poke()
	}
}

func (r *Relay) forward(p *path) {
	defer r.wg.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return
		}
		now := time.Now()
		data := p.link.Receive(now)
		at, ok := p.link.Deadline()
		r.mu.Unlock()
		if data != nil {
			p.send(data)
			continue
		}
		wait := time.Hour
		if ok {
			wait = at.Sub(now)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.wake:
		}
	}
}
