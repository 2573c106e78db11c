package conference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// device is a conference in the mixer of this device. To those whom it merges
// nothing is said: each has a call with the user as before.
type device struct {
	c     *Conference
	cfg   Config
	mixer offeranswer.Mixer

	members []*member // in the order they came; under c.mu
}

type member struct {
	call  *sip.Call
	media offeranswer.Media
	since time.Time
	muted bool
}

// mergeHere makes a conference on the device.
func mergeHere(ctx context.Context, cfg *Config, calls []*sip.Call) (*Conference, error) {
	m, err := cfg.NewMixer()
	if err != nil {
		return nil, err
	}
	d := &device{c: newConference(cfg), cfg: *cfg, mixer: m}
	d.c.at = d
	var resumed []*sip.Call
	for _, call := range calls {
		held := call.Held().Local
		if err := d.add(ctx, call); err != nil {
			defer d.end()
			for _, call := range resumed {
				err = errors.Join(err, holdAgain(ctx, call))
			}
			return nil, err
		}
		if held {
			resumed = append(resumed, call)
		}
	}
	return d.c, nil
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

func (d *device) add(ctx context.Context, call *sip.Call) error {
	m := &member{call: call, media: call.Media(), since: time.Now()}
	d.c.mu.Lock()
	n := len(d.members)
	twice := slices.ContainsFunc(d.members, func(o *member) bool { return o.call == call })
	d.c.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case twice:
		return fmt.Errorf("%w: it does already", ErrCall)
	case n >= d.c.max:
		return ErrFull
	case call.State() != sip.CallEstablished || m.media == nil:
		return fmt.Errorf("%w: it is %v", ErrCall, call.State())
	}
	// Into the mixer first: what the user would say to this peer alone is not
	// heard in between.
	if err := d.mixer.Add(m.media); err != nil {
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
		err = d.enter(m)
	}
	if err != nil {
		if held {
			err = errors.Join(err, holdAgain(ctx, call))
		}
		return errors.Join(err, d.mixer.Remove(m.media))
	}
	return nil
}

// enter puts a member on the list, unless the last one has gone meanwhile and
// the conference with him.
func (d *device) enter(m *member) error {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	if d.c.over {
		return ErrClosed
	}
	d.members = append(d.members, m)
	d.c.change()
	d.c.wg.Go(func() { d.watch(m) })
	return nil
}

// watch follows a call until it ends or the conference does.
func (d *device) watch(m *member) {
	for e := range m.call.Events(d.c.ctx) {
		if e.Kind == sip.HoldChanged || e.Kind == sip.PartyChanged {
			d.c.mu.Lock()
			d.c.change()
			d.c.mu.Unlock()
		}
	}
	if d.c.ctx.Err() == nil {
		d.drop(m)
	}
}

// drop takes out who has gone. The last one takes the conference along.
func (d *device) drop(m *member) {
	d.c.mu.Lock()
	i := slices.Index(d.members, m)
	if i < 0 {
		d.c.mu.Unlock()
		return
	}
	d.members = slices.Delete(d.members, i, i+1)
	last := len(d.members) == 0
	d.c.change()
	if last {
		d.c.finish()
	}
	d.c.mu.Unlock()
	_ = d.mixer.Remove(m.media)
	if last {
		_ = d.mixer.Close()
	}
}

// end ends the conference, with all that belongs to it.
func (d *device) end() {
	d.c.mu.Lock()
	d.members = nil
	d.c.finish()
	d.c.mu.Unlock()
	_ = d.mixer.Close()
	d.c.wg.Wait()
}

// find returns who p is. The caller holds mu.
func (d *device) find(p Participant) *member {
	i := slices.IndexFunc(d.members, func(m *member) bool { return m.call == p.Call })
	if i < 0 {
		return nil
	}
	return d.members[i]
}

func (d *device) remove(ctx context.Context, p Participant) error {
	d.c.mu.Lock()
	m := d.find(p)
	d.c.mu.Unlock()
	if m == nil {
		return ErrParticipant
	}
	d.drop(m)
	return alive(m.call.Hangup(ctx))
}

func (d *device) mute(_ context.Context, p Participant, on bool) error {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	m := d.find(p)
	if m == nil {
		return ErrParticipant
	}
	if err := d.mixer.Mute(m.media, on); err != nil {
		return err
	}
	m.muted = on
	d.c.change()
	return nil
}

func (d *device) roster() []Participant {
	out := make([]Participant, 0, len(d.members))
	for _, m := range d.members {
		out = append(out, Participant{
			ID: m.call.ID(), Party: m.call.Remote(), Call: m.call,
			Since: m.since, Muted: m.muted, Held: m.call.Held(),
		})
	}
	return out
}

func (d *device) calls() []*sip.Call {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	calls := make([]*sip.Call, 0, len(d.members))
	for _, m := range d.members {
		calls = append(calls, m.call)
	}
	return calls
}

func (d *device) split(ctx context.Context) ([]*sip.Call, error) {
	calls := d.calls()
	// On hold before they leave the mixer, so that nobody hears what is meant
	// for the first one.
	var errs []error
	for _, call := range calls[min(1, len(calls)):] {
		if err := alive(call.Hold(ctx)); err != nil {
			errs = append(errs, fmt.Errorf("conference: holding the call: %w", err))
		}
	}
	d.end()
	return calls, errors.Join(errs...)
}

func (d *device) close(ctx context.Context) error {
	calls := d.calls()
	var errs []error
	for _, call := range calls {
		errs = append(errs, alive(call.Hangup(ctx)))
	}
	d.end()
	return errors.Join(errs...)
}

func (d *device) leave(ctx context.Context) error {
	switch calls := d.calls(); {
	case len(calls) < 2:
		return d.close(ctx)
	case len(calls) == 2 && calls[0].UA() == calls[1].UA():
		// Neither is put on hold: they hear each other until they do so without
		// us, and if they do not come together nothing has changed.
		if err := calls[0].TransferTo(ctx, calls[1], &sip.TransferOptions{NoHold: true}); err != nil {
			return fmt.Errorf("conference: connecting the others: %w", err)
		}
		d.end()
		return nil
	case d.cfg.Factory == "":
		return ErrLeave
	default:
		return d.emigrate(ctx, calls)
	}
}

// emigrate moves everyone into a conference on the network, and leaves it.
func (d *device) emigrate(ctx context.Context, calls []*sip.Call) error {
	there, err := mergeThere(ctx, &d.cfg, calls)
	if there == nil {
		return err
	}
	n := there.at.(*network)
	if err == nil {
		err = n.leave(ctx)
		d.end()
		return err
	}
	// Some are here and some are there: our own call with the focus connects
	// them.
	n.end()
	if e := d.add(ctx, n.call); e != nil {
		return errors.Join(err, e, alive(n.call.Hangup(ctx)))
	}
	return err
}
