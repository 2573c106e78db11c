package media

import "time"

// maxDropout is the gap in sequence numbers that is still loss; beyond it the
// source has begun anew (RFC 3550 appendix A.1).
const maxDropout = 3000

// accounting is what RTCP reports about a received source (RFC 3550 §6.4.1,
// appendices A.1, A.3 and A.8).
type accounting struct {
	base     uint32 // extended number of the first packet
	highest  uint32 // extended number
	received uint64 // of this source, with duplicates
	packets  uint64 // of all sources so far
	bytes    uint64

	jitter    float64 // in units of clock
	clock     int
	timed     bool
	before    time.Time // arrival and timestamp of the packet before
	lastTS    uint32
	expectedP uint32 // at the last report
	receivedP uint64
}

// begin starts with a new source.
func (a *accounting) begin(seq uint16) {
	*a = accounting{
		base: uint32(seq), highest: uint32(seq),
		packets: a.packets, bytes: a.bytes, clock: a.clock,
	}
}

// packet counts a packet. clock is 0 for one whose timestamp says nothing
// about when it was sent.
func (a *accounting) packet(h *header, at time.Time, clock int) {
	a.received++
	a.packets++
	a.bytes += uint64(h.size)
	switch d := int16(h.seq - uint16(a.highest)); {
	case d > 0 && d < maxDropout:
		a.highest += uint32(d)
	case d >= maxDropout, d < -maxDropout:
		a.base, a.highest, a.received = uint32(h.seq), uint32(h.seq), 1
		a.expectedP, a.receivedP = 0, 0
		a.timed = false
	}
	if clock == 0 {
		return
	}
	if !a.timed || clock != a.clock {
		a.clock, a.before, a.timed, a.lastTS = clock, at, true, h.ts
		return
	}
	if h.ts == a.lastTS {
		return // not a packet of its own, as video's are
	}
	// The difference of transit between this packet and the one before.
	d := int64(at.Sub(a.before))*int64(clock)/int64(time.Second) - int64(int32(h.ts-a.lastTS))
	a.before, a.lastTS = at, h.ts
	if d < 0 {
		d = -d
	}
	if d < int64(clock) { // more than a second is a pause or a new beginning
		a.jitter += (float64(d) - a.jitter) / 16
	}
}

// expected is how many packets the sequence numbers mean.
func (a *accounting) expected() uint32 {
	if a.received == 0 {
		return 0
	}
	return a.highest - a.base + 1
}

// lost is the cumulative number of packets lost, within the 24 bits of a
// report. Duplicates can make it negative.
func (a *accounting) lost() int32 {
	return int32(max(-1<<23, min(int64(a.expected())-int64(a.received), 1<<23-1)))
}

// interval returns the fraction lost since the last call, in 256ths.
func (a *accounting) interval() uint8 {
	expected, received := a.expected()-a.expectedP, a.received-a.receivedP
	a.expectedP, a.receivedP = a.expected(), a.received
	lost := int64(expected) - int64(received)
	if expected == 0 || lost <= 0 {
		return 0
	}
	return uint8(min(lost*256/int64(expected), 255))
}

func (a *accounting) jitterTime() time.Duration {
	if a.clock == 0 {
		return 0
	}
	return time.Duration(a.jitter * float64(time.Second) / float64(a.clock))
}
