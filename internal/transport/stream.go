package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Sizes of what an idle connection reads into. TLS has a buffer of its own, so
// reading a message in pieces costs no system calls there.
const (
	idleBufferTLS = 256
	idleBufferTCP = 2048
)

// bulk are the buffers of connections that are busy.
var bulk = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// streamLink is a TCP or TLS connection.
type streamLink struct {
	conn   net.Conn // what is read and written: raw, or TLS over it
	raw    net.Conn
	framer sipwire.Framer
	idle   time.Duration // 0: may be silent for ever
	buf    []byte
}

func newStreamLink(t *Transport, conn, raw net.Conn) *streamLink {
	size := idleBufferTCP
	if conn != raw {
		size = idleBufferTLS
	}
	l := &streamLink{conn: conn, raw: raw, buf: make([]byte, size)}
	l.framer.MaxHeader, l.framer.MaxBody = t.cfg.MaxHeader, t.cfg.MaxBody
	return l
}

func (l *streamLink) run(f *Flow) error {
	for {
		n, err := l.read(l.buf)
		if err := l.deliver(f, l.buf[:n]); err != nil {
			return err
		}
		if err == nil && n == len(l.buf) {
			err = l.readBulk(f)
		}
		if err != nil {
			return err
		}
	}
}

// readBulk reads on with a large buffer while there is much to read.
func (l *streamLink) readBulk(f *Flow) error {
	buf := bulk.Get().(*[16 << 10]byte)
	defer bulk.Put(buf)
	for {
		n, err := l.read(buf[:])
		if err := l.deliver(f, buf[:n]); err != nil {
			return err
		}
		if err != nil || n < len(buf) {
			return err
		}
	}
}

func (l *streamLink) read(b []byte) (int, error) {
	if l.idle > 0 {
		if err := l.raw.SetReadDeadline(time.Now().Add(l.idle)); err != nil {
			return 0, err
		}
	}
	return l.conn.Read(b)
}

// deliver hands what is complete to the flow.
func (l *streamLink) deliver(f *Flow, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	l.framer.Write(b) //nolint:errcheck // never fails
	for {
		fr, err := l.framer.Next()
		if err != nil {
			return err
		}
		switch fr.Kind {
		case sipwire.NoFrame:
			return nil
		case sipwire.Message:
			f.receive(fr.Data, true)
		case sipwire.Pong:
			f.receiveCRLF(false)
		case sipwire.Ping:
			f.receiveCRLF(true)
		}
	}
}

// write writes what is small together, since each write is a system call and
// in TLS a record.
func (l *streamLink) write(batch [][]byte, deadline time.Time) error {
	if err := l.raw.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if len(batch) == 1 {
		_, err := l.conn.Write(batch[0])
		return err
	}
	buf := bulk.Get().(*[16 << 10]byte)
	defer bulk.Put(buf)
	joined := buf[:0]
	flush := func() error {
		if len(joined) == 0 {
			return nil
		}
		_, err := l.conn.Write(joined)
		joined = buf[:0]
		return err
	}
	for _, b := range batch {
		if len(joined)+len(b) > len(buf) {
			if err := flush(); err != nil {
				return err
			}
		}
		if len(b) > len(buf) {
			if _, err := l.conn.Write(b); err != nil {
				return err
			}
			continue
		}
		joined = append(joined, b...)
	}
	return flush()
}

func (l *streamLink) ping(f *Flow) error { return f.enqueue(EventPing, ping) }

// close sends TLS's close_notify, which may have to wait for a full buffer.
func (l *streamLink) close() { l.conn.Close() }

func (l *streamLink) abort() { l.raw.Close() }

func (l *streamLink) local() netip.AddrPort { return addrPort(l.raw.LocalAddr()) }

func (l *streamLink) tls() *tls.ConnectionState {
	c, ok := l.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	s := c.ConnectionState()
	return &s
}

// addrPort reads an address of package net's, whatever its type.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case interface{ AddrPort() netip.AddrPort }: // net.TCPAddr and net.UDPAddr
		ap = a.AddrPort()
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// isNetClosed tells whether a socket was closed on this side.
func isNetClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
