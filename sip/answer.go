package sip

import (
	"context"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Ring tells the caller that the user is being alerted (180). ErrState after
// Answer or the end.
func (c *Call) Ring(ctx context.Context) error {
	return c.try(ctx, func(now time.Time) error { return c.m.Ring(now, sipgo.StatusRinging, "") })
}

// Progress answers the caller's offer before the call is answered, so that he
// hears us already (183, early media). ErrState where the caller has made no
// offer, the second time, and after Answer or the end; or an error of media, if
// they cannot take the offer.
func (c *Call) Progress(ctx context.Context) error {
	return c.await(ctx, func(now time.Time, done func(time.Time, error)) {
		c.m.Progress(now, offeranswer.Options{}, done)
	})
}

// AnswerOptions are the wishes about an answer. The zero value has none.
type AnswerOptions struct {
	// Media is what the answer shall contain, as far as the offer allows it.
	Media offeranswer.Options
}

// Answer accepts an incoming call and waits until the caller has acknowledged it. If
// the context ends first the call goes on being answered; Hangup ends it. The
// error is one of media, if they cannot take the caller's offer; ErrEnded if
// the caller gave up meanwhile; ErrNoAck if he stays silent; ErrState if the
// call was answered before. After Progress the options are without effect.
func (c *Call) Answer(ctx context.Context, o *AnswerOptions) error {
	if o == nil {
		o = &AnswerOptions{}
	}
	err := c.await(ctx, func(now time.Time, done func(time.Time, error)) {
		c.m.Answer(now, o.Media, done)
	})
	if err != nil {
		return err
	}
	return c.Answered(ctx)
}

// Reject refuses an incoming call with a final response of 300 to 699, such
// as 486 (Busy Here), which lets the caller's server try the user's other
// devices, or 603 (Decline), which is for all of them. Reasons go into Reason
// headers. ErrState for another status, and once the call is answered or over.
func (c *Call) Reject(ctx context.Context, status int, reasons ...Reason) error {
	headers := make([]sipgo.Header, len(reasons))
	for i, r := range reasons {
		headers[i] = sipgo.NewHeader("Reason", r.String())
	}
	return c.try(ctx, func(now time.Time) error { return c.m.Reject(now, status, "", headers...) })
}
