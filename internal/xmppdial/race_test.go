package xmppdial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
)

const ms = time.Millisecond

// targets are servers on hosts, at 5222.
func targets(hosts ...string) []Target {
	var list []Target
	for _, h := range hosts {
		list = append(list, Target{Host: h, Port: 5222, Domain: "example.com", Service: Client})
	}
	return list
}

// RFC 8305 §4, §5: the order of attempts and their times, to the nanosecond.
func TestRaceTiming_RFC8305_5(t *testing.T) {
	// At 10.0.0.2 and 2001:db8::2 somebody answers, at 10.0.0.3 and 2001:db8::3 the connection is refused; nothing else is there.
	tests := []struct {
		name  string
		hosts map[string][]string
		list  []string
		won   string
		dials string
		after time.Duration
	}{
		{name: "the first", hosts: map[string][]string{"a": {"10.0.0.2"}}, list: []string{"a"},
			won: "10.0.0.2:5222", dials: "0s 10.0.0.2:5222"},
		{name: "the first is a black hole", hosts: map[string][]string{"a": {"10.0.0.9", "10.0.0.2"}}, list: []string{"a"},
			won: "10.0.0.2:5222", dials: "0s 10.0.0.9:5222, 250ms 10.0.0.2:5222", after: 250 * ms},
		{name: "the first is refused", hosts: map[string][]string{"a": {"10.0.0.3", "10.0.0.2"}}, list: []string{"a"},
			won: "10.0.0.2:5222", dials: "0s 10.0.0.3:5222, 0s 10.0.0.2:5222"},
		{name: "IPv6 is broken", hosts: map[string][]string{"a": {"2001:db8::8", "2001:db8::9", "10.0.0.2"}}, list: []string{"a"},
			won: "10.0.0.2:5222", dials: "0s [2001:db8::8]:5222, 250ms 10.0.0.2:5222", after: 250 * ms},
		{name: "IPv4 is broken", hosts: map[string][]string{"a": {"10.0.0.8", "10.0.0.9", "2001:db8::2"}}, list: []string{"a"},
			won: "[2001:db8::2]:5222", dials: "0s 10.0.0.8:5222, 250ms [2001:db8::2]:5222", after: 250 * ms},
		{name: "all targets are one list", hosts: map[string][]string{"a": {"2001:db8::8", "10.0.0.8"}, "b": {"10.0.0.3", "2001:db8::9", "10.0.0.2"}}, list: []string{"a", "b"},
			won:   "10.0.0.2:5222",
			dials: "0s [2001:db8::8]:5222, 250ms 10.0.0.8:5222, 500ms 10.0.0.3:5222, 500ms [2001:db8::9]:5222, 750ms 10.0.0.2:5222", after: 750 * ms},
		{name: "a host without addresses is passed over at once", list: []string{"none", "a"}, hosts: map[string][]string{"a": {"10.0.0.2"}},
			won: "10.0.0.2:5222", dials: "0s 10.0.0.2:5222"},
		{name: "an address literal", list: []string{"2001:db8::2"}, won: "[2001:db8::2]:5222", dials: "0s [2001:db8::2]:5222"},
		{name: "an address twice", hosts: map[string][]string{"a": {"10.0.0.9", "10.0.0.9"}, "b": {"10.0.0.9", "10.0.0.2"}}, list: []string{"a", "b"},
			won: "10.0.0.2:5222", dials: "0s 10.0.0.9:5222, 250ms 10.0.0.2:5222", after: 250 * ms},
		{name: "IPv4 in IPv6", hosts: map[string][]string{"a": {"::ffff:10.0.0.2"}}, list: []string{"a"}, won: "10.0.0.2:5222", dials: "0s 10.0.0.2:5222"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.listen(w.n.Host("10.0.0.2", "2001:db8::2"), "5222", drain)
				w.n.Host("10.0.0.3", "2001:db8::3")
				for h, addrs := range tt.hosts {
					w.res.IP[h] = ips(addrs...)
				}
				c, target, err := w.dialer().Race(targets(tt.list...)).Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the losers are gone
				if got := c.RemoteAddr().String(); got != tt.won || time.Since(w.start) != tt.after || target.Domain != "example.com" {
					t.Errorf("%s after %v, target %v", got, time.Since(w.start), target)
				}
				if got := w.dialled(); got != tt.dials {
					t.Errorf("dialled %s\nwant    %s", got, tt.dials)
				}
				if w.open() != 1 {
					t.Errorf("%d connections are open", w.open())
				}
				c.Close()
			})
		})
	}
}

