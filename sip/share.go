package sip

import (
	"context"
	"net/netip"
	"strconv"
	"sync"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// sharedMedia are the media of one call. They outlive its dialog sets, each of
// which has a [mediaView] of them: so the sound goes on while the call moves.
type sharedMedia struct {
	// use is held during an operation: "the methods of one Media and of its
	// legs are called one at a time", and two machines know nothing of each
	// other. It is a channel for one, since operations may take their time.
	use turnstile

	mu     sync.Mutex        // not held while media are called, which may notify
	media  offeranswer.Media // nil: not made yet. Written under use, too
	views  []*mediaView
	count  int  // views made so far, for their names
	ended  bool // the call has
	closed bool
}

// turnstile lets one in at a time.
type turnstile chan struct{}

func (t turnstile) enter() { t <- struct{}{} }
func (t turnstile) leave() { <-t }

// mediaView are a call's media as one dialog set sees them.
type mediaView struct {
	s      *sharedMedia
	prefix string // of the names of its legs: two peers may draw the same tag
	open   bool   // under s.mu
	legs   map[string]*sharedLeg
	notify func(offeranswer.Event)
}

// sharedLeg is a leg of a view.
type sharedLeg struct {
	v    *mediaView
	name string // for the view
	leg  offeranswer.Leg
}

// view makes the next view. It counts once media are made through it.
func (s *sharedMedia) view() *mediaView {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := &mediaView{s: s}
	if s.count > 0 {
		v.prefix = strconv.Itoa(s.count) + " " // no tag has a space
	}
	s.count++
	return v
}

// make makes the media, unless another view has. The view is open then, and is
// closed with Close.
func (v *mediaView) make(ctx context.Context, env offeranswer.Env, fresh offeranswer.New) (offeranswer.Media, error) {
	s := v.s
	s.use.enter()
	defer s.use.leave()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrEnded
	}
	v.open, v.notify = true, env.Notify
	s.views = append(s.views, v)
	s.mu.Unlock()
	if s.media == nil {
		env.Notify = s.notify
		m, err := fresh(ctx, env)
		if err != nil {
			v.leave()
			return nil, err
		}
		s.mu.Lock()
		s.media = m
		s.mu.Unlock()
	}
	return v, nil
}

// leave takes the view off, and tells whether it was the last that anybody
// waited for.
func (v *mediaView) leave() (last bool) {
	s := v.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !v.open {
		return false
	}
	v.open = false
	for i, o := range s.views {
		if o == v {
			s.views = append(s.views[:i:i], s.views[i+1:]...)
			break
		}
	}
	return s.over()
}

// over closes the account, once: the call has ended and no view is open.
// The caller holds mu.
func (s *sharedMedia) over() bool {
	if !s.ended || s.closed || len(s.views) > 0 {
		return false
	}
	s.closed = true
	return true
}

// end notes that the call has ended, and tells whether the media are to be
// closed now. Otherwise the last view does it.
func (s *sharedMedia) end() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.over()
}

// close closes the media. Outside the loop.
func (s *sharedMedia) close() error {
	s.use.enter()
	defer s.use.leave()
	if s.media == nil {
		return nil
	}
	return s.media.Close()
}

