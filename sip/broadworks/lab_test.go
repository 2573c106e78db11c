package broadworks_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/broadworks"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// office is the lab with users on their phones: alice (1001) uses its services;
// bob (1002) and carol (1003), who is of her group, notice.
type office struct {
	*siptest.Server
	t                 *testing.T
	net               *memnet.Network
	on                sip.Transport
	hosts             int
	alice, bob, carol *phone
	services          *broadworks.Services // alice's
}

// phone is a user agent, or a device of one user's several.
type phone struct {
	*sip.UA
	x *office
}

func open(t *testing.T, on sip.Transport) *office {
	x := &office{t: t, net: memnet.New(), on: on}
	h := x.net.Host("10.0.0.1")
	srv, err := siptest.Start(&siptest.Config{
		Addr: "10.0.0.1",
		Users: []siptest.User{
			{Name: "alice", Number: "1001", DisplayName: "Alice", Group: "sales", Voicemail: &siptest.Voicemail{}},
			{Name: "bob", Number: "1002"},
			{Name: "carol", Number: "1003", Group: "sales"},
		},
		Network: sip.Network{Dial: h.Dial, Listen: h.Listen, ListenPacket: h.ListenPacket},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	x.Server = srv
	x.alice, x.bob, x.carol = x.phone("alice"), x.phone("bob"), x.phone("carol")
	x.services = broadworks.New(x.alice.UA, nil)
	return x
}

// phone registers another device of a user's.
func (x *office) phone(user string) *phone {
	x.t.Helper()
	x.hosts++
	h := x.net.Host(fmt.Sprintf("10.0.1.%d", x.hosts))
	cfg := x.Config(user)
	cfg.Account.Proxy, cfg.Account.Transport = x.Proxy(x.on), x.on
	cfg.Network.Dial, cfg.Network.Listen, cfg.Network.ListenPacket = h.Dial, h.Listen, h.ListenPacket
	eng, err := media.NewEngine(&media.Config{ListenPacket: h.ListenPacket})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { eng.Close() })
	cfg.NewMedia = eng.NewSession
	ua, err := sip.New(cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { ua.Close() })
	if _, err := ua.Register(x.t.Context()); err != nil {
		x.t.Fatalf("%s: %v", user, err)
	}
	return &phone{ua, x}
}

func (x *office) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// start begins a call.
func (p *phone) start(to string) *sip.Call {
	p.x.t.Helper()
	c, err := p.Start(p.x.t.Context(), to, nil)
	p.x.must(err)
	return c
}

// rings waits for a call and lets it ring.
func (p *phone) rings() *sip.Call {
	p.x.t.Helper()
	ctx, cancel := context.WithTimeout(p.x.t.Context(), time.Minute)
	defer cancel()
	c, err := p.Accept(ctx)
	if err != nil {
		p.x.t.Fatalf("%s does not ring: %v", p.AOR(), err)
	}
	p.x.must(c.Ring(p.x.t.Context()))
	return c
}

// answers waits for a call and takes it.
func (p *phone) answers() *sip.Call {
	p.x.t.Helper()
	c := p.rings()
	p.x.must(c.Answer(p.x.t.Context(), nil))
	return c
}

// talk brings up a call.
func (x *office) talk(from, to *phone) (a, b *sip.Call) {
	x.t.Helper()
	a = from.start(to.AOR())
	b = to.answers()
	x.must(a.Answered(x.t.Context()))
	return a, b
}

// over ends a call from here and waits until the other side knows.
func (x *office) over(c, other *sip.Call) {
	x.t.Helper()
	x.must(c.Hangup(x.t.Context()))
	x.ended(other)
}

// ended waits for the end of a call.
func (x *office) ended(c *sip.Call) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), time.Minute)
	defer cancel()
	_ = c.Wait(ctx)
	if c.State() != sip.CallEnded {
		x.t.Fatalf("the call with %s goes on", c.Remote().URI)
	}
}

