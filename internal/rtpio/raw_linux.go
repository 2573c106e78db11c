package rtpio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlSize has room for one timestamp message (16 bytes of header and a
// timespec), on 64-bit systems and below.
const controlSize = 64

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// A Batch is scratch space for [Conn.Drain].
type Batch struct {
	swap []byte
	one  Packet
	used int // messages that the kernel wrote to last time

	msgs    [batchSize]mmsghdr
	iovs    [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet6
	control [batchSize][controlSize / 8]uint64 // aligned as the kernel wants it
	bufs    [batchSize][MaxPacket]byte
}

// NewBatch makes the scratch space that one goroutine needs.
func NewBatch() *Batch {
	b := new(Batch)
	for i := range b.msgs {
		b.iovs[i].Base = &b.bufs[i][0]
		b.iovs[i].SetLen(MaxPacket)
		h := &b.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		b.reset(i)
		h.Control = (*byte)(unsafe.Pointer(&b.control[i]))
	}
	return b
}

// raw is a socket that Go's poller does not know: nothing wakes up when a
// packet arrives.
type raw struct {
	local netip.AddrPort
	v6    bool // of the AF_INET6 family

	mu sync.Mutex // keeps the descriptor from being closed and reused under a call
	fd int        // -1 when closed
	to netip.AddrPort
	sa unix.RawSockaddrInet6 // of to; an IPv4 socket has RawSockaddrInet4 in it
	sl uintptr
}

// newRaw duplicates the descriptor of u out of the poller's reach. The caller
// closes u.
func newRaw(u *net.UDPConn, local netip.AddrPort) (Conn, error) {
	rc, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var dupErr error
	if err := rc.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, dupErr
	}
	r := &raw{local: local, fd: fd}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err == nil {
		r.v6 = domain == unix.AF_INET6
		// Arrival times from the kernel. Without them the time of the turn
		// has to do.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return r, nil
}

func (r *raw) Drain(b *Batch, now time.Time, handle func(*Packet)) error {
	for got := 0; got < MaxDrain; {
		n, err := r.receive(b)
		if err != nil || n == 0 {
			return err
		}
		for i := range n {
			m := &b.msgs[i]
			if m.hdr.Flags&unix.MSG_TRUNC != 0 || m.len > MaxPacket {
				continue
			}
			b.one = Packet{Data: b.bufs[i][:m.len], From: addrPort(&b.names[i]), At: stamp(&b.control[i], int(m.hdr.Controllen), now)}
			handle(&b.one)
		}
		if got += n; n < batchSize {
			return nil
		}
	}
	return nil
}

// reset says how much room there is for a message: the kernel puts in its place
// how much it took.
func (b *Batch) reset(i int) {
	h := &b.msgs[i].hdr
	h.Namelen = uint32(unsafe.Sizeof(b.names[i]))
	h.SetControllen(controlSize)
}

// receive reads up to batchSize packets without waiting.
func (r *raw) receive(b *Batch) (int, error) {
	for i := range b.used {
		b.reset(i)
	}
	b.used = 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return 0, net.ErrClosed
	}
	for range 3 {
		// The raw form, which does not tell the scheduler, because the call
		// does not block.
		n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&b.msgs[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			b.used = int(n)
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
	return 0, nil
}

func (r *raw) WriteTo(p []byte, to netip.AddrPort) error {
	if len(p) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return net.ErrClosed
	}
	if to != r.to {
		if !to.IsValid() || to.Addr().Is6() && !to.Addr().Is4In6() && !r.v6 {
			return unix.EAFNOSUPPORT
		}
		r.to, r.sl = to, r.sockaddr(to)
	}
	for range 3 {
		_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(r.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&r.sa)), r.sl)
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return e
		}
	}
	return nil
}

// sockaddr fills r.sa and returns its length.
func (r *raw) sockaddr(to netip.AddrPort) uintptr {
	r.sa = unix.RawSockaddrInet6{}
	if r.v6 {
		r.sa.Family = unix.AF_INET6
		r.sa.Addr = to.Addr().As16()
		r.sa.Scope_id = scope(to.Addr().Zone())
		port := (*[2]byte)(unsafe.Pointer(&r.sa.Port))
		binary.BigEndian.PutUint16(port[:], to.Port())
		return unix.SizeofSockaddrInet6
	}
	sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.sa))
	sa.Family = unix.AF_INET
	sa.Addr = to.Addr().Unmap().As4()
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	binary.BigEndian.PutUint16(port[:], to.Port())
	return unix.SizeofSockaddrInet4
}

// scope is the index of a zone, 0 when there is none. Only link-local
// addresses have one.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	return uint32(ifi.Index)
}

func addrPort(sa *unix.RawSockaddrInet6) netip.AddrPort {
	if sa.Family == unix.AF_INET {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		port := (*[2]byte)(unsafe.Pointer(&sa.Port))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), binary.BigEndian.Uint16(port[:]))
	}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	a := netip.AddrFrom16(sa.Addr)
	if sa.Scope_id != 0 && a.IsLinkLocalUnicast() {
		if ifi, err := net.InterfaceByIndex(int(sa.Scope_id)); err == nil {
			a = a.WithZone(ifi.Name)
		}
	}
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port[:]))
}

// stamp reads the kernel's arrival time from a control message and carries it
// over to now's monotonic clock. A clock that was set in between gives
// nonsense, which is replaced by now.
func stamp(control *[controlSize / 8]uint64, n int, now time.Time) time.Time {
	const header = unix.SizeofCmsghdr
	if n < header+int(unsafe.Sizeof(unix.Timespec{})) {
		return now
	}
	p := unsafe.Pointer(control)
	h := (*unix.Cmsghdr)(p)
	if h.Level != unix.SOL_SOCKET || h.Type != unix.SO_TIMESTAMPNS {
		return now
	}
	ts := (*unix.Timespec)(unsafe.Add(p, header))
	age := time.Duration(now.UnixNano() - ts.Nano())
	if age < -time.Second || age > time.Minute {
		return now
	}
	return now.Add(-age)
}

func (r *raw) LocalAddr() netip.AddrPort { return r.local }

func (r *raw) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return net.ErrClosed
	}
	err := unix.Close(r.fd)
	r.fd = -1
	return err
}
