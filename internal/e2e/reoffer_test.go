package e2e_test

import (
	"errors"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// hums is a call in which both sides send a tone without end, over a network
// with 30 ms of latency, alice through a man in the middle.
type hums struct {
	w    *world
	man  *man
	a, b *end
}

func newHums(t *testing.T, names ...string) *hums {
	t.Helper()
	w := newWorld(t)
	w.net.ImpairAll(w.path(memnet.Impairment{Latency: 30 * ms}))
	man := newMan(t, w)
	s := media.Config{Codecs: codecsNamed(names...), RTPTimeout: 5 * time.Second}
	alice, bob := w.phone("alice", settings{ua: man.between, media: s}), w.phone("bob", settings{media: s})
	a, b := alice.call(bob, "bob")
	must(t, a.sess.SetSource(media.NewTone(rate, -12, toneA)))
	must(t, b.sess.SetSource(media.NewTone(rate, -12, toneB)))
	pass(time.Second)
	h := &hums{w: w, man: man, a: a, b: b}
	h.during(t, 0, func() {})
	return h
}

// during checks that each side hears the other while something happens and for
// a second after, but for so many frames of 20 ms.
func (h *hums) during(t *testing.T, frames int, act func()) {
	t.Helper()
	h.a.ear.take()
	h.b.ear.take()
	badA, badB := bad(h.a), bad(h.b)
	act()
	pass(time.Second)
	if n := gaps(h.a.ear.take(), toneB); n > frames {
		t.Errorf("alice missed %d frames", n)
	}
	if n := gaps(h.b.ear.take(), toneA); n > frames {
		t.Errorf("bob missed %d frames", n)
	}
	if n := bad(h.a) - badA; n > uint64(frames) {
		t.Errorf("alice: %d packets more without use: %+v", n, h.a.sess.Stats().Received)
	}
	if n := bad(h.b) - badB; n > uint64(frames) {
		t.Errorf("bob: %d packets more without use: %+v", n, h.b.sess.Stats().Received)
	}
}

// bad are the packets that did x no good.
func bad(x *end) uint64 {
	r := x.sess.Stats().Received
	return r.Lost + r.Late + r.Discarded + r.Broken + r.Unknown + r.BadSRTP + r.Stray
}

// New keys in the middle of a call, by either side, cost less than two frames.
func TestRekey(t *testing.T) {
	for _, suite := range []string{"AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"} {
		t.Run(suite, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newHums(t, "PCMU")
				keys := make(map[string]int)
				h.man.tamper(func(_ bool, m sipgo.Message) {
					if isOffer(m) || isAnswer(m) {
						for _, line := range cryptoLines.FindAllString(string(m.Body()), -1) {
							keys[strings.TrimSpace(line[strings.Index(line, "inline:"):])]++
						}
					}
				})
				seen := 0
				for range 3 {
					for _, x := range []*end{h.a, h.b} {
						h.during(t, 1, func() { must(t, x.Renegotiate(t.Context(), options{NewKeys: true})) })
						if len(keys) <= seen {
							t.Errorf("no new keys: %v", keys)
						}
						seen = len(keys)
					}
				}
				hangup(t, h.a, h.b)
			})
		})
	}
}

// Both sides make an offer at once (RFC 3261 §14.1): one waits, both succeed.
func TestGlare(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHums(t, "PCMU")
		h.during(t, 2, func() {
			done := make(chan error, 2)
			for _, x := range []*end{h.a, h.b} {
				go func() { done <- x.Renegotiate(t.Context(), options{NewKeys: true}) }()
			}
			must(t, <-done)
			must(t, <-done)
		})
		hangup(t, h.b, h.a)
	})
}

// One side moves to another address of its host, as from Wi-Fi to cable.
func TestAddressChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHums(t, "PCMU")
		for i, x := range []*end{h.a, h.b} {
			other := netip.AddrFrom4([4]byte{10, 0, 77, byte(i + 1)})
			x.p.host.SetAddrs(x.p.addr.String(), other.String())
			h.during(t, 2, func() {
				must(t, x.sess.Rebind(t.Context(), other))
				must(t, x.Renegotiate(t.Context(), options{}))
			})
			if s := x.sess.Stats(); s.Local.Addr() != other {
				t.Errorf("%s is at %v", x.p.AOR(), s.Local)
			}
		}
		if a, b := h.a.sess.Stats(), h.b.sess.Stats(); a.Remote != b.Local || b.Remote != a.Local {
			t.Errorf("alice at %v sends to %v, bob at %v sends to %v", a.Local, a.Remote, b.Local, b.Remote)
		}
		old := h.w.wire.count(h.a.p.addr) + h.w.wire.count(h.b.p.addr)
		pass(time.Second)
		if n := h.w.wire.count(h.a.p.addr) + h.w.wire.count(h.b.p.addr) - old; n != 0 {
			t.Errorf("%d packets from the former addresses", n)
		}
		must(t, h.a.Hangup(t.Context()))
		ended(t, h.b.Call, sip.Remote)
	})
}

