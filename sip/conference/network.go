package conference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
)

// network is a conference that a server mixes (RFC 4579):
//
//	Merge      INVITE factory ──▶ 200, Contact with isfocus (§5.4), or 302
//	           REFER focus, Refer-To: <peer?Replaces=our call with him>
//	             or REFER peer, Refer-To: <focus>
//	           SUBSCRIBE focus, Event: conference (RFC 4575)
//	Remove     REFER focus, Refer-To: <peer;method=BYE> (§5.11)
//	Leave      BYE
type network struct {
	c    *Conference
	ua   *sip.UA
	call *sip.Call // the user's own
	uri  string    // of the conference

	// Under c.mu.
	guests []guest // brought in by us, in the order they came
	told   bool    // the server names who takes part:
	people []Participant
}

// guest is somebody whom we have brought in, as long as the server does not
// name anybody.
type guest struct {
	id    string
	party sip.Party
	since time.Time
}

// mergeThere makes a conference on the network. It is nil where nobody has come.
func mergeThere(ctx context.Context, cfg *Config, calls []*sip.Call) (*Conference, error) {
	c := newConference(cfg)
	if err := check(calls, c.max); err != nil {
		return nil, err
	}
	n := &network{c: c, ua: calls[0].UA()}
	c.at = n
	var err error
	if n.call, err = n.ua.Dial(ctx, cfg.Factory, nil); err != nil {
		return nil, fmt.Errorf("conference: the factory: %w", err)
	}
	if n.uri = n.call.Focus(); n.uri == "" {
		return nil, errors.Join(ErrNoFocus, alive(n.call.Hangup(ctx)))
	}
	c.wg.Go(n.watch)
	c.wg.Go(n.follow)
	if err = n.bring(ctx, calls); err == nil {
		return c, nil
	}
	if n.came() {
		return c, err
	}
	return nil, errors.Join(err, n.leave(context.WithoutCancel(ctx)))
}

// watch ends the conference with the user's own call.
func (n *network) watch() {
	_ = n.call.Wait(n.c.ctx)
	n.c.mu.Lock()
	n.c.finish()
	n.c.mu.Unlock()
}

func (n *network) came() bool {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	return len(n.guests) > 0
}

// bring has the focus call everyone. The REFERs go out in order, and are waited
// for together.
func (n *network) bring(ctx context.Context, calls []*sip.Call) error {
	errs := make([]error, len(calls))
	var wg sync.WaitGroup
	for i, call := range calls {
		g := guest{id: call.ID(), party: call.Remote()}
		dialog := call.Dialog()
		t, err := n.ua.Refer(ctx, n.uri, call.Target(), &sip.ReferOptions{Replaces: &dialog})
		if err != nil {
			errs[i] = err
			continue
		}
		wg.Go(func() {
			if errs[i] = n.moved(ctx, call, t); errs[i] == nil {
				g.since = time.Now()
				n.c.mu.Lock()
				n.guests = append(n.guests, g)
				n.c.change()
				n.c.mu.Unlock()
			}
		})
	}
	wg.Wait()
	var failed []Failure
	for i, err := range errs {
		if err != nil {
			failed = append(failed, Failure{calls[i], err})
		}
	}
	if failed != nil {
		return &MergeError{failed}
	}
	return nil
}

// moved waits until the focus has the peer of a call, and ends what is left of
// that call: the peer ends it himself (RFC 3891 §3), but a server in between may
// not.
func (n *network) moved(ctx context.Context, call *sip.Call, t *sip.Transfer) error {
	err := t.Wait(ctx)
	if err != nil && call.State() == sip.CallEnded && call.End().By == sip.Remote && untold(err) {
		return nil // replaced, and that was all that was said
	}
	if status, ok := errors.AsType[*sip.StatusError](err); ok && !declined(status.Code) && call.State() == sip.CallEstablished {
		// The server does not take Replaces, or does not find the call. The peer
		// can do it himself (RFC 4579 §5.6); he is told so in the call, whose
		// end is then the transfer's.
		if e := call.Transfer(ctx, n.uri, &sip.TransferOptions{NoHold: true}); e != nil {
			return errors.Join(err, e)
		}
		return nil
	}
	if err != nil {
		return err
	}
	return alive(call.Hangup(context.WithoutCancel(ctx)))
}

// untold: it is not known what became of a REFER.
func untold(err error) bool {
	return errors.Is(err, sip.ErrTransferUnknown) || errors.Is(err, sip.ErrNoNotify)
}

// declined: the peer himself does not want to, and is not asked again.
func declined(status int) bool { return status == 486 || status >= 600 }

func (n *network) add(ctx context.Context, call *sip.Call) error {
	n.c.mu.Lock()
	count := len(n.guests)
	n.c.mu.Unlock()
	if call == n.call {
		return fmt.Errorf("%w: it is the user's own", ErrCall)
	}
	if err := check([]*sip.Call{call}, n.c.max-count); err != nil {
		return err
	}
	return n.bring(ctx, []*sip.Call{call})
}

func (n *network) roster() []Participant {
	if n.told {
		return slices.Clone(n.people)
	}
	out := make([]Participant, len(n.guests))
	for i, g := range n.guests {
		out[i] = Participant{ID: g.id, Party: g.party, Since: g.since}
	}
	return out
}

func (n *network) remove(ctx context.Context, p Participant) error {
	n.c.mu.Lock()
	roster := n.roster()
	n.c.mu.Unlock()
	i := slices.IndexFunc(roster, func(o Participant) bool { return o.ID == p.ID })
	if i < 0 {
		return ErrParticipant
	}
	// The focus ends its dialog with him, and tells us of the BYE's outcome.
	uri, _, _ := strings.Cut(roster[i].Party.URI, "?")
	t, err := n.ua.Refer(ctx, n.uri, uri+";method=BYE", nil)
	if err == nil {
		err = t.Wait(ctx)
	}
	if err = refusal(err); err != nil {
		return err
	}
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.guests = slices.DeleteFunc(n.guests, func(g guest) bool { return g.id == p.ID || g.party.URI == p.Party.URI })
	n.c.change()
	return nil
}

// refusal says in this package's words what a server has refused.
func refusal(err error) error {
	status, ok := errors.AsType[*sip.StatusError](err)
	if !ok {
		return err
	}
	switch status.Code {
	case 401, 403, 407, 603:
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	case 404, 481:
		return fmt.Errorf("%w: %w", ErrParticipant, err)
	case 400, 405, 420, 489, 501:
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}

func (n *network) mute(_ context.Context, p Participant, _ bool) error {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if !slices.ContainsFunc(n.roster(), func(o Participant) bool { return o.ID == p.ID }) {
		return ErrParticipant
	}
	return ErrUnsupported
}

func (n *network) split(context.Context) ([]*sip.Call, error) { return nil, ErrUnsupported }

func (n *network) leave(ctx context.Context) error {
	err := alive(n.call.Hangup(ctx))
	n.end()
	return err
}

func (n *network) close(ctx context.Context) error { return n.leave(ctx) }

// end stops following the conference.
func (n *network) end() {
	n.c.mu.Lock()
	n.c.finish()
	n.c.mu.Unlock()
	n.c.wg.Wait()
}
