package sip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// PhoneConfig is what a [Phone] is made of. Only UAs are required.
type PhoneConfig struct {
	// UAs are the accounts. From then on their calls come from Phone.Accept,
	// and nobody else calls their Accept. They are the app's to close.
	UAs []*UA
	// MaxCalls is how many calls there can be at once, those that ring
	// included; further ones get 486 (Busy Here), or are forwarded. 0 is 8; with
	// 1 there is no call waiting.
	MaxCalls int
	// KeepOthers leaves the active call as it is when another one is answered
	// or dialled, for apps that mix. By default it is put on hold.
	KeepOthers bool
	// DisturbedStatus is the answer while the user does not want to be
	// disturbed: 486 (Busy Here), which 0 means, or 480 (Temporarily Unavailable).
	DisturbedStatus int
	// AutoAnswer decides whether a call whose caller asks for that is answered
	// by itself (see Identity.AutoAnswer): who may make this room heard? It is
	// asked of no other call, and none is answered so while another is active.
	// It must not block. Nil: nobody may.
	AutoAnswer func(*Call) bool
	// MissedKept is how many missed calls are remembered; more push out the
	// oldest. 0 is 100.
	MissedKept int
}

// Phone is one user's telephone: the calls of all his accounts, of which one is
// active. Make it with [NewPhone]. Its methods may be called from any
// goroutine.
//
// A call that comes rings here and at its caller's, also while another is
// active (call waiting). Answer, Dial and Activate put the active call on hold
// first; if the one it had to make room for comes to nothing, it is resumed.
type Phone struct {
	cfg    PhoneConfig
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	turn   chan struct{} // has room for who moves the active call, one at a time

	mu      sync.Mutex
	lines   []*line
	active  *line
	missed  []MissedCall // the latest first
	dnd     bool
	forward forwarding
	remote  int // controls being obeyed
	closed  bool
	wake    chan struct{} // closed and replaced when Accept has something to see
}

// line is a call of the phone's.
type line struct {
	c        *Call
	waiting  bool  // for Accept
	answered bool  // it was established once
	taken    bool  // by Answer, Start or Activate, which say who is active
	former   *line // put on hold to make room for this one
}

// MissedCall is a call that nobody took.
type MissedCall struct {
	UA       *UA
	Remote   Party
	Identity Identity
	Time     time.Time     // when it came
	Rang     time.Duration // for how long
}

const (
	defaultMaxCalls   = 8
	defaultMissedKept = 100
	// resumeTimeout bounds how long a call that was put on hold is waited for
	// to come back by itself.
	resumeTimeout = 10 * time.Second
)

// Errors of a Phone to test for with errors.Is.
var (
	// ErrTooManyCalls: there are PhoneConfig.MaxCalls already.
	ErrTooManyCalls = errors.New("sip: too many calls")
	// ErrForeignCall: the call, or the UA, is not this phone's.
	ErrForeignCall = errors.New("sip: not of this phone")
)

