// Package opus is the Opus codec (RFC 6716) in RTP (RFC 7587), in pure Go.
//
// It sends mono and mixes what it receives down to mono. In-band forward error
// correction, discontinuous transmission, constant bitrate, and the limits
// that a peer states in its a=fmtp are honoured in both directions: each side's
// parameters say what it would like to receive (RFC 7587 §7).
package opus

import (
	"fmt"
	"strconv"
	"time"

	"github.com/thesyncim/gopus"

	"github.com/hoorn-phone/hoorn/media/codec"
)

// Config chooses how this side speaks and what it asks of its peers.
type Config struct {
	// SampleRate of the PCM in Hz: 8000, 16000, 24000 or 48000; 0 = 16000.
	// It bounds the audio bandwidth both ways; it does not show in the
	// rtpmap, which is opus/48000/2 for all (RFC 7587 §7).
	SampleRate int

	// NoFEC asks peers to send no in-band forward error correction, and sends
	// none. Otherwise we ask for it, and send it to those that ask once there
	// is loss to guard against ([codec.LossAdapter]).
	NoFEC bool

	// DTX asks peers to send next to nothing during silence. Whether we do so
	// is for the peer to say, in its own usedtx.
	DTX bool

	// CBR asks peers for a constant bitrate: with SRTP, packet lengths tell
	// nothing then about what is said (RFC 6562).
	CBR bool

	// MaxAverageBitrate is the bit/s that we ask peers not to exceed, 6000 to
	// 510000; 0 = as they like.
	MaxAverageBitrate int
}

// Limits of maxaveragebitrate (RFC 7587 §6.1).
const (
	minBitrate = 6000
	maxBitrate = 510000
)

// New returns the codec for cfg, nil for the defaults. The error wraps
// [codec.ErrParams].
func New(cfg *Config) (codec.Codec, error) {
	c := Config{}
	if cfg != nil {
		c = *cfg
	}
	switch c.SampleRate {
	case 0:
		c.SampleRate = 16000
	case 8000, 16000, 24000, 48000:
	default:
		return nil, fmt.Errorf("%w: opus at %d Hz", codec.ErrParams, c.SampleRate)
	}
	if b := c.MaxAverageBitrate; b != 0 && (b < minBitrate || b > maxBitrate) {
		return nil, fmt.Errorf("%w: maxaveragebitrate %d", codec.ErrParams, b)
	}
	return &opus{c, c.fmtp()}, nil
}

// Opus returns the codec with the default [Config].
func Opus() codec.Codec {
	c := Config{SampleRate: 16000}
	return &opus{c, c.fmtp()}
}

// fmtp writes what cfg asks of a peer (RFC 7587 §6.1). Defaults go unsaid.
func (cfg *Config) fmtp() string {
	var f codec.Fmtp
	add := func(name string, value int) {
		f = append(f, codec.FmtpParam{Name: name, Value: strconv.Itoa(value)})
	}
	if cfg.SampleRate < 48000 {
		add("maxplaybackrate", cfg.SampleRate)
		add("sprop-maxcapturerate", cfg.SampleRate)
	}
	if cfg.MaxAverageBitrate > 0 {
		add("maxaveragebitrate", cfg.MaxAverageBitrate)
	}
	if cfg.CBR {
		add("cbr", 1)
	}
	if !cfg.NoFEC {
		add("useinbandfec", 1)
	}
	if cfg.DTX {
		add("usedtx", 1)
	}
	return f.String()
}

type opus struct {
	cfg  Config
	fmtp string
}

func (o *opus) Format() codec.Format {
	return codec.Format{Name: "opus", ClockRate: 48000, Channels: 2, PayloadType: codec.Dynamic, Fmtp: o.fmtp}
}

func (o *opus) SampleRate() int { return o.cfg.SampleRate }

// Negotiate accepts whatever the peer asks: every parameter is about one
// direction and none makes two sides incompatible (RFC 7587 §7.1).
func (o *opus) Negotiate(string) (string, bool) { return o.fmtp, true }

// PTime rounds down to what an Opus packet of ours can hold: 10, 20, 40 or 60
// ms (RFC 6716 §2.1.4; shorter frames would give up the speech coder).
func (o *opus) PTime(asked time.Duration) time.Duration {
	for _, ms := range []time.Duration{60, 40, 20} {
		if asked >= ms*time.Millisecond {
			return ms * time.Millisecond
		}
	}
	return 10 * time.Millisecond
}

func (o *opus) PayloadSamples(payload []byte) int {
	return packetSamples(payload, o.cfg.SampleRate)
}

// wishes is what a peer's a=fmtp asks of our encoder.
type wishes struct {
	fec, dtx, cbr bool
	bitrate       int             // maxaveragebitrate, 0 = unlimited
	bandwidth     gopus.Bandwidth // from maxplaybackrate
}

// readWishes never fails: a parameter that makes no sense counts as absent.
func readWishes(fmtp string) wishes {
	f, err := codec.ParseFmtp(fmtp)
	if err != nil {
		return wishes{bandwidth: gopus.BandwidthFullband}
	}
	w := wishes{fec: f.Bool("useinbandfec"), dtx: f.Bool("usedtx"), cbr: f.Bool("cbr")}
	if b, err := f.Int("maxaveragebitrate", 0, minBitrate, 1<<30); err == nil && b > 0 {
		w.bitrate = min(b, maxBitrate)
	}
	rate, _ := f.Int("maxplaybackrate", 48000, 1, 1<<30)
	switch {
	case rate <= 8000:
		w.bandwidth = gopus.BandwidthNarrowband
	case rate <= 12000:
		w.bandwidth = gopus.BandwidthMediumband
	case rate <= 16000:
		w.bandwidth = gopus.BandwidthWideband
	case rate <= 24000:
		w.bandwidth = gopus.BandwidthSuperwideband
	default:
		w.bandwidth = gopus.BandwidthFullband
	}
	return w
}

// defaultBitrate is the upper end of what RFC 7587 §3.1.1 calls the sweet spot
// for mono speech at 20 ms, with room for error correction.
func defaultBitrate(rate int) int {
	switch rate {
	case 8000:
		return 16000
	case 16000:
		return 24000
	case 24000:
		return 32000
	default:
		return 40000
	}
}
