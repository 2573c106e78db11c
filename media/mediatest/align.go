package mediatest

import (
	"math"
	"slices"
)

// Alignment finds where the sound of a reference is in a recording, piece by
// piece: the delay of a call changes when its jitter buffer adapts, and two
// sound cards never have the same clock. It compares spectrograms of 10 ms
// frames, in the bands that a narrow-band telephone keeps.

const (
	step       = workRate / 100 // samples of a frame of the spectrogram
	usedBands  = 14             // to 3.4 kHz
	pieceSize  = workRate       // samples of a piece, a second
	pieceSteps = pieceSize / step
	wanderMax  = 25 // frames that the delay may change from piece to piece
	dynamic    = 45 // dB that count below the loudest frame
	activeAt   = 30 // dB below the loudest that is still speech
	quietest   = 20 // dB, about one unit of 16-bit PCM in one band
)

// A piece is a second of the reference, and where it was found.
type piece struct {
	at  int     // sample of the reference
	lag int     // samples that the recording is behind
	r   float64 // how well it fits
}

// spectrogram is the level in dB of each band in each frame, bounded below.
type spectrogram [][usedBands]float64

func newSpectrogram(pcm []float64) (s spectrogram, active []bool) {
	buf := make([]complex128, fftSize)
	levels := make([]float64, 0, len(pcm)/step)
	top := math.Inf(-1)
	for at := 0; at < len(pcm); at += step {
		p := bandPower(spectrum(pcm, at-frameSize/2, buf))
		var row [usedBands]float64
		total := 0.0
		for b := range row {
			row[b] = 10 * math.Log10(p[b]+1)
			total += p[b]
			top = max(top, row[b])
		}
		s = append(s, row)
		levels = append(levels, 10*math.Log10(total+1))
	}
	for t := range s {
		for b := range s[t] {
			s[t][b] = max(s[t][b], top-dynamic, quietest)
		}
	}
	loudest := slices.Max(levels)
	active = make([]bool, len(levels))
	for t, l := range levels {
		active[t] = l > loudest-activeAt && l > quietest+10
	}
	return s, active
}

// align returns the pieces of x that hold speech, a half second apart.
func align(x, y []int16) (pieces []piece) {
	fx, fy := floats(x), floats(y)
	sx, active := newSpectrogram(fx)
	sy, _ := newSpectrogram(fy)
	last := overall(sx, sy)
	lastLag := last * step
	for t := 0; t < len(sx); t += pieceSteps / 2 {
		end := min(t+pieceSteps, len(sx))
		if end-t < pieceSteps/2 {
			break
		}
		speech := 0
		for _, a := range active[t:end] {
			if a {
				speech++
			}
		}
		if speech < (end-t)*4/10 {
			continue
		}
		lag, r := last, -1.0
		for d := -wanderMax; d <= wanderMax; d++ {
			if v := fit(sx[t:end], sy, t+last+d); v > r {
				lag, r = last+d, v
			}
		}
		// A piece that is not there is taken to be where it would be.
		if r >= pieceHeard {
			last = lag
			lastLag = lag*step + refine(fx[t*step:min(end*step, len(fx))], fy, (t+lag)*step)
		}
		pieces = append(pieces, piece{at: t * step, lag: lastLag, r: r})
	}
	return pieces
}

// overall returns the lag in frames at which the two fit best as a whole.
func overall(x, y spectrogram) int {
	back, ahead := len(x)-1, len(y)-1
	sum := make([]float64, back+ahead+1)
	for b := range usedBands {
		crossCorrelate(x.band(b), y.band(b), back, ahead, sum)
	}
	best := 0
	for i := range sum {
		if sum[i] > sum[best] {
			best = i
		}
	}
	return best - back
}

// band returns one band around its mean.
func (s spectrogram) band(b int) []float64 {
	out := make([]float64, len(s))
	mean := 0.0
	for t := range s {
		mean += s[t][b] / float64(len(s))
	}
	for t := range s {
		out[t] = s[t][b] - mean
	}
	return out
}

// fit correlates a piece with the frames of y from at on, each band around its
// own mean, so that no filter on the way matters. What is past an end of y
// counts as silence.
func fit(x, y spectrogram, at int) float64 {
	var xy, xx, yy float64
	n := float64(len(x))
	for b := range usedBands {
		var c correlation
		for t := range x {
			v := 0.0
			if at+t >= 0 && at+t < len(y) {
				v = y[at+t][b]
			} else if len(y) > 0 {
				v = quietest
			}
			c.add(x[t][b], v)
		}
		xy += c.ab - c.a*c.b/n
		xx += c.aa - c.a*c.a/n
		yy += c.bb - c.b*c.b/n
	}
	if xx <= 0 || yy <= 1e-6 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

// refine returns by how many samples, within a frame or so, the waveform in y
// at at is behind.
func refine(x, y []float64, at int) int {
	const reach = step * 3 / 2
	best, most := 0, 0.0
	for lag := -reach; lag <= reach; lag++ {
		from := max(0, -(at + lag))
		to := min(len(x), len(y)-at-lag)
		sum := 0.0
		for i := from; i < to; i++ {
			sum += x[i] * y[at+lag+i]
		}
		if sum = math.Abs(sum); sum > most {
			best, most = lag, sum
		}
	}
	return best
}
