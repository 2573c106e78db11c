package cn_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/hoorn-phone/hoorn/media/cn"
)

func TestParse(t *testing.T) {
	// RFC 3389 §3: a level, then coefficients; k = 258*(N-127)/32768.
	n, err := cn.Parse([]byte{0x80 | 40, 0, 127, 254, 200})
	if err != nil || n.Level != 40 || n.Order != 4 {
		t.Fatalf("%+v, %v", n, err)
	}
	for i, want := range []float32{-258 * 127. / 32768, 0, 258 * 127. / 32768, 258 * 73. / 32768} {
		if n.Reflection[i] != want {
			t.Errorf("coefficient %d is %v, want %v", i, n.Reflection[i], want)
		}
	}
	if got := n.Append(nil); !slices.Equal(got, []byte{40, 0, 127, 254, 200}) {
		t.Errorf("% x", got)
	}
	if n, err := cn.Parse([]byte{60}); err != nil || n.Order != 0 || n.Level != 60 {
		t.Errorf("a level alone: %+v, %v", n, err)
	}
	if n, _ := cn.Parse([]byte{60, 1, 255, 3}); n.Order != 1 {
		t.Errorf("the reserved index: %+v", n)
	}
	if n, _ := cn.Parse(make([]byte, 200)); n.Order != cn.MaxOrder {
		t.Errorf("a long list: order %d", n.Order)
	}
	if _, err := cn.Parse(nil); !errors.Is(err, cn.ErrPayload) {
		t.Errorf("an empty payload: %v", err)
	}
}

func rms(pcm []int16) float64 {
	var e float64
	for _, v := range pcm {
		e += float64(v) * float64(v)
	}
	return math.Sqrt(e / float64(len(pcm)))
}

// reflection analyses pcm by Levinson's recursion, which the generator does
// not use.
func reflection(pcm []int16, order int) []float64 {
	r := make([]float64, order+1)
	for lag := range r {
		for i := lag; i < len(pcm); i++ {
			r[lag] += float64(pcm[i]) * float64(pcm[i-lag])
		}
	}
	a := make([]float64, order+1)
	a[0] = 1
	e := r[0]
	k := make([]float64, order)
	for i := 1; i <= order; i++ {
		var acc float64
		for j := range i {
			acc += a[j] * r[i-j]
		}
		k[i-1] = -acc / e
		next := slices.Clone(a)
		for j := 1; j <= i; j++ {
			next[j] = a[j] + k[i-1]*a[i-j]
		}
		a = next
		e *= 1 - k[i-1]*k[i-1]
	}
	return k
}

// TestGenerator: the noise has the level and the spectrum that were asked for.
func TestGenerator(t *testing.T) {
	for _, ks := range [][]float32{nil, {-0.8}, {0.6}, {-0.9, 0.7, -0.2, 0.3}, {0.5, 0.5, 0.5, 0.5, 0.5, 0.5}} {
		for _, level := range []uint8{20, 40, 60} {
			n := cn.Noise{Level: level, Order: len(ks)}
			copy(n.Reflection[:], ks)
			var g cn.Generator
			g.Update(n)
			pcm := g.Generate(nil, 200000)
			db := 20 * math.Log10(rms(pcm)/32767)
			if math.Abs(db+float64(level)) > 0.5 {
				t.Errorf("%v: %.1f dBov, want -%d", ks, db, level)
			}
			if level == 60 {
				continue // too quiet for the analysis: rounding is noise too
			}
			for i, got := range reflection(pcm, len(ks)) {
				if math.Abs(got-float64(ks[i])) > 0.03 {
					t.Errorf("%v at -%d: coefficient %d is %.3f", ks, level, i, got)
				}
			}
		}
	}
}

func TestGeneratorChangesSmoothly(t *testing.T) {
	var g cn.Generator
	if got := g.Generate(nil, 10); len(got) != 10 || slices.Max(got) != 0 {
		t.Errorf("noise before it was asked for: %v", got)
	}
	g.Update(cn.Noise{Level: 60})
	quiet := rms(g.Generate(nil, 160))
	g.Update(cn.Noise{Level: 30})
	first, last := rms(g.Generate(nil, 20)), rms(g.Generate(nil, 16000)[8000:])
	if first > last/4 || last < 20*quiet {
		t.Errorf("from %.0f by %.0f to %.0f", quiet, first, last)
	}
}

func TestNoAllocations(t *testing.T) {
	var g cn.Generator
	g.Update(cn.Noise{Level: 50, Order: 10})
	buf, payload := make([]int16, 0, 160), []byte{50, 1, 2, 3}
	if n := testing.AllocsPerRun(100, func() {
		n, _ := cn.Parse(payload)
		g.Update(n)
		buf = g.Generate(buf[:0], 160)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{40, 0, 127, 254})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := cn.Parse(b)
		if err != nil {
			return
		}
		again, err := cn.Parse(n.Append(nil))
		if err != nil || again != n {
			t.Fatalf("%+v became %+v, %v", n, again, err)
		}
		var g cn.Generator
		g.Update(n)
		if got := g.Generate(nil, 100); len(got) != 100 {
			t.Fatalf("%d samples", len(got))
		}
	})
}

func BenchmarkGenerate(b *testing.B) {
	var g cn.Generator
	g.Update(cn.Noise{Level: 50, Order: 10})
	buf := make([]int16, 0, 160)
	for b.Loop() {
		buf = g.Generate(buf[:0], 160)
	}
}
