package media_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

const toneC = 1477.0

// Two devices answer one INVITE. Each has early media; the second one wins.
func TestForks(t *testing.T) {
	for _, secure := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cfg := pcmu
			cfg.Codecs = []codec.Codec{g711.PCMU(), g722.G722()}
			w := newWorld(t, cfg, pcmu)
			engC := w.engine(media.Config{Codecs: []codec.Codec{g722.G722()}}, w.net.Host("10.0.0.3"))
			a := newEnd(t, w.a, addrA, secure)
			b, c := newEnd(t, w.b, addrB, secure), newEnd(t, engC, addrC, secure)
			must(t, a.sess.SetSource(media.NewTone(8000, -12, toneA)))
			must(t, b.sess.SetSource(media.NewTone(8000, -12, toneB)))
			must(t, c.sess.SetSource(media.NewTone(8000, -12, toneC)))

			offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
			must(t, err)
			legs := map[*end]offeranswer.Leg{}
			for dialog, x := range map[string]*end{"b": b, "c": c} {
				answer, err := x.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
				must(t, err)
				must(t, x.leg.Commit())
				l, err := a.sess.Leg(dialog)
				must(t, err)
				legs[x] = l
				must(t, l.SetAnswer(t.Context(), answer, true))
			}
			must(t, a.sess.Select(legs[b]))
			talk(time.Second)
			a.ear.take()
			b.ear.take()
			talk(time.Second)
			wantTone(t, "a hears b", a.ear.take(), 8000, toneB)
			wantTone(t, "b", b.ear.take(), 8000, toneA)
			// C was sent to only if its leg had agreed first.
			wantSilence(t, "c", c.ear.take()[16000-4000:])
			source := a.sess.Stats().Sent.SSRC

			must(t, a.sess.Select(legs[c]))
			talk(time.Second)
			a.ear.take()
			c.ear.take()
			talk(time.Second)
			wantTone(t, "a hears c", a.ear.take(), 8000, toneC)
			wantTone(t, "c", c.ear.take(), 8000, toneA)
			must(t, legs[b].Close())
			b.sess.Close()
			st := a.sess.Stats()
			if st.Sent.SSRC != source || st.Legs != 1 || st.Received.BadSRTP+st.Received.Stray > 0 {
				t.Errorf("%+v", st)
			}
			for _, x := range []*end{b, c} {
				if got := x.sess.Stats().Received; got.BadSRTP > 0 || got.Stray > 0 || got.SourceSwitches > 0 {
					t.Errorf("%+v", got)
				}
			}
			// Closing the leg that is heard falls back to nothing.
			must(t, legs[c].Close())
			talk(100 * time.Millisecond)
			n := a.sess.Stats().Sent.Packets
			talk(time.Second)
			if got := a.sess.Stats().Sent.Packets; got != n {
				t.Errorf("%d packets to nobody", got-n)
			}
			if _, err := legs[c].Answer(t.Context(), offer, offeranswer.Options{}); !errors.Is(err, media.ErrClosed) {
				t.Errorf("a closed leg: %v", err)
			}
		})
	}
}

// The 2xx has another description than the 183 before it: another address,
// codec and key, as when a B2BUA connects the callee after an announcement.
func TestFinalAnswerDiffersFromEarly(t *testing.T) {
	for _, early := range []bool{true, false} { // the 183 unreliable, or reliable (RFC 3262)
		synctest.Test(t, func(t *testing.T) {
			cfg := pcmu
			cfg.Codecs = []codec.Codec{g722.G722(), g711.PCMU()}
			w := newWorld(t, cfg, pcmu)
			engC := w.engine(media.Config{Codecs: []codec.Codec{g722.G722()}}, w.net.Host("10.0.0.3"))
			a := newEnd(t, w.a, addrA, true)
			b, c := newEnd(t, w.b, addrB, true), newEnd(t, engC, addrC, true)
			must(t, a.sess.SetSource(media.NewTone(8000, -12, toneA)))
			must(t, b.sess.SetSource(media.NewTone(8000, -12, toneB)))
			must(t, c.sess.SetSource(media.NewTone(8000, -12, toneC)))
			offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
			must(t, err)
			for i, x := range []*end{b, c} {
				answer, err := x.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
				must(t, err)
				must(t, x.leg.Commit())
				must(t, a.legOf("d").SetAnswer(t.Context(), answer, early && i == 0))
				talk(500 * time.Millisecond)
				a.ear.take()
				x.ear.take()
				talk(time.Second)
				wantTone(t, "a", a.ear.take(), 8000, map[*end]float64{b: toneB, c: toneC}[x])
				wantTone(t, "the callee", x.ear.take(), 8000, toneA)
				if i == 0 {
					x.sess.Close()
				}
			}
			st := a.sess.Stats()
			if st.Codec != "G722/8000" || st.Remote.Addr() != addrC || st.Received.BadSRTP != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestHoldAndResume(t *testing.T) {
	for _, secure := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, pcmu, pcmu)
			a, b := w.call(secure)
			talk(time.Second)
			directions := func(x *end) string {
				s := x.leg.Streams()[0]
				return s.Local.String() + " " + s.Remote.String()
			}
			set := func(d offeranswer.Direction) {
				reoffer(t, a, b, offeranswer.Options{Direction: map[int]offeranswer.Direction{0: d}}, offeranswer.Options{})
				talk(500 * time.Millisecond)
				a.ear.take()
				b.ear.take()
				talk(time.Second)
			}
			set(offeranswer.SendOnly)
			if got := directions(a) + ", " + directions(b); got != "sendonly recvonly, recvonly sendonly" {
				t.Error(got)
			}
			wantSilence(t, "a holds", a.ear.take())
			wantSilence(t, "b is held", b.ear.take())
			if na := a.sess.Stats().Sent.Packets; na < 100 {
				t.Errorf("%d packets", na)
			}
			must(t, a.sess.SetHoldSource(media.NewTone(16000, -12, toneC)))
			talk(100 * time.Millisecond)
			b.ear.take()
			talk(time.Second)
			wantTone(t, "b is held", b.ear.take(), 8000, toneC)

			set(offeranswer.Inactive)
			na, nb := a.sess.Stats().Sent.Packets, b.sess.Stats().Sent.Packets
			talk(5 * time.Minute)
			if a.sess.Stats().Sent.Packets != na || b.sess.Stats().Sent.Packets != nb {
				t.Error("packets during an inactive hold")
			}
			wantSilence(t, "a", a.ear.take())
			wantSilence(t, "b", b.ear.take())

			set(offeranswer.SendRecv)
			wantTone(t, "a", a.ear.take(), 8000, toneB)
			wantTone(t, "b", b.ear.take(), 8000, toneA)
			for _, x := range []*end{a, b} {
				st := x.sess.Stats()
				if st.Received.BadSRTP > 0 || st.Received.Lost > 0 || st.Received.SourceSwitches > 0 || x.got(offeranswer.Timeout) > 0 {
					t.Errorf("%+v", st.Received)
				}
			}
		})
	}
}

