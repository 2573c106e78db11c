package siptest

import (
	"context"
	"fmt"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Service is a number that answers by itself: [Echo], [Announce],
// [RecordAndPlay], [NoAnswer] or [Refuse].
type Service interface {
	// begin takes a call. In the loop.
	begin(now time.Time, c *serviceCall)
}

// DefaultServices are the numbers of a lab that names none:
//
//	9001, echo      sound comes back
//	9002, announce  built-in speech, then the lab hangs up
//	9003, busy      486
//	9004, noanswer  rings, 480 after three minutes
//	9005, reject    603
//	9006, record    records until #, ten seconds of silence or a minute, then plays it
func DefaultServices() map[string]Service {
	m := make(map[string]Service)
	for _, s := range []struct {
		number, name string
		service      Service
	}{
		{"9001", "echo", Echo()},
		{"9002", "announce", Announce(nil)},
		{"9003", "busy", Refuse(sipgo.StatusBusyHere)},
		{"9004", "noanswer", NoAnswer(0)},
		{"9005", "reject", Refuse(sipgo.StatusGlobalDecline)},
		{"9006", "record", RecordAndPlay(nil)},
	} {
		m[s.number], m[s.name] = s.service, s.service
	}
	return m
}

// serviceCall is a call to a service number: one leg.
type serviceCall struct {
	*leg
	svc   Service
	run   func(ctx context.Context, s *media.Session) error // once established; nil: nothing
	timer timerq.Timer                                      // of NoAnswer
	sess  *media.Session                                    // set by the operation that makes it
	stop  context.CancelFunc                                // of run
}

// serve connects a caller to a service number.
func (l *life) serve(now time.Time, s *transaction.Server, svc Service) {
	c := newServiceCall(&leg{headers: []sipgo.Header{sipgo.NewHeader("X-BroadWorks-Correlation-Info", l.uuid())}}, svc)
	if l.incoming(now, s, c.leg) {
		svc.begin(now, c)
	}
}

// connect hands a caller's leg over to a service number, before anything was
// said of media.
func (l *life) connect(now time.Time, g *leg, svc Service) { svc.begin(now, newServiceCall(g, svc)) }

func newServiceCall(g *leg, svc Service) *serviceCall {
	c := &serviceCall{leg: g, svc: svc}
	g.owner, g.media = c, c.newMedia
	return c
}

func (c *serviceCall) newMedia(ctx context.Context, g *leg, notify func(offeranswer.Event)) (offeranswer.Media, error) {
	m, err := g.l.eng.NewSession(ctx, offeranswer.Env{Local: g.flow.Local().Addr(), Secure: g.flow.Secure(), Notify: notify})
	if err != nil {
		return nil, err
	}
	c.sess = m.(*media.Session)
	return m, nil
}

// answer accepts the call and runs fn with its media; the lab hangs up when fn
// returns.
func (c *serviceCall) answer(now time.Time, fn func(ctx context.Context, s *media.Session) error) {
	c.run = fn
	c.m.Answer(now, offeranswer.Options{}, func(time.Time, error) {})
}

func (c *serviceCall) event(_ time.Time, g *leg, e call.Event) {
	if e.Kind != call.StateChanged {
		return
	}
	switch e.State {
	case call.Established:
		if c.run == nil || c.stop != nil {
			return
		}
		var ctx context.Context
		ctx, c.stop = context.WithCancel(g.l.ctx)
		g.l.work.Go(func() {
			err := c.run(ctx, c.sess)
			g.l.ep.Post(func(now time.Time) {
				if err != nil {
					g.l.cfg.Logger.Debug("service number", "error", err)
				}
				g.m.Hangup(now)
			})
		})
	case call.Ended:
		g.l.ep.Q.Stop(&c.timer)
		if c.stop != nil {
			c.stop()
		}
	}
}

func (c *serviceCall) response(time.Time, *leg, *sipgo.Response) {} // the lab sends no INVITE here first

// Refuse is a number that is never answered but with this status, 300 to 699.
func Refuse(status int) Service {
	if status < 300 || status > 699 {
		panic(fmt.Sprintf("siptest: Refuse: status %d is not from 300 to 699", status))
	}
	return refuse(status)
}

type refuse int

func (r refuse) begin(now time.Time, c *serviceCall) { _ = c.m.Reject(now, int(r), "") }

// NoAnswer is a number that rings; after some time, three minutes if that is
// 0, the caller gets 480. Negative is never.
func NoAnswer(after time.Duration) Service {
	if after == 0 {
		after = defaultRingTime
	}
	return noAnswer(after)
}

type noAnswer time.Duration

func (n noAnswer) begin(now time.Time, c *serviceCall) {
	_ = c.m.Ring(now, sipgo.StatusRinging, "")
	if n > 0 {
		c.timer.F = func(now time.Time) { _ = c.m.Reject(now, sipgo.StatusTemporarilyUnavailable, "") }
		c.l.ep.Q.Set(&c.timer, now.Add(time.Duration(n)))
	}
}
