package opus

import (
	"fmt"
	"slices"

	"github.com/thesyncim/gopus"

	"github.com/hoorn-phone/hoorn/media/codec"
)

type decoder struct {
	dec  *gopus.Decoder
	rate int
	fec  []float32 // scratch of DecodeFEC; nil until the first
}

func (o *opus) NewDecoder(codec.Params) (codec.Decoder, error) {
	dec, err := gopus.NewDecoder(gopus.DefaultDecoderConfig(o.cfg.SampleRate, 1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", codec.ErrParams, err)
	}
	return &decoder{dec: dec, rate: o.cfg.SampleRate}, nil
}

func (d *decoder) Decode(dst []int16, payload []byte) ([]int16, error) {
	n := packetSamples(payload, d.rate)
	if n == 0 {
		return dst, fmt.Errorf("%w: %d bytes of opus", codec.ErrPayload, len(payload))
	}
	at := len(dst)
	buf := slices.Grow(dst, n)[:at+n]
	got, err := d.dec.DecodeInt16(payload, buf[at:])
	if err != nil {
		return dst, fmt.Errorf("%w: %w", codec.ErrPayload, err)
	}
	return buf[:at+got], nil
}

// Conceal is the codec's own concealment, which works in steps of 2.5 ms. It
// also continues the comfort noise of a peer that sends discontinuously.
func (d *decoder) Conceal(dst []int16, n int) []int16 {
	step := d.rate / 400
	for n > 0 {
		want := min(n, 24*step) // 60 ms, the longest frame
		whole := (want + step - 1) / step * step
		at := len(dst)
		dst = slices.Grow(dst, whole)[:at+whole]
		got, err := d.dec.DecodeInt16(nil, dst[at:])
		if err != nil || got < want {
			clear(dst[at+max(got, 0):])
		}
		dst = dst[:at+want]
		n -= want
	}
	return dst
}

// DecodeFEC rebuilds the packet before next from the low-bitrate copy that
// next may carry (RFC 6716 §2.1.7).
func (d *decoder) DecodeFEC(dst []int16, next []byte, n int) ([]int16, bool) {
	step := d.rate / 400
	if n <= 0 || n%step != 0 || n > 48*step || packetSamples(next, d.rate) == 0 || !gopus.PacketHasLBRR(next) {
		return dst, false
	}
	if n < frameSamples(next[0], d.rate) {
		return dst, false // the copy is of a longer packet than the one that was lost
	}
	if d.fec == nil {
		d.fec = make([]float32, 48*step)
	}
	got, err := d.dec.DecodeWithFEC(next, d.fec[:n], true)
	if err != nil || got != n {
		return dst, false
	}
	dst = slices.Grow(dst, n)
	for _, v := range d.fec[:n] {
		dst = append(dst, int16(min(max(v*32768, -32768), 32767)))
	}
	return dst, true
}
