package peertest

import (
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
)

func TestTrack(t *testing.T) {
	t.Parallel()
	said := Noise(followRate, 4*time.Second)
	enc, err := g711.PCMU().NewEncoder(codec.Params{})
	if err != nil {
		t.Fatal(err)
	}
	dec, err := g711.PCMU().NewDecoder(codec.Params{})
	if err != nil {
		t.Fatal(err)
	}
	var heard []int16
	for frame := range slices.Chunk(said, followRate/50) {
		coded, err := enc.Encode(nil, frame)
		if err != nil {
			t.Fatal(err)
		}
		if heard, err = dec.Decode(heard, coded); err != nil {
			t.Fatal(err)
		}
	}
	ms := func(n int) int { return n * followRate / 1000 }
	recording := slices.Concat(
		make([]int16, ms(100)), heard[:ms(1000)], // begins late
		heard[ms(1100):ms(2000)],                        // 100 ms are cut out
		make([]int16, ms(60)), heard[ms(2060):ms(3000)], // 60 ms are silent
	)
	const slack = 20 * time.Millisecond
	gaps := Gaps(Track(recording, said))
	want := []Gap{{1100 * time.Millisecond, 100 * time.Millisecond, 0}, {2000 * time.Millisecond, 60 * time.Millisecond, 60 * time.Millisecond}}
	if len(gaps) != len(want) {
		t.Fatalf("gaps %v, want %v", gaps, want)
	}
	for i, g := range gaps {
		w := want[i]
		if (g.At-w.At).Abs() > slack || (g.Lost-w.Lost).Abs() > slack || (g.Nothing-w.Nothing).Abs() > slack {
			t.Errorf("gap %v, want %v", g, w)
		}
	}
	if list := Track(make([]int16, followRate), said); len(list) != 0 {
		t.Errorf("heard in silence: %v", list)
	}
}
