package mediatest_test

import (
	"encoding/binary"
	"math"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media/mediatest"
)

const ms = time.Millisecond

var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

type arrival struct {
	n  int
	at time.Duration
}

// run sends n packets 20 ms apart and returns what comes out, going from
// deadline to deadline.
func run(im mediatest.Impairment, n int) (l *mediatest.Link, got []arrival) {
	l = mediatest.NewLink(im)
	empty := func(until time.Time) {
		for {
			at, ok := l.Deadline()
			if !ok || at.After(until) {
				return
			}
			for b := l.Receive(at); b != nil; b = l.Receive(at) {
				got = append(got, arrival{int(binary.BigEndian.Uint32(b)), at.Sub(start)})
			}
		}
	}
	for i := range n {
		now := start.Add(time.Duration(i) * 20 * ms)
		empty(now)
		l.Send(now, binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	empty(start.Add(time.Duration(n)*20*ms + time.Hour))
	return l, got
}

func TestLinkDelays(t *testing.T) {
	_, got := run(mediatest.Impairment{Delay: 70 * ms}, 100)
	for i, a := range got {
		if a.n != i || a.at != time.Duration(i)*20*ms+70*ms {
			t.Fatalf("%+v", a)
		}
	}
	if len(got) != 100 {
		t.Errorf("%d packets", len(got))
	}

	_, got = run(mediatest.Impairment{Delay: 70 * ms, Jitter: 50 * ms}, 5000)
	var sum, most time.Duration
	for i, a := range got {
		late := a.at - time.Duration(a.n)*20*ms - 70*ms
		if a.n != i || late < 0 || late >= 50*ms {
			t.Fatalf("packet %d is %v late", a.n, late)
		}
		sum, most = sum+late, max(most, late)
	}
	if mean := sum / time.Duration(len(got)); len(got) != 5000 || mean < 22*ms || mean > 34*ms || most < 48*ms {
		t.Errorf("%d packets, %v late on average, %v at most", len(got), mean, most)
	}
}

// TestLinkLoses: the share lost is what was asked for, alone or in bursts of
// the length asked for.
func TestLinkLoses(t *testing.T) {
	for _, tt := range []struct{ loss, burst, runs float64 }{
		{0.1, 0, 1 / 0.9}, {0.1, 2.5, 2.5}, {0.3, 1, 1 / 0.7}, {0.05, 8, 8}, {1, 0, 0}, {1, 5, 0},
	} {
		const n = 100000
		l, got := run(mediatest.Impairment{Loss: tt.loss, Burst: tt.burst, Seed: 5}, n)
		bursts, next := 0, 0
		for _, a := range got {
			if a.n != next {
				bursts++
			}
			next = a.n + 1
		}
		lost := n - len(got)
		if share := float64(lost) / n; math.Abs(share-tt.loss) > 0.1*tt.loss || l.Stats().Lost != lost || l.Stats().Sent != n {
			t.Errorf("%+v: %.3f lost, %+v", tt, share, l.Stats())
		}
		if mean := float64(lost) / float64(bursts); tt.runs > 0 && math.Abs(mean-tt.runs) > 0.1*tt.runs {
			t.Errorf("%+v: bursts of %.2f", tt, mean)
		}
	}
}

func TestLinkReordersAndDuplicates(t *testing.T) {
	l, got := run(mediatest.Impairment{Delay: 10 * ms, Reorder: 0.1, Duplicate: 0.05, Seed: 9}, 10000)
	times := make([]int, 10000)
	behind := 0
	for i, a := range got {
		times[a.n]++
		if i > 0 && a.n < got[i-1].n {
			behind++
		}
	}
	twice := 0
	for n, c := range times {
		if c == 0 {
			t.Fatalf("packet %d is lost", n)
		}
		twice += c - 1
	}
	if s := l.Stats(); twice < 400 || twice > 600 || s.Duplicated != twice || behind < 700 || behind > 1300 || s.Lost != 0 {
		t.Errorf("%d twice, %d behind, %+v", twice, behind, s)
	}
	// One that nothing follows comes by itself.
	if _, got := run(mediatest.Impairment{Reorder: 1}, 1); len(got) != 1 {
		t.Errorf("a single packet arrived %d times", len(got))
	}
}

// TestLinkIsDeterministic: the same seed, the same fate.
func TestLinkIsDeterministic(t *testing.T) {
	im := mediatest.Impairment{Delay: 50 * ms, Jitter: 30 * ms, Loss: 0.1, Burst: 2, Reorder: 0.1, Duplicate: 0.1, Seed: 42}
	_, a := run(im, 1000)
	_, b := run(im, 1000)
	if !slices.Equal(a, b) {
		t.Error("two runs differ")
	}
	im.Seed++
	if _, b = run(im, 1000); slices.Equal(a, b) {
		t.Error("two seeds do not differ")
	}
}

func TestLinkIsBounded(t *testing.T) {
	l := mediatest.NewLink(mediatest.Impairment{Delay: time.Hour})
	for range 10000 {
		l.Send(start, []byte{1})
	}
	if s := l.Stats(); s.Lost != 10000-4096 {
		t.Errorf("%+v", s)
	}
}

// TestRelay: packets go both ways, as late and as lossy as the links are, on
// sockets in virtual time.
func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := memnet.New().Host("192.0.2.1")
		listen := func() net.PacketConn {
			conn, err := host.ListenPacket(t.Context(), "udp", "192.0.2.1:0")
			if err != nil {
				t.Fatal(err)
			}
			return conn
		}
		client, server := listen(), listen()
		defer client.Close()
		defer server.Close()
		r := mediatest.NewRelay(listen(), listen(), server.LocalAddr(),
			mediatest.Impairment{Delay: 100 * ms}, mediatest.Impairment{Delay: 50 * ms, Loss: 0.5, Seed: 3})

		go func() { // the server echoes
			buf := make([]byte, 100)
			for {
				n, from, err := server.ReadFrom(buf)
				if err != nil {
					return
				}
				if _, err := server.WriteTo(buf[:n], from); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		for i := range 200 {
			if _, err := client.WriteTo([]byte{byte(i)}, r.Addr()); err != nil {
				t.Fatal(err)
			}
		}
		got := 0
		buf := make([]byte, 100)
		for {
			if err := client.SetReadDeadline(began.Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			n, from, err := client.ReadFrom(buf)
			if err != nil {
				break
			}
			if n != 1 || from.String() != r.Addr().String() {
				t.Errorf("%d bytes from %v", n, from)
			}
			if d := time.Since(began); d != 150*ms {
				t.Errorf("an echo after %v", d)
			}
			got++
		}
		up, down := r.Stats()
		if up.Sent != 200 || down.Sent != 200 || got != 200-down.Lost || got < 60 || got > 140 {
			t.Errorf("%d echoes, up %+v, down %+v", got, up, down)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("again: %v", err)
		}
	})
}

// TestRelayOnLoopback is the same with real sockets.
func TestRelayOnLoopback(t *testing.T) {
	listen := func() net.PacketConn {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	client, server := listen(), listen()
	defer client.Close()
	defer server.Close()
	r := mediatest.NewRelay(listen(), listen(), server.LocalAddr(), mediatest.Impairment{}, mediatest.Impairment{})
	defer r.Close()
	if _, err := client.WriteTo([]byte("ping"), r.Addr()); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := server.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "ping" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if _, err := server.WriteTo([]byte("pong"), from); err != nil {
		t.Fatal(err)
	}
	if n, _, err = client.ReadFrom(buf); err != nil || string(buf[:n]) != "pong" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
}
