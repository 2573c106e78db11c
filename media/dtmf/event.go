// Package dtmf sends and receives key presses as RTP telephone-events
// (RFC 4733): the payload, a sender and a receiver. Neither has a clock or a
// socket; times are arguments.
package dtmf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hoorn-phone/hoorn/media/codec"
)

// ErrPayload is wrapped by errors for payloads that are no telephone-event.
var ErrPayload = errors.New("dtmf: malformed telephone-event")

// ErrDigit is wrapped by errors for characters that are no key.
var ErrDigit = errors.New("dtmf: not a key")

// ErrEvents is wrapped by errors for a list of events that makes no sense.
var ErrEvents = errors.New("dtmf: malformed list of events")

// Flash is the event of a hook flash (RFC 4733 §7, IANA registry).
const Flash = 16

// An Event is the content of a telephone-event payload (RFC 4733 §2.3).
type Event struct {
	Code     uint8  // 0 to 9, 10 for *, 11 for #, 12 to 15 for A to D
	End      bool   // the event is over
	Volume   uint8  // power of the tone in -dBm0, 0 to 63
	Duration uint16 // since the packet's timestamp, in its units
}

// PayloadSize is the length of the payload that [Event.Append] writes.
const PayloadSize = 4

// Parse reads a payload. Bytes after the event are ignored.
func Parse(payload []byte) (Event, error) {
	if len(payload) < PayloadSize {
		return Event{}, fmt.Errorf("%w: %d bytes", ErrPayload, len(payload))
	}
	return Event{
		Code:     payload[0],
		End:      payload[1]&0x80 != 0,
		Volume:   payload[1] & 0x3f, // the bit between is reserved and ignored
		Duration: binary.BigEndian.Uint16(payload[2:]),
	}, nil
}

// Append appends the payload to dst.
func (e Event) Append(dst []byte) []byte {
	b := min(e.Volume, 63)
	if e.End {
		b |= 0x80
	}
	return append(dst, e.Code, b, byte(e.Duration>>8), byte(e.Duration))
}

const keys = "0123456789*#ABCD"

// CodeOf returns the event code of a key: 0-9, *, #, A-D or a-d.
func CodeOf(key byte) (code uint8, ok bool) {
	if key >= 'a' && key <= 'd' {
		key -= 'a' - 'A'
	}
	i := strings.IndexByte(keys, key)
	return uint8(max(i, 0)), i >= 0
}

// KeyOf returns the key of an event code, or 0 for events that are none.
func KeyOf(code uint8) byte {
	if int(code) < len(keys) {
		return keys[code]
	}
	return 0
}

// Events is a set of event codes, as the a=fmtp of a telephone-event lists
// them.
type Events [4]uint64

// Keys is the set of the sixteen keys, which is also what a peer means that
// sends no list (RFC 4733 §2.4.1).
var Keys = Events{0xffff}

// Has reports whether code is in the set.
func (e Events) Has(code uint8) bool { return e[code>>6]&(1<<(code&63)) != 0 }

// And returns the events in both sets.
func (e Events) And(other Events) Events {
	for i := range e {
		e[i] &= other[i]
	}
	return e
}

// ParseEvents reads a list of events from an a=fmtp: "0-15,66,70" (RFC 4733
// §2.4.1). An empty list is [Keys]. The error wraps [ErrEvents].
func ParseEvents(fmtp string) (Events, error) {
	f, err := codec.ParseFmtp(fmtp)
	if err != nil {
		return Events{}, fmt.Errorf("%w: %w", ErrEvents, err)
	}
	list, stated := f.Get("events") // the media type parameter's own name
	for _, p := range f {
		if p.Name == "" {
			list, stated = p.Value, true
			break
		}
	}
	if !stated {
		return Keys, nil
	}
	var e Events
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		lo, err := strconv.ParseUint(strings.TrimSpace(first), 10, 8)
		hi := lo
		if err == nil && isRange {
			hi, err = strconv.ParseUint(strings.TrimSpace(last), 10, 8)
		}
		if err != nil || hi < lo {
			return Events{}, fmt.Errorf("%w: %q", ErrEvents, part)
		}
		for code := lo; code <= hi; code++ {
			e[code>>6] |= 1 << (code & 63)
		}
	}
	return e, nil
}

// String writes the set as an a=fmtp list.
func (e Events) String() string {
	var b strings.Builder
	for code := 0; code < 256; code++ {
		if !e.Has(uint8(code)) {
			continue
		}
		first := code
		for code < 255 && e.Has(uint8(code+1)) {
			code++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(first))
		if code > first {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(code))
		}
	}
	return b.String()
}
