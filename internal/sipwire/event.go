package sipwire

import (
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// Event says what a subscription is about (RFC 6665 §8.2.1).
type Event struct {
	// Package is the event type: the package with its templates, such as
	// "dialog" or "presence.winfo".
	Package string
	// ID tells subscriptions to one package apart; "" is none.
	ID string
	// Params are the others.
	Params sipgo.HeaderParams
}

// Same tells whether a NOTIFY for e is for the subscription to o: "the
// event-type portion of the Event header field is compared byte by byte, and
// the id parameter token (if present) is compared byte by byte" (RFC 6665
// §8.2.1); one with and one without id never match.
func (e Event) Same(o Event) bool { return e.Package == o.Package && e.ID == o.ID }

func (e Event) String() string {
	s := e.Package
	if e.ID != "" {
		s += ";id=" + e.ID
	}
	return s + string(appendParams(nil, e.Params))
}

// ParseEvent reads the value of an Event header field.
func ParseEvent(s string) (e Event, ok bool) {
	e.Package, e.Params, ok = ParseValue(s)
	if !ok || !isEventType(e.Package) {
		return Event{}, false
	}
	for i, p := range e.Params {
		if strings.EqualFold(p.K, "id") {
			if !IsToken(p.V) {
				return Event{}, false
			}
			e.ID = p.V
			e.Params = append(e.Params[:i:i], e.Params[i+1:]...)
			break
		}
	}
	return e, true
}

// EventOf is what the Event header field of a message says.
func EventOf(m sipgo.Message) (e Event, ok bool) { return ParseEvent(Header(m, "Event")) }

// isEventType tells whether s is event-package *( "." event-template ), each a token
// without dots (RFC 6665 §8.4).
func isEventType(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !IsToken(part) {
			return false
		}
	}
	return true
}

// The states of a subscription (RFC 6665 §4.1.3).
const (
	SubscriptionActive     = "active"
	SubscriptionPending    = "pending"
	SubscriptionTerminated = "terminated"
)

// SubscriptionState is how a subscription stands (RFC 6665 §8.2.3).
type SubscriptionState struct {
	State  string // in lower case; may be an extension's
	Reason string // in lower case; "" is none
	// Expires is how long the subscription lives, if HasExpires.
	Expires    time.Duration
	HasExpires bool
	// RetryAfter is when to subscribe again, if HasRetryAfter.
	RetryAfter    time.Duration
	HasRetryAfter bool
}

func (s SubscriptionState) String() string {
	v := s.State
	if s.Reason != "" {
		v += ";reason=" + s.Reason
	}
	if s.HasExpires {
		v += ";expires=" + FormatSeconds(s.Expires)
	}
	if s.HasRetryAfter {
		v += ";retry-after=" + FormatSeconds(s.RetryAfter)
	}
	return v
}

// ParseSubscriptionState reads the value of a Subscription-State header field.
// Parameters that cannot be read count as missing.
func ParseSubscriptionState(v string) (s SubscriptionState, ok bool) {
	state, params, ok := ParseValue(v)
	if !ok || !IsToken(state) {
		return SubscriptionState{}, false
	}
	s.State = strings.ToLower(state)
	if r, _ := Param(params, "reason"); IsToken(r) {
		s.Reason = strings.ToLower(r)
	}
	if e, has := Param(params, "expires"); has {
		if d, ok := ParseSeconds(e); ok {
			s.Expires, s.HasExpires = d, true
		}
	}
	if r, has := Param(params, "retry-after"); has {
		if d, ok := ParseSeconds(r); ok {
			s.RetryAfter, s.HasRetryAfter = d, true
		}
	}
	return s, true
}

// SubscriptionStateOf is what the Subscription-State header field of a message says.
func SubscriptionStateOf(m sipgo.Message) (s SubscriptionState, ok bool) {
	return ParseSubscriptionState(Header(m, "Subscription-State"))
}

// FormatSeconds writes delta-seconds, rounded up and never negative.
func FormatSeconds(d time.Duration) string {
	return strconv.FormatInt(int64(max((d+time.Second-1)/time.Second, 0)), 10)
}
