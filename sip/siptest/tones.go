package siptest

import (
	"context"
	"math"
	"time"

	"github.com/hoorn-phone/hoorn/media"
)

// tones is a Source that repeats a few notes.
type tones struct {
	notes []note
	at    int // sample within the whole
}

type note struct {
	hertz float64 // 0: silence
	lasts time.Duration
}

// music is what one hears who is parked.
func music(_ context.Context, s *media.Session) error {
	const beat = 300 * time.Millisecond
	return s.SetSource(&tones{notes: []note{
		{261.63, beat}, {329.63, beat}, {392.00, beat}, {523.25, 2 * beat},
		{392.00, beat}, {329.63, beat}, {261.63, 2 * beat}, {0, beat},
	}})
}

func (*tones) SampleRate() int { return soundRate }

// ReadFrame gives the next samples.
func (t *tones) ReadFrame(pcm []int16) (int, error) {
	for i := range pcm {
		n, at := t.note()
		pcm[i] = int16(4000 * math.Sin(2*math.Pi*n.hertz*float64(at)/soundRate))
		t.at++
	}
	return len(pcm), nil
}

// note is the note that sounds now, and the sample within it.
func (t *tones) note() (note, int) {
	at := t.at
	for {
		for _, n := range t.notes {
			samples := int(n.lasts * soundRate / time.Second)
			if at < samples {
				return n, at
			}
			at -= samples
		}
		t.at = at // once more from the start
	}
}
