// Package rtpio reads and writes the UDP sockets of media streams without a
// goroutine or a poller wake-up per packet.
//
// Media is paced: every stream has its turn once per frame, and what arrived
// since the last turn is read then, in one system call. A socket therefore
// need not wake anybody. Where the system allows it (Linux) a [Conn] is a bare
// file descriptor that Go's poller does not know; the kernel stamps each packet
// with its arrival time, so that waiting for the turn does not blur the jitter.
// Anywhere else, and for a connection that is no real socket, a goroutine
// reads into a small bounded queue.
package rtpio

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

const (
	// MaxPacket is the largest datagram that is accepted. RTP over IP stays
	// within one Ethernet frame; anything longer is dropped.
	MaxPacket = 1536

	// batchSize is how many packets one system call returns at most.
	batchSize = 16

	// MaxDrain is how many packets one [Conn.Drain] returns at most, so that a
	// flood on one socket does not delay the streams after it: 64 every 20 ms
	// is 3200 a second.
	MaxDrain = 64
)

// A Packet is one datagram.
type Packet struct {
	Data []byte         // valid until the handler returns; may be changed in place
	From netip.AddrPort // IPv4 addresses are never IPv4-mapped
	At   time.Time      // when it arrived
}

// A Conn is the socket of a stream. Its methods may be called concurrently.
type Conn interface {
	// Drain gives every packet that has arrived to handle, at most
	// [MaxDrain], and never waits. b is scratch space, shared by any number
	// of connections of one goroutine. handle must not use the Conn's Drain or
	// Close.
	Drain(b *Batch, now time.Time, handle func(*Packet)) error

	// WriteTo sends one datagram. It does not wait: a full socket buffer
	// loses the packet, as the network would.
	WriteTo(p []byte, to netip.AddrPort) error

	// LocalAddr is the address the socket is bound to.
	LocalAddr() netip.AddrPort

	// Close releases the socket and waits for its goroutine, if it has one.
	Close() error
}

// ErrAddress is returned for a local address that is not an IP address and
// port.
var ErrAddress = errors.New("rtpio: the connection has no IP address")

// New makes a Conn of c and takes ownership of it.
func New(c net.PacketConn) (Conn, error) {
	local := AddrPort(c.LocalAddr())
	if !local.IsValid() {
		c.Close()
		return nil, ErrAddress
	}
	if u, ok := c.(*net.UDPConn); ok {
		if r, err := newRaw(u, local); err == nil {
			u.Close()
			return r, nil
		}
	}
	return newQueued(c, local), nil
}

// AddrPort converts a net.Addr, and returns the zero value for one that is no
// IP address and port.
func AddrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case nil:
	case *net.UDPAddr:
		ap = a.AddrPort()
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return unmap(ap)
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
