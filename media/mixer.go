package media

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// A Mixer merges calls on the device: the peer of each session in it hears those
// of all others, and the user, who has ears and mouth of his own here. Make it
// with [Engine.NewMixer]. Its methods may be called concurrently, and by a Source
// or Sink unless their documentation says otherwise.
//
// Each party is mixed at the rate of its own codec; sums beyond what a sample
// can be are limited gently. Mixing takes 20 ms on average. There is no bound on
// the parties; what one costs does not depend on how many there are.
type Mixer struct {
	e    *Engine
	mu   sync.Mutex
	mix  mix
	open map[*Session]*party

	// Everything below is the user's. driving is held while it has its turn.
	closed   bool
	source   *attached[Source]
	sink     *attached[Sink]
	recorder *attached[*Recorder]
	user     place
	driving  sync.Mutex
	in       input   // of turns only
	out      output  // of turns only
	pcm      scratch // of turns only
	wg       sync.WaitGroup
}

// Errors of a Mixer, for errors.Is.
var (
	// ErrParty is returned for media that a [Mixer] cannot mix, or that do not
	// take part.
	ErrParty = errors.New("media: not a party of the mixer")

	// ErrMixed is returned for a session that is in another [Mixer].
	ErrMixed = errors.New("media: the session is in another mixer")
)

// NewMixer makes a [*Mixer]. It is an offeranswer.NewMixer. The only error is
// [ErrClosed].
func (e *Engine) NewMixer() (offeranswer.Mixer, error) {
	m := &Mixer{e: e, open: make(map[*Session]*party), pcm: newScratch()}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	e.mixers[m] = struct{}{}
	return m, nil
}

// party is a session in a mixer. What is not the place is the session's turn's.
type party struct {
	m    *Mixer
	at   place
	in   output // brings what is heard to the rate of what is sent
	back output // brings the mix to that of a codec with a rate of its own
}

// Add lets the peer of a session take part (offeranswer.Mixer). The session's own
// source and sink are set aside: they are neither read nor written until it
// leaves. What [Session.Play] plays still goes to this peer alone, its recorder
// and its levels go on, and while the peer is held it does not take part. The
// error is [ErrParty] for media that are no [*Session], [ErrMixed], or
// [ErrClosed].
func (m *Mixer) Add(media offeranswer.Media) error {
	s, ok := media.(*Session)
	if !ok || s == nil {
		return ErrParty
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.party != nil && s.party.m != m:
		return ErrMixed
	case s.party == nil:
		p := &party{m: m}
		m.open[s], s.party = p, p
	}
	return nil
}

