package offeranswer

import (
	"context"
	"errors"
	"time"
)

// DigitSender is implemented by a [Media] that sends digits as
// telephone-events (RFC 4733). A call whose media do not, or cannot with this
// peer, sends them in INFO requests.
type DigitSender interface {
	// SendDigits sends digits (0 to 9, *, #, A to D; a comma is a pause of two
	// seconds) and returns when the last was sent. Each is held for duration,
	// with gap behind it; zero values are the media's own. The error wraps
	// ErrNoDigits where the peer takes no telephone-events; then nothing was
	// sent.
	SendDigits(ctx context.Context, digits string, duration, gap time.Duration) error
}

// ErrNoDigits says that no telephone-events were agreed on.
var ErrNoDigits = errors.New("offeranswer: no telephone-events are agreed on")
