package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/callpull"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// humming gives every call of a phone a tone to send from its first frame on.
func humming(hz float64) func(offeranswer.New) offeranswer.New {
	return func(next offeranswer.New) offeranswer.New {
		return func(ctx context.Context, env offeranswer.Env) (offeranswer.Media, error) {
			m, err := next(ctx, env)
			if err != nil {
				return nil, err
			}
			return m, m.(*media.Session).SetSource(media.NewTone(rate, -12, hz))
		}
	}
}

// hummer is a phone with SRTP that sends a tone in all its calls.
func (w *world) hummer(user string, tr sip.Transport, hz float64) *phone {
	return w.phone(user, settings{ua: w.over(tr), wrap: humming(hz),
		media: media.Config{Codecs: codecsNamed("PCMU"), SRTP: media.SRTPRequired}})
}

// without is the longest time in which a tone is not heard, to 10 ms.
func without(pcm []int16, hz float64) time.Duration {
	const window = rate / 100
	run, most := 0, 0
	for ; len(pcm) >= window; pcm = pcm[window:] {
		run++
		if mediatest.ToneShare(pcm[:window], rate, hz) >= 0.5 && mediatest.Level(pcm[:window]) > -24 {
			run = 0
		}
		most = max(most, run)
	}
	return time.Duration(most) * 10 * ms
}

// sounds checks that two ends hear each other's tones now.
func sounds(t *testing.T, step string, a, b *end, ofA, ofB float64) {
	t.Helper()
	pass(300 * ms)
	a.ear.take()
	b.ear.take()
	pass(500 * ms)
	for _, c := range []struct {
		x  *end
		hz float64
	}{{a, ofB}, {b, ofA}} {
		if pcm := c.x.ear.take(); without(pcm, c.hz) > 20*ms || len(pcm) < rate/3 {
			t.Errorf("%s: %s does not hear %v Hz for %v of %d ms: %v", step, c.x.p.AOR(), c.hz, without(pcm, c.hz), len(pcm)*1000/rate, c.x.sess.Stats())
		}
	}
}

// elsewhere waits until a watcher lists so many calls.
func elsewhere(t *testing.T, w *callpull.Watcher, n int) []callpull.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for calls := range w.Changes(ctx) {
		if len(calls) == n {
			return calls
		}
	}
	t.Fatalf("%d calls are listed, want %d", len(w.Calls()), n)
	return nil
}

// keysOf are the SRTP keys in what the lab sent to a device or had from it.
func keysOf(w *world, p *phone, sent bool) map[string]bool {
	keys := make(map[string]bool)
	for _, e := range w.Transcript().Entries {
		if e.Sent != sent || e.Remote.Addr() != p.addr {
			continue
		}
		for _, line := range cryptoLines.FindAllString(string(e.Data), -1) {
			keys[strings.TrimSpace(line[strings.Index(line, "inline:"):])] = true
		}
	}
	return keys
}

// Alice pulls her call with bob from her desk to her mobile: both hear each
// other with new keys, and bob misses no more than 40 ms, or a round trip and
// 60 ms where the network takes its time.
func TestPull(t *testing.T) {
	for _, method := range []callpull.Method{callpull.Code, callpull.Replaces} {
		for _, caller := range []bool{true, false} {
			for _, tr := range []sip.Transport{sip.TLS, sip.UDP} {
				for _, latency := range []time.Duration{0, 40 * ms} {
					role := "callee"
					if caller {
						role = "caller"
					}
					t.Run(fmt.Sprintf("%v, %s, %s, %v", method, role, tr, 2*latency), func(t *testing.T) {
						bubble(t, func(t *testing.T) { pulls(t, method, caller, tr, latency) })
					})
				}
			}
		}
	}
}

func pulls(t *testing.T, method callpull.Method, caller bool, tr sip.Transport, latency time.Duration) {
	bound := 40 * ms
	if latency > 0 {
		bound = 2*latency + 60*ms
	}
	w := newWorld(t)
	w.net.ImpairAll(w.path(memnet.Impairment{Latency: latency}))
	bob, desk := w.hummer("bob", tr, toneB), w.hummer("alice", tr, toneA)
	var a, b *end
	if caller {
		a, b = desk.call(bob, "bob")
	} else {
		b, a = bob.call(desk, "alice")
	}
	mobile := w.hummer("alice", tr, toneA)
	watcher, err := callpull.Watch(t.Context(), mobile.UA, &callpull.Config{Method: method})
	must(t, err)
	call := elsewhere(t, watcher, 1)[0]
	sounds(t, "before", a, b, toneA, toneB)
	oldBob := keysOf(w, bob, false)
	b.ear.take()
	b.sess.ResetGap()

	c, err := watcher.Pull(t.Context(), call, nil)
	must(t, err)
	pass(time.Second)
	if gap, told := without(b.ear.take(), toneA), b.sess.Stats().LongestGap; gap > bound || told > bound {
		t.Errorf("bob missed %v, %v by his own account; want at most %v", gap, told, bound)
	}
	if end := ended(t, a.Call, sip.Remote); end.Cause != sip.CauseReplaced {
		t.Errorf("on the desk phone: %+v", end)
	}
	m := mobile.end(c)
	sounds(t, "after", m, b, toneA, toneB)
	for _, x := range []*end{m, b} {
		if s := x.sess.Stats(); s.Suite == "" || s.Received.BadSRTP > 0 {
			t.Errorf("%s: %v", x.p.AOR(), s)
		}
	}
	there := keysOf(w, desk, false)
	here := keysOf(w, mobile, false)
	newBob := 0
	for key := range keysOf(w, bob, false) {
		if !oldBob[key] {
			newBob++
		}
	}
	if len(there) == 0 || len(here) == 0 || newBob == 0 {
		t.Errorf("%d keys of the desk, %d of the mobile, %d new ones of bob", len(there), len(here), newBob)
	}
	for key := range here {
		if there[key] {
			t.Error("the mobile has a key of the desk")
		}
	}
	hangup(t, b, m)
	must(t, watcher.Close(t.Context()))
	checkIdle(t, w)
}

