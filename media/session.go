package media

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// maxLegs bounds the forks of a call.
const maxLegs = 64

// A Session is the media of one call: an audio stream with its sockets, keys
// and reports, fed by a [Source] and heard by a [Sink]. It is the
// offeranswer.Media of an [Engine]; the call drives that side of it, and the
// application the other. All methods may be called concurrently, but not by a
// Source or Sink of the session unless their documentation allows it.
type Session struct {
	e   *Engine
	env offeranswer.Env
	log *slog.Logger

	// nmu is held while something is negotiated, which may open sockets.
	nmu  sync.Mutex
	neg  *negotiate.Session
	legs map[string]*leg

	// turnMu is held for the whole of a turn, so that whoever has taken and
	// released it knows that no call of a Source or Sink is under way.
	turnMu sync.Mutex
	in     input  // of turns only
	out    output // of turns only

	// mu guards everything below, and the legs.
	mu         sync.Mutex
	closed     bool
	done       chan struct{}
	wg         sync.WaitGroup // closing of sources and sinks
	pacer      *pacer
	sockets    *sockets
	former     *sockets // of before Rebind, heard until the next agreement
	all        []*leg
	selected   *leg
	last       *leg      // selected until it was closed: for statistics
	before     *leg      // still heard, while selected has not begun
	until      time.Time // at most
	gap        gaps
	local      netip.AddrPort // of RTP
	send       sender
	rtcp       reporter
	held       holding // packets that may turn out to be good
	offering   bool    // the first offer waits for an answer
	dtmf       digits  // received; has a lock of its own
	press      presser // sent
	ended      bool    // a failure was told
	muted      bool
	meter      meter
	source     *attached[Source]
	playing    *attached[Source] // by Play: before source
	holdSource *attached[Source] // while we hold the peer: before both
	sink       *attached[Sink]
	recorder   *attached[*Recorder]
	party      *party // in a mixer
	counts     counters
	events     []offeranswer.Event // to be told when no lock is held
	turns      uint32
}

func newSession(e *Engine, env offeranswer.Env) (*Session, error) {
	neg, err := negotiate.New(e.cfg.negotiation(env.Secure))
	if err != nil {
		return nil, err
	}
	s := &Session{
		e: e, env: env, log: e.cfg.Logger, neg: neg,
		legs: make(map[string]*leg), done: make(chan struct{}),
	}
	if err := s.send.reset(e.cfg.Rand); err != nil {
		return nil, err
	}
	if err := s.rtcp.init(e.cfg.Rand, e.cfg.RTCPInterval); err != nil {
		return nil, err
	}
	return s, nil
}

// Offer makes the offer of the first INVITE (offeranswer.Media).
func (s *Session) Offer(ctx context.Context, o offeranswer.Options) ([]byte, error) {
	s.nmu.Lock()
	defer s.nmu.Unlock()
	if len(o.Add) > 0 {
		return nil, ErrStreams
	}
	sdp, err := s.neg.Offer(o, s.locate(ctx))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.offering = true
	s.mu.Unlock()
	return sdp, nil
}

// Leg returns the leg for a dialog (offeranswer.Media).
func (s *Session) Leg(dialog string) (offeranswer.Leg, error) {
	s.nmu.Lock()
	defer s.nmu.Unlock()
	if l := s.legs[dialog]; l != nil {
		return l, nil
	}
	if len(s.legs) >= maxLegs {
		return nil, fmt.Errorf("%w: more than %d", ErrLeg, maxLegs)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	l := &leg{s: s, dialog: dialog, neg: s.neg.Leg(), inherits: s.offering}
	s.legs[dialog] = l
	s.all = append(s.all, l)
	return l, nil
}

// Select makes one leg the one that is heard and sent to
// (offeranswer.Media). What is sent goes there at once. The leg selected before
// is heard, even if it is closed meanwhile, until the first sound of the new
// one is due, for at most half a second. If the new one is closed instead,
// the former is selected again.
func (s *Session) Select(l offeranswer.Leg) error {
	s.nmu.Lock()
	defer s.nmu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	leg, ok := l.(*leg)
	switch {
	case !ok || leg.s != s:
		return ErrLeg
	case s.closed || leg.closed:
		return ErrClosed
	}
	return s.choose(leg)
}

// choose makes l the selected leg. The caller holds mu.
func (s *Session) choose(l *leg) error {
	if s.selected == l {
		return nil
	}
	s.handOver(l)
	return s.configure()
}

// Rebind moves the sockets to another local address (offeranswer.Media). What
// is sent comes from there at once; the former sockets are heard until
// something new is agreed.
func (s *Session) Rebind(ctx context.Context, local netip.Addr) error {
	s.nmu.Lock()
	defer s.nmu.Unlock()
	s.env.Local = local
	s.mu.Lock()
	none, closed := s.sockets == nil, s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if none {
		return nil // the first offer or answer opens them there
	}
	addr, err := s.e.localFor(ctx, local, netip.Addr{})
	if err != nil {
		return err
	}
	k, err := s.e.open(ctx, addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		k.close()
		return ErrClosed
	}
	if s.former != nil {
		s.former.close()
	}
	s.former, s.sockets, s.local = s.sockets, k, k.local.RTP
	return nil
}

// locate gives the address of the stream, and opens its sockets at first use.
// The caller of what it returns holds nmu.
func (s *Session) locate(ctx context.Context) negotiate.Locate {
	return func(_ int, remote netip.Addr) (negotiate.Transport, error) {
		s.mu.Lock()
		k, closed := s.sockets, s.closed
		s.mu.Unlock()
		switch {
		case closed:
			return negotiate.Transport{}, ErrClosed
		case k != nil:
			return k.local, nil
		}
		local, err := s.e.localFor(ctx, s.env.Local, remote)
		if err != nil {
			return negotiate.Transport{}, err
		}
		k, err = s.e.open(ctx, local)
		if err != nil {
			return negotiate.Transport{}, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			k.close()
			return negotiate.Transport{}, ErrClosed
		}
		s.sockets, s.local = k, k.local.RTP
		s.pacer = s.e.place(s)
		return k.local, nil
	}
}

// Close ends the session: an RTCP BYE goes out, and sources, sinks and the
// recorder are closed (offeranswer.Media).
func (s *Session) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.closed = true
	party := s.party
	s.bye()
	if s.pacer != nil {
		s.pacer.remove(s)
	}
	for _, k := range []*sockets{s.sockets, s.former} {
		if k != nil {
			k.close()
		}
	}
	s.sockets, s.former = nil, nil
	s.held.clear()
	s.mu.Unlock()
	if party != nil {
		party.m.Remove(s)
	}

	s.afterTurn() // before anything is closed under it
	s.detachAll()
	s.wg.Wait()
	s.dtmf.close()
	s.e.forget(s)
	close(s.done)
	return nil
}

