package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Every protocol over both families carries messages both ways, in order.
func TestMessages(t *testing.T) {
	for _, p := range protos {
		for _, ip := range []string{"10.0.0.2", "2001:db8::2"} {
			t.Run(fmt.Sprint(p, " ", ip), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil)
					defer w.close()
					f := w.connect(t, p, ip)
					if f.Proto() != p || f.Reliable() != (p != UDP) || f.Secure() != (p == TLS || p == WSS) || (f.TLS() != nil) != f.Secure() {
						t.Errorf("%v: reliable %v, secure %v, TLS %v", f.Proto(), f.Reliable(), f.Secure(), f.TLS())
					}
					var back *Flow
					if p != UDP {
						back = w.sh.next(t, "accepted").f
					}
					for i := range 20 {
						if err := f.Send(options(repeat(100 * i))); err != nil {
							t.Fatal(err)
						}
					}
					for i := range 20 {
						e := w.sh.next(t, "message")
						if back == nil {
							back = e.f
						}
						if e.f != back || e.text != string(options(repeat(100*i))) {
							t.Fatalf("message %d: %q", i, e.text)
						}
					}
					if back.Remote() != f.Local() || back.Local() != f.Remote() || back.Accepted() != (p != UDP) || f.Accepted() {
						t.Errorf("%v to %v at one end, %v to %v at the other", f.Local(), f.Remote(), back.Local(), back.Remote())
					}
					back.Send(options("answer"))
					if e := w.ch.next(t, "message"); e.f != f || e.text != string(options("answer")) {
						t.Errorf("answer %q", e.text)
					}
				})
			})
		}
	}
}

func TestVia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f := w.connect(t, TCP, "2001:db8::2")
		if host, port := f.Via(); host != "[2001:db8::1]" || port != int(f.Local().Port()) || f.MTU() != 0 {
			t.Errorf("Via %s:%d, MTU %d", host, port, f.MTU())
		}
		// A socket on all addresses tells the one that leads there.
		s := must(w.client.UDP(t.Context(), ":5070"))(t)
		f = s.Flow(netip.MustParseAddrPort("10.0.0.2:5060"))
		if host, port := f.Via(); host != "10.0.0.1" || port != 5070 || f.MTU() != 1300 {
			t.Errorf("Via %s:%d, MTU %d", host, port, f.MTU())
		}
		if s.Addr().Port() != 5070 {
			t.Errorf("socket on %v", s.Addr())
		}
	})
}

// Messages far larger than any buffer pass, also when they come in pieces.
func TestLargeMessages(t *testing.T) {
	for _, p := range []Proto{TCP, TLS, WSS} {
		t.Run(string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				defer w.close()
				f := w.connect(t, p, "10.0.0.2")
				w.sh.next(t, "accepted")
				for _, size := range []int{10, 300_000, 20_000, 0} {
					if err := f.Send(options(repeat(size))); err != nil {
						t.Fatal(err)
					}
				}
				for _, size := range []int{10, 300_000, 20_000, 0} {
					if e := w.sh.next(t, "message"); e.text != string(options(repeat(size))) {
						t.Errorf("message of %d bytes instead of %d", len(e.text), size)
					}
				}
			})
		})
	}
}

// Pings are answered by the transport. On an idle connection there is nothing
// between one pong and the next, and each is a pong.
func TestPing_RFC5626_4_4_1(t *testing.T) {
	for _, p := range []Proto{TCP, TLS, WS, WSS} {
		t.Run(string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				defer w.close()
				f := w.connect(t, p, "10.0.0.2")
				back := w.sh.next(t, "accepted").f
				for range 5 {
					if err := f.SendPing(); err != nil {
						t.Fatal(err)
					}
					if e := w.ch.next(t, "pong"); e.f != f {
						t.Error("pong of another flow")
					}
				}
				if err := back.SendPing(); err != nil { // servers may ask for keep-alives too (RFC 6223)
					t.Fatal(err)
				}
				w.sh.next(t, "pong")
				f.Send(options("x"))
				w.sh.next(t, "message")
				synctest.Wait()
				w.ch.none(t)
				w.sh.none(t)
				w.mu.Lock()
				defer w.mu.Unlock()
				if pings := fmt.Sprintf("%s %d -> 10.0.0.2 4", p, EventPing); len(w.seen) < 11 || w.seen[0] != pings {
					t.Errorf("the tap saw %q", w.seen)
				}
			})
		})
	}
}

