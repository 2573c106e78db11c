package peertest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/mediatest"
)

// chorus is some speakers who speak at once, each from somewhere in his words,
// for six seconds, after a second of noise alone.
func chorus(rate int, speakers ...int) []int16 {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]int16, 7*rate)
	for i := range out {
		out[i] = int16(rng.NormFloat64() * 20)
	}
	for _, s := range speakers {
		voice := Voice(s, rate)
		at := rng.IntN(len(voice))
		for i := rate; i < len(out); i++ {
			out[i] += voice[(at+i)%len(voice)] / int16(len(speakers))
		}
	}
	return out
}

func TestVoices(t *testing.T) {
	t.Parallel()
	const rate = 16000
	for _, c := range [][]int{{2}, {0, 1}, {0, 1, 2}} {
		pcm := chorus(rate, c...)
		there := map[int]bool{}
		for _, s := range c {
			there[s] = true
		}
		for s := range Voices {
			list := Follow(pcm, rate, Voice(s, rate), rate)
			if !there[s] && len(list) > 0 {
				t.Errorf("speakers %v: found %d: %v", c, s, list)
			}
			if there[s] && len(list) < 8 {
				t.Errorf("speakers %v: found %d only in %v", c, s, list)
			}
		}
		if d := Together(pcm, rate, c...); len(c) > 0 && (d < 4*time.Second || d > 6*time.Second) {
			t.Errorf("speakers %v are heard together for %v, want 6 s or a little less", c, d)
		}
	}
}

// What is said when, and when it is not.
func TestFollow(t *testing.T) {
	t.Parallel()
	voice := Voice(1, followRate)
	pcm := mediatest.Loop(voice, 8*followRate)
	clear(pcm[3*followRate : 5*followRate])
	for _, m := range Follow(pcm, followRate, voice, followRate) {
		if m.At > 2500*time.Millisecond && m.At < 4500*time.Millisecond {
			t.Errorf("somebody is heard in the silence: %+v", m)
		}
		if off := (m.At - m.Said).Abs() % duration(len(voice)); off > time.Millisecond {
			t.Errorf("%+v, want the same words", m)
		}
	}
}
