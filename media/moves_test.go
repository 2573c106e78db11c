package media_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// spoken says of each 20 ms what was heard: B, C, both (*), or nothing (_).
func spoken(pcm []int16) string {
	var out strings.Builder
	for ; len(pcm) >= 160; pcm = pcm[160:] {
		b, c := level(pcm[:160], 8000, toneB) > -20, level(pcm[:160], 8000, toneC) > -20
		switch {
		case b && c:
			out.WriteByte('*')
		case b:
			out.WriteByte('B')
		case c:
			out.WriteByte('C')
		default:
			out.WriteByte('_')
		}
	}
	return out.String()
}

// wantMove checks that first b was heard and then c, with at most one frame
// between them that is neither.
func wantMove(t *testing.T, heard string) {
	t.Helper()
	rest := strings.TrimLeft(heard, "B")
	if rest == heard || rest == "" {
		t.Errorf("no move: %s", heard)
		return
	}
	if rest[0] != 'C' {
		rest = rest[1:]
	}
	if strings.Trim(rest, "C") != "" || rest == "" {
		t.Errorf("heard %s", heard)
	}
}

// moving is a call of a with b, and c whom a is to go on with.
type moving struct {
	a, b, c *end
	hostC   *memnet.Host
}

func newMoving(t *testing.T, secure bool, latency, jitter time.Duration) (*world, moving) {
	cfg := pcmu
	cfg.Codecs = []codec.Codec{g711.PCMU(), g722.G722()}
	w := newWorld(t, cfg, pcmu)
	hostC := w.net.Host("10.0.0.3")
	engC := w.engine(media.Config{Codecs: []codec.Codec{g722.G722()}}, hostC)
	w.net.ImpairAll(memnet.Impairment{Latency: latency, Jitter: jitter})
	a, b := w.call(secure)
	c := newEnd(t, engC, addrC, secure)
	must(t, c.sess.SetSource(media.NewTone(8000, -12, toneC)))
	talk(time.Second)
	a.ear.take()
	b.ear.take()
	a.sess.ResetGap()
	return w, moving{a, b, c, hostC}
}

// agree makes c's dialog with a: by an INVITE of a, or of c.
func (m moving) agree(t *testing.T, invite string, latency time.Duration) (l offeranswer.Leg, ours string) {
	t.Helper()
	switch invite {
	case "ours":
		offer, err := m.a.sess.Offer(t.Context(), offeranswer.Options{NewKeys: true})
		must(t, err)
		talk(latency)
		answer, err := m.c.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
		must(t, err)
		must(t, m.c.leg.Commit())
		talk(latency)
		l, err = m.a.sess.Leg("new")
		must(t, err)
		must(t, l.SetAnswer(t.Context(), answer, false))
	case "theirs":
		offer, err := m.c.sess.Offer(t.Context(), offeranswer.Options{})
		must(t, err)
		talk(latency)
		l, err = m.a.sess.Leg("new")
		must(t, err)
		answer, err := l.Answer(t.Context(), offer, offeranswer.Options{})
		must(t, err)
		must(t, l.Commit())
		must(t, m.a.sess.Select(l))
		talk(latency)
		must(t, m.c.legOf("d").SetAnswer(t.Context(), answer, false))
	}
	return l, string(l.Local())
}

func (x *end) startedAt(leg string) (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events {
		if e.Kind == offeranswer.Started && e.Leg == leg {
			n++
		}
	}
	return n
}

// keysIn are the SRTP keys in a description.
func keysIn(sdp string) (keys []string) {
	for line := range strings.Lines(sdp) {
		if _, key, ok := strings.Cut(line, "inline:"); ok {
			keys = append(keys, strings.TrimSpace(key))
		}
	}
	return keys
}

// A call moves to another dialog: the former goes on being heard until the new
// one is, and nobody gets a key that somebody else has (RFC 4568 §7.1.4).
func TestMoveToAnotherLeg(t *testing.T) {
	for _, secure := range []bool{true, false} {
		for _, invite := range []string{"ours", "theirs"} {
			for _, latency := range []time.Duration{time.Millisecond, 40 * time.Millisecond} {
				t.Run(fmt.Sprintf("%v %s %v", secure, invite, latency), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						_, m := newMoving(t, secure, latency, latency/8)
						l, ours := m.agree(t, invite, latency)
						if m.a.startedAt("new") != 0 {
							t.Error("heard before it was selected")
						}
						must(t, m.a.sess.Select(l))
						for range 50 {
							if talk(10 * time.Millisecond); m.a.startedAt("new") > 0 {
								break
							}
						}
						if m.a.startedAt("new") != 1 || m.a.startedAt("d") != 1 {
							t.Fatalf("events: %v", m.a.events)
						}
						was := m.a.leg.Local()
						must(t, m.a.leg.Close())
						talk(latency)
						must(t, m.b.sess.Close())
						talk(time.Second)

						wantMove(t, spoken(m.a.ear.take()))
						m.c.ear.take()
						talk(time.Second)
						wantTone(t, "c", m.c.ear.take(), 8000, toneA)
						st := m.a.sess.Stats()
						if st.LongestGap > 20*time.Millisecond || st.Legs != 1 || st.Codec != "G722/8000" {
							t.Errorf("%+v", st)
						}
						if st := m.c.sess.Stats(); st.Received.BadSRTP > 0 {
							t.Errorf("%+v", st.Received)
						}
						for _, key := range keysIn(string(was)) {
							if strings.Contains(ours, key) {
								t.Error("c got the key that b had")
							}
						}
						if n := len(keysIn(ours)); (n > 0) != secure {
							t.Errorf("%d keys", n)
						}
					})
				})
			}
		}
	}
}

