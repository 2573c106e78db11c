package sip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Config is what a [UA] is made of. Only Account.AOR is required.
type Config struct {
	Account Account

	// NewMedia makes the media of each call; media.Engine has it as
	// NewSession. Nil is NoMedia: calls without sound.
	NewMedia offeranswer.New

	// TLS says how servers are verified and who we are to them. Nil is the
	// zero value: the system's roots, TLS 1.2 or newer.
	TLS *TLSConfig

	// Listen are addresses to take requests on, beside the connections to the
	// registrar, such as "udp:0.0.0.0:5060" or "tcp:[::1]:5060". It is for
	// accounts with Direct set.
	Listen []string

	// AcceptQueue is how many calls may wait for Accept; more are answered
	// with 486 (Busy Here). Zero means 16.
	AcceptQueue int

	// MessageQueue is how many instant messages may wait for Messages; more
	// are answered with 480 (Temporarily Unavailable), and so not lost to who
	// sent them. Zero means 64.
	MessageQueue int
	// MessageTypes are the content types of instant messages that are taken, such
	// as "text/plain", "text/*" or "*/*"; others are answered with 415. Nil is
	// text/plain alone.
	MessageTypes []string

	// AutoAnswer decides whether a call whose caller asks for that is answered
	// by itself, after Identity.AnswerAfter; Accept returns it all the same. It
	// is asked of no other call, and must not block. Nil: nobody may.
	// PhoneConfig has one that knows of other calls.
	AutoAnswer func(*Call) bool
	// RemoteControl decides whether a NOTIFY in a call's dialog may answer,
	// resume or hold it (events "talk" and "hold"). It must not block. Nil: if
	// it came over the account's own flow.
	RemoteControl func(*Call, Control) bool

	// AnySource accepts requests from anywhere although the account has a
	// registrar. By default only what comes over the account's own flows is
	// admitted; the rest gets 403 (Forbidden).
	AnySource bool

	// Refer decides about a REFER: somebody's wish that we call somebody else
	// (RFC 3515). It must not block. Nil is DefaultRefer. Up to AcceptQueue
	// requests wait for AcceptRefer; more are refused with 486 (Busy Here).
	Refer func(r *ReferRequest) ReferDecision

	// Identity says how to check who calls (RFC 8224). The zero value checks
	// nothing; what the account's server says of it (verstat) is shown all the
	// same.
	Identity IdentityConfig

	// Replace decides about an INVITE that wants to take the place of a call's
	// dialog (RFC 3891), or to join a call (RFC 3911): false refuses it with 403
	// (Forbidden). A call that is replaced moves at once, and nobody is asked
	// again. It must not block. Nil accepts what came over the account's own
	// flows; so a direct account refuses all.
	Replace func(r *ReplaceRequest) bool

	// SessionTimer says how calls find out that the peer has vanished; the
	// zero value asks for half an hour.
	SessionTimer SessionTimer

	// Logger hears what happens; nil is silent. Passwords, keys and bodies
	// are never logged.
	Logger *slog.Logger

	// NoSessionID leaves out the Session-ID of calls (RFC 7989), for servers
	// that choke on it.
	NoSessionID bool

	// UserAgent names the application in User-Agent and Server; "" sends
	// neither.
	UserAgent string

	// Tap sees every message as it goes over the wire, decrypted. It is
	// called from several goroutines and must not block. Nil: nobody looks.
	Tap func(Packet)

	// Network is what the UA talks through; the zero value is the system's.
	Network Network

	// Rand seeds tags, branches, nonces and jitter; nil is crypto/rand.
	Rand io.Reader

	// Timers are the base timers of RFC 3261 §17.1.1.1; the zero value has
	// the RFC's values.
	Timers Timers
}

// Timers are the base timers of RFC 3261 §17.1.1.1. Zero fields have the
// RFC's values: T1 500 ms, T2 4 s, T4 5 s.
type Timers struct{ T1, T2, T4 time.Duration }

// Network is what a UA reaches the world through. Nil fields are the
// system's. Tests give an in-memory network; an app may give a proxy's dial.
type Network struct {
	Dial         func(ctx context.Context, network, addr string) (net.Conn, error)
	Listen       func(ctx context.Context, network, addr string) (net.Listener, error)
	ListenPacket func(ctx context.Context, network, addr string) (net.PacketConn, error)
	// Resolver finds servers (RFC 3263); nil asks the system's name servers.
	Resolver Resolver
}

