package sip

import (
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Event is something that happened to a call.
type Event struct {
	Time time.Time
	Kind EventKind
	// State is the new one, of StateChanged.
	State CallState
	// Status and Phrase are the provisional response's, of Progress.
	Status int
	Phrase string
	// Streams are those agreed, of MediaChanged.
	Streams []offeranswer.Stream
	// Digit is the one of DigitReceived.
	Digit Digit
	// Err says more, of MediaTimeout.
	Err error
	// Held says who is on hold now, of HoldChanged.
	Held Hold
	// Forks are those who are called now, of ForksChanged.
	Forks []Fork
}

// EventKind is the kind of an Event.
type EventKind int

// The kinds of events.
const (
	StateChanged EventKind = iota + 1
	Progress               // a provisional response came
	MediaChanged           // an offer/answer exchange was completed: early media too
	MediaStarted           // the peer's first packet came
	MediaTimeout           // the peer's packets stay out
	HoldChanged            // one side was put on hold, or taken back
	ForksChanged           // those who are called are others, or say otherwise
)

// Those that are not of one dialog.
const (
	// PartyChanged tells that the call has moved to another dialog: Call.Remote
	// is who is there now.
	PartyChanged EventKind = iota + 64
)

func (k EventKind) String() string {
	switch k {
	case StateChanged:
		return "state changed"
	case Progress:
		return "progress"
	case MediaChanged:
		return "media changed"
	case MediaStarted:
		return "media started"
	case MediaTimeout:
		return "media timeout"
	case DigitReceived:
		return "digit received"
	case HoldChanged:
		return "hold changed"
	case ForksChanged:
		return "forks changed"
	case PartyChanged:
		return "party changed"
	}
	return "EventKind(" + strconv.Itoa(int(k)) + ")"
}