// A ping that arrives byte by byte is one ping; a stray CRLF is nothing.
func TestPingInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f, c := w.raw(t)
		for _, b := range []byte("\r\n\r\n") {
			c.Write([]byte{b})
			synctest.Wait()
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		if got, err := io.ReadAll(c); string(got) != "\r\n" || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("answered %q, %v", got, err)
		}
		if f.Err() != nil {
			t.Error(f.Err())
		}
		w.ch.none(t)
	})
}

func TestBadMessage(t *testing.T) {
	for _, p := range protos {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			defer w.close()
			f := w.connect(t, p, "10.0.0.2")
			if p != UDP {
				w.sh.next(t, "accepted")
			}
			f.Send([]byte(strings.Replace(string(options("")), "1 OPTIONS", "1 INVITE", 1)))
			if e := w.sh.next(t, "bad"); e.status != 400 {
				t.Errorf("%s: %d, %v", p, e.status, e.err)
			}
			f.Send(options("")) // the flow goes on
			w.sh.next(t, "message")
		})
	}
}

// RFC 4475 §3.1.2.3: a request whose Content-Length makes no sense is answered
// with 400 if it can be, and the connection is closed, as nobody knows where
// the next message begins.
func TestBrokenFraming_RFC4475_3_1_2_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f, c := w.raw(t)
		c.Write([]byte(strings.Replace(string(options("")), "Content-Length: 0", "Content-Length: -999", 1) + string(options("behind"))))
		got, err := io.ReadAll(c)
		if err != nil || !strings.HasPrefix(string(got), "SIP/2.0 400 ") || !strings.Contains(string(got), "Call-ID: a\r\n") {
			t.Errorf("answered %q, %v", got, err)
		}
		var fe *sipwire.FramingError
		if e := w.ch.next(t, "closed"); e.f != f || !errors.As(e.err, &fe) {
			t.Errorf("closed with %v", e.err)
		}
		if err := f.Send(options("")); !errors.As(err, &fe) {
			t.Errorf("Send after the end: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // nothing to answer
		w := newWorld(t, func(c, _ *Config) { c.MaxHeader = 2000 })
		defer w.close()
		_, c := w.raw(t)
		c.Write([]byte("OPTIONS sip:" + repeat(3000)))
		if got, err := io.ReadAll(c); err != nil || len(got) != 0 {
			t.Errorf("answered %q, %v", got, err)
		}
		w.ch.next(t, "closed")
	})
}

func TestClosedBy(t *testing.T) {
	for _, p := range []Proto{TCP, TLS, WS, WSS} {
		t.Run(string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				defer w.close()
				f := w.connect(t, p, "10.0.0.2")
				back := w.sh.next(t, "accepted").f
				start := time.Now()
				// What is queued before a polite end arrives before it.
				for range 50 {
					back.Send(options(repeat(1000)))
				}
				back.Close(nil)
				if err := back.Send(options("")); !errors.Is(err, ErrClosed) {
					t.Errorf("Send after Close: %v", err)
				}
				for range 50 {
					w.ch.next(t, "message")
				}
				if e := w.ch.next(t, "closed"); e.err != io.EOF || f.Err() != io.EOF {
					t.Errorf("the other end saw %v", e.err)
				}
				if e := w.sh.next(t, "closed"); e.f != back || e.err != ErrClosed {
					t.Errorf("this end saw %v", e.err)
				}
				if d := time.Since(start); d != 0 {
					t.Errorf("took %v", d)
				}

				// With an error it ends at once.
				f = must(w.client.Dial(t.Context(), w.target(p, "10.0.0.2:5060")))(t)
				w.sh.next(t, "accepted")
				reason := errors.New("no pong")
				f.Close(reason)
				f.Close(nil)
				if e := w.ch.next(t, "closed"); e.err != reason {
					t.Errorf("this end saw %v", e.err)
				}
				w.sh.next(t, "closed")
				w.server.mu.Lock()
				defer w.server.mu.Unlock()
				if w.server.accepted != 0 || len(w.server.flows) != 0 {
					t.Errorf("%d connections left in the books", w.server.accepted)
				}
			})
		})
	}
}

