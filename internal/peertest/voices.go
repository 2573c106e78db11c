package peertest

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/resample"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
)

// Voices is how many speakers there are that can be told from each other
// while they speak at once: those of mediatest, and the first one backwards.
const Voices = mediatest.Speakers + 1

// Voice returns what a speaker says over and over.
func Voice(speaker, rate int) []int16 {
	if speaker < mediatest.Speakers {
		return mediatest.Speech(speaker, rate)
	}
	pcm := mediatest.Speech(0, rate)
	slices.Reverse(pcm)
	return pcm
}

const (
	followRate  = 8000
	followPiece = time.Second
	followStep  = followPiece / 2
	// A second of a voice that speaks among two others keeps a correlation of
	// 0.4; one that is not there has less than 0.2.
	followed = 0.3
)

// Moment is a second of a recording in which a voice is heard.
type Moment struct {
	At          time.Duration // where it begins in the recording
	Said        time.Duration // which part of his words it is
	Correlation float64       // see mediatest.Locate
}

// Follow finds a voice in a recording, whoever else speaks there. Moments
// overlap by half; where the voice is not heard there are none.
func Follow(pcm []int16, rate int, voice []int16, voiceRate int) []Moment {
	pcm, voice = narrow(pcm, rate), narrow(voice, voiceRate)
	piece, step := samples(followPiece), samples(followStep)
	// He begins again at the end of his words.
	said := mediatest.Loop(voice, len(voice)+piece)
	var list []Moment
	for at := 0; at+piece <= len(pcm); at += step {
		where, c := mediatest.Locate(pcm[at:at+piece], said)
		if c >= followed {
			list = append(list, Moment{
				At: duration(at), Said: duration(where % len(voice)), Correlation: math.Round(100*c) / 100,
			})
		}
	}
	return list
}

// Together tells for how long all the voices are heard at once.
func Together(pcm []int16, rate int, speakers ...int) time.Duration {
	n := map[time.Duration]int{}
	for _, s := range speakers {
		for _, m := range Follow(pcm, rate, Voice(s, followRate), followRate) {
			n[m.At]++
		}
	}
	var d time.Duration
	for _, voices := range n {
		if voices == len(speakers) {
			d += followStep
		}
	}
	return d
}

// CheckVoice fails the test if WAV files, one after the other, do not hold a
// voice for a few seconds, from anywhere in his words.
func CheckVoice(t testing.TB, who string, speaker int, files ...string) {
	t.Helper()
	pcm, rate := ReadFiles(t, files...)
	CheckVoices(t, who, pcm, rate, speaker)
}

// CheckVoices fails the test if a recording does not hold all the voices at
// once for a few seconds.
func CheckVoices(t testing.TB, who string, pcm []int16, rate int, speakers ...int) {
	t.Helper()
	const enough = 2 * time.Second
	d := Together(pcm, rate, speakers...)
	if d < enough {
		t.Errorf("%s heard speakers %v at once for %v of %v, want %v", who, speakers, d, time.Duration(len(pcm))*time.Second/time.Duration(rate), enough)
		for _, s := range speakers {
			t.Logf("%s heard speaker %d: %v", who, s, Follow(pcm, rate, Voice(s, followRate), followRate))
		}
		return
	}
	t.Logf("%s heard speakers %v at once for %v", who, speakers, d)
}

// ReadFiles returns the sound of recordings, one after the other. It fails the test
// if there is none, or if their rates differ.
func ReadFiles(t testing.TB, files ...string) (pcm []int16, rate int) {
	t.Helper()
	if len(files) == 0 {
		t.Fatal("peertest: nothing was recorded")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("peertest: %v", err)
		}
		// The header may know of less than there is: where Linphone goes from
		// one call to the next, the first one's end writes it last.
		if len(b) > 44 && string(b[36:40]) == "data" {
			binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
			binary.LittleEndian.PutUint32(b[40:], uint32(len(b)-44))
		}
		part, r, err := wav.ReadAll(bytes.NewReader(b), math.MaxInt32)
		if err != nil {
			t.Fatalf("peertest: %s: %v", file, err)
		}
		if rate != 0 && r != rate {
			t.Fatalf("peertest: %s has %d Hz, the one before %d Hz", file, r, rate)
		}
		pcm, rate = append(pcm, part...), r
	}
	return pcm, rate
}

// narrow converts sound to followRate.
func narrow(pcm []int16, rate int) []int16 {
	if rate == followRate {
		return pcm
	}
	r, err := resample.New(rate, followRate)
	if err != nil {
		panic("peertest: " + err.Error())
	}
	return r.Process(nil, pcm)
}

func samples(d time.Duration) int  { return int(d * followRate / time.Second) }
func duration(n int) time.Duration { return time.Duration(n) * time.Second / followRate }
