package jitter

import "time"

// sequence extends 16-bit sequence numbers and judges them (RFC 3550 A.1).
type sequence struct {
	known bool
	base  int64  // the first, or the first after a restart
	prior uint64 // packets expected before the last restart
	high  int64  // the highest
	seen  uint64 // bit n: high-n has come
	bad   uint16 // a number out of order; the next one after it is a restart
	isBad bool
}

type verdict uint8

const (
	seqNew       verdict = iota // the highest so far
	seqOld                      // lower than one that came before, for the first time
	seqDuplicate                // came before
	seqOut                      // too far away to belong here
	seqRestart                  // the source began a new sequence
)

// RFC 3550 A.1: larger steps are a restart, if they happen twice in a row.
const (
	maxDropout  = 3000
	maxMisorder = 100
)

// add returns the extended number, which is never 0, and what it means.
func (s *sequence) add(seq uint16) (int64, verdict) {
	if !s.known {
		*s = sequence{known: true, base: 1<<16 + int64(seq), high: 1<<16 + int64(seq), seen: 1}
		return s.high, seqNew
	}
	step := int64(int16(seq - uint16(s.high)))
	switch ext := s.high + step; {
	case step > maxDropout || step < -maxMisorder:
		if s.isBad && s.bad == seq {
			// Go on above everything seen, so that numbers never fall.
			high := (s.high>>16+2)<<16 + int64(seq)
			*s = sequence{known: true, base: high, high: high, seen: 1, prior: s.expected()}
			return high, seqRestart
		}
		s.bad, s.isBad = seq+1, true
		return ext, seqOut
	case step > 0:
		s.isBad = false
		s.high = ext
		s.seen = s.seen<<step | 1 // a shift by 64 or more leaves nothing, as it should
		return ext, seqNew
	case -step < 64 && s.seen&(1<<-step) != 0:
		return ext, seqDuplicate
	case ext < 1:
		return ext, seqOut
	default:
		if -step < 64 {
			s.seen |= 1 << -step
		}
		s.base = min(s.base, ext)
		return ext, seqOld
	}
}

// expected returns how many packets were sent as far as their numbers tell
// (RFC 3550 A.3).
func (s *sequence) expected() uint64 {
	if !s.known {
		return 0
	}
	return s.prior + uint64(s.high-s.base+1)
}

// Stats is what happened to a stream since it began.
type Stats struct {
	Received   uint64 // packets, without duplicates
	Played     uint64
	Late       uint64 // came after their time
	Duplicates uint64
	Reordered  uint64 // came after a later one
	Rejected   uint64 // out of all order, or too long
	Dropped    uint64 // to shorten the delay, or to keep the limits
	Lost       uint64 // missing when their time came; some of them may be Late
	Concealed  uint64 // times that Get returned Lost
	Underruns  uint64 // times that there was nothing to play though no pause was known

	// HighestSeq is the extended highest sequence number, and Expected how
	// many packets it means were sent (RFC 3550 A.3).
	HighestSeq uint32
	Expected   uint64

	Jitter uint32        // interarrival jitter in timestamp units (RFC 3550 §6.4.1)
	Target time.Duration // how long the stream should be held back
	Delay  time.Duration // how long the last packet played was
}

// Stats returns the statistics.
func (b *Buffer) Stats() Stats {
	s := b.stats
	if b.seq.known {
		s.HighestSeq = uint32(b.seq.high - 1<<16)
		s.Expected = b.seq.expected()
	}
	s.Jitter = uint32(b.delay.jitter)
	s.Target = b.delay.duration(b.delay.target())
	s.Delay = b.delay.duration(b.delay.current)
	return s
}
