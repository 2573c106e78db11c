package mediatest_test

import (
	"slices"
	"testing"

	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/mediatest"
)

// TestLocate: a second of a voice is found where it is, alone, through a codec
// and under another voice, and nowhere else.
func TestLocate(t *testing.T) {
	t.Parallel()
	const rate = 8000
	low, high := mediatest.Speech(0, rate), mediatest.Speech(1, rate)
	piece := low[2*rate : 3*rate]
	quiet := make([]int16, len(low))
	both := make([]int16, len(low))
	for i := range low {
		quiet[i] = low[i] / 8
		both[i] = low[i]/2 + high[i%len(high)]/2
	}
	coded := call(t, g711.PCMU(), low, 0)
	for _, c := range []struct {
		name      string
		recording []int16
		least     float64 // 0 means that it is not there
	}{
		{"itself", low, 0.999},
		{"quieter", quiet, 0.99},
		{"through PCMU", coded, 0.95},
		{"under another voice", both, 0.4},
		{"another voice", high, 0},
		{"its own end", low[3*rate:], 0},
		{"silence", make([]int16, 3*rate), 0},
		{"less than the piece", low[:rate/2], 0},
		{"nothing", nil, 0},
	} {
		at, r := mediatest.Locate(piece, c.recording)
		if c.least > 0 && (r < c.least || r > 1.0001 || at != 2*rate) {
			t.Errorf("%s: at %d, correlation %.3f; want at %d, %.3f at least", c.name, at, r, 2*rate, c.least)
		}
		if c.least == 0 && r > 0.2 {
			t.Errorf("%s: at %d, correlation %.3f; want next to none", c.name, at, r)
		}
	}
	if at, r := mediatest.Locate(nil, low); at != 0 || r != 0 {
		t.Errorf("nothing was found at %d, %.3f", at, r)
	}
	backwards := slices.Clone(low)
	slices.Reverse(backwards)
	if _, r := mediatest.Locate(piece, backwards); r > 0.2 {
		t.Errorf("found in the words backwards: %.3f", r)
	}
}
