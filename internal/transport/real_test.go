package transport

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/certcheck"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

// An idle connection costs one goroutine at each end, an idle socket one.
func TestGoroutines(t *testing.T) {
	for _, p := range protos {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			must(w.server.Listen(t.Context(), p, ":5060"))(t)
			must(w.client.UDP(t.Context(), ":5060"))(t)
			synctest.Wait()
			before := goroutines()
			const conns = 20
			for range conns {
				f := must(w.client.Dial(t.Context(), w.target(p, "10.0.0.2:5060")))(t)
				f.Send(options("hello"))
				if p != UDP {
					w.sh.next(t, "accepted").f.Send(options("hello"))
					w.ch.next(t, "message")
				}
				w.sh.next(t, "message")
			}
			synctest.Wait()
			want := 2 * conns
			if p == UDP {
				want = 0
			}
			if n := goroutines() - before; n != want {
				t.Errorf("%s: %d goroutines for %d connections, both ends", p, n, conns)
			}
			w.close()
			synctest.Wait()
			if n := goroutines() - before; n > 0 {
				t.Errorf("%s: %d goroutines left after Close", p, n)
			}
		})
	}
}

// goroutines counts those of the bubble; others come and go.
func goroutines() int {
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), ", synctest bubble ")
}

// The same on the system's sockets.
func TestLoopback(t *testing.T) {
	ca := must(testca.NewCA(time.Now()))(t)
	cert := must(ca.Issue(testca.Template{URIs: []string{"sip:" + domain}}))(t)
	for _, p := range protos {
		for _, ip := range []string{"127.0.0.1", "::1"} {
			t.Run(fmt.Sprint(p, " ", ip), func(t *testing.T) {
				if l, err := net.Listen("tcp", net.JoinHostPort(ip, "0")); err != nil {
					t.Skip("this machine has no ", ip)
				} else {
					l.Close()
				}
				ch, sh := newRecorder(100), newRecorder(100)
				client, server := New(Config{}, ch), New(Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}, sh)
				defer client.Close()
				defer server.Close()
				// UDP on all addresses: the answer has to come from the right one.
				listen := net.JoinHostPort(ip, "0")
				if p == UDP {
					listen = ":0"
				}
				addr := addrPort(must(server.Listen(t.Context(), p, listen))(t))
				f := must(client.Dial(t.Context(), Target{
					Proto: p, Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), addr.Port()), Domain: domain,
					TLS: certcheck.Config(&tls.Config{RootCAs: ca.Pool()}, certcheck.Options{Domain: domain}),
				}))(t)
				if p != UDP {
					sh.next(t, "accepted")
				}
				for i := range 50 {
					f.Send(options(repeat(1000 * (i % 5))))
					e := sh.next(t, "message")
					e.f.Send([]byte(e.text))
					if back := ch.next(t, "message"); back.f != f || back.text != e.text {
						t.Fatalf("echo of %q is %q", e.text, back.text)
					}
				}
				if f.Local().Addr().String() != ip {
					t.Errorf("local address %v", f.Local())
				}
				if p == UDP {
					f.SendSTUN([12]byte{1})
					if e := ch.next(t, "stun"); e.mapped != f.Local() {
						t.Errorf("mapped %v, local %v", e.mapped, f.Local())
					}
					return
				}
				f.SendPing()
				ch.next(t, "pong")
				f.Close(nil)
				ch.next(t, "closed")
				if e := sh.next(t, "closed"); e.err != io.EOF {
					t.Errorf("closed with %v", e.err)
				}
			})
		}
	}
	// Nobody there: the attempt is refused, not timed out.
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	l.Close()
	tr := New(Config{}, newRecorder(1))
	defer tr.Close()
	if _, err := tr.Dial(t.Context(), Target{Proto: TCP, Addr: addrPort(l.Addr())}); err == nil || isTimeout(err) {
		t.Error(err)
	}
}

// serverInfo is what the benchmark's server process tells about itself.
type serverInfo struct {
	Addr string
	CA   []byte
}

const childEnv = "HOORN_TRANSPORT_BENCH_SERVER"

// TestMain runs the benchmark's server, in a process of its own so that the
// memory measured is that of clients alone.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	if err := serveChild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveChild() error {
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		return err
	}
	cert, err := ca.Issue(testca.Template{URIs: []string{"sip:" + domain}})
	if err != nil {
		return err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(serverInfo{l.Addr().String(), ca.PEM()}); err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	_, err = io.Copy(io.Discard, os.Stdin) // until the parent ends
	return err
}

// BenchmarkIdleTLS measures what a registered account's connection costs while
// nothing happens: heap and stack per flow, after a message there and back.
//
//	go test -run '^$' -bench IdleTLS -benchtime 1x ./internal/transport
func BenchmarkIdleTLS(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		stdin.Close()
		cmd.Wait()
	}()
	var info serverInfo
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &info)
	}
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(info.CA)
	target := Target{
		Proto: TLS, Addr: netip.MustParseAddrPort(info.Addr), Domain: domain,
		TLS: certcheck.Config(&tls.Config{RootCAs: roots}, certcheck.Options{Domain: domain}),
	}
	const conns = 1000
	for b.Loop() {
		h := newRecorder(conns)
		tr := New(Config{}, h)
		heap, stack := memory()
		begin := time.Now()
		for range conns {
			f, err := tr.Dial(b.Context(), target)
			if err != nil {
				b.Fatal(err)
			}
			f.Send(options(repeat(500)))
			if e := <-h.events; e.what != "message" {
				b.Fatal(e.err)
			}
		}
		took := time.Since(begin)
		heap2, stack2 := memory()
		b.ReportMetric(float64(heap2-heap)/conns, "heap-B/flow")
		b.ReportMetric(float64(stack2-stack)/conns, "stack-B/flow")
		b.ReportMetric(conns/took.Seconds(), "flows/s")
		go func() {
			for range h.events { // Closed of each
			}
		}()
		tr.Close()
		close(h.events)
	}
}

// memory is what lives on the heap and on stacks.
func memory() (heap, stack int64) {
	for range 3 {
		runtime.GC() // more than once: stacks shrink and pools are emptied in steps
	}
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()), int64(s[1].Value.Uint64())
}

// BenchmarkSend measures a message from Send at one end to the Handler at the
// other, both in this process, many in flight.
func BenchmarkSend(b *testing.B) {
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		b.Fatal(err)
	}
	cert, err := ca.Issue(testca.Template{URIs: []string{"sip:" + domain}})
	if err != nil {
		b.Fatal(err)
	}
	for _, p := range []Proto{UDP, TCP, TLS} {
		b.Run(string(p), func(b *testing.B) {
			ch, sh := newRecorder(100), newRecorder(1000)
			client := New(Config{}, ch)
			server := New(Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}, sh)
			addr, err := server.Listen(b.Context(), p, "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			f, err := client.Dial(b.Context(), Target{
				Proto: p, Addr: addrPort(addr), Domain: domain,
				TLS: certcheck.Config(&tls.Config{RootCAs: ca.Pool()}, certcheck.Options{Domain: domain}),
			})
			if err != nil {
				b.Fatal(err)
			}
			msg := options(repeat(300))
			flying := 0
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Send(msg); err != nil {
					b.Fatal(err)
				}
				for flying++; flying > 50; {
					if e := <-sh.events; e.what == "message" {
						flying--
					}
				}
			}
			client.Close()
			server.Close()
		})
	}
}
