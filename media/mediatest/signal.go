package mediatest

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/hoorn-phone/hoorn/internal/resample"
	"github.com/hoorn-phone/hoorn/media/wav"
)

// Speakers is the number of speakers that [Speech] knows.
const Speakers = 2

//go:embed speech/first.wav
var first []byte

//go:embed speech/second.wav
var second []byte

const speechRate = 16000

var speech = [Speakers]func() []int16{
	sync.OnceValue(func() []int16 { return load(first) }),
	sync.OnceValue(func() []int16 { return load(second) }),
}

func load(file []byte) []int16 {
	pcm, rate, err := wav.ReadAll(bytes.NewReader(file), 60*speechRate)
	if err != nil || rate != speechRate {
		panic(fmt.Sprintf("mediatest: embedded speech at %d Hz: %v", rate, err))
	}
	return pcm
}

// Speech returns between five and six seconds of synthetic speech at rate Hz,
// peaking at -3 dB. Speaker 0 has a low voice and speaker 1 a high one, and
// they say different things. speech/README.md tells the words and how the
// sound was made. It panics for any other speaker, or a rate that cannot be
// converted to; the usual audio rates all can.
func Speech(speaker, rate int) []int16 { return convert(speech[speaker](), speechRate, rate) }

// convert returns pcm at another rate, without the converter's delay.
func convert(pcm []int16, from, to int) []int16 {
	r, err := resample.New(from, to)
	if err != nil {
		panic("mediatest: " + err.Error())
	}
	if from == to {
		return slices.Clone(pcm)
	}
	// Push the tail out of the filter, and drop as much at the beginning.
	n := (len(pcm)*to + from - 1) / from
	out := r.Process(nil, pcm)
	out = r.Process(out, make([]int16, r.Delay()+from/to+1))
	skip := r.Delay() * to / from
	return out[skip:min(len(out), skip+n)]
}

// Loop returns n samples of pcm repeated from its beginning.
func Loop(pcm []int16, n int) []int16 {
	out := make([]int16, 0, n)
	for len(out) < n && len(pcm) > 0 {
		out = append(out, pcm[:min(len(pcm), n-len(out))]...)
	}
	return out
}

// Tone returns n samples of a sine of hz at rate Hz with this amplitude.
func Tone(hz float64, rate, n int, amplitude float64) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(math.Round(amplitude * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))))
	}
	return pcm
}

// Noise returns n samples of white noise with this root mean square, the same
// for the same seed.
func Noise(n int, rms float64, seed uint64) []int16 {
	rng := rand.New(rand.NewPCG(seed, 0))
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = clip(rng.NormFloat64() * rms)
	}
	return pcm
}

// Mix returns the sum of two signals, as long as the longer.
func Mix(a, b []int16) []int16 {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i, v := range b {
		out[i] = clip(float64(out[i]) + float64(v))
	}
	return out
}

// Gain returns pcm made louder by db.
func Gain(pcm []int16, db float64) []int16 {
	g := math.Pow(10, db/20)
	out := make([]int16, len(pcm))
	for i, v := range pcm {
		out[i] = clip(float64(v) * g)
	}
	return out
}

func clip(v float64) int16 { return int16(math.Round(min(max(v, -32768), 32767))) }

// Level returns the root mean square of pcm in dB relative to a full-scale
// square wave: -3 for the loudest sine, -infinity for silence.
func Level(pcm []int16) float64 {
	return 10 * math.Log10(power(pcm)/(32768*32768))
}

func power(pcm []int16) float64 {
	var e float64
	for _, v := range pcm {
		e += float64(v) * float64(v)
	}
	return e / float64(max(1, len(pcm)))
}

// ToneShare returns how much of the power of pcm is a sine of hz: near 1 for
// that tone alone, near 0 if it is not there. pcm should last 20 ms or more.
func ToneShare(pcm []int16, rate int, hz float64) float64 {
	var re, im float64
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / float64(rate))
		re += float64(v) * c
		im += float64(v) * s
	}
	total := power(pcm)
	if total == 0 {
		return 0
	}
	n := float64(len(pcm))
	return min(1, 2*(re*re+im*im)/(n*n)/total)
}