// A holder whose peer goes on to send, as boxes with music on hold do, stays in
// step with its roll-over counter.
func TestHoldKeepsTheContextInStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := pcmu
		late.Rand = ones{} // the first sequence number is as high as can be
		w := newWorld(t, pcmu, late)
		a, b := w.call(true)
		talk(time.Second)
		swap := func(sdp []byte, from, to string) []byte {
			if !strings.Contains(string(sdp), from) {
				t.Fatalf("no %q in %q", from, sdp)
			}
			return []byte(strings.Replace(string(sdp), from, to, 1))
		}
		offer, err := a.leg.Offer(t.Context(), offeranswer.Options{Direction: map[int]offeranswer.Direction{0: offeranswer.SendOnly}})
		must(t, err)
		answer, err := b.leg.Answer(t.Context(), swap(offer, "a=sendonly", "a=sendrecv"), offeranswer.Options{})
		must(t, err)
		must(t, b.leg.Commit())
		must(t, a.leg.SetAnswer(t.Context(), swap(answer, "a=sendrecv", "a=recvonly"), false))
		talk(12 * time.Minute) // 36,000 packets
		wantSilence(t, "a", a.ear.take()[16000:])
		reoffer(t, a, b, offeranswer.Options{Direction: map[int]offeranswer.Direction{0: offeranswer.SendRecv}}, offeranswer.Options{})
		talk(500 * time.Millisecond)
		a.ear.take()
		talk(time.Second)
		wantTone(t, "a", a.ear.take(), 8000, toneB)
		if st := a.sess.Stats(); st.Received.BadSRTP > 0 || st.Received.Lost > 0 || st.Received.Packets < 36000 {
			t.Errorf("%+v", st.Received)
		}
	})
}

// ones is randomness without any.
type ones struct{}

func (ones) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 0xff
	}
	return len(p), nil
}

func TestReofferChangesCodecAndAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := media.Config{Codecs: []codec.Codec{g711.PCMU(), g722.G722()}}
		w := newWorld(t, cfg, cfg)
		engC := w.engine(media.Config{Codecs: []codec.Codec{g722.G722()}}, w.net.Host("10.0.0.3"))
		a, b := w.call(true)
		c := newEnd(t, engC, addrC, true)
		must(t, c.sess.SetSource(media.NewTone(8000, -12, toneC)))
		talk(2 * time.Second)
		// A B2BUA moves A's peer to C: C's offer, A's answer.
		offer, err := c.sess.Offer(t.Context(), offeranswer.Options{})
		must(t, err)
		answer, err := a.leg.Answer(t.Context(), offer, offeranswer.Options{})
		must(t, err)
		must(t, a.leg.Commit())
		must(t, c.legOf("d").SetAnswer(t.Context(), answer, false))
		b.sess.Close()
		talk(500 * time.Millisecond)
		a.ear.take()
		c.ear.take()
		talk(time.Second)
		wantTone(t, "a", a.ear.take(), 8000, toneC)
		wantTone(t, "c", c.ear.take(), 8000, toneA)
		if st := a.sess.Stats(); st.Codec != "G722/8000" || st.Received.SourceSwitches != 1 || st.Remote.Addr() != addrC {
			t.Errorf("%+v", st)
		}
	})
}

func TestRebind(t *testing.T) {
	for _, secure := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, pcmu, pcmu)
			a, b := w.call(secure)
			talk(time.Second)
			was := a.sess.Stats().Local
			must(t, a.sess.Rebind(t.Context(), addrA))
			talk(time.Second) // before the re-INVITE: encrypted packets are followed at once
			if st := b.sess.Stats(); secure && (st.Remote == was || st.Received.AddressMoves != 1) {
				t.Errorf("%+v", st)
			}
			reoffer(t, a, b, offeranswer.Options{}, offeranswer.Options{})
			if st := a.sess.Stats(); st.Local == was || b.sess.Stats().Remote != st.Local {
				t.Errorf("%v, %v", st.Local, b.sess.Stats().Remote)
			}
			talk(500 * time.Millisecond)
			a.ear.take()
			b.ear.take()
			talk(time.Second)
			wantTone(t, "a", a.ear.take(), 8000, toneB)
			wantTone(t, "b", b.ear.take(), 8000, toneA)
		})
	}
}
