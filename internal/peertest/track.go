package peertest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hoorn-phone/hoorn/media/mediatest"
)

// Noise returns d of noise that is the same each time and never like itself:
// any 20 ms of a recording tell which 20 ms of it they are.
func Noise(rate int, d time.Duration) []int16 {
	rng := rand.New(rand.NewPCG(20, 26))
	pcm := make([]int16, int(d*time.Duration(rate)/time.Second))
	for i := range pcm {
		pcm[i] = int16(max(-20000, min(20000, rng.NormFloat64()*4000)))
	}
	return pcm
}

// Stretch is a part of a recording that is heard as it was said, without a break.
type Stretch struct {
	At     time.Duration // where it begins in the recording
	Said   time.Duration // and in what was said
	Length time.Duration
}

// Track finds what was said in a recording, to 20 ms. Both are at 8 kHz. Where
// the line made the sound longer or shorter, as a jitter buffer does that adapts, or
// lost some of it, a new stretch begins.
func Track(pcm, said []int16) []Stretch {
	const (
		piece = followRate / 50
		same  = 0.6 // noise that is not the same has 0.4 at the best of all places
	)
	var list []Stretch
	next := -1 // where in said the present stretch goes on
	for at := 0; at+piece <= len(pcm); at += piece {
		p := pcm[at : at+piece]
		if next >= 0 && next+piece <= len(said) {
			// A sample more or less is no break.
			lo, hi := max(0, next-4), min(len(said), next+piece+4)
			if where, c := mediatest.Locate(p, said[lo:hi]); c >= same {
				next = lo + where + piece
				list[len(list)-1].Length += duration(piece)
				continue
			}
		}
		where, c := mediatest.Locate(p, said)
		if next = -1; c >= same {
			list = append(list, Stretch{At: duration(at), Said: duration(where), Length: duration(piece)})
			next = where + piece
		}
	}
	return list
}

// Gap is a break between two stretches.
type Gap struct {
	At      time.Duration // where it begins in the recording
	Lost    time.Duration // of what was said; less than 0 if something is heard twice
	Nothing time.Duration // how long something else is heard, or nothing
}

func (g Gap) String() string {
	return fmt.Sprintf("at %v %v lost, %v of something else", g.At, g.Lost, g.Nothing)
}

// Gaps returns the breaks of a recording.
func Gaps(list []Stretch) (gaps []Gap) {
	for i := 1; i < len(list); i++ {
		a, b := list[i-1], list[i]
		gaps = append(gaps, Gap{
			At: a.At + a.Length, Lost: b.Said - a.Said - a.Length, Nothing: b.At - a.At - a.Length,
		})
	}
	return gaps
}
