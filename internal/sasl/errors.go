package sasl

import (
	"errors"
	"fmt"
	"strings"
)

// Errors to be tested for with errors.Is.
var (
	// ErrDowngrade: the server seems to offer less than it does, or did. All of these are a [*DowngradeError].
	ErrDowngrade = errors.New("sasl: downgrade")

	// ErrServerSignature: the server reported success, but could not prove that it knows the password (RFC 5802 §3). It is not to be trusted.
	ErrServerSignature = errors.New("sasl: server failed to authenticate itself")

	// ErrNonce: the server did not go on from the nonce of the client (RFC 5802 §5.1).
	ErrNonce = errors.New("sasl: server's nonce does not extend the client's")

	// ErrExtension: a mandatory extension (attribute m), and none is known (RFC 5802 §5.1).
	ErrExtension = errors.New("sasl: mandatory extension not known")

	// ErrNoPassword: the mechanism needs a password, and the account has none.
	ErrNoPassword = errors.New("sasl: no password")

	// ErrOrder: a message that the mechanism does not have at this point.
	ErrOrder = errors.New("sasl: message out of order")
)

// SyntaxError is a message that does not follow the grammar or passes a bound of this package. It does not quote the message.
type SyntaxError struct {
	Message string // such as "server-first-message"
	Reason  string
}

func (e *SyntaxError) Error() string { return "sasl: malformed " + e.Message + ": " + e.Reason }

// PrepError says that a user name or a password holds what SASLprep prohibits (RFC 4013 §2.3). It does not quote it.
type PrepError struct {
	What   string // "user name" or "password"
	Reason string
}

func (e *PrepError) Error() string { return "sasl: " + e.What + ": " + e.Reason }

// IterationsError is an iteration count that the policy of the account does not allow.
type IterationsError struct{ Got, Min, Max int }

func (e *IterationsError) Error() string {
	if e.Got < e.Min {
		return fmt.Sprintf("sasl: server hashes passwords with %d iterations, less than %d", e.Got, e.Min)
	}
	return fmt.Sprintf("sasl: server wants %d iterations, more than %d", e.Got, e.Max)
}

// BindingError says why a connection does not have a channel binding.
type BindingError struct {
	Type   Binding
	Reason string
	Err    error // nil or what crypto/tls said
}

func (e *BindingError) Error() string {
	s := "sasl: no channel binding " + string(e.Type) + ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *BindingError) Unwrap() error { return e.Err }

// DowngradeError is an [ErrDowngrade] with its reason.
type DowngradeError struct{ Reason string }

func (e *DowngradeError) Error() string { return "sasl: downgrade: " + e.Reason }

// Is makes it an [ErrDowngrade].
func (e *DowngradeError) Is(target error) bool { return target == ErrDowngrade }

// NoMechanismError says that nothing the server offers is both known and allowed.
type NoMechanismError struct {
	Offered []string
	Reason  string // why the nearest one was left out; empty if nothing is known
}

func (e *NoMechanismError) Error() string {
	s := "sasl: no mechanism to sign in with among [" + strings.Join(e.Offered, " ") + "]"
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// ServerError is the attribute e of a server-final-message (RFC 5802 §7).
type ServerError struct{ Value string }

func (e *ServerError) Error() string { return fmt.Sprintf("sasl: server says %q", e.Value) }

// Values of [ServerError] that this package sends or looks at.
const (
	invalidProof       = "invalid-proof"
	bindingsDontMatch  = "channel-bindings-dont-match"
	bindingSupported   = "server-does-support-channel-binding"
	bindingUnsupported = "channel-binding-not-supported"
	bindingTypeUnknown = "unsupported-channel-binding-type"
	unknownUser        = "unknown-user"
	invalidUsername    = "invalid-username-encoding"
	noResources        = "no-resources"
	otherError         = "other-error"
)

// Failure is how XMPP ends an attempt without success (RFC 6120 §6.5): the condition, such as "not-authorized", and the text beside it. A client makes one
// of what it received and shows it to [Choice.Failed]; a [Server] returns one to be sent.
type Failure struct {
	Condition string
	Text      string
	Err       error // of a Server: what it found wrong, not to be sent; may be nil
}

func (e *Failure) Error() string {
	s := "sasl: " + e.Condition
	if e.Text != "" {
		s += fmt.Sprintf(" (%q)", e.Text)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Failure) Unwrap() error { return e.Err }

// Conditions of [Failure] (RFC 6120 §6.5).
const (
	Aborted              = "aborted"
	AccountDisabled      = "account-disabled"
	CredentialsExpired   = "credentials-expired"
	EncryptionRequired   = "encryption-required"
	IncorrectEncoding    = "incorrect-encoding"
	InvalidAuthzID       = "invalid-authzid"
	InvalidMechanism     = "invalid-mechanism"
	MalformedRequest     = "malformed-request"
	MechanismTooWeak     = "mechanism-too-weak"
	NotAuthorized        = "not-authorized"
	TemporaryAuthFailure = "temporary-auth-failure"
)
