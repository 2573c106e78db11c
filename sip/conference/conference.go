// Package conference merges calls of a user: everyone hears everyone else.
//
//	conf, err := conference.Merge(ctx, &conference.Config{NewMixer: engine.NewMixer}, a, b)
//	err = conf.Add(ctx, c)
//	calls, err := conf.Split(ctx)
//
// The device mixes, through the offeranswer.Mixer of its media. To those it
// merges nothing is said: each has a call with this user as before.
package conference

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

var (
	// ErrClosed: the conference is over.
	ErrClosed = errors.New("conference: over")
	// ErrCall: the call cannot take part, because it is not established, has
	// no media, or takes part already.
	ErrCall = errors.New("conference: the call cannot take part")
	// ErrParticipant: nobody of that identity takes part.
	ErrParticipant = errors.New("conference: no such participant")
	// ErrFull: as many take part as may.
	ErrFull = errors.New("conference: full")
)

// DefaultMaxParticipants is that of a [Config] which says 0.
const DefaultMaxParticipants = 64

// Config says how calls are merged.
type Config struct {
	// NewMixer makes the mixer: media.Engine.NewMixer, or a function around it
	// that gives the mixer the user's ears and mouth. It is required.
	NewMixer offeranswer.NewMixer

	// MaxParticipants bounds the others who take part; 0 is
	// [DefaultMaxParticipants].
	MaxParticipants int
}

// A Participant is somebody else in a conference.
type Participant struct {
	// ID tells the participants of one conference apart, and stays.
	ID string
	// Party is who it is now: a call may be transferred while it takes part.
	Party sip.Party
	// Call is that with the participant.
	Call *sip.Call
	// Since is when the participant came.
	Since time.Time
	// Muted says that the others do not hear the participant.
	Muted bool
	// Held says who is on hold: then neither hears the other.
	Held sip.Hold
}

// A Conference is calls that were merged. Its methods may be called from any
// goroutine.
type Conference struct {
	mixer  offeranswer.Mixer
	max    int
	ctx    context.Context // ends with the conference
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// busy is held by what changes who takes part, which may take a while.
	busy chan struct{}

	mu      sync.Mutex
	members []*member // in the order they came
	changed chan struct{}
	over    bool
}

type member struct {
	call  *sip.Call
	media offeranswer.Media
	since time.Time
	muted bool
}

// Merge makes a conference of calls, of one or several accounts. Those that the
// user holds are resumed; one that cannot be is an error, and then every call is
// as it was. The conference ends when the last participant has gone. Errors wrap
// [ErrCall], [ErrFull], what Resume said, or the mixer's.
func Merge(ctx context.Context, cfg *Config, calls ...*sip.Call) (*Conference, error) {
	if cfg == nil || cfg.NewMixer == nil {
		return nil, errors.New("conference: no mixer")
	}
	m, err := cfg.NewMixer()
	if err != nil {
		return nil, err
	}
	c := &Conference{mixer: m, max: cfg.MaxParticipants, busy: make(chan struct{}, 1), changed: make(chan struct{})}
	if c.max == 0 {
		c.max = DefaultMaxParticipants
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	var resumed []*sip.Call
	for _, call := range calls {
		held := call.Held().Local
		if err := c.Add(ctx, call); err != nil {
			defer c.end()
			for _, call := range resumed {
				err = errors.Join(err, holdAgain(ctx, call))
			}
			return nil, err
		}
		if held {
			resumed = append(resumed, call)
		}
	}
	if len(calls) == 0 {
		c.end()
		return nil, fmt.Errorf("%w: there is none", ErrCall)
	}
	return c, nil
}

// undoTime is how long it may take to put calls back on hold after a merge that
// failed.
const undoTime = 10 * time.Second

// holdAgain undoes Resume, or one that was given up. It has a time of its own: it
// does not depend on the caller's patience.
func holdAgain(ctx context.Context, call *sip.Call) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return alive(call.Hold(ctx))
}

// alive is err, unless the call has ended: then there is nothing to be done.
func alive(err error) error {
	if errors.Is(err, sip.ErrEnded) {
		return nil
	}
	return err
}

// lock waits for what changes the conference, and says whether it is over.
func (c *Conference) lock(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case c.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		<-c.busy
		return ErrClosed
	}
	return nil
}

func (c *Conference) unlock() { <-c.busy }

// Add lets the peer of a call take part, and resumes the call if the user holds
// it. An error changes nothing: it wraps [ErrCall], [ErrFull], [ErrClosed], what
// Resume said, or the mixer's.
func (c *Conference) Add(ctx context.Context, call *sip.Call) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	m := &member{call: call, media: call.Media(), since: time.Now()}
	c.mu.Lock()
	n := len(c.members)
	twice := slices.ContainsFunc(c.members, func(o *member) bool { return o.call == call })
	c.mu.Unlock()
	switch {
	case twice:
		return fmt.Errorf("%w: it does already", ErrCall)
	case n >= c.max:
		return ErrFull
	case call.State() != sip.CallEstablished || m.media == nil:
		return fmt.Errorf("%w: it is %v", ErrCall, call.State())
	}
	// Into the mixer first: what the user would say to this peer alone is not
	// heard in between.
	if err := c.mixer.Add(m.media); err != nil {
		return fmt.Errorf("conference: the mixer: %w", err)
	}
	held := call.Held().Local
	var err error
	if held {
		if err = call.Resume(ctx); err != nil {
			err = fmt.Errorf("conference: resuming the call: %w", err)
		}
	}
	if err == nil {
		err = c.enter(m)
	}
	if err != nil {
		if held {
			err = errors.Join(err, holdAgain(ctx, call))
		}
		return errors.Join(err, c.mixer.Remove(m.media))
	}
	return nil
}

