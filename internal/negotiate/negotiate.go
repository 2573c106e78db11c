// Package negotiate is the offer/answer state of one call (RFC 3264): which
// streams, codecs, addresses, directions and SRTP keys were agreed with the
// peer of each dialog. It reads and writes SDP and knows no socket, no clock
// and no goroutine.
//
// A [Session] is the call. It makes the offer of the first INVITE, which all
// legs of a fork share, and a [Leg] for each dialog. A leg makes and takes
// further offers and answers; what came out of them is [Leg.Agreed].
//
// # Order of codecs
//
// An answer keeps the order of the offer, as RFC 3264 §6.1 recommends, unless
// [Config.PreferOwn] is set. It lists every codec both sides have, so the first
// one listed is the one that both send.
//
// # Keys
//
// A key of our own stays as it is over re-offers, so that the cryptographic
// context goes on (RFC 4568 §7.1.4). A fresh one is made when it is asked for
// ([offeranswer.Options]), when the suite changes, and when an offer brings a
// new key of the peer: behind a B2BUA that is likely a new peer, who cannot
// know how often our sequence numbers have rolled over.
//
// No type of this package is safe for concurrent use.
package negotiate

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Policy says when streams are encrypted.
type Policy int

// The policies.
const (
	// Required offers RTP/SAVP and accepts no stream without keys. An RTP/AVP
	// stream that comes with keys (RFC 8643) is encrypted and so accepted.
	Required Policy = iota
	// Optional offers RTP/AVP with keys (RFC 8643) and accepts everything,
	// but a stream that is encrypted already stays so.
	Optional
	// Off offers RTP/AVP without keys and refuses RTP/SAVP.
	Off
)

func (p Policy) String() string {
	switch p {
	case Required:
		return "required"
	case Optional:
		return "optional"
	case Off:
		return "off"
	}
	return fmt.Sprintf("Policy(%d)", int(p))
}

// Limits of a Config.
const (
	maxCodecs     = 32
	maxStreams    = 4
	maxConfigText = 64
)

// Config is what one end of a call wants. It must not change once in use.
type Config struct {
	// Codecs in order of preference. At least one, at most 32.
	Codecs []codec.Codec
	// DTMF offers telephone-event at the clock rate of each codec
	// (RFC 4733 §2.4.1).
	DTMF bool
	// CN offers comfort noise, payload type 13, next to codecs with a clock of
	// 8000 Hz (RFC 3389 §4).
	CN bool
	// Policy on encryption.
	Policy Policy
	// Suites in order of preference; nil is [sdes.Suites] without
	// AES_256_CM_HMAC_SHA1_32.
	Suites []sdes.Suite
	// PTime is the packet time that we like to receive, in whole milliseconds
	// up to a second. 0 is 20 ms.
	PTime time.Duration
	// MaxPTime is the longest packet time that we want to receive, 0 for no
	// such line.
	MaxPTime time.Duration
	// RTCPMux offers and accepts RTP and RTCP on one port (RFC 5761).
	RTCPMux bool
	// PreferOwn orders answers by our preference rather than the peer's.
	PreferOwn bool
	// MaxStreams is how many streams of a peer's offer are accepted, 0 for 4.
	// The rest is refused.
	MaxStreams int
	// Username and SessionName are what o= and s= say, "-" when empty. At most
	// 64 printable characters, the user name without spaces.
	Username, SessionName string
	// Rand gives keys and the session identifier; nil is crypto/rand.Reader.
	Rand io.Reader
}

