package resample_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/resample"
)

var rates = []int{8000, 16000, 24000, 32000, 44100, 48000}

func tone(rate, n int, hz, amplitude float64) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(math.Round(amplitude * math.Sin(2*math.Pi*hz*float64(i)/float64(rate))))
	}
	return pcm
}

// fit removes the sine of this frequency from pcm and returns its amplitude
// and the power of what is left.
func fit(pcm []int16, rate int, hz float64) (amplitude, rest float64) {
	var sc, ss, cc, vs, vc float64
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / float64(rate))
		ss, cc, sc = ss+s*s, cc+c*c, sc+s*c
		vs, vc = vs+float64(v)*s, vc+float64(v)*c
	}
	det := ss*cc - sc*sc
	a, b := (vs*cc-vc*sc)/det, (vc*ss-vs*sc)/det
	for i, v := range pcm {
		s, c := math.Sincos(2 * math.Pi * hz * float64(i) / float64(rate))
		d := float64(v) - a*s - b*c
		rest += d * d
	}
	return math.Hypot(a, b), rest / float64(len(pcm))
}

func convert(t testing.TB, pcm []int16, from, to int) []int16 {
	t.Helper()
	r, err := resample.New(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return r.Process(nil, pcm)
}

// TestPassband: tones well below both Nyquist frequencies come through with
// their amplitude and 80 dB above everything else, at every pair of rates.
func TestPassband(t *testing.T) {
	for _, from := range rates {
		for _, to := range rates {
			nyquist := float64(min(from, to)) / 2
			for _, part := range []float64{0.05, 0.3, 0.6, 0.8} {
				hz := nyquist * part
				out := convert(t, tone(from, from, hz, 30000), from, to)
				out = out[to/10 : to*9/10]
				a, rest := fit(out, to, hz)
				if snr := 10 * math.Log10(a*a/2/rest); snr < 80 {
					t.Errorf("%d to %d Hz: %.0f Hz has an SNR of %.1f dB", from, to, hz, snr)
				}
				if db := 20 * math.Log10(a/30000); math.Abs(db) > 0.05 {
					t.Errorf("%d to %d Hz: %.0f Hz comes out %.2f dB stronger", from, to, hz, db)
				}
			}
		}
	}
}

// TestStopband: tones that the output cannot hold do not fold back.
func TestStopband(t *testing.T) {
	for _, from := range rates {
		for _, to := range rates {
			for _, part := range []float64{1.1, 1.3, 1.7} {
				hz := float64(to) / 2 * part
				if hz >= float64(from)/2 {
					continue
				}
				out := convert(t, tone(from, from, hz, 30000), from, to)
				var power float64
				for _, v := range out[to/10 : to*9/10] {
					power += float64(v) * float64(v)
				}
				power /= float64(to * 8 / 10)
				if db := 10 * math.Log10((power+1e-9)/(30000*30000/2)); db > -80 {
					t.Errorf("%d to %d Hz: %.0f Hz leaves %.1f dB", from, to, hz, db)
				}
			}
		}
	}
}

// TestStreaming: frames of any length give the same samples as one piece, and
// a frame of 20 ms always gives exactly 20 ms.
func TestStreaming(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, from := range rates {
		for _, to := range rates {
			pcm := make([]int16, from/2)
			for i := range pcm {
				pcm[i] = int16(rng.Uint32())
			}
			whole := convert(t, pcm, from, to)
			if len(whole) != to/2 {
				t.Errorf("%d to %d Hz: %d samples for half a second", from, to, len(whole))
			}
			r, _ := resample.New(from, to)
			var odd []int16
			for rest := pcm; len(rest) > 0; {
				n := min(len(rest), rng.IntN(1500))
				odd = r.Process(odd, rest[:n])
				rest = rest[n:]
			}
			if !slices.Equal(odd, whole) {
				t.Errorf("%d to %d Hz: in pieces it is another signal", from, to)
			}
			r.Reset()
			var even []int16
			for i := 0; i < len(pcm); i += from / 50 {
				was := len(even)
				even = r.Process(even, pcm[i:i+from/50])
				if len(even)-was != to/50 {
					t.Fatalf("%d to %d Hz: a frame of %d samples", from, to, len(even)-was)
				}
			}
			if !slices.Equal(even, whole) {
				t.Errorf("%d to %d Hz: after Reset it is another signal", from, to)
			}
		}
	}
}

// TestDelay: the output lags as Delay says.
func TestDelay(t *testing.T) {
	for _, from := range rates {
		for _, to := range rates {
			r, _ := resample.New(from, to)
			pcm := make([]int16, from/10)
			pcm[from/20] = 30000
			out := r.Process(nil, pcm)
			peak := slices.Index(out, slices.Max(out))
			want := float64(from/20+r.Delay()) * float64(to) / float64(from)
			if math.Abs(float64(peak)-want) > 1+float64(to)/float64(from) {
				t.Errorf("%d to %d Hz: an impulse at %d, want %.1f", from, to, peak, want)
			}
		}
	}
}

func TestClipping(t *testing.T) {
	pcm := make([]int16, 1000)
	for i := range pcm {
		pcm[i] = math.MaxInt16
		if i/20%2 == 0 {
			pcm[i] = math.MinInt16
		}
	}
	// The filter overshoots at the edges; wrapped samples would be jumps of
	// more than half the range within a flat part.
	out := convert(t, pcm, 8000, 48000)
	for i := 400; i < len(out); i++ {
		if d := int(out[i]) - int(out[i-1]); d > 32768 || d < -32768 {
			t.Fatalf("sample %d jumps by %d", i, d)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range [][2]int{{0, 8000}, {8000, -1}, {8000, 400000}, {44101, 48000}} {
		if _, err := resample.New(tt[0], tt[1]); err == nil {
			t.Errorf("%v accepted", tt)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, to := range rates {
		r, _ := resample.New(16000, to)
		pcm, out := tone(16000, 320, 440, 9000), make([]int16, 0, 2000)
		if n := testing.AllocsPerRun(100, func() { out = r.Process(out[:0], pcm) }); n != 0 {
			t.Errorf("16000 to %d Hz: %v allocations", to, n)
		}
	}
}

func BenchmarkProcess(b *testing.B) {
	for _, tt := range [][2]int{{8000, 16000}, {16000, 8000}, {8000, 48000}, {48000, 16000}, {44100, 48000}} {
		b.Run(fmt.Sprintf("%d-%d", tt[0], tt[1]), func(b *testing.B) {
			r, _ := resample.New(tt[0], tt[1])
			pcm, out := tone(tt[0], tt[0]/50, 440, 9000), make([]int16, 0, 2000)
			b.ReportAllocs()
			for b.Loop() {
				out = r.Process(out[:0], pcm)
			}
		})
	}
}
