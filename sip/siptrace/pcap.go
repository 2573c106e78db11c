package siptrace

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"
)

const (
	magicNano   = 0xa1b23c4d // timestamps in nanoseconds
	linkTypeRaw = 101        // LINKTYPE_RAW: packets begin with their IPv4 or IPv6 header
	snapLen     = 262144

	protoTCP = 6
	protoUDP = 17

	udpHeader = 8
	tcpHeader = 20

	// maxSegment keeps a TCP packet within the 65,535 octets of IP. Real segments are smaller, but captures with segmentation offload look the same, and
	// a message in one packet is one that no tool has to reassemble.
	maxSegment = 60000
	maxUDP     = 65535 - 20 - udpHeader

	// maxStreams bounds the memory for TCP connections. Above it all are forgotten; those still alive appear as new ones.
	maxStreams = 4096
)

// Errors of the methods of [Writer].
var (
	// ErrAddr: an address is missing, or the two are not of one family.
	ErrAddr = errors.New("siptrace: source and destination do not match")

	// ErrTooLong: a payload that UDP cannot carry.
	ErrTooLong = errors.New("siptrace: datagram too long")
)

// Writer writes one capture file. It is safe for concurrent use. Every packet is one Write to the underlying writer, so give it a buffered one
// if there are many. After an error of the underlying writer every call returns that error.
type Writer struct {
	mu      sync.Mutex
	w       io.Writer
	err     error
	buf     []byte
	ip4ID   uint16
	streams map[flow]*stream
}

// flow is a TCP connection as one side sees it.
type flow struct{ src, dst netip.AddrPort }

// stream is the state of one direction: the sequence number that comes next.
type stream struct{ next uint32 }

// NewWriter writes the header of the file.
func NewWriter(w io.Writer) (*Writer, error) {
	h := make([]byte, 0, 24)
	h = binary.LittleEndian.AppendUint32(h, magicNano)
	h = binary.LittleEndian.AppendUint16(h, 2) // version 2.4
	h = binary.LittleEndian.AppendUint16(h, 4)
	h = binary.LittleEndian.AppendUint64(h, 0) // time zone, accuracy: never used
	h = binary.LittleEndian.AppendUint32(h, snapLen)
	h = binary.LittleEndian.AppendUint32(h, linkTypeRaw)
	if _, err := w.Write(h); err != nil {
		return nil, err
	}
	return &Writer{w: w, streams: make(map[flow]*stream)}, nil
}

// UDP writes a datagram. t must lie between 1970 and 2106, which is all that the format can express.
func (w *Writer) UDP(t time.Time, src, dst netip.AddrPort, payload []byte) error {
	if len(payload) > maxUDP {
		return ErrTooLong
	}
	src, dst, err := pair(src, dst)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	start := w.begin(src.Addr(), dst.Addr(), protoUDP, udpHeader+len(payload))
	w.buf = binary.BigEndian.AppendUint16(w.buf, src.Port())
	w.buf = binary.BigEndian.AppendUint16(w.buf, dst.Port())
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(udpHeader+len(payload)))
	w.buf = append(w.buf, 0, 0)
	w.buf = append(w.buf, payload...)
	sum := checksum(w.buf[start:], pseudo(src.Addr(), dst.Addr(), protoUDP, udpHeader+len(payload)))
	if sum == 0 {
		sum = 0xffff // RFC 768: zero would mean that there is none
	}
	binary.BigEndian.PutUint16(w.buf[start+6:], sum)
	return w.end(t)
}