// RFC 8305 §5: an attempt goes on while the next is made, and may win.
func TestRaceSlowFirstWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow, slower := w.serve("10.0.0.2", "5222", drain), w.serve("10.0.0.3", "5222", drain)
		w.n.Impair(w.client, slow, memnet.Impairment{Latency: 200 * ms})   // there and back: 400 ms
		w.n.Impair(w.client, slower, memnet.Impairment{Latency: 100 * ms}) // from 250 ms to 450
		w.res.IP["a"] = ips("10.0.0.2", "10.0.0.3")
		c, _, err := w.dialer().Race(targets("a")).Next(t.Context())
		if err != nil || c.RemoteAddr().String() != "10.0.0.2:5222" || time.Since(w.start) != 400*ms {
			t.Fatalf("%v after %v", err, time.Since(w.start))
		}
		c.Close()
	})
}

// A connection that comes although its attempt was given up is closed.
func TestRaceLateConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("10.0.0.2", "5222", drain)
		w.serve("10.0.0.3", "5222", drain)
		w.res.IP["a"] = ips("10.0.0.2", "10.0.0.3")
		d := w.dialer()
		d.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "10.0.0.2:5222" {
				time.Sleep(time.Second) // and does not look at its context
				ctx = context.WithoutCancel(ctx)
			}
			return w.dial(ctx, network, address)
		}
		c, _, err := d.Race(targets("a")).Next(t.Context())
		if err != nil || time.Since(w.start) != 250*ms {
			t.Fatalf("%v after %v", err, time.Since(w.start))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(w.opened) != 2 || w.open() != 1 {
			t.Errorf("%d connections, %d open", len(w.opened), w.open())
		}
		c.Close()
	})
}

// The caller is not content, and gets what is left; what was given up for a faster one is tried anew.
func TestRaceNextAndRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("10.0.0.2", "5222", drain)
		slow := w.serve("10.0.0.3", "5222", drain)
		w.n.Impair(w.client, slow, memnet.Impairment{Latency: 300 * ms})
		w.n.Host("10.0.0.4")
		w.res.IP["refusing"], w.res.IP["slow"], w.res.IP["fast"] = ips("10.0.0.4"), ips("10.0.0.3"), ips("10.0.0.2")
		r := w.dialer().Race(targets("refusing", "slow", "fast"))
		bad := errors.New("no such stream")
		for _, want := range []struct {
			host  string
			after time.Duration
		}{{"fast", 250 * ms}, {"slow", 850 * ms}} {
			c, target, err := r.Next(t.Context())
			if err != nil || target.Host != want.host || time.Since(w.start) != want.after {
				t.Fatalf("%v, %v after %v", target, err, time.Since(w.start))
			}
			c.Close()
			r.Refuse(bad)
		}
		_, _, err := r.Next(t.Context())
		var e *DialError
		if !errors.As(err, &e) || !errors.Is(err, bad) || !errors.Is(err, syscall.ECONNREFUSED) || e.Timeout() {
			t.Fatal(err)
		}
		var got []string
		for _, a := range e.Attempts {
			got = append(got, fmt.Sprintf("%s %s %v", a.Target.Host, a.Address, a.Took))
		}
		want := "refusing 10.0.0.4:5222 0s, fast 10.0.0.2:5222 0s, slow 10.0.0.3:5222 600ms"
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("attempts %s", s)
		}
		text := "xmppdial: refusing:5222 at 10.0.0.4:5222: dial tcp 10.0.0.4:5222: connection refused; " +
			"fast:5222 at 10.0.0.2:5222: no such stream; slow:5222 at 10.0.0.3:5222: no such stream"
		if err.Error() != text {
			t.Errorf("text %q", err)
		}
		// It stays so.
		if _, _, again := r.Next(t.Context()); again.Error() != text {
			t.Errorf("again: %v", again)
		}
	})
}

