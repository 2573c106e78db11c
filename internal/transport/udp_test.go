package transport

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSTUN_RFC5626_4_4_2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f := w.connect(t, UDP, "10.0.0.2")
		ask := func(id byte) netip.AddrPort {
			if err := f.SendSTUN([12]byte{id}); err != nil {
				t.Fatal(err)
			}
			e := w.ch.next(t, "stun")
			if e.f != f || e.err != nil || e.text[0] != id {
				t.Errorf("%+v", e)
			}
			return e.mapped
		}
		if got := ask(1); got != f.Local() {
			t.Errorf("mapped %v, local %v", got, f.Local())
		}
		w.a.SetAddrs("192.0.2.1", "2001:db8::7")
		if got := ask(2); got.Addr().String() != "192.0.2.1" {
			t.Errorf("mapped %v after the move", got)
		}
		f = w.client.sockets[0].Flow(netip.MustParseAddrPort("[2001:db8::2]:5060"))
		if got := ask(3); got.Addr().String() != "2001:db8::7" {
			t.Errorf("mapped %v over IPv6", got)
		}
		synctest.Wait()
		w.sh.none(t) // it answers by itself
		if err := w.connect(t, TCP, "10.0.0.2").SendSTUN([12]byte{}); err == nil {
			t.Error("STUN over TCP")
		}
	})
}

// Keep-alives without an answer, and noise.
func TestDatagramsWithoutMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f := w.connect(t, UDP, "10.0.0.2")
		f.SendPing()
		for _, s := range []string{"", "\r\n", "\x00", "\r\n\r\n\r\n"} {
			f.Send([]byte(s))
		}
		synctest.Wait()
		w.sh.none(t)
		w.ch.none(t)
		f.Send([]byte("hello"))
		if e := w.sh.next(t, "bad"); e.status != 0 {
			t.Errorf("status %d", e.status)
		}
		// Not everything with a magic cookie is STUN.
		for _, s := range []string{"\x00\x01\x00\x04", "\x01\x01\x00\x00", "\x01\x11\x00\x01"} {
			f.Send([]byte(s + "\x21\x12\xa4\x42" + strings.Repeat("x", 12)))
		}
		f.Send(options(""))
		w.sh.next(t, "message")
		w.sh.none(t)
	})
}

func TestUDPTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f := w.connect(t, UDP, "10.0.0.2")
		overhead := len(options(repeat(60_000))) - 60_000
		b := options(strings.Repeat("x", maxDatagram-overhead))
		if err := f.Send(b); err != nil || len(b) != 65507 {
			t.Errorf("%d bytes: %v", len(b), err)
		}
		if e := w.sh.next(t, "message"); e.text != string(b) {
			t.Errorf("%d bytes arrived", len(e.text))
		}
		if err := f.Send(append(b, 'x')); err != ErrTooLarge {
			t.Errorf("%d bytes: %v", len(b)+1, err)
		}
		w.b.SetAddrs("10.0.0.2")
		w.a.SetAddrs("2001:db8::1")
		var oe *net.OpError
		if err := f.Send(options("")); !errors.As(err, &oe) {
			t.Errorf("no way there: %v", err)
		}
	})
}

// What is remembered of peers is bounded in number and time; flows that were
// asked for stay.
func TestPeersBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_, s *Config) { s.MaxPeers, s.PeerTimeout = 100, time.Minute })
		defer w.close()
		s := must(w.server.UDP(t.Context(), ":5060"))(t)
		from := func(port int) {
			pc := must(w.a.ListenPacket(t.Context(), "udp", fmt.Sprintf(":%d", port)))(t)
			pc.WriteTo(options(""), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 5060})
			w.sh.next(t, "message")
			pc.Close()
		}
		mine := s.Flow(netip.MustParseAddrPort("10.0.0.1:999"))
		for i := range 300 {
			from(1000 + i)
		}
		s.mu.Lock()
		if len(s.peers) != 100 {
			t.Errorf("%d peers", len(s.peers))
		}
		s.mu.Unlock()
		<-time.After(2 * time.Minute)
		from(5000)
		s.mu.Lock()
		if len(s.peers) != 2 {
			t.Errorf("%d peers after a silence", len(s.peers))
		}
		s.mu.Unlock()
		if s.Flow(mine.Remote()) != mine {
			t.Error("the flow that was asked for is another now")
		}
		mine.Close(nil)
		if s.Flow(mine.Remote()) == mine || mine.Err() != ErrClosed || mine.Send(options("")) != ErrClosed {
			t.Error("a closed flow goes on")
		}
		other := s.Flow(netip.MustParseAddrPort("10.0.0.1:998"))
		s.Close()
		s.Close()
		if other.Err() != ErrClosed || s.Flow(mine.Remote()).Err() != ErrClosed {
			t.Error("flows outlive their socket")
		}
		if len(w.server.sockets) != 0 {
			t.Error("the socket is still in the books")
		}
	})
}

// A read error that is not the socket's end does not end it.
func TestUDPReadErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pc := &flakyPacketConn{left: 20, data: options("")}
		w := newWorld(t, nil)
		pc.PacketConn = must(w.a.ListenPacket(t.Context(), "udp", ":1"))(t)
		h := newRecorder(10)
		tr := New(Config{ListenPacket: func(context.Context, string, string) (net.PacketConn, error) { return pc, nil }}, h)
		start := time.Now()
		must(tr.UDP(t.Context(), ":1"))(t)
		e := h.next(t, "message")
		if d := time.Since(start); d != 40*time.Millisecond || e.f.Remote().Port() != 9 {
			t.Errorf("read from %v after %v", e.f.Remote(), d)
		}
		if err := e.f.Send(options("")); err != nil {
			t.Error(err)
		}
		tr.Close()
		w.close()
	})
}

