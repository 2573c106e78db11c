package media

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

var _ offeranswer.DigitSender = (*Session)(nil)

// SendDigits is [Session.SendDTMF] for sip.Call.SendDigits: where the peer
// takes no telephone-events the error wraps offeranswer.ErrNoDigits too, and
// the call sends the digits itself.
func (s *Session) SendDigits(ctx context.Context, digits string, duration, gap time.Duration) error {
	err := s.SendDTMF(ctx, digits, &DTMFOptions{Duration: duration, Gap: gap})
	if errors.Is(err, ErrNoDTMF) {
		return fmt.Errorf("%w: %w", offeranswer.ErrNoDigits, err)
	}
	return err
}
