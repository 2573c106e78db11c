package media

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/internal/srtpctx"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

const (
	// joinLimit is the packet index from which on somebody who has not heard
	// our sequence numbers from the beginning cannot be sure of the roll-over
	// counter, which SRTP does not transmit. Beyond it, a new listener gets a
	// new source.
	joinLimit = 1 << 15

	// maxOuts bounds the keys of our own that are kept: one for each suite of
	// an offer, and former ones.
	maxOuts = 8

	rtpHeader = 12
)

// A sender is what a session sends: one RTP source, whoever is the peer. The
// source, its sequence numbers and the contexts of the keys run on when another
// leg is selected, so that no key ever protects two packets with one index.
type sender struct {
	ssrc  uint32
	index uint64    // of the next packet: roll-over counter and sequence number
	ts    uint32    // of the next sample
	due   time.Time // of the next frame; zero before the first

	marker bool // the next packet begins a talk spurt (RFC 3551 §4.1)
	format negotiate.Format
	params codec.Params
	enc    codec.Encoder
	rate   int // of the PCM
	clock  int // of the timestamps
	frame  int // samples in a packet
	step   uint32
	wait   []int16 // samples that do not fill a packet yet

	out  *srtpctx.Out   // nil in the clear
	outs []*srtpctx.Out // those used last at the end
	told *srtpctx.Out   // whose end was announced

	packets, bytes uint64 // of this source, payloads only (RFC 3550 §6.4.1)
	before         uint64 // packets of sources before
	total          uint64 // bytes of datagrams
	failed         uint64 // not taken by the socket, or not encoded
}

// reset begins a new source. Its first sequence number is below 2^15: a
// receiver that misses the first packets must not take the first roll-over for
// the beginning (RFC 3711 §3.3.1 has no way to tell).
func (n *sender) reset(random io.Reader) error {
	var b [10]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return errors.Join(errRandom, err)
	}
	n.before += n.packets
	n.packets, n.bytes = 0, 0
	n.ssrc = binary.BigEndian.Uint32(b[:])
	n.ts = binary.BigEndian.Uint32(b[4:])
	n.index = uint64(binary.BigEndian.Uint16(b[8:]) >> 1)
	n.marker = true
	return nil
}

// configure sets up the sender for what the selected leg agreed on. The caller
// holds mu.
func (s *Session) configure() error {
	n, l := &s.send, s.selected
	if l == nil || !l.agreed || l.media.Disabled || l.media.Send.Codec == nil {
		n.enc = nil
		return nil
	}
	missed, joins := n.index, true
	if l.sentTo.ssrc == n.ssrc && !l.newPeer {
		missed, joins = n.index-l.sentTo.index, false
	}
	if missed >= joinLimit {
		if err := n.reset(s.e.cfg.Rand); err != nil {
			return err
		}
		joins = true
	}
	l.newPeer = false
	if joins {
		n.enc = nil // whose decoder is new wants an encoder that is
	}
	if err := n.encoder(&l.media); err != nil {
		return err
	}
	return n.secure(l.media.LocalCrypto)
}

// encoder makes the encoder for an agreement, unless the present one does.
func (n *sender) encoder(m *negotiate.Media) error {
	f, p := m.Send, m.Params()
	if n.enc != nil && f.PT == n.format.PT && p == n.params && f.Codec.Format() == n.format.Codec.Format() {
		return nil
	}
	enc, err := f.Codec.NewEncoder(p)
	if err != nil {
		return err
	}
	n.enc, n.format, n.params = enc, f, p
	n.rate, n.clock = f.Codec.SampleRate(), f.Codec.Format().ClockRate
	n.frame = codec.Samples(f.Codec, p.FrameTime())
	n.step = f.Codec.Format().Ticks(p.FrameTime())
	n.wait = n.wait[:0]
	n.marker = true
	return nil
}

