package locate

import (
	"net/netip"
	"slices"
	"time"
)

// Bounds of Aside.
const (
	// DefaultHold is how long a server that failed is set aside if it did not say itself: as long as the transaction took to time out (64*T1).
	DefaultHold = 32 * time.Second

	// MaxHold bounds what a server can ask for with Retry-After.
	MaxHold = time.Hour

	maxAside = 256
)

// Aside remembers servers that failed, so that new requests try others first (RFC 3263 §4.3). A server is a transport and an address: one that does
// not answer on TLS may still do so on UDP. The zero value is empty and ready. It is not safe for concurrent use.
type Aside struct {
	until map[server]time.Time
}

type server struct {
	t    Transport
	addr netip.AddrPort
}

// Fail sets a server aside for the time given, at most [MaxHold], or for [DefaultHold] if that is zero or less: it timed out, refused the
// connection or answered 503, with Retry-After perhaps. A second failure starts the time anew, but never shortens it.
func (a *Aside) Fail(now time.Time, t Target, hold time.Duration) {
	if hold <= 0 {
		hold = DefaultHold
	}
	until := now.Add(min(hold, MaxHold))
	key := server{t.Transport, t.Addr}
	if a.until == nil {
		a.until = make(map[server]time.Time)
	}
	if old, ok := a.until[key]; ok && old.After(until) {
		return
	}
	a.until[key] = until
	if len(a.until) > maxAside {
		a.shrink(now)
	}
}

// shrink drops what is over, and if that is nothing, what is over first.
func (a *Aside) shrink(now time.Time) {
	var first server
	for k, until := range a.until {
		if !until.After(now) {
			delete(a.until, k)
		} else if f, ok := a.until[first]; !ok || until.Before(f) {
			first = k
		}
	}
	if len(a.until) > maxAside {
		delete(a.until, first)
	}
}

// Clear forgets that a server failed: it has answered.
func (a *Aside) Clear(t Target) { delete(a.until, server{t.Transport, t.Addr}) }

// Reset forgets everything, as after a change of network.
func (a *Aside) Reset() { a.until = nil }

// Until tells until when a server is set aside; the zero time means that it is not.
func (a *Aside) Until(now time.Time, t Target) time.Time {
	until := a.until[server{t.Transport, t.Addr}]
	if !until.After(now) {
		return time.Time{}
	}
	return until
}

// Order returns the targets with those set aside at the end, the one that is free first before the others. Otherwise the order stays. usable is how
// many are not set aside: a caller that does not want to bother a server that asked to be left alone takes only these.
func (a *Aside) Order(now time.Time, targets []Target) (ordered []Target, usable int) {
	ordered = slices.Clone(targets)
	slices.SortStableFunc(ordered, func(x, y Target) int {
		return a.Until(now, x).Compare(a.Until(now, y)) // the zero time is before all others
	})
	for _, t := range targets {
		if a.Until(now, t).IsZero() {
			usable++
		}
	}
	return ordered, usable
}
