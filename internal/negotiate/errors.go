package negotiate

import (
	"errors"
	"fmt"
)

// The kinds of [Error], to be used with errors.Is.
var (
	// ErrMalformed: the body is not SDP, or larger than allowed.
	ErrMalformed = errors.New("malformed SDP")
	// ErrContradiction: the body says two things that cannot both be true, or
	// does not fit what it answers or changes.
	ErrContradiction = errors.New("contradictory SDP")
	// ErrNotSecure: the policy or the offer wants encryption, and the peer gave
	// no key that can be used.
	ErrNotSecure = errors.New("media not secured")
	// ErrSecure: the peer wants encryption, which is switched off here.
	ErrSecure = errors.New("encrypted media not wanted")
	// ErrNoCodec: no codec in common.
	ErrNoCodec = errors.New("no common codec")
	// ErrNoStream: the offer has no stream of a kind, transport or address
	// that can be used.
	ErrNoStream = errors.New("no usable stream")
)

// ErrState is wrapped by the error of a call that does not fit the state of
// the exchange, such as an answer when there is no offer.
var ErrState = errors.New("negotiate: out of order")

// ErrOptions is wrapped by the error for options that name a stream that is
// not there, a direction or a kind of stream that this package does not know.
var ErrOptions = errors.New("negotiate: impossible options")

// Error is a description of the peer that cannot be accepted. It implements
// offeranswer.StatusCoder.
type Error struct {
	Status int    // SIP status: 400 for ErrMalformed, otherwise 488
	Reason string // for people; never holds a key
	Kind   error  // one of the kinds above
}

func (e *Error) Error() string { return fmt.Sprintf("negotiate: %v: %s", e.Kind, e.Reason) }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// SIPStatus returns the status that answers the offer.
func (e *Error) SIPStatus() int { return e.Status }

func refuse(kind error, format string, args ...any) *Error {
	e := &Error{Status: 488, Reason: fmt.Sprintf(format, args...), Kind: kind}
	if kind == ErrMalformed {
		e.Status = 400
	}
	return e
}
