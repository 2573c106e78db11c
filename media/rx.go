package media

import (
	"time"

	"github.com/hoorn-phone/hoorn/internal/jitter"
	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/media/codec"
)

const (
	// maxDecoders is how many decoders a stream keeps: a peer that goes back
	// and forth between formats finds its state as it was.
	maxDecoders = 4

	// maxPieces is how many pieces of sound one frame may be made of; a piece
	// is at least 2.5 ms.
	maxPieces = 16

	// jitterPackets is how many packets a stream holds: 1.28 s of 20 ms.
	jitterPackets = 64
)

// A receiver turns the packets of one leg into frames of PCM.
type receiver struct {
	media *negotiate.Media // the leg's
	known bool             // a packet has come
	ssrc  uint32
	acct  accounting
	event eventReceiver

	buf   *jitter.Buffer
	clock int // of buf
	decs  []*decoder
	last  *decoder // of the last packet decoded
	noise noise
	fifo  []int16 // decoded and not yet played
	rate  int     // of fifo, and of the frames

	pt       uint8 // of the last packet with sound
	hasPT    bool
	switches uint64
	unknown  uint64       // packets of a payload type that was not agreed
	made     uint64       // pieces made up in place of what was lost
	broken   uint64       // payloads that could not be decoded
	sources  uint64       // changes of SSRC
	stats    jitter.Stats // of buffers before this one
}

// decoder is the state of one format.
type decoder struct {
	pt     uint8
	format negotiate.Format
	dec    codec.Decoder
	fec    codec.FECDecoder // dec, or nil
	size   codec.Sizer      // the codec, or nil
	rate   int
	clock  int
}

// configure takes over an agreement. Decoders whose format is still the same
// go on.
func (r *receiver) configure(m *negotiate.Media) {
	r.media = m
	kept := r.decs[:0]
	for _, d := range r.decs {
		if f, ok := m.Recv[d.pt]; ok && f.Codec.Format() == d.format.Codec.Format() && f.LocalFmtp == d.format.LocalFmtp && f.RemoteFmtp == d.format.RemoteFmtp {
			kept = append(kept, d)
		} else if r.last == d {
			r.last = nil
		}
	}
	clear(r.decs[len(kept):])
	r.decs = kept
	if r.rate == 0 && m.Send.Codec != nil {
		r.rate = m.Send.Codec.SampleRate()
	}
}

// restart forgets what was received and not played: the leg is heard anew, or
// another source speaks.
func (r *receiver) restart() {
	if r.buf != nil {
		r.stats = addStats(r.stats, r.buf.Stats())
		r.buf.Reset()
	}
	r.fifo = r.fifo[:0]
	r.noise.stop()
}

// newer tells whether no packet with a higher sequence number came before.
func (r *receiver) newer(h *header) bool {
	return !r.known || h.ssrc != r.ssrc || int16(h.seq-r.highest()) > 0
}

func (r *receiver) highest() uint16 { return uint16(r.acct.highest) }

// packet takes a packet of the peer. play says that its sound is wanted. It
// returns a DTMF digit that is complete with this packet.
func (r *receiver) packet(h *header, at time.Time, play bool) *Digit {
	if !r.known || h.ssrc != r.ssrc {
		if r.known {
			r.sources++
			r.restart()
		}
		r.known, r.ssrc = true, h.ssrc
		r.acct.begin(h.seq)
		r.event.reset()
	}
	if rate, ok := r.media.DTMFRecv[h.pt]; ok {
		r.acct.packet(h, at, 0)
		if play && r.buf != nil {
			r.buf.Skip(at, h.seq, h.ts)
		}
		return r.event.packet(h, at, rate)
	}
	d := r.decoder(h.pt)
	if d == nil {
		if h.pt == comfortNoise && r.media.CN {
			r.acct.packet(h, at, 0)
			if play {
				r.queue(h, at, 0, comfortNoiseClock)
			}
			return nil
		}
		r.acct.packet(h, at, 0)
		r.unknown++
		if play && r.buf != nil {
			r.buf.Skip(at, h.seq, h.ts)
		}
		return nil
	}
	r.acct.packet(h, at, d.clock)
	if r.hasPT && h.pt != r.pt {
		r.switches++
	}
	r.hasPT, r.pt = true, h.pt
	if !play {
		return nil
	}
	var ticks uint32
	if d.size != nil {
		ticks = codec.SamplesToTicks(d.format.Codec, d.size.PayloadSamples(h.payload))
	}
	r.queue(h, at, ticks, d.clock)
	return nil
}

