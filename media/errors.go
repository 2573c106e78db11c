package media

import (
	"errors"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/media/dtmf"
)

// SDPError is a session description of the peer that cannot be accepted. It
// has the SIP status that answers it (offeranswer.StatusCoder) and wraps
// [ErrMalformedSDP] or another of the errors beside it.
type SDPError = negotiate.Error

// What can be wrong with a peer's description, for errors.Is.
var (
	// ErrMalformedSDP: the body is no SDP, or larger than allowed.
	ErrMalformedSDP = negotiate.ErrMalformed
	// ErrContradiction: the body says two things that cannot both be true, or
	// does not fit what it answers.
	ErrContradiction = negotiate.ErrContradiction
	// ErrNotSecure: encryption is required, or was offered by both sides
	// before, and the peer gave no key that can be used. The call fails; it
	// never goes on in the clear.
	ErrNotSecure = negotiate.ErrNotSecure
	// ErrSecure: the peer demands encryption, which is switched off here.
	ErrSecure = negotiate.ErrSecure
	// ErrNoCodec: no codec in common.
	ErrNoCodec = negotiate.ErrNoCodec
	// ErrNoStream: the offer has no audio stream that can be used.
	ErrNoStream = negotiate.ErrNoStream
)

// What can go wrong here, for errors.Is.
var (
	// ErrClosed is returned by methods of an engine, session or leg that was
	// closed.
	ErrClosed = errors.New("media: closed")

	// ErrNoDTMF is returned by [Session.SendDTMF] when the peer does not take
	// telephone-events, or nothing is agreed yet.
	ErrNoDTMF = errors.New("media: the peer takes no DTMF")

	// ErrDigit is wrapped by the error of [Session.SendDTMF] for a character
	// that is no DTMF digit.
	ErrDigit = dtmf.ErrDigit

	// ErrPorts is returned when no port of the configured range is free.
	ErrPorts = errors.New("media: no free port")

	// ErrAddress is returned when there is no local address to offer: the
	// call did not say one, [Config.Local] is not set, and the system does
	// not tell.
	ErrAddress = errors.New("media: no local address")

	// ErrStreams is returned for a request to add a stream: a session has one
	// audio stream.
	ErrStreams = errors.New("media: a session has one audio stream")

	// ErrLeg is returned for a leg of another session, and for one leg too
	// many.
	ErrLeg = errors.New("media: unknown leg")

	// ErrRate is wrapped by errors for a sample rate outside 8000 to 48000 Hz,
	// or that is no multiple of 25 Hz.
	ErrRate = errors.New("media: unusable sample rate")

	// ErrKeyUsedUp is in the Failed event of a session whose key reached the
	// end of its lifetime before a new one was agreed.
	ErrKeyUsedUp = errors.New("media: the SRTP key is used up")
)

// A TimeoutError says that the peer has been silent for longer than
// [Config.RTPTimeout]. It is a net.Error.
type TimeoutError struct{ msg string }

func (e *TimeoutError) Error() string { return e.msg }

// Timeout is true.
func (*TimeoutError) Timeout() bool { return true }

// Temporary is true: packets may come again.
func (*TimeoutError) Temporary() bool { return true }
