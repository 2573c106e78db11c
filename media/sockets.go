package media

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/internal/rtpio"
)

// pairAttempts is how often a pair of neighbouring ports is tried for before
// any two have to do; a=rtcp then says where RTCP goes (RFC 3605).
const pairAttempts = 8

// sockets are where one stream is sent from and received.
type sockets struct {
	rtp, rtcp rtpio.Conn
	local     negotiate.Transport
}

func (k *sockets) close() {
	k.rtp.Close()
	k.rtcp.Close()
}

// open binds a pair of sockets on local.
func (e *Engine) open(ctx context.Context, local netip.Addr) (*sockets, error) {
	var rtp, rtcp net.PacketConn
	var err error
	if e.cfg.MinPort != 0 {
		rtp, rtcp, err = e.pairInRange(ctx, local)
	} else {
		rtp, rtcp, err = e.pair(ctx, local)
	}
	if err != nil {
		return nil, err
	}
	a, err := rtpio.New(rtp)
	if err != nil {
		rtcp.Close()
		return nil, err
	}
	b, err := rtpio.New(rtcp)
	if err != nil {
		a.Close()
		return nil, err
	}
	k := &sockets{rtp: a, rtcp: b}
	// The address that was asked for: what a socket in a NAT or a test network
	// says of itself may differ, its ports do not.
	k.local = negotiate.Transport{
		RTP:  netip.AddrPortFrom(local, a.LocalAddr().Port()),
		RTCP: netip.AddrPortFrom(local, b.LocalAddr().Port()),
	}
	return k, nil
}

func (e *Engine) listen(ctx context.Context, local netip.Addr, port uint16) (net.PacketConn, uint16, error) {
	network := "udp4"
	if local.Is6() {
		network = "udp6"
	}
	c, err := e.cfg.ListenPacket(ctx, network, netip.AddrPortFrom(local, port).String())
	if err != nil {
		return nil, 0, err
	}
	got := rtpio.AddrPort(c.LocalAddr()).Port()
	if got == 0 {
		c.Close()
		return nil, 0, rtpio.ErrAddress
	}
	return c, got, nil
}

// pair binds two ports that the system gives, RTP on an even one and RTCP on
// the next (RFC 3550 §11) if that can be had.
func (e *Engine) pair(ctx context.Context, local netip.Addr) (rtp, rtcp net.PacketConn, err error) {
	for range pairAttempts {
		a, port, err := e.listen(ctx, local, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("media: opening a socket: %w", err)
		}
		b, _, err := e.listen(ctx, local, port^1)
		switch {
		case err != nil:
			a.Close()
		case port%2 == 0:
			return a, b, nil
		default:
			return b, a, nil
		}
	}
	a, _, err := e.listen(ctx, local, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("media: opening a socket: %w", err)
	}
	b, _, err := e.listen(ctx, local, 0)
	if err != nil {
		a.Close()
		return nil, nil, fmt.Errorf("media: opening a socket: %w", err)
	}
	return a, b, nil
}

// pairInRange tries every pair of the configured range, from a random one on.
func (e *Engine) pairInRange(ctx context.Context, local netip.Addr) (rtp, rtcp net.PacketConn, err error) {
	low := (uint32(e.cfg.MinPort) + 1) &^ 1
	pairs := (uint32(e.cfg.MaxPort) + 1 - low) / 2
	if pairs == 0 {
		return nil, nil, ErrPorts
	}
	start, err := random32(e.cfg.Rand)
	if err != nil {
		return nil, nil, err
	}
	var last error
	for i := range pairs {
		port := uint16(low + 2*((start%pairs+i)%pairs))
		a, _, err := e.listen(ctx, local, port)
		if err == nil {
			b, _, err2 := e.listen(ctx, local, port+1)
			if err2 == nil {
				return a, b, nil
			}
			a.Close()
			err = err2
		}
		if last = err; ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
	}
	return nil, nil, fmt.Errorf("%w in %d to %d: %w", ErrPorts, e.cfg.MinPort, e.cfg.MaxPort, last)
}

// localFor chooses the address to receive on, of the peer's family if that is
// known and can be had.
func (e *Engine) localFor(ctx context.Context, env netip.Addr, remote netip.Addr) (netip.Addr, error) {
	for _, a := range []netip.Addr{env, e.cfg.Local} {
		a = a.Unmap()
		if a.IsValid() && !a.IsUnspecified() && (!remote.IsValid() || remote.Is4() == a.Is4()) {
			return a, nil
		}
	}
	// What route the system would take. Nothing is sent.
	probes := []string{"192.0.2.1:9", "[2001:db8::1]:9"} // RFC 5737, RFC 3849
	if remote.IsValid() {
		probes = []string{netip.AddrPortFrom(remote, 9).String()}
	}
	for _, p := range probes {
		c, err := new(net.Dialer).DialContext(ctx, "udp", p)
		if err != nil {
			continue
		}
		a := rtpio.AddrPort(c.LocalAddr()).Addr()
		c.Close()
		if a.IsValid() && !a.IsUnspecified() {
			return a, nil
		}
	}
	for _, a := range []netip.Addr{env, e.cfg.Local} {
		if a.IsValid() && !a.IsUnspecified() {
			return a.Unmap(), nil // the wrong family is better than none: there may be a NAT64
		}
	}
	return netip.Addr{}, ErrAddress
}

var errRandom = errors.New("media: no randomness")

func random32(r io.Reader) (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, fmt.Errorf("%w: %w", errRandom, err)
	}
	return binary.BigEndian.Uint32(b[:]), nil
}
