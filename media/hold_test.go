package media_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Who holds plays music, and what he would have said waits. A peer that by its
// own wish only listens is not held, though we say sendonly to it, too.
func TestHoldSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(true)
		must(t, a.sess.SetHoldSource(media.NewTone(8000, -12, toneC)))
		one := map[int]offeranswer.Direction{0: offeranswer.RecvOnly}
		reoffer(t, b, a, offeranswer.Options{Direction: one}, offeranswer.Options{})
		talk(500 * time.Millisecond)
		b.ear.take()
		talk(time.Second)
		wantTone(t, "b only listens", b.ear.take(), 8000, toneA)
		if got := a.leg.Streams()[0].Local; got != offeranswer.SendOnly {
			t.Errorf("a says %v", got)
		}
		one[0] = offeranswer.SendRecv
		reoffer(t, b, a, offeranswer.Options{Direction: one}, offeranswer.Options{})

		hold := map[int]offeranswer.Direction{0: offeranswer.SendOnly}
		played := make(chan error, 1)
		go func() {
			played <- a.sess.Play(t.Context(), media.NewPCMSource(8000, make([]int16, 8000), false))
		}()
		talk(500 * time.Millisecond)
		reoffer(t, a, b, offeranswer.Options{Direction: hold}, offeranswer.Options{})
		talk(500 * time.Millisecond)
		b.ear.take()
		talk(5 * time.Second)
		wantTone(t, "b is held", b.ear.take(), 8000, toneC)
		select {
		case err := <-played:
			t.Errorf("what was played has ended: %v", err)
		default:
		}
		hold[0] = offeranswer.SendRecv
		reoffer(t, a, b, offeranswer.Options{Direction: hold}, offeranswer.Options{})
		must(t, <-played)
		talk(100 * time.Millisecond)
		b.ear.take()
		talk(time.Second)
		wantTone(t, "b", b.ear.take(), 8000, toneA)

		closed := false
		must(t, a.sess.SetHoldSource(&closing{media.NewSilence(8000), &closed}))
		must(t, a.sess.SetHoldSource(nil))
		talk(100 * time.Millisecond)
		if !closed {
			t.Error("a hold source that was replaced was not closed")
		}
	})
}

type closing struct {
	media.Source
	closed *bool
}

func (c *closing) Close() error {
	*c.closed = true
	return nil
}

func TestMusic(t *testing.T) {
	for _, rate := range []int{8000, 16000, 44100, 48000} {
		m := media.NewMusic(rate)
		if m.SampleRate() != rate {
			t.Errorf("%d Hz", m.SampleRate())
		}
		pcm := make([]int16, 30*rate)
		if n, err := m.ReadFrame(pcm); n != len(pcm) || err != nil {
			t.Fatal(n, err)
		}
		peak := 0
		for i := 0; i < len(pcm); i += rate {
			second := pcm[i : i+rate]
			if p := power(second); p < -40 || p > -15 {
				t.Errorf("%d Hz: second %d at %.1f dBFS", rate, i/rate, p)
			}
			for _, v := range second {
				peak = max(peak, int(v), -int(v))
			}
		}
		if l := 20 * math.Log10(float64(peak)/32767); l > -12 {
			t.Errorf("%d Hz: peaks of %.1f dBFS", rate, l)
		}
		for i := 1; i < len(pcm); i++ {
			if d := int(pcm[i]) - int(pcm[i-1]); max(d, -d) > 40000000/rate {
				t.Fatalf("%d Hz: a click of %d at %d", rate, d, i)
			}
		}
	}
}

func TestLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, _ := w.call(true)
		talk(time.Second)
		silence := media.Level{Peak: media.SilenceLevel, RMS: media.SilenceLevel}
		if l := a.sess.Levels(); l.In != silence || l.Out != silence {
			t.Errorf("before anybody asked: %+v", l)
		}
		want := func(who string, l media.Level, peak float64) {
			t.Helper()
			if math.Abs(l.Peak-peak) > 0.5 || math.Abs(l.RMS-(peak-3)) > 0.5 && peak > media.SilenceLevel {
				t.Errorf("%s: %+v, want a peak of %v", who, l, peak)
			}
		}
		talk(300 * time.Millisecond)
		l := a.sess.Levels()
		want("in", l.In, -12)
		want("out", l.Out, -12)
		a.sess.Mute(true)
		talk(300 * time.Millisecond)
		l = a.sess.Levels()
		want("in", l.In, -12)
		want("out, muted", l.Out, media.SilenceLevel)
		a.sess.Mute(false)
		talk(6 * time.Second)
		if l := a.sess.Levels(); l.In != silence || l.Out != silence {
			t.Errorf("after a pause: %+v", l)
		}
	})
}
