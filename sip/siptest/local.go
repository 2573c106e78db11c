package siptest

import (
	"context"
	"errors"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// local are media of the lab in place of another device: music for who is
// parked, a mailbox, silence for who picks up a call until it is his. Its methods run
// on the goroutines of its end's media operations, one at a time.
type local struct {
	e    *end
	play func(ctx context.Context, s *media.Session) error // until ctx ends; nil: silence

	ctx    context.Context
	cancel context.CancelFunc
	sess   offeranswer.Media
	leg    offeranswer.Leg
	plays  bool
}

var errNoSession = errors.New("siptest: no session")

// attach makes the lab's own media the partner of a device's. done, if not
// nil, is told whether the device has agreed; where it has not, what was
// agreed before stays.
func (e *end) attach(now time.Time, play func(ctx context.Context, s *media.Session) error, done func(now time.Time, err error)) {
	e.sound(play)
	e.m.ReofferOnce(now, offeranswer.Options{}, done)
}

// sound makes the lab's own media what the next exchange is with.
func (e *end) sound(play func(ctx context.Context, s *media.Session) error) {
	loc := &local{e: e, play: play}
	loc.ctx, loc.cancel = context.WithCancel(e.l.ctx)
	e.side.mu.Lock()
	defer e.side.mu.Unlock()
	if old := e.side.local; old != nil {
		e.side.stale = append(e.side.stale, old)
	}
	e.side.local = loc
}

// silence takes the lab's own media away again that were to be the partner.
func (e *end) silence() {
	e.side.mu.Lock()
	defer e.side.mu.Unlock()
	if loc := e.side.local; loc != nil {
		e.side.stale = append(e.side.stale, loc)
		e.side.local = nil
	}
}

// host moves an end into b, whose only one it is: the lab's own media become
// its partner. If its device does not agree to that, it goes back.
func (b *bridge) host(now time.Time, e *end, play func(ctx context.Context, s *media.Session) error, done func(now time.Time, err error)) {
	b.gather(nil, e, 0, done, e)
	e.attach(now, play, func(now time.Time, err error) {
		switch {
		case b.moving == nil: // it has hung up meanwhile
		case err != nil:
			e.silence()
			b.undo(now, err)
		default:
			b.settled(now)
		}
	})
}

func (loc *local) open(ctx context.Context) (err error) {
	if loc.sess != nil {
		return nil
	}
	g := loc.e.leg
	env := offeranswer.Env{Local: g.flow.Local().Addr(), Secure: g.flow.Secure(), Notify: func(offeranswer.Event) {}}
	loc.sess, err = g.l.eng.NewSession(ctx, env)
	return err
}

func (loc *local) offer(ctx context.Context) ([]byte, error) {
	if err := loc.open(ctx); err != nil {
		return nil, err
	}
	if loc.leg != nil {
		return loc.leg.Offer(ctx, offeranswer.Options{})
	}
	return loc.sess.Offer(ctx, offeranswer.Options{})
}

func (loc *local) answer(ctx context.Context, offer []byte) ([]byte, error) {
	if err := loc.open(ctx); err != nil {
		return nil, err
	}
	if err := loc.makeLeg(); err != nil {
		return nil, err
	}
	return loc.leg.Answer(ctx, offer, offeranswer.Options{})
}

func (loc *local) makeLeg() (err error) {
	if loc.leg == nil {
		loc.leg, err = loc.sess.Leg("")
	}
	return err
}

// setAnswer takes the device's answer. One that the lab cannot use is no
// reason to end the call of others: they hear nothing.
func (loc *local) setAnswer(ctx context.Context, sdp []byte) {
	err := errNoSession
	if loc.sess != nil {
		if err = loc.makeLeg(); err == nil {
			err = loc.leg.SetAnswer(ctx, sdp, false)
		}
	}
	if err != nil {
		loc.e.l.cfg.Logger.Debug("media of the lab's own", "error", err)
		return
	}
	loc.start()
}

func (loc *local) commit() {
	if loc.leg == nil || loc.leg.Commit() != nil {
		return
	}
	loc.start()
}

func (loc *local) rollback() {
	if loc.leg != nil {
		loc.leg.Rollback()
	}
}

func (loc *local) start() {
	s, ok := loc.sess.(*media.Session)
	if loc.plays || loc.play == nil || !ok {
		return
	}
	loc.plays = true
	loc.e.l.work.Go(func() {
		if err := loc.play(loc.ctx, s); err != nil && loc.ctx.Err() == nil {
			loc.e.l.cfg.Logger.Debug("media of the lab's own", "error", err)
		}
	})
}

// close releases the media.
func (loc *local) close() {
	loc.cancel()
	if loc.sess != nil {
		loc.sess.Close()
	}
}
