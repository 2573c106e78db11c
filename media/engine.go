package media

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// An Engine makes the media of calls and paces them. Its methods may be called
// concurrently. Without sessions it has no goroutine.
type Engine struct {
	cfg    Config
	pacers []*pacer
	wg     sync.WaitGroup // pacers

	mu       sync.Mutex
	sessions map[*Session]struct{}
	mixers   map[*Mixer]struct{}
	closed   bool
}

// NewEngine makes an engine. A nil cfg is the zero Config. The error says what in
// cfg is out of its range.
func NewEngine(cfg *Config) (*Engine, error) {
	e := &Engine{sessions: make(map[*Session]struct{}), mixers: make(map[*Mixer]struct{})}
	if cfg != nil {
		e.cfg = *cfg
	}
	if err := e.cfg.complete(); err != nil {
		return nil, err
	}
	for range e.cfg.Pacers {
		e.pacers = append(e.pacers, &pacer{wg: &e.wg})
	}
	return e, nil
}

// NewSession makes the media of one call, a [*Session]. It is an
// offeranswer.New: sip.Config takes it as NewMedia.
func (e *Engine) NewSession(_ context.Context, env offeranswer.Env) (offeranswer.Media, error) {
	s, err := newSession(e, env)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	e.sessions[s] = struct{}{}
	return s, nil
}

// Close ends all sessions and mixers and waits for the engine's goroutines. It must not
// be called by a [Source] or [Sink]. It is idempotent.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	open := make([]*Session, 0, len(e.sessions))
	for s := range e.sessions {
		open = append(open, s)
	}
	mixers := slices.Collect(maps.Keys(e.mixers))
	e.mu.Unlock()
	for _, m := range mixers {
		m.Close()
	}
	for _, s := range open {
		s.Close()
	}
	e.wg.Wait()
	return nil
}

func (e *Engine) forget(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s)
}

// place gives a session to the pacer that has the fewest, and prefers the
// first while it has little to do: one goroutine that wakes up for many is
// cheaper than several that wake up for few.
func (e *Engine) place(s *Session) *pacer {
	best := e.pacers[0]
	if n := best.len(); n >= aloneUntil {
		for _, p := range e.pacers[1:] {
			if m := p.len(); m < n {
				best, n = p, m
			}
		}
	}
	best.add(s)
	return best
}

// FromCall returns the session of a call whose media an [Engine] made. ok is
// false before the call has media, and for media of another kind.
func FromCall(call interface{ Media() offeranswer.Media }) (s *Session, ok bool) {
	s, ok = call.Media().(*Session)
	return s, ok && s != nil
}