// Account is who the UA is.
type Account struct {
	// AOR is the address of record, such as "sip:alice@example.com".
	AOR string
	// DisplayName goes into From; "" is none.
	DisplayName string

	// Username for authentication; "" is the user part of AOR.
	Username string
	// Password, or Credentials where it is not simply a password.
	Password string
	// Credentials gives the secret for a realm and digest algorithm ("MD5",
	// "SHA-256", "SHA-512-256"). It must not block. Nil uses Username and Password.
	Credentials func(realm, algorithm string) (Credential, error)
	// MinDigest is the weakest digest algorithm that is answered: "MD5" (what
	// "" means), "SHA-256" or "SHA-512-256". A server that offers only weaker
	// ones gets no credentials.
	MinDigest string

	// Registrar is the domain or URI to register at; "" is the domain of AOR.
	Registrar string
	// Proxy is the outbound proxy, such as
	// "sip:edge.example.com:5061;transport=tls"; "" is server location for the
	// Registrar by RFC 3263. With an lr parameter it is also sent as Route.
	Proxy string
	// Transport to use where the URI of Proxy or Registrar, or of whom a
	// direct account calls, has no transport parameter; "" is TLS. An account
	// on TLS or WSS never falls back to anything unencrypted.
	Transport Transport
	// Direct says that there is no registrar: calls are made to wherever their URI
	// points, and accepted from anywhere. Register fails.
	Direct bool

	// Instance identifies the device across registrations (RFC 5626 §4.1), as
	// a URN such as "urn:uuid:…". An app keeps one for ever; "" draws one.
	Instance string
	// Flows is how many connections the account keeps to different servers
	// (RFC 5626 §4.2): 1 (what 0 means) or 2.
	Flows int
	// Expires is the lifetime of the registration that is asked for; 0 is
	// one hour. The server may shorten it.
	Expires time.Duration
	// ContactParams are further parameters of the Contact in REGISTER, such
	// as {"q", "0.5"}.
	ContactParams [][2]string
	// NoOutbound and NoGRUU leave out RFC 5626 and RFC 5627 for servers that
	// choke on them.
	NoOutbound, NoGRUU bool
}

// Credential is a secret. It prints as nothing.
type Credential struct {
	Username string
	Password string
	// HA1 is H(username:realm:password) in hexadecimal, used in place of
	// Password if not empty.
	HA1 string
}

// String hides the secrets.
func (c Credential) String() string { return "credential of " + c.Username }

// GoString hides the secrets.
func (c Credential) GoString() string { return c.String() }

// LogValue hides the secrets.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Transport is how messages travel.
type Transport string

// The transports.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
	TLS Transport = "tls"
	WS  Transport = "ws"
	WSS Transport = "wss"
)

// Secure tells whether t is encrypted.
func (t Transport) Secure() bool { return t == TLS || t == WSS }

// TLSConfig says how servers are verified (RFC 5922): the certificate must be
// valid, chain to a root, and name the domain of the account, not just the
// host that DNS pointed to.
type TLSConfig struct {
	// RootCAs are trusted; nil is the system's.
	RootCAs *x509.CertPool
	// Certificates are shown to servers that ask who we are, and to whoever
	// connects to Config.Listen.
	Certificates []tls.Certificate
	// MinVersion is tls.VersionTLS12 (also if zero) or tls.VersionTLS13.
	MinVersion uint16
	// Wildcard accepts "*.example.com" for one label, which RFC 5922 §7.2
	// forbids and hosted services use.
	Wildcard bool
	// SRVTarget accepts also the name of the host that an SRV record pointed
	// to. Whoever controls DNS can then direct the account anywhere; RFC 5922
	// §4 therefore asks for the domain. Hosted edges need it.
	SRVTarget bool
}

// Packet is a message seen by Config.Tap.
type Packet struct {
	Time      time.Time
	Sent      bool // from us
	Transport Transport
	Local     netip.AddrPort
	Remote    netip.AddrPort
	Data      []byte // valid during the call
}
