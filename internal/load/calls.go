//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/sip"
)

// pair is two user agents of this process that call each other without a
// server between them.
type pair struct {
	alice, bob *sip.UA
	to         string // bob
	accepting  sync.WaitGroup
	cancel     context.CancelFunc
}

func newPair(ctx context.Context, tr sip.Transport) (*pair, error) {
	client, server, err := tlsConfigs(tr)
	if err != nil {
		return nil, err
	}
	p := &pair{}
	host := "127.0.0.1"
	p.alice, err = sip.New(&sip.Config{
		Account: sip.Account{AOR: "sip:alice@" + host, Direct: true, Transport: tr}, TLS: client,
	})
	if err != nil {
		return nil, err
	}
	p.bob, err = sip.New(&sip.Config{
		Account: sip.Account{AOR: "sip:bob@" + host, Direct: true, Transport: tr}, TLS: server,
		Listen: []string{string(tr) + ":" + host + ":0"}, AcceptQueue: 4096,
	})
	if err != nil {
		p.alice.Close()
		return nil, err
	}
	p.to = fmt.Sprintf("sip:bob@%v;transport=%s", p.bob.Addrs()[0], tr)
	ctx, p.cancel = context.WithCancel(ctx)
	p.accepting.Go(func() { accept(ctx, p.bob, nil) })
	return p, nil
}

// accept rings and answers whatever comes, until the context ends.
func accept(ctx context.Context, ua *sip.UA, answered func(*sip.Call)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := ua.Accept(ctx)
		if err != nil {
			return
		}
		wg.Go(func() {
			if c.Ring(ctx) == nil && c.Answer(ctx, nil) == nil && answered != nil {
				answered(c)
			}
		})
	}
}

func (p *pair) close() {
	p.cancel()
	p.alice.Close()
	p.bob.Close()
	p.accepting.Wait()
}

// call makes one call and hangs up. It returns when it was answered.
func (p *pair) call(ctx context.Context) (answered time.Time, err error) {
	c, err := p.alice.Dial(ctx, p.to, nil)
	answered = time.Now()
	if err != nil {
		return answered, err
	}
	return answered, c.Hangup(ctx)
}

