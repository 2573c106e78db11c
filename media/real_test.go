package media_test

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// frames is a sink that tells when it has heard n frames with sound in them.
type frames struct {
	mu   sync.Mutex
	want int
	done chan struct{}
	pcm  []int16
}

func (f *frames) SampleRate() int { return 8000 }

func (f *frames) WriteFrame(pcm []int16) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.want <= 0 || power(pcm) < -40 {
		return nil
	}
	f.pcm = append(f.pcm, pcm...)
	if f.want--; f.want == 0 {
		close(f.done)
	}
	return nil
}

// wrapped hides that it is a net.UDPConn.
type wrapped struct{ net.PacketConn }

// Real sockets on loopback, in real time: those that the poller does not know,
// and those with a goroutine.
func TestRealSockets(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, tt := range []struct {
		name     string
		addr     string
		portable bool
	}{{"IPv4", "127.0.0.1", false}, {"IPv6", "::1", false}, {"portable", "127.0.0.1", true}} {
		t.Run(tt.name, func(t *testing.T) {
			local := netip.MustParseAddr(tt.addr)
			if c, err := net.ListenUDP("udp", &net.UDPAddr{IP: local.AsSlice()}); err != nil {
				t.Skip(err)
			} else {
				c.Close()
			}
			var ends [2]*end
			var ears [2]*frames
			for i := range ends {
				cfg := pcmu
				if tt.portable {
					cfg.ListenPacket = func(ctx context.Context, network, addr string) (net.PacketConn, error) {
						c, err := new(net.ListenConfig).ListenPacket(ctx, network, addr)
						return wrapped{c}, err
					}
				}
				e, err := media.NewEngine(&cfg)
				must(t, err)
				defer e.Close()
				ends[i] = newEnd(t, e, local, true)
				ears[i] = &frames{want: 30, done: make(chan struct{})}
				must(t, ends[i].sess.SetSink(ears[i]))
				must(t, ends[i].sess.SetSource(media.NewTone(8000, -12, []float64{toneA, toneB}[i])))
			}
			connect(t, ends[0], ends[1])
			for i, f := range ears {
				select {
				case <-f.done:
				case <-t.Context().Done():
					t.Fatalf("end %d heard nothing: %v", i, ends[i].sess.Stats())
				}
				if l := level(f.pcm, 8000, []float64{toneB, toneA}[i]); l < -14 || l > -10 {
					t.Errorf("end %d: %.1f dBFS", i, l)
				}
			}
			for _, x := range ends {
				if st := x.sess.Stats(); st.Received.BadSRTP > 0 || st.Received.Jitter > 20*time.Millisecond {
					t.Errorf("%+v", st)
				}
			}
		})
	}
	for i := 0; runtime.NumGoroutine() > before; i++ {
		if i == 1000 {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
		runtime.Gosched() // those of the testing package
	}
}

// Everything at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(true)
		var wg sync.WaitGroup
		for k, x := range []*end{a, b} {
			for j, op := range []func(i int){
				func(i int) { x.sess.SetSource(media.NewTone(8000+25*(i%100), -12, toneA)) },
				func(i int) { x.sess.SetSink(&ear{rate: 8000 + 25*(i%100)}) },
				func(int) { _ = x.sess.Stats().String() },
				func(i int) { x.sess.Mute(i%3 == 0) },
				func(int) { x.sess.SendDTMF(t.Context(), "1", nil) },
				func(int) { x.leg.Streams(); x.leg.Local() },
				func(int) { x.sess.Rebind(t.Context(), []netip.Addr{addrA, addrB}[k]) },
				func(int) { x.sess.SetRecorder(nil) },
				func(int) { x.sess.Play(t.Context(), media.NewPCMSource(8000, make([]int16, 400), false)) },
			} {
				wg.Go(func() {
					for i := range 100 {
						op(i)
						pass(time.Duration(7+2*j+k) * time.Millisecond)
					}
				})
			}
		}
		for range 10 {
			reoffer(t, a, b, offeranswer.Options{NewKeys: true}, offeranswer.Options{})
			pass(31 * time.Millisecond)
			reoffer(t, b, a, offeranswer.Options{}, offeranswer.Options{NewKeys: true})
			pass(29 * time.Millisecond)
		}
		wg.Wait()
		reoffer(t, a, b, offeranswer.Options{}, offeranswer.Options{})
		for _, x := range []*end{a, b} {
			x.sess.Mute(false)
			must(t, x.sess.SetSource(media.NewTone(8000, -12, toneC)))
			must(t, x.sess.SetSink(&x.ear))
		}
		talk(time.Second)
		a.ear.take()
		b.ear.take()
		talk(time.Second)
		wantTone(t, "a", a.ear.take(), 8000, toneC)
		wantTone(t, "b", b.ear.take(), 8000, toneC)
		must(t, w.a.Close())
		if _, err := w.a.NewSession(t.Context(), offeranswer.Env{}); err != media.ErrClosed {
			t.Errorf("a session of a closed engine: %v", err)
		}
	})
}

// A session that agrees on nothing, and one that is closed in the middle of an
// exchange, leave nothing behind.
func TestCloseAtAnyPoint(t *testing.T) {
	e, err := media.NewEngine(&pcmu)
	must(t, err)
	local := netip.MustParseAddr("127.0.0.1")
	for point := range 6 {
		a, b := newEnd(t, e, local, true), newEnd(t, e, local, true)
		offer, answer := []byte(nil), []byte(nil)
		for i, step := range []func() error{
			func() (err error) { offer, err = a.sess.Offer(t.Context(), offeranswer.Options{}); return },
			func() (err error) {
				answer, err = b.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
				return
			},
			func() error { return b.leg.Commit() },
			func() error { return a.legOf("d").SetAnswer(t.Context(), answer, true) },
			func() error { return a.legOf("d").SetAnswer(t.Context(), answer, false) },
		} {
			if i == point {
				break
			}
			must(t, step())
		}
		must(t, a.sess.Close())
		must(t, b.sess.Close())
		if a.leg != nil {
			if err := a.leg.SetAnswer(t.Context(), answer, false); err != media.ErrClosed {
				t.Errorf("%v", err)
			}
		}
		if _, err := a.sess.Offer(t.Context(), offeranswer.Options{}); err != media.ErrClosed {
			t.Errorf("%v", err)
		}
		if _, err := a.sess.Leg("x"); err != media.ErrClosed {
			t.Errorf("%v", err)
		}
	}
	must(t, e.Close())
}
