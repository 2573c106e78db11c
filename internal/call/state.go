package call

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// State is where a call stands; the diagram is in the package's documentation.
type State int

// The states.
const (
	Calling     State = iota + 1 // the INVITE is made or out
	Incoming                     // an INVITE came, nothing was said but 100
	Ringing                      // 18x received or sent
	Answering                    // 2xx sent, ACK awaited
	Established                  // there is a call
	Ended                        // End says how
)

func (s State) String() string {
	switch s {
	case Calling:
		return "calling"
	case Incoming:
		return "incoming"
	case Ringing:
		return "ringing"
	case Answering:
		return "answering"
	case Established:
		return "established"
	case Ended:
		return "ended"
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
}

// Event is something the user may want to know.
type Event struct {
	Kind  EventKind
	State State // of StateChanged
	// Status and Reason are a provisional response's, of Progress.
	Status int
	Reason string
	// Streams as agreed, of MediaChanged.
	Streams []offeranswer.Stream
	// Err, of MediaTimeout.
	Err error
	// Held, of HoldChanged.
	Held Hold
	// Forks, of ForksChanged.
	Forks []Fork
}

// EventKind tells events apart.
type EventKind int

// The events.
const (
	StateChanged EventKind = iota + 1 // State
	Progress                          // a provisional response came: Status, Reason
	MediaChanged                      // an offer/answer exchange is complete: Streams
	MediaStarted                      // the peer's first packet was accepted
	MediaTimeout                      // the peer has been silent for too long: Err
	HoldChanged                       // somebody was put on hold or taken back: Held
	ForksChanged                      // the early dialogs are others, or say otherwise: Forks
)

// Side is who ended a call.
type Side int

// The sides.
const (
	Local   Side = iota + 1 // we did
	Remote                  // the peer, or the server for him
	Network                 // nobody: a timer, a lost connection, media
)

// End says how a call ended.
type End struct {
	By Side
	// Status is the final response that refused the INVITE, 0 if none did.
	Status int
	Phrase string
	// Reasons are the values of Reason headers that came or went with the end.
	Reasons []Reason
	// Contacts of a 3xx, in the order of their q (RFC 3261 §8.1.3.4).
	Contacts []string
	// After is the Retry-After of the final response, 0 if it had none.
	After time.Duration
	// Err is what ended the call where nobody wanted it to; nil otherwise.
	Err error
}

// Reason is one value of a Reason header (RFC 3326).
type Reason = sipwire.Reason

// Errors of the machine.
var (
	ErrState   = errors.New("not possible in this state of the call")
	ErrEnded   = errors.New("the call has ended")
	ErrBusy    = errors.New("too many offers wait already")
	ErrNoPrack = errors.New("no PRACK came for a reliable response of ours")
	ErrExpired = errors.New("the session timer has expired")
	ErrNoAck   = errors.New("no ACK came for our answer")
	ErrAnswer  = errors.New("the peer accepted without a session description")
	ErrOffer   = fmt.Errorf("%w in its ACK or PRACK", ErrAnswer)
	ErrMedia   = errors.New("media failed")
)

// StatusError is a final response that refused something.
type StatusError struct {
	Method   string
	Code     int
	Phrase   string
	Contacts []string      // of a 3xx
	Reasons  []Reason      // Reason headers
	After    time.Duration // Retry-After; 0: none
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s", e.Method, e.Code, e.Phrase)
}