// What comes after Close is not told any more, though words of parting are
// still being written.
func TestClosedHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f, c := w.raw(t)
		for range 400 { // more than the connection's buffers hold
			f.Send(options(repeat(1000)))
		}
		f.Close(nil)
		synctest.Wait()
		c.Write(append(options(""), ping...))
		if e := w.ch.next(t, "closed"); e.err != ErrClosed {
			t.Errorf("closed with %v", e.err)
		}
	})
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.connect(t, TLS, "10.0.0.2")
		w.sh.next(t, "accepted")
		synctest.Wait()
		if w.n.Reset(w.a, w.b) != 1 {
			t.Fatal("nothing to reset")
		}
		for _, r := range []*recorder{w.ch, w.sh} {
			if e := r.next(t, "closed"); e.err == nil || e.err == io.EOF {
				t.Errorf("closed with %v", e.err)
			}
		}
	})
}

// A peer that takes nothing: Send does not wait, the write timeout ends it.
func TestWriteTimeout(t *testing.T) {
	for _, p := range []Proto{TCP, TLS, WSS} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			defer w.close()
			f := w.connect(t, p, "10.0.0.2")
			w.sh.next(t, "accepted")
			w.n.CutSilently(w.a, w.b)
			start := time.Now()
			for range 400 { // more than the connection's buffers hold
				if err := f.Send(options(repeat(1000))); err != nil {
					t.Fatal(err)
				}
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("%s: Send waited %v", p, d)
			}
			if e := w.ch.next(t, "closed"); !isTimeout(e.err) || time.Since(start) != 10*time.Second {
				t.Errorf("%s: closed with %v after %v", p, e.err, time.Since(start))
			}
		})
	}
}

func TestQueueFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c, _ *Config) { c.MaxQueue = 100_000 })
		defer w.close()
		f := w.connect(t, TCP, "10.0.0.2")
		w.n.CutSilently(w.a, w.b)
		var err error
		sent := 0
		for ; err == nil; sent++ {
			if err = f.Send(options(repeat(10_000))); sent > 1000 {
				t.Fatal("the queue has no bound")
			}
		}
		if err != ErrQueueFull || f.Err() != ErrQueueFull {
			t.Errorf("after %d messages: %v, %v", sent, err, f.Err())
		}
		if e := w.ch.next(t, "closed"); e.err != ErrQueueFull {
			t.Errorf("closed with %v", e.err)
		}
	})
}

// A handler that does not return makes the peer wait, and loses nothing.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.sh.events = make(chan event)
		f := w.connect(t, TLS, "10.0.0.2")
		w.sh.next(t, "accepted")
		for i := range 100 {
			if err := f.Send(options(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for i := range 100 {
			if e := w.sh.next(t, "message"); e.text != string(options(fmt.Sprint(i))) {
				t.Fatalf("message %d: %q", i, e.text)
			}
		}
		f.Close(nil)
		w.sh.next(t, "closed")
		w.close()
	})
}

// Close says goodbye to a peer that does not listen for two seconds at most.
func TestCloseBounded(t *testing.T) {
	for _, p := range []Proto{TCP, TLS, WSS} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			f := w.connect(t, p, "10.0.0.2")
			w.n.CutSilently(w.a, w.b)
			for range 400 {
				f.Send(options(repeat(1000)))
			}
			synctest.Wait()
			start := time.Now()
			w.client.Close()
			w.client.Close()
			if d := time.Since(start); d != closeTimeout {
				t.Errorf("%s: Close took %v", p, d)
			}
			if _, err := w.client.Dial(t.Context(), w.target(TCP, "10.0.0.2:5060")); !errors.Is(err, ErrClosed) {
				t.Errorf("Dial after Close: %v", err)
			}
			if _, err := w.client.Listen(t.Context(), TCP, ":1"); !errors.Is(err, ErrClosed) {
				t.Errorf("Listen after Close: %v", err)
			}
			if _, err := w.client.Listen(t.Context(), UDP, ":1"); !errors.Is(err, ErrClosed) {
				t.Errorf("UDP after Close: %v", err)
			}
			w.server.Close()
		})
	}
}

