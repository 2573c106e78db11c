package sip

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Dial calls somebody from one of the phone's accounts, as [UA.Dial] does. The
// active call is put on hold first. ErrTooManyCalls where there is no room.
func (p *Phone) Dial(ctx context.Context, ua *UA, uri string, o *DialOptions) (*Call, error) {
	c, err := p.Start(ctx, ua, uri, o)
	if err != nil {
		return nil, err
	}
	if err := c.Answered(ctx); err != nil {
		_ = c.Hangup(ctx)
		return nil, err
	}
	return c, nil
}

// Start is Dial without waiting for the answer, as [UA.Start].
func (p *Phone) Start(ctx context.Context, ua *UA, uri string, o *DialOptions) (*Call, error) {
	if !slices.Contains(p.cfg.UAs, ua) {
		return nil, ErrForeignCall
	}
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	defer p.end()
	if err := p.room(); err != nil {
		return nil, err
	}
	former, err := p.makeRoom(ctx)
	if err != nil {
		return nil, err
	}
	c, err := ua.Start(ctx, uri, o)
	if err == nil {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			_ = c.Hangup(ctx)
			return nil, ErrClosed
		}
		// Calls that came meanwhile may have filled the phone; one too many
		// is better than one that was made for nothing.
		l := p.add(c)
		p.active, l.taken, l.former = l, true, former
		p.mu.Unlock()
		return c, nil
	}
	p.restoreLater(former)
	return nil, err
}

// Adopt makes a call the phone's that was made without it, such as one that was
// pulled here: it becomes the active one, and the call that was is put on hold
// first. It counts for MaxCalls, but is not refused for it. Nothing is done where
// the phone has the call already; ErrForeignCall where it is of another account.
// If the active call cannot be held its error is returned, and the call is not
// adopted.
func (p *Phone) Adopt(ctx context.Context, c *Call) error {
	if !slices.Contains(p.cfg.UAs, c.ua) {
		return ErrForeignCall
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	defer p.end()
	if _, err := p.find(c); !errors.Is(err, ErrForeignCall) {
		return err
	}
	former, err := p.makeRoom(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	l := p.add(c)
	p.active, l.taken, l.former = l, true, former
	return nil
}

// room tells whether another call can be made.
func (p *Phone) room() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return ErrClosed
	case p.full():
		return ErrTooManyCalls
	}
	return nil
}

// Answer answers a call that rings, as [Call.Answer] does, and makes it the
// active one. The call that was active is put on hold first; if the peer refuses
// that, its *StatusError is returned, and the other call goes on ringing.
func (p *Phone) Answer(ctx context.Context, c *Call, o *AnswerOptions) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	defer p.end()
	l, err := p.find(c)
	if err != nil {
		return err
	}
	if s := c.State(); s != CallIncoming && s != CallRinging || c.Direction() != Incoming {
		return ErrState
	}
	former, err := p.makeRoom(ctx)
	if err != nil {
		return err
	}
	p.activate(l, former)
	if err = c.Answer(ctx, o); err != nil && !l.alive() {
		// Its end may have been noticed before there was anything to restore.
		p.restoreLater(p.forget(l))
	}
	return err
}

// forget takes an ended call off the phone. It returns, once, the line that
// had made room for it.
func (p *Phone) forget(l *line) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = slices.DeleteFunc(p.lines, func(x *line) bool { return x == l })
	if p.active == l {
		p.active = nil
	}
	former := l.former
	l.former = nil
	return former
}

// Activate makes an established call the active one: the one that was is put
// on hold, and c is resumed. If c cannot be resumed the other is again.
func (p *Phone) Activate(ctx context.Context, c *Call) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	defer p.end()
	l, err := p.find(c)
	if err != nil {
		return err
	}
	switch {
	case c.State() == CallEnded:
		return ErrEnded
	case c.State() != CallEstablished:
		return ErrState
	}
	p.mu.Lock()
	same := p.active == l
	p.mu.Unlock()
	var former *line
	if !same {
		if former, err = p.makeRoom(ctx); err != nil {
			return err
		}
	}
	if c.Held().Local {
		if err := c.Resume(ctx); err != nil {
			p.restoreLater(former)
			return err
		}
	}
	p.activate(l, nil)
	return nil
}

// find finds the line of a call.
func (p *Phone) find(c *Call) (*line, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if l.c == c {
			return l, nil
		}
	}
	switch {
	case p.closed:
		return nil, ErrClosed
	case c != nil && c.State() == CallEnded:
		return nil, ErrEnded
	}
	return nil, ErrForeignCall
}

