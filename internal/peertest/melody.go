package peertest

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Melody is a sequence of notes, played over and over. What a phone plays
// differs from phone to phone, so that a recording tells who was heard; a melody survives any codec,
// sample rate and delay, and each lost or doubled note is seen.
type Melody []int

// Melodies no two of which share two notes in a row.
var (
	MelodyA = Melody{0, 4, 2, 7, 5, 9, 3, 8}
	MelodyB = Melody{1, 6, 3, 9, 0, 5, 8, 2}
	MelodyC = Melody{7, 1, 8, 4, 9, 6, 2, 0}
)

// noteLength is how long one note sounds.
const noteLength = 160 * time.Millisecond

// pitches of the notes in Hz: inside what an 8 kHz codec carries, a fifth of
// an octave apart, and away from the tones of DTMF.
var pitches = []float64{400, 460, 530, 610, 1040, 1120, 1740, 1900, 2200, 2550}

// Play returns the melody, repeated, for d.
func (m Melody) Play(rate int, d time.Duration) Recording {
	n := int(d.Seconds() * float64(rate))
	note := int(noteLength.Seconds() * float64(rate))
	ramp := note / 16
	r := Recording{Rate: rate, Samples: make([]float64, n)}
	for i := range r.Samples {
		at := i % note
		// Soft ends, so that a note does not click into its neighbours' pitches.
		gain := min(1, float64(at)/float64(ramp), float64(note-at)/float64(ramp))
		pitch := pitches[m[(i/note)%len(m)]]
		r.Samples[i] = 0.4 * gain * math.Sin(2*math.Pi*pitch*float64(i)/float64(rate))
	}
	return r
}

// notes returns the notes that sound in a recording; a note that lasts is one note.
func notes(r Recording) []int {
	frame := r.Rate / 25 // 40 ms
	hop := frame / 4
	const steady = 4 // frames that must agree: 70 ms
	var heard []int
	last, run := -1, 0
	for at := 0; at+frame <= len(r.Samples); at += hop {
		n := note(r.Samples[at:at+frame], r.Rate)
		if n != last {
			last, run = n, 0
		}
		if run++; run == steady && n >= 0 && (len(heard) == 0 || heard[len(heard)-1] != n) {
			heard = append(heard, n)
		}
	}
	return heard
}

// note returns the note that is most of a frame of sound, or -1.
func note(frame []float64, rate int) int {
	var energy float64
	windowed := make([]float64, len(frame))
	for i, s := range frame {
		w := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(len(frame)))
		windowed[i] = s * w
		energy += windowed[i] * windowed[i]
	}
	if energy/float64(len(frame)) < 1e-5 {
		return -1 // silence: below -50 dB
	}
	best, most := -1, 0.0
	for n, pitch := range pitches {
		if p := power(windowed, pitch/float64(rate)); p > most {
			best, most = n, p
		}
	}
	// A pure tone under this window has a third of N times its energy in its own bin.
	if most < 0.6*energy*float64(len(frame))/3 {
		return -1
	}
	return best
}

// power is |X(f)|² of a signal at f cycles a sample (Goertzel's algorithm).
func power(x []float64, f float64) float64 {
	c := 2 * math.Cos(2*math.Pi*f)
	var s1, s2 float64
	for _, v := range x {
		s1, s2 = v+c*s1-s2, s1
	}
	return s1*s1 + s2*s2 - c*s1*s2
}

// Heard checks that a recording holds the melody, and nothing else, for at
// least d in one piece. What comes before the first note and after the last may be missing.
func (m Melody) Heard(r Recording, d time.Duration) error {
	heard := notes(r)
	longest, run := 0, 0
	wrong := 0
	for i, n := range heard {
		if i == 0 || m.follows(heard[i-1], n) {
			run++
		} else {
			run = 1
		}
		if !slices.Contains(m, n) {
			wrong++
		}
		longest = max(longest, run)
	}
	if got := time.Duration(longest) * noteLength; got < d {
		return fmt.Errorf("heard the melody %v for %v in one piece, want %v (recording of %v: %v)", []int(m), got, d, r.Duration(), heard)
	}
	if wrong > 0 {
		return fmt.Errorf("heard %d notes that are not in %v: %v", wrong, []int(m), heard)
	}
	return nil
}

// follows reports whether the melody has b right after a.
func (m Melody) follows(a, b int) bool {
	i := slices.Index(m, a)
	return i >= 0 && m[(i+1)%len(m)] == b
}