// A call that the desk holds is heard where it is pulled to.
func TestPullHeld(t *testing.T) {
	for _, method := range []callpull.Method{callpull.Code, callpull.Replaces} {
		t.Run(method.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				bob, desk := w.hummer("bob", sip.TLS, toneB), w.hummer("alice", sip.TLS, toneA)
				a, b := desk.call(bob, "bob")
				must(t, a.Hold(t.Context()))
				mobile := w.hummer("alice", sip.TLS, toneA)
				watcher, err := callpull.Watch(t.Context(), mobile.UA, &callpull.Config{Method: method})
				must(t, err)
				call := elsewhere(t, watcher, 1)[0]
				c, err := watcher.Pull(t.Context(), call, nil)
				must(t, err)
				ended(t, a.Call, sip.Remote)
				m := mobile.end(c)
				if b.Held() != (sip.Hold{}) {
					t.Errorf("bob is held: %+v", b.Held())
				}
				sounds(t, "pulled", m, b, toneA, toneB)
				hangup(t, m, b)
				checkIdle(t, w)
			})
		})
	}
}

// A pull that comes to nothing says why, and the calls are heard where they
// were.
func TestPullFails(t *testing.T) {
	for _, c := range []struct {
		name   string
		method callpull.Method
		calls  int
		over   bool // they end before they are pulled
		mod    func(*siptest.User)
		want   error
	}{
		{"no call", callpull.Code, 0, false, nil, callpull.ErrNoCall},
		{"several calls", callpull.Code, 2, false, nil, callpull.ErrSeveralCalls},
		{"forbidden", callpull.Code, 1, false, func(u *siptest.User) { u.NoPull = true }, callpull.ErrForbidden},
		{"Replaces is forbidden", callpull.Replaces, 1, false, func(u *siptest.User) { u.NoReplaces = true }, callpull.ErrForbidden},
		{"a call that has ended", callpull.Replaces, 1, true, nil, callpull.ErrGone},
		{"a call that has ended", callpull.Auto, 1, true, nil, callpull.ErrGone},
		{"a call that has ended", callpull.Code, 1, true, nil, callpull.ErrNoCall},
	} {
		for _, tr := range []sip.Transport{sip.TLS, sip.UDP} {
			t.Run(fmt.Sprintf("%s, %v, %s", c.name, c.method, tr), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t, func(cfg *siptest.Config) {
						if c.mod != nil {
							c.mod(&cfg.Users[0])
						}
					})
					desk := w.hummer("alice", tr, toneA)
					var mine, theirs []*end
					for _, name := range []string{"bob", "carol"}[:c.calls] {
						a, b := desk.call(w.hummer(name, tr, toneB), name)
						mine, theirs = append(mine, a), append(theirs, b)
					}
					mobile := w.hummer("alice", tr, toneA)
					watcher, err := callpull.Watch(t.Context(), mobile.UA, &callpull.Config{Method: c.method})
					must(t, err)
					var call callpull.Call
					if calls := elsewhere(t, watcher, c.calls); len(calls) > 0 {
						call = calls[0]
					}
					hangUp := func() {
						for i := range mine {
							must(t, theirs[i].Hangup(t.Context()))
							ended(t, mine[i].Call, sip.Remote)
						}
					}
					if c.over {
						hangUp()
						mine, theirs = nil, nil
					}
					if _, err := watcher.Pull(t.Context(), call, nil); !errors.Is(err, c.want) {
						t.Errorf("got %v, want %v", err, c.want)
					}
					for i := range mine {
						sounds(t, "afterwards", mine[i], theirs[i], toneA, toneB)
					}
					hangUp()
					checkIdle(t, w)
				})
			})
		}
	}
}

// Bob hangs up while the call is pulled: it has moved and ends, or is gone, and
// nothing is left of it.
func TestPullCrossesHangup(t *testing.T) {
	for _, method := range []callpull.Method{callpull.Code, callpull.Replaces} {
		t.Run(method.String(), func(t *testing.T) {
			crossing(t, func(t *testing.T, w *world, s settings, after time.Duration) {
				bob, desk := w.phone("bob", s), w.phone("alice", s)
				a, b := desk.call(bob, "bob")
				mobile := w.phone("alice", s)
				watcher, err := callpull.Watch(t.Context(), mobile.UA, &callpull.Config{Method: method})
				must(t, err)
				call := elsewhere(t, watcher, 1)[0]
				type result struct {
					c   *sip.Call
					err error
				}
				done := make(chan result, 1)
				go func() {
					c, err := watcher.Pull(t.Context(), call, nil)
					done <- result{c, err}
				}()
				pass(after)
				must(t, b.Hangup(t.Context()))
				got := <-done
				ended(t, a.Call, sip.Remote)
				switch {
				case got.err == nil:
					ended(t, got.c, sip.Remote)
				case !errors.Is(got.err, callpull.ErrGone) && !errors.Is(got.err, callpull.ErrNoCall):
					t.Errorf("got %v", got.err)
				}
				must(t, watcher.Close(t.Context()))
			})
		})
	}
}
