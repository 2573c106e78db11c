package mediatest

import (
	"math"
)

// Locate finds where in a recording a piece of sound is, however much else is
// heard there: it returns the sample of the recording at which the piece
// begins, and how much of the recording the piece explains there, as a
// correlation of 0 to 1. One voice of two that are equally loud has 0.7, one of three 0.57;
// half a second of speech has under 0.4 where it is not to be heard. Nothing, silence and
// a piece longer than the recording are found nowhere: 0, 0.
//
// Unlike [Heard] it compares the waves, which codecs for music and a line
// that changes its delay within the piece do not keep. Both signals are at the same rate, best 8 kHz.
func Locate(piece, recording []int16) (at int, correlation float64) {
	n, m := len(piece), len(recording)
	if n == 0 || m < n {
		return 0, 0
	}
	a, b := brighten(piece), brighten(recording)
	var energy float64
	for _, v := range a {
		energy += v * v
	}
	if energy == 0 {
		return 0, 0
	}
	sum := make([]float64, m-n+1)
	crossCorrelate(a, b, 0, m-n, sum)
	// Where the recording is quieter than anything that is meant to be heard,
	// rounding would decide.
	floor := float64(n) * 16
	var there float64 // energy of the recording where the piece would be
	for _, v := range b[:n] {
		there += v * v
	}
	for i, s := range sum {
		if c := s / math.Sqrt(energy*max(there, floor)); c > correlation {
			at, correlation = i, c
		}
		if i+n < m {
			there += b[i+n]*b[i+n] - b[i]*b[i]
		}
	}
	return at, correlation
}

// brighten takes the low frequencies back, which have most of the power of
// speech and repeat themselves from one vowel to the next.
func brighten(pcm []int16) []float64 {
	out := floats(pcm)
	last := 0.0
	for i, v := range out {
		out[i] = v - 0.95*last
		last = v
	}
	return out
}
