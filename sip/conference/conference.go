package conference

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Errors to test for with errors.Is.
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
	// ErrNoFocus: who has answered at the factory's URI is not the focus of a
	// conference: his Contact has no isfocus (RFC 4579 §4).
	ErrNoFocus = errors.New("conference: no focus has answered")
	// ErrForbidden: the server does not let the user do that.
	ErrForbidden = errors.New("conference: the server forbids it")
	// ErrUnsupported: where the conference is, that cannot be done.
	ErrUnsupported = errors.New("conference: not possible in a conference on the network")
	// ErrLeave: the others cannot go on without this device.
	ErrLeave = errors.New("conference: the others cannot go on alone")
)

// DefaultMaxParticipants is that of a [Config] which says 0.
const DefaultMaxParticipants = 64

// Config says how calls are merged. NewMixer or Factory is required; with both,
// Factory goes first.
type Config struct {
	// Factory is the URI of the account's conference factory (RFC 4579 §3.2), or
	// a user or number at its domain. "" is none: the device mixes.
	Factory string

	// FactoryOnly has Merge fail where the network has no conference. Otherwise
	// the device mixes then, if there is a NewMixer.
	FactoryOnly bool

	// NewMixer makes the mixer: media.Engine.NewMixer, or a function around it
	// that gives the mixer the user's ears and mouth. Nil: the device does not
	// mix.
	NewMixer offeranswer.NewMixer

	// MaxParticipants bounds the others who take part; 0 is
	// [DefaultMaxParticipants]. On the network it bounds whom the user brings
	// in, and not who comes by other ways.
	MaxParticipants int

	// Logger tells why there is no conference on the network, or no roster of
	// it; nil is silent.
	Logger *slog.Logger
}

// A Participant is somebody else in a conference.
type Participant struct {
	// ID tells the participants of one conference apart, and stays.
	ID string
	// Party is who it is now: a call may be transferred while it takes part.
	Party sip.Party
	// Call is that with the participant; nil in a conference on the network,
	// where only the server has one.
	Call *sip.Call
	// Since is when the participant came.
	Since time.Time
	// Muted says that the others do not hear the participant.
	Muted bool
	// Held says who is on hold: then neither hears the other. On the network
	// Local is always false.
	Held sip.Hold
}

// MergeError says who could not be brought into a conference on the network.
// Each of them is still in his call, as he was.
type MergeError struct{ Failed []Failure }

// Failure is a call that was not merged, and why.
type Failure struct {
	Call *sip.Call
	Err  error
}

func (e *MergeError) Error() string {
	var b strings.Builder
	b.WriteString("conference: not merged: ")
	for i, f := range e.Failed {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %v", f.Call.Remote().URI, f.Err)
	}
	return b.String()
}

// Unwrap are the reasons.
func (e *MergeError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}

// venue is where a conference takes place. Whoever calls a method has the
// conference locked, but for roster, which is called with mu held.
type venue interface {
	add(ctx context.Context, call *sip.Call) error
	remove(ctx context.Context, p Participant) error
	mute(ctx context.Context, p Participant, on bool) error
	roster() []Participant
	split(ctx context.Context) ([]*sip.Call, error)
	leave(ctx context.Context) error
	close(ctx context.Context) error
}

// A Conference is calls that were merged. Its methods may be called from any
// goroutine.
type Conference struct {
	at     venue
	max    int
	log    *slog.Logger
	ctx    context.Context // ends with the conference
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// busy is held by what changes who takes part, which may take a while.
	busy chan struct{}

	mu      sync.Mutex
	changed chan struct{}
	over    bool
}

