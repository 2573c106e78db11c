package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/sip"
)

// direct makes a user agent without a registrar that listens on a port of its own.
func direct(t *testing.T, transport string, mod func(*sip.Config)) (ua *sip.UA, addr string) {
	t.Helper()
	cfg := &sip.Config{
		Account:     sip.Account{AOR: "sip:hoorn@127.0.0.1", Direct: true, Transport: sip.Transport(transport)},
		Listen:      []string{transport + ":127.0.0.1:0"},
		AcceptQueue: 1000,
		Logger:      slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if mod != nil {
		mod(cfg)
	}
	ua, err := sip.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ua.Close() })
	return ua, ua.Addrs()[0].String()
}

// loadCalls is how many calls a load test makes.
const loadCalls = 2000

// Thousands of calls from SIPp: each is rung, answered and ended by the caller.
func TestLoadAsCallee(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			ua, addr := direct(t, transport, nil)
			ctx := deadline(t, 3*patience)
			accept, stop := context.WithCancel(ctx)
			defer stop()
			var calls sync.WaitGroup
			served := 0
			accepting := make(chan struct{})
			go func() {
				defer close(accepting)
				for {
					in, err := ua.Accept(accept)
					if err != nil {
						return
					}
					served++
					calls.Go(func() {
						if err := in.Ring(ctx); err != nil {
							t.Errorf("ring: %v", err)
						}
						// An ACK that is lost is made up for by the BYE.
						if err := in.Answer(ctx, nil); err != nil && !errors.Is(err, sip.ErrEnded) {
							t.Errorf("answer: %v", err)
						}
						if err := in.Wait(ctx); err != nil {
							t.Errorf("call: %v", err)
						}
					})
				}
			}()
			start := time.Now()
			uac := peertest.StartSipp(t, peertest.SippConfig{
				Scenario: "uac", Target: addr, Transport: transport, Calls: loadCalls, Rate: 250, Hold: 200 * time.Millisecond,
			})
			stats := uac.Wait(2 * patience)
			t.Logf("%d calls in %v, %d retransmissions", stats.Successful, time.Since(start).Round(time.Millisecond), stats.Retransmissions)
			if stats.Successful != loadCalls {
				t.Errorf("%+v, want %d calls", stats, loadCalls)
			}
			stop()
			<-accepting
			calls.Wait()
			if served != loadCalls {
				t.Errorf("accepted %d calls, want %d", served, loadCalls)
			}
		})
	}
}

// Thousands of calls to SIPp, fifty at a time, each ended by us.
func TestLoadAsCaller(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			ua, _ := direct(t, transport, nil)
			uas := peertest.StartSipp(t, peertest.SippConfig{Scenario: "uas", Transport: transport, Calls: loadCalls})
			uri := "sip:sipp@" + uas.Addr + ";transport=" + transport
			work := make(chan struct{}, loadCalls)
			for range loadCalls {
				work <- struct{}{}
			}
			close(work)
			ctx := deadline(t, 2*patience)
			start := time.Now()
			var workers sync.WaitGroup
			for range 50 {
				workers.Go(func() {
					for range work {
						c, err := ua.Dial(ctx, uri, nil)
						if err != nil {
							t.Errorf("dial: %v", err)
							return
						}
						if err := c.Hangup(ctx); err != nil {
							t.Errorf("hang up: %v", err)
						}
						if err := c.Wait(ctx); err != nil {
							t.Errorf("call: %v", err)
						}
					}
				})
			}
			workers.Wait()
			took := time.Since(start)
			stats := uas.Wait(patience)
			t.Logf("%d calls in %v: %.0f a second; %d retransmissions", stats.Successful, took.Round(time.Millisecond), loadCalls/took.Seconds(), stats.Retransmissions)
			if stats.Successful != loadCalls {
				t.Errorf("%+v, want %d calls", stats, loadCalls)
			}
		})
	}
}