// secure makes c the key to send with.
func (n *sender) secure(c *sdes.Crypto) error {
	if c == nil {
		n.out = nil
		return nil
	}
	var o *srtpctx.Out
	if i := slices.IndexFunc(n.outs, func(o *srtpctx.Out) bool { return o.Crypto().SameContext(c) }); i >= 0 {
		o = n.outs[i]
		n.outs = slices.Delete(n.outs, i, i+1)
	} else {
		var err error
		if o, err = srtpctx.NewOut(c); err != nil {
			return err
		}
	}
	// Reports count on over all keys, so that one whose context was given up
	// for want of room does not protect two of them with one index either.
	if last := len(n.outs) - 1; last >= 0 {
		o.ContinueRTCP(n.outs[last], n.ssrc)
	}
	if len(n.outs) == maxOuts {
		n.outs = slices.Delete(n.outs, 0, 1)
	}
	n.outs = append(n.outs, o)
	n.out = o
	return nil
}

// sendRate is the rate of the PCM to send, 0 when nothing is to be sent. The
// caller holds mu.
func (s *Session) sendRate() int {
	if s.selected == nil || s.send.enc == nil || !s.selected.media.Sends() || !s.selected.route.target.IsValid() {
		return 0
	}
	return s.send.rate
}

// sendFrame sends 20 ms of PCM. The caller holds mu.
func (s *Session) sendFrame(w *work, pcm []int16, due time.Time) {
	n := &s.send
	if gap := due.Sub(n.due); !n.due.IsZero() && gap > 0 {
		// Timestamps tell the time, also that in which nothing was sent
		// (RFC 3550 §5.1).
		n.ts += n.format.Codec.Format().Ticks(gap)
		n.marker = true
		n.wait = n.wait[:0]
	}
	n.due = due.Add(frameTime)
	if s.sendDTMF(w) {
		return
	}
	if len(pcm) == n.frame && len(n.wait) == 0 {
		s.sendPacket(w, pcm)
		return
	}
	n.wait = append(n.wait, pcm...)
	at := 0
	for ; len(n.wait)-at >= n.frame; at += n.frame {
		s.sendPacket(w, n.wait[at:at+n.frame])
	}
	n.wait = n.wait[:copy(n.wait, n.wait[at:])]
}

// sendPacket encodes and sends one packet of sound.
func (s *Session) sendPacket(w *work, pcm []int16) {
	n := &s.send
	ts := n.ts
	n.ts += n.step
	p, err := n.enc.Encode(w.packet[:rtpHeader], pcm)
	switch {
	case err != nil:
		if n.failed++; n.failed == 1 {
			s.log.Warn("media: encoding", "codec", n.format.Codec.Format().Rtpmap(), "err", err)
		}
		n.marker = true
	case len(p) == rtpHeader:
		n.marker = true // discontinuous transmission
	default:
		s.transmit(w, p, n.format.PT, n.marker, ts)
		n.marker = false
	}
}

// transmit sends one packet to the selected leg. p has room for the header.
func (s *Session) transmit(w *work, p []byte, pt uint8, marker bool, ts uint32) {
	n, l := &s.send, s.selected
	if cap(p) > cap(w.packet) {
		w.packet = p[:0] // an encoder needed more room than usual
	}
	p[0], p[1] = 0x80, pt
	if marker {
		p[1] |= 0x80
	}
	binary.BigEndian.PutUint16(p[2:], uint16(n.index))
	binary.BigEndian.PutUint32(p[4:], ts)
	binary.BigEndian.PutUint32(p[8:], n.ssrc)
	size := uint64(len(p) - rtpHeader)
	if n.out != nil {
		var err error
		if p, err = n.out.RTP(p, n.index); err != nil {
			n.failed++
			if errors.Is(err, srtpctx.ErrLifetime) && !s.ended {
				s.ended = true
				s.notify(l, offeranswer.Failed, ErrKeyUsedUp)
			}
			return
		}
		if n.told != n.out && n.out.Expiring() {
			n.told = n.out
			s.notify(l, offeranswer.NeedOffer, nil)
		}
	}
	l.sentTo = sentTo{n.ssrc, n.index}
	n.index++
	if err := s.sockets.rtp.WriteTo(p, l.route.target); err != nil {
		if n.failed++; n.failed == 1 {
			s.log.Info("media: sending", "to", l.route.target, "err", err)
		}
	}
	n.packets++
	n.bytes += size
	n.total += uint64(len(p))
	s.rtcp.sent = true
}