// TCP writes octets of a connection. The first ones between two addresses are preceded by a handshake, opened by their sender; from then on
// sequence numbers run on in both directions. An empty payload writes nothing.
func (w *Writer) TCP(t time.Time, src, dst netip.AddrPort, payload []byte) error {
	src, dst, err := pair(src, dst)
	if err != nil || len(payload) == 0 {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out, in, err := w.open(t, src, dst)
	if err != nil {
		return err
	}
	for len(payload) > 0 {
		n := min(len(payload), maxSegment)
		flags := byte(ack)
		if n == len(payload) {
			flags |= psh
		}
		if err := w.segment(t, src, dst, out, in, flags, payload[:n]); err != nil {
			return err
		}
		payload = payload[n:]
	}
	return nil
}

// Flags of TCP (RFC 9293 §3.1).
const (
	syn = 0x02
	psh = 0x08
	ack = 0x10
)

// open returns the state of both directions, after a handshake if they are new.
func (w *Writer) open(t time.Time, src, dst netip.AddrPort) (out, in *stream, err error) {
	out, in = w.streams[flow{src, dst}], w.streams[flow{dst, src}]
	if out != nil {
		return out, in, nil
	}
	if len(w.streams) >= 2*maxStreams {
		clear(w.streams)
	}
	out, in = new(stream), new(stream)
	w.streams[flow{src, dst}], w.streams[flow{dst, src}] = out, in
	for _, err := range []error{
		w.segment(t, src, dst, out, nil, syn, nil),
		w.segment(t, dst, src, in, out, syn|ack, nil),
		w.segment(t, src, dst, out, in, ack, nil),
	} {
		if err != nil {
			return nil, nil, err
		}
	}
	return out, in, nil
}

// segment writes one TCP packet and advances the sequence number. acked is the other direction, nil in the first packet.
func (w *Writer) segment(t time.Time, src, dst netip.AddrPort, out, acked *stream, flags byte, payload []byte) error {
	start := w.begin(src.Addr(), dst.Addr(), protoTCP, tcpHeader+len(payload))
	w.buf = binary.BigEndian.AppendUint16(w.buf, src.Port())
	w.buf = binary.BigEndian.AppendUint16(w.buf, dst.Port())
	w.buf = binary.BigEndian.AppendUint32(w.buf, out.next)
	var ackNumber uint32
	if acked != nil {
		ackNumber = acked.next
	}
	w.buf = binary.BigEndian.AppendUint32(w.buf, ackNumber)
	w.buf = append(w.buf, tcpHeader/4<<4, flags, 0xff, 0xff, 0, 0, 0, 0) // window, checksum, urgent pointer
	w.buf = append(w.buf, payload...)
	sum := checksum(w.buf[start:], pseudo(src.Addr(), dst.Addr(), protoTCP, tcpHeader+len(payload)))
	binary.BigEndian.PutUint16(w.buf[start+16:], sum)
	out.next += uint32(len(payload))
	if flags&syn != 0 {
		out.next++
	}
	return w.end(t)
}

// pair checks that two addresses can stand in one IP header.
func pair(src, dst netip.AddrPort) (netip.AddrPort, netip.AddrPort, error) {
	s, d := src.Addr().Unmap().WithZone(""), dst.Addr().Unmap().WithZone("")
	if !s.IsValid() || !d.IsValid() || s.Is4() != d.Is4() {
		return src, dst, ErrAddr
	}
	return netip.AddrPortFrom(s, src.Port()), netip.AddrPortFrom(d, dst.Port()), nil
}

const recordHeader = 16

// begin puts the IP header of a packet with length octets of payload into the buffer, behind room for the header of the record, and returns where
// the payload goes.
func (w *Writer) begin(src, dst netip.Addr, proto byte, length int) int {
	w.buf = append(w.buf[:0], make([]byte, recordHeader)...)
	if src.Is4() { // RFC 791 §3.1
		w.ip4ID++
		start := len(w.buf)
		w.buf = append(w.buf, 0x45, 0)
		w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(20+length))
		w.buf = binary.BigEndian.AppendUint16(w.buf, w.ip4ID)
		w.buf = append(w.buf, 0x40, 0, 64, proto, 0, 0) // don't fragment, time to live, checksum
		s, d := src.As4(), dst.As4()
		w.buf = append(append(w.buf, s[:]...), d[:]...)
		binary.BigEndian.PutUint16(w.buf[start+10:], checksum(w.buf[start:], 0))
		return len(w.buf)
	}
	w.buf = append(w.buf, 0x60, 0, 0, 0) // RFC 8200 §3
	w.buf = binary.BigEndian.AppendUint16(w.buf, uint16(length))
	w.buf = append(w.buf, proto, 64)
	s, d := src.As16(), dst.As16()
	w.buf = append(append(w.buf, s[:]...), d[:]...)
	return len(w.buf)
}

// end fills in the header of the record and writes it.
func (w *Writer) end(t time.Time) error {
	if w.err != nil {
		return w.err
	}
	n := uint32(len(w.buf) - recordHeader)
	binary.LittleEndian.PutUint32(w.buf[0:], uint32(t.Unix()))
	binary.LittleEndian.PutUint32(w.buf[4:], uint32(t.Nanosecond()))
	binary.LittleEndian.PutUint32(w.buf[8:], n)
	binary.LittleEndian.PutUint32(w.buf[12:], n)
	_, w.err = w.w.Write(w.buf)
	return w.err
}

// pseudo is the sum over the pseudo-header that UDP and TCP include in their checksums (RFC 9293 §3.1, RFC 8200 §8.1).
func pseudo(src, dst netip.Addr, proto byte, length int) uint32 {
	s, d := src.AsSlice(), dst.AsSlice()
	return sum(s, 0) + sum(d, 0) + uint32(proto) + uint32(length)
}

// sum adds 16-bit words. 64 KiB of them do not overflow 32 bits.
func sum(b []byte, s uint32) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// checksum is the Internet checksum (RFC 1071), with the field for it still zero.
func checksum(b []byte, s uint32) uint16 {
	s = sum(b, s)
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
