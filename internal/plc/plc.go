// Package plc conceals lost frames of codecs that have no concealment of their
// own, by the method of ITU-T G.711 Appendix I: the last pitch periods heard
// are repeated, first one, then two, then three so that the repetition does
// not buzz, fading to silence over 60 ms, with overlap-add at each seam.
//
// It differs from the Appendix in that it delays nothing: where the Appendix
// holds back 3.75 ms of sound so as to blend into the repetition, this starts
// the repetition exactly where the sound stopped and lets the step fade out.
package plc

// Times of the method, in tenths of a millisecond.
const (
	pitchMinTenths = 50  // 200 Hz
	pitchMaxTenths = 150 // 66 Hz
	windowTenths   = 200 // sound compared when looking for the pitch
	growTenths     = 100 // one more pitch period in the loop after each of these
	silentTenths   = 600 // when the fade has ended
	maxPeriods     = 3
)

// A Concealer hears what was decoded and invents what was lost. It serves one
// stream and one sample rate; make it with [New].
type Concealer struct {
	rate int
	hist []int16 // the last sound played, oldest first
	seen []int16 // hist when the loss began; nil until the first loss

	lost     int // samples invented since the last good frame; 0 = none lost
	pitch    int
	cur, old loop // the loop that plays and the one that fades out
	fade     int  // samples for which old is still heard
	step     float32
}

// A loop is a number of pitch periods at the end of the sound, repeated.
type loop struct{ periods, pos int }

// New returns a Concealer for sound at rate Hz, at least 8000.
func New(rate int) *Concealer {
	c := &Concealer{rate: rate}
	// Three periods and a quarter: the quarter blends the end of the loop
	// into its beginning.
	c.hist = make([]int16, c.samples(pitchMaxTenths)*13/4)
	return c
}

func (c *Concealer) samples(tenths int) int { return c.rate * tenths / 10000 }

// Good is told the next decoded samples. After a loss it blends their
// beginning, in place, with what would have been invented next.
func (c *Concealer) Good(pcm []int16) {
	if c.lost > 0 {
		n := c.pitch / 4
		if over := c.lost - c.samples(growTenths); over > 0 {
			n += over * 4 / 10 // 4 ms more for each further 10 ms lost
		}
		n = min(n, c.samples(growTenths), len(pcm))
		for i := range n {
			w := float32(i+1) / float32(n+1)
			pcm[i] = clip(c.next()*(1-w) + float32(pcm[i])*w)
		}
		c.lost = 0
	}
	c.remember(pcm)
}

// Conceal appends n invented samples to dst.
func (c *Concealer) Conceal(dst []int16, n int) []int16 {
	if n <= 0 {
		return dst
	}
	if c.lost == 0 {
		c.begin()
	}
	at := len(dst)
	for range n {
		dst = append(dst, clip(c.next()))
	}
	c.remember(dst[at:])
	return dst
}

// Reset forgets all sound.
func (c *Concealer) Reset() {
	clear(c.hist)
	c.lost = 0
}

func (c *Concealer) remember(pcm []int16) {
	if len(pcm) >= len(c.hist) {
		copy(c.hist, pcm[len(pcm)-len(c.hist):])
		return
	}
	copy(c.hist, c.hist[len(pcm):])
	copy(c.hist[len(c.hist)-len(pcm):], pcm)
}

// begin freezes the sound before the loss and finds its pitch.
func (c *Concealer) begin() {
	if c.seen == nil {
		c.seen = make([]int16, len(c.hist))
	}
	copy(c.seen, c.hist)
	c.pitch = c.findPitch()
	c.cur, c.old, c.fade = loop{periods: 1}, loop{}, 0
	n := len(c.seen)
	c.step = float32(c.seen[n-1]) - float32(c.seen[n-1-c.pitch])
}

// next returns the next invented sample.
func (c *Concealer) next() float32 {
	silent := c.samples(silentTenths)
	t := c.lost
	c.lost++
	if t >= silent {
		c.lost = silent + 1 // enough to know; it must not overflow
		return 0
	}
	grow := c.samples(growTenths)
	if t > 0 && t%grow == 0 && c.cur.periods < maxPeriods {
		// One more period in the loop. The phase stays, so the position does.
		c.old, c.fade = c.cur, c.pitch/4
		c.cur.periods++
		c.cur.pos %= c.pitch
	}
	v := c.play(&c.cur)
	if c.fade > 0 {
		w := float32(c.fade) / float32(c.pitch/4+1)
		v = v*(1-w) + c.play(&c.old)*w
		c.fade--
	}
	if q := c.pitch / 4; t < q {
		v += c.step * float32(q-t) / float32(q+1)
	}
	if t > grow { // a fifth less for each 10 ms after the first
		v *= float32(silent-t) / float32(silent-grow)
	}
	return v
}

// play returns the sample at the position of l and moves it.
func (c *Concealer) play(l *loop) float32 {
	n := l.periods * c.pitch
	at := len(c.seen) - n + l.pos
	v := float32(c.seen[at])
	q := c.pitch / 4
	if left := n - l.pos; left <= q {
		// The last quarter period blends into what stood before the loop, so
		// that its end meets its beginning.
		w := float32(left) / float32(q+1)
		v = v*w + float32(c.seen[at-n])*(1-w)
	}
	if l.pos++; l.pos == n {
		l.pos = 0
	}
	return v
}

// findPitch returns the lag in samples at which the end of the sound is most
// like itself: a coarse search on decimated sound, then a fine one beside it.
func (c *Concealer) findPitch() int {
	lo, hi := c.samples(pitchMinTenths), c.samples(pitchMaxTenths)
	coarse := max(2, c.rate/4000)
	best := c.bestLag(lo, hi, coarse, coarse)
	return c.bestLag(max(lo, best-coarse+1), min(hi, best+coarse-1), 1, 1)
}

func (c *Concealer) bestLag(lo, hi, lagStep, sampleStep int) int {
	n := len(c.seen)
	end := c.seen[n-c.samples(windowTenths):]
	best, bestScore := hi, float32(-1)
	for lag := hi; lag >= lo; lag -= lagStep {
		was := c.seen[n-len(end)-lag:][:len(end)]
		var corr, energy float32
		for i := 0; i < len(end); i += sampleStep {
			a, b := float32(end[i]), float32(was[i])
			corr += a * b
			energy += b * b
		}
		// Normalised without the square root, keeping the sign.
		score := float32(0)
		if corr > 0 {
			score = corr * (corr / (energy + 1))
		}
		if score > bestScore {
			best, bestScore = lag, score
		}
	}
	return best
}

func clip(v float32) int16 {
	return int16(max(-32768, min(32767, v)))
}
