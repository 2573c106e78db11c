package mediatest

import "math"

// stoi is the short-time objective intelligibility of C. Taal et al., "An
// Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy
// Speech", IEEE Transactions on Audio, Speech and Language Processing 19(7),
// 2011: how well the envelopes in third-octave bands follow the original's
// over 384 ms. x is the original and y what came of it, aligned, at 10 kHz.
func stoi(x, y []float64) float64 {
	const (
		hop     = frameSize / 2
		segment = 30  // frames
		quiet   = 40  // dB below the loudest frame
		clipAt  = -15 // dB, the lower bound of the signal-to-distortion ratio
	)
	x, y = withoutSilence(x, y, hop, quiet)
	xb, yb := envelopes(x, hop), envelopes(y, hop)
	limit := 1 + math.Pow(10, -clipAt/20.)
	var sum float64
	count := 0
	for end := segment; end <= len(xb); end++ {
		for b := range bands {
			var ex, ey float64
			for t := end - segment; t < end; t++ {
				ex += xb[t][b] * xb[t][b]
				ey += yb[t][b] * yb[t][b]
			}
			gain := math.Sqrt(ex / (ey + 1e-30))
			var c correlation
			for t := end - segment; t < end; t++ {
				c.add(xb[t][b], min(yb[t][b]*gain, xb[t][b]*limit))
			}
			sum += c.value()
			count++
		}
	}
	if count == 0 {
		return 0
	}
	return sum / float64(count)
}

// withoutSilence takes the frames that are quiet in x out of both signals and
// joins the rest by overlap and add.
func withoutSilence(x, y []float64, hop int, quiet float64) (xs, ys []float64) {
	n := min(len(x), len(y))
	var energy []float64
	loudest := 0.0
	for at := 0; at+frameSize <= n; at += hop {
		e := 0.0
		for i, w := range window {
			e += x[at+i] * w * x[at+i] * w
		}
		energy = append(energy, e)
		loudest = max(loudest, e)
	}
	xs, ys = make([]float64, n+frameSize), make([]float64, n+frameSize)
	to := 0
	for i, e := range energy {
		if e <= loudest*math.Pow(10, -quiet/10) {
			continue
		}
		for j, w := range window {
			xs[to+j] += x[i*hop+j] * w
			ys[to+j] += y[i*hop+j] * w
		}
		to += hop
	}
	if to == 0 {
		return nil, nil
	}
	return xs[:to+frameSize-hop], ys[:to+frameSize-hop]
}

// envelopes returns the amplitude in each band, frame by frame.
func envelopes(pcm []float64, hop int) (env [][15]float64) {
	buf := make([]complex128, fftSize)
	for at := 0; at+frameSize <= len(pcm); at += hop {
		p := bandPower(spectrum(pcm, at, buf))
		for b := range p {
			p[b] = math.Sqrt(p[b])
		}
		env = append(env, p)
	}
	return env
}

// correlation is the correlation coefficient of pairs of numbers.
type correlation struct{ n, a, b, aa, bb, ab float64 }

func (c *correlation) add(a, b float64) {
	c.n++
	c.a += a
	c.b += b
	c.aa += a * a
	c.bb += b * b
	c.ab += a * b
}

// value is 0 where one of the sides does not change.
func (c *correlation) value() float64 {
	va, vb := c.aa-c.a*c.a/c.n, c.bb-c.b*c.b/c.n
	if c.n == 0 || va <= 1e-9*c.aa || vb <= 1e-9*c.bb {
		return 0
	}
	return (c.ab - c.a*c.b/c.n) / math.Sqrt(va*vb)
}
