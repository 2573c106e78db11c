package media

import (
	"time"

	"github.com/hoorn-phone/hoorn/internal/jitter"
	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/media/codec"
)

// backPackets is how many packets in a row a source needs that was left for
// another, before it is heard again: stragglers of it must not be enough.
const backPackets = 3

// A receiver turns the packets of one leg into frames of PCM. It plays the
// newest source. The one before goes on until a frame of the newest is due, so
// that a peer who is moved elsewhere is heard without a gap.
type receiver struct {
	media *negotiate.Media // the leg's
	known bool             // a packet has come
	ssrc  uint32
	acct  accounting
	event eventReceiver

	cur     playout   // of ssrc
	prev    playout   // of the source before
	left    uint32    // its SSRC, if there was one
	leaving bool      // prev is still heard
	until   time.Time // at most
	back    int       // packets of left since the last of ssrc

	pt       uint8 // of the last packet with sound
	hasPT    bool
	switches uint64
	unknown  uint64       // packets of a payload type that was not agreed
	ignored  uint64       // packets of a source that had been left
	made     uint64       // pieces made up in place of what was lost
	broken   uint64       // payloads that could not be decoded
	sources  uint64       // changes of SSRC
	stats    jitter.Stats // of buffers before these
}

// configure takes over an agreement. Decoders whose format is still the same
// go on.
func (r *receiver) configure(m *negotiate.Media) {
	r.media = m
	r.cur.configure(m)
}

// restart forgets what was received and not played: the leg is heard anew.
func (r *receiver) restart() {
	r.settle()
	r.cur.restart(r)
}

// settle ends the source before.
func (r *receiver) settle() {
	if r.leaving {
		r.leaving = false
		r.prev.restart(r)
		r.prev.release()
	}
}

// newer tells whether no packet with a higher sequence number came before.
func (r *receiver) newer(h *header) bool {
	return !r.known || h.ssrc != r.ssrc || int16(h.seq-r.highest()) > 0
}

func (r *receiver) highest() uint16 { return uint16(r.acct.highest) }

// packet takes a packet of the peer. play says that its sound is wanted,
// superseded that it came under a key in whose place another is in use. It
// returns a DTMF digit that is complete with this packet, and whether it was
// one of the source that counts.
func (r *receiver) packet(h *header, at time.Time, play, superseded bool) (*Digit, bool) {
	rate, event := r.media.DTMFRecv[h.pt]
	p := r.source(h, at, superseded, event)
	if p != &r.cur {
		// Counted, but what reports tell is about the present source.
		r.acct.packets++
		r.acct.bytes += uint64(h.size)
		switch {
		case event && !superseded:
			return r.event.packet(h, at, rate), false
		case p == nil:
			r.ignored++
			return nil, false
		}
		if d := p.decoder(r.media, h.pt); d != nil && play {
			p.queue(r, h, at, d.ticks(h), d.clock)
		}
		return nil, false
	}
	if event {
		r.acct.packet(h, at, 0)
		p.skip(h, at, play)
		return r.event.packet(h, at, rate), true
	}
	d := p.decoder(r.media, h.pt)
	if d == nil {
		r.acct.packet(h, at, 0)
		if h.pt == comfortNoise && r.media.CN {
			if play {
				p.queue(r, h, at, 0, comfortNoiseClock)
			}
			return nil, true
		}
		r.unknown++
		p.skip(h, at, play)
		return nil, true
	}
	r.acct.packet(h, at, d.clock)
	if r.hasPT && h.pt != r.pt {
		r.switches++
	}
	r.hasPT, r.pt = true, h.pt
	if play {
		p.queue(r, h, at, d.ticks(h), d.clock)
	}
	return nil, true
}

// source finds who plays a packet, and makes its source the present one where
// that is due. It is nil for one that nobody is to hear.
func (r *receiver) source(h *header, at time.Time, superseded, event bool) *playout {
	if r.known {
		switch {
		case h.ssrc == r.ssrc:
			r.back = 0
			return &r.cur
		case r.leaving && h.ssrc == r.left:
			return &r.prev
		case superseded, event:
			// Some give events a source of their own, and who was there under a
			// former key does not come back.
			return nil
		case r.sources > 0 && h.ssrc == r.left:
			if r.back++; r.back < backPackets {
				return nil
			}
		}
		r.sources++
		if r.cur.begun {
			r.settle()
			r.cur, r.prev = r.prev, r.cur
			r.cur.rate = r.prev.rate
			r.leaving, r.until = true, at.Add(handoverLimit)
			r.left = r.ssrc
		}
		r.cur.restart(r)
	}
	r.known, r.ssrc, r.back = true, h.ssrc, 0
	r.acct.begin(h.seq)
	r.event.reset()
	return &r.cur
}

// begun tells whether the leg was heard.
func (r *receiver) begun() bool { return r.leaving || r.cur.begun }

// begin tells whether sound of the leg is due, or was before.
func (r *receiver) begin(now time.Time) bool { return r.leaving || r.cur.begin(r, now) }

// frame appends the next 20 ms to dst.
func (r *receiver) frame(dst []int16, now time.Time) (pcm []int16, rate int, of origin) {
	if r.leaving {
		if now.Before(r.until) && !r.cur.begin(r, now) {
			return r.prev.frame(r, dst, now)
		}
		r.settle()
	}
	return r.cur.frame(r, dst, now)
}

// jitterStats are the buffers' figures since the leg began.
func (r *receiver) jitterStats() jitter.Stats {
	s := r.stats
	if r.leaving && r.prev.buf != nil {
		s = addStats(s, r.prev.buf.Stats())
	}
	if r.cur.buf != nil {
		s = addStats(s, r.cur.buf.Stats())
	}
	return s
}

// addStats adds the counts of two buffers; what is no count is b's.
func addStats(a, b jitter.Stats) jitter.Stats {
	b.Received += a.Received
	b.Played += a.Played
	b.Late += a.Late
	b.Duplicates += a.Duplicates
	b.Reordered += a.Reordered
	b.Rejected += a.Rejected
	b.Dropped += a.Dropped
	b.Lost += a.Lost
	b.Concealed += a.Concealed
	b.Underruns += a.Underruns
	return b
}

// ticks is how long the sound of a packet lasts, 0 if that cannot be told.
func (d *decoder) ticks(h *header) uint32 {
	if d.size == nil {
		return 0
	}
	return codec.SamplesToTicks(d.format.Codec, d.size.PayloadSamples(h.payload))
}
