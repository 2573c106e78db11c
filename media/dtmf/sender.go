package dtmf

import (
	"errors"
	"fmt"
	"time"
)

// ErrFull is returned when more keys wait than a [Sender] keeps.
var ErrFull = errors.New("dtmf: too many keys wait to be sent")

const maxQueue = 128

// Defaults of [SenderConfig], well within what Q.24 asks of receivers.
const (
	defaultTone   = 120 * time.Millisecond
	defaultGap    = 80 * time.Millisecond
	defaultVolume = 10
	minTone       = 40 * time.Millisecond
)

// SenderConfig sets how a [Sender] sends.
type SenderConfig struct {
	ClockRate int           // of the telephone-event payload type: 8000 or 48000; 0 = 8000
	Tone      time.Duration // of keys queued without a duration; 0 = 120 ms, at least 40 ms
	Gap       time.Duration // least time between keys; 0 = 80 ms
	Volume    uint8         // in -dBm0, 1 to 63; 0 = 10
}

// A Sender makes the packets for key presses. The engine calls [Sender.Next]
// once per packet time; as long as there is a packet for a key it goes out
// instead of the sound. A Sender is not safe for concurrent use.
type Sender struct {
	rate      int64
	gap, tone int64 // in ticks, as are all times below
	least     int64
	volume    uint8
	queue     []press

	active   bool
	current  press
	start    uint32 // timestamp of the event, or of its current segment
	before   int64  // what lies in segments that are over
	reported int64  // duration that the last packet told, all segments together
	copies   int    // of the final packet, sent so far
	rest     int64  // silence still due before the next key
}

type press struct {
	code  uint8
	ticks int64 // <0: until Release
}

// NewSender returns a Sender, idle.
func NewSender(cfg SenderConfig) *Sender {
	if cfg.ClockRate <= 0 {
		cfg.ClockRate = 8000
	}
	if cfg.Tone <= 0 {
		cfg.Tone = defaultTone
	}
	if cfg.Gap <= 0 {
		cfg.Gap = defaultGap
	}
	if cfg.Volume == 0 {
		cfg.Volume = defaultVolume
	}
	s := &Sender{rate: int64(cfg.ClockRate), volume: min(cfg.Volume, 63)}
	s.tone, s.gap, s.least = s.ticks(max(cfg.Tone, minTone)), s.ticks(cfg.Gap), s.ticks(minTone)
	return s
}

func (s *Sender) ticks(d time.Duration) int64 {
	return d.Milliseconds() * s.rate / 1000
}

// Queue adds keys to be sent one after the other, each for the given time; 0
// means the configured one. A comma or a "p" is a pause of two seconds, as
// telephones have it. Either all keys are queued or none: the error wraps
// [ErrDigit] or is [ErrFull].
func (s *Sender) Queue(digits string, tone time.Duration) error {
	ticks := s.tone
	if tone > 0 {
		ticks = s.ticks(min(max(tone, minTone), time.Minute))
	}
	add := make([]press, 0, min(len(digits), maxQueue))
	for i := range len(digits) {
		if len(s.queue)+len(add) == maxQueue {
			return ErrFull
		}
		if c := digits[i]; c == ',' || c == 'p' {
			add = append(add, press{pause, s.ticks(2 * time.Second)})
			continue
		}
		code, ok := CodeOf(digits[i])
		if !ok {
			return fmt.Errorf("%w: %q", ErrDigit, digits[i])
		}
		add = append(add, press{code, ticks})
	}
	s.queue = append(s.queue, add...)
	return nil
}

const pause = 255 // in place of an event code

// Press starts a key that sounds until [Sender.Release], or for a minute. It
// waits for keys queued before. code may be any event, such as [Flash].
func (s *Sender) Press(code uint8) error {
	if len(s.queue) == maxQueue {
		return ErrFull
	}
	if code == pause {
		return fmt.Errorf("%w: event 255", ErrDigit) // reserved by RFC 4733 §7
	}
	s.queue = append(s.queue, press{code, -1})
	return nil
}

// Release ends the keys that were started with Press. One that has not sounded
// for 40 ms goes on until then.
func (s *Sender) Release() {
	for i := range s.queue {
		if s.queue[i].ticks < 0 {
			s.queue[i].ticks = s.least
		}
	}
	if s.current.ticks < 0 {
		s.current.ticks = max(s.least, s.reported)
	}
}

// Clear drops the keys that wait. One that sounds is ended properly.
func (s *Sender) Clear() {
	s.queue = s.queue[:0]
	if end := max(s.least, s.reported); s.current.ticks < 0 || s.current.ticks > end {
		s.current.ticks = end
	}
}

// Active reports whether a key sounds or waits.
func (s *Sender) Active() bool { return s.active || len(s.queue) > 0 }

// A Packet is what to put into an RTP packet.
type Packet struct {
	Timestamp uint32 // of the event's beginning, not of the moment
	Marker    bool
	Payload   [PayloadSize]byte
}

// Next returns the packet for the packet time that begins at RTP timestamp ts
// and lasts ticks. ok is false when sound should be sent. Timestamps run on
// through events; packets may be of any length.
func (s *Sender) Next(ts, ticks uint32) (p Packet, ok bool) {
	first := !s.active
	if first && !s.begin(ts, int64(ticks)) {
		return Packet{}, false
	}
	total := s.current.ticks
	if total < 0 {
		total = 60 * s.rate
	}
	if s.copies == 0 {
		// The packet goes out at the end of its time and reports all of it.
		s.reported = min(total, s.before+int64(ts+ticks-s.start))
	}
	e := Event{Code: s.current.code, Volume: s.volume}
	p = Packet{Timestamp: s.start, Marker: first} // RFC 4733 §2.5.1.1
	if s.reported-s.before > 0xffff {
		// §2.5.1.3: the longest duration without the E bit, and a new segment
		// from where it ends.
		e.Duration = 0xffff
		s.start += 0xffff
		s.before += 0xffff
		s.reported = s.before
	} else {
		e.Duration = uint16(s.reported - s.before)
		e.End = s.reported == total
	}
	e.Append(p.Payload[:0])
	if e.End {
		// §2.5.1.4: the last packet goes out three times.
		if s.copies++; s.copies == 3 {
			s.active = false
			s.rest = s.gap - int64(int32(ts+ticks-s.start-uint32(e.Duration)))
		}
	}
	return p, true
}

// begin takes the next key from the queue, unless a silence is due.
func (s *Sender) begin(ts uint32, ticks int64) bool {
	if s.rest > 0 {
		s.rest -= ticks
		return false
	}
	if len(s.queue) == 0 {
		return false
	}
	s.current = s.queue[0]
	s.queue = s.queue[:copy(s.queue, s.queue[1:])]
	if s.current.code == pause {
		s.rest = s.current.ticks - ticks
		s.current = press{}
		return false
	}
	s.active = true
	s.start, s.before, s.reported, s.copies = ts, 0, 0, 0
	return true
}
