package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// bubble runs a test in virtual time, next to others. That it ends shows that
// no goroutine is left behind.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, fn)
}

// world is a lab and phones on a network in memory.
type world struct {
	*siptest.Server
	t     *testing.T
	net   *memnet.Network
	host  *memnet.Host // the lab's
	wire  *wire
	hosts int
}

const (
	labAddr  = "10.0.0.1"
	labAddr6 = "2001:db8::1"
)

// newWorld starts a lab with alice (1001), bob (1002) and carol (1003).
func newWorld(t *testing.T, mods ...func(*siptest.Config)) *world {
	t.Helper()
	w := &world{t: t, net: memnet.New(), wire: newWire()}
	w.net.ImpairAll(w.path(memnet.Impairment{}))
	w.host = w.net.Host(labAddr, labAddr6)
	cfg := &siptest.Config{
		Addr: labAddr,
		Users: []siptest.User{
			{Name: "alice", Number: "1001", DisplayName: "Alice"},
			{Name: "bob", Number: "1002", DisplayName: "Bob"},
			{Name: "carol", Number: "1003", DisplayName: "Carol"},
		},
		Network: network(w.host),
	}
	for _, mod := range mods {
		mod(cfg)
	}
	srv, err := siptest.Start(cfg)
	must(t, err)
	w.Server = srv
	t.Cleanup(func() { srv.Close() })
	return w
}

func network(h *memnet.Host) sip.Network {
	return sip.Network{Dial: h.Dial, Listen: h.Listen, ListenPacket: h.ListenPacket}
}

// phone is a user agent with media, on a host of its own.
type phone struct {
	*sip.UA
	t     *testing.T
	w     *world
	host  *memnet.Host
	addr  netip.Addr
	eng   *media.Engine
	reg   *sip.Registration
	voice []int16 // what its user says, at rate

	mu   sync.Mutex
	ears map[*media.Session]*ear
}

// rate is that of what is said and heard here, whatever the codec.
const rate = 8000

// settings of a phone.
type settings struct {
	ua    func(*sip.Config)
	media media.Config
	wrap  func(offeranswer.New) offeranswer.New // around the media
}

// phone makes a phone for a user, who is registered by it.
func (w *world) phone(user string, s settings) *phone {
	w.t.Helper()
	p := w.newPhone(user, s)
	reg, err := p.Register(w.t.Context())
	if err != nil {
		w.t.Fatalf("%s: %v", user, err)
	}
	p.reg = reg
	return p
}

// newPhone makes a phone that is not registered. Alice has one voice, everybody else the other.
func (w *world) newPhone(user string, s settings) *phone {
	w.t.Helper()
	w.hosts++
	p := &phone{t: w.t, w: w, ears: make(map[*media.Session]*ear)}
	p.addr = netip.AddrFrom4([4]byte{10, 0, byte(1 + w.hosts/200), byte(1 + w.hosts%200)})
	p.host = w.net.Host(p.addr.String(), fmt.Sprintf("2001:db8::1:%x", w.hosts))
	p.voice = voices()[1]
	if user == "alice" {
		p.voice = voices()[0]
	}
	s.media.ListenPacket = p.host.ListenPacket
	eng, err := media.NewEngine(&s.media)
	must(w.t, err)
	p.eng = eng
	w.t.Cleanup(func() { eng.Close() })
	cfg := w.Config(user)
	cfg.Network.Dial, cfg.Network.Listen, cfg.Network.ListenPacket = p.host.Dial, p.host.Listen, p.host.ListenPacket
	cfg.NewMedia = p.newSession
	if s.wrap != nil {
		cfg.NewMedia = s.wrap(cfg.NewMedia)
	}
	if s.ua != nil {
		s.ua(cfg)
	}
	if p.UA, err = sip.New(cfg); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.Close() })
	return p
}

