package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/certcheck"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

// targets are the addresses of one server.
func (w *world) targets(p Proto, host string, addrs ...string) []Target {
	var list []Target
	for _, a := range addrs {
		t := w.target(p, a)
		t.Host = host
		list = append(list, t)
	}
	return list
}

// RFC 8305 §5: while an attempt is silent the next begins beside it after
// 250 ms; when one fails the next begins at once.
func TestHappyEyeballs_RFC8305_5(t *testing.T) {
	for _, c := range []struct {
		name  string
		addrs []string
		after time.Duration
		won   string
	}{
		{"the first answers", []string{"10.0.0.2:1", "10.0.0.9:1"}, 0, "10.0.0.2:1"},
		{"the first is a black hole", []string{"[2001:db8::9]:1", "10.0.0.2:1"}, 250 * time.Millisecond, "10.0.0.2:1"},
		{"two are", []string{"[2001:db8::9]:1", "10.0.0.9:1", "10.0.0.2:1"}, 500 * time.Millisecond, "10.0.0.2:1"},
		{"the first refuses", []string{"10.0.0.2:2", "10.0.0.2:1"}, 0, "10.0.0.2:1"},
		{"the second refuses while the first is silent", []string{"10.0.0.9:1", "10.0.0.2:2", "10.0.0.2:1"}, 250 * time.Millisecond, "10.0.0.2:1"},
		{"families take turns", []string{"[2001:db8::8]:1", "[2001:db8::9]:1", "10.0.0.2:1"}, 250 * time.Millisecond, "10.0.0.2:1"},
	} {
		for _, p := range []Proto{TCP, TLS} {
			t.Run(c.name+" "+string(p), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil)
					defer w.close()
					must(w.server.Listen(t.Context(), p, ":1"))(t)
					start := time.Now()
					f := must(w.client.DialAny(t.Context(), w.targets(p, "sip.example.com", c.addrs...)))(t)
					if d := time.Since(start); d != c.after || f.Remote().String() != c.won {
						t.Errorf("connected to %v after %v, want %v after %v", f.Remote(), d, c.won, c.after)
					}
					if p == TLS && !f.TLS().HandshakeComplete {
						t.Error("no handshake")
					}
					w.sh.next(t, "accepted")
				})
			})
		}
	}
}

// The slower of two that both answer is dropped without a word to the handler.
func TestHappyEyeballsLoser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		slow := w.n.Host("10.0.0.3")
		w.n.Impair(w.a, slow, memnet.Impairment{Latency: 150 * time.Millisecond}) // connects after 300 ms
		w.n.Impair(w.a, w.b, memnet.Impairment{Latency: 20 * time.Millisecond})
		l := must(slow.Listen(t.Context(), "tcp", ":1"))(t)
		must(w.server.Listen(t.Context(), TCP, ":1"))(t)
		f := must(w.client.DialAny(t.Context(), w.targets(TCP, "h", "10.0.0.3:1", "10.0.0.2:1")))(t)
		if f.Remote().Addr().String() != "10.0.0.2" {
			t.Errorf("connected to %v", f.Remote())
		}
		synctest.Wait()
		w.ch.none(t)
		l.Close()
	})
}

// A connection that comes although nobody wants it any more is closed.
func TestDialTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c, _ *Config) {
			dial := c.Dial
			c.Dial = func(_ context.Context, network, addr string) (net.Conn, error) {
				if addr == "10.0.0.3:1" {
					<-time.After(time.Minute)
				}
				return dial(context.Background(), network, addr)
			}
		})
		defer w.close()
		l := must(w.n.Host("10.0.0.3").Listen(t.Context(), "tcp", ":1"))(t)
		defer l.Close()
		must(w.server.Listen(t.Context(), TCP, ":1"))(t)
		must(w.client.DialAny(t.Context(), w.targets(TCP, "h", "10.0.0.3:1", "10.0.0.2:1")))(t)
		late := must(l.Accept())(t)
		if _, err := late.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
	})
}

// RFC 3263 §4.3: the next server is tried when the one before has failed, not
// beside it; and a handshake that hangs is a failed attempt.
func TestServersInTurn_RFC3263_4_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.n.BlackHole("10.0.0.9", true)
		mute := must(w.n.Host("10.0.0.4").Listen(t.Context(), "tcp", ":1"))(t)
		defer mute.Close()
		must(w.server.Listen(t.Context(), TLS, ":1"))(t)
		list := slices.Concat(
			w.targets(TLS, "one.example.com", "10.0.0.9:1", "[2001:db8::2]:2"),
			w.targets(TLS, "two.example.com", "10.0.0.4:1"),
			w.targets(TLS, "three.example.com", "10.0.0.2:1"))
		start := time.Now()
		f := must(w.client.DialAny(t.Context(), list))(t)
		if d := time.Since(start); d != 20*time.Second || f.Remote().String() != "10.0.0.2:1" {
			t.Errorf("connected to %v after %v", f.Remote(), d)
		}
	})
}