// NewPhone makes a telephone of accounts. Close it before them.
func NewPhone(cfg *PhoneConfig) (*Phone, error) {
	if cfg == nil || len(cfg.UAs) == 0 {
		return nil, errors.New("sip: PhoneConfig.UAs is empty")
	}
	p := &Phone{cfg: *cfg, turn: make(chan struct{}, 1), wake: make(chan struct{})}
	p.cfg.UAs = slices.Clone(cfg.UAs)
	switch p.cfg.DisturbedStatus {
	case 0:
		p.cfg.DisturbedStatus = 486
	case 480, 486:
	default:
		return nil, fmt.Errorf("sip: PhoneConfig.DisturbedStatus is %d; it can be 480 or 486", cfg.DisturbedStatus)
	}
	if p.cfg.MaxCalls <= 0 {
		p.cfg.MaxCalls = defaultMaxCalls
	}
	if p.cfg.MissedKept <= 0 {
		p.cfg.MissedKept = defaultMissedKept
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	for _, ua := range p.cfg.UAs {
		p.wg.Go(func() { p.serve(ua) })
	}
	return p, nil
}

// Close stops the phone: calls that ring here get 480 (Temporarily
// Unavailable), so that they go on ringing elsewhere. Calls that are
// established go on without it, and so do the UAs. It is idempotent.
func (p *Phone) Close() error {
	p.mu.Lock()
	p.closed = true
	lines := slices.Clone(p.lines)
	p.lines, p.active = nil, nil
	p.notify()
	p.mu.Unlock()
	p.cancel()
	for _, l := range lines {
		l.c.phone.Store(nil)
		if l.c.Direction() == Incoming {
			_ = l.c.Reject(context.Background(), 480) // without effect once it is answered
		}
	}
	p.wg.Wait()
	return nil
}

// serve takes the calls of one account.
func (p *Phone) serve(ua *UA) {
	for {
		c, err := ua.Accept(p.ctx)
		if err != nil {
			return
		}
		p.take(c)
	}
}

// take decides what becomes of a call that came.
func (p *Phone) take(c *Call) {
	p.mu.Lock()
	full := p.full()
	dnd, fw := p.dnd, p.forward
	// One that somebody made for us (REFER) is ours already.
	if p.closed || c.Direction() == Incoming && (dnd || full || fw.always != "" && !fw.looped(c)) {
		closed := p.closed
		p.mu.Unlock()
		switch {
		case closed:
			_ = c.Reject(context.Background(), 480)
		case dnd:
			_ = c.Reject(p.ctx, p.cfg.DisturbedStatus)
		case fw.always != "" && !fw.looped(c):
			p.redirect(c, fw.always, "unconditional", 486)
		case fw.busy != "" && !fw.looped(c):
			p.redirect(c, fw.busy, "user-busy", 486)
		default:
			_ = c.Reject(p.ctx, 486)
		}
		return
	}
	l := p.add(c)
	l.waiting = true
	p.mu.Unlock()
	if c.Direction() == Incoming {
		_ = c.Ring(p.ctx) // an error is its end
	}
	p.mu.Lock()
	p.notify()
	p.mu.Unlock()
}

// add makes a call one of the phone's. With mu held, and the phone open.
func (p *Phone) add(c *Call) *line {
	l := &line{c: c}
	p.lines = append(p.lines, l)
	c.phone.Store(p)
	fw := p.forward
	p.wg.Go(func() { p.follow(l, fw) })
	return l
}

// full tells whether there is no room for another call. One that has ended
// takes none, also where that was not noticed yet. With mu held.
func (p *Phone) full() bool {
	n := 0
	for _, l := range p.lines {
		if l.alive() {
			n++
		}
	}
	return n >= p.cfg.MaxCalls
}

// notify wakes Accept. With mu held.
func (p *Phone) notify() {
	close(p.wake)
	p.wake = make(chan struct{})
}

// Accept waits for the next call that comes, which rings already; Answer and
// Call.Reject decide it. A call that its caller gives up before is not
// returned: Missed has it. One that was answered by itself, or that
// somebody asked us to make (REFER), is returned as it is. After Close the
// error is ErrClosed.
func (p *Phone) Accept(ctx context.Context) (*Call, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, ErrClosed
		}
		for _, l := range p.lines {
			if l.waiting {
				l.waiting = false
				if l.c.State() != CallEnded {
					p.mu.Unlock()
					return l.c, nil
				}
			}
		}
		wake := p.wake
		p.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Calls are the calls there are, the oldest first.
func (p *Phone) Calls() []*Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*Call, 0, len(p.lines))
	for _, l := range p.lines {
		if l.c.State() != CallEnded {
			out = append(out, l.c)
		}
	}
	return out
}

// Active is the call that the user is in: the one answered, dialled or
// activated last, unless it has ended or is on hold. Nil: there is none.
func (p *Phone) Active() *Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.active; l != nil && l.alive() && !l.c.Held().Local {
		return l.c
	}
	return nil
}

func (l *line) alive() bool { return l.c.State() != CallEnded }

// Missed are the calls that nobody took, the latest first.
func (p *Phone) Missed() []MissedCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.missed)
}

// ClearMissed forgets them.
func (p *Phone) ClearMissed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed = nil
}

// SetDoNotDisturb refuses all calls that come, or takes them again. Those that
// ring already go on.
func (p *Phone) SetDoNotDisturb(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dnd = on
}

// DoNotDisturb tells whether all calls are refused.
func (p *Phone) DoNotDisturb() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dnd
}
