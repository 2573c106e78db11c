package memnet

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// Ephemeral ports: those given out for dials and for port 0.
const firstEphemeral, lastEphemeral = 49152, 65535

// backlog is how many connections wait to be accepted before dials hang.
const backlog = 128

// Host is a machine on the network. Its Dial, Listen and ListenPacket have the
// shapes of [net.Dialer.DialContext], [net.ListenConfig.Listen] and
// [net.ListenConfig.ListenPacket]. Each host has 127.0.0.1 and ::1 for itself.
type Host struct {
	net *Network

	// Under net.mu.
	addrs   []netip.Addr
	packets map[netip.AddrPort]*packetConn
	listens map[netip.AddrPort]*listener
	next    int // ports given out so far
}

// Dial connects to an address given as IP:port, over "tcp" or "udp" (or with
// 4 or 6 appended). A TCP dial fails with ECONNREFUSED where nobody listens,
// with ENETUNREACH if the host has no address of the family, and hangs until
// the context ends where nothing answers.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: network, Err: err} }
	proto, remote, err := parse(network, addr)
	if err != nil {
		return nil, fail(err)
	}
	if !remote.Addr().IsValid() || remote.Addr().IsUnspecified() || remote.Port() == 0 {
		return nil, fail(&net.AddrError{Err: "no address to dial", Addr: addr})
	}
	if proto == "udp" {
		h.net.mu.Lock()
		source, ok := h.source(remote.Addr())
		h.net.mu.Unlock()
		if !ok {
			return nil, fail(syscall.ENETUNREACH)
		}
		pc, err := h.bind(netip.AddrPortFrom(source, 0))
		if err != nil {
			return nil, fail(err)
		}
		return pc.connect(remote), nil
	}
	c, err := h.dialStream(ctx, remote)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(remote), Err: err}
	}
	return c, nil
}