func (c *Config) complete() error {
	switch {
	case len(c.Codecs) == 0 || len(c.Codecs) > maxCodecs:
		return fmt.Errorf("negotiate: %d codecs", len(c.Codecs))
	case c.Policy < Required || c.Policy > Off:
		return fmt.Errorf("negotiate: %v", c.Policy)
	case !millis(c.PTime) || !millis(c.MaxPTime):
		return errors.New("negotiate: packet times are whole milliseconds up to a second")
	case c.MaxStreams < 0:
		return errors.New("negotiate: negative MaxStreams")
	case !printable(c.Username, false) || !printable(c.SessionName, true):
		return errors.New("negotiate: Username or SessionName cannot stand in SDP")
	}
	for _, f := range c.Codecs {
		f := f.Format()
		if f.Name == "" || f.ClockRate <= 0 || f.PayloadType > 127 || !printable(f.Name, false) || !safeFmtp(f.Fmtp) {
			return fmt.Errorf("negotiate: codec %q cannot stand in SDP", f.Name)
		}
	}
	if c.Suites == nil {
		for _, s := range sdes.Suites() {
			if s != sdes.AES256CMHMACSHA1_32 {
				c.Suites = append(c.Suites, s)
			}
		}
	}
	for i, s := range c.Suites {
		if !s.Valid() {
			return fmt.Errorf("negotiate: %v", s)
		}
		for _, t := range c.Suites[:i] {
			if s == t {
				return fmt.Errorf("negotiate: suite %v twice", s)
			}
		}
	}
	if len(c.Suites) == 0 && c.Policy == Required {
		return errors.New("negotiate: encryption is required and there is no suite")
	}
	if c.PTime == 0 {
		c.PTime = codec.DefaultPTime
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = maxStreams
	}
	if c.Username == "" {
		c.Username = "-"
	}
	if c.SessionName == "" {
		c.SessionName = "-" // RFC 3264 §5
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	return nil
}

func millis(d time.Duration) bool {
	return d >= 0 && d <= time.Second && d%time.Millisecond == 0
}

// printable tells whether s may be written into a line: visible ASCII, with
// spaces inside if allowed, and not too long. The empty string is printable.
func printable(s string, spaces bool) bool {
	return len(s) <= maxConfigText && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r > '~' || r == ' ' && !spaces
	})
}

// Transport is where one stream is received.
type Transport struct {
	// RTP is the address that the peer sends to. It must be valid, and neither
	// its address unspecified nor its port 0.
	RTP netip.AddrPort
	// RTCP is the address for RTCP. The zero value means RTP's own, which is
	// for streams that multiplex.
	RTCP netip.AddrPort
}

// Locate gives the local addresses of stream i, whether it exists already or
// is new. It is called in the order of the m= lines, for those that are not
// refused, while an offer or answer is made. remote is the peer's address, for
// the choice of an address family; it is invalid when not known. An error ends
// the making of the offer or answer, and changes nothing.
type Locate func(i int, remote netip.Addr) (Transport, error)

// Session is the negotiation of one call.
type Session struct {
	cfg   Config
	id    uint64
	offer *description // the last of Offer, shared by the legs of a fork
}

// New makes a session. It reads the session identifier from cfg.Rand.
func New(cfg Config) (*Session, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	var b [8]byte
	if _, err := io.ReadFull(cfg.Rand, b[:]); err != nil {
		return nil, fmt.Errorf("negotiate: no randomness for a session identifier: %w", err)
	}
	// RFC 8866 §5.2 allows any number; 31 bits are what all peers can read.
	return &Session{cfg: cfg, id: uint64(binary.BigEndian.Uint32(b[:])) >> 1}, nil
}

// Offer makes the offer of the first INVITE: one audio stream, and those of
// o.Add. Made again, for another INVITE, it has new keys: whoever got the
// first one may be somebody else. Legs made before keep the offer they had.
func (s *Session) Offer(o offeranswer.Options, at Locate) ([]byte, error) {
	streams, err := s.offerStreams(agreement{}, nil, o, at)
	if err != nil {
		return nil, err
	}
	var prev []*description
	var version uint64
	if s.offer != nil {
		prev, version = []*description{s.offer}, s.offer.version
	}
	d, err := s.describe(streams, version, prev...)
	if err != nil {
		return nil, err
	}
	s.offer = d
	return clone(d.text), nil
}

// Leg makes the leg of a dialog. After Offer it waits for the answer to that
// offer; calling Answer or Offer instead drops it from this leg.
func (s *Session) Leg() *Leg {
	l := &Leg{s: s, open: s.offer, inherited: s.offer != nil}
	if s.offer != nil {
		l.sent(s.offer)
	}
	return l
}