func newConference(cfg *Config) *Conference {
	c := &Conference{max: cfg.MaxParticipants, log: cfg.Logger, busy: make(chan struct{}, 1), changed: make(chan struct{})}
	if c.max == 0 {
		c.max = DefaultMaxParticipants
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Merge makes a conference of calls, of one or several accounts. On the device
// those that the user holds are resumed; one that cannot be is an error, and
// then every call is as it was. The conference ends when the last participant
// has gone.
//
// With Factory the account of the first call makes a conference on the network:
// it calls the factory, and has the focus call each peer in the place of the
// call with him (REFER with Replaces); a peer that the focus cannot get so is
// asked to call the conference himself. Where only some come there is a
// conference, and the error is a *[MergeError]. Where the factory does not
// answer with a conference, or nobody comes, the device mixes, unless
// FactoryOnly says otherwise or it cannot; [Conference.Call] tells which.
//
// Errors wrap [ErrCall], [ErrFull], [ErrNoFocus], what Dial said of the factory,
// what Resume said, or the mixer's; or are a *MergeError.
func Merge(ctx context.Context, cfg *Config, calls ...*sip.Call) (*Conference, error) {
	switch {
	case cfg == nil || cfg.NewMixer == nil && cfg.Factory == "":
		return nil, errors.New("conference: no mixer")
	case cfg.FactoryOnly && cfg.Factory == "":
		return nil, errors.New("conference: no factory")
	case len(calls) == 0:
		return nil, fmt.Errorf("%w: there is none", ErrCall)
	}
	if cfg.Factory == "" {
		return mergeHere(ctx, cfg, calls)
	}
	c, err := mergeThere(ctx, cfg, calls)
	if c != nil || cfg.NewMixer == nil || cfg.FactoryOnly || ctx.Err() != nil || errors.Is(err, ErrCall) || errors.Is(err, ErrFull) {
		return c, err
	}
	c, here := mergeHere(ctx, cfg, calls)
	if here != nil {
		return nil, errors.Join(err, here)
	}
	c.log.Warn("the device mixes", "factory", cfg.Factory, "error", err)
	return c, nil
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

// Call is the user's own call with the focus of a conference on the network: its
// media are what he hears and says. Nil where the device mixes.
func (c *Conference) Call() *sip.Call {
	if n, ok := c.at.(*network); ok {
		return n.call
	}
	return nil
}

// URI is where others can call the conference (RFC 4579 §5.1); "" where the
// device mixes.
func (c *Conference) URI() string {
	if n, ok := c.at.(*network); ok {
		return n.uri
	}
	return ""
}

// Add lets the peer of a call take part, and resumes the call if the user holds
// it and the device mixes. An error changes nothing: it wraps [ErrCall],
// [ErrFull], [ErrClosed], what Resume said, or the mixer's; on the network it is
// a *[MergeError].
func (c *Conference) Add(ctx context.Context, call *sip.Call) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.at.add(ctx, call)
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
		c.cancel()
		c.change()
	}
}

// Remove hangs up on a participant. Those who are left go on, also if it is one.
// The error is [ErrParticipant], [ErrClosed], or what Hangup said. On the network
// the server is asked to (RFC 4579 §5.11): [ErrForbidden] where it refuses,
// [ErrUnsupported] where it does not know how; both wrap its answer, if any.
func (c *Conference) Remove(ctx context.Context, p Participant) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.at.remove(ctx, p)
}

// Mute keeps what a participant says from the others, and lets it hear them. The
// error is [ErrParticipant], [ErrClosed], or the mixer's. On the network it is
// [ErrUnsupported]: SIP has no request for it.
func (c *Conference) Mute(ctx context.Context, p Participant, on bool) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.at.mute(ctx, p, on)
}

// Participants are the others who take part now, in the order they came. On the
// network they are those whom the server names (RFC 4575), and as long as it
// names none those who were brought in by this Conference.
func (c *Conference) Participants() []Participant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roster()
}

// roster is called with mu held.
func (c *Conference) roster() []Participant {
	if c.over {
		return nil
	}
	return c.at.roster()
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

// Wait returns nil when the conference is over, for this user at least, or the
// context's error.
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
// same. On the network it is [ErrUnsupported], and the conference goes on: there
// are no calls any more that it could be split into.
func (c *Conference) Split(ctx context.Context) ([]*sip.Call, error) {
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.unlock()
	return c.at.split(ctx)
}

// Leave takes the user out, and lets the others go on; the conference is then
// over for him. A single participant is hung up on.
//
// On the device two participants are connected with each other (attended
// transfer). More can only go on in a conference on the network: with
// Config.Factory they are moved into one, otherwise the error is [ErrLeave], and
// so it is with two whose calls are of different accounts. If not all can be
// moved the error is a *[MergeError], and the conference goes on with the user;
// those who were moved are one participant, the focus. Any other error, of the
// transfer or of the factory, leaves everything as it was.
//
// On the network it is BYE. Whether the others go on is the server's to say: it
// may end what the user has made.
func (c *Conference) Leave(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.at.leave(ctx)
}

// Close ends the conference for all: everyone is hung up on. On the network it
// is like Leave. It is idempotent. The error wraps what Hangup said.
func (c *Conference) Close(ctx context.Context) error {
	err := c.lock(ctx)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.unlock()
	return c.at.close(ctx)
}

// check refuses calls that cannot be merged.
func check(calls []*sip.Call, most int) error {
	if len(calls) > most {
		return ErrFull
	}
	for i, call := range calls {
		switch {
		case slices.Contains(calls[:i], call):
			return fmt.Errorf("%w: it does already", ErrCall)
		case call.State() != sip.CallEstablished:
			return fmt.Errorf("%w: it is %v", ErrCall, call.State())
		}
	}
	return nil
}
