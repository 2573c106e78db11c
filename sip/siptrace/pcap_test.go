package siptrace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// packet is what the reader of this test makes of a record.
type packet struct {
	t        time.Time
	src, dst netip.AddrPort
	proto    byte
	seq, ack uint32
	flags    byte
	payload  []byte
}

// read parses a whole file, checking every length and checksum on the way.
func read(t *testing.T, file []byte) []packet {
	t.Helper()
	le, be := binary.LittleEndian, binary.BigEndian
	if len(file) < 24 || le.Uint32(file) != 0xa1b23c4d || le.Uint16(file[4:]) != 2 || le.Uint16(file[6:]) != 4 || le.Uint32(file[20:]) != 101 {
		t.Fatalf("file header % x", file[:min(24, len(file))])
	}
	snap := le.Uint32(file[16:])
	var packets []packet
	for file = file[24:]; len(file) > 0; {
		if len(file) < 16 {
			t.Fatalf("packet %d: %d octets of a record header", len(packets), len(file))
		}
		n := le.Uint32(file[8:])
		if n != le.Uint32(file[12:]) || n > snap || int(n) > len(file)-16 {
			t.Fatalf("packet %d: lengths %d and %d, %d octets left", len(packets), n, le.Uint32(file[12:]), len(file)-16)
		}
		p := packet{t: time.Unix(int64(le.Uint32(file)), int64(le.Uint32(file[4:])))}
		ip := file[16 : 16+n]
		file = file[16+n:]

		var s, d netip.Addr
		var body, pseudoHeader []byte
		switch ip[0] >> 4 {
		case 4:
			if ip[0] != 0x45 || int(be.Uint16(ip[2:])) != len(ip) || !sumsUp(ip[:20]) {
				t.Fatalf("packet %d: IPv4 header % x", len(packets), ip[:20])
			}
			s, d = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
			p.proto, body = ip[9], ip[20:]
			pseudoHeader = append(append([]byte{}, ip[12:20]...), 0, p.proto, byte(len(body)>>8), byte(len(body)))
		case 6:
			if int(be.Uint16(ip[4:])) != len(ip)-40 {
				t.Fatalf("packet %d: IPv6 header % x", len(packets), ip[:40])
			}
			s, d = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
			p.proto, body = ip[6], ip[40:]
			pseudoHeader = append(append([]byte{}, ip[8:40]...), 0, 0, byte(len(body)>>8), byte(len(body)), 0, 0, 0, p.proto)
		default:
			t.Fatalf("packet %d: IP version %d", len(packets), ip[0]>>4)
		}
		if !sumsUp(append(pseudoHeader, body...)) {
			t.Fatalf("packet %d: wrong checksum", len(packets))
		}
		p.src, p.dst = netip.AddrPortFrom(s, be.Uint16(body)), netip.AddrPortFrom(d, be.Uint16(body[2:]))
		switch p.proto {
		case 17:
			if int(be.Uint16(body[4:])) != len(body) || be.Uint16(body[6:]) == 0 {
				t.Fatalf("packet %d: UDP header % x", len(packets), body[:8])
			}
			p.payload = body[8:]
		case 6:
			p.seq, p.ack, p.flags = be.Uint32(body[4:]), be.Uint32(body[8:]), body[13]
			p.payload = body[body[12]>>4*4:]
		default:
			t.Fatalf("packet %d: protocol %d", len(packets), p.proto)
		}
		packets = append(packets, p)
	}
	return packets
}

// sumsUp tells whether the one's complement sum over data with its checksum is right (RFC 1071 §1). It is computed octet by octet, unlike in the writer.
func sumsUp(data []byte) bool {
	var s uint64
	for i, b := range data {
		if i%2 == 0 {
			s += uint64(b) << 8
		} else {
			s += uint64(b)
		}
	}
	return s != 0 && s%0xffff == 0
}

func newWriter(t *testing.T) (*Writer, *bytes.Buffer) {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	return w, &file
}

var (
	alice4, pbx4 = netip.MustParseAddrPort("192.0.2.1:40000"), netip.MustParseAddrPort("192.0.2.2:5061")
	alice6, pbx6 = netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:5061")
)

func TestUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, file := newWriter(t)
		now := time.Now().Add(123456789)
		payloads := [][]byte{[]byte("even"), []byte("odd"), {}, bytes.Repeat([]byte{0xff, 0xfe}, 700), bytes.Repeat([]byte{0xff}, maxUDP)}
		for _, p := range payloads {
			for _, ends := range [][2]netip.AddrPort{{alice4, pbx4}, {pbx6, alice6}} {
				if err := w.UDP(now, ends[0], ends[1], p); err != nil {
					t.Fatal(err)
				}
			}
		}
		got := read(t, file.Bytes())
		if len(got) != 2*len(payloads) {
			t.Fatalf("%d packets", len(got))
		}
		for i, p := range got {
			src, dst := alice4, pbx4
			if i%2 == 1 {
				src, dst = pbx6, alice6
			}
			if p.src != src || p.dst != dst || p.proto != 17 || !p.t.Equal(now) || !bytes.Equal(p.payload, payloads[i/2]) {
				t.Errorf("packet %d: %v to %v at %v, %d octets", i, p.src, p.dst, p.t, len(p.payload))
			}
		}
	})
}