// enter puts a member on the list, unless the last one has gone meanwhile and
// the conference with him.
func (c *Conference) enter(m *member) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return ErrClosed
	}
	c.members = append(c.members, m)
	c.change()
	c.wg.Go(func() { c.watch(m) })
	return nil
}

// watch follows a call until it ends or the conference does.
func (c *Conference) watch(m *member) {
	for e := range m.call.Events(c.ctx) {
		if e.Kind == sip.HoldChanged || e.Kind == sip.PartyChanged {
			c.mu.Lock()
			c.change()
			c.mu.Unlock()
		}
	}
	if c.ctx.Err() == nil {
		c.drop(m)
	}
}

// drop takes out who has gone. The last one takes the conference along.
func (c *Conference) drop(m *member) {
	c.mu.Lock()
	i := slices.Index(c.members, m)
	if i < 0 {
		c.mu.Unlock()
		return
	}
	c.members = slices.Delete(c.members, i, i+1)
	last := len(c.members) == 0
	c.change()
	if last {
		c.finish()
	}
	c.mu.Unlock()
	_ = c.mixer.Remove(m.media)
	if last {
		_ = c.mixer.Close()
	}
}

// change wakes those up who follow the conference. The caller holds mu.
func (c *Conference) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// finish says that the conference is over. The caller holds mu.
func (c *Conference) finish() {
	if !c.over {
		c.over = true
		c.members = nil
		c.cancel()
		c.change()
	}
}

// end is finish, with all that belongs to the conference.
func (c *Conference) end() {
	c.mu.Lock()
	c.finish()
	c.mu.Unlock()
	_ = c.mixer.Close()
	c.wg.Wait()
}

// find returns who p is. The caller holds mu.
func (c *Conference) find(p Participant) *member {
	i := slices.IndexFunc(c.members, func(m *member) bool { return m.call == p.Call })
	if i < 0 {
		return nil
	}
	return c.members[i]
}

// Remove hangs up on a participant. Those who are left go on, also if it is one.
// The error is [ErrParticipant], [ErrClosed], or what Hangup said.
func (c *Conference) Remove(ctx context.Context, p Participant) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	c.mu.Lock()
	m := c.find(p)
	c.mu.Unlock()
	if m == nil {
		return ErrParticipant
	}
	c.drop(m)
	return alive(m.call.Hangup(ctx))
}

// Mute keeps what a participant says from the others, and lets it hear them. The
// error is [ErrParticipant], [ErrClosed], or the mixer's.
func (c *Conference) Mute(ctx context.Context, p Participant, on bool) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.find(p)
	if m == nil {
		return ErrParticipant
	}
	if err := c.mixer.Mute(m.media, on); err != nil {
		return err
	}
	m.muted = on
	c.change()
	return nil
}

// Participants are the others who take part now, in the order they came.
func (c *Conference) Participants() []Participant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roster()
}

// roster is called with mu held.
func (c *Conference) roster() []Participant {
	out := make([]Participant, 0, len(c.members))
	for _, m := range c.members {
		out = append(out, Participant{
			ID: m.call.ID(), Party: m.call.Remote(), Call: m.call,
			Since: m.since, Muted: m.muted, Held: m.call.Held(),
		})
	}
	return out
}

// Changes yields who takes part, now and whenever that or what is known of them
// changes, until the conference is over (the last one yielded is then empty) or
// ctx has ended. Who is slow misses what was in between, not what is.
func (c *Conference) Changes(ctx context.Context) iter.Seq[[]Participant] {
	return func(yield func([]Participant) bool) {
		for ctx.Err() == nil {
			c.mu.Lock()
			roster, over, changed := c.roster(), c.over, c.changed
			c.mu.Unlock()
			if !yield(roster) || over {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// Wait returns nil when the conference is over, or the context's error.
func (c *Conference) Wait(ctx context.Context) error {
	select {
	case <-c.ctx.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Split makes single calls of the conference again, which is then over: all but
// the first are on hold. The calls are in the order they came. An error wraps
// what Hold said of a call that could not be held, and the rest is done all the
// same.
func (c *Conference) Split(ctx context.Context) ([]*sip.Call, error) {
	calls, err := c.dissolve(ctx)
	if err != nil {
		return nil, err
	}
	// On hold before they leave the mixer, so that nobody hears what is meant
	// for the first one.
	var errs []error
	for _, call := range calls[min(1, len(calls)):] {
		if err := alive(call.Hold(ctx)); err != nil {
			errs = append(errs, fmt.Errorf("conference: holding the call: %w", err))
		}
	}
	c.end()
	return calls, errors.Join(errs...)
}

// Close ends the conference for all: everyone is hung up on. It is idempotent.
// The error wraps what Hangup said.
func (c *Conference) Close(ctx context.Context) error {
	calls, err := c.dissolve(ctx)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, call := range calls {
		errs = append(errs, alive(call.Hangup(ctx)))
	}
	c.end()
	return errors.Join(errs...)
}

// dissolve lets nobody in any more and returns the calls, which are still mixed.
// The caller ends the conference.
func (c *Conference) dissolve(ctx context.Context) ([]*sip.Call, error) {
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := make([]*sip.Call, 0, len(c.members))
	for _, m := range c.members {
		calls = append(calls, m.call)
	}
	c.finish()
	return calls, nil
}
