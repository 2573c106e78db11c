package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
)

// pair is two hosts and a connection between them.
type pair struct {
	n            *memnet.Network
	alice, pbx   *memnet.Host
	client, serv net.Conn
}

func connect(t *testing.T) *pair {
	t.Helper()
	p := &pair{n: memnet.New()}
	p.alice, p.pbx = p.n.Host("10.0.0.1", "2001:db8::1"), p.n.Host("10.0.0.2")
	l := must(p.pbx.Listen(t.Context(), "tcp", ":5060"))(t)
	p.client = must(p.alice.Dial(t.Context(), "tcp", "10.0.0.2:5060"))(t)
	p.serv = must(l.Accept())(t)
	return p
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func read(t *testing.T, c io.Reader, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v; want %q", b, err, want)
	}
}

func write(t *testing.T, c io.Writer, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

func TestStream(t *testing.T) {
	for _, c := range []struct {
		name, listen, dial string
		own                bool
	}{
		{"IPv4", ":5060", "10.0.0.2:5060", false},
		{"IPv6", "[::]:5060", "[2001:db8::2]:5060", false},
		{"one address", "10.0.0.2:5060", "10.0.0.2:5060", false},
		{"IPv4 alone", "0.0.0.0:5060", "10.0.0.2:5060", false},
		{"loopback", "localhost:5060", "127.0.0.1:5060", true},
		{"own address", ":5060", "10.0.0.2:5060", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := memnet.New()
			a, b := n.Host("10.0.0.1", "2001:db8::1"), n.Host("10.0.0.2", "2001:db8::2")
			if c.own {
				a = b
			}
			l := must(b.Listen(t.Context(), "tcp", c.listen))(t)
			near := must(a.Dial(t.Context(), "tcp", c.dial))(t)
			far := must(l.Accept())(t)
			if near.LocalAddr().String() != far.RemoteAddr().String() || near.RemoteAddr().String() != c.dial {
				t.Errorf("addresses %v, %v at one end and %v, %v at the other", near.LocalAddr(), near.RemoteAddr(), far.LocalAddr(), far.RemoteAddr())
			}
			write(t, near, "ping")
			read(t, far, "ping")
			write(t, far, "pong")
			far.Close()
			read(t, near, "pong")
			if _, err := near.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("after the peer's Close: %v", err)
			}
			if _, err := near.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("write to a closed end: %v", err)
			}
			near.Close()
			if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("read after Close: %v", err)
			}
		})
	}
}

// A transfer larger than the buffer needs the writer to wait for the reader,
// in real time too.
func TestBulk(t *testing.T) {
	p := connect(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	go func() {
		p.client.Write(data)
		p.client.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(p.serv)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	write(t, p.serv, "thanks") // the other direction is still open
	read(t, p.client, "thanks")
}

func TestDialFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2", "2001:db8::2")
		n.BlackHole("10.0.0.9", true)
		n.Impair(a, b, memnet.Impairment{Latency: 5 * time.Millisecond})
		for _, c := range []struct {
			addr  string
			after time.Duration
			want  error
		}{
			{"10.0.0.2:1", 10 * time.Millisecond, syscall.ECONNREFUSED},
			{"[2001:db8::2]:1", 0, syscall.ENETUNREACH},
			{"10.0.0.9:1", time.Second, context.DeadlineExceeded},
			{"10.0.0.77:1", time.Second, context.DeadlineExceeded},
		} {
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := a.Dial(ctx, "tcp", c.addr)
			cancel()
			var ne net.Error
			if !errors.Is(err, c.want) || !errors.As(err, &ne) || ne.Timeout() != (c.want == context.DeadlineExceeded) {
				t.Errorf("%s: %v, want %v", c.addr, err, c.want)
			}
			if d := time.Since(start); d != c.after {
				t.Errorf("%s took %v, want %v", c.addr, d, c.after)
			}
		}
		for _, addr := range []string{"10.0.0.2", "pbx:1", "10.0.0.2:http", ":1", "10.0.0.2:0"} {
			if _, err := a.Dial(t.Context(), "tcp", addr); err == nil {
				t.Errorf("dialled %q", addr)
			}
		}
	})
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t)
		p.n.Impair(p.alice, p.pbx, memnet.Impairment{Latency: 30 * time.Millisecond, Jitter: 10 * time.Millisecond})
		start := time.Now()
		for range 100 {
			write(t, p.client, "a")
			write(t, p.client, "b")
		}
		p.client.Close()
		read(t, p.serv, "a")
		if d := time.Since(start); d < 30*time.Millisecond || d > 40*time.Millisecond {
			t.Errorf("first byte after %v", d)
		}
		rest, err := io.ReadAll(p.serv)
		if err != nil || string(rest) != strings.Repeat("ab", 100)[1:] {
			t.Errorf("jitter broke the order: %q, %v", rest, err)
		}
		if d := time.Since(start); d <= 30*time.Millisecond || d > 40*time.Millisecond {
			t.Errorf("last byte after %v", d)
		}
	})
}

func TestCutSilentlyAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t)
		p.n.Impair(p.alice, p.pbx, memnet.Impairment{Latency: 10 * time.Millisecond})
		write(t, p.client, "under way,")
		p.n.CutSilently(p.alice, p.pbx)
		write(t, p.client, "and after the cut")
		p.serv.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := p.serv.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("something crossed the cut: %v", err)
		}
		p.client.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := p.client.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
			t.Errorf("write into the cut: %d, %v", n, err)
		}
		dialled := make(chan error)
		go func() {
			_, err := p.alice.Dial(t.Context(), "tcp", "10.0.0.2:5060")
			dialled <- err
		}()
		synctest.Wait()
		select {
		case err := <-dialled:
			t.Fatalf("dial across the cut: %v", err)
		default:
		}
		start := time.Now()
		p.n.Heal(p.alice, p.pbx)
		p.serv.SetReadDeadline(time.Time{})
		read(t, p.serv, "under way,and after the cut")
		if d := time.Since(start); d != 10*time.Millisecond {
			t.Errorf("arrived %v after healing", d)
		}
		if err := <-dialled; err != nil {
			t.Errorf("dial after healing: %v", err)
		}
	})
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t)
		var wg sync.WaitGroup
		for _, c := range []net.Conn{p.client, p.serv} {
			wg.Go(func() {
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("read: %v", err)
				}
				if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("write: %v", err)
				}
			})
		}
		synctest.Wait()
		if k := p.n.Reset(p.pbx, p.alice); k != 1 {
			t.Errorf("%d connections reset", k)
		}
		wg.Wait()
		if k := p.n.Reset(p.pbx, p.alice); k != 0 {
			t.Errorf("%d connections reset again", k)
		}
	})
}

func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		l := must(b.Listen(t.Context(), "tcp", ":1"))(t)
		for range 128 {
			must(a.Dial(t.Context(), "tcp", "10.0.0.2:1"))(t)
		}
		done := make(chan net.Conn)
		go func() {
			c, _ := a.Dial(t.Context(), "tcp", "10.0.0.2:1")
			done <- c
		}()
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("the backlog has no bound")
		default:
		}
		must(l.Accept())(t)
		c := <-done
		l.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("not accepted, listener closed: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
	})
}

func TestMovedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := connect(t)
		alice := must(p.alice.ListenPacket(t.Context(), "udp", ":0"))(t)
		pbx := must(p.pbx.ListenPacket(t.Context(), "udp", ":5060"))(t)
		to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.0.0.2:5060"))
		source := func() string {
			must(alice.WriteTo([]byte("x"), to))(t)
			_, from, err := pbx.ReadFrom(make([]byte, 10))
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := net.SplitHostPort(from.String())
			return host
		}
		if s := source(); s != "10.0.0.1" {
			t.Errorf("from %s", s)
		}
		p.alice.SetAddrs("192.0.2.7")
		if s := source(); s != "192.0.2.7" {
			t.Errorf("from %s after the move", s)
		}
		write(t, p.client, "x")
		p.serv.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := p.serv.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection outlived its address: %v", err)
		}
		p.alice.SetAddrs("192.0.2.7", "10.0.0.1")
		p.serv.SetReadDeadline(time.Time{})
		read(t, p.serv, "x")
		if _, err := p.alice.Listen(t.Context(), "tcp", "10.0.0.2:1"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("listening on another's address: %v", err)
		}
	})
}

func TestDatagramsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, st := volley(t, memnet.Impairment{Latency: 20 * time.Millisecond}, 100)
		if len(got) != 100 || !slices.IsSorted(got) {
			t.Errorf("got %v", got)
		}
		if st != (memnet.Stats{Sent: 100}) {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestImpairedDatagrams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, st := volley(t, memnet.Impairment{Jitter: 20 * time.Millisecond, Loss: 0.25, Duplicate: 0.25}, 200)
		if slices.IsSorted(got) {
			t.Error("no datagram overtook another")
		}
		if st.Lost < 20 || st.Lost > 80 || st.Duplicated < 10 || st.Duplicated > 70 || len(got) != 200-st.Lost+st.Duplicated {
			t.Errorf("%d arrived, stats %+v", len(got), st)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		third := func(_, _ netip.AddrPort, b []byte) bool { return b[0] == 3 }
		got, st := volley(t, memnet.Impairment{Drop: third}, 5)
		if !slices.Equal(got, []byte{0, 1, 2, 4}) || st.Lost != 1 {
			t.Errorf("got %v, stats %+v", got, st)
		}
	})
}

// volley sends count datagrams and returns the first bytes of those that came
// within a second.
func volley(t *testing.T, i memnet.Impairment, count int) ([]byte, memnet.Stats) {
	t.Helper()
	n := memnet.New()
	a, b := n.Host("2001:db8::1"), n.Host("2001:db8::2")
	n.ImpairAll(i)
	in := must(b.ListenPacket(t.Context(), "udp", ":9"))(t)
	out := must(a.Dial(t.Context(), "udp", "[2001:db8::2]:9"))(t)
	for k := range count {
		write(t, out, string(byte(k)))
	}
	in.SetReadDeadline(time.Now().Add(time.Second))
	var got []byte
	for {
		b := make([]byte, 10)
		if _, _, err := in.ReadFrom(b); err != nil {
			return got, n.Stats()
		}
		got = append(got, b[0])
	}
}

// What nobody reads is dropped, as a kernel does.
func TestReceiveQueueBounded(t *testing.T) {
	n := memnet.New()
	a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
	in := must(b.ListenPacket(t.Context(), "udp", "10.0.0.2:9"))(t)
	out := must(a.Dial(t.Context(), "udp", "10.0.0.2:9"))(t)
	for range 2000 {
		write(t, out, strings.Repeat("x", 200))
	}
	st := n.Stats()
	if st.Overflowed < 1500 || st.Overflowed > 1900 {
		t.Errorf("stats %+v", st)
	}
	write(t, out, "")
	in.Close()
	write(t, out, "nobody is there now")
	if lost := n.Stats().Lost; lost != 1 {
		t.Errorf("%d lost", lost)
	}
	if _, err := out.Write(make([]byte, 65508)); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("oversized datagram: %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	h := memnet.New().Host("10.0.0.1")
	must(h.Listen(t.Context(), "tcp", ":5060"))(t)
	must(h.ListenPacket(t.Context(), "udp", ":5060"))(t)
	if _, err := h.Listen(t.Context(), "tcp", ":5060"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
	if _, err := h.ListenPacket(t.Context(), "udp", ":5060"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error(err)
	}
}
