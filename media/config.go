package media

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/opus"
)

// SRTPPolicy says when streams are encrypted. Keys travel in the SDP
// (RFC 4568), so they are as secret as the signalling.
type SRTPPolicy int

// The policies.
const (
	// SRTPAuto is SRTPRequired where the signalling is encrypted, and SRTPOff
	// where it is not: keys in the clear protect from nobody.
	SRTPAuto SRTPPolicy = iota
	// SRTPRequired offers RTP/SAVP only, and fails the call with
	// [ErrNotSecure] rather than to go on without encryption.
	SRTPRequired
	// SRTPOptional offers RTP/AVP with keys (RFC 8643) and takes what the peer
	// prefers. What began encrypted stays so.
	SRTPOptional
	// SRTPOff offers no keys, and refuses a peer that demands encryption.
	SRTPOff
)

func (p SRTPPolicy) String() string {
	switch p {
	case SRTPAuto:
		return "auto"
	case SRTPRequired:
		return "required"
	case SRTPOptional:
		return "optional"
	case SRTPOff:
		return "off"
	}
	return "SRTPPolicy(" + strconv.Itoa(int(p)) + ")"
}

// Defaults of a [Config].
const (
	DefaultRTCPInterval = 5 * time.Second // RFC 3550 §6.2
	DefaultRTPTimeout   = 30 * time.Second
)

// Config says what an engine does. The zero value is a softphone's. It must
// not change once given to [NewEngine].
type Config struct {
	// Codecs in order of preference. Nil is Opus, G.722, PCMU, PCMA.
	Codecs []codec.Codec

	// SRTP says when media are encrypted. The zero value is [SRTPAuto].
	SRTP SRTPPolicy

	// Suites are the names of the SRTP crypto suites to offer and accept, in
	// order of preference, as registered: "AEAD_AES_128_GCM". Nil is every one
	// this package knows but AES_256_CM_HMAC_SHA1_32: the two AEAD_AES_…_GCM
	// (RFC 7714), AES_256_CM_HMAC_SHA1_80 (RFC 6188),
	// AES_CM_128_HMAC_SHA1_80 and _32 (RFC 4568).
	Suites []string

	// PTime is the time that we would like in each packet, 10 to 60 ms in
	// whole tens. 0 is 20 ms. The peer's wish decides about what we send.
	PTime time.Duration

	// RTCPInterval is the mean time between reports, at least a second. Each
	// is randomised by half (RFC 3550 §6.2). 0 is 5 s.
	RTCPInterval time.Duration

	// RTPTimeout is how long the peer may be silent, while it should send,
	// before the call is told. 0 is 30 s, negative is never. RTCP counts as a
	// sign of life.
	RTPTimeout time.Duration

	// MinPort and MaxPort bound the local UDP ports; a session takes an even
	// one and the odd one after it (RFC 3550 §11). 0 and 0 is any that the
	// system gives.
	MinPort, MaxPort uint16

	// Local is the address to receive on when the call does not know one. The
	// zero value lets the system's routes decide.
	Local netip.Addr

	// ListenPacket opens a UDP socket ("udp4" or "udp6" and "IP:port"). Nil is
	// [net.ListenConfig]. A [*net.UDPConn] is read without a goroutine where
	// the system allows it; anything else is read by one.
	ListenPacket func(ctx context.Context, network, addr string) (net.PacketConn, error)

	// Rand gives keys, sources and sequence numbers. Nil is [rand.Reader];
	// anything else is for tests.
	Rand io.Reader

	// Logger hears about what goes wrong. Nil is silence. Keys are never
	// logged.
	Logger *slog.Logger

	// Pacers is how many goroutines share the sessions, 0 for one per CPU
	// that Go uses.
	Pacers int

	// NoDTMF, NoCN and NoRTCPMux leave telephone-event, comfort noise and the
	// multiplexing of RTCP with RTP (RFC 5761) out of what is offered and
	// accepted.
	NoDTMF, NoCN, NoRTCPMux bool

	// PreferOwnCodecs orders answers by our preference rather than the peer's.
	PreferOwnCodecs bool

	// StrictSource takes unencrypted packets from the address in the peer's
	// description alone. Without it, a peer that is behind a NAT is found by
	// its packets; see the package documentation under "Addresses".
	StrictSource bool
}

// complete fills in the defaults and checks the rest.
func (c *Config) complete() error {
	if c.Codecs == nil {
		c.Codecs = []codec.Codec{opus.Opus(), g722.G722(), g711.PCMU(), g711.PCMA()}
	}
	if c.SRTP < SRTPAuto || c.SRTP > SRTPOff {
		return fmt.Errorf("media: %v", c.SRTP)
	}
	if c.PTime == 0 {
		c.PTime = codec.DefaultPTime
	}
	if c.PTime < 10*time.Millisecond || c.PTime > 60*time.Millisecond || c.PTime%(10*time.Millisecond) != 0 {
		return fmt.Errorf("media: a packet time of %v", c.PTime)
	}
	if c.RTCPInterval == 0 {
		c.RTCPInterval = DefaultRTCPInterval
	}
	if c.RTCPInterval < time.Second {
		return fmt.Errorf("media: an RTCP interval of %v", c.RTCPInterval)
	}
	if c.RTPTimeout == 0 {
		c.RTPTimeout = DefaultRTPTimeout
	}
	if (c.MinPort == 0) != (c.MaxPort == 0) || c.MaxPort < c.MinPort || c.MinPort != 0 && c.MaxPort-c.MinPort < 1 {
		return fmt.Errorf("media: ports from %d to %d", c.MinPort, c.MaxPort)
	}
	if c.ListenPacket == nil {
		c.ListenPacket = new(net.ListenConfig).ListenPacket
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	} else {
		c.Rand = &lockedReader{r: c.Rand}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Pacers == 0 {
		c.Pacers = runtime.GOMAXPROCS(0)
	}
	if c.Pacers < 0 || c.Pacers > 1024 {
		return fmt.Errorf("media: %d pacers", c.Pacers)
	}
	_, err := negotiate.New(c.negotiation(true)) // what cannot stand in SDP
	if err != nil {
		return err
	}
	_, err = c.suites()
	return err
}

func (c *Config) suites() ([]sdes.Suite, error) {
	if c.Suites == nil {
		return nil, nil
	}
	out := make([]sdes.Suite, 0, len(c.Suites))
	for _, name := range c.Suites {
		s, ok := sdes.ParseSuite(name)
		if !ok {
			return nil, fmt.Errorf("media: unknown crypto suite %q", name)
		}
		out = append(out, s)
	}
	return out, nil
}

// negotiation is what one call negotiates with.
func (c *Config) negotiation(secure bool) negotiate.Config {
	p := negotiate.Off
	switch {
	case c.SRTP == SRTPRequired, c.SRTP == SRTPAuto && secure:
		p = negotiate.Required
	case c.SRTP == SRTPOptional:
		p = negotiate.Optional
	}
	suites, _ := c.suites() // checked by complete
	return negotiate.Config{
		Codecs: c.Codecs, DTMF: !c.NoDTMF, CN: !c.NoCN, Policy: p, Suites: suites,
		PTime: c.PTime, RTCPMux: !c.NoRTCPMux, PreferOwn: c.PreferOwnCodecs,
		MaxStreams: 1, Username: "hoorn", Rand: c.Rand,
	}
}

// lockedReader makes a source of randomness safe for concurrent use.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
