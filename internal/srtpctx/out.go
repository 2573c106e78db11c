package srtpctx

import (
	"encoding/binary"
	"fmt"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"github.com/hoorn-phone/hoorn/internal/sdes"
)

// An Out protects what is sent with one key.
type Out struct {
	crypto *sdes.Crypto
	ctx    *srtp.Context
	header rtp.Header // scratch

	ssrc  uint32
	any   bool   // whether ssrc and index mean anything
	index uint64 // of the last packet of ssrc

	rtp, rtcp uint64 // packets protected
	limit     uint64
}

// NewOut makes the context to send with c, which must not change afterwards.
// With several keys the first is used.
func NewOut(c *sdes.Crypto) (*Out, error) {
	ctx, err := newContext(c)
	if err != nil {
		return nil, err
	}
	return &Out{crypto: c, ctx: ctx, limit: lifetime(c)}, nil
}

// Crypto is what the context was made of.
func (o *Out) Crypto() *sdes.Crypto { return o.crypto }

// ContinueRTCP carries the SRTCP index of ssrc over from the context used
// before: a new key does not reset it (RFC 3711 §3.2.1). It never goes back.
func (o *Out) ContinueRTCP(prev *Out, ssrc uint32) {
	i, ok := prev.ctx.Index(ssrc)
	if own, used := o.ctx.Index(ssrc); ok && (!used || own < i) {
		o.ctx.SetIndex(ssrc, i)
	}
}

// RTP protects an RTP packet in place and returns it with its tag. p has room
// for [Overhead] more bytes. index is the packet's 48-bit index: the roll-over
// counter and the sequence number (RFC 3711 §3.3.1). For one source it only
// grows; the first may be anything, but a receiver that did not see the
// beginning expects a roll-over counter of 0.
func (o *Out) RTP(p []byte, index uint64) ([]byte, error) {
	if _, ok := rtpHeaderLen(p); !ok || binary.BigEndian.Uint16(p[2:]) != uint16(index) {
		return nil, fmt.Errorf("%w: not RTP", ErrPacket)
	}
	if o.rtp >= o.limit {
		return nil, ErrLifetime
	}
	ssrc := binary.BigEndian.Uint32(p[8:])
	switch {
	case o.any && ssrc == o.ssrc && index <= o.index:
		return nil, ErrIndex
	case !o.any || ssrc != o.ssrc || index != o.index+1:
		// The context guesses the counter from the packet before; after a
		// pause on this key there is none that would help.
		o.ctx.SetROC(ssrc, uint32(index>>16))
	}
	o.any, o.ssrc, o.index = true, ssrc, index
	o.rtp++
	return o.ctx.EncryptRTP(p, p, &o.header)
}

// RTCP protects a compound RTCP packet and appends it to dst, which must not
// overlap p.
func (o *Out) RTCP(dst, p []byte) ([]byte, error) {
	if o.rtcp >= min(o.limit, maxSRTCP) {
		return dst, ErrLifetime
	}
	var h rtcp.Header
	out, err := o.ctx.EncryptRTCP(nil, p, &h)
	if err != nil {
		return dst, fmt.Errorf("srtcp: %w", err)
	}
	o.rtcp++
	return append(dst, out...), nil
}

// Expiring tells whether the key is near enough its end that a new one should
// be agreed now: 1/16 of its lifetime is left, or 2^20 packets, six hours of
// a call, whichever is less.
func (o *Out) Expiring() bool {
	return near(o.rtp, o.limit) || near(o.rtcp, min(o.limit, maxSRTCP))
}

func near(used, limit uint64) bool {
	return used >= limit-min(limit/16, 1<<20)
}
