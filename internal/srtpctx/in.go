package srtpctx

import (
	"encoding/binary"
	"fmt"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/hoorn-phone/hoorn/internal/sdes"
)

// An In verifies and decrypts what one peer sends with the keys it announced.
type In struct {
	crypto  *sdes.Crypto
	ctx     *srtp.Context
	header  rtp.Header // scratch
	sources map[uint32]*source
	prev    *In // whose roll-over counters go on, until this one knows better

	rtp   uint64 // packets that verified
	limit uint64
}

// source is the highest packet index seen of one SSRC.
type source struct{ index uint64 }

// NewIn makes the context for what is received under c, which must not change
// afterwards.
func NewIn(c *sdes.Crypto) (*In, error) {
	window := uint(max(DefaultWindow, min(c.WSH, 1024)))
	ctx, err := newContext(c, srtp.SRTPReplayProtection(window), srtp.SRTCPReplayProtection(DefaultWindow))
	if err != nil {
		return nil, err
	}
	return &In{crypto: c, ctx: ctx, sources: make(map[uint32]*source), limit: lifetime(c)}, nil
}

// Crypto is what the context was made of.
func (in *In) Crypto() *sdes.Crypto { return in.crypto }

// Continue says that the same peer used prev until now. Its roll-over counters
// are expected to go on (RFC 3711 §3.3.1); a source that restarts at 0 instead
// is understood too, because peers do that.
func (in *In) Continue(prev *In) {
	in.prev = prev
	prev.prev = nil // one step back is enough, and bounds the memory
}

// Settled says that the context used before is not needed any more.
func (in *In) Settled() { in.prev = nil }

// RTP verifies p and decrypts it into dst's memory, leaving p as it is so that
// another key can be tried. dst has room for len(p) bytes.
func (in *In) RTP(dst, p []byte) ([]byte, error) {
	if _, ok := rtpHeaderLen(p); !ok {
		return nil, fmt.Errorf("%w: not RTP", ErrPacket)
	}
	seq := binary.BigEndian.Uint16(p[2:])
	ssrc := binary.BigEndian.Uint32(p[8:])
	s := in.sources[ssrc]
	if s == nil {
		return in.first(dst, p, ssrc, seq)
	}
	out, err := in.ctx.DecryptRTP(dst[:0], p, &in.header)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPacket, err)
	}
	in.rtp++
	s.index = max(s.index, extend(s.index, seq))
	return out, nil
}

// first handles a packet of a source that is unknown under this key.
func (in *In) first(dst, p []byte, ssrc uint32, seq uint16) ([]byte, error) {
	if len(in.sources) >= maxSources {
		return nil, ErrSources
	}
	var roc uint32
	if in.prev != nil {
		if s := in.prev.sources[ssrc]; s != nil {
			roc = uint32(extend(s.index, seq) >> 16)
		}
	}
	if roc != 0 {
		in.ctx.SetROC(ssrc, roc)
	}
	out, err := in.ctx.DecryptRTP(dst[:0], p, &in.header)
	if err != nil && roc != 0 {
		roc = 0
		in.ctx.SetROC(ssrc, roc)
		out, err = in.ctx.DecryptRTP(dst[:0], p, &in.header)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPacket, err)
	}
	in.rtp++
	in.sources[ssrc] = &source{index: uint64(roc)<<16 | uint64(seq)}
	return out, nil
}

// extend returns the 48-bit index of a packet from the low 16 bits and an
// index near it (RFC 3711 §3.3.1, appendix A).
func extend(near uint64, seq uint16) uint64 {
	i := int64(near) + int64(int16(seq-uint16(near)))
	if i < 0 {
		i += 1 << 16
	}
	return uint64(i)
}

// RTCP verifies p and decrypts it into dst's memory, leaving p as it is.
func (in *In) RTCP(dst, p []byte) ([]byte, error) {
	if len(p) < 8 || p[0]>>6 != 2 {
		return nil, fmt.Errorf("%w: not RTCP", ErrPacket)
	}
	var h rtcp.Header
	out, err := in.ctx.DecryptRTCP(dst[:0], p, &h)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPacket, err)
	}
	return out, nil
}

// Expiring tells whether the peer's key is near the end of its lifetime, see
// [Out.Expiring].
func (in *In) Expiring() bool { return near(in.rtp, in.limit) }