func TestDialError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		list := slices.Concat(w.targets(TCP, "one", "10.0.0.9:1"), w.targets(TCP, "two", "10.0.0.2:1"))
		_, err := w.client.DialAny(t.Context(), list)
		var de *DialError
		if !errors.As(err, &de) || len(de.Attempts) != 2 || !errors.Is(err, syscall.ECONNREFUSED) || isTimeout(err) {
			t.Fatalf("%v", err)
		}
		if a := de.Attempts[0]; a.Target.Host != "one" || a.Took != 10*time.Second || !isTimeout(a.Err) {
			t.Errorf("%+v", a)
		}
		if s := err.Error(); !strings.Contains(s, "tcp one (10.0.0.9:1): ") || !strings.Contains(s, "tcp two (10.0.0.2:1): ") {
			t.Error(s)
		}
		// All of them timed out: so did the whole.
		if _, err = w.client.DialAny(t.Context(), list[:1]); !isTimeout(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if _, err = w.client.DialAny(t.Context(), nil); !errors.As(err, &de) || isTimeout(err) {
			t.Errorf("%v", err)
		}
		if _, err = w.client.Dial(t.Context(), Target{Proto: "sctp", Addr: list[0].Addr}); err == nil {
			t.Error("dialled SCTP")
		}
		tl := w.target(TLS, "10.0.0.2:1")
		tl.TLS = nil
		if _, err = w.client.Dial(t.Context(), tl); err == nil {
			t.Error("dialled without a TLS configuration")
		}
	})
}

func TestDialCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		start := time.Now()
		list := w.targets(TCP, "h", "10.0.0.9:1", "10.0.0.8:1", "10.0.0.7:1")
		_, err := w.client.DialAny(timeout(t, 300*time.Millisecond), list)
		var de *DialError
		if !errors.As(err, &de) || len(de.Attempts) != 2 || !errors.Is(err, context.DeadlineExceeded) || !isTimeout(err) || time.Since(start) != 300*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.client.DialAny(ctx, list); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		time.AfterFunc(time.Second, func() { w.client.Close() })
		if _, err := w.client.DialAny(t.Context(), list); err != ErrClosed {
			t.Errorf("Close during a dial: %v", err)
		}
		w.server.Close()
	})
}

// The certificate is checked in the attempt, and its fault keeps its type.
func TestDialCertificates(t *testing.T) {
	for _, c := range []struct {
		name   string
		uri    string
		adjust func(*tls.Config)
		want   certcheck.Reason
	}{
		{"good", "sip:example.com", func(*tls.Config) {}, 0},
		{"for another domain", "sip:example.net", func(*tls.Config) {}, certcheck.WrongName},
		{"TLS 1.1", "sip:example.com", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, certcheck.OldVersion},
	} {
		for _, p := range []Proto{TLS, WSS} {
			t.Run(c.name+" "+string(p), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, func(_, s *Config) { c.adjust(s.TLS) })
					defer w.close()
					w.server.cfg.TLS.Certificates[0] = must(w.ca.Issue(testca.Template{URIs: []string{c.uri}}))(t)
					must(w.server.Listen(t.Context(), p, ":1"))(t)
					_, err := w.client.Dial(t.Context(), w.target(p, "10.0.0.2:1"))
					var ce *certcheck.Error
					if errors.As(err, &ce) != (c.want != 0) || ce != nil && ce.Reason != c.want || (err == nil) != (c.want == 0) {
						t.Errorf("%v", err)
					}
				})
			})
		}
	}
}

func TestDialUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f := must(w.client.Dial(t.Context(), w.target(UDP, "10.0.0.2:5060")))(t)
		g := must(w.client.Dial(t.Context(), w.target(UDP, "[2001:db8::2]:5060")))(t)
		if f.Local().Port() != g.Local().Port() || f.Local().Addr().String() != "10.0.0.1" || g.Local().Addr().String() != "2001:db8::1" {
			t.Errorf("from %v and %v", f.Local(), g.Local())
		}
		if again := must(w.client.Dial(t.Context(), w.target(UDP, "10.0.0.2:5060")))(t); again != f {
			t.Error("two flows to one address")
		}
		must(w.b.ListenPacket(t.Context(), "udp", "10.0.0.2:1"))(t)
		w.b.SetAddrs()
	})
	// A socket on an address of one family does not serve the other.
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		s := must(w.client.UDP(t.Context(), "10.0.0.1:5060"))(t)
		f := must(w.client.Dial(t.Context(), w.target(UDP, "[2001:db8::2]:5060")))(t)
		g := must(w.client.Dial(t.Context(), w.target(UDP, "10.0.0.2:5060")))(t)
		if f.sock == s || g.sock != s {
			t.Error("the wrong sockets")
		}
	})
}

func TestInterleave_RFC8305_4(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"6a 6b 4a 4b", "6a 4a 6b 4b"},
		{"4a 6a 6b 6c", "4a 6a 6b 6c"},
		{"6a 6b 6c 4a", "6a 4a 6b 6c"},
		{"4a 4b", "4a 4b"},
		{"6a 4a 6b", "6a 4a 6b"},
	} {
		var list []Target
		for s := range strings.FieldsSeq(c.in) {
			ip := netip.MustParseAddr("192.0.2.1")
			if s[0] == '6' {
				ip = netip.MustParseAddr("2001:db8::1")
			}
			list = append(list, Target{Host: s, Addr: netip.AddrPortFrom(ip, 1)})
		}
		var got []string
		for _, t := range interleave(list) {
			got = append(got, t.Host)
		}
		if fmt.Sprint(got) != fmt.Sprint(strings.Fields(c.want)) {
			t.Errorf("%s: %v, want %s", c.in, got, c.want)
		}
	}
}