// real are the media themselves, as the application knows them.
func real(m offeranswer.Media) offeranswer.Media {
	v, ok := m.(*mediaView)
	if !ok {
		return m
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.s.media
}

// notify hands an event to the views it concerns: to the one that has the leg,
// to all where none is named.
func (s *sharedMedia) notify(e offeranswer.Event) {
	s.mu.Lock()
	views := append([]*mediaView(nil), s.views...)
	if e.Leg != "" {
		for _, v := range views {
			if l := v.legs[e.Leg]; l != nil {
				views, e.Leg = []*mediaView{v}, l.name
				break
			}
		}
	}
	s.mu.Unlock()
	for _, v := range views {
		v.notify(e)
	}
}

// Offer makes the offer of an INVITE (offeranswer.Media).
func (v *mediaView) Offer(ctx context.Context, o offeranswer.Options) ([]byte, error) {
	v.s.use.enter()
	defer v.s.use.leave()
	return v.s.media.Offer(ctx, o)
}

// Leg returns the leg for a dialog (offeranswer.Media).
func (v *mediaView) Leg(dialog string) (offeranswer.Leg, error) {
	s := v.s
	s.use.enter()
	defer s.use.leave()
	name := v.prefix + dialog
	s.mu.Lock()
	l := v.legs[name]
	s.mu.Unlock()
	if l != nil {
		return l, nil
	}
	leg, err := s.media.Leg(name)
	if err != nil {
		return nil, err
	}
	l = &sharedLeg{v: v, name: dialog, leg: leg}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.legs == nil {
		v.legs = make(map[string]*sharedLeg)
	}
	v.legs[name] = l
	return l, nil
}

// Select makes one leg the one that is heard and sent to (offeranswer.Media).
func (v *mediaView) Select(l offeranswer.Leg) error {
	v.s.use.enter()
	defer v.s.use.leave()
	if own, ok := l.(*sharedLeg); ok {
		l = own.leg
	}
	return v.s.media.Select(l)
}

// choose selects the leg of a dialog, if the view is still open and has it.
// Outside the loop.
func (v *mediaView) choose(dialog string) error {
	v.s.mu.Lock()
	l, open := v.legs[v.prefix+dialog], v.open
	v.s.mu.Unlock()
	if l == nil || !open {
		return nil
	}
	return v.Select(l)
}

// Rebind moves the sockets (offeranswer.Media).
func (v *mediaView) Rebind(ctx context.Context, local netip.Addr) error {
	v.s.use.enter()
	defer v.s.use.leave()
	return v.s.media.Rebind(ctx, local)
}

// Close ends the legs of the view, and the media with the last view of a call
// that has ended (offeranswer.Media).
func (v *mediaView) Close() error {
	s := v.s
	s.mu.Lock()
	legs := v.legs
	v.legs = nil
	s.mu.Unlock()
	last := v.leave()
	if last {
		return s.close()
	}
	s.use.enter()
	defer s.use.leave()
	for _, l := range legs {
		l.leg.Close()
	}
	return nil
}

// Offer makes an offer within the dialog (offeranswer.Leg).
func (l *sharedLeg) Offer(ctx context.Context, o offeranswer.Options) ([]byte, error) {
	l.v.s.use.enter()
	defer l.v.s.use.leave()
	return l.leg.Offer(ctx, o)
}

// Answer makes the answer to the peer's offer (offeranswer.Leg).
func (l *sharedLeg) Answer(ctx context.Context, offer []byte, o offeranswer.Options) ([]byte, error) {
	l.v.s.use.enter()
	defer l.v.s.use.leave()
	return l.leg.Answer(ctx, offer, o)
}

// SetAnswer takes the peer's answer (offeranswer.Leg).
func (l *sharedLeg) SetAnswer(ctx context.Context, sdp []byte, provisional bool) error {
	l.v.s.use.enter()
	defer l.v.s.use.leave()
	return l.leg.SetAnswer(ctx, sdp, provisional)
}

// Commit puts the staged answer in force (offeranswer.Leg).
func (l *sharedLeg) Commit() error {
	l.v.s.use.enter()
	defer l.v.s.use.leave()
	return l.leg.Commit()
}

// Rollback returns to what was last agreed (offeranswer.Leg).
func (l *sharedLeg) Rollback() error {
	l.v.s.use.enter()
	defer l.v.s.use.leave()
	return l.leg.Rollback()
}

// Local is the session description last agreed (offeranswer.Leg).
func (l *sharedLeg) Local() []byte {
	l.v.s.use.enter()
	defer l.v.s.use.leave()
	return l.leg.Local()
}

// Streams describes what is agreed (offeranswer.Leg).
func (l *sharedLeg) Streams() []offeranswer.Stream {
	l.v.s.use.enter()
	defer l.v.s.use.leave()
	return l.leg.Streams()
}

// Close ends the leg (offeranswer.Leg).
func (l *sharedLeg) Close() error {
	l.v.s.use.enter()
	defer l.v.s.use.leave()
	return l.leg.Close()
}