func (h *Host) dialStream(ctx context.Context, remote netip.AddrPort) (*conn, error) {
	n := h.net
	travelled := false
	for {
		if err := ctx.Err(); err != nil {
			return nil, err // an expired context is a timeout in the sense of net.Error
		}
		n.mu.Lock()
		source, ok := h.source(remote.Addr())
		if !ok {
			n.mu.Unlock()
			return nil, syscall.ENETUNREACH
		}
		changed := n.changed
		to := n.lookup(h, remote.Addr())
		reached := to != nil && !n.silent(h, source, to, remote.Addr())
		if reached && travelled {
			l := to.listener(remote)
			if l == nil {
				n.mu.Unlock()
				return nil, syscall.ECONNREFUSED
			}
			if len(l.waiting) < backlog {
				near, far, err := n.connect(h, source, to, remote)
				if err == nil {
					l.waiting = append(l.waiting, far)
					l.cond.Signal()
				}
				n.mu.Unlock()
				return near, err
			}
			changed = l.room // full: the SYN is dropped and sent again
		}
		var rtt time.Duration
		if reached && !travelled {
			rtt = n.delay(n.path(h, to)) + n.delay(n.path(to, h))
		}
		n.mu.Unlock()
		if reached && !travelled {
			travelled = true
			if rtt == 0 {
				continue
			}
			t := time.NewTimer(rtt)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// connect makes both ends of a connection. The caller holds mu.
func (n *Network) connect(from *Host, source netip.Addr, to *Host, remote netip.AddrPort) (near, far *conn, err error) {
	var local netip.AddrPort
	for range lastEphemeral - firstEphemeral + 1 {
		local = netip.AddrPortFrom(source, from.ephemeral())
		if n.conns[connKey{local, remote}] == nil {
			break
		}
		local = netip.AddrPort{}
	}
	if !local.IsValid() {
		return nil, nil, syscall.EADDRNOTAVAIL
	}
	out, in := newHalf(), newHalf()
	near = &conn{net: n, from: from, to: to, local: local, remote: remote, in: in, out: out}
	far = &conn{net: n, from: to, to: from, local: remote, remote: local, in: out, out: in}
	n.conns[connKey{local, remote}] = near
	n.conns[connKey{remote, local}] = far
	return near, far, nil
}

// Listen accepts connections on IP:port, or with no IP on every address that
// the host has and will have. Port 0 chooses one.
func (h *Host) Listen(_ context.Context, network, addr string) (net.Listener, error) {
	fail := func(err error) error { return &net.OpError{Op: "listen", Net: network, Err: err} }
	proto, local, err := parse(network, addr)
	if err != nil {
		return nil, fail(err)
	}
	if proto != "tcp" {
		return nil, fail(net.UnknownNetworkError(network))
	}
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	local, err = h.choose(local, func(ap netip.AddrPort) bool { return h.listens[ap] != nil })
	if err != nil {
		return nil, fail(err)
	}
	l := &listener{host: h, local: local, room: make(chan struct{})}
	l.cond.L = &n.mu
	h.listens[local] = l
	return l, nil
}

// ListenPacket opens a UDP socket on IP:port, or with no IP on every address
// that the host has and will have. Port 0 chooses one. The result also has
// the methods ReadFromUDPAddrPort and WriteToUDPAddrPort of [net.UDPConn].
func (h *Host) ListenPacket(_ context.Context, network, addr string) (net.PacketConn, error) {
	proto, local, err := parse(network, addr)
	if err == nil && proto != "udp" {
		err = net.UnknownNetworkError(network)
	}
	if err == nil {
		var pc *packetConn
		if pc, err = h.bind(local); err == nil {
			return pc, nil
		}
	}
	return nil, &net.OpError{Op: "listen", Net: network, Err: err}
}

func (h *Host) bind(local netip.AddrPort) (*packetConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	local, err := h.choose(local, func(ap netip.AddrPort) bool { return h.packets[ap] != nil })
	if err != nil {
		return nil, err
	}
	pc := newPacketConn(h, local)
	h.packets[local] = pc
	return pc, nil
}

// choose checks the address of a socket and gives it a port if it has none.
// The caller holds mu.
func (h *Host) choose(local netip.AddrPort, taken func(netip.AddrPort) bool) (netip.AddrPort, error) {
	if ip := local.Addr(); ip.IsValid() && !ip.IsUnspecified() && !ip.IsLoopback() && h.net.hosts[ip] != h {
		return local, syscall.EADDRNOTAVAIL
	}
	if local.Port() != 0 {
		if taken(local) {
			return local, syscall.EADDRINUSE
		}
		return local, nil
	}
	for range lastEphemeral - firstEphemeral + 1 {
		if ap := netip.AddrPortFrom(local.Addr(), h.ephemeral()); !taken(ap) {
			return ap, nil
		}
	}
	return local, syscall.EADDRINUSE
}

// ephemeral is the next port to be given out. The caller holds mu.
func (h *Host) ephemeral() uint16 {
	port := firstEphemeral + h.next%(lastEphemeral-firstEphemeral+1)
	h.next++
	return uint16(port)
}

// source is the address from which the host sends to another. The caller
// holds mu.
func (h *Host) source(to netip.Addr) (netip.Addr, bool) {
	if to.IsLoopback() || h.net.hosts[to] == h {
		return to, true
	}
	for _, ip := range h.addrs {
		if ip.Is4() == to.Is4() {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// listener finds who accepts connections to an address. The caller holds mu.
func (h *Host) listener(to netip.AddrPort) *listener {
	for _, ip := range []netip.Addr{to.Addr(), unspecified(to.Addr()), {}} {
		if l := h.listens[netip.AddrPortFrom(ip, to.Port())]; l != nil {
			return l
		}
	}
	return nil
}

// packet finds whose socket an address is. The caller holds mu.
func (h *Host) packet(to netip.AddrPort) *packetConn {
	for _, ip := range []netip.Addr{to.Addr(), unspecified(to.Addr()), {}} {
		if pc := h.packets[netip.AddrPortFrom(ip, to.Port())]; pc != nil {
			return pc
		}
	}
	return nil
}

// parse reads a network and an address as package net takes them, without
// names except localhost. No IP gives the zero Addr: both families.
func parse(network, addr string) (proto string, ap netip.AddrPort, err error) {
	family := 0
	switch proto = network; network {
	case "tcp", "udp":
	case "tcp4", "udp4":
		proto, family = network[:3], 4
	case "tcp6", "udp6":
		proto, family = network[:3], 6
	default:
		return "", ap, net.UnknownNetworkError(network)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", ap, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", ap, &net.AddrError{Err: "port is no number", Addr: addr}
	}
	var ip netip.Addr
	switch {
	case host == "localhost" && family == 6:
		ip = netip.IPv6Loopback()
	case host == "localhost":
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case host == "" && family == 4:
		ip = netip.IPv4Unspecified()
	case host == "" && family == 6:
		ip = netip.IPv6Unspecified()
	case host == "":
	default:
		if ip, err = netip.ParseAddr(host); err != nil {
			return "", ap, &net.DNSError{Err: "this network has no names", Name: host, IsNotFound: true}
		}
		ip = ip.Unmap()
		if family == 4 && !ip.Is4() || family == 6 && ip.Is4() {
			return "", ap, &net.AddrError{Err: "address of the other family", Addr: addr}
		}
		if family == 0 && ip == netip.IPv6Unspecified() {
			ip = netip.Addr{} // [::] takes both families, as on most systems
		}
	}
	return proto, netip.AddrPortFrom(ip, uint16(number)), nil
}

// unspecified is the wildcard of an address's family.
func unspecified(ip netip.Addr) netip.Addr {
	if ip.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// shown is the address as a socket's LocalAddr tells it.
func shown(ap netip.AddrPort) netip.AddrPort {
	if !ap.Addr().IsValid() {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), ap.Port())
	}
	return ap
}
