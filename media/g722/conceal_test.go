package g722_test

import (
	"math/rand/v2"
	"testing"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/mediatest"
)

// TestConcealmentHelps: at 10 % loss, speech with concealment is closer to the
// original than speech with holes.
func TestConcealmentHelps(t *testing.T) {
	for _, c := range []codec.Codec{g722.G722(), g711.PCMU()} {
		rate := c.SampleRate()
		ref := mediatest.Speech(0, rate)
		play := func(conceal func(codec.Decoder, []int16, int) []int16) mediatest.Score {
			enc, err := c.NewEncoder(codec.Params{})
			if err != nil {
				t.Fatal(err)
			}
			dec, err := c.NewDecoder(codec.Params{})
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(5, 5))
			var out []int16
			n := rate / 50
			for i := 0; i+n <= len(ref); i += n {
				payload, err := enc.Encode(nil, ref[i:i+n])
				if err != nil {
					t.Fatal(err)
				}
				if rng.Float64() < 0.1 {
					out = conceal(dec, out, n)
				} else if out, err = dec.Decode(out, payload); err != nil {
					t.Fatal(err)
				}
			}
			return mediatest.Similarity(ref, out, rate)
		}
		holes := play(func(_ codec.Decoder, dst []int16, n int) []int16 { return append(dst, make([]int16, n)...) })
		filled := play(func(d codec.Decoder, dst []int16, n int) []int16 { return d.Conceal(dst, n) })
		t.Logf("%s with holes:  %v", c.Format().Name, holes)
		t.Logf("%s concealed:   %v", c.Format().Name, filled)
		if filled.STOI < holes.STOI+0.02 || filled.LSD > holes.LSD-0.5 || filled.Correlation < holes.Correlation+0.01 {
			t.Errorf("%s: concealed %v; with holes %v", c.Format().Name, filled, holes)
		}
	}
}
