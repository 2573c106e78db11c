package rtpio_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/rtpio"
)

// wrapped hides the type of a net.UDPConn, so that the portable Conn is used.
type wrapped struct{ net.PacketConn }

func listen(tb testing.TB, network, addr string, portable bool) rtpio.Conn {
	tb.Helper()
	c, err := net.ListenPacket(network, addr)
	if err != nil {
		tb.Skip(err)
	}
	if portable {
		c = wrapped{c}
	}
	r, err := rtpio.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

// drain collects packets until there are n. What is sent on loopback is there
// when the call returns on some systems, and a moment later on others.
func drain(tb testing.TB, c rtpio.Conn, n int) (data [][]byte, from []netip.AddrPort) {
	tb.Helper()
	b := rtpio.NewBatch()
	for len(data) < n && tb.Context().Err() == nil {
		err := c.Drain(b, time.Now(), func(p *rtpio.Packet) {
			if age := time.Since(p.At); age < 0 || age > time.Minute {
				tb.Errorf("arrived %v ago", age)
			}
			data = append(data, bytes.Clone(p.Data))
			from = append(from, p.From)
		})
		if err != nil {
			tb.Fatal(err)
		}
		runtime.Gosched()
	}
	return data, from
}

func TestConn(t *testing.T) {
	for _, tt := range []struct {
		name, network, addr string
		portable            bool
	}{
		{"IPv4", "udp4", "127.0.0.1:0", false},
		{"IPv6", "udp6", "[::1]:0", false},
		{"both families", "udp", "[::]:0", false},
		{"portable IPv4", "udp4", "127.0.0.1:0", true},
		{"portable IPv6", "udp6", "[::1]:0", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := listen(t, tt.network, tt.addr, tt.portable), listen(t, tt.network, tt.addr, tt.portable)
			to := b.LocalAddr()
			if to.Addr().IsUnspecified() {
				to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
			}
			// More than one batch, and every one whole.
			for i := range 40 {
				if err := a.WriteTo(bytes.Repeat([]byte{byte(i)}, i+1), to); err != nil {
					t.Fatal(err)
				}
			}
			data, from := drain(t, b, 40)
			for i, p := range data {
				if len(p) != i+1 || p[0] != byte(i) {
					t.Fatalf("packet %d is %d bytes of %d", i, len(p), p[0])
				}
				if from[i].Port() != a.LocalAddr().Port() || from[i].Addr() != to.Addr() {
					t.Fatalf("from %v, want %v", from[i], a.LocalAddr())
				}
			}
			if err := b.WriteTo([]byte("back"), from[0]); err != nil {
				t.Fatal(err)
			}
			if data, _ := drain(t, a, 1); string(data[0]) != "back" {
				t.Errorf("got %q", data[0])
			}
		})
	}
}

func TestTooLong(t *testing.T) {
	for _, portable := range []bool{false, true} {
		a, b := listen(t, "udp4", "127.0.0.1:0", portable), listen(t, "udp4", "127.0.0.1:0", portable)
		for _, n := range []int{rtpio.MaxPacket + 1, rtpio.MaxPacket, 9000} {
			if err := a.WriteTo(make([]byte, n), b.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.WriteTo([]byte("end"), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		data, _ := drain(t, b, 2)
		if len(data) != 2 || len(data[0]) != rtpio.MaxPacket || string(data[1]) != "end" {
			t.Errorf("portable %v: %d packets, the first of %d bytes", portable, len(data), len(data[0]))
		}
	}
}

func TestClosed(t *testing.T) {
	for _, portable := range []bool{false, true} {
		a := listen(t, "udp4", "127.0.0.1:0", portable)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := a.WriteTo([]byte("x"), a.LocalAddr()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("WriteTo: %v", err)
		}
		if err := a.Drain(rtpio.NewBatch(), time.Now(), func(*rtpio.Packet) { t.Error("a packet") }); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Drain: %v", err)
		}
	}
}

func TestWrongFamily(t *testing.T) {
	a := listen(t, "udp4", "127.0.0.1:0", false)
	if err := a.WriteTo([]byte("x"), netip.MustParseAddrPort("[::1]:9")); err == nil {
		t.Error("an IPv4 socket sent to an IPv6 address")
	}
	if err := a.WriteTo([]byte("x"), netip.AddrPort{}); err == nil {
		t.Error("sent to no address")
	}
}

func TestAllocs(t *testing.T) {
	a, b := listen(t, "udp4", "127.0.0.1:0", false), listen(t, "udp4", "127.0.0.1:0", false)
	batch, p, to := rtpio.NewBatch(), make([]byte, 172), b.LocalAddr()
	handle := func(*rtpio.Packet) {}
	if n := testing.AllocsPerRun(100, func() {
		a.WriteTo(p, to)
		b.Drain(batch, time.Now(), handle)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkSendDrain(b *testing.B) {
	for _, portable := range []bool{false, true} {
		name := "raw"
		if portable {
			name = "portable"
		}
		b.Run(name, func(b *testing.B) {
			x, y := listen(b, "udp4", "127.0.0.1:0", portable), listen(b, "udp4", "127.0.0.1:0", portable)
			batch, p, to := rtpio.NewBatch(), make([]byte, 182), y.LocalAddr()
			handle := func(*rtpio.Packet) {}
			b.ReportAllocs()
			for b.Loop() {
				x.WriteTo(p, to)
				y.Drain(batch, time.Now(), handle)
			}
		})
	}
}