var mediaLine = regexp.MustCompile(`(m=audio \d+ \S+) [0-9 ]+`)

// The peer's re-offer has other codecs than before.
func TestCodecChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHums(t, "opus", "G722", "PCMU", "PCMA")
		for _, c := range []struct {
			types, codec string
			frames       int // that may be missed; another clock is another jitter buffer
		}{
			{"0 101", "PCMU/8000", 4}, {"9 101", "G722/8000", 2}, {"8 0", "PCMA/8000", 2}, {"96 97", "opus/48000/2", 4},
		} {
			h.man.tamper(func(_ bool, m sipgo.Message) {
				if isOffer(m) {
					edit(m, func(sdp string) string { return mediaLine.ReplaceAllString(sdp, "$1 "+c.types) })
				}
			})
			for i, x := range []*end{h.a, h.b} {
				if i == 1 {
					c.frames = 0 // the same once more
				}
				h.during(t, c.frames, func() { must(t, x.Renegotiate(t.Context(), options{})) })
				for _, y := range []*end{h.a, h.b} {
					if s := y.sess.Stats(); s.Codec != c.codec || s.Received.Codec != c.codec {
						t.Errorf("%s sends %s and receives %s, want %s", y.p.AOR(), s.Codec, s.Received.Codec, c.codec)
					}
				}
			}
		}
		hum(t, h.a, h.b)
		hangup(t, h.a, h.b)
	})
}

// Hold, by direction and as RFC 2543 had it, and back.
func TestHold(t *testing.T) {
	direct := func(d offeranswer.Direction) options {
		return options{Direction: map[int]offeranswer.Direction{0: d}}
	}
	bubble(t, func(t *testing.T) {
		h := newHums(t, "PCMU")
		for _, x := range []*end{h.a, h.b} {
			y, toneX, toneY := h.b, toneA, toneB
			if x == h.b {
				y, toneX, toneY = h.a, toneB, toneA
			}
			for _, c := range []struct {
				name       string
				dir        offeranswer.Direction
				zero       bool // c=0.0.0.0 in the offer
				hearX      bool
				hearY      bool
				here, back offeranswer.Direction
			}{
				{name: "sendonly", dir: offeranswer.SendOnly, hearX: true, here: offeranswer.SendOnly, back: offeranswer.RecvOnly},
				{name: "recvonly", dir: offeranswer.RecvOnly, hearY: true, here: offeranswer.RecvOnly, back: offeranswer.SendOnly},
				{name: "inactive", dir: offeranswer.Inactive, here: offeranswer.Inactive, back: offeranswer.Inactive},
				{name: "c=0.0.0.0", zero: true, hearX: true, here: offeranswer.SendRecv, back: offeranswer.RecvOnly},
			} {
				h.man.tamper(func(_ bool, m sipgo.Message) {
					if c.zero && isOffer(m) {
						edit(m, func(sdp string) string {
							return regexp.MustCompile(`c=IN IP4 \S+`).ReplaceAllString(sdp, "c=IN IP4 0.0.0.0")
						})
					}
				})
				must(t, x.sess.SetHoldSource(media.NewTone(rate, -12, toneX)))
				must(t, x.Renegotiate(t.Context(), direct(c.dir)))
				h.man.tamper(nil)
				pass(2 * time.Second)
				x.ear.take()
				y.ear.take()
				sentX, sentY := h.w.wire.count(x.p.addr), h.w.wire.count(y.p.addr)
				pass(7 * time.Second) // longer than the RTP timeout
				check := func(who string, pcm []int16, hz float64, want bool, sent int) {
					n := gaps(pcm, hz)
					if want && (n != 0 || sent < 345) || !want && (sent != 0 || !math.IsInf(mediatest.Level(pcm), -1)) {
						t.Errorf("%s by %s: %s heard with %d of %d frames missing, level %.0f, %d packets sent",
							c.name, x.p.AOR(), who, n, len(pcm)*50/rate, mediatest.Level(pcm), sent)
					}
				}
				check(x.p.AOR(), y.ear.take(), toneX, c.hearX, h.w.wire.count(x.p.addr)-sentX)
				check(y.p.AOR(), x.ear.take(), toneY, c.hearY, h.w.wire.count(y.p.addr)-sentY)
				if s := y.Streams()[0]; s.Local != c.back {
					t.Errorf("%s by %s: the other has %+v", c.name, x.p.AOR(), s)
				}
				for _, z := range []*end{x, y} {
					if ev := timeouts(t, z); ev != 0 {
						t.Errorf("%s by %s: %s saw %d media timeouts", c.name, x.p.AOR(), z.p.AOR(), ev)
					}
				}
				must(t, x.Renegotiate(t.Context(), direct(offeranswer.SendRecv)))
				pass(time.Second)
				h.during(t, 0, func() {})
			}
		}
		hangup(t, h.a, h.b)
	})
}

