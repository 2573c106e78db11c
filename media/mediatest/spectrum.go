package mediatest

import (
	"math"
	"math/cmplx"
)

// All measures work at 10 kHz, the rate of STOI: that is telephone speech and
// a little more.
const (
	workRate  = 10000
	frameSize = 256 // samples of a frame
	fftSize   = 512
)

var window = func() (w [frameSize]float64) {
	// A Hann window without its zero ends, as STOI's.
	for i := range w {
		w[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i+1)/(frameSize+1))
	}
	return w
}()

// fft transforms x, whose length is a power of two, in place.
func fft(x []complex128, inverse bool) {
	n := len(x)
	for i, j := 1, 0; i < n; i++ {
		bit := n >> 1
		for ; j&bit != 0; bit >>= 1 {
			j ^= bit
		}
		if j ^= bit; i < j {
			x[i], x[j] = x[j], x[i]
		}
	}
	sign := -2 * math.Pi
	if inverse {
		sign = -sign
	}
	for size := 2; size <= n; size *= 2 {
		step := cmplx.Rect(1, sign/float64(size))
		for i := 0; i < n; i += size {
			w := complex(1, 0)
			for j := i; j < i+size/2; j++ {
				a, b := x[j], x[j+size/2]*w
				x[j], x[j+size/2] = a+b, a-b
				w *= step
			}
		}
	}
	if inverse {
		for i := range x {
			x[i] /= complex(float64(n), 0)
		}
	}
}

// spectrum returns the power in each bin of one windowed frame, which is
// padded with zeros past the end of pcm.
func spectrum(pcm []float64, at int, x []complex128) []complex128 {
	clear(x)
	for i := range frameSize {
		if at+i >= 0 && at+i < len(pcm) {
			x[i] = complex(pcm[at+i]*window[i], 0)
		}
	}
	fft(x, false)
	return x[:fftSize/2+1]
}

// crossCorrelate returns, for each lag from -back to ahead, the sum over i of
// a[i]*b[i+lag], added to sum.
func crossCorrelate(a, b []float64, back, ahead int, sum []float64) {
	n := 1
	for n < len(a)+len(b) {
		n *= 2
	}
	x, y := make([]complex128, n), make([]complex128, n)
	for i, v := range a {
		x[i] = complex(v, 0)
	}
	for i, v := range b {
		y[i] = complex(v, 0)
	}
	fft(x, false)
	fft(y, false)
	for i := range x {
		x[i] = cmplx.Conj(x[i]) * y[i]
	}
	fft(x, true)
	for lag := -back; lag <= ahead; lag++ {
		if lag > -len(a) && lag < len(b) {
			sum[lag+back] += real(x[(lag+n)%n])
		}
	}
}

// bandEdges returns the bins of STOI's third-octave bands: fifteen from 150 Hz.
func bandEdges() (edges [15][2]int) {
	for i := range edges {
		centre := 150 * math.Pow(2, float64(i)/3)
		for j, side := range []float64{-1, 1} {
			hz := centre * math.Pow(2, side/6)
			edges[i][j] = int(math.Round(hz * fftSize / workRate))
		}
	}
	return edges
}

var bands = bandEdges()

// bandPower sums the power of a spectrum in each band.
func bandPower(bins []complex128) (p [15]float64) {
	for b, edge := range bands {
		for _, v := range bins[edge[0]:edge[1]] {
			p[b] += real(v)*real(v) + imag(v)*imag(v)
		}
	}
	return p
}

func floats(pcm []int16) []float64 {
	out := make([]float64, len(pcm))
	for i, v := range pcm {
		out[i] = float64(v)
	}
	return out
}
