package peertest

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

func TestMelodyIsHeard(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{8000, 16000, 44100, 48000} {
		file := filepath.Join(t.TempDir(), "melody.wav")
		WriteWAV(t, file, MelodyA.Play(rate, 3*time.Second))
		r := ReadWAV(t, file)
		if r.Rate != rate || r.Duration() != 3*time.Second {
			t.Fatalf("read %d Hz, %v", r.Rate, r.Duration())
		}
		// A quiet line, with noise and half a note missing in front.
		noise := rand.New(rand.NewPCG(1, 2))
		for i := range r.Samples {
			r.Samples[i] = 0.3*r.Samples[i] + 0.01*noise.NormFloat64()
		}
		r.Samples = r.Samples[rate/12:]
		if err := MelodyA.Heard(r, 2500*time.Millisecond); err != nil {
			t.Errorf("%d Hz: %v", rate, err)
		}
	}
}

func TestMelodyIsNotHeard(t *testing.T) {
	t.Parallel()
	const rate = 16000
	a := MelodyA.Play(rate, 3*time.Second)
	gap := MelodyA.Play(rate, 3*time.Second)
	for i := rate; i < rate+rate/2; i++ {
		gap.Samples[i] = 0
	}
	noise := Recording{Rate: rate, Samples: make([]float64, 3*rate)}
	for i := range noise.Samples {
		noise.Samples[i] = 0.3 * rand.NormFloat64()
	}
	mixed := MelodyB.Play(rate, 3*time.Second)
	for i := range mixed.Samples {
		mixed.Samples[i] += a.Samples[i]
	}
	for name, r := range map[string]Recording{
		"silence": {Rate: rate, Samples: make([]float64, 3*rate)},
		"noise":   noise,
		"another": MelodyB.Play(rate, 3*time.Second),
		"a gap":   gap,
		"both":    mixed,
		"nothing": {Rate: rate},
	} {
		if err := MelodyA.Heard(r, 2*time.Second); err == nil {
			t.Errorf("%s was taken for the melody", name)
		}
	}
}

func TestMelodiesDiffer(t *testing.T) {
	t.Parallel()
	all := []Melody{MelodyA, MelodyB, MelodyC}
	for i, m := range all {
		for j, o := range all {
			for k, n := range m {
				if i != j && o.follows(n, m[(k+1)%len(m)]) {
					t.Errorf("melodies %d and %d share %d, %d", i, j, n, m[(k+1)%len(m)])
				}
			}
		}
	}
}
