// Package g711 is ITU-T G.711: PCMU (mu-law, payload type 0) and PCMA (A-law,
// payload type 8) at 64 kbit/s (RFC 3551 §4.5.14). Lost packets are concealed
// by the method of G.711 Appendix I.
package g711

import (
	"fmt"

	"github.com/hoorn-phone/hoorn/internal/plc"
	"github.com/hoorn-phone/hoorn/media/codec"
)

const (
	rate       = 8000
	maxPayload = rate * 120 / 1000 // the longest packet that we decode
)

// PCMU returns the mu-law codec.
func PCMU() codec.Codec {
	return law{codec.Format{Name: "PCMU", ClockRate: rate, Channels: 1, PayloadType: 0}, EncodeULaw, DecodeULaw}
}

// PCMA returns the A-law codec.
func PCMA() codec.Codec {
	return law{codec.Format{Name: "PCMA", ClockRate: rate, Channels: 1, PayloadType: 8}, EncodeALaw, DecodeALaw}
}

type law struct {
	format codec.Format
	encode func([]byte, []int16) []byte
	decode func([]int16, []byte) []int16
}

func (l law) Format() codec.Format { return l.format }
func (law) SampleRate() int        { return rate }

// Negotiate ignores parameters: none are defined, and there is only one mode.
func (law) Negotiate(string) (string, bool) { return "", true }

func (law) PayloadSamples(payload []byte) int {
	if len(payload) > maxPayload {
		return 0
	}
	return len(payload)
}

func (l law) NewEncoder(p codec.Params) (codec.Encoder, error) {
	n := codec.Samples(l, p.FrameTime())
	if n == 0 || n > maxPayload {
		return nil, fmt.Errorf("%w: %s packets of %v", codec.ErrParams, l.format.Name, p.FrameTime())
	}
	return &encoder{l.encode, n}, nil
}

func (l law) NewDecoder(codec.Params) (codec.Decoder, error) {
	return &decoder{l.decode, plc.New(rate)}, nil
}

type encoder struct {
	encode  func([]byte, []int16) []byte
	samples int
}

func (e *encoder) Encode(dst []byte, pcm []int16) ([]byte, error) {
	if len(pcm) != e.samples {
		return dst, fmt.Errorf("%w: %d, not %d", codec.ErrFrameSize, len(pcm), e.samples)
	}
	return e.encode(dst, pcm), nil
}

type decoder struct {
	decode func([]int16, []byte) []int16
	plc    *plc.Concealer
}

func (d *decoder) Decode(dst []int16, payload []byte) ([]int16, error) {
	if len(payload) == 0 || len(payload) > maxPayload {
		return dst, fmt.Errorf("%w: %d bytes of G.711", codec.ErrPayload, len(payload))
	}
	at := len(dst)
	dst = d.decode(dst, payload)
	d.plc.Good(dst[at:])
	return dst, nil
}

func (d *decoder) Conceal(dst []int16, n int) []int16 { return d.plc.Conceal(dst, n) }
