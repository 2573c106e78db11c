package media

import "math"

// NewMusic returns a Source of quiet music without end, at rate Hz: slow broken
// chords, for [Session.SetHoldSource]. It is made up as it plays, takes no file,
// and begins at the beginning for each source. Its peaks are below -12 dBFS.
func NewMusic(rate int) Source { return &music{rate: rate, note: -1} }

// music plays one note after the other, each of which dies away while the next
// ones sound.
type music struct {
	rate   int
	note   int // of the piece, so far
	left   int // samples until the next
	voices [musicVoices]voice
	at     int // the voice struck next
}

// voice is a note that sounds: a sine and its octave, turned by complex
// multiplication rather than computed.
type voice struct {
	re, im, cos, sin float64
	level, fade      float64
}

const (
	musicVoices = 8
	musicNote   = 0.3  // seconds between notes
	musicDecay  = 0.6  // seconds in which a note falls to 1/e
	musicLevel  = 2400 // peak of a note
)

// musicChords are semitones from A (220 Hz): A minor, F, C, G with a bass note
// each, played up and down.
var musicChords = [...][8]int{
	{-12, 0, 3, 7, 12, 7, 3, 0},
	{-16, -4, 0, 3, 8, 3, 0, -4},
	{-9, -2, 3, 7, 10, 7, 3, -2},
	{-14, -2, 2, 5, 10, 5, 2, -2},
}

func (m *music) SampleRate() int { return m.rate }

func (m *music) ReadFrame(pcm []int16) (int, error) {
	for i := range pcm {
		if m.left == 0 {
			m.strike()
		}
		m.left--
		var v float64
		for k := range m.voices {
			n := &m.voices[k]
			n.re, n.im = n.re*n.cos-n.im*n.sin, n.re*n.sin+n.im*n.cos
			n.level *= n.fade
			v += n.level * (n.im + 0.5*n.re*n.im) // sin a, and sin 2a at a quarter
		}
		pcm[i] = int16(v)
	}
	return len(pcm), nil
}

// strike begins the next note.
func (m *music) strike() {
	m.note = (m.note + 1) % (8 * len(musicChords))
	m.left = int(musicNote * float64(m.rate))
	hz := 220 * math.Exp2(float64(musicChords[m.note/8][m.note%8])/12)
	n := &m.voices[m.at]
	m.at = (m.at + 1) % musicVoices
	n.re, n.im = 1, 0
	n.sin, n.cos = math.Sincos(2 * math.Pi * hz / float64(m.rate))
	n.level = musicLevel
	n.fade = math.Exp(-1 / (musicDecay * float64(m.rate)))
}
