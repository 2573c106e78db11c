package siptest

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/sip"
)

// Config is what a [Server] is made of. The zero value is a lab on 127.0.0.1
// with the service numbers and no users.
type Config struct {
	// Domain is the lab's SIP domain; "" is "pbx.example".
	Domain string

	// Addr is the IP address to listen on; "" is 127.0.0.1.
	Addr string
	// Ports for each transport; 0 is any that is free.
	UDP, TCP, TLS uint16

	// Users are there from the start; more come with Server.AddUser.
	Users []User
	// Services are the numbers that answer by themselves. Nil is
	// DefaultServices; an empty map is none.
	Services map[string]Service
	// Codes are access codes in place of those of DefaultCodes; "" takes one
	// away. What else is dialled comes after them: a user whose Number begins
	// with a code is not reached by it.
	Codes map[Feature]string

	Auth      Auth
	Registrar Registrar
	Calls     Calls
	Events    Events
	// Conference is how calls are merged in the lab.
	Conference Conferences

	// TLSConfig changes the TLS configuration before it is used: another
	// certificate, other versions.
	TLSConfig func(*tls.Config)

	// Network is what the lab listens on; the zero value is the system's.
	// Its Resolver is not used.
	Network sip.Network

	// Timers are the base timers of RFC 3261 §17.1.1.1; the zero value has
	// the RFC's values.
	Timers sip.Timers

	// TranscriptSize bounds the messages that are kept, the oldest go first:
	// 0 is 10,000, negative keeps none. They are also bounded by 64 MiB.
	TranscriptSize int

	// Logger hears what happens; nil is silent.
	Logger *slog.Logger
	// Rand seeds tags, branches, nonces and keys; nil is crypto/rand.
	Rand io.Reader
}

// User is a subscriber of the lab.
type User struct {
	// Name is the user part of the address of record. Required.
	Name string
	// Number also reaches the user, and is how he is shown to others; "" is
	// none.
	Number string
	// DisplayName is shown to others.
	DisplayName string
	// AuthName is the user name for digest authentication; "" is Name. In
	// BroadWorks the two often differ.
	AuthName string
	// Password for digest authentication; "" draws one, which Server.Config
	// knows.
	Password string
	// Voicemail is the user's mailbox; nil is none.
	Voicemail *Voicemail

	// CallLimit is how many calls the user can have at a time, all devices
	// together: another that comes is one that finds him busy (486). 0 is no
	// limit. NoCallWaiting is a limit of one.
	CallLimit     int
	NoCallWaiting bool

	// Group is that of call pickup; "" is none.
	Group string
	// NoPull does not let the user bring his calls from one device to another
	// by access code, and NoReplaces not by Replaces: 403.
	NoPull, NoReplaces bool
	state              *subscriber // of those in the directory
}

// Auth says how the lab authenticates its users (RFC 3261 §22, RFC 8760).
type Auth struct {
	// Realm is that of the challenges; "" is "BroadWorks".
	Realm string
	// Algorithms are offered in this order: "MD5", "SHA-256", "SHA-512-256".
	// Nil is MD5, as BroadWorks has it.
	Algorithms []string
	// AuthInt offers qop "auth-int" beside "auth".
	AuthInt bool
	// Legacy leaves qop out, as RFC 2069 did.
	Legacy bool
	// NonceLifetime is how long a nonce can be used; 0 is 5 minutes.
	NonceLifetime time.Duration
	// Info adds Authentication-Info to answers of authenticated requests, and
	// a new nonce with it after each NextNonceAfter uses if that is not 0.
	Info           bool
	NextNonceAfter uint32
	// OpenCalls takes INVITEs without credentials from where a user is
	// registered. Otherwise each is challenged, as each REGISTER is.
	OpenCalls bool
	// InDialog challenges BYE, UPDATE and re-INVITE too.
	InDialog bool
}

