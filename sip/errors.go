package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/certcheck"
	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/register"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// Errors to test for with errors.Is.
var (
	// ErrClosed: the UA was closed.
	ErrClosed = errors.New("sip: user agent closed")
	// ErrDirect: the account has no registrar.
	ErrDirect = errors.New("sip: the account has no registrar")
	// ErrState: not possible in this state of the call.
	ErrState = call.ErrState
	// ErrEnded: the call has ended.
	ErrEnded = call.ErrEnded
	// ErrBusy: too many offers wait already.
	ErrBusy = call.ErrBusy
	// ErrNoAck: the peer never acknowledged our answer; the call was ended.
	ErrNoAck = call.ErrNoAck
	// ErrSessionExpired: the session timer ran out, as nothing was heard of the peer
	// (RFC 4028).
	ErrSessionExpired = call.ErrExpired
	// ErrNoPrack: the peer never acknowledged a provisional response that he
	// wanted to acknowledge (RFC 3262); the call was refused.
	ErrNoPrack = call.ErrNoPrack
	// ErrNoDescription: the peer accepted a call, or an offer, and did not
	// say how.
	ErrNoDescription = call.ErrAnswer
	// ErrMedia: media could not go on; the error wraps why.
	ErrMedia = call.ErrMedia
	// ErrUnregistered: the registration was ended by Unregister or Close.
	ErrUnregistered = errors.New("sip: unregistered")
	// ErrNoFlow: there is no connection to the account's server, or it was
	// lost; the error wraps why.
	ErrNoFlow = errors.New("sip: no connection to the server")
)

// StatusError is a final response that refused a request.
type StatusError struct {
	Method string // INVITE, REGISTER, …
	Code   int    // 300 to 699
	Phrase string // the server's words
	// Contacts of a redirection, the most wanted first.
	Contacts []string
	// Reasons are Reason headers (RFC 3326).
	Reasons []Reason
	// RetryAfter is when the server wants to be asked again; 0: unsaid.
	RetryAfter time.Duration
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("sip: %s refused: %d %s", e.Method, e.Code, e.Phrase)
}

// TimeoutError says that nobody answered. It is a net.Error.
type TimeoutError struct {
	Op string // what was waited for
}

func (e *TimeoutError) Error() string { return "sip: " + e.Op + ": timed out" }

// Timeout is true.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary is true.
func (e *TimeoutError) Temporary() bool { return true }

// AuthError says that the server refused the account's credentials: mostly a
// wrong password.
type AuthError struct {
	Realm string // of the server's challenge; "" where that is not known
	Err   error  // why: ErrWeakDigest, ErrServerUnproved, of Credentials, …
}

func (e *AuthError) Error() string {
	return fmt.Sprintf("sip: authentication at realm %q: %v", e.Realm, e.Err)
}

func (e *AuthError) Unwrap() error { return e.Err }

// ErrWeakDigest is the cause of an AuthError where the server offers no
// algorithm that Account.MinDigest allows.
var ErrWeakDigest = digest.ErrWeakChallenge

// ErrServerUnproved is the cause of an AuthError where the server did not
// know the password itself (RFC 7616 §3.5, rspauth).
var ErrServerUnproved = digest.ErrRspAuth

// CertificateError says why a server's certificate was refused (RFC 5922).
type CertificateError struct {
	Reason CertificateReason
	Domain string // who the server was to be
	Err    error  // of crypto/x509, as a rule
}

func (e *CertificateError) Error() string {
	return fmt.Sprintf("sip: certificate of %s: %s: %v", e.Domain, e.Reason, e.Err)
}

func (e *CertificateError) Unwrap() error { return e.Err }

// DialError says that no server could be reached, and how each attempt went.
// errors.As finds the errors of the attempts too, such as a CertificateError.
type DialError struct {
	Attempts []DialAttempt // in the order in which they failed
}

// DialAttempt is one server that could not be reached.
type DialAttempt struct {
	Transport Transport
	Host      string // as DNS named it
	Addr      netip.AddrPort
	Err       error
}

func (e *DialError) Error() string {
	if len(e.Attempts) == 0 {
		return "sip: there is no server to connect to"
	}
	var b strings.Builder
	b.WriteString("sip: no connection to a server")
	for _, a := range e.Attempts {
		fmt.Fprintf(&b, "; %s %s: %v", a.Transport, a.Addr, a.Err)
	}
	return b.String()
}

// Unwrap are the errors of the attempts.
func (e *DialError) Unwrap() []error {
	errs := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		errs[i] = a.Err
	}
	return errs
}

// Timeout tells whether every attempt timed out.
func (e *DialError) Timeout() bool { return transport.TimedOut(e.Unwrap()) }

// Temporary is Timeout.
func (e *DialError) Temporary() bool { return e.Timeout() }

func dialError(err *transport.DialError) error {
	e := &DialError{Attempts: make([]DialAttempt, len(err.Attempts))}
	for i, a := range err.Attempts {
		e.Attempts[i] = DialAttempt{
			Transport: Transport(a.Target.Proto), Host: a.Target.Host, Addr: a.Target.Addr,
			Err: publicError("connecting", a.Err),
		}
	}
	return e
}

// publicError turns what internal packages say into the errors of this one.
func publicError(op string, err error) error {
	if err == nil {
		return nil
	}
	var (
		status   *call.StatusError
		rejected *register.Rejected
		auth     *digest.AuthError
		weak     *digest.ChallengeError
		cert     *certcheck.Error
		dial     *transport.DialError
		lost     *endpoint.FlowError
	)
	switch {
	case errors.As(err, &dial):
		return dialError(dial)
	case errors.As(err, &status):
		return &StatusError{
			Method: status.Method, Code: status.Code, Phrase: status.Phrase,
			Contacts: status.Contacts, Reasons: reasons(status.Reasons), RetryAfter: status.After,
		}
	case errors.As(err, &rejected):
		return &StatusError{Method: "REGISTER", Code: rejected.Status, Phrase: rejected.Reason, RetryAfter: rejected.RetryAfter}
	case errors.As(err, &auth):
		return &AuthError{Realm: auth.Realm, Err: err}
	case errors.As(err, &weak):
		return &AuthError{Realm: weak.Realm, Err: err}
	case errors.Is(err, digest.ErrRspAuth), errors.Is(err, digest.ErrTooManyChallenges):
		return &AuthError{Err: err}
	case errors.As(err, &cert):
		return &CertificateError{Reason: CertificateReason(cert.Reason), Domain: cert.Domain, Err: err}
	case errors.Is(err, transaction.ErrTimeout), errors.Is(err, register.ErrTimeout):
		return &TimeoutError{Op: op}
	case errors.As(err, &lost):
		return fmt.Errorf("%w: %w", ErrNoFlow, lost.Err)
	case errors.Is(err, endpoint.ErrClosed):
		return ErrClosed
	}
	return err
}

func reasons(rs []call.Reason) []Reason {
	if len(rs) == 0 {
		return nil
	}
	out := make([]Reason, len(rs))
	for i, r := range rs {
		out[i] = Reason(r)
	}
	return out
}