// slowResolver answers late.
type slowResolver struct {
	*locate.Static
	delay map[string]time.Duration
}

func (r slowResolver) LookupIP(ctx context.Context, host string) ([]netip.Addr, error) {
	select {
	case <-time.After(r.delay[host]):
		return r.Static.LookupIP(ctx, host)
	case <-ctx.Done():
		return nil, &locate.Error{Kind: locate.ErrTemporary, Name: host, Err: ctx.Err()}
	}
}

func TestRaceSlowNames(t *testing.T) {
	for _, tt := range []struct {
		name  string
		delay map[string]time.Duration
		want  string
		after time.Duration
	}{
		{"in time", map[string]time.Duration{"a": 100 * ms}, "a", 100 * ms},
		{"later ones are waited for as long", map[string]time.Duration{"a": 200 * ms, "b": 50 * ms}, "a", 200 * ms},
		{"too late", map[string]time.Duration{"a": time.Second}, "b", 250 * ms},
		{"both late", map[string]time.Duration{"a": time.Second, "b": 400 * ms}, "b", 400 * ms},
		{"none, soon", map[string]time.Duration{"none": 30 * ms, "b": 10 * ms}, "b", 30 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.serve("10.0.0.2", "5222", drain)
				w.res.IP["a"], w.res.IP["b"] = ips("10.0.0.2"), ips("10.0.0.2")
				list := targets("a", "b")
				if tt.delay["none"] != 0 {
					list[0].Host = "none"
				}
				d := &Dialer{Dial: w.dial, Resolver: slowResolver{w.res, tt.delay}}
				c, target, err := d.Race(list).Next(t.Context())
				if err != nil || target.Host != tt.want || time.Since(w.start) != tt.after {
					t.Fatalf("%v, %v after %v", target, err, time.Since(w.start))
				}
				c.Close()
			})
		})
	}
}

func TestRaceAllFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.n.Host("10.0.0.3")
		w.res.IP["a"], w.res.IP["b"] = ips("10.0.0.8"), ips("10.0.0.9")
		_, _, err := w.dialer().Race(targets("a", "b")).Next(t.Context())
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() || !errors.Is(err, context.DeadlineExceeded) || time.Since(w.start) != DefaultAttemptTimeout+250*ms {
			t.Errorf("black holes: %v after %v", err, time.Since(w.start))
		}
		_, _, err = w.dialer().Race(targets("none", "10.0.0.3")).Next(t.Context())
		var e *DialError
		if !errors.As(err, &e) || len(e.Attempts) != 2 || e.Timeout() || !errors.Is(err, locate.ErrNotFound) || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("no name, refused: %v", err)
		}
		_, _, err = w.dialer().Race(nil).Next(t.Context())
		if !errors.As(err, &e) || len(e.Attempts) != 0 || e.Timeout() || e.Error() != "xmppdial: there is nothing to connect to" {
			t.Errorf("nothing: %v", err)
		}
		// Without an address of the family the system says so at once.
		w.client.SetAddrs("10.0.0.1")
		begin := time.Now()
		_, _, err = w.dialer().Race(targets("2001:db8::2")).Next(t.Context())
		if !errors.Is(err, syscall.ENETUNREACH) || time.Since(begin) != 0 {
			t.Errorf("no IPv6: %v", err)
		}
	})
}