// Remove lets the peer of a session go (offeranswer.Mixer). The only error is
// [ErrParty], for media that are no session.
func (m *Mixer) Remove(media offeranswer.Media) error {
	s, ok := media.(*Session)
	if !ok || s == nil {
		return ErrParty
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(s)
	return nil
}

// remove is called with mu held.
func (m *Mixer) remove(s *Session) {
	if m.open[s] == nil {
		return
	}
	delete(m.open, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.party = nil
}

// Mute keeps what the peer of a session says from the others, who are heard by
// it as before (offeranswer.Mixer). [Session.Mute] is the opposite: that peer
// hears nothing. The error is [ErrParty].
func (m *Mixer) Mute(media offeranswer.Media, on bool) error {
	s, _ := media.(*Session)
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.open[s]
	if p == nil {
		return ErrParty
	}
	p.at.muted = on
	return nil
}

// Level is how loud the peer of a session is, see [Session.Levels]. The error is
// [ErrParty].
func (m *Mixer) Level(media offeranswer.Media) (Level, error) {
	s, _ := media.(*Session)
	m.mu.Lock()
	p := m.open[s]
	m.mu.Unlock()
	if p == nil {
		return Level{}, ErrParty
	}
	return s.Levels().In, nil
}

// MuteUser keeps what the user says from all parties.
func (m *Mixer) MuteUser(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.user.muted = on
}

// SetSource makes src what the user says, from the next frame on, on the terms
// of [Session.SetSource]. It is read while sessions take part.
func (m *Mixer) SetSource(src Source) error {
	var a *attached[Source]
	if src != nil {
		if err := checkRate(src.SampleRate()); err != nil {
			return err
		}
		a = &attached[Source]{it: src}
	}
	return attachMixer(m, &m.source, a)
}

// SetSink makes sink what hears all parties, from the next frame on, on the
// terms of [Session.SetSink]. It is written while sessions take part.
func (m *Mixer) SetSink(sink Sink) error {
	var a *attached[Sink]
	if sink != nil {
		if err := checkRate(sink.SampleRate()); err != nil {
			return err
		}
		a = &attached[Sink]{it: sink}
	}
	return attachMixer(m, &m.sink, a)
}

// SetRecorder records the user, and all parties together, on the terms of
// [Session.SetRecorder].
func (m *Mixer) SetRecorder(r *Recorder) error {
	var a *attached[*Recorder]
	if r != nil {
		a = &attached[*Recorder]{it: r}
	}
	return attachMixer(m, &m.recorder, a)
}

func attachMixer[T any](m *Mixer, slot **attached[T], a *attached[T]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	old := *slot
	*slot = a
	disposeMixer(m, old)
	return nil
}

// disposeMixer closes what was detached, once no turn uses it any more. The
// caller holds mu.
func disposeMixer[T any](m *Mixer, a *attached[T]) {
	if a == nil {
		return
	}
	m.wg.Go(func() {
		m.afterTurn()
		a.close(m.e.cfg.Logger)
	})
}

// afterTurn returns when the user's turn is not under way.
func (m *Mixer) afterTurn() {
	m.driving.Lock()
	defer m.driving.Unlock()
}

// finish takes the user's source out that has ended.
func (m *Mixer) finish(a *attached[Source], _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.source == a {
		m.source = nil
		disposeMixer(m, a)
	}
}

// Close lets all parties go and closes the user's source, sink and recorder
// (offeranswer.Mixer). Ports hear silence from then on. It must not be called by
// a Source or Sink of the mixer.
func (m *Mixer) Close() error {
	m.mu.Lock()
	m.closed = true
	for s := range m.open {
		m.remove(s)
	}
	disposeMixer(m, m.source)
	disposeMixer(m, m.sink)
	disposeMixer(m, m.recorder)
	m.source, m.sink, m.recorder = nil, nil, nil
	m.mu.Unlock()
	m.wg.Wait()
	m.e.mu.Lock()
	defer m.e.mu.Unlock()
	delete(m.e.mixers, m)
	return nil
}

// say takes what a session hears. to is the rate of what it sends, 0 if it does
// not. It returns how many turns the user is due.
func (p *party) say(buf *scratch, pcm []int16, rate, to int, now time.Time) int {
	if to == 0 {
		to = rate
	}
	i := busFor(to)
	pcm, err := p.in.convert(buf, pcm, rate, mixRates[i])
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	due := p.m.mix.advance(now)
	if err == nil && len(pcm) == mixRates[i]/50 {
		p.m.mix.say(&p.at, i, pcm, now)
	}
	return due
}

// hear returns what a session sends, at its rate, in scratch space.
func (p *party) hear(buf *scratch, rate int, now time.Time) (pcm []int16, due int) {
	i := busFor(rate)
	pcm = buf[1][:mixRates[i]/50]
	p.m.mu.Lock()
	due = p.m.mix.advance(now)
	p.m.mix.hear(&p.at, i, pcm, now)
	p.m.mu.Unlock()
	if rate == mixRates[i] {
		return pcm, due
	}
	pcm, err := p.back.convert(buf, pcm, mixRates[i], rate)
	if err != nil || len(pcm) != rate/50 {
		pcm = buf[1][:rate/50]
		clear(pcm)
	}
	return append(buf[1][:0], pcm...), due
}

// drive gives the user his turn, by whoever came first in a slot.
func (m *Mixer) drive(now time.Time) {
	if !m.driving.TryLock() {
		return // what was given to the user before is still with him: this frame is lost
	}
	defer m.driving.Unlock()
	m.mu.Lock()
	source, sink, rec, closed := m.source, m.sink, m.recorder, m.closed
	m.mu.Unlock()
	if closed || source == nil && sink == nil && rec == nil {
		return
	}
	rate := 16000
	if source != nil {
		rate = source.it.SampleRate()
	}
	if sink != nil {
		rate = max(rate, sink.it.SampleRate())
	}
	i := busFor(rate)
	rate = mixRates[i]
	said := m.in.read(m, &m.pcm, source, rate)
	heard := m.pcm[0][:rate/50]
	m.mu.Lock()
	m.mix.say(&m.user, i, said, now)
	muted := m.user.muted
	m.mix.hear(&m.user, i, heard, now)
	m.mu.Unlock()
	if sink != nil {
		if err := m.out.write(&m.pcm, sink.it, heard, rate); err != nil {
			dropMixer(m, &m.sink, sink, err)
		}
	}
	if rec != nil {
		if muted {
			clear(said)
		}
		if err := rec.it.frame(said, rate, heard, rate); err != nil {
			dropMixer(m, &m.recorder, rec, err)
		}
	}
}

func dropMixer[T any](m *Mixer, slot **attached[T], a *attached[T], err error) {
	m.e.cfg.Logger.Warn("media: writing sound failed, nothing more is written", "err", err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if *slot == a {
		*slot = nil
		disposeMixer(m, a)
	}
}

// A Port takes part in a [Mixer] without a call: a bot that hears and speaks, or
// the link to another mixer. It is a [Sink] for what it says and a [Source] of
// what it hears, each of which may be called every 20 ms, by one goroutine at a
// time.
type Port struct {
	m    *Mixer
	rate int

	saying, hearing sync.Mutex
	in, back        output
	inBuf, backBuf  scratch

	// Under the mixer's mu.
	at     place
	closed bool
}

var (
	_ io.Closer = (*Port)(nil)
	_ Source    = (*Port)(nil)
	_ Sink      = (*Port)(nil)
)

// NewPort lets a program take part, at rate Hz. The error wraps [ErrRate], also
// for a rate that is no multiple of 50 Hz, or is [ErrClosed].
func (m *Mixer) NewPort(rate int) (*Port, error) {
	if err := checkRate(rate); err != nil || rate%50 != 0 {
		return nil, errors.Join(ErrRate, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	return &Port{m: m, rate: rate, inBuf: newScratch(), backBuf: newScratch()}, nil
}

// SampleRate is the port's rate in Hz.
func (p *Port) SampleRate() int { return p.rate }

// WriteFrame says 20 ms to all parties. It returns [ErrClosed] once the port or
// the mixer is closed, and an error that wraps [ErrRate] for a frame of another
// length.
func (p *Port) WriteFrame(pcm []int16) error {
	p.saying.Lock()
	defer p.saying.Unlock()
	if len(pcm) != p.rate/50 {
		return ErrRate
	}
	i := busFor(p.rate)
	pcm, err := p.in.convert(&p.inBuf, pcm, p.rate, mixRates[i])
	if err != nil {
		return err
	}
	now := time.Now()
	p.m.mu.Lock()
	if p.closed || p.m.closed {
		p.m.mu.Unlock()
		return ErrClosed
	}
	due := p.m.mix.advance(now)
	if len(pcm) == mixRates[i]/50 {
		p.m.mix.say(&p.at, i, pcm, now)
	}
	p.m.mu.Unlock()
	p.m.turns(due, now)
	return nil
}

// ReadFrame fills pcm with the next 20 ms of all parties but the port. It
// returns io.EOF once the port or the mixer is closed.
func (p *Port) ReadFrame(pcm []int16) (int, error) {
	p.hearing.Lock()
	defer p.hearing.Unlock()
	i, now := busFor(p.rate), time.Now()
	mixed := p.backBuf[1][:mixRates[i]/50]
	p.m.mu.Lock()
	if p.closed || p.m.closed {
		p.m.mu.Unlock()
		return 0, io.EOF
	}
	due := p.m.mix.advance(now)
	p.m.mix.hear(&p.at, i, mixed, now)
	p.m.mu.Unlock()
	p.m.turns(due, now)
	mixed, err := p.back.convert(&p.backBuf, mixed, mixRates[i], p.rate)
	return copy(pcm, mixed), err
}

// turns gives the user the turns that are due.
func (m *Mixer) turns(due int, now time.Time) {
	for range due {
		m.drive(now)
	}
}

// Close leaves the mixer. It is idempotent.
func (p *Port) Close() error {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.closed = true
	return nil
}