// A checksum that comes out as zero is sent as all ones (RFC 768); read refuses a zero.
func TestUDPChecksumZero(t *testing.T) {
	w, file := newWriter(t)
	for i := range 1 << 16 {
		if err := w.UDP(time.Unix(0, 0), alice4, pbx4, []byte{byte(i >> 8), byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	ones := 0
	for b := file.Bytes()[24:]; len(b) > 0; b = b[16+20+8+2:] {
		if binary.BigEndian.Uint16(b[16+20+6:]) == 0xffff {
			ones++
		}
	}
	if ones == 0 {
		t.Error("no payload gave this checksum: the test tests nothing")
	}
	read(t, file.Bytes())
}

// Every direction of a connection holds what was written, in order, and acknowledges what came before.
func TestTCP(t *testing.T) {
	w, file := newWriter(t)
	type message struct {
		src, dst netip.AddrPort
		payload  []byte
	}
	long := bytes.Repeat([]byte("0123456789"), 2*maxSegment/10+7)
	messages := []message{
		{alice4, pbx4, []byte("REGISTER")},
		{pbx4, alice4, []byte("SIP/2.0 401 Unauthorized")},
		{alice6, pbx6, []byte("OPTIONS")}, // another connection in between
		{alice4, pbx4, long},
		{alice4, pbx4, nil},
		{pbx4, alice4, []byte("\r\n")},
	}
	for i, m := range messages {
		if err := w.TCP(time.Unix(int64(i), 0), m.src, m.dst, m.payload); err != nil {
			t.Fatal(err)
		}
	}
	type state struct {
		next uint32
		data []byte
	}
	states := map[flow]*state{}
	handshakes := 0
	for i, p := range read(t, file.Bytes()) {
		mine, theirs := states[flow{p.src, p.dst}], states[flow{p.dst, p.src}]
		if p.flags&syn != 0 {
			if mine != nil || len(p.payload) > 0 {
				t.Fatalf("packet %d: SYN in a connection", i)
			}
			mine = &state{next: p.seq}
			states[flow{p.src, p.dst}] = mine
			handshakes++
		}
		if mine == nil || p.seq != mine.next {
			t.Fatalf("packet %d: sequence number %d out of place", i, p.seq)
		}
		if (p.flags&ack != 0) != (theirs != nil) || theirs != nil && p.ack != theirs.next {
			t.Fatalf("packet %d: flags %#x acknowledge %d", i, p.flags, p.ack)
		}
		mine.next += uint32(len(p.payload))
		if p.flags&syn != 0 {
			mine.next++
		}
		mine.data = append(mine.data, p.payload...)
	}
	if handshakes != 4 { // two connections of two directions
		t.Errorf("%d SYNs", handshakes)
	}
	want := map[flow][]byte{}
	for _, m := range messages {
		want[flow{m.src, m.dst}] = append(want[flow{m.src, m.dst}], m.payload...)
	}
	for f, data := range want {
		if !bytes.Equal(states[f].data, data) {
			t.Errorf("%v to %v: %d octets, want %d", f.src, f.dst, len(states[f].data), len(data))
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	w, err := NewWriter(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxStreams {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 5060)
		if err := w.TCP(time.Unix(0, 0), src, pbx4, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if len(w.streams) > 2*maxStreams {
			t.Fatalf("%d directions remembered", len(w.streams))
		}
	}
}

func TestAddresses(t *testing.T) {
	w, file := newWriter(t)
	mapped := netip.AddrPortFrom(netip.AddrFrom16(alice4.Addr().As16()), alice4.Port())
	zoned := netip.MustParseAddrPort("[fe80::1%eth0]:5060")
	if err := errors.Join(w.UDP(time.Unix(0, 0), mapped, pbx4, nil), w.UDP(time.Unix(0, 0), zoned, pbx6, nil)); err != nil {
		t.Fatal(err)
	}
	got := read(t, file.Bytes())
	if got[0].src != alice4 || got[1].src != netip.MustParseAddrPort("[fe80::1]:5060") {
		t.Errorf("sources %v, %v", got[0].src, got[1].src)
	}
	for _, ends := range [][2]netip.AddrPort{{alice4, pbx6}, {{}, pbx4}, {alice6, {}}} {
		if err := w.UDP(time.Unix(0, 0), ends[0], ends[1], nil); !errors.Is(err, ErrAddr) {
			t.Errorf("UDP from %v to %v: error %v", ends[0], ends[1], err)
		}
		if err := w.TCP(time.Unix(0, 0), ends[0], ends[1], []byte("x")); !errors.Is(err, ErrAddr) {
			t.Errorf("TCP from %v to %v: error %v", ends[0], ends[1], err)
		}
	}
	if err := w.UDP(time.Unix(0, 0), alice4, pbx4, make([]byte, maxUDP+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("error %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	w, file := newWriter(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				if err := w.TCP(time.Unix(0, 0), netip.AddrPortFrom(alice4.Addr(), uint16(i)), pbx4, []byte("abc")); err != nil {
					t.Error(err)
				}
				if err := w.UDP(time.Unix(0, 0), alice6, pbx6, []byte("abc")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(read(t, file.Bytes())); n != 8*(100+3) {
		t.Errorf("%d packets", n)
	}
}

// failing lets n writes pass.
type failing int

func (f *failing) Write(p []byte) (int, error) {
	if *f--; *f < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	none := failing(0)
	if _, err := NewWriter(&none); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v", err)
	}
	few := failing(2)
	w, err := NewWriter(&few)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.TCP(time.Unix(0, 0), alice4, pbx4, []byte("x")); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("error %v", err)
		}
	}
	few = 100
	if err := w.UDP(time.Unix(0, 0), alice4, pbx4, nil); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("the file goes on after a gap: error %v", err)
	}
}