// newSession gives each call an ear.
func (p *phone) newSession(ctx context.Context, env offeranswer.Env) (offeranswer.Media, error) {
	m, err := p.eng.NewSession(ctx, env)
	if err != nil {
		return nil, err
	}
	s := m.(*media.Session)
	e := &ear{}
	p.mu.Lock()
	p.ears[s] = e
	p.mu.Unlock()
	return s, s.SetSink(e)
}

// over makes a phone use a transport.
func (w *world) over(t sip.Transport) func(*sip.Config) {
	return func(c *sip.Config) { c.Account.Proxy, c.Account.Transport = w.Proxy(t), t }
}

// end is one end of a call.
type end struct {
	*sip.Call
	p    *phone
	sess *media.Session
	ear  *ear
}

// end finds the media of a call, which must have some.
func (p *phone) end(c *sip.Call) *end {
	p.t.Helper()
	m := c.Media()
	if w, ok := m.(interface{ unwrap() offeranswer.Media }); ok {
		m = w.unwrap()
	}
	s, ok := m.(*media.Session)
	if !ok {
		p.t.Fatalf("%s: the %v call has media %T", p.AOR(), c.Direction(), m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &end{Call: c, p: p, sess: s, ear: p.ears[s]}
}

// accept waits for a call.
func (p *phone) accept() *sip.Call {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	c, err := p.Accept(ctx)
	if err != nil {
		p.t.Fatalf("%s: no call: %v", p.AOR(), err)
	}
	return c
}

// start begins a call.
func (p *phone) start(to string) *sip.Call {
	p.t.Helper()
	c, err := p.Start(p.t.Context(), to, nil)
	must(p.t, err)
	return c
}

// call brings up a call between two phones.
func (p *phone) call(to *phone, number string) (a, b *end) {
	p.t.Helper()
	ca := p.start(number)
	cb := to.accept()
	must(p.t, cb.Ring(p.t.Context()))
	must(p.t, cb.Answer(p.t.Context(), nil))
	must(p.t, ca.Answered(p.t.Context()))
	return p.end(ca), to.end(cb)
}

// attempt lets a phone call another, which answers at once, and returns what
// either is told about it.
func (p *phone) attempt(to *phone) (a, b *sip.Call, errA, errB error) {
	p.t.Helper()
	a = p.start(to.AOR())
	b = to.accept()
	errB = b.Answer(p.t.Context(), nil)
	errA = a.Answered(p.t.Context())
	return a, b, errA, errB
}

// refused checks that a call fails where it is answered, for this reason.
func refused(t *testing.T, from, to *phone, status int, why error) {
	t.Helper()
	a, b, errA, errB := from.attempt(to)
	var se *sip.StatusError
	if !errors.As(errA, &se) || se.Code != status {
		t.Errorf("%s got %v, want %d", from.AOR(), errA, status)
	}
	ended(t, a, sip.Remote)
	if end := ended(t, b, sip.Nobody); !errors.Is(errB, why) || !errors.Is(end.Err, why) {
		t.Errorf("%s got %v and %v, want %v", to.AOR(), errB, end.Err, why)
	}
}

// converse lets both sides speak at once, and checks that each hears the
// other.
func converse(t *testing.T, a, b *end) {
	t.Helper()
	say(t, a)
	say(t, b)
	pass(sentence)
	heard(t, b, a)
	heard(t, a, b)
}

// hum is converse for tests that have many calls: both send a tone, and each
// must hear all of the other's.
func hum(t *testing.T, a, b *end) {
	t.Helper()
	must(t, a.sess.SetSource(media.NewTone(rate, -12, toneA)))
	must(t, b.sess.SetSource(media.NewTone(rate, -12, toneB)))
	pass(500 * time.Millisecond)
	a.ear.take()
	b.ear.take()
	pass(time.Second)
	for _, c := range []struct {
		x  *end
		hz float64
	}{{a, toneB}, {b, toneA}} {
		if pcm := c.x.ear.take(); gaps(pcm, c.hz) != 0 || len(pcm) < rate*9/10 {
			t.Errorf("%s misses %d frames of %d: %v", c.x.p.AOR(), gaps(pcm, c.hz), len(pcm)*50/rate, c.x.sess.Stats())
		}
	}
}

const (
	toneA = 500.0
	toneB = 800.0
)

// gaps counts the frames of 20 ms in which a tone is not heard.
func gaps(pcm []int16, hz float64) (n int) {
	const frame = rate / 50
	for ; len(pcm) >= frame; pcm = pcm[frame:] {
		if mediatest.ToneShare(pcm[:frame], rate, hz) < 0.5 || mediatest.Level(pcm[:frame]) < -24 {
			n++
		}
	}
	return n
}

// sentence is how long a voice speaks, and the delay of what is heard.
const sentence = 6500 * time.Millisecond

// say lets a side begin to speak, and forget what it has heard before.
func say(t *testing.T, x *end) {
	t.Helper()
	x.ear.take()
	must(t, x.sess.SetSource(media.NewPCMSource(rate, x.p.voice, false)))
}

// heard checks that x has heard what y said.
func heard(t *testing.T, x, y *end) mediatest.Score {
	t.Helper()
	ok, score := mediatest.Heard(y.p.voice, x.ear.take(), rate)
	if !ok {
		t.Errorf("%s did not hear %s: %v\nhere:  %v\nthere: %v", x.p.AOR(), y.p.AOR(), score, x.sess.Stats(), y.sess.Stats())
	}
	return score
}

// hangup lets a side end the call, and checks that the other sees it, that
// both are told the same, and that nobody sends anything afterwards.
func hangup(t *testing.T, x, y *end) {
	t.Helper()
	must(t, x.Hangup(t.Context()))
	ended(t, y.Call, sip.Remote)
	ended(t, x.Call, sip.Local)
	pass(time.Second)
	before := x.p.w.wire.count(x.p.addr) + x.p.w.wire.count(y.p.addr)
	pass(time.Second)
	if after := x.p.w.wire.count(x.p.addr) + x.p.w.wire.count(y.p.addr); after != before {
		t.Errorf("%d packets after the call", after-before)
	}
}

// ended waits for the end of a call and checks who ended it.
func ended(t *testing.T, c *sip.Call, by sip.Side) sip.End {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := c.Wait(ctx); err != nil && by != sip.Nobody && c.End().Status == 0 {
		t.Errorf("the %v call ended with %v", c.Direction(), err)
	}
	end := c.End()
	if end.By != by {
		t.Errorf("%v call ended by %v, want %v: %+v", c.Direction(), end.By, by, end)
	}
	return end
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d) // virtual: the caller is in a bubble
	synctest.Wait()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ear is a Sink that keeps what it hears.
type ear struct {
	mu  sync.Mutex
	pcm []int16
}

func (e *ear) SampleRate() int { return rate }

func (e *ear) WriteFrame(pcm []int16) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pcm = append(e.pcm, pcm...)
	return nil
}

// take returns what was heard since the last time.
func (e *ear) take() []int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	pcm := e.pcm
	e.pcm = nil
	return pcm
}

var voices = sync.OnceValue(func() [2][]int16 {
	return [2][]int16{mediatest.Speech(0, rate), mediatest.Speech(1, rate)}
})

// codecsNamed finds codecs among those that phones have.
func codecsNamed(names ...string) []codec.Codec {
	var list []codec.Codec
	for _, name := range names {
		i := slices.IndexFunc(codecs, func(c codec.Codec) bool { return c.Format().Name == name })
		list = append(list, codecs[i])
	}
	return list
}

// back waits until a phone has registered anew.
func (p *phone) back(since time.Time) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Minute)
	defer cancel()
	for e := range p.reg.Events(ctx) {
		if e.State == sip.Registered && e.Time.After(since) {
			return
		}
	}
	p.t.Errorf("%s is not back: %+v", p.AOR(), lastEvent(p.t, p.reg))
}

// callEvents are what happened to a call so far, the latest 64.
func callEvents(t *testing.T, c *sip.Call) []sip.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	return slices.Collect(c.Events(ctx))
}
