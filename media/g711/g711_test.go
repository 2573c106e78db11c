package g711_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
)

// G.711 tables 2a and 1a: the decision values of the positive side, in the
// tables' own units, as (first value, width) of each segment of 16 intervals.
// Everything below is worked out from these rows by search and not by shifts.

// muInterval returns which of the 128 positive mu-law intervals holds a
// 14-bit magnitude: the first is 0 to 1, the next fifteen are 2 wide, then
// sixteen of 4 from 31, sixteen of 8 from 95, and so on (table 2a).
func muInterval(v int) int {
	if v < 1 {
		return 0
	}
	at, n := 1, 1
	for width, count := 2, 15; n < 128; width, count = width*2, 16 {
		for range count {
			if v < at+width {
				return n
			}
			at += width
			n++
		}
	}
	return 127
}

// aInterval returns which of the 128 positive A-law intervals holds a 13-bit
// magnitude (sign included): 32 of width 2, then sixteen each of 4, 8, 16, 32,
// 64 and 128 (table 1a).
func aInterval(v int) int {
	at, n := 0, 0
	for width, count := 2, 32; n < 128; width, count = width*2, 16 {
		for range count {
			if v < at+width {
				return n
			}
			at += width
			n++
		}
	}
	return 127
}

// TestITUDecisionValues encodes every 16-bit sample and compares with a search
// in the tables of ITU-T G.711. Negative samples mirror the positive ones in
// one's complement, as the ITU's software library (G.191) has it.
func TestITUDecisionValues(t *testing.T) {
	for s := math.MinInt16; s <= math.MaxInt16; s++ {
		mag := s
		if s < 0 {
			mag = ^s
		}
		u := byte(0xff - muInterval(mag>>2))
		a := byte(0x80 | aInterval(mag>>3))
		if s < 0 {
			u &= 0x7f
			a &= 0x7f
		}
		a ^= 0x55
		if got := g711.EncodeULaw(nil, []int16{int16(s)}); got[0] != u {
			t.Fatalf("mu-law of %d is %#x, want %#x", s, got[0], u)
		}
		if got := g711.EncodeALaw(nil, []int16{int16(s)}); got[0] != a {
			t.Fatalf("A-law of %d is %#x, want %#x", s, got[0], a)
		}
	}
}

// TestITUOutputValues checks decoded values against the "value at decoder
// output" columns of tables 1a and 2a, which are the interval's middle.
func TestITUOutputValues(t *testing.T) {
	for _, tt := range []struct {
		number int // "decoder output value number" of table 2a, less one
		value  int // 14-bit
	}{{0, 0}, {1, 2}, {15, 30}, {16, 33}, {32, 99}, {48, 231}, {64, 495}, {80, 1023}, {96, 2079}, {112, 4191}, {127, 8031}} {
		b := byte(0xff - tt.number)
		if got := g711.DecodeULaw(nil, []byte{b, b & 0x7f}); int(got[0]) != tt.value*4 || int(got[1]) != -tt.value*4 {
			t.Errorf("mu-law %d: %v, want ±%d", tt.number, got, tt.value*4)
		}
	}
	for _, tt := range []struct {
		number int
		value  int // 13-bit, table 1a
	}{{0, 1}, {1, 3}, {31, 63}, {32, 66}, {48, 132}, {64, 264}, {80, 528}, {96, 1056}, {112, 2112}, {127, 4032}} {
		b := byte(0x80|tt.number) ^ 0x55
		if got := g711.DecodeALaw(nil, []byte{b, b ^ 0x80}); int(got[0]) != tt.value*8 || int(got[1]) != -tt.value*8 {
			t.Errorf("A-law %d: %v, want ±%d", tt.number, got, tt.value*8)
		}
	}
}