// Registrar says what the registrar grants.
type Registrar struct {
	// MaxExpires is the longest registration granted; longer ones are
	// shortened to it. 0 is 3424 s, as BroadWorks was seen to do.
	MaxExpires time.Duration
	// MinExpires is the shortest; shorter ones are refused with 423. 0 is
	// none.
	MinExpires time.Duration
	// NoOutbound does without RFC 5626, as if the lab had never heard of it.
	NoOutbound bool
	// FlowTimer is told to clients with outbound, and as keep (RFC 6223) to
	// those without; 0 is not told, and keep is then 30 s.
	FlowTimer time.Duration
	// GRUU gives public and temporary GRUUs (RFC 5627) to who supports them.
	GRUU bool
	// ServiceRoute gives one (RFC 3608).
	ServiceRoute bool
}

// Calls says how calls are handled.
type Calls struct {
	// RingTime is how long devices ring before the caller gets 480; 0 is
	// three minutes.
	RingTime time.Duration
	// SessionExpires is the session interval that the lab asks for in its
	// INVITEs, with itself as the refresher, and the longest that it agrees to
	// (RFC 4028), at least 90 s; 0 asks for none, and takes what devices ask for.
	SessionExpires time.Duration
	// OneDevice rings the most recently registered device alone.
	OneDevice bool
	// ParkRecall is how long a call stays parked before who parked it is
	// rung, and again each time that he does not answer; 0 is 45 s.
	ParkRecall time.Duration
	// NoTransfer refuses REFER within calls with 403.
	NoTransfer bool
	// AnyReplaces lets every user take the place of another's leg by Replaces
	// (RFC 3891). Otherwise that is allowed to the same user, and to others of
	// his User.Group while the call rings.
	AnyReplaces bool
}

// Events says how subscriptions are handled (RFC 6665).
type Events struct {
	// MinExpires is the shortest subscription; shorter ones are refused with
	// 423. 0 is none.
	MinExpires time.Duration
	// MaxExpires is the longest that is granted; longer ones are shortened to
	// it. 0 is one day.
	MaxExpires time.Duration
	// UnsolicitedMWI tells the devices of users with a mailbox how many
	// messages wait without being asked, as some servers do: when they
	// register anew, and when that changes. Devices may refuse that.
	UnsolicitedMWI bool
}

const (
	defaultDomain     = "pbx.example"
	defaultRealm      = "BroadWorks"
	defaultMaxExpires = 3424 * time.Second
	defaultRingTime   = 3 * time.Minute
	defaultParkRecall = 45 * time.Second
	defaultTranscript = 10_000
	defaultKeep       = 30 * time.Second
	minSE             = 90 * time.Second // RFC 4028 §5
)

// complete puts in the defaults.
func (c *Config) complete() error {
	if c.Domain == "" {
		c.Domain = defaultDomain
	}
	c.Domain = strings.ToLower(c.Domain)
	if c.Addr == "" {
		c.Addr = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(c.Addr); err != nil {
		return fmt.Errorf("siptest: Config.Addr: %w", err)
	}
	if c.Services == nil {
		c.Services = DefaultServices()
	}
	var err error
	if c.Codes, err = completeCodes(c.Codes); err != nil {
		return err
	}
	if c.Auth.Realm == "" {
		c.Auth.Realm = defaultRealm
	}
	if c.Registrar.MaxExpires <= 0 {
		c.Registrar.MaxExpires = defaultMaxExpires
	}
	if c.Calls.RingTime <= 0 {
		c.Calls.RingTime = defaultRingTime
	}
	if c.Calls.ParkRecall <= 0 {
		c.Calls.ParkRecall = defaultParkRecall
	}
	if se := c.Calls.SessionExpires; se != 0 && se < minSE {
		return fmt.Errorf("siptest: Config.Calls.SessionExpires is %v; RFC 4028 wants at least %v", se, minSE)
	}
	c.Conference.complete()
	if c.TranscriptSize == 0 {
		c.TranscriptSize = defaultTranscript
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (a *Auth) algorithms() ([]digest.Algorithm, error) {
	var algs []digest.Algorithm
	for _, name := range a.Algorithms {
		alg, ok := digest.ParseAlgorithm(name)
		if !ok {
			return nil, fmt.Errorf("siptest: Config.Auth.Algorithms: unknown algorithm %q", name)
		}
		algs = append(algs, alg)
	}
	return algs, nil
}

func (a *Auth) qop() digest.QOP {
	switch {
	case a.Legacy:
		return digest.QOPNone
	case a.AuthInt:
		return digest.QOPAuth | digest.QOPAuthInt
	}
	return digest.QOPAuth
}
