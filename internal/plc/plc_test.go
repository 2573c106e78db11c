package plc

import (
	"math"
	"math/rand/v2"
	"testing"
)

// voice returns a buzz of ten harmonics: periodic as a vowel is.
func voice(rate, n int, hz float64) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		var v float64
		for h := 1.0; h <= 10; h++ {
			v += math.Sin(2*math.Pi*hz*h*float64(i)/float64(rate)+h) / h
		}
		pcm[i] = int16(4000 * v)
	}
	return pcm
}

func snr(ref, got []int16) float64 {
	var s, e float64
	for i := range ref {
		d := float64(ref[i]) - float64(got[i])
		s += float64(ref[i]) * float64(ref[i])
		e += d * d
	}
	return 10 * math.Log10(s/(e+1e-9))
}

func TestConcealFollowsPeriodicSound(t *testing.T) {
	for _, rate := range []int{8000, 16000, 48000} {
		for _, hz := range []float64{80, 100, 160} {
			pcm := voice(rate, rate/2, hz)
			c := New(rate)
			frame := rate / 50
			at := len(pcm) / 2 / frame * frame
			for i := 0; i < at; i += frame {
				c.Good(pcm[i : i+frame])
			}
			// The first 10 ms are not faded and must continue the wave.
			got := c.Conceal(nil, rate/100)
			if got := snr(pcm[at:at+rate/100], got); got < 15 {
				t.Errorf("%d Hz voice at %d Hz: %.1f dB", int(hz), rate, got)
			}
		}
	}
}

func TestConcealHasNoClicks(t *testing.T) {
	const rate = 8000
	pcm := voice(rate, rate, 110)
	largest := 0
	for i := 1; i < len(pcm); i++ {
		largest = max(largest, abs(int(pcm[i])-int(pcm[i-1])))
	}
	for lost := 1; lost <= 5; lost++ {
		c := New(rate)
		var out []int16
		for i := 0; i+160 <= len(pcm); i += 160 {
			if n := i / 160; n >= 20 && n < 20+lost {
				out = c.Conceal(out, 160)
				continue
			}
			frame := append([]int16(nil), pcm[i:i+160]...)
			c.Good(frame)
			out = append(out, frame...)
		}
		for i := 1; i < len(out); i++ {
			if d := abs(int(out[i]) - int(out[i-1])); d > largest*3/2 {
				t.Errorf("%d frames lost: a step of %d at %d, the sound's own largest is %d", lost, d, i, largest)
			}
		}
	}
}

func abs(v int) int { return max(v, -v) }

func TestConcealFadesToSilence(t *testing.T) {
	c := New(8000)
	for range 10 {
		c.Good(voice(8000, 160, 100))
	}
	got := c.Conceal(nil, 640)
	for i := 480; i < 640; i++ {
		if got[i] != 0 {
			t.Fatalf("sample %d is %d after 60 ms", i, got[i])
		}
	}
	energy := func(b []int16) (e int) {
		for _, v := range b {
			e += int(v) * int(v)
		}
		return e
	}
	for i := 160; i < 480; i += 80 {
		if energy(got[i:i+80]) >= energy(got[i-80:i]) {
			t.Errorf("the 10 ms from %d are not quieter than those before", i)
		}
	}
}

func TestConcealWithoutSound(t *testing.T) {
	c := New(8000)
	for _, v := range c.Conceal(nil, 500) {
		if v != 0 {
			t.Fatal("sound out of nothing")
		}
	}
	if got := c.Conceal([]int16{7}, 0); len(got) != 1 {
		t.Errorf("nothing asked, %d given", len(got)-1)
	}
}

// TestConcealAnything drives the machine with noise, clipping and odd frame
// lengths: it must neither panic nor run on.
func TestConcealAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := New(8000)
	for range 5000 {
		n := rng.IntN(1000)
		if rng.IntN(2) == 0 {
			if got := c.Conceal(nil, n); len(got) != n {
				t.Fatalf("%d samples for %d", len(got), n)
			}
			continue
		}
		pcm := make([]int16, n)
		for i := range pcm {
			pcm[i] = int16(rng.Uint32())
		}
		c.Good(pcm)
	}
	c.Reset()
	if got := c.Conceal(nil, 1); got[0] != 0 {
		t.Error("Reset left sound behind")
	}
}

func TestConcealAllocatesNothing(t *testing.T) {
	c := New(8000)
	pcm := voice(8000, 160, 100)
	buf := c.Conceal(make([]int16, 0, 160), 160)
	if n := testing.AllocsPerRun(100, func() {
		c.Good(pcm)
		c.Conceal(buf[:0], 160)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkGood(b *testing.B) {
	c := New(8000)
	pcm := voice(8000, 160, 100)
	for b.Loop() {
		c.Good(pcm)
	}
}

func BenchmarkConceal(b *testing.B) {
	c := New(8000)
	pcm := voice(8000, 160, 100)
	buf := make([]int16, 0, 160)
	for b.Loop() {
		c.Good(pcm)
		c.Conceal(buf[:0], 160)
	}
}
