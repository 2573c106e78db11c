package opus

import (
	"errors"
	"fmt"
	"slices"

	"github.com/thesyncim/gopus"

	"github.com/hoorn-phone/hoorn/media/codec"
)

// maxPayload keeps a packet within the smallest IPv6 MTU, SRTP included.
const maxPayload = 1200

const defaultComplexity = 5 // half the work of 10, hardly to be heard on speech

type encoder struct {
	enc     *gopus.Encoder
	samples int
	fec     bool // the peer wants it and so do we
	dtx     bool
}

func (o *opus) NewEncoder(p codec.Params) (codec.Encoder, error) {
	if ptime := p.FrameTime(); o.PTime(ptime) != ptime {
		return nil, fmt.Errorf("%w: opus packets of %v", codec.ErrParams, ptime)
	}
	enc, err := gopus.NewEncoder(gopus.EncoderConfig{
		SampleRate: o.cfg.SampleRate, Channels: 1, Application: gopus.ApplicationVoIP,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", codec.ErrParams, err)
	}
	w := readWishes(p.RemoteFmtp)
	bitrate := p.Bitrate
	if bitrate <= 0 {
		bitrate = defaultBitrate(o.cfg.SampleRate)
	}
	if w.bitrate > 0 {
		bitrate = min(bitrate, w.bitrate)
	}
	complexity := defaultComplexity
	if p.Complexity > 0 {
		complexity = min(p.Complexity, 10)
	}
	e := &encoder{enc: enc, samples: codec.Samples(o, p.FrameTime()), fec: w.fec && !o.cfg.NoFEC, dtx: w.dtx}
	enc.SetFEC(e.fec)
	enc.SetDTX(e.dtx)
	enc.SetVBR(!w.cbr)
	if err := errors.Join(
		enc.SetFrameSize(e.samples),
		enc.SetSignal(gopus.SignalVoice),
		enc.SetMaxBandwidth(w.bandwidth),
		enc.SetBitrate(min(max(bitrate, minBitrate), maxBitrate)),
		enc.SetComplexity(complexity),
		enc.SetLSBDepth(16),
		enc.SetPacketLoss(min(max(p.LossPercent, 0), 100)),
	); err != nil {
		return nil, fmt.Errorf("%w: %w", codec.ErrParams, err)
	}
	return e, nil
}

func (e *encoder) Encode(dst []byte, pcm []int16) ([]byte, error) {
	if len(pcm) != e.samples {
		return dst, fmt.Errorf("%w: %d, not %d", codec.ErrFrameSize, len(pcm), e.samples)
	}
	at := len(dst)
	buf := slices.Grow(dst, maxPayload)[:at+maxPayload]
	n, err := e.enc.EncodeInt16(pcm, buf[at:])
	if err != nil {
		return dst, fmt.Errorf("opus: encode: %w", err)
	}
	// One or two bytes hold no sound: with DTX on, nothing need be sent, and
	// the encoder itself sends a full packet now and then (RFC 7587 §3.1.3).
	if e.dtx && n <= 2 {
		return dst, nil
	}
	return buf[:at+n], nil
}

// SetLoss makes the encoder spend bits on error correction, if the peer can
// use it, and lean less on the packet before.
func (e *encoder) SetLoss(percent int) {
	// Only a value out of range is an error.
	_ = e.enc.SetPacketLoss(min(max(percent, 0), 100))
}
