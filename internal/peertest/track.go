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
// lost some of it, a new stretch begins. A jump of more than two seconds is not followed.
func Track(pcm, said []int16) []Stretch {
	const (
		piece = followRate / 50
		same  = 0.6 // noise that is not the same has 0.4 at the best of all places
		jump  = 2 * followRate
	)
	var list []Stretch
	next, goesOn := 0, false // where in said the next piece is, and whether the one before was there
	for at := 0; at+piece <= len(pcm); at += piece {
		p := pcm[at : at+piece]
		find := func(lo, hi int) bool {
			lo, hi = max(0, lo), min(len(said), hi)
			if lo >= hi {
				return false
			}
			where, c := mediatest.Locate(p, said[lo:hi])
			if c < same {
				return false
			}
			next = lo + where
			return true
		}
		switch {
		case goesOn && find(next-4, next+piece+4): // a sample more or less is no break
			list[len(list)-1].Length += duration(piece)
		case len(list) == 0 && find(0, len(said)), len(list) > 0 && find(next-jump, next+piece+jump):
			list = append(list, Stretch{At: duration(at), Said: duration(next), Length: duration(piece)})
			goesOn = true
		default:
			goesOn = false
		}
		if len(list) > 0 {
			next += piece
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
