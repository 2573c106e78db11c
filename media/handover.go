package media

import (
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// handoverLimit is how long the leg or source that was heard goes on while the
// one in its place is silent. A peer that moves is there long before; one that
// has nothing to say should not be spoken for by another.
const handoverLimit = 500 * time.Millisecond

// handOver makes l the selected leg. The one that was heard goes on being heard
// until there is sound of l. The caller holds mu.
func (s *Session) handOver(l *leg) {
	was := s.selected
	s.selected, s.last = l, nil
	if l == s.before {
		s.before = nil // back to what is heard anyway
		return
	}
	l.rx.restart()
	switch {
	case l.agreed && !l.media.Receives():
		s.before = nil // nothing of it will be heard, by agreement
	case s.before != nil:
		s.until = time.Now().Add(handoverLimit) // from before was
	case was != nil && was.agreed && was.rx.begun():
		s.before, s.until = was, time.Now().Add(handoverLimit)
	}
}

// successor is who is selected when the selected leg is closed: the one it was
// to take the place of, or another that has media, nil if there is none. The
// caller holds mu.
func (s *Session) successor() *leg {
	if s.before != nil && !s.before.closed {
		return s.before
	}
	if i := slices.IndexFunc(s.all, func(o *leg) bool { return o.agreed && !o.media.Disabled }); i >= 0 {
		return s.all[i]
	}
	return nil
}

// hears tells whether the sound of a leg is wanted. The caller holds mu.
func (s *Session) hears(l *leg) bool { return l == s.selected || l == s.before }

// play returns the next 20 ms of what is received and their rate, nil before
// anything is agreed. The caller holds mu.
func (s *Session) play(w *work, now time.Time) (pcm []int16, rate int) {
	l := s.selected
	if l == nil || !l.agreed && s.before == nil {
		s.gap.frame(madeUp)
		return nil, 0
	}
	if s.before != nil {
		if now.Before(s.until) && !(l.agreed && l.rx.begin(now)) {
			l = s.before
		} else {
			s.before = nil
		}
	}
	if !l.agreed {
		s.gap.frame(madeUp)
		return nil, 0
	}
	pcm, rate, of := l.rx.frame(w.pcm[0][:0], now)
	if !l.started && l.rx.cur.begun {
		l.started = true
		s.notify(l, offeranswer.Started, nil)
	}
	if rate == 0 {
		return nil, 0
	}
	if !l.media.Receives() {
		clear(pcm)
		of = quiet
	}
	s.gap.frame(of)
	return pcm, rate
}

// gaps measures for how long nothing was received that should have been.
type gaps struct {
	heard bool // the peer, since the session began
	run   int  // frames
	most  int
}

func (g *gaps) frame(of origin) {
	switch {
	case of == received:
		g.heard, g.run = true, 0
	case of == quiet:
		g.run = 0
	case g.heard:
		g.run++
		g.most = max(g.most, g.run)
	}
}

func (g *gaps) longest() time.Duration { return time.Duration(g.most) * frameTime }

// ResetGap makes [Stats.LongestGap] zero, and lets it count from now on.
//
// LongestGap is the longest run of frames, as a multiple of 20 ms, in which no
// sample came from a packet of the peer once the peer had been heard: silence,
// and what was made up in place of lost or late packets. The run that has not
// ended yet counts. Frames in which the peer need not send end a run and are
// not counted: one side holds the other, or the peer has announced its silence
// (RFC 3389). A peer that leaves out silence without announcing it makes gaps.
// It is measured over all dialogs of the call, whichever is heard, so that it
// tells what a move has cost.
func (s *Session) ResetGap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gap.run, s.gap.most = 0, 0
}