// refused checks that a call is refused.
func (x *office) refused(c *sip.Call, status int) {
	x.t.Helper()
	var se *sip.StatusError
	if err := c.Answered(x.t.Context()); !errors.As(err, &se) || se.Code != status {
		x.t.Errorf("%v, want %d", err, status)
	}
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// pending is the result of a verb that calls somebody, which is under way.
type pending struct {
	x      *office
	result chan error
	call   *sip.Call
}

func (x *office) begin(verb func() (*sip.Call, error)) *pending {
	d := &pending{x: x, result: make(chan error, 1)}
	go func() {
		c, err := verb()
		d.call = c
		d.result <- err
	}()
	return d
}

func (d *pending) done() *sip.Call {
	d.x.t.Helper()
	d.x.must(<-d.result)
	return d.call
}

// hears checks that one end of a call hears the other. Whose leg has just got
// another partner may hear him a moment later.
func (x *office) hears(here, there *sip.Call) {
	x.t.Helper()
	s, _ := media.FromCall(here)
	far, _ := media.FromCall(there)
	e := new(ear)
	x.must(errors.Join(far.SetSource(media.NewTone(rate, -12, 700)), s.SetSink(e)))
	pass(500 * time.Millisecond)
	e.take()
	pass(500 * time.Millisecond)
	if pcm := e.take(); len(pcm) < rate/3 || mediatest.ToneShare(pcm, rate, 700) < 0.8 {
		x.t.Errorf("%s is not heard in %d samples", there.Local().URI, len(pcm))
	}
}

const rate = 8000

// ear is a Sink that keeps what it hears.
type ear struct {
	mu  sync.Mutex
	pcm []int16
}

func (*ear) SampleRate() int { return rate }

func (e *ear) WriteFrame(pcm []int16) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pcm = append(e.pcm, pcm...)
	return nil
}

func (e *ear) take() []int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	pcm := e.pcm
	e.pcm = nil
	return pcm
}

// diverted checks that a call to alice rings at carol's, sent there by alice.
func (x *office) diverted(reason string) {
	x.t.Helper()
	b, c := x.bob.start("alice"), x.carol.rings()
	if d := c.Identity().Diversions; len(d) != 1 || d[0].Reason != reason || !strings.HasPrefix(d[0].URI, "sip:1001@") {
		x.t.Errorf("diverted by %+v, want alice, %s", d, reason)
	}
	x.over(b, c)
}

// reaches checks that a call to alice rings at hers.
func (x *office) reaches() {
	x.t.Helper()
	b, a := x.bob.start("alice"), x.alice.rings()
	x.over(b, a)
}

// recorded checks that a call is with alice's mailbox.
func (x *office) recorded(c *sip.Call) {
	x.t.Helper()
	x.must(c.Answered(x.t.Context()))
	if calls := x.CallList(); len(calls) != 1 || calls[0].Mailbox != "alice" {
		x.t.Errorf("in the lab: %+v", calls)
	}
	x.must(c.Hangup(x.t.Context()))
}