// tlsConfigs are the configurations of a caller and a callee.
func tlsConfigs(tr sip.Transport) (client, server *sip.TLSConfig, err error) {
	if !tr.Secure() {
		return nil, nil, nil
	}
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		return nil, nil, err
	}
	cert, err := ca.Issue(testca.Template{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if err != nil {
		return nil, nil, err
	}
	return &sip.TLSConfig{RootCAs: ca.Pool()}, &sip.TLSConfig{Certificates: []tls.Certificate{cert}}, nil
}

// calls measures the processor time of calls that follow each other: INVITE,
// 180, 200, ACK, BYE, 200, both ends in this process, some at a time.
func calls(ctx context.Context, args []string, log io.Writer) ([]figure, error) {
	fs := flag.NewFlagSet("calls", flag.ContinueOnError)
	fs.SetOutput(log)
	tr := fs.String("transport", "udp", "udp, tcp or tls")
	n := fs.Int("n", 20000, "number of calls")
	parallel := fs.Int("parallel", 32, "calls at a time")
	profile := fs.String("profile", "", "write a CPU profile to this file")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	p, err := newPair(ctx, sip.Transport(*tr))
	if err != nil {
		return nil, err
	}
	defer p.close()
	var failed atomic.Pointer[error]
	one := func(int) {
		if _, err := p.call(ctx); err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	each(min(1000, *n), *parallel, one) // to warm up
	runtime.GC()
	stop, err := profileCPU(*profile)
	if err != nil {
		return nil, err
	}
	used, began := cpu(), time.Now()
	each(*n, *parallel, one)
	took, used := time.Since(began), cpu()-used
	stop()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return []figure{
		{"processor time", float64(used.Nanoseconds()) / float64(*n) / 2 / 1000, "us per call and end"},
		{"calls", float64(*n) / took.Seconds(), "a second"},
	}, nil
}

// settled is after how long nothing may grow any more: the longest timers,
// 64*T1, hold transactions for 32 s.
const settled = 40 * time.Second

// maxOpen bounds the calls being set up: what comes on top has failed.
const maxOpen = 20000

// rate makes calls at moments fixed in advance, whether or not earlier ones
// have been answered, and measures how long each takes from its moment on.
func rate(ctx context.Context, args []string, log io.Writer) ([]figure, error) {
	fs := flag.NewFlagSet("rate", flag.ContinueOnError)
	fs.SetOutput(log)
	tr := fs.String("transport", "udp", "udp, tcp or tls")
	perSecond := fs.Int("rate", 3000, "calls a second")
	length := fs.Duration("for", 2*time.Minute, "how long")
	profile := fs.String("profile", "", "write a CPU profile to this file")
	heapProfile := fs.String("heapprofile", "", "write a heap profile to this file, at the end")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	p, err := newPair(ctx, sip.Transport(*tr))
	if err != nil {
		return nil, err
	}
	defer p.close()
	if _, err := p.call(ctx); err != nil {
		return nil, err
	}
	stop, err := profileCPU(*profile)
	if err != nil {
		return nil, err
	}

	n := int(length.Seconds() * float64(*perSecond))
	took := make([]time.Duration, n) // 0: failed
	var open, failed atomic.Int64
	var firstErr atomic.Pointer[error]
	var wg sync.WaitGroup
	var heap, goroutines, p99 span
	used, began := cpu(), time.Now()
	window, windowCPU, windowAt := 0, used, began
	fmt.Fprintln(log, "seconds  calls  failed  median ms  p99 ms  live heap MB  goroutines  cores")
	report := func(now time.Time, i int) {
		done := slices.DeleteFunc(slices.Clone(took[window:max(window, i-*perSecond/2)]), func(d time.Duration) bool { return d == 0 })
		if len(done) == 0 {
			return
		}
		slices.Sort(done)
		u := cpu()
		h, g := liveHeap(), int64(runtime.NumGoroutine())
		fmt.Fprintf(log, "%7.0f %6d %7d %10.2f %7.2f %13.1f %11d %6.2f\n", now.Sub(began).Seconds(), i, failed.Load(),
			ms(quantile(done, 0.5)), ms(quantile(done, 0.99)), float64(h)/(1<<20), g, float64(u-windowCPU)/float64(now.Sub(windowAt)))
		if now.Sub(began) >= settled {
			heap.add(float64(h) / (1 << 20))
			goroutines.add(float64(g))
		}
		p99.add(ms(quantile(done, 0.99)))
		window, windowCPU, windowAt = i, u, now
	}
	next := began.Add(10 * time.Second)
	for i := range n {
		at := began.Add(time.Duration(i) * time.Second / time.Duration(*perSecond))
		if d := time.Until(at); d > 0 {
			time.Sleep(d)
		}
		if now := time.Now(); now.After(next) {
			report(now, i)
			next = next.Add(10 * time.Second)
		}
		if open.Add(1) > maxOpen {
			open.Add(-1)
			failed.Add(1)
			continue
		}
		wg.Go(func() {
			defer open.Add(-1)
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			answered, err := p.call(ctx)
			if err != nil {
				failed.Add(1)
				firstErr.CompareAndSwap(nil, &err)
				return
			}
			took[i] = answered.Sub(at)
		})
	}
	sent := time.Since(began)
	wg.Wait()
	report(time.Now(), n)
	used = cpu() - used
	stop()
	if *heapProfile != "" {
		runtime.GC()
	}
	if err := writeHeapProfile(*heapProfile); err != nil {
		return nil, err
	}
	if err := firstErr.Load(); err != nil {
		fmt.Fprintln(log, "the first failure:", *err)
	}
	done := slices.DeleteFunc(took, func(d time.Duration) bool { return d == 0 })
	figures := []figure{
		{"calls", float64(n) / sent.Seconds(), "a second"},
		{"failed", float64(failed.Load()), "calls"},
		{"processor time", float64(used.Nanoseconds()) / float64(n) / 2 / 1000, "us per call and end"},
		{"processors busy", float64(used) / float64(sent), "cores"},
	}
	figures = append(figures, latency("setup", done)...)
	figures = append(figures, figure{"setup, p99 of the worst 10 s", p99.high, "ms"})
	if heap.n > 0 {
		figures = append(figures,
			figure{"live heap, least after 40 s", heap.low, "MB"}, figure{"live heap, most after 40 s", heap.high, "MB"},
			figure{"goroutines, least after 40 s", goroutines.low, ""}, figure{"goroutines, most after 40 s", goroutines.high, ""})
	}
	return figures, nil
}

// span is the range of some values.
type span struct {
	low, high float64
	n         int
}

func (s *span) add(v float64) {
	if s.n == 0 || v < s.low {
		s.low = v
	}
	if s.n == 0 || v > s.high {
		s.high = v
	}
	s.n++
}
