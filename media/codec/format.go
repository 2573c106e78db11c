package codec

import (
	"strconv"
	"strings"
	"time"
)

// A Format is how a codec appears in SDP (RFC 8866 §6.6, §6.15).
type Format struct {
	Name        string // encoding name, compared without regard to case
	ClockRate   int    // of RTP timestamps, in Hz
	Channels    int    // as in a=rtpmap; 0 and 1 both mean one
	PayloadType int    // the static type (RFC 3551 §6), or [Dynamic]
	Fmtp        string // the parameters in our offer; "" = none
}

// Dynamic is the PayloadType of a format whose type is agreed per session.
const Dynamic = -1

// DefaultPTime is the packet time when nobody asks for another (RFC 3551 §4.2).
const DefaultPTime = 20 * time.Millisecond

// Rtpmap returns the format as the value of an a=rtpmap, without the payload
// type: "PCMU/8000", "opus/48000/2".
func (f Format) Rtpmap() string {
	s := f.Name + "/" + strconv.Itoa(f.ClockRate)
	if f.Channels > 1 {
		s += "/" + strconv.Itoa(f.Channels)
	}
	return s
}

// Is reports whether an rtpmap with this name, rate and number of channels
// means this format. Names compare without case (RFC 4855 §3), and an absent
// channel count (0) is one channel.
func (f Format) Is(name string, clockRate, channels int) bool {
	return strings.EqualFold(f.Name, name) && f.ClockRate == clockRate &&
		max(f.Channels, 1) == max(channels, 1)
}

// Ticks returns how far the RTP timestamp moves in d.
func (f Format) Ticks(d time.Duration) uint32 {
	return uint32(scale(int64(d), int64(f.ClockRate), int64(time.Second)))
}

// Duration returns the time that a number of RTP timestamp units takes.
func (f Format) Duration(ticks uint32) time.Duration {
	if f.ClockRate <= 0 {
		return 0
	}
	return time.Duration(scale(int64(ticks), int64(time.Second), int64(f.ClockRate)))
}

// Samples returns the PCM samples of c in d.
func Samples(c Codec, d time.Duration) int {
	return int(scale(int64(d), int64(c.SampleRate()), int64(time.Second)))
}

// SamplesToTicks converts a number of PCM samples of c to RTP timestamp units.
func SamplesToTicks(c Codec, samples int) uint32 {
	return uint32(scale(int64(samples), int64(c.Format().ClockRate), int64(c.SampleRate())))
}

// TicksToSamples converts RTP timestamp units to PCM samples of c.
func TicksToSamples(c Codec, ticks uint32) int {
	return int(scale(int64(ticks), int64(c.SampleRate()), int64(c.Format().ClockRate)))
}

// scale returns v*num/den rounded down, without overflow for any v whose
// result fits, and 0 where the quotient has no meaning.
func scale(v, num, den int64) int64 {
	if v <= 0 || num <= 0 || den <= 0 {
		return 0
	}
	return v/den*num + v%den*num/den
}

// PTime returns the packet time that c should use when asked is wished for,
// by a local setting or by the peer's a=ptime: what c says if it is a
// [PTimer], else asked rounded down to whole tens of milliseconds within 10
// and 60 ms. Zero asks for [DefaultPTime].
func PTime(c Codec, asked time.Duration) time.Duration {
	if asked <= 0 {
		asked = DefaultPTime
	}
	if p, ok := c.(PTimer); ok {
		return p.PTime(asked)
	}
	const step = 10 * time.Millisecond
	return min(max(asked/step*step, step), 6*step)
}

// FrameTime returns the packet time of p, with the default for zero.
func (p Params) FrameTime() time.Duration {
	if p.PTime <= 0 {
		return DefaultPTime
	}
	return p.PTime
}