// verbs are the methods of Services, each with what it does to others.
var verbs = map[string]func(ctx context.Context, x *office){
	"SetDoNotDisturb": func(ctx context.Context, x *office) {
		x.must(x.services.SetVoicemail(ctx, broadworks.Busy, false))
		x.must(x.services.SetDoNotDisturb(ctx, true))
		x.refused(x.bob.start("alice"), 486)
		x.must(x.services.SetDoNotDisturb(ctx, false))
		x.reaches()
	},
	"SetForward": func(ctx context.Context, x *office) {
		x.must(x.services.SetVoicemail(ctx, broadworks.Busy, false))
		x.must(x.services.SetVoicemail(ctx, broadworks.NoAnswer, false))
		set := func(when broadworks.Forward, to string) { x.t.Helper(); x.must(x.services.SetForward(ctx, when, to)) }
		set(broadworks.Always, "1003")
		x.diverted("unconditional")
		set(broadworks.Always, "")
		x.reaches()

		set(broadworks.Busy, "1003")
		b := x.bob.start("alice")
		x.must(x.alice.rings().Reject(ctx, 486))
		x.over(b, x.carol.rings())
		set(broadworks.Busy, "")
		b = x.bob.start("alice")
		x.must(x.alice.rings().Reject(ctx, 486))
		x.refused(b, 486)

		set(broadworks.NoAnswer, "1003")
		began := time.Now()
		b = x.bob.start("alice")
		a := x.alice.rings()
		c := x.carol.rings()
		if took := time.Since(began); took != 18*time.Second {
			x.t.Errorf("diverted after %v", took)
		}
		x.ended(a)
		x.over(b, c)
		set(broadworks.NoAnswer, "")
		b, a = x.bob.start("alice"), x.alice.rings()
		pass(time.Minute)
		x.over(b, a)

		set(broadworks.NotReachable, "1003")
		x.Unregister("alice")
		x.diverted("unavailable")
		set(broadworks.NotReachable, "")
		x.refused(x.bob.start("alice"), 480)
	},
	"SetVoicemail": func(ctx context.Context, x *office) {
		set := func(when broadworks.Forward, on bool) { x.t.Helper(); x.must(x.services.SetVoicemail(ctx, when, on)) }
		set(broadworks.Always, true)
		x.recorded(x.bob.start("alice"))
		set(broadworks.Always, false)
		x.reaches()

		for _, on := range []bool{false, true} {
			set(broadworks.Busy, on)
			b := x.bob.start("alice")
			x.must(x.alice.rings().Reject(ctx, 486))
			if on {
				x.recorded(b)
			} else {
				x.refused(b, 486)
			}
		}
		for _, on := range []bool{false, true} {
			set(broadworks.NoAnswer, on)
			b, a := x.bob.start("alice"), x.alice.rings()
			if on {
				x.recorded(b)
				continue
			}
			pass(time.Minute)
			x.over(b, a)
		}
		if err := x.services.SetVoicemail(ctx, broadworks.NotReachable, true); err == nil {
			x.t.Error("there is no such code")
		}
	},
	"ClearIndicator": func(ctx context.Context, x *office) {
		x.must(x.Deposit("alice", siptest.VoiceMessage{PCM: make([]int16, 1600)}))
		x.must(x.services.ClearIndicator(ctx))
		if box := x.Mailbox("alice"); len(box) != 1 || !box[0].Old {
			x.t.Errorf("in the mailbox: %d", len(box))
		}
	},
	"Park": func(ctx context.Context, x *office) {
		a, b := x.talk(x.alice, x.bob)
		x.must(x.services.Park(ctx, a, "1003"))
		if a.State() != sip.CallEnded || b.State() != sip.CallEstablished {
			x.t.Errorf("alice's call is %v, bob's %v", a.State(), b.State())
		}
		if calls := x.CallList(); len(calls) != 1 || !calls[0].Parked {
			x.t.Errorf("in the lab: %+v", calls)
		}
		x.must(b.Hangup(ctx))
	},
	"Retrieve": func(ctx context.Context, x *office) {
		c, b := x.talk(x.carol, x.bob)
		x.must(broadworks.New(x.carol.UA, nil).Park(ctx, c, ""))
		a, err := x.services.Retrieve(ctx, "1003", nil)
		x.must(err)
		x.hears(a, b)
		x.hears(b, a)
		x.over(a, b)
	},
	"TransferToVoicemail": func(ctx context.Context, x *office) {
		a, b := x.talk(x.alice, x.bob)
		x.must(x.services.TransferToVoicemail(ctx, a, ""))
		x.ended(a)
		pass(2 * time.Second)
		s, _ := media.FromCall(b)
		x.must(s.SetSource(media.NewTone(rate, -12, 700)))
		pass(2 * time.Second)
		x.must(b.Hangup(ctx))
		pass(time.Second)
		box := x.Mailbox("alice")
		if len(box) != 1 || box[0].From != "1002" || box[0].Duration() < 2*time.Second {
			x.t.Fatalf("in the mailbox: %d messages", len(box))
		}
		if share := mediatest.ToneShare(box[0].PCM[len(box[0].PCM)-16000:], 16000, 700); share < 0.8 {
			x.t.Errorf("%.2f of the message is what bob said", share)
		}
		// Nobody has a mailbox at 1003: the call is there, and resumed.
		a, b = x.talk(x.alice, x.bob)
		var se *sip.StatusError
		if err := x.services.TransferToVoicemail(ctx, a, "1003"); !errors.As(err, &se) || se.Code != 404 || a.Held().Local {
			x.t.Errorf("%v, %+v", err, a.Held())
		}
		x.hears(a, b)
		x.over(a, b)
	},
	"PickupGroup": func(ctx context.Context, x *office) {
		b, c := x.bob.start("carol"), x.carol.rings()
		a, err := x.services.PickupGroup(ctx, nil)
		x.must(err)
		x.pickedUp(a, b, c)
	},
	"PickupDirected": func(ctx context.Context, x *office) {
		b, c := x.bob.start("carol"), x.carol.rings()
		a, err := x.services.PickupDirected(ctx, "1003", nil)
		x.must(err)
		x.pickedUp(a, b, c)
	},
	"Pull": func(ctx context.Context, x *office) {
		other := x.phone("alice")
		old, b := x.talk(other, x.bob)
		a, err := x.services.Pull(ctx, nil)
		x.must(err)
		x.ended(old)
		x.hears(a, b)
		x.over(a, b)
	},
	"Portal": func(ctx context.Context, x *office) {
		x.must(x.Deposit("alice", siptest.VoiceMessage{PCM: mediatest.Tone(700, 16000, 3*16000, 8000)}))
		a, err := x.services.Portal(ctx, nil)
		x.must(err)
		s, _ := media.FromCall(a)
		e := new(ear)
		x.must(s.SetSink(e))
		pass(2 * time.Second)
		if pcm := e.take(); mediatest.ToneShare(pcm[len(pcm)-rate/2:], rate, 700) < 0.8 {
			x.t.Error("the message is not heard")
		}
		x.must(s.SendDTMF(ctx, "7", nil))
		x.ended(a)
		if n := len(x.Mailbox("alice")); n != 0 {
			x.t.Errorf("%d messages are left", n)
		}
	},
	"DialHidden": func(ctx context.Context, x *office) {
		d := x.begin(func() (*sip.Call, error) { return x.services.DialHidden(ctx, "1002", nil) })
		b := x.bob.answers()
		if id := b.Identity(); !id.Anonymous || len(id.Asserted) > 0 || strings.Contains(b.Remote().URI, "1001") {
			x.t.Errorf("bob sees %+v", id)
		}
		x.over(d.done(), b)
	},
	"DialShown": func(ctx context.Context, x *office) {
		d := x.begin(func() (*sip.Call, error) {
			return x.services.DialShown(ctx, "1002", &sip.DialOptions{Anonymous: true})
		})
		b := x.bob.answers()
		if id := b.Identity(); id.Anonymous || !strings.HasPrefix(b.Remote().URI, "sip:1001@") {
			x.t.Errorf("bob sees %+v", id)
		}
		x.over(d.done(), b)
	},
	"Redial": func(ctx context.Context, x *office) {
		x.over(x.talk(x.alice, x.bob))
		x.over(x.talk(x.carol, x.alice))
		d := x.begin(func() (*sip.Call, error) { return x.services.Redial(ctx, nil) })
		b := x.bob.answers()
		x.over(d.done(), b)
	},
	"ReturnCall": func(ctx context.Context, x *office) {
		x.over(x.talk(x.alice, x.bob))
		x.over(x.talk(x.carol, x.alice))
		d := x.begin(func() (*sip.Call, error) { return x.services.ReturnCall(ctx, nil) })
		c := x.carol.answers()
		x.over(d.done(), c)
	},
}

