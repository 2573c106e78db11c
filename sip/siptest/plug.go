package siptest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/transport"
)

// plugs are the lab's ends of connections and its UDP sockets, so that a
// connection can fall silent without a FIN: what the peer sends vanishes, and
// so does what is sent to him.
type plugs struct {
	mu    sync.Mutex
	conns map[netip.AddrPort]*plug // by the peer's address
	cut   map[netip.AddrPort]bool  // on UDP
	held  []net.Conn               // cut, to be closed at the end
	ended bool
}

type (
	listenFunc       = func(ctx context.Context, network, addr string) (net.Listener, error)
	listenPacketFunc = func(ctx context.Context, network, addr string) (net.PacketConn, error)
)

func (p *plugs) listen(listen listenFunc) listenFunc {
	if listen == nil {
		listen = new(net.ListenConfig).Listen
	}
	return func(ctx context.Context, network, addr string) (net.Listener, error) {
		l, err := listen(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &plugListener{l, p}, nil
	}
}

func (p *plugs) listenPacket(listen listenPacketFunc) listenPacketFunc {
	if listen == nil {
		listen = new(net.ListenConfig).ListenPacket
	}
	return func(ctx context.Context, network, addr string) (net.PacketConn, error) {
		pc, err := listen(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &plugPacketConn{pc, p}, nil
	}
}

// maxCut bounds the addresses that are cut off on UDP.
const maxCut = 4096

// silence cuts a peer off, and tells whether there was one.
func (p *plugs) silence(at place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.proto == transport.UDP {
		if p.cut == nil || len(p.cut) >= maxCut {
			p.cut = make(map[netip.AddrPort]bool)
		}
		p.cut[at.remote] = true
		return true
	}
	c := p.conns[at.remote]
	if c == nil {
		return false
	}
	c.cutOnce.Do(func() { close(c.cut) })
	// Whoever reads at this moment is woken up, to wait as one who is told
	// nothing.
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	return true
}

// hangUp closes a peer's connection, and tells whether there was one.
func (p *plugs) hangUp(at place) bool {
	p.mu.Lock()
	c := p.conns[at.remote]
	p.mu.Unlock()
	if c == nil || !at.proto.Reliable() {
		return false
	}
	c.Close()
	return true
}

// places are the connections there are.
func (p *plugs) places() []place {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ps []place
	for remote := range p.conns {
		ps = append(ps, place{transport.TCP, remote}) // or TLS, which is the same here
	}
	return ps
}

func (p *plugs) isCut(a net.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.cut) > 0 && p.cut[addrPortOf(a)]
}

// unplug really closes what was cut.
func (p *plugs) unplug() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for _, c := range p.held {
		c.Close()
	}
	p.held = nil
}

func addrPortOf(a net.Addr) netip.AddrPort {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

type plugListener struct {
	net.Listener
	p *plugs
}

func (l *plugListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &plug{Conn: conn, p: l.p, remote: addrPortOf(conn.RemoteAddr()), cut: make(chan struct{}), closed: make(chan struct{})}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	if l.p.conns == nil {
		l.p.conns = make(map[netip.AddrPort]*plug)
	}
	l.p.conns[c.remote] = c
	return c, nil
}

// plug is the lab's end of a connection.
type plug struct {
	net.Conn
	p         *plugs
	remote    netip.AddrPort
	cut       chan struct{} // closed when it falls silent
	cutOnce   sync.Once
	closed    chan struct{}
	closeOnce sync.Once
}

func (c *plug) isCut() bool {
	select {
	case <-c.cut:
		return true
	default:
		return false
	}
}

// Read hears nothing more once the connection is cut.
func (c *plug) Read(b []byte) (int, error) {
	if !c.isCut() {
		n, err := c.Conn.Read(b)
		if !c.isCut() {
			return n, err
		}
	}
	<-c.closed
	return 0, net.ErrClosed
}

// Write loses what is written once the connection is cut.
func (c *plug) Write(b []byte) (int, error) {
	if c.isCut() {
		select {
		case <-c.closed:
			return 0, net.ErrClosed
		default:
			return len(b), nil
		}
	}
	return c.Conn.Write(b)
}

// SetDeadline leaves the deadline alone that silence has set.
func (c *plug) SetDeadline(t time.Time) error {
	if c.isCut() {
		return c.Conn.SetWriteDeadline(t)
	}
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline does too.
func (c *plug) SetReadDeadline(t time.Time) error {
	if c.isCut() {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// Close says nothing to the peer of a connection that is cut, not even a FIN.
func (c *plug) Close() error {
	err := os.ErrClosed
	c.closeOnce.Do(func() {
		close(c.closed)
		c.p.mu.Lock()
		if c.p.conns[c.remote] == c {
			delete(c.p.conns, c.remote)
		}
		hold := c.isCut() && !c.p.ended
		if hold {
			c.p.held = append(c.p.held, c.Conn)
		}
		c.p.mu.Unlock()
		err = nil
		if !hold {
			err = c.Conn.Close()
		}
	})
	return err
}

type plugPacketConn struct {
	net.PacketConn
	p *plugs
}

func (c *plugPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.p.isCut(from) {
			return n, from, err
		}
	}
}

func (c *plugPacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.p.isCut(to) {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}
