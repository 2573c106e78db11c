package dtmf

import "time"

// Defaults of [ReceiverConfig].
const (
	defaultMin     = 20 * time.Millisecond
	defaultTimeout = 300 * time.Millisecond
)

// ReceiverConfig sets how a [Receiver] receives.
type ReceiverConfig struct {
	ClockRate int // of the telephone-event payload type: 8000 or 48000; 0 = 8000

	// MinTone is the least duration of a key; shorter ones are taken for
	// glitches. 0 = 20 ms, negative = none.
	MinTone time.Duration

	// Timeout is how long after its last packet a key counts as released when
	// all its final packets were lost; 0 = 300 ms.
	Timeout time.Duration
}

// A Report says that a key went down or came up.
type Report struct {
	Code     uint8 // of the event; KeyOf gives the character
	Down     bool  // the key went down; else it came up again
	Volume   uint8 // in -dBm0
	Duration time.Duration
	Lost     bool // came up: no final packet came, Duration is what is known
}

// A Receiver turns the packets of telephone-events into key presses, each
// reported once however often its packets arrive. It is not safe for
// concurrent use.
type Receiver struct {
	rate    int64
	min     int64 // ticks
	timeout time.Duration

	known  bool
	code   uint8
	volume uint8
	start  uint32 // timestamp of the event, or of its current segment
	before int64  // ticks in segments that are over
	told   int64  // ticks in the current segment
	down   bool   // reported as down
	over   bool   // nothing more to report about it
	last   time.Time
}

// NewReceiver returns a Receiver.
func NewReceiver(cfg ReceiverConfig) *Receiver {
	if cfg.ClockRate <= 0 {
		cfg.ClockRate = 8000
	}
	if cfg.MinTone == 0 {
		cfg.MinTone = defaultMin
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	r := &Receiver{rate: int64(cfg.ClockRate), timeout: cfg.Timeout}
	r.min = max(0, int64(cfg.MinTone)) / 1000 * r.rate / 1000000
	return r
}

// Reset forgets the event in progress, for a new source.
func (r *Receiver) Reset() { r.known, r.down, r.over = false, false, false }

// Packet takes a payload that arrived at now with RTP timestamp ts. It appends
// what there is to report, at most three reports, to dst. The error wraps
// [ErrPayload].
func (r *Receiver) Packet(dst []Report, now time.Time, ts uint32, payload []byte) ([]Report, error) {
	e, err := Parse(payload)
	if err != nil {
		return dst, err
	}
	fresh := now.Sub(r.last) < time.Second
	switch {
	case !r.known:
		r.begin(e.Code, ts)
	case r.over && r.continues(e, ts):
		if fresh {
			return dst, nil // a copy of the final packet
		}
		r.begin(e.Code, ts) // some peers use one timestamp for all
	case r.continues(e, ts):
		if ts != r.start { // RFC 4733 §2.5.1.3: the next segment
			r.before += 0xffff
			r.start, r.told = ts, 0
		}
	case int32(ts-r.start) < 0 && fresh:
		// A late packet of an event before this one, or of a segment that is
		// over. Long after, the peer has set its clock anew instead.
		return dst, nil
	default:
		// A new event: the one before is over, whether its end came or not.
		dst = r.conclude(dst, true)
		r.begin(e.Code, ts)
	}
	r.last = now
	r.volume = e.Volume
	r.told = max(r.told, int64(e.Duration)) // packets may change order
	if !r.down && r.before+r.told >= r.min {
		r.down = true
		dst = append(dst, r.report(true))
	}
	if e.End {
		dst = r.conclude(dst, false)
	}
	return dst, nil
}

// continues reports whether the packet is about the event in progress.
func (r *Receiver) continues(e Event, ts uint32) bool {
	if e.Code != r.code {
		return false
	}
	return ts == r.start || !r.over && ts == r.start+0xffff
}

func (r *Receiver) begin(code uint8, ts uint32) {
	r.known, r.code, r.start = true, code, ts
	r.before, r.told, r.down, r.over = 0, 0, false, false
}

func (r *Receiver) report(down bool) Report {
	return Report{
		Code: r.code, Down: down, Volume: r.volume,
		Duration: time.Duration((r.before + r.told) * 1000000 / r.rate * 1000),
	}
}

// conclude reports the event in progress as over, if it was ever reported.
func (r *Receiver) conclude(dst []Report, lost bool) []Report {
	if r.down && !r.over {
		rep := r.report(false)
		rep.Lost = lost
		dst = append(dst, rep)
	}
	r.over = true
	return dst
}

// Deadline returns when [Receiver.Advance] should be called next, if at all.
func (r *Receiver) Deadline() (at time.Time, ok bool) {
	return r.last.Add(r.timeout), r.known && !r.over
}

// Advance ends an event whose packets stopped without a final one.
func (r *Receiver) Advance(dst []Report, now time.Time) []Report {
	if at, ok := r.Deadline(); ok && !now.Before(at) {
		dst = r.conclude(dst, true)
	}
	return dst
}
