// Package jitter is the jitter buffer of one received RTP stream, as a machine
// without a clock: packets and the time go in, what to play next comes out.
//
// The engine calls [Buffer.Put] for each packet that arrives and [Buffer.Get]
// whenever it needs more sound. The buffer puts packets in order, drops those
// that come late or twice, says what was lost, and holds the stream back by a
// target delay that follows the measured jitter (see delay.go).
//
// Sequence numbers say what follows what and what was lost; timestamps say
// when. A jump of the timestamp between neighbours is therefore a pause and
// never a loss, and a duration guessed wrongly cannot lose a packet.
package jitter

import "time"

// Config sets the limits of a [Buffer].
type Config struct {
	ClockRate int // of the RTP timestamps in Hz; required

	MinDelay   time.Duration // least target delay; 0 = 20 ms
	MaxDelay   time.Duration // greatest target delay; 0 = 200 ms
	StartDelay time.Duration // target delay before anything was measured; 0 = 40 ms

	MaxPackets int // most packets held, rounded up to a power of two of at least 32; 0 = 256
	MaxBytes   int // most payload bytes held; 0 = 64 KiB
}

// maxPayload is the longest payload taken: no audio packet on an Ethernet path
// is longer.
const maxPayload = 1500

// A Packet is what the buffer wants to know of an RTP packet.
type Packet struct {
	Seq         uint16
	Timestamp   uint32
	Marker      bool
	PayloadType uint8  // not looked at, only handed back
	Ticks       uint32 // the payload's duration in timestamp units; 0 = not known
	Payload     []byte // copied; empty = no sound, as after [Buffer.Skip]
}

// Kind says what to play.
type Kind uint8

const (
	Empty Kind = iota // there is nothing: silence or comfort noise for Ticks
	Frame             // decode Payload
	Lost              // conceal Ticks, or rebuild them from Next if it is not nil
	Drop              // decode Payload to keep the decoder's state, play nothing, and Get again
)

func (k Kind) String() string {
	return [...]string{"empty", "frame", "lost", "drop"}[k&3]
}

// A Result is what to play next.
type Result struct {
	Kind        Kind
	Marker      bool
	PayloadType uint8
	Seq         uint16
	Timestamp   uint32
	Ticks       uint32 // how much time this is, in timestamp units; a guess for a Frame whose Packet did not say
	Payload     []byte // of Frame and Drop; valid until the next call of the buffer
	Next        []byte // of Lost: the payload directly after the lost one; valid until the next call

	// Surplus is how much longer than needed the sound was held back. An
	// engine that can change the speed of sound shortens what it plays while
	// this is positive and stretches it while it is negative, and so never
	// sees a Drop.
	Surplus time.Duration
}

// Outcome says what became of a packet given to Put.
type Outcome uint8

const (
	Queued    Outcome = iota
	Late              // its time had passed
	Duplicate         // it was there already, or had been
	Rejected          // too long, or its sequence number is out of all order
)

// A Buffer is the jitter buffer of one stream. It is not safe for concurrent
// use. Make it with [New].
type Buffer struct {
	cfg   Config
	ring  ring
	seq   sequence
	delay delay

	playing bool  // false: waiting for the first packet, or the first after a pause
	next    int64 // sequence number that comes next; 0 = none yet
	play    int64 // its timestamp, if nothing is lost
	ahead   int64 // ticks invented since play
	dur     int64 // ticks of a packet, as last seen
	lastCut int64 // local time of the last Drop
	lateRun int   // packets dropped as late, one after the other
	stats   Stats
}

// New returns an empty buffer. Memory for packets is taken as they come.
func New(cfg Config) *Buffer {
	def := func(p *time.Duration, d time.Duration) {
		if *p <= 0 {
			*p = d
		}
	}
	cfg.ClockRate = max(cfg.ClockRate, 1000)
	def(&cfg.MinDelay, 20*time.Millisecond)
	def(&cfg.MaxDelay, 200*time.Millisecond)
	def(&cfg.StartDelay, 40*time.Millisecond)
	cfg.MaxDelay = max(cfg.MaxDelay, cfg.MinDelay)
	if cfg.MaxPackets <= 0 {
		cfg.MaxPackets = 256
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 64 << 10
	}
	b := &Buffer{cfg: cfg}
	b.Reset()
	return b
}

