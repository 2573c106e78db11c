// Package resample changes the sample rate of a mono stream by a polyphase
// filter: a windowed sinc of 48 taps, at any ratio of the usual audio rates.
package resample

import (
	"fmt"
	"math"
	"slices"
	"sync"
)

const (
	baseTaps = 48  // at the lower of the two rates
	beta     = 8.9 // of the Kaiser window: 90 dB
	block    = 480 // input samples worked on at a time

	minRate, maxRate = 4000, 192000
	maxTable         = 1 << 17 // coefficients
)

// A Resampler converts one stream. It is not safe for concurrent use. Make it
// with [New].
type Resampler struct {
	f     *filter // nil: the rates are equal
	buf   []float32
	phase int
	ahead int // input samples to skip before the next output
}

// New returns a Resampler from one rate to another, in Hz. It fails for rates
// outside 4 to 192 kHz and for pairs whose ratio is too odd to tabulate, such
// as 44101 to 48000.
func New(from, to int) (*Resampler, error) {
	if min(from, to) < minRate || max(from, to) > maxRate {
		return nil, fmt.Errorf("resample: %d to %d Hz: outside %d to %d", from, to, minRate, maxRate)
	}
	if from == to {
		return &Resampler{}, nil
	}
	up, down := reduce(to, from)
	if n := up * taps(up, down); n > maxTable {
		return nil, fmt.Errorf("resample: %d to %d Hz: the ratio is %d to %d", from, to, down, up)
	}
	f := filterFor(up, down)
	return &Resampler{f: f, buf: make([]float32, f.taps-1, f.taps-1+block)}, nil
}

// Delay returns by how many input samples the output lags behind.
func (r *Resampler) Delay() int {
	if r.f == nil {
		return 0
	}
	return r.f.taps / 2
}

// Reset forgets the stream.
func (r *Resampler) Reset() {
	clear(r.buf)
	r.phase, r.ahead = 0, 0
}

// Process appends the converted src to dst. Over a stream it gives exactly
// to/from samples for each sample taken, rounded up; src may be of any length.
// It allocates only if dst lacks room. dst and src must not overlap.
func (r *Resampler) Process(dst, src []int16) []int16 {
	if r.f == nil {
		return append(dst, src...)
	}
	dst = slices.Grow(dst, len(src)*r.f.up/r.f.down+1)
	for len(src) > 0 {
		n := min(len(src), block)
		dst = r.process(dst, src[:n])
		src = src[n:]
	}
	return dst
}

func (r *Resampler) process(dst, src []int16) []int16 {
	f := r.f
	for _, v := range src {
		r.buf = append(r.buf, float32(v))
	}
	at, phase := r.ahead, r.phase
	for at < len(src) {
		var v float32
		if phase == 0 && f.exact {
			v = r.buf[at+f.taps/2-1]
		} else {
			v = dot(r.buf[at:at+f.taps], f.table[phase*f.taps:(phase+1)*f.taps])
		}
		dst = append(dst, round(v))
		at += f.stepWhole
		if phase += f.stepPart; phase >= f.up {
			phase -= f.up
			at++
		}
	}
	r.ahead, r.phase = at-len(src), phase
	r.buf = r.buf[:copy(r.buf, r.buf[len(src):])]
	return dst
}

// dot has four sums so that the processor need not wait for each addition.
func dot(x, h []float32) float32 {
	h = h[:len(x)]
	var a, b, c, d float32
	for len(x) >= 4 && len(h) >= 4 {
		a += x[0] * h[0]
		b += x[1] * h[1]
		c += x[2] * h[2]
		d += x[3] * h[3]
		x, h = x[4:], h[4:]
	}
	return a + b + c + d
}

func round(v float32) int16 {
	if v >= 0 {
		return int16(min(v+0.5, 32767))
	}
	return int16(max(v-0.5, -32768))
}

// A filter is the table for one ratio, shared by all streams that use it.
type filter struct {
	up, down            int
	stepWhole, stepPart int // down/up and its remainder: input per output
	taps                int // of one phase, a multiple of four
	exact               bool
	table               []float32 // phase by phase
}

var filters sync.Map // [2]int{up, down} to *filter

func filterFor(up, down int) *filter {
	key := [2]int{up, down}
	if f, ok := filters.Load(key); ok {
		return f.(*filter)
	}
	f, _ := filters.LoadOrStore(key, newFilter(up, down))
	return f.(*filter)
}

func taps(up, down int) int {
	n := baseTaps
	if down > up {
		n = (baseTaps*down + up - 1) / up
	}
	return (n + 3) &^ 3
}

func newFilter(up, down int) *filter {
	f := &filter{up: up, down: down, stepWhole: down / up, stepPart: down % up, taps: taps(up, down)}
	// Going up, the filter is half way down at the input's Nyquist frequency:
	// then an output at the time of an input is that input, which spares the
	// work. Going down it is half way down a little below the output's, so
	// that less folds back.
	cutoff := 1.0
	if down > up {
		cutoff = 0.96 * float64(up) / float64(down)
	}
	f.exact = down < up
	half := float64(f.taps) / 2
	for phase := range up {
		row := make([]float64, f.taps)
		sum := 0.0
		for k := range row {
			t := float64(k) - (half - 1) - float64(phase)/float64(up)
			row[k] = sinc(t*cutoff) * kaiser(t/half)
			sum += row[k]
		}
		for _, v := range row {
			f.table = append(f.table, float32(v/sum))
		}
	}
	return f
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// kaiser is the window, for x from -1 to 1.
func kaiser(x float64) float64 {
	if x <= -1 || x >= 1 {
		return 0
	}
	return bessel(beta*math.Sqrt(1-x*x)) / bessel(beta)
}

// bessel is the modified Bessel function of order zero.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-12; k++ {
		term *= x * x / (4 * k * k)
		sum += term
	}
	return sum
}

func reduce(a, b int) (int, int) {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x, b / x
}