// Odd flows with SIPp as the caller: what the scenario expects of us is in its file.
func TestOddCallers(t *testing.T) {
	t.Parallel()
	answer := func(ctx context.Context, in *sip.Call) error {
		return errors.Join(in.Ring(ctx), in.Answer(ctx, nil), in.Wait(ctx))
	}
	for _, c := range []struct {
		scenario string
		serve    func(context.Context, *sip.Call) error
	}{
		{"uac_late_offer", answer},
		{"uac_cancel_late", answer},
		{"uac_reinvite", answer},
		{"uac_cancel", func(ctx context.Context, in *sip.Call) error {
			return errors.Join(in.Ring(ctx), in.Wait(ctx))
		}},
		{"uac_probe", nil},
	} {
		for _, transport := range []string{"udp", "tcp"} {
			t.Run(c.scenario+"/"+transport, func(t *testing.T) {
				t.Parallel()
				const calls = 20
				ua, addr := direct(t, transport, nil)
				ctx := deadline(t, 2*patience)
				serve, stop := context.WithCancel(ctx)
				defer stop()
				var served sync.WaitGroup
				served.Go(func() {
					for {
						in, err := ua.Accept(serve)
						if err != nil {
							return
						}
						served.Go(func() {
							if err := c.serve(ctx, in); err != nil {
								t.Errorf("call: %v", err)
							}
						})
					}
				})
				peertest.StartSipp(t, peertest.SippConfig{
					Scenario: c.scenario, Target: addr, Transport: transport, Calls: calls, Rate: 50, Hold: 100 * time.Millisecond,
				}).Wait(patience)
				stop()
				served.Wait()
			})
		}
	}
}

// lossyConn loses a tenth of what goes through it, either way.
type lossyConn struct {
	net.PacketConn
	lost *atomic.Int32
}

func (c *lossyConn) lose() bool {
	if rand.IntN(10) != 0 {
		return false
	}
	c.lost.Add(1)
	return true
}

func (c *lossyConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.lose() {
			return n, from, err
		}
	}
}