// A peer whose packets stay out without a word is noticed, and the call goes on
// when they come again.
func TestMediaTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHums(t, "PCMU")
		h.w.net.CutSilently(h.a.p.host, h.b.p.host)
		pass(7 * time.Second)
		for _, x := range []*end{h.a, h.b} {
			if n := timeouts(t, x); n != 1 {
				t.Errorf("%s saw %d media timeouts", x.p.AOR(), n)
			}
		}
		h.w.net.Heal(h.a.p.host, h.b.p.host)
		pass(time.Second)
		h.during(t, 0, func() {})
		hangup(t, h.a, h.b)
	})
}

func timeouts(t *testing.T, x *end) (n int) {
	t.Helper()
	for _, e := range callEvents(t, x.Call) {
		if e.Kind == sip.MediaTimeout {
			n++
		}
	}
	return n
}

// Sessions are refreshed (RFC 4028), by UPDATE, and by re-INVITE with a lab that
// does not allow that: nobody hears of it, and nothing is agreed anew.
func TestSessionRefresh(t *testing.T) {
	for name, update := range map[string]bool{"UPDATE": true, "INVITE": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, func(c *siptest.Config) { c.Calls.SessionExpires = 90 * time.Second })
				man := newMan(t, w)
				if !update {
					man.tamper(func(_ bool, m sipgo.Message) {
						if r, ok := m.(*sipgo.Response); ok && r.RemoveHeader("Allow") {
							r.AppendHeader(sipgo.NewHeader("Allow", "INVITE, ACK, BYE, CANCEL, PRACK"))
						}
					})
				}
				s := settings{media: media.Config{Codecs: codecsNamed("PCMU")}}
				bob := w.phone("bob", s)
				s.ua = man.between
				alice := w.phone("alice", s)
				a, b := alice.call(bob, "bob")
				must(t, a.sess.SetSource(media.NewTone(rate, -12, toneA)))
				must(t, b.sess.SetSource(media.NewTone(rate, -12, toneB)))
				pass(time.Second)
				h := &hums{w: w, a: a, b: b}
				w.ClearTranscript()
				h.during(t, 0, func() { pass(100 * time.Second) })
				refreshes := map[string]int{}
				for _, e := range w.Transcript().Entries {
					for _, method := range []string{"INVITE", "UPDATE"} {
						if strings.HasPrefix(string(e.Data), method+" ") {
							refreshes[method]++
						}
					}
				}
				// At 45 s and 90 s, the lab towards bob, and alice towards the lab,
				// which passes on a re-INVITE as it has no media of its own.
				if want := map[bool]int{true: 0, false: 4}[update]; refreshes["INVITE"] != want || refreshes["UPDATE"] < 1 || update && refreshes["UPDATE"] != 4 {
					t.Errorf("refreshed by %v", refreshes)
				}
				hangup(t, a, b)
			})
		})
	}
}

// A re-offer that the peer refuses changes nothing.
func TestReofferRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHums(t, "PCMU")
		for name, change := range map[string]func(string) string{
			"no codec in common": func(sdp string) string {
				return strings.ReplaceAll(mediaLine.ReplaceAllString(sdp, "$1 18"), "a=rtpmap", "a=x-rtpmap")
			},
			"malformed": func(string) string { return "v=0\r\nnonsense" },
		} {
			h.man.tamper(func(_ bool, m sipgo.Message) {
				if isOffer(m) {
					edit(m, change)
				}
			})
			for _, x := range []*end{h.a, h.b} {
				h.during(t, 0, func() {
					err := x.Renegotiate(t.Context(), options{NewKeys: true})
					var se *sip.StatusError
					if !errors.As(err, &se) || se.Code != 488 && se.Code != 400 {
						t.Errorf("%s, by %s: %v", name, x.p.AOR(), err)
					}
				})
			}
		}
		h.man.tamper(nil)
		h.during(t, 1, func() { must(t, h.a.Renegotiate(t.Context(), options{NewKeys: true})) })
		hangup(t, h.b, h.a)
	})
}
