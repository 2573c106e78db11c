package rtpio

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// readErrorLimit is how many errors in a row end the reader. Some systems
// report an ICMP error of an earlier write on the next read, so that one error
// says nothing.
const readErrorLimit = 64

// queued is a Conn on any net.PacketConn: a goroutine reads into a ring.
type queued struct {
	c     net.PacketConn
	udp   udpConn // c if it has the methods: reads and writes without allocation
	local netip.AddrPort
	done  chan struct{}

	mu    sync.Mutex
	ring  [MaxDrain]slot
	first int // oldest packet
	n     int
	err   error
}

type slot struct {
	data []byte // reused
	from netip.AddrPort
	at   time.Time
}

func newQueued(c net.PacketConn, local netip.AddrPort) *queued {
	q := &queued{c: c, local: local, done: make(chan struct{})}
	q.udp, _ = c.(udpConn)
	go q.read()
	return q
}

func (q *queued) read() {
	defer close(q.done)
	buf := make([]byte, MaxPacket+1)
	for bad := 0; bad < readErrorLimit; {
		n, from, err := q.readOne(buf)
		if err != nil {
			bad++
			q.mu.Lock()
			q.err = err
			q.mu.Unlock()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		bad = 0
		if n <= MaxPacket {
			q.put(buf[:n], from, time.Now())
		}
	}
}

func (q *queued) readOne(buf []byte) (int, netip.AddrPort, error) {
	if q.udp != nil {
		n, from, err := q.udp.ReadFromUDPAddrPort(buf)
		return n, unmap(from), err
	}
	n, from, err := q.c.ReadFrom(buf)
	return n, AddrPort(from), err
}

// put appends a packet; a full ring loses its oldest, which is the one most
// likely to be too late.
func (q *queued) put(p []byte, from netip.AddrPort, at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == len(q.ring) {
		q.first = (q.first + 1) % len(q.ring)
		q.n--
	}
	s := &q.ring[(q.first+q.n)%len(q.ring)]
	s.data = append(s.data[:0], p...)
	s.from, s.at = from, at
	q.n++
	q.err = nil
}

func (q *queued) Drain(b *Batch, _ time.Time, handle func(*Packet)) error {
	for range MaxDrain {
		q.mu.Lock()
		if q.n == 0 {
			err := q.err
			q.mu.Unlock()
			return err
		}
		s := &q.ring[q.first]
		// Swapped rather than copied: the slot gets the scratch buffer.
		s.data, b.swap = b.swap, s.data
		p := Packet{Data: b.swap, From: s.from, At: s.at}
		q.first = (q.first + 1) % len(q.ring)
		q.n--
		q.mu.Unlock()
		b.one = p
		handle(&b.one)
	}
	return nil
}

func (q *queued) WriteTo(p []byte, to netip.AddrPort) error {
	if q.udp != nil {
		_, err := q.udp.WriteToUDPAddrPort(p, to)
		return err
	}
	_, err := q.c.WriteTo(p, net.UDPAddrFromAddrPort(to))
	return err
}

func (q *queued) LocalAddr() netip.AddrPort { return q.local }

func (q *queued) Close() error {
	err := q.c.Close()
	<-q.done
	return err
}

// udpConn are the methods of net.UDPConn that need no net.Addr.
type udpConn interface {
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
}