// The end of the context ends everything; the bubble of the test would not end with a goroutine left.
func TestRaceContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("10.0.0.2", "5222", drain)
		w.res.IP["a"] = ips("10.0.0.8", "10.0.0.9")
		w.res.IP["late"] = ips("10.0.0.2")
		d := &Dialer{Dial: w.dial, Resolver: slowResolver{w.res, map[string]time.Duration{"late": time.Minute}}}
		r := d.Race(targets("a", "late"))
		ctx, cancel := context.WithTimeout(t.Context(), 300*ms)
		defer cancel()
		_, _, err := r.Next(ctx)
		var e *DialError
		if !errors.As(err, &e) || !e.Timeout() || !errors.Is(err, context.DeadlineExceeded) || time.Since(w.start) != 300*ms {
			t.Fatalf("%v after %v", err, time.Since(w.start))
		}
		var got []string
		for _, a := range e.Attempts {
			got = append(got, fmt.Sprintf("%s@%s %v", a.Target.Host, a.Address, a.Took))
		}
		if s := strings.Join(got, ", "); s != "a@10.0.0.8:5222 300ms, a@10.0.0.9:5222 50ms, late@ 0s" {
			t.Errorf("attempts %s", s)
		}
		synctest.Wait()
		if w.open() != 0 {
			t.Errorf("%d connections are open", w.open())
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		dials := len(w.dials)
		if _, _, err := r.Next(cancelled); !errors.Is(err, context.Canceled) || len(w.dials) != dials {
			t.Errorf("%v", err)
		}
		// With a new context it goes on.
		begin := time.Now()
		c, target, err := r.Next(t.Context())
		if err != nil || target.Host != "late" || time.Since(begin) != time.Minute {
			t.Fatalf("%v, %v after %v", target, err, time.Since(begin))
		}
		c.Close()
	})
}

func TestRaceBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.n.Host("10.0.0.3")
		var hosts []string
		for i := range 40 {
			hosts = append(hosts, fmt.Sprintf("h%d", i))
			for j := range 40 {
				w.res.IP[hosts[i]] = append(w.res.IP[hosts[i]], netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j)}))
			}
		}
		res := &recorder{Resolver: w.res}
		refuse := func(context.Context, string, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
		_, _, err := (&Dialer{Dial: refuse, Resolver: res}).Race(targets(hosts...)).Next(t.Context())
		var e *DialError
		if !errors.As(err, &e) || len(e.Attempts) != maxAttempts || len(res.asked) != maxTargets {
			t.Errorf("%d attempts, %d questions", len(e.Attempts), len(res.asked))
		}
		// One host is asked for once, and has its addresses for each port.
		res.asked = nil
		list := append(targets("h1", "h1"), Target{Host: "h1", Port: 443, Direct: true})
		_, _, err = (&Dialer{Dial: refuse, Resolver: res}).Race(list).Next(t.Context())
		if !errors.As(err, &e) || len(e.Attempts) != 2*maxAddrs || len(res.asked) != 1 {
			t.Errorf("%d attempts, %d questions", len(e.Attempts), len(res.asked))
		}
	})
}

// Shorter delays than RFC 8305 §5 allows are not to be had.
func TestAttemptDelay_RFC8305_5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for set, want := range map[time.Duration]time.Duration{0: 250 * ms, time.Nanosecond: 10 * ms, -1: 10 * ms, time.Second: time.Second} {
			w := newWorld(t)
			w.serve("10.0.0.2", "5222", drain)
			d := w.dialer()
			d.AttemptDelay = set
			c, _, err := d.Race(targets("10.0.0.9", "10.0.0.2")).Next(t.Context())
			if err != nil || time.Since(w.start) != want {
				t.Fatalf("%v: %v after %v", set, err, time.Since(w.start))
			}
			c.Close()
		}
	})
}

func TestDialContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("10.0.0.2", "443", drain)
		w.res.IP["xn--bcher-kva.example"] = ips("2001:db8::9", "10.0.0.2")
		c, err := w.dialer().DialContext(t.Context(), "tcp", "b\u00fccher.example:443")
		if err != nil || time.Since(w.start) != 250*ms {
			t.Fatal(err)
		}
		c.Close()
		for _, bad := range [][2]string{{"udp", "10.0.0.2:443"}, {"tcp", "10.0.0.2"}, {"tcp", "10.0.0.2:0"}, {"tcp", "10.0.0.2:http"}, {"tcp", "a b:1"}} {
			if _, err := w.dialer().DialContext(t.Context(), bad[0], bad[1]); err == nil {
				t.Errorf("%v is dialled", bad)
			}
		}
		// Without a resolver names go to Dial.
		d := &Dialer{Dial: func(_ context.Context, _, address string) (net.Conn, error) { return nil, errors.New(address) }}
		if _, err := d.DialContext(t.Context(), "tcp", "example.com:5222"); err == nil || err.Error() != "xmppdial: example.com:5222: example.com:5222" {
			t.Errorf("%v", err)
		}
	})
}
