package mediatest_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/opus"
)

const rate = 16000

// said is six seconds of a speaker.
func said(speaker, rate int) []int16 {
	return mediatest.Loop(mediatest.Speech(speaker, rate), 6*rate)
}

// call sends speech through a codec on a link that loses packets.
func call(t *testing.T, c codec.Codec, pcm []int16, loss float64) (out []int16) {
	t.Helper()
	enc, err := c.NewEncoder(codec.Params{})
	if err != nil {
		t.Fatal(err)
	}
	dec, err := c.NewDecoder(codec.Params{})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	n := c.SampleRate() / 50
	for i := 0; i+n <= len(pcm); i += n {
		payload, err := enc.Encode(nil, pcm[i:i+n])
		if err != nil {
			t.Fatal(err)
		}
		if rng.Float64() < loss {
			out = dec.Conceal(out, n)
		} else if out, err = dec.Decode(out, payload); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestHeardThroughCodecs: what a codec, loss, another level, delay or noise
// leave of speech is heard.
func TestHeardThroughCodecs(t *testing.T) {
	t.Parallel()
	opus8, err := opus.New(&opus.Config{SampleRate: 8000})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []codec.Codec{g711.PCMU(), g711.PCMA(), g722.G722(), opus.Opus(), opus8} {
		for speaker, tt := range []struct{ loss, stoi float64 }{{0, 0.97}, {0.1, 0.85}} {
			pcm := said(speaker, c.SampleRate())
			ok, s := mediatest.Heard(pcm, call(t, c, pcm, tt.loss), c.SampleRate())
			if !ok || s.Match < 1 || s.STOI < tt.stoi || s.Correlation < 0.9 {
				t.Errorf("%s at %d Hz, speaker %d, loss %.0f %%: %v", c.Format().Name, c.SampleRate(), speaker, 100*tt.loss, s)
			}
			if tt.loss == 0 && (s.Delay < 0 || s.Delay > 15*time.Millisecond || s.Wander > 2*time.Millisecond || math.Abs(s.Gain) > 1) {
				t.Errorf("%s: %v", c.Format().Name, s)
			}
		}
	}
}

func TestHeardDespite(t *testing.T) {
	t.Parallel()
	for speaker := range mediatest.Speakers {
		ref, other := said(speaker, rate), said(1-speaker, rate)
		noisy := func(snr float64) []int16 {
			rms := 32768 * math.Pow(10, (mediatest.Level(ref)-snr)/20)
			return mediatest.Mix(ref, mediatest.Noise(len(ref), rms, 1))
		}
		jump := slices.Concat(ref[:3*rate], make([]int16, rate/10), ref[3*rate:])
		for name, got := range map[string][]int16{
			"nothing at all":           ref,
			"a second of delay":        slices.Concat(make([]int16, rate), ref),
			"a late start":             ref[rate/5:],
			"an early end":             ref[:len(ref)-rate*4/10],
			"a quiet line":             mediatest.Gain(ref, -40),
			"noise 10 dB below":        noisy(10),
			"an echo 15 dB below":      mediatest.Mix(ref, mediatest.Gain(other, -15)),
			"a jump of the delay":      jump,
			"polarity turned round":    inverted(ref),
			"a clock 200 ppm too fast": stretched(ref, 200e-6),
			"a clock 200 ppm too slow": stretched(ref, -200e-6),
		} {
			if ok, s := mediatest.Heard(ref, got, rate); !ok {
				t.Errorf("speaker %d despite %s: %v", speaker, name, s)
			}
		}
	}
}

func inverted(pcm []int16) (out []int16) {
	for _, v := range pcm {
		out = append(out, ^v)
	}
	return out
}

// stretched plays pcm on a clock that is wrong by a small part.
func stretched(pcm []int16, part float64) (out []int16) {
	for i := 0; ; i++ {
		at := float64(i) * (1 + part)
		j := int(at)
		if j+1 >= len(pcm) {
			return out
		}
		w := at - float64(j)
		out = append(out, int16(float64(pcm[j])*(1-w)+float64(pcm[j+1])*w))
	}
}

// TestNotHeard: the verdict can fail, and does on all that a broken call might
// record.
func TestNotHeard(t *testing.T) {
	t.Parallel()
	for speaker := range mediatest.Speakers {
		ref, other := said(speaker, rate), said(1-speaker, rate)
		backwards := slices.Clone(ref)
		slices.Reverse(backwards)
		shredded, halved, crushed := slices.Clone(ref), slices.Clone(ref), slices.Clone(ref)
		rng := rand.New(rand.NewPCG(3, 3))
		for i := 0; i+rate/50 <= len(ref); i += rate / 50 {
			if i/(rate/2)%2 == 1 {
				clear(halved[i : i+rate/50])
			}
			if rng.Float64() < 0.6 {
				clear(crushed[i : i+rate/50])
			}
			j := rng.IntN(len(ref)/(rate/50)) * (rate / 50)
			for k := range rate / 50 {
				shredded[i+k], shredded[j+k] = shredded[j+k], shredded[i+k]
			}
		}
		for name, got := range map[string][]int16{
			"nothing":                     nil,
			"silence":                     make([]int16, 6*rate),
			"a dithered silence":          mediatest.Noise(6*rate, 1, 2),
			"noise":                       mediatest.Noise(6*rate, 3000, 2),
			"a tone":                      mediatest.Tone(440, rate, 6*rate, 9000),
			"the other speaker, own echo": other,
			"own echo through a delay":    slices.Concat(make([]int16, rate/3), mediatest.Gain(other, -20)),
			"half of it":                  ref[:len(ref)/2],
			"every other half second":     halved,
			"60 % of the packets lost":    crushed,
			"backwards":                   backwards,
			"frames in the wrong order":   shredded,
			"speech drowned in noise":     mediatest.Mix(ref, mediatest.Noise(len(ref), 32768*math.Pow(10, (mediatest.Level(ref)+8)/20), 4)),
			"at half the rate":            mediatest.Loop(mediatest.Speech(speaker, rate/2), 6*rate),
			"other words, the same voice": mediatest.Loop(mediatest.Speech(speaker, rate)[2*rate:4*rate], 6*rate),
			"one word again and again":    mediatest.Loop(mediatest.Speech(speaker, rate)[rate:rate*3/2], 6*rate),
			"a square wave of full scale": mediatest.Gain(mediatest.Tone(100, rate, 6*rate, 30000), 60),
			"impulses":                    impulses(10 * rate),
		} {
			if ok, s := mediatest.Heard(ref, got, rate); ok {
				t.Errorf("speaker %d heard in %s: %v", speaker, name, s)
			}
		}
		// Speech is not heard where none was sent, either.
		if ok, s := mediatest.Heard(make([]int16, 6*rate), ref, rate); ok {
			t.Errorf("silence heard in speech: %v", s)
		}
	}
}

func impulses(n int) []int16 {
	pcm := make([]int16, n)
	for i := 0; i < n; i += 320 {
		pcm[i] = 30000
	}
	return pcm
}

// TestScoreOfItself: the ideal values.
func TestScoreOfItself(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{8000, 16000, 44100, 48000} {
		pcm := mediatest.Speech(0, rate)
		s := mediatest.Similarity(pcm, pcm, rate)
		if s.Match != 1 || s.Correlation < 0.9999 || s.STOI < 0.9999 || s.LSD != 0 || s.SegSNR != 35 || s.Gain != 0 || s.Delay != 0 || s.Wander != 0 {
			t.Errorf("%d Hz: %+v", rate, s)
		}
	}
}

// TestScoreMeasures: delay, gain and noise come out as they went in, and every
// measure of quality falls as noise rises.
func TestScoreMeasures(t *testing.T) {
	t.Parallel()
	ref := said(0, rate)
	for _, delay := range []time.Duration{3 * time.Millisecond, 77 * time.Millisecond, 1234 * time.Millisecond} {
		got := slices.Concat(make([]int16, int(delay*rate/time.Second)), mediatest.Gain(ref, -6))
		s := mediatest.Similarity(ref, got, rate)
		if d := s.Delay - delay; d < -time.Millisecond || d > time.Millisecond || math.Abs(s.Gain+6) > 0.1 {
			t.Errorf("delay %v, gain -6 dB: %v", delay, s)
		}
	}
	jump := slices.Concat(ref[:3*rate], make([]int16, rate*60/1000), ref[3*rate:])
	if s := mediatest.Similarity(ref, jump, rate); s.Wander < 55*time.Millisecond || s.Wander > 65*time.Millisecond || s.STOI < 0.95 {
		t.Errorf("a jump of 60 ms: %v", s)
	}
	before := mediatest.Similarity(ref, ref, rate)
	for _, snr := range []float64{30, 20, 10, 5, 0} {
		rms := 32768 * math.Pow(10, (mediatest.Level(ref)-snr)/20)
		s := mediatest.Similarity(ref, mediatest.Mix(ref, mediatest.Noise(len(ref), rms, 1)), rate)
		if s.STOI >= before.STOI || s.Correlation >= before.Correlation || s.SegSNR >= before.SegSNR || s.LSD <= before.LSD {
			t.Errorf("noise at %.0f dB is no worse than less: %v", snr, s)
		}
		before = s
	}
}

func TestSpeech(t *testing.T) {
	for speaker := range mediatest.Speakers {
		for _, rate := range []int{8000, 16000, 44100, 48000} {
			pcm := mediatest.Speech(speaker, rate)
			seconds := float64(len(pcm)) / float64(rate)
			if seconds < 5 || seconds > 6 {
				t.Errorf("speaker %d at %d Hz: %.2f s", speaker, rate, seconds)
			}
			if level := mediatest.Level(pcm); level < -30 || level > -10 {
				t.Errorf("speaker %d at %d Hz: %.1f dB", speaker, rate, level)
			}
		}
		a, b := mediatest.Speech(speaker, 16000), mediatest.Speech(speaker, 16000)
		if a[0]++; a[0] == b[0] {
			t.Error("two callers share one slice")
		}
	}
}

func TestSignals(t *testing.T) {
	tone := mediatest.Tone(941, 8000, 800, 10000)
	if got := mediatest.ToneShare(tone, 8000, 941); got < 0.99 {
		t.Errorf("share of the tone: %.3f", got)
	}
	if got := mediatest.ToneShare(tone, 8000, 1209); got > 0.01 {
		t.Errorf("share of another tone: %.3f", got)
	}
	if got := mediatest.ToneShare(make([]int16, 100), 8000, 941); got != 0 {
		t.Errorf("share of silence: %.3f", got)
	}
	if got := mediatest.Level(tone); math.Abs(got-20*math.Log10(10000/math.Sqrt2/32768)) > 0.1 {
		t.Errorf("level %.2f", got)
	}
	noise := mediatest.Noise(50000, 1000, 7)
	if got := mediatest.Level(noise); math.Abs(got-20*math.Log10(1000./32768)) > 0.2 || !slices.Equal(noise, mediatest.Noise(50000, 1000, 7)) {
		t.Errorf("level of noise %.2f", got)
	}
	if got := mediatest.Mix([]int16{32000, 1}, []int16{32000}); !slices.Equal(got, []int16{32767, 1}) {
		t.Errorf("%v", got)
	}
	if got := mediatest.Loop([]int16{1, 2}, 5); fmt.Sprint(got) != "[1 2 1 2 1]" {
		t.Errorf("%v", got)
	}
}

func BenchmarkHeard(b *testing.B) {
	ref := said(0, rate)
	for b.Loop() {
		mediatest.Heard(ref, ref, rate)
	}
}