// Reset forgets the stream, for a new SSRC. Statistics start over as well.
func (b *Buffer) Reset() {
	b.ring.reset(b.cfg.MaxPackets, b.cfg.MaxBytes)
	b.seq = sequence{}
	b.delay.reset(&b.cfg)
	b.playing, b.next, b.play, b.ahead, b.lateRun = false, 0, 0, 0, 0
	b.dur = int64(b.cfg.ClockRate) / 50
	b.lastCut = -1 << 62
	b.stats = Stats{}
}

// Skip tells the buffer that a packet without sound bore this sequence number,
// such as a telephone-event, so that it does not count as lost.
func (b *Buffer) Skip(now time.Time, seq uint16, timestamp uint32) Outcome {
	return b.Put(now, Packet{Seq: seq, Timestamp: timestamp})
}

// Put takes a packet that arrived at now.
func (b *Buffer) Put(now time.Time, p Packet) Outcome {
	if len(p.Payload) > maxPayload {
		b.stats.Rejected++
		return Rejected
	}
	ext, verdict := b.seq.add(p.Seq)
	switch verdict {
	case seqOut:
		b.stats.Rejected++
		return Rejected
	case seqRestart:
		// RFC 3550 A.1: the source began anew without telling.
		b.stats.Dropped += uint64(b.ring.held)
		b.ring.clear()
		b.playing, b.next = false, 0
		b.delay.forget()
	case seqDuplicate:
		b.stats.Duplicates++
		return Duplicate
	case seqOld:
		b.stats.Reordered++
	}
	b.stats.Received++

	arrival := b.delay.ticks(now)
	if len(p.Payload) == 0 {
		return b.store(ext, p, 0)
	}
	ts := b.delay.arrived(arrival, p.Timestamp, verdict != seqOld, b.dur)
	if d := int64(p.Ticks); d > 0 && d <= b.maxTicks() {
		b.dur = d
	} else if before := b.ring.at(ext - 1); before != nil && len(before.payload) > 0 {
		// The neighbour's timestamp tells how long a packet is, if there was
		// no pause.
		if d := ts - before.ts; d > 0 && d <= b.maxTicks()/2 {
			b.dur = d
		}
	}
	return b.store(ext, p, ts)
}

// maxTicks is the longest packet believed in, 120 ms.
func (b *Buffer) maxTicks() int64 { return int64(b.cfg.ClockRate) * 120 / 1000 }

func (b *Buffer) store(ext int64, p Packet, ts int64) Outcome {
	if b.ring.at(ext) != nil {
		b.stats.Received--
		b.stats.Duplicates++
		return Duplicate
	}
	if b.next != 0 && ext < b.next {
		if b.playing || b.stats.Played > 0 {
			b.stats.Late++
			return Late
		}
		b.next = ext // still waiting for the first to play: this one is before it
	}
	if b.next == 0 {
		b.next = ext
	}
	before := b.ring.dropped
	b.next = b.ring.put(ext, b.next, slot{
		ts: ts, timestamp: p.Timestamp, ticks: p.Ticks, marker: p.Marker, payloadType: p.PayloadType,
	}, p.Payload)
	b.stats.Dropped += b.ring.dropped - before
	return Queued
}

// Get returns what to play at now. Each call other than one that returns Drop
// moves the stream on by Ticks.
func (b *Buffer) Get(now time.Time) Result {
	b.ring.release()
	t := b.delay.ticks(now)
	for {
		seq, head := b.ring.first(b.next)
		switch {
		case head == nil:
			return b.underrun()
		case len(head.payload) == 0:
			b.consume(seq) // no sound; whatever was lost before it is silence
			continue
		}
		if b.tooLate(t, seq, head) {
			b.stats.Late++
			at := b.play + b.ahead
			b.play = head.ts + b.length(head)
			b.ahead = max(0, at-b.play)
			b.consume(seq)
			continue
		}
		if r, waiting := b.wait(t, seq, head); waiting {
			return r
		}
		return b.deliver(t, seq, head)
	}
}

// length is how long the packet lasts, as far as we know.
func (b *Buffer) length(s *slot) int64 {
	if d := int64(s.ticks); d > 0 && d <= b.maxTicks() {
		return d
	}
	return b.dur
}

