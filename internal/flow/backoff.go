package flow

import "time"

// The defaults of RFC 5626 §4.5.
const (
	baseAllFail   = 30 * time.Second
	baseNotFailed = 90 * time.Second
	maxWait       = 1800 * time.Second
)

// Backoff tells how long to wait before a flow is registered again (RFC 5626
// §4.5). The first attempt after a flow that worked is made at once (the table
// in Appendix A), so a single failure costs no waiting; a flow that worked for
// less than BaseAllFail counts as a failed attempt, so a server that accepts
// registrations and then drops the connection is not asked in a tight loop.
type Backoff struct {
	// Rand returns numbers uniform in [0, 1).
	Rand func() float64
	// BaseAllFail is the base while no other flow of the account is
	// registered; 0 means 30 s.
	BaseAllFail time.Duration
	// BaseNotFailed is the base while another flow is; 0 means 90 s.
	BaseNotFailed time.Duration
	// Max bounds the wait; 0 means 1800 s.
	Max time.Duration

	failures int
	since    time.Time // when the flow was registered; zero if it is not
}

// Registered notes that the flow has been registered.
func (b *Backoff) Registered(now time.Time) {
	if b.since.IsZero() {
		b.since = now
	}
}

// Failed notes that a flow which was registered is lost, or that an attempt to
// register one has failed, and returns how long to wait before the next. other
// tells whether another flow of the account is registered. A Retry-After of
// the server counts where it is longer; that is the caller's to compare.
func (b *Backoff) Failed(now time.Time, other bool) time.Duration {
	lone := b.BaseAllFail
	if lone <= 0 {
		lone = baseAllFail
	}
	worked := !b.since.IsZero() && now.Sub(b.since) >= lone
	b.since = time.Time{}
	if worked {
		b.failures = 0
		return 0
	}
	base, limit := lone, b.Max
	if other {
		if base = b.BaseNotFailed; base <= 0 {
			base = baseNotFailed
		}
	}
	if limit <= 0 {
		limit = maxWait
	}
	b.failures++
	wait := min(base, limit)
	for i := 0; i < b.failures && wait < limit; i++ {
		wait = min(2*wait, limit)
	}
	return wait/2 + time.Duration(b.Rand()*float64(wait/2))
}

// Failures is the number of attempts that have failed in a row.
func (b *Backoff) Failures() int { return b.failures }

// Reset forgets the failures, as when the network has changed and there is
// reason to try at once.
func (b *Backoff) Reset() { b.failures = 0 }
