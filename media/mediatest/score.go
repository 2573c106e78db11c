package mediatest

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Score says how like a recording is to what was sent. All of it is about
// the speech below 5 kHz, and all but Gain leaves loudness out. Where Match is
// 0, there was nothing to measure the fields after Correlation on, and they
// are 0.
type Score struct {
	// Delay of the recording behind the original, and by how much it changes
	// over the recording, as it does when a jitter buffer adapts.
	Delay, Wander time.Duration

	// Match is the share of the original's speech, in pieces of a second, that
	// is in the recording at its place, 0 to 1.
	Match float64

	// Correlation of the two spectrograms, -1 to 1, averaged over the pieces:
	// above 0.9 for a good codec, below 0.5 for other speech.
	Correlation float64

	// STOI is the short-time objective intelligibility, about 0 to 1: above
	// 0.9 for a good codec, 0.6 for speech that takes effort.
	STOI float64

	// SegSNR is the signal-to-noise ratio in dB, averaged over frames of 25 ms
	// and bounded to -10 to 35 in each. Codecs that do not keep the waveform,
	// such as Opus, score low without sounding bad.
	SegSNR float64

	// LSD is the log-spectral distance in dB, up to 3.7 kHz: 0 is equal, 5
	// audible, 10 bad.
	LSD float64

	// Gain is the level of the recording relative to the original, in dB.
	Gain float64
}

func (s Score) String() string {
	return fmt.Sprintf("match %.0f %%, correlation %.2f, STOI %.2f, LSD %.1f dB, SegSNR %.1f dB, gain %+.1f dB, delay %v ± %v",
		100*s.Match, s.Correlation, s.STOI, s.LSD, s.SegSNR, s.Gain, s.Delay.Round(time.Millisecond), s.Wander.Round(time.Millisecond))
}

// The verdict of [Heard]. What a telephone leaves of speech keeps the
// correlation of every piece above 0.7; other words by the same or another
// voice stay under 0.5 in nearly every piece at the best of all delays. The
// tests of this package hold both.
const (
	pieceHeard = 0.6  // least correlation of a piece that counts as heard
	matchHeard = 0.8  // least share of pieces
	stoiHeard  = 0.75 // least intelligibility
)

// Heard reports whether a listener to got has heard the speech in ref: at
// least 80 % of its pieces of a second are in got, at a delay that changes by
// no more than 250 ms from piece to piece, and with a spectrogram that
// correlates at 0.6 or better; and the whole has an STOI of 0.75. Silence, noise, tones, another speaker, other
// words and one's own echo are not heard, nor is a recording of less than
// four fifths of the speech. Both signals are at rate Hz.
func Heard(ref, got []int16, rate int) (bool, Score) {
	s := Similarity(ref, got, rate)
	return s.Match >= matchHeard && s.STOI >= stoiHeard, s
}

// Similarity compares a recording with what was sent, at any delay. Both are
// at rate Hz, and should last a few seconds. It panics for rates that cannot
// be converted to 10 kHz; the usual audio rates all can.
func Similarity(ref, got []int16, rate int) Score {
	var s Score
	if len(ref) == 0 || len(got) == 0 {
		return s
	}
	x, y := convert(ref, rate, workRate), convert(got, rate, workRate)
	pieces := align(x, y)
	if len(pieces) == 0 {
		return s
	}
	var lags []int
	for _, p := range pieces {
		s.Correlation += p.r / float64(len(pieces))
		if p.r >= pieceHeard {
			lags = append(lags, p.lag)
		}
	}
	if lags == nil {
		return s // there is nothing to measure on
	}
	s.Match = float64(len(lags)) / float64(len(pieces))
	slices.Sort(lags)
	s.Delay = time.Duration(lags[len(lags)/2]) * time.Second / workRate
	s.Wander = time.Duration(lags[len(lags)-1]-lags[0]) * time.Second / workRate
	a, b := joined(x, y, pieces)
	s.STOI = stoi(a, b)
	gain := matchedGain(a, b)
	for i := range b {
		b[i] /= gain
	}
	s.Gain = 20 * math.Log10(gain)
	s.SegSNR, s.LSD = segments(a, b)
	return s
}

// joined returns x and, at the same places, the sound of y that belongs there.
func joined(x, y []int16, pieces []piece) (a, b []float64) {
	a, b = floats(x), make([]float64, len(x))
	next := 0
	for i := range b {
		// The lag of the last piece that began half a second ago or earlier:
		// pieces overlap by half.
		for next+1 < len(pieces) && i >= pieces[next+1].at+pieceSize/4 {
			next++
		}
		if j := i + pieces[next].lag; j >= 0 && j < len(y) {
			b[i] = float64(y[j])
		}
	}
	return a, b
}

// matchedGain returns how much louder b is than a.
func matchedGain(a, b []float64) float64 {
	var ea, eb float64
	for i := range a {
		ea += a[i] * a[i]
		eb += b[i] * b[i]
	}
	if ea == 0 || eb == 0 {
		return 1
	}
	return math.Sqrt(eb / ea)
}

// segments returns the segmental SNR and the log-spectral distance of aligned
// signals, over the frames in which a speaks.
func segments(a, b []float64) (snr, lsd float64) {
	const (
		lowest, highest = 100 * fftSize / workRate, 3700 * fftSize / workRate
		floor           = 50 // dB under the strongest bin of a
	)
	loud := 0.0
	for i := range a {
		loud += a[i] * a[i] / float64(len(a))
	}
	x, y := make([]complex128, fftSize), make([]complex128, fftSize)
	count := 0.0
	for at := 0; at+frameSize <= len(a); at += frameSize {
		var s, e float64
		for i := at; i < at+frameSize; i++ {
			s += a[i] * a[i]
			e += (a[i] - b[i]) * (a[i] - b[i])
		}
		if s/frameSize < loud/100 {
			continue
		}
		count++
		snr += min(max(10*math.Log10(s/(e+1e-9)), -10), 35)

		xa, ya := spectrum(a, at, x), spectrum(b, at, y)
		strongest := 0.0
		for i := lowest; i < highest; i++ {
			strongest = max(strongest, abs2(xa[i]))
		}
		least := strongest * math.Pow(10, -floor/10)
		d := 0.0
		for i := lowest; i < highest; i++ {
			v := 10 * math.Log10(max(abs2(xa[i]), least)/max(abs2(ya[i]), least))
			d += v * v
		}
		lsd += math.Sqrt(d / (highest - lowest))
	}
	if count == 0 {
		return -10, 0
	}
	return snr / count, lsd / count
}

func abs2(v complex128) float64 { return real(v)*real(v) + imag(v)*imag(v) }