func TestServerBounds(t *testing.T) {
	t.Run("connections", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(_, s *Config) { s.MaxConns = 2 })
			defer w.close()
			first := w.connect(t, TCP, "10.0.0.2")
			dial := func() *Flow { return must(w.client.Dial(t.Context(), w.target(TCP, "10.0.0.2:5060")))(t) }
			dial()
			w.sh.next(t, "accepted")
			w.sh.next(t, "accepted")
			third := dial()
			if e := w.ch.next(t, "closed"); e.f != third {
				t.Error("another connection was closed")
			}
			first.Close(nil)
			w.sh.next(t, "closed")
			dial()
			w.sh.next(t, "accepted")
		})
	})
	for _, p := range []Proto{TLS, WS, WSS} {
		t.Run("handshake "+string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				defer w.close()
				must(w.server.Listen(t.Context(), p, ":5060"))(t)
				c := must(w.a.Dial(t.Context(), "tcp", "10.0.0.2:5060"))(t)
				start := time.Now()
				io.ReadAll(c)
				if d := time.Since(start); d != 10*time.Second {
					t.Errorf("a silent client was dropped after %v", d)
				}
				w.sh.none(t)
				w.server.mu.Lock()
				defer w.server.mu.Unlock()
				if w.server.accepted != 0 || len(w.server.pending) != 0 {
					t.Error("it is still in the books")
				}
			})
		})
	}
	t.Run("endless handshake", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			defer w.close()
			must(w.server.Listen(t.Context(), WS, ":5060"))(t)
			c := must(w.a.Dial(t.Context(), "tcp", "10.0.0.2:5060"))(t)
			c.Write([]byte("GET / HTTP/1.1\r\nX: " + repeat(100_000)))
			start := time.Now()
			io.ReadAll(c)
			if d := time.Since(start); d != 0 {
				t.Errorf("closed after %v", d)
			}
		})
	})
	for _, p := range []Proto{TCP, TLS, WS, WSS} {
		t.Run("idle "+string(p), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_, s *Config) { s.IdleTimeout = time.Minute })
				defer w.close()
				f := w.connect(t, p, "10.0.0.2")
				w.sh.next(t, "accepted")
				start := time.Now()
				time.AfterFunc(50*time.Second, func() { f.Send(options("")) })
				w.sh.next(t, "message")
				if e := w.sh.next(t, "closed"); e.err != ErrIdle || time.Since(start) != 110*time.Second {
					t.Errorf("closed with %v after %v", e.err, time.Since(start))
				}
			})
		})
	}
}

// Accept errors of the system do not end a listener.
func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &brokenListener{left: 3, closed: make(chan struct{})}
		h := newRecorder(10)
		tr := New(Config{Listen: func(context.Context, string, string) (net.Listener, error) { return l, nil }}, h)
		start := time.Now()
		must(tr.Listen(t.Context(), TCP, ":1"))(t)
		h.next(t, "accepted")
		if d := time.Since(start); d != 35*time.Millisecond {
			t.Errorf("accepted after %v", d)
		}
		tr.Close()
	})
}

// brokenListener fails a few times before it accepts one connection.
type brokenListener struct {
	left   int
	closed chan struct{}
}

func (l *brokenListener) Accept() (net.Conn, error) {
	l.left--
	switch {
	case l.left >= 0:
		return nil, errors.New("too many open files")
	case l.left == -1:
		c, _ := net.Pipe()
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *brokenListener) Close() error   { close(l.closed); return nil }
func (l *brokenListener) Addr() net.Addr { return &net.TCPAddr{} }

// The tap sees each message once, in the order of cause and effect.
func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		f := w.connect(t, TLS, "10.0.0.2")
		back := w.sh.next(t, "accepted").f
		f.Send(options("12345"))
		w.sh.next(t, "message")
		back.Send(options(""))
		w.ch.next(t, "message")
		w.mu.Lock()
		defer w.mu.Unlock()
		want := []string{
			fmt.Sprintf("tls 0 -> 10.0.0.2 %d", len(options("12345"))),
			fmt.Sprintf("tls 0 <- 10.0.0.2 %d", len(options(""))),
		}
		if !slices.Equal(w.seen, want) {
			t.Errorf("saw %q, want %q", w.seen, want)
		}
	})
}

// A flow on which nothing comes back keeps the connection until somebody
// closes it: silence is the keep-alive's business.
func TestSilentCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		defer w.close()
		w.n.Impair(w.a, w.b, memnet.Impairment{Latency: 20 * time.Millisecond})
		f := w.connect(t, TLS, "10.0.0.2")
		w.sh.next(t, "accepted")
		w.n.CutSilently(w.a, w.b)
		f.SendPing()
		select {
		case e := <-w.ch.events:
			t.Errorf("%s: %v", e.what, e.err)
		case <-time.After(time.Hour):
		}
		w.n.Heal(w.a, w.b)
		w.ch.next(t, "pong")
	})
}
