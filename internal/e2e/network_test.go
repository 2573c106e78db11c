package e2e_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

const ms = time.Millisecond

// Packets get lost: speech is still heard, and both sides know how much of it
// is missing.
func TestLoss(t *testing.T) {
	for _, c := range []struct {
		codec string
		share float64
	}{{"opus", 0.05}, {"opus", 0.10}, {"G722", 0.10}, {"PCMU", 0.05}, {"PCMU", 0.10}} {
		t.Run(fmt.Sprintf("%s, %.0f %%", c.codec, 100*c.share), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.net.ImpairAll(w.path(memnet.Impairment{Latency: 20 * ms}))
				s := settings{media: media.Config{Codecs: codecsNamed(c.codec)}}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				a, b := alice.call(bob, "bob")
				w.wire.lose(c.share)
				converse(t, a, b)
				converse(t, a, b)
				w.wire.lose(0)
				pass(time.Second) // what is lost last is missed by what comes next
				for _, x := range []*end{a, b} {
					y := b
					if x == b {
						y = a
					}
					s, lost := x.sess.Stats(), w.wire.lost(y.p.addr)
					sent := w.wire.count(y.p.addr)
					if share := float64(lost) / float64(sent); math.Abs(share-c.share) > 0.04 {
						t.Errorf("the network lost %.3f", share)
					}
					// The last packets are still under way.
					missing := sent - lost - int(s.Received.Packets)
					if s.Received.Lost != uint64(lost) || missing < 0 || missing > 3 {
						t.Errorf("%s misses %d of %d packets; the network lost %d of %d",
							x.p.AOR(), s.Received.Lost, s.Received.Lost+s.Received.Packets, lost, sent)
					}
					if s.Received.Concealed == 0 || s.Received.Late > 0 {
						t.Errorf("%s: %+v", x.p.AOR(), s.Received)
					}
					// What the other side reported of our packets: at most one
					// interval old, and its share of that interval's.
					total := w.wire.lost(x.p.addr)
					if s.RemoteLost > total || s.RemoteLost < total/3 || math.Abs(s.RemoteLoss-c.share) > 0.08 {
						t.Errorf("%s was told of %d lost of %d, %.3f in the last interval", x.p.AOR(), s.RemoteLost, total, s.RemoteLoss)
					}
					if s.RTT < 39*ms || s.RTT > 80*ms {
						t.Errorf("%s: round trip %v", x.p.AOR(), s.RTT)
					}
				}
				hangup(t, a, b)
			})
		})
	}
}

// Packets overtake each other, come late, or come twice.
func TestImpairedPaths(t *testing.T) {
	for _, c := range []struct {
		name   string
		path   memnet.Impairment
		secure bool
		check  func(t *testing.T, s media.Stats)
	}{
		{
			name: "60 ms of jitter", path: memnet.Impairment{Latency: 10 * ms, Jitter: 60 * ms}, secure: true,
			check: func(t *testing.T, s media.Stats) {
				// Evenly spread over 60 ms, two packets differ by 20 on average.
				if r := s.Received; r.Jitter < 10*ms || r.Jitter > 35*ms || r.Delay < 30*ms || r.Delay > 200*ms || r.Late > 65 {
					t.Errorf("jitter %v, delay %v, late %d", r.Jitter, r.Delay, r.Late)
				}
			},
		},
		{
			name: "reordering", path: memnet.Impairment{Latency: 30 * ms, Jitter: 25 * ms}, secure: true,
			check: func(t *testing.T, s media.Stats) {
				if r := s.Received; r.Jitter > 20*ms || r.Delay > 120*ms || r.Late > 12 {
					t.Errorf("jitter %v, delay %v, late %d", r.Jitter, r.Delay, r.Late)
				}
			},
		},
		{
			name: "duplicates", path: memnet.Impairment{Latency: 10 * ms, Duplicate: 0.2}, secure: true,
			check: func(t *testing.T, s media.Stats) {
				// A packet that was understood before is a replay.
				if r := s.Received; r.BadSRTP < 30 || r.BadSRTP > 110 || r.Discarded != 0 {
					t.Errorf("%d refused, %d discarded", r.BadSRTP, r.Discarded)
				}
			},
		},
		{
			name: "duplicates in the clear", path: memnet.Impairment{Latency: 10 * ms, Duplicate: 0.2},
			check: func(t *testing.T, s media.Stats) {
				if r := s.Received; r.Discarded < 30 || r.Discarded > 110 {
					t.Errorf("%d discarded", r.Discarded)
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.net.ImpairAll(w.path(c.path))
				var s settings
				if !c.secure {
					s.ua = w.over(sip.TCP)
				}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				a, b := alice.call(bob, "bob")
				converse(t, a, b)
				for _, x := range []*end{a, b} {
					s := x.sess.Stats()
					if r := s.Received; r.Lost > 3 || r.Broken+r.Unknown+r.Stray+r.PayloadSwitches+r.SourceSwitches != 0 {
						t.Errorf("%s: %+v", x.p.AOR(), r)
					}
					c.check(t, s)
				}
				hangup(t, a, b)
			})
		})
	}
}

// Calls over UDP through a network that loses much of everything are set
// up and ended all the same.
func TestSignallingLoss(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				w.net.Seed(seed)
				s := settings{ua: w.over(sip.UDP), media: media.Config{Codecs: codecsNamed("PCMU")}}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				w.net.ImpairAll(w.path(memnet.Impairment{Latency: 30 * ms, Loss: 0.15}))
				a, b := alice.call(bob, "bob")
				must(t, a.Renegotiate(t.Context(), options{}))
				must(t, b.Hangup(t.Context()))
				ended(t, b.Call, sip.Local)
				ended(t, a.Call, sip.Remote)
				w.net.ImpairAll(w.path(memnet.Impairment{}))
				checkIdle(t, w)
			})
		})
	}
}