func (c *lossyConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.lose() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

// A tenth of all messages gets lost: every retransmission of RFC 3261 §17 is needed, and makes up for it.
func TestLossyCaller(t *testing.T) {
	t.Parallel()
	var lost atomic.Int32
	ua, addr := direct(t, "udp", func(c *sip.Config) {
		c.Network.ListenPacket = func(ctx context.Context, network, addr string) (net.PacketConn, error) {
			conn, err := new(net.ListenConfig).ListenPacket(ctx, network, addr)
			return &lossyConn{PacketConn: conn, lost: &lost}, err
		}
	})
	ctx := deadline(t, 3*patience)
	accept, stop := context.WithCancel(ctx)
	defer stop()
	var served sync.WaitGroup
	served.Go(func() {
		for {
			in, err := ua.Accept(accept)
			if err != nil {
				return
			}
			served.Go(func() {
				if err := errors.Join(in.Ring(ctx), in.Answer(ctx, nil)); err != nil && !errors.Is(err, sip.ErrEnded) {
					t.Errorf("answer: %v", err)
				}
				if err := in.Wait(ctx); err != nil {
					t.Errorf("call: %v", err)
				}
			})
		}
	})
	stats := peertest.StartSipp(t, peertest.SippConfig{
		Scenario: "uac_lossy", Target: addr, Calls: 300, Rate: 100, Hold: 100 * time.Millisecond,
	}).Wait(2 * patience)
	if lost.Load() < 100 || stats.Retransmissions == 0 {
		t.Errorf("%d packets were lost, %d sent again by SIPp: that proves nothing", lost.Load(), stats.Retransmissions)
	}
	stop()
	served.Wait()
}

// wire counts the requests that a user agent sent and the responses that it
// received, by what they are ("BYE", "200 BYE") and Call-ID.
type wire struct {
	mu      sync.Mutex
	count   map[string]int
	changed chan struct{} // closed and replaced at each change
}

func newWire() *wire { return &wire{count: map[string]int{}, changed: make(chan struct{})} }

// field returns the value of a header field that stands on one line.
func field(message []byte, name string) string {
	_, rest, _ := bytes.Cut(message, []byte("\r\n"+name+":"))
	value, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(bytes.TrimSpace(value))
}

// see is a sip.Config's Tap.
func (w *wire) see(p sip.Packet) {
	_, what, _ := strings.Cut(field(p.Data, "CSeq"), " ")
	if status, isResponse := bytes.CutPrefix(p.Data, []byte("SIP/2.0 ")); isResponse == p.Sent {
		return
	} else if isResponse {
		what = string(status[:3]) + " " + what
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count[what+" "+field(p.Data, "Call-ID")]++
	close(w.changed)
	w.changed = make(chan struct{})
}

// wait waits until there were n of these in a call.
func (w *wire) wait(ctx context.Context, c *sip.Call, what string, n int) error {
	for {
		w.mu.Lock()
		got, changed := w.count[what+" "+c.ID()], w.changed
		w.mu.Unlock()
		if got >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d times %s, want %d: %w", got, what, n, ctx.Err())
		}
	}
}

// Odd flows with SIPp as the callee.
func TestOddCallees(t *testing.T) {
	t.Parallel()
	out := newWire()
	// hangup ends a call once so many of something have been seen.
	hangup := func(what string, n int) func(context.Context, *sip.Call) error {
		return func(ctx context.Context, c *sip.Call) error {
			return errors.Join(c.Answered(ctx), out.wait(ctx, c, what, n), c.Hangup(ctx), c.Wait(ctx))
		}
	}
	// cancel gives a call up while it rings.
	cancel := func(ctx context.Context, c *sip.Call) error {
		for ev := range c.Events(ctx) {
			if ev.Kind == sip.StateChanged && ev.State == sip.CallRinging {
				break
			}
		}
		return errors.Join(c.Hangup(ctx), c.Wait(ctx))
	}
	for _, c := range []struct {
		scenario string
		use      func(context.Context, *sip.Call) error
	}{
		{"uas_183_other_200", hangup("ACK", 1)},
		{"uas_repeat_200", hangup("ACK", 2)},
		{"uas_fork", hangup("200 BYE", 1)},
		{"uas_cancel", cancel},
		{"uas_cancel_crossed", cancel},
		{"uas_slow", func(ctx context.Context, c *sip.Call) error {
			if err := out.wait(ctx, c, "INVITE", 1); err != nil {
				return err
			}
			return errors.Join(c.Hangup(ctx), c.Wait(ctx)) // before anything came back
		}},
		{"uas_busy", func(ctx context.Context, c *sip.Call) error {
			var status *sip.StatusError
			if err := c.Answered(ctx); !errors.As(err, &status) || status.Code != 486 {
				return errors.Join(errors.New("not busy"), err)
			}
			return nil
		}},
	} {
		for _, transport := range []string{"udp", "tcp"} {
			if c.scenario == "uas_repeat_200" && transport == "udp" {
				continue // SIPp takes the second ACK for the first one retransmitted
			}
			t.Run(c.scenario+"/"+transport, func(t *testing.T) {
				t.Parallel()
				const calls = 20
				ua, _ := direct(t, transport, func(c *sip.Config) { c.Tap = out.see })
				uas := peertest.StartSipp(t, peertest.SippConfig{
					Scenario: c.scenario, Transport: transport, Calls: calls, Hold: 50 * time.Millisecond,
					Keys: map[string]string{"early_port": "40000", "final_port": "40002"},
				})
				ctx := deadline(t, patience)
				var calling sync.WaitGroup
				for range calls {
					calling.Go(func() {
						call, err := ua.Start(ctx, "sip:sipp@"+uas.Addr+";transport="+transport, nil)
						if err != nil {
							t.Errorf("start: %v", err)
							return
						}
						if err := c.use(ctx, call); err != nil {
							t.Errorf("call: %v", err)
						}
					})
				}
				calling.Wait()
				uas.Wait(patience)
			})
		}
	}
}
