package media_test

import (
	"context"
	"math"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// world is two engines on a network in memory, in a synctest bubble.
type world struct {
	t            *testing.T
	net          *memnet.Network
	hostA, hostB *memnet.Host
	a, b         *media.Engine
}

var (
	addrA = netip.MustParseAddr("10.0.0.1")
	addrB = netip.MustParseAddr("10.0.0.2")
	addrC = netip.MustParseAddr("10.0.0.3")
)

func newWorld(t *testing.T, a, b media.Config) *world {
	t.Helper()
	w := &world{t: t, net: memnet.New()}
	w.hostA, w.hostB = w.net.Host("10.0.0.1", "2001:db8::1"), w.net.Host("10.0.0.2", "2001:db8::2")
	w.a, w.b = w.engine(a, w.hostA), w.engine(b, w.hostB)
	return w
}

func (w *world) engine(cfg media.Config, h *memnet.Host) *media.Engine {
	w.t.Helper()
	cfg.ListenPacket = h.ListenPacket
	e, err := media.NewEngine(&cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { e.Close() })
	return e
}

// end is one end of a call.
type end struct {
	t    *testing.T
	eng  *media.Engine
	sess *media.Session
	leg  offeranswer.Leg
	ear  ear

	mu     sync.Mutex
	events []offeranswer.Event
}

func newEnd(t *testing.T, e *media.Engine, local netip.Addr, secure bool) *end {
	t.Helper()
	x := &end{t: t, eng: e}
	m, err := e.NewSession(t.Context(), offeranswer.Env{Local: local, Secure: secure, Notify: x.notify})
	if err != nil {
		t.Fatal(err)
	}
	x.sess = m.(*media.Session)
	x.ear.rate = 8000
	must(t, x.sess.SetSink(&x.ear))
	return x
}

func (x *end) notify(e offeranswer.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.events = append(x.events, e)
}

// heard counts the events of a kind.
func (x *end) got(k offeranswer.EventKind) (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events {
		if e.Kind == k {
			n++
		}
	}
	return n
}

func (x *end) legOf(dialog string) offeranswer.Leg {
	x.t.Helper()
	l, err := x.sess.Leg(dialog)
	must(x.t, err)
	if x.leg == nil {
		x.leg = l
	}
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect lets a call b.
func connect(t *testing.T, a, b *end) {
	t.Helper()
	offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
	must(t, err)
	answer, err := b.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
	must(t, err)
	must(t, b.leg.Commit())
	must(t, a.legOf("d").SetAnswer(t.Context(), answer, false))
}

// reoffer lets a re-INVITE b.
func reoffer(t *testing.T, a, b *end, o, back offeranswer.Options) {
	t.Helper()
	offer, err := a.leg.Offer(t.Context(), o)
	must(t, err)
	answer, err := b.leg.Answer(t.Context(), offer, back)
	must(t, err)
	must(t, b.leg.Commit())
	must(t, a.leg.SetAnswer(t.Context(), answer, false))
}

// call is a call between the engines of a world, each end sending a tone of
// its own.
func (w *world) call(secure bool) (a, b *end) {
	w.t.Helper()
	a, b = newEnd(w.t, w.a, addrA, secure), newEnd(w.t, w.b, addrB, secure)
	must(w.t, a.sess.SetSource(media.NewTone(8000, -12, toneA)))
	must(w.t, b.sess.SetSource(media.NewTone(16000, -12, toneB)))
	connect(w.t, a, b)
	return a, b
}

const (
	toneA = 697.0
	toneB = 1209.0
)

// talk lets time pass, and what is due at its end happen.
func talk(d time.Duration) {
	pass(d)
	synctest.Wait()
}

// pass lets time pass. The caller is in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// ear is a Sink that keeps what it hears.
type ear struct {
	rate int
	mu   sync.Mutex
	pcm  []int16
	n    int // frames
}

func (e *ear) SampleRate() int { return e.rate }

func (e *ear) WriteFrame(pcm []int16) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pcm = append(e.pcm, pcm...)
	e.n++
	return nil
}

func (e *ear) take() []int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	pcm := e.pcm
	e.pcm, e.n = nil, 0
	return pcm
}

// level is the power of a frequency in dBFS of a sine.
func level(pcm []int16, rate int, hz float64) float64 {
	var re, im float64
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / float64(rate))
		re += float64(v) * c
		im += float64(v) * s
	}
	return 20 * math.Log10(2*math.Hypot(re, im)/float64(max(1, len(pcm)))/32767+1e-9)
}

// power is the power of everything, in dBFS of a sine.
func power(pcm []int16) float64 {
	var sum float64
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return 10 * math.Log10(2*sum/float64(max(1, len(pcm)))/32767/32767+1e-18)
}

// wantTone checks that pcm is a tone at -12 dBFS and next to nothing else.
func wantTone(t *testing.T, who string, pcm []int16, rate int, hz float64) {
	t.Helper()
	if len(pcm) < rate/4 {
		t.Errorf("%s: only %d samples", who, len(pcm))
		return
	}
	if l, all := level(pcm, rate, hz), power(pcm); l < -13.5 || l > -10.5 || all > l+0.5 {
		t.Errorf("%s: %v Hz at %.1f dBFS of %.1f", who, hz, l, all)
	}
}

func wantSilence(t *testing.T, who string, pcm []int16) {
	t.Helper()
	if p := power(pcm); p > -60 {
		t.Errorf("%s: %.1f dBFS where there should be silence", who, p)
	}
}

func bg() context.Context { return context.Background() }