// pickedUp checks that alice has bob's call, which rings no more at carol's.
func (x *office) pickedUp(a, b, c *sip.Call) {
	x.t.Helper()
	x.must(b.Answered(x.t.Context()))
	x.ended(c)
	if cause := c.End().Cause; cause != sip.CauseAnsweredElsewhere {
		x.t.Errorf("carol's call ended as %v", cause)
	}
	x.hears(a, b)
	x.hears(b, a)
	x.over(a, b)
}

// Every verb does at the lab what it says, and with all of them every code is
// dialled that there is.
func TestVerbs(t *testing.T) {
	var names []string
	for m := range reflect.TypeFor[*broadworks.Services]().Methods() {
		names = append(names, m.Name)
	}
	for _, on := range []sip.Transport{sip.TLS, sip.UDP} {
		t.Run(string(on), func(t *testing.T) {
			missing, ran := broadworks.Defaults(), 0
			for _, name := range names {
				t.Run(name, func(t *testing.T) {
					verb := verbs[name]
					if verb == nil {
						t.Fatal("the test does not know it")
					}
					ran++
					synctest.Test(t, func(t *testing.T) {
						x := open(t, on)
						verb(t.Context(), x)
						pass(time.Minute)
						if calls := x.CallList(); len(calls) != 0 {
							t.Errorf("left in the lab: %+v", calls)
						}
						for _, e := range x.Transcript().Entries {
							for f, code := range missing {
								if strings.HasPrefix(string(e.Data), "INVITE sip:"+strings.ReplaceAll(code, "#", "%23")) {
									delete(missing, f)
								}
							}
						}
					})
				})
			}
			if len(missing) > 0 && ran == len(names) {
				t.Errorf("never dialled: %v", missing)
			}
		})
	}
}

// The lab's codes are ours.
func TestCodes(t *testing.T) {
	theirs := make(map[string]bool)
	for _, code := range siptest.DefaultCodes() {
		theirs[code] = true
	}
	for f, code := range broadworks.Defaults() {
		if !theirs[code] {
			t.Errorf("%s: the lab has no %s", f, code)
		}
	}
}