// queue puts a packet into the jitter buffer, which is a new one when the
// clock rate changes.
func (r *receiver) queue(h *header, at time.Time, ticks uint32, clock int) {
	if r.buf == nil || r.clock != clock {
		if r.buf != nil {
			r.stats = addStats(r.stats, r.buf.Stats())
		}
		r.buf, r.clock = jitter.New(jitter.Config{ClockRate: clock, MaxPackets: jitterPackets}), clock
	}
	r.buf.Put(at, jitter.Packet{
		Seq: h.seq, Timestamp: h.ts, Marker: h.marker, PayloadType: h.pt, Ticks: ticks, Payload: h.payload,
	})
}

// decoder finds or makes the decoder for a payload type, nil for one that was
// not agreed.
func (r *receiver) decoder(pt uint8) *decoder {
	for _, d := range r.decs {
		if d.pt == pt {
			return d
		}
	}
	f, ok := r.media.Recv[pt]
	if !ok {
		return nil
	}
	dec, err := f.Codec.NewDecoder(codec.Params{PTime: r.media.PTime, LocalFmtp: f.LocalFmtp, RemoteFmtp: f.RemoteFmtp})
	if err != nil {
		return nil
	}
	d := &decoder{pt: pt, format: f, dec: dec, rate: f.Codec.SampleRate(), clock: f.Codec.Format().ClockRate}
	d.fec, _ = dec.(codec.FECDecoder)
	d.size, _ = f.Codec.(codec.Sizer)
	if len(r.decs) == maxDecoders {
		if r.last == r.decs[0] {
			r.last = nil
		}
		r.decs = append(r.decs[:0], r.decs[1:]...)
	}
	r.decs = append(r.decs, d)
	return d
}

// frame appends the next 20 ms to dst.
func (r *receiver) frame(dst []int16, now time.Time) (pcm []int16, rate int) {
	for range maxPieces {
		if r.rate == 0 || len(r.fifo) >= r.rate/50 || r.buf == nil {
			break
		}
		r.piece(r.buf.Get(now))
	}
	if r.rate == 0 {
		return dst, 0
	}
	need := r.rate / 50
	n := min(need, len(r.fifo))
	dst = append(dst, r.fifo[:n]...)
	r.fifo = r.fifo[:copy(r.fifo, r.fifo[n:])]
	for ; n < need; n++ {
		dst = append(dst, 0)
	}
	return dst, r.rate
}

// piece appends to the fifo what the jitter buffer says is next.
func (r *receiver) piece(g jitter.Result) {
	switch g.Kind {
	case jitter.Frame, jitter.Drop:
		if g.PayloadType == comfortNoise && r.media.CN {
			r.noise.set(g.Payload)
			r.silence(g.Ticks)
			return
		}
		d := r.decoder(g.PayloadType)
		if d == nil {
			r.silence(g.Ticks)
			return
		}
		r.noise.stop()
		r.use(d)
		n := len(r.fifo)
		pcm, err := d.dec.Decode(r.fifo, g.Payload)
		if err != nil {
			r.broken++
			r.made++
			pcm = d.dec.Conceal(r.fifo, r.samples(g.Ticks))
		}
		if g.Kind == jitter.Drop {
			pcm = pcm[:n]
		}
		r.fifo = pcm
	case jitter.Lost:
		d := r.last
		if d == nil || r.noise.on {
			r.silence(g.Ticks)
			return
		}
		r.made++
		n := r.samples(g.Ticks)
		if d.fec != nil && len(g.Next) > 0 {
			if pcm, ok := d.fec.DecodeFEC(r.fifo, g.Next, n); ok {
				r.fifo = pcm
				return
			}
		}
		r.fifo = d.dec.Conceal(r.fifo, n)
	default:
		r.silence(g.Ticks)
	}
}

// use makes d the decoder whose rate the frames have.
func (r *receiver) use(d *decoder) {
	if r.rate != d.rate {
		r.rate, r.fifo = d.rate, r.fifo[:0]
		r.noise.stop()
	}
	r.last = d
}

// samples converts ticks of the buffer to samples of the frames, at most
// 120 ms and at least one.
func (r *receiver) samples(ticks uint32) int {
	n := int(int64(ticks) * int64(r.rate) / int64(r.clock))
	return max(1, min(n, r.rate*120/1000))
}

// silence appends comfort noise, or zeros where there is none.
func (r *receiver) silence(ticks uint32) {
	n := r.samples(ticks)
	if r.noise.on {
		r.fifo = r.noise.append(r.fifo, n)
		return
	}
	for range n {
		r.fifo = append(r.fifo, 0)
	}
}

// jitterStats are the buffer's figures since the leg began.
func (r *receiver) jitterStats() jitter.Stats {
	if r.buf == nil {
		return r.stats
	}
	return addStats(r.stats, r.buf.Stats())
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
