package siptest

import (
	"context"
	"errors"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
)

// forwardOf is the setting that a feature is about.
func (s *Settings) forwardOf(f Feature) *string {
	switch f {
	case ForwardAlwaysOn, ForwardAlwaysOff:
		return &s.ForwardAlways
	case ForwardBusyOn, ForwardBusyOff:
		return &s.ForwardBusy
	case ForwardNoAnswerOn, ForwardNoAnswerOff:
		return &s.ForwardNoAnswer
	default:
		return &s.ForwardNotReachable
	}
}

// setForward forwards the caller's calls to a number, which is asked for if
// none was dialled behind the code. One that nobody has, or that is his own,
// is refused.
func (l *life) setForward(now time.Time, s *transaction.Server, caller *User, f Feature, number string) {
	set := func(number string) bool {
		if number = plainNumber(number); l.service(number) == nil {
			if u := l.srv.users.find(number); u == nil || u == caller {
				return false
			}
		}
		caller.state.change(func(s *Settings) { *s.forwardOf(f) = number })
		return true
	}
	switch {
	case number == "":
		l.serve(now, s, &prompt{then: set})
	case set(number):
		l.serve(now, s, confirm)
	default:
		l.respond(now, s, sipgo.StatusNotFound)
	}
}

// set changes what the caller has set, and confirms it.
func (l *life) set(now time.Time, s *transaction.Server, caller *User, fn func(*Settings)) {
	caller.state.change(fn)
	l.serve(now, s, confirm)
}

// redirect goes on with a call as if another number had been dialled.
func (l *life) redirect(now time.Time, s *transaction.Server, caller *User, number string) {
	if number == "" {
		l.respond(now, s, sipgo.StatusNotFound)
		return
	}
	l.dialled(now, s, caller, &sipgo.Uri{Scheme: "sip", User: number, Host: l.cfg.Domain}, number)
}

// identified goes on with a call that shows the caller's number, or does not,
// whatever his device says of privacy (RFC 3323 §4.2).
func (l *life) identified(now time.Time, s *transaction.Server, caller *User, number string, shown bool) {
	req := s.Request()
	for req.RemoveHeader("Privacy") {
	}
	if !shown {
		req.AppendHeader(sipgo.NewHeader("Privacy", "id"))
	}
	l.redirect(now, s, caller, number)
}

// The tones of features.
var (
	confirm Service = jingle{beep(440, 100), pause(100), beep(440, 100), pause(100), beep(440, 100)} // done
	ask             = jingle{beep(440, 400)}                                                         // what number?
	sorry           = jingle{beep(600, 250), beep(480, 250), beep(600, 250), beep(480, 250)}
)

// jingle is a number that plays some tones and hangs up.
type jingle []sound

// sound is a tone of some milliseconds, or silence if it has no pitch.
type sound struct {
	hz float64
	ms int
}

func beep(hz float64, ms int) sound { return sound{hz, ms} }
func pause(ms int) sound            { return sound{ms: ms} }

func (j jingle) begin(now time.Time, c *serviceCall) {
	c.answer(now, j.play)
}

func (j jingle) play(ctx context.Context, s *media.Session) error {
	var pcm []int16
	for _, t := range j {
		n := t.ms * soundRate / 1000
		if t.hz == 0 {
			pcm = append(pcm, make([]int16, n)...)
		} else {
			pcm = append(pcm, mediatest.Tone(t.hz, soundRate, n, 8000)...)
		}
	}
	return playAtMost(ctx, s, pcm)
}

// unheard is how much longer than it lasts a sound may take: one that the
// device does not receive is not played.
const unheard = time.Second

// playAtMost plays to who may not hear it, and goes on then.
func playAtMost(ctx context.Context, s *media.Session, pcm []int16) error {
	d := time.Duration(len(pcm)) * time.Second / soundRate
	playing, stop := context.WithTimeout(ctx, d+unheard)
	defer stop()
	err := s.Play(playing, media.NewPCMSource(soundRate, pcm, false))
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// prompt is a number that asks for digits.
type prompt struct {
	then func(digits string) bool // takes them; false: they are no good
}

const (
	// keyTime is how long it waits for a digit.
	keyTime = 5 * time.Second
	// maxDigits bounds what is dialled.
	maxDigits = 32
)

func (p *prompt) begin(now time.Time, c *serviceCall) {
	c.answer(now, func(ctx context.Context, s *media.Session) error {
		keys := c.l.keys(ctx, s)
		if err := ask.play(ctx, s); err != nil {
			return err
		}
		digits := ""
		for len(digits) < maxDigits {
			key, ok := keys.next(ctx, keyTime)
			if !ok || key == '#' {
				break
			}
			digits += string(key)
		}
		if ctx.Err() == nil && p.then(digits) {
			return confirm.(jingle).play(ctx, s)
		}
		return sorry.play(ctx, s)
	})
}

// keys are the digits that a caller presses, until ctx ends.
func (l *life) keys(ctx context.Context, s *media.Session) keypad {
	ch := make(keypad, maxDigits)
	l.work.Go(func() {
		for d := range s.DTMF(ctx) {
			select {
			case ch <- d.Key:
			default: // more than anybody waits for
			}
		}
	})
	return ch
}

type keypad chan rune

// next waits for a key; there may be none in time.
func (k keypad) next(ctx context.Context, d time.Duration) (rune, bool) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case key := <-k:
		return key, true
	case <-t.C:
	case <-ctx.Done():
	}
	return 0, false
}
