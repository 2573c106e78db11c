package xmpp

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/hoorn-phone/hoorn/internal/xmpplink"
)

// run keeps the client connected. It is the goroutine that reads, too: an idle client has no other.
func (c *Client) run() {
	defer c.wg.Done()
	var err error
	for failures, redirects := 0, 0; ; {
		c.setStatus(Status{State: Connecting})
		var stream *xmpplink.Stream
		stream, err = c.connect()
		c.mu.Lock()
		c.tried = err
		c.mu.Unlock()
		if err == nil {
			failures = 0
			begun := time.Now()
			err = c.serve(stream)
			redirects = c.redirected(err, redirects, time.Since(begun))
		}
		if c.ctx.Err() != nil {
			err = context.Cause(c.ctx)
			break
		}
		if c.cfg.GiveUp(err) {
			break
		}
		c.log.Info("xmpp: disconnected", "err", err)
		if !c.pause(failures, err) {
			err = context.Cause(c.ctx)
			break
		}
		failures++
	}
	c.finish(err)
}

// settled is how long a stream has to last so that a redirection at its end is the first in a row.
const settled = time.Minute

// redirected follows a see-other-host at the end of a stream, unless too many came in a row. It returns how many those are.
func (c *Client) redirected(err error, before int, lasted time.Duration) int {
	var other *StreamError
	if !errors.As(err, &other) || other.Host == "" {
		return 0
	}
	if lasted >= settled {
		before = 0
	}
	if before++; before <= maxRedirects {
		c.way.redirect = other.Host
	}
	return before
}

// pause waits before the next attempt. A stream that was lost, or sent us elsewhere, is replaced at once.
func (c *Client) pause(failures int, err error) bool {
	var d time.Duration
	if failures > 0 || !streamLost(err) && c.way.redirect == "" {
		low, high := orDefault(c.cfg.Timing.MinRetry, time.Second), orDefault(c.cfg.Timing.MaxRetry, 2*time.Minute)
		d = min(high, low<<min(max(failures-1, 0), 20))
		d = d/2 + rand.N(d/2+1)
	}
	c.setStatus(Status{State: Waiting, Until: time.Now().Add(d), Err: err})
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.retry:
	case <-c.ctx.Done():
		return false
	}
	return true
}

// streamLost tells whether a stream that worked has ended without the server's wish.
func streamLost(err error) bool {
	var e *Error
	var s *StreamError
	return errors.As(err, &e) && e.Stage == xmpplink.StageStream && !errors.As(err, &s)
}

// serve runs a stream to its end.
func (c *Client) serve(stream *xmpplink.Stream) error {
	session := stream.Session()
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		stream.Cut(ErrClosed)
		stream.Run(nil, nil)
		return ErrClosed
	}
	fresh := c.session != session
	old := c.session
	if fresh {
		c.epoch++
		c.inlined = stream.Inlined
		c.failWaiters(ErrUnknown)
	}
	c.stream, c.session = stream, session
	if c.inactive {
		tell(stream, false)
	}
	c.mu.Unlock()
	if fresh {
		old.Abandon()
	}
	// Extensions ask the server, and so need the reader, which is this goroutine.
	ready := make(chan struct{})
	c.wg.Go(func() {
		defer close(ready)
		c.ready(stream, fresh)
	})
	err := stream.Run(c.handle, c.skipped)
	c.mu.Lock()
	c.stream = nil
	if !session.Resumable() {
		c.failWaiters(ErrUnknown)
	}
	c.mu.Unlock()
	<-ready
	for _, x := range c.extensions {
		if x.Lost != nil {
			x.Lost(err)
		}
	}
	return err
}

// ready lets extensions begin, and says that the client is online.
func (c *Client) ready(stream *xmpplink.Stream, fresh bool) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	stop := context.AfterFunc(stream.Context(), func() { cancel(context.Cause(stream.Context())) })
	defer stop()
	for _, x := range c.extensions {
		switch {
		case fresh && x.Bound != nil:
			if err := x.Bound(ctx); err != nil {
				c.log.Warn("xmpp: extension does without its service", "extension", x.Name, "err", err)
			}
		case !fresh && x.Resumed != nil:
			x.Resumed()
		}
		if ctx.Err() != nil {
			return
		}
	}
	if fresh {
		c.sendInitialPresence(ctx)
	}
	c.mu.Lock()
	current := c.stream == stream
	c.mu.Unlock()
	if current {
		c.setStatus(Status{State: Online, JID: stream.Session().JID, Resumed: !fresh})
	}
}

// finish ends the client for all who wait.
func (c *Client) finish(err error) {
	c.cancel(err)
	c.mu.Lock()
	session := c.session
	c.session = nil
	c.closing = true
	c.failWaiters(err)
	c.mu.Unlock()
	session.Abandon()
	c.messages.close()
	c.roster.requests.close()
	// What still runs ends with c.ctx; run itself is in the group.
	go func() {
		c.wg.Wait()
		c.setStatus(Status{State: Closed, Err: err})
		close(c.done)
	}()
}
