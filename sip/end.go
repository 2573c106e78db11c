package sip

import (
	"strconv"

	"github.com/hoorn-phone/hoorn/internal/call"
)

// Side is who ended a call, or of whom else it is said. 0 is no side: the call is
// not over.
type Side int

// The sides.
const (
	Local  Side = iota + 1 // the user of this call
	Remote                 // the peer, or a server on the way
	Nobody                 // a failure: see the error
)

func (s Side) String() string {
	switch s {
	case Local:
		return "local"
	case Remote:
		return "remote"
	case Nobody:
		return "nobody"
	}
	return "Side(" + strconv.Itoa(int(s)) + ")"
}

// Reason is why a request was sent, as in a Reason header (RFC 3326).
type Reason struct {
	Protocol string // "SIP" or "Q.850"
	Cause    int    // a status code or a Q.850 cause
	Text     string
}

func (r Reason) String() string { return call.Reason(r).String() }

func internalReasons(rs []Reason) []call.Reason {
	out := make([]call.Reason, len(rs))
	for i, r := range rs {
		out[i] = call.Reason(r)
	}
	return out
}

// End says how a call ended. The zero value is that of a call that is not over.
type End struct {
	// By is who ended it.
	By Side
	// Cause is what became of the call, in one word.
	Cause Cause
	// Status is the final response that refused the call, 0 if it was
	// answered or given up, and Phrase what was said with it.
	Status int
	Phrase string
	// Reasons came or went with the end. {"SIP", 200, …} on a call that rang
	// here says that it was answered elsewhere (RFC 3326 §2).
	Reasons []Reason
	// Err is set where the call did not end by anybody's wish: *StatusError,
	// *TimeoutError, ErrNoAck, what media said, ….
	Err error
}
