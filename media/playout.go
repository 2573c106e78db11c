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

// An origin says what a frame is made of.
type origin uint8

const (
	madeUp   origin = iota // nothing of it was received: silence, or concealment
	received               // sound of the peer, at least in part
	quiet                  // the peer said that it is silent (RFC 3389)
)

// A playout turns the packets of one source into frames.
type playout struct {
	buf   *jitter.Buffer
	clock int // of buf
	decs  []*decoder
	last  *decoder // of the last packet decoded
	noise noise
	fifo  []int16 // decoded and not yet played
	sound int     // up to where in fifo there is sound of the peer
	rate  int     // of fifo, and of the frames
	begun bool    // sound has come out
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

// configure takes over an agreement.
func (p *playout) configure(m *negotiate.Media) {
	kept := p.decs[:0]
	for _, d := range p.decs {
		if f, ok := m.Recv[d.pt]; ok && d.decodes(f) {
			kept = append(kept, d)
		} else if p.last == d {
			p.last = nil
		}
	}
	clear(p.decs[len(kept):])
	p.decs = kept
	if p.rate == 0 && m.Send.Codec != nil {
		p.rate = m.Send.Codec.SampleRate()
	}
}

// decodes tells whether d is right for f. A format of a former description,
// which may still come (RFC 3264 §8.3.2), has lost what the peer said about it.
func (d *decoder) decodes(f negotiate.Format) bool {
	return f.Codec.Format() == d.format.Codec.Format() && f.LocalFmtp == d.format.LocalFmtp &&
		(f.RemoteFmtp == d.format.RemoteFmtp || f.RemoteFmtp == "")
}

// restart forgets what was received and not played.
func (p *playout) restart(r *receiver) {
	if p.buf != nil {
		r.stats = addStats(r.stats, p.buf.Stats())
		p.buf.Reset()
	}
	p.fifo, p.sound, p.begun = p.fifo[:0], 0, false
	p.noise.stop()
}

// release gives back what takes memory and is of no use to another source.
func (p *playout) release() { *p = playout{buf: p.buf, clock: p.clock, fifo: p.fifo, noise: p.noise} }

// skip tells the buffer of a packet without sound.
func (p *playout) skip(h *header, at time.Time, play bool) {
	if play && p.buf != nil {
		p.buf.Skip(at, h.seq, h.ts)
	}
}

// queue puts a packet into the jitter buffer, which is a new one when the
// clock rate changes.
func (p *playout) queue(r *receiver, h *header, at time.Time, ticks uint32, clock int) {
	if p.buf == nil || p.clock != clock {
		if p.buf != nil {
			r.stats = addStats(r.stats, p.buf.Stats())
		}
		p.buf, p.clock = jitter.New(jitter.Config{ClockRate: clock, MaxPackets: jitterPackets}), clock
	}
	p.buf.Put(at, jitter.Packet{
		Seq: h.seq, Timestamp: h.ts, Marker: h.marker, PayloadType: h.pt, Ticks: ticks, Payload: h.payload,
	})
}

// decoder finds or makes the decoder for a payload type, nil for one that was
// not agreed.
func (p *playout) decoder(m *negotiate.Media, pt uint8) *decoder {
	for _, d := range p.decs {
		if d.pt == pt {
			return d
		}
	}
	f, ok := m.Recv[pt]
	if !ok {
		return nil
	}
	dec, err := f.Codec.NewDecoder(codec.Params{PTime: m.PTime, LocalFmtp: f.LocalFmtp, RemoteFmtp: f.RemoteFmtp})
	if err != nil {
		return nil
	}
	d := &decoder{pt: pt, format: f, dec: dec, rate: f.Codec.SampleRate(), clock: f.Codec.Format().ClockRate}
	d.fec, _ = dec.(codec.FECDecoder)
	d.size, _ = f.Codec.(codec.Sizer)
	if len(p.decs) == maxDecoders {
		if p.last == p.decs[0] {
			p.last = nil
		}
		p.decs = append(p.decs[:0], p.decs[1:]...)
	}
	p.decs = append(p.decs, d)
	return d
}

// begin tells whether sound is due, or was before.
func (p *playout) begin(r *receiver, now time.Time) bool {
	if !p.begun && p.buf != nil && p.rate > 0 {
		if p.piece(r, p.buf.Get(now)); !p.begun {
			p.fifo, p.sound = p.fifo[:0], 0
		}
	}
	return p.begun
}

// frame appends the next 20 ms to dst.
func (p *playout) frame(r *receiver, dst []int16, now time.Time) (pcm []int16, rate int, of origin) {
	for range maxPieces {
		if p.rate == 0 || len(p.fifo) >= p.rate/50 || p.buf == nil {
			break
		}
		p.piece(r, p.buf.Get(now))
	}
	if p.rate == 0 {
		return dst, 0, madeUp
	}
	switch {
	case p.sound > 0:
		of = received
	case p.noise.on:
		of = quiet
	}
	need := p.rate / 50
	n := min(need, len(p.fifo))
	dst = append(dst, p.fifo[:n]...)
	p.fifo = p.fifo[:copy(p.fifo, p.fifo[n:])]
	p.sound = max(0, p.sound-n)
	for ; n < need; n++ {
		dst = append(dst, 0)
	}
	return dst, p.rate, of
}

// piece appends to the fifo what the jitter buffer says is next.
func (p *playout) piece(r *receiver, g jitter.Result) {
	switch g.Kind {
	case jitter.Frame, jitter.Drop:
		if g.PayloadType == comfortNoise && r.media.CN {
			p.begun = true
			p.noise.set(g.Payload)
			p.silence(g.Ticks)
			return
		}
		d := p.decoder(r.media, g.PayloadType)
		if d == nil {
			p.silence(g.Ticks)
			return
		}
		p.noise.stop()
		p.use(d)
		n := len(p.fifo)
		pcm, err := d.dec.Decode(p.fifo, g.Payload)
		if err != nil {
			r.broken++
			r.made++
			pcm = d.dec.Conceal(p.fifo, p.samples(g.Ticks))
		}
		if g.Kind == jitter.Drop {
			pcm = pcm[:n]
		}
		p.fifo = pcm
		if err == nil && len(pcm) > n {
			p.sound, p.begun = len(pcm), true
		}
	case jitter.Lost:
		d := p.last
		if d == nil || p.noise.on {
			p.silence(g.Ticks)
			return
		}
		r.made++
		n := p.samples(g.Ticks)
		if d.fec != nil && len(g.Next) > 0 {
			if pcm, ok := d.fec.DecodeFEC(p.fifo, g.Next, n); ok {
				p.fifo, p.sound = pcm, len(pcm)
				return
			}
		}
		p.fifo = d.dec.Conceal(p.fifo, n)
	default:
		p.silence(g.Ticks)
	}
}

// use makes d the decoder whose rate the frames have.
func (p *playout) use(d *decoder) {
	if p.rate != d.rate {
		p.rate, p.fifo, p.sound = d.rate, p.fifo[:0], 0
		p.noise.stop()
	}
	p.last = d
}

// samples converts ticks of the buffer to samples of the frames, at most
// 120 ms and at least one.
func (p *playout) samples(ticks uint32) int {
	n := int(int64(ticks) * int64(p.rate) / int64(p.clock))
	return max(1, min(n, p.rate*120/1000))
}

// silence appends comfort noise, or zeros where there is none.
func (p *playout) silence(ticks uint32) {
	n := p.samples(ticks)
	if p.noise.on {
		p.fifo = p.noise.append(p.fifo, n)
		return
	}
	for range n {
		p.fifo = append(p.fifo, 0)
	}
}
