package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// maxDatagram is the largest payload of a UDP datagram over IPv4.
const maxDatagram = 65507

// Socket is a UDP socket. It is safe for concurrent use.
type Socket struct {
	t     *Transport
	pc    net.PacketConn
	fast  addrPortConn // pc, if it has the methods
	local netip.AddrPort

	mu     sync.Mutex
	closed bool
	peers  map[netip.AddrPort]*Flow
	swept  time.Time
}

// addrPortConn are the methods of net.UDPConn that do not allocate.
type addrPortConn interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
}

// UDP opens a socket on an address, host:port, such as ":0".
func (t *Transport) UDP(ctx context.Context, local string) (*Socket, error) {
	pc, err := t.cfg.ListenPacket(ctx, "udp", local)
	if err != nil {
		return nil, err
	}
	if t.cfg.ReadBuffer > 0 {
		if c, ok := pc.(interface{ SetReadBuffer(int) error }); ok {
			if err := c.SetReadBuffer(t.cfg.ReadBuffer); err != nil {
				t.log.Warn("cannot set the size of the receive queue", "error", err)
			}
		}
	}
	s := &Socket{t: t, pc: pc, local: addrPort(pc.LocalAddr()), peers: make(map[netip.AddrPort]*Flow), swept: time.Now()}
	s.fast, _ = pc.(addrPortConn)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		pc.Close()
		return nil, ErrClosed
	}
	t.sockets = append(t.sockets, s)
	t.wg.Go(s.run)
	return s, nil
}

// dialUDP names a flow to an address on the first socket that can reach it, or
// on a new one.
func (t *Transport) dialUDP(ctx context.Context, remote netip.AddrPort) (*Flow, error) {
	t.mu.Lock()
	sockets := t.sockets
	t.mu.Unlock()
	for _, s := range sockets {
		ip := s.local.Addr()
		// [::] reaches both families, as most systems have it.
		if ip.Is4() == remote.Addr().Unmap().Is4() || ip == netip.IPv6Unspecified() {
			return s.Flow(remote), nil
		}
	}
	s, err := t.UDP(ctx, ":0")
	if err != nil {
		return nil, err
	}
	return s.Flow(remote), nil
}

// Addr is the address that the socket is bound to.
func (s *Socket) Addr() netip.AddrPort { return s.local }

// Flow is the flow to and from an address. Asked for like this it is
// remembered until its Close; other addresses that something came from are
// forgotten after a while.
func (s *Socket) Flow(remote netip.AddrPort) *Flow { return s.flow(remote, true) }

// AtPort is the flow to another port of the same peer, over the same UDP
// socket; of a connection it is the connection.
func (f *Flow) AtPort(port uint16) *Flow {
	if f.link != nil || port == f.remote.Port() {
		return f
	}
	return f.sock.flow(netip.AddrPortFrom(f.remote.Addr(), port), false)
}

func (s *Socket) flow(remote netip.AddrPort, hold bool) *Flow {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.peers[remote]
	if f == nil {
		s.makeRoom(now)
		f = &Flow{t: s.t, proto: UDP, remote: remote, sock: s}
		if ip := s.local.Addr(); !ip.IsUnspecified() {
			f.local = s.local
		}
		if s.closed {
			f.err = ErrClosed
			return f
		}
		s.peers[remote] = f
	}
	f.held = f.held || hold
	f.used.Store(now.UnixNano())
	return f
}

// makeRoom forgets peers that were silent for long; and when there are too
// many, one that was silent for longer than some others. The caller holds mu.
func (s *Socket) makeRoom(now time.Time) {
	oldest := now.Add(-s.t.cfg.PeerTimeout).UnixNano()
	if now.Sub(s.swept) >= s.t.cfg.PeerTimeout/2 {
		s.swept = now
		for remote, f := range s.peers {
			if !f.held && f.used.Load() < oldest {
				delete(s.peers, remote)
			}
		}
	}
	if len(s.peers) < s.t.cfg.MaxPeers {
		return
	}
	var victim *Flow
	seen := 0
	for _, f := range s.peers { // in random order
		if !f.held && (victim == nil || f.used.Load() < victim.used.Load()) {
			victim = f
		}
		if seen++; seen == 32 {
			break
		}
	}
	if victim != nil {
		delete(s.peers, victim.remote)
	}
}

