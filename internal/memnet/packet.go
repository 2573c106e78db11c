package memnet

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// receiveQueue bounds the bytes that wait in a UDP socket, with
	// datagramOverhead for each datagram; what comes after is dropped.
	// Both are what Linux does by default.
	receiveQueue     = 208 << 10
	datagramOverhead = 768

	// maxDatagram is the largest UDP payload over IPv4.
	maxDatagram = 65507
)

// packetConn is a UDP socket.
type packetConn struct {
	host  *Host
	local netip.AddrPort // without an IP: both families

	mu     sync.Mutex
	cond   sync.Cond
	queue  []datagram // in order of arrival
	size   int
	closed bool
	readBy waiter
	due    waiter
}

type datagram struct {
	at   time.Time
	from netip.AddrPort
	b    []byte
}

func newPacketConn(h *Host, local netip.AddrPort) *packetConn {
	p := &packetConn{host: h, local: local}
	p.cond.L = &p.mu
	return p
}

// ReadFromUDPAddrPort is ReadFrom without an allocation for the address.
func (p *packetConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.closed:
			return 0, netip.AddrPort{}, p.fail("read", net.ErrClosed)
		case p.readBy.passed():
			return 0, netip.AddrPort{}, p.fail("read", os.ErrDeadlineExceeded)
		}
		if len(p.queue) > 0 {
			if d := p.queue[0]; d.at.After(time.Now()) {
				p.due.set(d.at, &p.cond)
			} else {
				p.queue = p.queue[1:]
				if len(p.queue) == 0 {
					p.queue = nil
				} else {
					p.cond.Broadcast() // for another reader
				}
				p.size -= len(d.b) + datagramOverhead
				return copy(b, d.b), d.from, nil // what does not fit is cut off
			}
		}
		p.cond.Wait()
	}
}

// ReadFrom implements [net.PacketConn].
func (p *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.ReadFromUDPAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteToUDPAddrPort is WriteTo without an allocation for the address.
func (p *packetConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	switch {
	case closed:
		return 0, p.fail("write", net.ErrClosed)
	case len(b) > maxDatagram:
		return 0, p.fail("write", syscall.EMSGSIZE)
	case !to.IsValid() || to.Port() == 0 || to.Addr().IsUnspecified():
		return 0, p.fail("write", syscall.EINVAL)
	}
	if err := p.send(b, to); err != nil {
		return 0, p.fail("write", err)
	}
	return len(b), nil
}

// send takes a datagram through the network.
func (p *packetConn) send(b []byte, to netip.AddrPort) error {
	n := p.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	source := p.local.Addr()
	if !source.IsValid() || source.IsUnspecified() {
		if source.IsValid() && source.Is4() != to.Addr().Is4() {
			return syscall.EAFNOSUPPORT
		}
		var ok bool
		if source, ok = p.host.source(to.Addr()); !ok {
			return syscall.ENETUNREACH
		}
	} else if source.Is4() != to.Addr().Is4() {
		return syscall.EAFNOSUPPORT
	}
	from := netip.AddrPortFrom(source, p.local.Port())
	n.stats.Sent++
	host := n.lookup(p.host, to.Addr())
	if host == nil || n.silent(p.host, source, host, to.Addr()) {
		n.stats.Lost++
		return nil
	}
	path := n.path(p.host, host)
	target := host.packet(to)
	dropped := path.Drop != nil && path.Drop(from, to, b)
	if target == nil || n.chance(path.Loss) || dropped {
		n.stats.Lost++
		return nil
	}
	copies := 1
	if n.chance(path.Duplicate) {
		copies = 2
		n.stats.Duplicated++
	}
	for range copies {
		if !target.arrive(datagram{at: time.Now().Add(n.delay(path)), from: from, b: append([]byte(nil), b...)}) {
			n.stats.Overflowed++
		}
	}
	return nil
}

// arrive queues a datagram and tells whether there was room for it.
func (p *packetConn) arrive(d datagram) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.size+len(d.b)+datagramOverhead > receiveQueue {
		return false
	}
	p.size += len(d.b) + datagramOverhead
	i := len(p.queue)
	for i > 0 && p.queue[i-1].at.After(d.at) {
		i--
	}
	p.queue = append(p.queue, datagram{})
	copy(p.queue[i+1:], p.queue[i:])
	p.queue[i] = d
	p.cond.Broadcast()
	return true
}

// WriteTo implements [net.PacketConn]. It never blocks.
func (p *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	ua, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, p.fail("write", &net.AddrError{Err: "no UDP address", Addr: to.String()})
	}
	return p.WriteToUDPAddrPort(b, ua.AddrPort())
}

// Close implements [net.PacketConn].
func (p *packetConn) Close() error {
	n := p.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.fail("close", net.ErrClosed)
	}
	p.closed = true
	p.queue, p.size = nil, 0
	p.readBy.set(time.Time{}, &p.cond)
	p.due.set(time.Time{}, &p.cond)
	delete(p.host.packets, p.local)
	p.cond.Broadcast()
	return nil
}

func (p *packetConn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: p.LocalAddr(), Err: err}
}

func (p *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(shown(p.local)) }

func (p *packetConn) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

func (p *packetConn) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.fail("set", net.ErrClosed)
	}
	p.readBy.set(t, &p.cond)
	p.cond.Broadcast()
	return nil
}

// SetWriteDeadline has nothing to do: writes never block.
func (p *packetConn) SetWriteDeadline(time.Time) error { return nil }

// connect makes the socket one that talks with a single address.
func (p *packetConn) connect(remote netip.AddrPort) net.Conn { return &connectedPacket{p, remote} }

type connectedPacket struct {
	*packetConn
	remote netip.AddrPort
}

// Read implements [net.Conn]; what comes from other addresses is dropped.
func (c *connectedPacket) Read(b []byte) (int, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil || from == c.remote {
			return n, err
		}
	}
}

func (c *connectedPacket) Write(b []byte) (int, error) { return c.WriteToUDPAddrPort(b, c.remote) }

func (c *connectedPacket) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(c.remote) }