// invented counts sound that is not the peer's.
func (b *Buffer) invented(kind Kind, ticks int64) Result {
	b.ahead += ticks
	if kind == Lost {
		b.stats.Concealed++
	}
	return Result{Kind: kind, Ticks: uint32(ticks)}
}

// underrun is a Get with no packet there. Whether the next is lost, late or
// not yet spoken cannot be known: the sound goes on for a while, then it is a
// pause, and the next packet starts anew at the target delay.
func (b *Buffer) underrun() Result {
	if !b.playing {
		return b.invented(Empty, b.dur)
	}
	if b.ahead == 0 {
		b.stats.Underruns++
	}
	if b.ahead >= b.maxTicks() {
		b.playing = false
		return b.invented(Empty, b.dur)
	}
	return b.invented(Lost, b.dur)
}

// tooLate decides about a packet that arrived after its sound was concealed,
// or that a stall in the network or in our own calls of Get has left behind.
func (b *Buffer) tooLate(t, seq int64, head *slot) bool {
	held := b.delay.heldBack(t, head.ts)
	_, behind := b.ring.first(seq + 1)
	switch {
	case behind != nil && held > b.delay.max+2*b.dur:
		return true
	case !b.playing:
		// The beginning of speech is worth being late, unless there is more
		// already behind it.
		return behind != nil && held > b.delay.target()+2*b.dur
	case head.ts-b.play-b.ahead >= -b.dur/2 || held <= b.delay.target()+b.dur/2:
		// In time; or it can be played, and everything after it later than
		// before, and still that is no later than the target asks.
		return false
	case behind == nil && b.lateRun == maxLateRun:
		return false
	}
	b.lateRun++
	return true
}

// maxLateRun is how many packets in a row may be late, each alone. More mean
// that the measured delay is wrong, and that late sound is better than none.
const maxLateRun = 10

// wait says what to play while the packet at the head is not due.
func (b *Buffer) wait(t, seq int64, head *slot) (Result, bool) {
	gap := head.ts - b.play - b.ahead
	if b.playing && gap <= b.dur/2 {
		return Result{}, false
	}
	lost := (seq - b.next) * b.dur
	if b.playing && b.ahead+b.dur/2 < lost {
		// Packets are missing, and their time is now.
		n := b.dur
		var next []byte
		if gap <= b.dur*3/2 {
			n, next = gap, head.payload
		}
		r := b.invented(Lost, n)
		r.Next = next
		return r, true
	}
	// A pause, or the start: from here on the delay is what we want it to be.
	// Half a packet early is nearer to that than half a packet late.
	b.playing = false
	if b.delay.heldBack(t, head.ts) >= b.delay.target()-b.dur/2 {
		return Result{}, false
	}
	return b.invented(Empty, b.dur), true
}

// deliver takes the packet at the head out.
func (b *Buffer) deliver(t, seq int64, head *slot) Result {
	surplus := b.delay.heldBack(t, head.ts) - b.delay.target()
	n := b.length(head)
	r := Result{
		Kind: Frame, Marker: head.marker, PayloadType: head.payloadType,
		Seq: uint16(seq), Timestamp: head.timestamp, Ticks: uint32(n), Payload: head.payload,
		Surplus: b.delay.duration(surplus),
	}
	b.stats.Lost += uint64(max(0, seq-b.next))
	b.lateRun = 0
	b.delay.current = surplus + b.delay.target()
	if b.playing && b.ring.held > 1 && b.mayCut(t, surplus) {
		r.Kind = Drop
		b.lastCut = t
		b.stats.Dropped++
	} else {
		b.stats.Played++
	}
	b.playing = true
	b.play, b.ahead = head.ts+n, 0
	b.ring.lend(seq)
	b.next = seq + 1
	return r
}

// mayCut reports whether the delay is so much above its target that a packet
// should go, and the last one that went is long enough ago not to be heard
// together with it.
func (b *Buffer) mayCut(t, surplus int64) bool {
	rate := int64(b.cfg.ClockRate)
	return surplus > rate*60/1000+b.dur && t-b.lastCut >= rate/5
}

// consume takes a packet out without playing it.
func (b *Buffer) consume(seq int64) {
	b.stats.Lost += uint64(max(0, seq-b.next))
	b.ring.free(seq)
	b.next = seq + 1
}

// Buffered returns how many packets are held.
func (b *Buffer) Buffered() int { return b.ring.held }
