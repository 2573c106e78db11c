package call

import (
	"context"
	"errors"
	"fmt"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

type mediaOp struct {
	work func(ctx context.Context)
	done func(now time.Time) // nil: nobody waits
	last bool                // runs also when the call has ended
}

// do queues an operation on media. Operations run one at a time and in order;
// done runs in the loop, unless the call has ended by then.
func (c *Call) do(now time.Time, work func(ctx context.Context), done func(now time.Time)) {
	c.mediaOps = append(c.mediaOps, mediaOp{work: work, done: done})
	c.runMedia(now)
}

func (c *Call) runMedia(now time.Time) {
	if c.mediaRun {
		return
	}
	var op mediaOp
	for {
		if len(c.mediaOps) == 0 {
			return
		}
		op = c.mediaOps[0]
		c.mediaOps = c.mediaOps[1:]
		if op.last || c.state != Ended {
			break
		}
	}
	c.mediaRun = true
	c.env.Go(func() { op.work(c.ctx) }, func(now time.Time) {
		c.mediaRun, c.media = false, c.made
		if op.done != nil && (op.last || c.state != Ended) {
			op.done(now)
		}
		c.runMedia(now)
	}, func() {
		if c.made != nil {
			c.made.Close()
		}
	})
}

// closeMedia ends the media after the operation that may be running.
func (c *Call) closeMedia(now time.Time) {
	if c.media == nil && !c.mediaRun {
		return
	}
	c.mediaOps = append(c.mediaOps, mediaOp{last: true, work: func(context.Context) {
		if c.made != nil {
			c.made.Close()
		}
	}})
	c.runMedia(now)
}

// makeMedia makes the media unless there are any. Outside the loop.
func (c *Call) makeMedia(ctx context.Context) error {
	if c.made != nil {
		return nil
	}
	m, err := c.env.NewMedia(ctx, c.notify)
	if err != nil {
		return err
	}
	c.made = m
	return nil
}

// notify takes an event of media, from any goroutine.
func (c *Call) notify(e offeranswer.Event) {
	c.env.Post(func(now time.Time) {
		if c.state == Ended {
			return
		}
		switch e.Kind {
		case offeranswer.NeedOffer:
			// Once the call stands. One that waits already will do: what it
			// says is made when its turn has come.
			if len(c.queued) == 0 {
				c.queued = append(c.queued, &reoffer{c: c})
				c.next(now)
			}
		case offeranswer.Started:
			c.env.Event(now, c, Event{Kind: MediaStarted})
		case offeranswer.Timeout:
			c.env.Event(now, c, Event{Kind: MediaTimeout, Err: e.Err})
		case offeranswer.Failed:
			err := ErrMedia
			if e.Err != nil {
				err = fmt.Errorf("%w: %w", ErrMedia, e.Err)
			}
			c.drop(now, End{By: Network, Err: err})
		}
	})
}

// changed tells the user what is agreed now.
func (c *Call) changed(now time.Time, l *leg) {
	c.env.Event(now, c, Event{Kind: MediaChanged, Streams: l.streams})
	c.noteHold(now, l)
}

// StatusOf is the SIP status that an error of this package or of media means.
func StatusOf(err error) int {
	if s, ok := errors.AsType[offeranswer.StatusCoder](err); ok {
		if code := s.SIPStatus(); code >= 300 && code < 700 {
			return code
		}
	}
	return sipgo.StatusNotAcceptableHere
}
