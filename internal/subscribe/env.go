package subscribe

import (
	"errors"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// Env is what a machine lives in.
type Env interface {
	// Request sends a request; flow may be nil for what starts a dialog. The
	// Contact is to be that of the flow it goes out on.
	Request(now time.Time, flow transaction.Flow, req *sipgo.Request, h RequestHandler)
	// Contact is our address for a dialog that lives on flow, nil where the
	// flow is yet to be chosen.
	Contact(flow transaction.Flow) *sipgo.ContactHeader
	// Decorate adds what every request or response of ours says.
	Decorate(m sipgo.Message)
	// Timers is the loop's queue.
	Timers() *timerq.Queue
	// ID draws an identifier of n signs; Float draws from [0,1).
	ID(n int) string
	Float() float64
	// Dialog says that requests with this Call-ID and To tag are for the machine
	// from now on, or no longer.
	Dialog(callID, localTag string, ours bool)
}

// RequestHandler gets what becomes of a request.
type RequestHandler = call.RequestHandler

// Carrier sends a request within a dialog that somebody else keeps. What it returns
// says that nothing was sent.
type Carrier func(now time.Time, w call.Within) error

// Errors of the machines.
var (
	// ErrNoNotify: no NOTIFY followed the SUBSCRIBE within 64*T1 (Timer N,
	// RFC 6665 §4.1.2.4).
	ErrNoNotify = errors.New("subscribe: no NOTIFY came")
	// ErrExpired: the subscription ended since it could not be refreshed.
	ErrExpired = errors.New("subscribe: the subscription has expired")
	// ErrState: the subscription is not there, or not any more.
	ErrState = errors.New("subscribe: there is no subscription")
	// ErrReplaced is what becomes of a refresh that another request overtook.
	ErrReplaced = errors.New("subscribe: overtaken by another request")
)

// TerminatedError says that the notifier has ended the subscription.
type TerminatedError struct {
	Reason string // of RFC 6665 §4.1.3; "" is none
}

func (e *TerminatedError) Error() string {
	if e.Reason == "" {
		return "subscribe: ended by the notifier"
	}
	return "subscribe: ended by the notifier: " + e.Reason
}

const (
	defaultExpires = time.Hour
	// A Min-Expires beyond this is refused, and a longer life is taken as this.
	maxExpires = 24 * time.Hour
	// A Retry-After beyond this is taken as this.
	maxRetryAfter = time.Hour
	// MaxBody bounds the body of a NOTIFY; larger ones get 413.
	MaxBody = 256 << 10

	defaultT1 = 500 * time.Millisecond
)
