package sip

import (
	"context"
	"time"
)

// Hold says who has put whom on hold.
type Hold struct {
	Local  bool // we hold: the peer is not heard here
	Remote bool // the peer holds: we are not heard there
}

// Hold puts the peer on hold: a new offer says of all audio and video that we
// send and do not receive (sendonly; RFC 6337 §5.3), and the peer answers that
// he does not receive either where he holds too. What he hears is up to media.
// Nothing is sent if he is on hold already.
//
// A refusal is a *StatusError and changes nothing. Hold waits for its turn
// behind other offers, ErrBusy where eight wait already; until then every
// answer to the peer's offers says hold too, and if one did, that is all.
// ErrState before the call is answered, ErrEnded after its end.
func (c *Call) Hold(ctx context.Context) error { return c.hold(ctx, true) }

// Resume takes the peer back from hold. What streams did before comes back:
// one that was only sent is not received now. If the peer holds too he is
// told that we want to hear and be heard (sendrecv), and goes on holding in his
// answer. Otherwise it is like Hold.
func (c *Call) Resume(ctx context.Context) error { return c.hold(ctx, false) }

func (c *Call) hold(ctx context.Context, on bool) error {
	return c.await(ctx, func(now time.Time, done func(time.Time, error)) { c.m.Hold(now, on, done) })
}

// Held says who is on hold, as both sides have agreed. A call that has no
// sound in either direction from its beginning is not on hold.
func (c *Call) Held() Hold {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}