// begin waits for the turn to move the active call; end gives it on.
func (p *Phone) begin(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.ctx.Done():
		return ErrClosed
	}
}

func (p *Phone) end() { <-p.turn }

// makeRoom puts the active call on hold. It returns the line of that, if
// there was something to do. In turn, as is restore.
func (p *Phone) makeRoom(ctx context.Context) (*line, error) {
	p.mu.Lock()
	l := p.active
	p.mu.Unlock()
	if p.cfg.KeepOthers || l == nil || l.c.State() != CallEstablished || l.c.Held().Local {
		return nil, nil
	}
	switch err := l.c.Hold(ctx); {
	case errors.Is(err, ErrEnded):
		return nil, nil
	case err != nil:
		return nil, err
	}
	p.mu.Lock()
	if p.active == l {
		p.active = nil
	}
	p.mu.Unlock()
	return l, nil
}

// restore resumes the call that made room for one that came to nothing, unless
// the user has gone on meanwhile.
func (p *Phone) restore(l *line) {
	if l == nil || l.c.State() != CallEstablished {
		return
	}
	p.mu.Lock()
	busy := p.closed || p.active != nil && p.active.alive()
	p.mu.Unlock()
	if busy || !l.c.Held().Local {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, resumeTimeout)
	defer cancel()
	if l.c.Resume(ctx) == nil {
		p.activate(l, nil)
	}
}

// restoreLater is restore for who has the turn now, and does not wait.
func (p *Phone) restoreLater(l *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l == nil || p.closed {
		return
	}
	p.wg.Go(func() {
		if p.begin(p.ctx) == nil {
			p.restore(l)
			p.end()
		}
	})
}

// follow goes along with a call until its end.
func (p *Phone) follow(l *line, fw forwarding) {
	c, came := l.c, time.Now()
	var unanswered, auto <-chan time.Time
	if c.Direction() == Incoming {
		if fw.noAnswer != "" && !fw.looped(c) {
			t := time.NewTimer(fw.after)
			defer t.Stop()
			unanswered = t.C
		}
		if id := c.Identity(); id.AutoAnswer && p.cfg.AutoAnswer != nil && p.cfg.AutoAnswer(c) {
			t := time.NewTimer(id.AnswerAfter)
			defer t.Stop()
			auto = t.C
		}
	}
	up := c.up
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-unanswered:
			unanswered = nil
			p.redirect(c, fw.noAnswer, "no-answer", 0)
		case <-auto:
			auto = nil
			if p.Active() == nil {
				_ = p.Answer(p.ctx, c, nil) // it may have ended, or be answered
			}
		case <-up:
			up = nil
			if c.State() != CallEnded {
				p.established(l)
			}
		case <-c.done:
			p.over(l, came)
			return
		}
	}
}

// established settles who is active once a call was answered: a call of ours
// steps back where the user has taken another while it rang; one that was
// answered without the phone comes first.
func (p *Phone) established(l *line) {
	if p.begin(p.ctx) != nil {
		return
	}
	defer p.end()
	p.mu.Lock()
	l.answered = true
	other, taken := p.active, l.taken
	p.mu.Unlock()
	alone := other == nil || other == l || !other.alive()
	switch {
	case l.c.Direction() == Outgoing:
		if !alone && !p.cfg.KeepOthers && other.c.State() == CallEstablished {
			_ = l.c.Hold(p.ctx)
			return
		}
	case taken:
		return // this comes late: the user may have gone on
	case !alone:
		if _, err := p.makeRoom(p.ctx); err != nil {
			return
		}
	}
	if !taken {
		p.activate(l, nil)
	}
}

// activate makes a call the active one, for which former had to make room.
func (p *Phone) activate(l, former *line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active, l.taken, l.former = l, true, former
}

// over takes the end of a call.
func (p *Phone) over(l *line, came time.Time) {
	end := l.c.End()
	former := p.forget(l)
	p.mu.Lock()
	if end.Cause == CauseMissed && !p.closed {
		p.missed = slices.Insert(p.missed, 0, MissedCall{
			UA: l.c.ua, Remote: l.c.Remote(), Identity: l.c.Identity(), Time: came, Rang: time.Since(came),
		})
		p.missed = p.missed[:min(len(p.missed), p.cfg.MissedKept)]
	}
	if l.answered || end.Cause == CauseAnswered {
		former = nil // the user decides
	}
	p.mu.Unlock()
	p.restoreLater(former)
}
