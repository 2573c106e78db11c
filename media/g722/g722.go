// Package g722 is ITU-T G.722 at 64 kbit/s (mode 1), the only mode that RTP
// carries as payload type 9 (RFC 3551 §4.5.2). Sound is sampled at 16 kHz but
// the RTP clock counts at 8000 Hz, by an old mistake that the RFC keeps.
// Lost packets are concealed by the method of G.711 Appendix I.
package g722

import (
	"fmt"
	"slices"

	"github.com/hoorn-phone/hoorn/internal/plc"
	"github.com/hoorn-phone/hoorn/media/codec"
)

const (
	rate       = 16000
	maxPayload = 8 * 120 // bytes of the longest packet that we decode, 120 ms
)

// G722 returns the codec.
func G722() codec.Codec { return g722{} }

type g722 struct{}

func (g722) Format() codec.Format {
	return codec.Format{Name: "G722", ClockRate: 8000, Channels: 1, PayloadType: 9}
}

func (g722) SampleRate() int { return rate }

// Negotiate refuses a bitrate other than 64 kbit/s, which some peers state
// though RFC 3551 defines no parameters.
func (g722) Negotiate(remote string) (string, bool) {
	f, err := codec.ParseFmtp(remote)
	if err != nil {
		return "", true // defined or not, it says nothing that we use
	}
	bitrate, stated := f.Get("bitrate")
	return "", !stated || bitrate == "64000" || bitrate == "64"
}

func (g722) PayloadSamples(payload []byte) int {
	if len(payload) > maxPayload {
		return 0
	}
	return 2 * len(payload)
}

func (c g722) NewEncoder(p codec.Params) (codec.Encoder, error) {
	n := codec.Samples(c, p.FrameTime())
	if n == 0 || n%2 != 0 || n > 2*maxPayload {
		return nil, fmt.Errorf("%w: G.722 packets of %v", codec.ErrParams, p.FrameTime())
	}
	e := &encoder{samples: n}
	e.low.init(lowStep)
	e.high.init(highStep)
	return e, nil
}

func (g722) NewDecoder(codec.Params) (codec.Decoder, error) {
	d := &decoder{plc: plc.New(rate)}
	d.low.init(lowStep)
	d.high.init(highStep)
	return d, nil
}

type encoder struct {
	samples   int
	qmf       qmf
	low, high band
}

func (e *encoder) Encode(dst []byte, pcm []int16) ([]byte, error) {
	if len(pcm) != e.samples {
		return dst, fmt.Errorf("%w: %d, not %d", codec.ErrFrameSize, len(pcm), e.samples)
	}
	dst = slices.Grow(dst, len(pcm)/2)
	for i := 0; i+1 < len(pcm); i += 2 {
		low, high := e.qmf.split(pcm[i], pcm[i+1])
		dst = append(dst, e.high.encodeHigh(high)<<6|e.low.encodeLow(low))
	}
	return dst, nil
}

type decoder struct {
	qmf       qmf
	low, high band
	plc       *plc.Concealer
}

func (d *decoder) Decode(dst []int16, payload []byte) ([]int16, error) {
	if len(payload) == 0 || len(payload) > maxPayload {
		return dst, fmt.Errorf("%w: %d bytes of G.722", codec.ErrPayload, len(payload))
	}
	at := len(dst)
	dst = slices.Grow(dst, 2*len(payload))
	for _, b := range payload {
		low := d.low.decodeLow(b & 0x3f)
		high := d.high.decodeHigh(b >> 6)
		first, second := d.qmf.join(low, high)
		dst = append(dst, first, second)
	}
	d.plc.Good(dst[at:])
	return dst, nil
}

// Conceal leaves the decoder's own state as the last packet left it. That is
// less exact than G.722 Appendix IV, which resynchronises it, but the step
// sizes recover within a few milliseconds of sound.
func (d *decoder) Conceal(dst []int16, n int) []int16 { return d.plc.Conceal(dst, n) }