// TestTranscodingIsTransparent: a byte decoded and encoded again is the same
// byte, but for mu-law's negative zero.
func TestTranscodingIsTransparent(t *testing.T) {
	for i := range 256 {
		b := []byte{byte(i)}
		if got := g711.EncodeALaw(nil, g711.DecodeALaw(nil, b)); got[0] != b[0] {
			t.Errorf("A-law %#x became %#x", b, got)
		}
		if got := g711.EncodeULaw(nil, g711.DecodeULaw(nil, b)); got[0] != b[0] && i != 0x7f {
			t.Errorf("mu-law %#x became %#x", b, got)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		c      codec.Codec
		rtpmap string
		pt     int
	}{{g711.PCMU(), "PCMU/8000", 0}, {g711.PCMA(), "PCMA/8000", 8}} { // RFC 3551 table 4
		f := tt.c.Format()
		if f.Rtpmap() != tt.rtpmap || f.PayloadType != tt.pt || tt.c.SampleRate() != 8000 {
			t.Errorf("%+v", f)
		}
		if fmtp, ok := tt.c.Negotiate("x=1"); fmtp != "" || !ok {
			t.Errorf("Negotiate = %q, %v", fmtp, ok)
		}
	}
}

func tone(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(12000 * math.Sin(float64(i)*2*math.Pi*440/8000))
	}
	return pcm
}

func TestCodec(t *testing.T) {
	for _, c := range []codec.Codec{g711.PCMU(), g711.PCMA()} {
		for _, ptime := range []time.Duration{0, 10 * time.Millisecond, 60 * time.Millisecond} {
			p := codec.Params{PTime: ptime}
			enc, err := c.NewEncoder(p)
			if err != nil {
				t.Fatal(err)
			}
			dec, err := c.NewDecoder(p)
			if err != nil {
				t.Fatal(err)
			}
			n := codec.Samples(c, p.FrameTime())
			pcm := tone(n)
			payload, err := enc.Encode([]byte("head"), pcm)
			if err != nil || len(payload) != 4+n {
				t.Fatalf("%d bytes, %v", len(payload), err)
			}
			if got := c.(codec.Sizer).PayloadSamples(payload[4:]); got != n {
				t.Errorf("PayloadSamples = %d, want %d", got, n)
			}
			got, err := dec.Decode([]int16{1}, payload[4:])
			if err != nil || len(got) != 1+n {
				t.Fatalf("%d samples, %v", len(got), err)
			}
			var s, e float64
			for i, v := range pcm {
				d := float64(v) - float64(got[1+i])
				s += float64(v) * float64(v)
				e += d * d
			}
			if snr := 10 * math.Log10(s/e); snr < 35 { // G.711 gives 37 to 38 dB on a loud tone
				t.Errorf("%s: %.1f dB", c.Format().Name, snr)
			}
			if got := dec.Conceal(nil, 160); len(got) != 160 || slices.Max(got) < 6000 {
				t.Errorf("a lost frame became %d samples, %d the largest", len(got), slices.Max(got))
			}
			if dst, err := enc.Encode(payload[:2], pcm[1:]); !errors.Is(err, codec.ErrFrameSize) || len(dst) != 2 {
				t.Errorf("a short frame: %v", err)
			}
			for _, bad := range [][]byte{nil, make([]byte, 961)} {
				if dst, err := dec.Decode(got[:3], bad); !errors.Is(err, codec.ErrPayload) || len(dst) != 3 {
					t.Errorf("%d bytes: %v", len(bad), err)
				}
			}
		}
		if _, err := c.NewEncoder(codec.Params{PTime: time.Second}); !errors.Is(err, codec.ErrParams) {
			t.Errorf("packets of a second: %v", err)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, c := range []codec.Codec{g711.PCMU(), g711.PCMA()} {
		enc, _ := c.NewEncoder(codec.Params{})
		dec, _ := c.NewDecoder(codec.Params{})
		pcm, payload, out := tone(160), make([]byte, 0, 160), make([]int16, 0, 160)
		dec.Conceal(out, 160)
		if n := testing.AllocsPerRun(100, func() {
			payload, _ = enc.Encode(payload[:0], pcm)
			out, _ = dec.Decode(out[:0], payload)
			out = dec.Conceal(out[:0], 160)
		}); n != 0 {
			t.Errorf("%s: %v allocations", c.Format().Name, n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	enc, _ := g711.PCMU().NewEncoder(codec.Params{})
	pcm, payload := tone(160), make([]byte, 0, 160)
	b.ReportAllocs()
	for b.Loop() {
		payload, _ = enc.Encode(payload[:0], pcm)
	}
}

func BenchmarkDecode(b *testing.B) {
	enc, _ := g711.PCMU().NewEncoder(codec.Params{})
	dec, _ := g711.PCMU().NewDecoder(codec.Params{})
	payload, _ := enc.Encode(nil, tone(160))
	out := make([]int16, 0, 160)
	b.ReportAllocs()
	for b.Loop() {
		out, _ = dec.Decode(out[:0], payload)
	}
}
