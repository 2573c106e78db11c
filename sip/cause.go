package sip

import (
	"errors"
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
)

// Cause is in one word what became of a call: what a call log shows.
type Cause int

// The causes.
const (
	CauseNone              Cause = iota // the call is not over
	CauseAnswered                       // it was answered, and somebody hung up
	CauseMissed                         // incoming: nobody took it, here or elsewhere, and nobody refused it
	CauseAnsweredElsewhere              // incoming: another device or person took it
	CauseDeclinedElsewhere              // incoming: refused for all devices on another one
	CauseDeclined                       // the callee refused it: the peer, or we ourselves
	CauseBusy                           // the callee is busy: the peer, or we ourselves
	CauseCancelled                      // given up before it was answered: by us, or by the caller just as we answered
	CauseUnreachable                    // outgoing: there is nobody there, or no way to him
	CauseFailed                         // something broke: End.Err says what
	CauseReplaced                       // it was answered, and goes on elsewhere without us, as its peer tells: somebody took our place (RFC 3891), maybe on another device of ours
	CauseTransferred                    // its peer goes on with somebody else: a transfer, or a redirection of ours
)

func (c Cause) String() string {
	switch c {
	case CauseNone:
		return "none"
	case CauseAnswered:
		return "answered"
	case CauseMissed:
		return "missed"
	case CauseAnsweredElsewhere:
		return "answered elsewhere"
	case CauseDeclinedElsewhere:
		return "declined elsewhere"
	case CauseDeclined:
		return "declined"
	case CauseBusy:
		return "busy"
	case CauseCancelled:
		return "cancelled"
	case CauseUnreachable:
		return "unreachable"
	case CauseFailed:
		return "failed"
	case CauseReplaced:
		return "replaced"
	case CauseTransferred:
		return "transferred"
	}
	return "Cause(" + strconv.Itoa(int(c)) + ")"
}

// causeOf tells what became of a call that ended so. confirmed: a 2xx came or
// went; answering: the user had taken an incoming call.
func causeOf(dir Direction, confirmed, answering bool, end End) Cause {
	switch {
	case confirmed && end.Err == nil && end.By == Remote && elsewhere(end.Reasons) == CauseAnsweredElsewhere:
		return CauseReplaced
	case confirmed && end.Err == nil:
		return CauseAnswered
	case confirmed:
		return CauseFailed
	case dir == Outgoing:
		return outgoingCause(end)
	}
	switch end.By {
	case Local:
		switch {
		case end.Status == sipgo.StatusBusyHere || end.Status == sipgo.StatusGlobalBusyEverywhere:
			return CauseBusy
		case end.Status/100 == 3:
			return CauseTransferred
		}
		return CauseDeclined
	case Remote:
		if c := elsewhere(end.Reasons); c != CauseNone {
			return c
		}
		if answering {
			return CauseCancelled
		}
		return CauseMissed
	}
	return CauseFailed
}

// outgoingCause reads why a call of ours was not answered.
func outgoingCause(end End) Cause {
	switch {
	case end.By == Local:
		return CauseCancelled
	case end.Status == 0:
		if isUnreachable(end.Err) {
			return CauseUnreachable
		}
		return CauseFailed
	}
	switch end.Status {
	case sipgo.StatusBusyHere, sipgo.StatusGlobalBusyEverywhere:
		return CauseBusy
	case sipgo.StatusGlobalDecline, 607, 608: // RFC 8197, RFC 8688: unwanted, rejected
		return CauseDeclined
	case sipgo.StatusNotFound, sipgo.StatusRequestTimeout, sipgo.StatusGone, sipgo.StatusTemporarilyUnavailable,
		sipgo.StatusAddressIncomplete, sipgo.StatusGlobalDoesNotExistAnywhere,
		sipgo.StatusBadGateway, sipgo.StatusServiceUnavailable, sipgo.StatusGatewayTimeout:
		return CauseUnreachable
	}
	return CauseFailed
}

// isUnreachable tells whether an error means that nobody was reached, rather
// than that something broke on the way.
func isUnreachable(err error) bool {
	var (
		timeout *TimeoutError
		dial    *DialError
	)
	return errors.As(err, &timeout) || errors.As(err, &dial) || errors.Is(err, ErrNoFlow)
}

// elsewhere reads from the Reasons of a CANCEL what the other devices did, and
// from those of a BYE whether one has taken the call over:
// "SIP;cause=200" where one answered (RFC 3326 §2), the 6xx with which one
// refused for all. Q.850 has 26 (non-selected user clearing) for who was not
// the one that got the call. CauseNone: nobody did anything.
func elsewhere(rs []Reason) Cause {
	for _, r := range rs {
		switch {
		case strings.EqualFold(r.Protocol, "SIP") && r.Cause/100 == 2,
			strings.EqualFold(r.Protocol, "Q.850") && r.Cause == 26:
			return CauseAnsweredElsewhere
		case strings.EqualFold(r.Protocol, "SIP") && r.Cause/100 == 6:
			return CauseDeclinedElsewhere
		}
	}
	return CauseNone
}

// endOf is the end of a call as its machine tells it.
func (c *Call) endOf(m *call.Call, answering bool) End {
	end := m.End()
	out := End{
		By: Side(end.By), Status: end.Status, Phrase: end.Phrase,
		Reasons: reasons(end.Reasons), Err: publicError("INVITE", end.Error()),
	}
	out.Cause = causeOf(c.dir, m.Confirmed(), answering, out)
	return out
}