// flakyPacketConn fails a few times before its first datagram. It has none of
// net.UDPConn's own methods.
type flakyPacketConn struct {
	net.PacketConn
	left int
	data []byte
}

func (c *flakyPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.left--
	switch {
	case c.left >= 0:
		return 0, nil, errors.New("connection refused")
	case c.left == -1:
		return copy(b, c.data), &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 9}, nil
	}
	return c.PacketConn.ReadFrom(b)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The sample responses of RFC 5769 §2.2 and §2.3. Their fingerprints (RFC 5389
// §15.5) show that they are what the RFC has.
const (
	sampleIPv4 = `0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220
		00200008 0001a147e112a643 00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96`
	sampleIPv6 = `01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220
		00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9 00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c`
)

func TestSTUNSamples_RFC5769(t *testing.T) {
	for _, c := range []struct{ hex, want string }{
		{sampleIPv4, "192.0.2.1:32853"},
		{sampleIPv6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
	} {
		b := unhex(t, c.hex)
		if sum := crc32.ChecksumIEEE(b[:len(b)-8]) ^ 0x5354554e; fmt.Sprintf("%08x", sum) != hex.EncodeToString(b[len(b)-4:]) {
			t.Fatalf("fingerprint %08x", sum)
		}
		m, ok := parseSTUN(b)
		if !isSTUN(b) || !ok || m.kind != stunResponse || m.mapped.String() != c.want || hex.EncodeToString(m.id[:]) != "b7e7a701bc34d686fa87dfae" || m.unknown != nil {
			t.Errorf("%+v, %v", m, ok)
		}
		// Ours says the same.
		again, ok := parseSTUN(bindingResponse(stunMessage{id: m.id}, m.mapped))
		if !ok || again.mapped != m.mapped || again.id != m.id || again.kind != m.kind {
			t.Errorf("%+v, %v", again, ok)
		}
	}
}

func TestSTUNAttributes(t *testing.T) {
	id := [12]byte{1, 2, 3}
	req := bindingRequest(id)
	for _, c := range []struct {
		name string
		b    []byte
		ok   bool
		want stunMessage
	}{
		{"request", req, true, stunMessage{kind: stunRequest, id: id}},
		{"MAPPED-ADDRESS of an old server", appendAttribute(appendSTUN(stunResponse, id), attrMappedAddress, []byte{0, 1, 0, 9, 192, 0, 2, 1}), true,
			stunMessage{kind: stunResponse, id: id, mapped: netip.MustParseAddrPort("192.0.2.1:9")}},
		{"error", appendAttribute(appendSTUN(stunError, id), attrErrorCode, []byte{0, 0, 4, 1, 'x'}), true, stunMessage{kind: stunError, id: id, code: 401}},
		{"address of no family", appendAttribute(appendSTUN(stunResponse, id), attrXORMappedAddress, []byte{0, 3, 0, 9, 192, 0, 2, 1}), true, stunMessage{kind: stunResponse, id: id}},
		{"address too short", appendAttribute(appendSTUN(stunResponse, id), attrXORMappedAddress, []byte{0, 2, 0, 9, 192, 0, 2, 1}), true, stunMessage{kind: stunResponse, id: id}},
		{"length too small", append(bindingRequest(id), 0, 0, 0, 0), false, stunMessage{}},
		{"attribute beyond the end", append(appendAttribute(bindingRequest(id), 0x8022, []byte("1234"))[:22], 0, 9, '1', '2', '3', '4'), false, stunMessage{}},
	} {
		m, ok := parseSTUN(c.b)
		if ok != c.ok || ok && fmt.Sprint(m) != fmt.Sprint(c.want) {
			t.Errorf("%s: %+v, %v", c.name, m, ok)
		}
	}

	// RFC 5389 §7.3.1: an attribute that must be understood and is not gets
	// a 420 that names it.
	m, _ := parseSTUN(appendAttribute(req, 0x7777, nil))
	res := bindingResponse(m, netip.MustParseAddrPort("192.0.2.1:9"))
	if m, ok := parseSTUN(res); !ok || m.kind != stunError || m.code != 420 || m.id != id || hex.EncodeToString(res[len(res)-4:len(res)-2]) != "7777" {
		t.Errorf("%+v, %v: %x", m, ok, res)
	}
	if s := (&STUNError{420}).Error(); !strings.Contains(s, "420") {
		t.Error(s)
	}
}

func FuzzSTUN(f *testing.F) {
	f.Add(unhex(f, sampleIPv4))
	f.Add(unhex(f, sampleIPv6))
	f.Add(bindingRequest([12]byte{}))
	f.Add(appendAttribute(bindingRequest([12]byte{}), 0x7777, []byte("x")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !isSTUN(b) {
			return
		}
		m, ok := parseSTUN(b)
		if !ok {
			return
		}
		from := netip.MustParseAddrPort("[2001:db8::1]:5060")
		answer := bindingResponse(m, from)
		a, ok := parseSTUN(answer)
		switch {
		case !isSTUN(answer) || !ok || a.id != m.id:
			t.Fatalf("answer %x", answer)
		case len(m.unknown) > 0 && (a.kind != stunError || a.code != 420):
			t.Fatalf("unknown attributes answered with %+v", a)
		case len(m.unknown) == 0 && a.mapped != from:
			t.Fatalf("answer %+v", a)
		}
	})
}