// afterTurn returns when no turn is under way. One that begins later does not
// see what was detached before.
func (s *Session) afterTurn() {
	s.turnMu.Lock()
	defer s.turnMu.Unlock()
}

// Wait returns nil when the session is closed, or the context's error.
func (s *Session) Wait(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Mute sends silence in place of the source, which is read on as before. Keys
// and reports go on.
func (s *Session) Mute(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted = on
}

// Muted tells whether silence is sent in place of the source.
func (s *Session) Muted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.muted
}

// notify queues an event for the call. The caller holds mu, and sees that
// flush is called without it.
func (s *Session) notify(l *leg, kind offeranswer.EventKind, err error) {
	ev := offeranswer.Event{Kind: kind, Err: err}
	if l != nil {
		ev.Leg = l.dialog
	}
	s.events = append(s.events, ev)
}

// takeEvents returns what is to be told. The caller holds mu.
func (s *Session) takeEvents() []offeranswer.Event {
	if len(s.events) == 0 {
		return nil
	}
	ev := s.events
	s.events = nil
	return ev
}

func (s *Session) tell(events []offeranswer.Event) {
	for _, ev := range events {
		if s.env.Notify != nil {
			s.env.Notify(ev)
		}
	}
}

// turn is the session's share of the pacer's time, once per frame: read what
// came, play a frame of it, send a frame, and see to the reports.
func (s *Session) turn(w *work, due time.Time) { s.turnAt(w, due, time.Now()) }

func (s *Session) turnAt(w *work, due, now time.Time) {
	s.turnMu.Lock()
	defer s.turnMu.Unlock()

	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.turns++
	s.receive(w, now)
	heard, rate := s.play(w, now)
	s.housekeep(now)
	events := s.takeEvents()
	sending := s.sendRate()
	source, sink, rec, muted := s.source, s.sink, s.recorder, s.muted
	party, mixed := s.party, s.party != nil
	switch {
	case s.selected != nil && s.selected.media.Holds():
		source, mixed = s.holdSource, false
	case s.playing != nil:
		source, mixed = s.playing, false
	}
	hears := s.selected != nil && s.selected.media.Receives()
	metering := s.meter.wanted > 0
	s.mu.Unlock()

	s.tell(events)
	var in frameLevel
	if metering {
		in = measure(heard)
	}
	switch {
	case heard == nil:
	case party != nil:
		if hears {
			due := party.say(&w.pcm, heard, rate, sending, now)
			party.m.turns(due, now)
		}
	case sink != nil:
		if err := s.out.write(&w.pcm, sink.it, heard, rate); err != nil {
			s.dropSink(sink, err)
		}
	}
	var said []int16
	if sending > 0 {
		if mixed {
			var due int
			said, due = party.hear(&w.pcm, sending, now)
			party.m.turns(due, now)
		} else {
			said = s.in.read(s, &w.pcm, source, sending)
		}
		if muted {
			clear(said)
		}
	}
	if rec != nil && (heard != nil || said != nil) {
		if err := rec.it.frame(said, sending, heard, rate); err != nil {
			s.dropRecorder(rec, err)
		}
	}
	if said == nil && !metering {
		return
	}
	s.mu.Lock()
	if metering {
		s.meter.wanted--
		s.meter.in.add(in)
		s.meter.out.add(measure(said))
	}
	if said != nil && !s.closed && s.sendRate() == sending {
		s.sendFrame(w, said, due)
	}
	events = s.takeEvents()
	s.mu.Unlock()
	s.tell(events)
}

// leave takes a leg out. The caller holds nmu and mu.
func (s *Session) leave(l *leg) {
	delete(s.legs, l.dialog)
	s.all = slices.DeleteFunc(s.all, func(o *leg) bool { return o == l })
	if s.selected != l {
		return
	}
	s.bye()
	if next := s.successor(); next != nil {
		_ = s.choose(next)
		return
	}
	s.selected, s.last, s.before = nil, l, nil
	_ = s.configure()
}