// forget takes a flow out of the table.
func (s *Socket) forget(f *Flow, err error) {
	if err == nil {
		err = ErrClosed
	}
	s.mu.Lock()
	if s.peers[f.remote] == f {
		delete(s.peers, f.remote)
	}
	s.mu.Unlock()
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
}

// Close ends the socket and its flows.
func (s *Socket) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	peers := s.peers
	s.peers = nil
	s.mu.Unlock()
	if closed {
		return nil
	}
	for _, f := range peers {
		f.mu.Lock()
		if f.err == nil {
			f.err = ErrClosed
		}
		f.mu.Unlock()
	}
	s.t.mu.Lock()
	for i, other := range s.t.sockets {
		if other == s {
			s.t.sockets = append(s.t.sockets[:i:i], s.t.sockets[i+1:]...)
			break
		}
	}
	s.t.mu.Unlock()
	return s.pc.Close()
}

// send sends a datagram.
func (s *Socket) send(f *Flow, kind EventKind, b []byte) error {
	if err := f.Err(); err != nil {
		return err
	}
	if len(b) > maxDatagram {
		return ErrTooLarge
	}
	f.used.Store(time.Now().UnixNano())
	f.tap(true, kind, b)
	var err error
	if s.fast != nil {
		_, err = s.fast.WriteToUDPAddrPort(b, f.remote)
	} else {
		_, err = s.pc.WriteTo(b, net.UDPAddrFromAddrPort(f.remote))
	}
	if errors.Is(err, syscall.EMSGSIZE) {
		return ErrTooLarge
	}
	return err
}

// run is the socket's reader.
func (s *Socket) run() {
	buf := make([]byte, 64<<10)
	failures := 0
	for {
		n, from, err := s.read(buf)
		if err != nil {
			if isNetClosed(err) || s.t.ctx.Err() != nil {
				return
			}
			// Some systems report here that an earlier datagram was
			// refused by its receiver. That must neither end the socket
			// nor, should it go on, make this loop a hot one.
			if failures++; failures > 16 {
				select {
				case <-time.After(10 * time.Millisecond):
				case <-s.t.ctx.Done():
					return
				}
			}
			continue
		}
		failures = 0
		s.receive(s.flow(from, false), buf[:n])
	}
}

func (s *Socket) read(buf []byte) (int, netip.AddrPort, error) {
	if s.fast != nil {
		return s.fast.ReadFromUDPAddrPort(buf)
	}
	n, addr, err := s.pc.ReadFrom(buf)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	return n, addrPort(addr), nil
}

func (s *Socket) receive(f *Flow, b []byte) {
	switch {
	case isSTUN(b):
		f.tap(false, EventSTUN, b)
		s.receiveSTUN(f, b)
	case len(bytes.Trim(b, "\r\n\x00 ")) == 0:
		// A keep-alive for NATs that wants no answer.
		f.tap(false, EventPing, b)
	default:
		f.receive(b, false)
	}
}

func (s *Socket) receiveSTUN(f *Flow, b []byte) {
	m, ok := parseSTUN(b)
	if !ok {
		return
	}
	switch m.kind {
	case stunRequest:
		if err := s.send(f, EventSTUN, bindingResponse(m, f.remote)); err != nil {
			s.t.log.Debug("cannot answer STUN", "to", f.remote, "error", err)
		}
	case stunResponse:
		// Without an address, or with unknown attributes that have to be
		// understood, it is no answer (RFC 5389 §7.3.3).
		if m.mapped.IsValid() && len(m.unknown) == 0 {
			s.t.h.STUN(f, m.id, m.mapped, nil)
		}
	case stunError:
		s.t.h.STUN(f, m.id, netip.AddrPort{}, &STUNError{m.code})
	}
}

// source is the local address that leads to a remote one, found by connecting
// a socket, which sends nothing. If there is none it is the socket's own.
func (s *Socket) source(remote netip.AddrPort) netip.AddrPort {
	if c, err := s.t.cfg.Dial(s.t.ctx, "udp", remote.String()); err == nil {
		defer c.Close()
		if ap := addrPort(c.LocalAddr()); ap.Addr().IsValid() && !ap.Addr().IsUnspecified() {
			return netip.AddrPortFrom(ap.Addr(), s.local.Port())
		}
	}
	return s.local
}