// The new leg is given up before anything was heard of it, or after the limit:
// the call is where it was.
func TestMoveRolledBack(t *testing.T) {
	for _, after := range []time.Duration{300 * time.Millisecond, 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w, m := newMoving(t, true, time.Millisecond, 0)
			w.net.ImpairOneWay(m.hostC, w.hostA, memnet.Impairment{Loss: 1})
			l, _ := m.agree(t, "ours", time.Millisecond)
			must(t, m.a.sess.Select(l))
			talk(after)
			must(t, l.Close())
			talk(500 * time.Millisecond)
			m.b.ear.take()
			talk(500 * time.Millisecond)
			heard := spoken(m.a.ear.take())
			wantTone(t, "b", m.b.ear.take(), 8000, toneA)
			silent := strings.Count(heard, "_")
			switch {
			case after < 500*time.Millisecond && strings.Trim(heard, "B") != "":
				t.Errorf("heard %s", heard)
			case after > 500*time.Millisecond && (silent < 75 || silent > 80 || strings.Contains(heard, "C")):
				t.Errorf("heard %s, silent %d", heard, silent)
			}
			st := m.a.sess.Stats()
			if gap := int(st.LongestGap / (20 * time.Millisecond)); max(gap-silent, silent-gap) > 1 {
				t.Errorf("a gap of %v, heard %s", st.LongestGap, heard)
			}
			if m.a.startedAt("new") != 0 || m.a.startedAt("d") != 1 || st.Remote.Addr() != addrB {
				t.Errorf("%v, events %v", st.Remote, m.a.events)
			}
		})
	}
}

// The server ends the former dialog at once, and with it what came from there:
// what had arrived is still heard.
func TestMoveAfterTheFormerLegEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m := newMoving(t, true, time.Millisecond, 0)
		l, _ := m.agree(t, "ours", time.Millisecond)
		must(t, m.a.sess.Select(l))
		must(t, m.a.leg.Close())
		must(t, m.b.sess.Close())
		talk(time.Second)
		wantMove(t, spoken(m.a.ear.take()))
		if st := m.a.sess.Stats(); st.LongestGap > 20*time.Millisecond {
			t.Errorf("%+v", st)
		}
	})
}

// A re-INVITE moves the peer to another address, key and source, as a server
// does at a pull. The former source goes on for a while: it is heard until the
// new one is, and not after.
func TestPeerMovedByReinvite(t *testing.T) {
	for _, secure := range []bool{true, false} {
		for _, late := range []time.Duration{0, 150 * time.Millisecond} {
			t.Run(fmt.Sprint(secure, late), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, m := newMoving(t, secure, 20*time.Millisecond, 10*time.Millisecond)
					offer, err := m.c.sess.Offer(t.Context(), offeranswer.Options{})
					must(t, err)
					answer, err := m.a.leg.Answer(t.Context(), offer, offeranswer.Options{})
					must(t, err)
					must(t, m.a.leg.Commit())
					talk(late)
					must(t, m.c.legOf("d").SetAnswer(t.Context(), answer, false))
					talk(2 * time.Second)
					must(t, m.b.sess.Close())
					talk(time.Second)
					wantMove(t, spoken(m.a.ear.take()))
					st := m.a.sess.Stats()
					if st.LongestGap > 20*time.Millisecond || st.Received.SourceSwitches != 1 || st.Remote.Addr() != addrC || st.Codec != "G722/8000" {
						t.Errorf("%+v", st)
					}
					if ignored := st.Received.Discarded + st.Received.Stray; ignored < 80 {
						t.Errorf("%d packets of the former peer ignored: %+v", ignored, st.Received)
					}
					m.c.ear.take()
					talk(time.Second)
					wantTone(t, "c", m.c.ear.take(), 8000, toneA)
				})
			})
		}
	}
}

// What LongestGap counts.
func TestLongestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(true)
		gap := func() time.Duration { return a.sess.Stats().LongestGap }
		talk(time.Second)
		if gap() != 0 {
			t.Errorf("%v at the beginning", gap())
		}
		w.net.CutSilently(w.hostA, w.hostB)
		talk(time.Second)
		w.net.Heal(w.hostA, w.hostB)
		talk(time.Second)
		if g := gap(); g < 980*time.Millisecond || g > 1040*time.Millisecond {
			t.Errorf("%v for a second without packets", g)
		}
		a.sess.ResetGap()
		reoffer(t, a, b, offeranswer.Options{Direction: map[int]offeranswer.Direction{0: offeranswer.SendOnly}}, offeranswer.Options{})
		talk(time.Second)
		reoffer(t, a, b, offeranswer.Options{Direction: map[int]offeranswer.Direction{0: offeranswer.SendRecv}}, offeranswer.Options{})
		talk(time.Second)
		if g := gap(); g > 60*time.Millisecond {
			t.Errorf("%v over a hold", g)
		}
		a.sess.ResetGap()
		must(t, b.sess.Close())
		talk(400 * time.Millisecond)
		if g := gap(); g < 340*time.Millisecond || g > 400*time.Millisecond {
			t.Errorf("%v, and it goes on", g)
		}
	})
}
