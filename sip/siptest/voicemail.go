package siptest

import (
	"context"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
)

// deposit is a user's mailbox as his callers reach it: greeting, beep, and
// what they say until they press #, are silent, or hang up.
type deposit struct {
	user *User
	m    VoiceMessage // but for what is said
}

const (
	messageSilence = 5 * time.Second  // ends a message
	portalTime     = 15 * time.Second // for a key in the voice portal
)

// depositFor is the mailbox of a user for who calls.
func depositFor(u *User, as identity) *deposit {
	d := &deposit{user: u}
	if as.asserted != "" {
		d.m.From, d.m.Name = as.from.User, as.name
	}
	return d
}

func (d *deposit) begin(now time.Time, c *serviceCall) {
	c.answer(now, func(ctx context.Context, s *media.Session) error { return d.take(ctx, c.l, s) })
}

// take takes the message; who speaks has hung up when ctx ends. It takes no longer
// than the greeting and the limit, whatever is heard of it.
func (d *deposit) take(ctx context.Context, l *life, s *media.Session) error {
	box := d.user.state.box
	pcm, rate := box.greet()
	greeting := time.Duration(len(pcm)) * time.Second / time.Duration(rate)
	ctx, cancel := context.WithTimeout(ctx, greeting+box.cfg.Limit+2*unheard)
	defer cancel()
	keys := l.keys(ctx, s)
	if _, err := l.play(ctx, s, keys, rate, pcm); err != nil {
		return err
	}
	if err := s.Play(ctx, beepSource()); err != nil {
		return err
	}
	d.m.At = time.Now()
	t := newTaker(messageSilence, box.cfg.Limit)
	if err := s.SetSink(t); err != nil {
		return err
	}
	for more := true; more; {
		select {
		case key := <-keys:
			more = key != '#'
		case <-t.full:
			more = false
		case <-ctx.Done():
			more = false
		}
	}
	if d.m.PCM = t.taken(); len(d.m.PCM) > 0 {
		if err := d.user.state.put(d.m); err != nil {
			return err
		}
		l.mailed(d.user)
	}
	return ctx.Err()
}

func beepSource() media.Source {
	return media.NewPCMSource(soundRate, mediatest.Tone(1000, soundRate, soundRate/4, 8000), false)
}

// play plays until the end, or until the caller presses a key, which it
// returns; 0 for none.
func (l *life) play(ctx context.Context, s *media.Session, keys keypad, rate int, pcm []int16) (rune, error) {
	playing, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	l.work.Go(func() { done <- s.Play(playing, media.NewPCMSource(rate, pcm, false)) })
	select {
	case err := <-done:
		return 0, err
	case key := <-keys:
		stop()
		<-done
		return key, ctx.Err()
	}
}

// portal is a user's mailbox as he reaches it himself. It plays the messages,
// new ones first: 1 plays one again, 7 deletes it, 9 keeps it, # ends. One that
// he does neither to stays as it was.
type portal struct{ user *User }

func (p *portal) begin(now time.Time, c *serviceCall) {
	c.answer(now, func(ctx context.Context, s *media.Session) error {
		var list []VoiceMessage
		for _, old := range []bool{false, true} {
			for _, m := range p.user.state.list() {
				if m.Old == old {
					list = append(list, m)
				}
			}
		}
		keys := c.l.keys(ctx, s)
		if err := ask.play(ctx, s); err != nil {
			return err
		}
		for _, m := range list {
			more, err := p.message(ctx, c.l, s, keys, m)
			if err != nil || !more {
				return err
			}
		}
		return sorry.play(ctx, s) // no more messages
	})
}

// message plays one, and does with it what he wants.
func (p *portal) message(ctx context.Context, l *life, s *media.Session, keys keypad, m VoiceMessage) (more bool, err error) {
	key := '1'
	for {
		switch key {
		case '1':
			if key, err = l.play(ctx, s, keys, soundRate, m.PCM); err != nil {
				return false, err
			}
			if key != 0 {
				continue
			}
		case '7', '9':
			_ = p.user.state.mark(m.ID, key == '9') // an error: it is gone
			l.mailed(p.user)
			return true, confirm.(jingle).play(ctx, s)
		case '#':
			return false, nil
		}
		var ok bool
		if key, ok = keys.next(ctx, portalTime); !ok {
			return false, ctx.Err()
		}
	}
}

// atPortal serves the access codes of a user's own mailbox.
func (l *life) atPortal(now time.Time, s *transaction.Server, caller *User, f Feature) {
	if caller.Voicemail == nil {
		l.respond(now, s, sipgo.StatusForbidden)
		return
	}
	switch f {
	case VoicemailAlwaysOn, VoicemailAlwaysOff:
		l.set(now, s, caller, func(s *Settings) { s.VoicemailAlways = f == VoicemailAlwaysOn })
	case VoicemailBusyOn, VoicemailBusyOff:
		l.set(now, s, caller, func(s *Settings) { s.VoicemailBusy = f == VoicemailBusyOn })
	case VoicemailNoAnswerOn, VoicemailNoAnswerOff:
		l.set(now, s, caller, func(s *Settings) { s.VoicemailNoAnswer = f == VoicemailNoAnswerOn })
	case ClearIndicator:
		caller.state.heard()
		l.mailed(caller)
		l.serve(now, s, confirm)
	default:
		l.serve(now, s, &portal{caller})
	}
}
