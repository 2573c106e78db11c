// Package callpull brings calls from one of the user's devices to another. A
// [Watcher] lists the calls of the account's other devices as the server
// tells them (dialog event package, RFC 4235); Pull moves one here, by
// an INVITE with Replaces (RFC 3891) or by an access code that the server
// knows. A pull that fails leaves the call where it was.
package callpull

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/dialoginfo"
)

// Errors of a pull or a push, to test for with errors.Is. What the server said is
// wrapped beside them: errors.As finds the *sip.StatusError. In each case
// the call lives on where it was, if it does.
var (
	ErrNoCall       = errors.New("callpull: there is no call to pull")
	ErrSeveralCalls = errors.New("callpull: there are several calls to pull")
	ErrGone         = errors.New("callpull: the call has ended meanwhile")
	ErrForbidden    = errors.New("callpull: the server does not allow it")
	ErrNoDevice     = errors.New("callpull: the other device is not there, or does not answer")
	ErrDeclined     = errors.New("callpull: the other device declines")
)

// Method is how calls are pulled.
type Method int

// The methods.
const (
	// Auto is by Replaces where the dialog is known, and by the access code where
	// it is not or the other side cannot do Replaces.
	Auto Method = iota
	Replaces
	Code
)

func (m Method) String() string {
	switch m {
	case Auto:
		return "auto"
	case Replaces:
		return "replaces"
	case Code:
		return "code"
	}
	return "Method(" + strconv.Itoa(int(m)) + ")"
}

// Config says how calls are watched and pulled. The zero value is usual.
type Config struct {
	Method Method
	// Code is the access code; "" is "*11".
	Code string
	// Target is whom the INVITE with Replaces goes to. Nil: the dialog's
	// remote target, which is the far end behind a proxy; where the server tells none,
	// the far end's identity. Behind a server that is a party of all calls (a
	// B2BUA) any URI of it will do.
	Target func(Call) string
	// Errors are what responses to the access code mean, in place of the usual:
	// 404 and 480 ErrNoCall, 485 and 486 ErrSeveralCalls, 410, 481 and 487
	// ErrGone, 403 ErrForbidden.
	Errors map[int]error
	// Expires is the life of the subscription that is asked for; 0 is one hour.
	Expires time.Duration
}

// Call is a call on another device.
type Call struct {
	ID string // names the call within its Watcher
	// Remote is who the user talks with.
	Remote sip.Party
	// Since is when the call began; zero where the server does not say.
	Since time.Time
	// Device is the URI of the device that has the call, its GRUU at best; ""
	// where the server does not say.
	Device string
	// Held: the device has put the other side on hold.
	Held      bool
	State     dialoginfo.DialogState
	Direction sip.Direction // 0: unsaid
	// Dialog is that of the call as the device sees it. What a document leaves out
	// is what the documents before it said of the same call; a call that was
	// answered before the Watcher began may have no tags.
	Dialog sip.Dialog

	target string // of the far end
}

// Watcher knows the calls of the account's other devices. Its methods may be
// called from any goroutine.
type Watcher struct {
	ua  *sip.UA
	cfg Config
	sub *sip.Subscription

	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	calls   []Call
	version int
	wake    chan struct{} // closed and replaced at each change
	closed  bool

	// Of the goroutine that reads.
	states map[int]*told
	stale  int // notifiers up to this one are no more
}

// maxNotifiers bounds the notifiers of one watcher, where the server forks the
// subscription to the devices themselves.
const maxNotifiers = 16

// Watch subscribes to the calls of the account. The errors are those of
// [sip.UA.Subscribe]. Close the watcher when it is not needed any more; it
// ends with its user agent.
func Watch(ctx context.Context, ua *sip.UA, cfg *Config) (*Watcher, error) {
	w := &Watcher{ua: ua, done: make(chan struct{}), wake: make(chan struct{}), states: make(map[int]*told)}
	if cfg != nil {
		w.cfg = *cfg
	}
	if w.cfg.Code == "" {
		w.cfg.Code = "*11"
	}
	var err error
	w.sub, err = ua.Subscribe(ctx, "", &sip.SubscribeOptions{
		Event: dialoginfo.Package, Accept: []string{dialoginfo.ContentType}, Expires: w.cfg.Expires, Forks: maxNotifiers,
	})
	if err != nil {
		return nil, err
	}
	ctx, w.cancel = context.WithCancel(context.Background())
	go w.read(ctx)
	return w, nil
}

// Close ends the subscription. It waits for the server's answer as long as the
// context lives.
func (w *Watcher) Close(ctx context.Context) error {
	err := w.sub.Close(ctx)
	w.cancel()
	<-w.done
	return err
}

// Wait waits until nothing is told any more and says why: nil after Close, else
// what [sip.Subscription.Wait] says.
func (w *Watcher) Wait(ctx context.Context) error {
	select {
	case <-w.done:
		return w.sub.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Calls are the calls on other devices now, in the order in which they were
// told.
func (w *Watcher) Calls() []Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// Changes iterates over the lists of calls, beginning with the one there is,
// until the watcher or the context ends. A reader that is slow gets the latest
// and misses those before.
func (w *Watcher) Changes(ctx context.Context) iter.Seq[[]Call] {
	return func(yield func([]Call) bool) {
		for seen := -1; ctx.Err() == nil; {
			w.mu.Lock()
			calls, version, wake, closed := slices.Clone(w.calls), w.version, w.wake, w.closed
			w.mu.Unlock()
			switch {
			case version != seen:
				if seen = version; !yield(calls) {
					return
				}
			case closed:
				return
			default:
				select {
				case <-wake:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

func (w *Watcher) read(ctx context.Context) {
	defer close(w.done)
	for n := range w.sub.Notifications(ctx) {
		if w.take(n) {
			// What is missed is asked for; an error means that another
			// subscription is on its way, which tells everything.
			refresh, cancel := context.WithTimeout(ctx, time.Minute)
			_ = w.sub.Refresh(refresh)
			cancel()
		}
		w.publish(w.list())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	close(w.wake)
	w.wake = make(chan struct{})
}

// take takes a notification, and tells whether to ask for all of it.
func (w *Watcher) take(n sip.Notification) (gap bool) {
	if n.Err != nil {
		// Those who come next tell everything anew.
		w.stale = slices.Max(append(slices.Collect(maps.Keys(w.states)), w.stale))
		if n.Retry > 0 {
			clear(w.states)
		}
		return false
	}
	if n.Notifier > w.stale {
		maps.DeleteFunc(w.states, func(k int, _ *told) bool { return k <= w.stale })
	}
	if n.State == sip.SubscriptionTerminated {
		delete(w.states, n.Notifier)
		return false
	}
	if len(n.Body) == 0 {
		return n.Missed > 0
	}
	s := w.states[n.Notifier]
	if s == nil {
		s = new(told)
		w.states[n.Notifier] = s
	}
	doc, err := dialoginfo.Parse(n.Body)
	if err != nil {
		return false // the versions tell that something is missing
	}
	if err := s.state.Apply(doc); errors.Is(err, dialoginfo.ErrGap) {
		return true
	} else if err != nil && !errors.Is(err, dialoginfo.ErrFull) {
		return false
	}
	s.keep(doc, n.Time)
	return false
}

// list is what there is on other devices.
func (w *Watcher) list() []Call {
	var calls []Call
	seen := make(map[sip.Dialog]bool)
	for _, notifier := range slices.Sorted(maps.Keys(w.states)) {
		s := w.states[notifier]
		for _, d := range s.state.Dialogs() {
			c := Call{
				ID: strconv.Itoa(notifier) + "/" + d.ID, Since: s.known[d.ID].since, Device: d.Local.Target, Held: d.Local.Held(), State: d.State,
				Remote: sip.Party{URI: d.Remote.Identity().URI, Name: d.Remote.Identity().Display},
				Dialog: s.known[d.ID].dialog,
				target: d.Remote.Target,
			}
			switch d.Direction {
			case dialoginfo.Initiator:
				c.Direction = sip.Outgoing
			case dialoginfo.Recipient:
				c.Direction = sip.Incoming
			}
			if w.here(&c) || c.Dialog.CallID != "" && seen[c.Dialog] {
				continue
			}
			seen[c.Dialog] = true
			calls = append(calls, c)
		}
	}
	return calls
}

// here tells whether a call is this device's own.
func (w *Watcher) here(c *Call) bool {
	return c.Dialog.CallID != "" && w.ua.HasDialog(c.Dialog) || c.Device != "" && w.ua.IsThisDevice(c.Device)
}

func (w *Watcher) publish(calls []Call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.version > 0 && slices.Equal(calls, w.calls) {
		return
	}
	w.calls = calls
	w.version++
	close(w.wake)
	w.wake = make(chan struct{})
}

// Pull moves a call here and waits until it has. By the access code it is the
// server that chooses the call, so that the zero Call will do. o are wishes about
// the new call, as for [sip.UA.Dial], and may be nil; Replaces, EarlyOnly and Join
// in it do not count.
//
// The errors are ErrNoCall, ErrSeveralCalls, ErrGone, ErrForbidden, or those of
// [sip.UA.Dial].
func (w *Watcher) Pull(ctx context.Context, call Call, o *sip.DialOptions) (*sip.Call, error) {
	known := call.Dialog.CallID != "" && call.Dialog.LocalTag != "" && call.Dialog.RemoteTag != ""
	switch {
	case w.cfg.Method == Code || w.cfg.Method == Auto && !known:
		return w.dialCode(ctx, o)
	case !known:
		return nil, ErrNoCall
	}
	c, err := w.replace(ctx, call, o)
	var status *sip.StatusError
	if w.cfg.Method != Auto || !errors.As(err, &status) || !unable[status.Code] {
		return c, err
	}
	return w.dialCode(ctx, o)
}

// unable are the responses of who cannot do Replaces.
var unable = map[int]bool{405: true, 416: true, 420: true, 501: true}

func options(o *sip.DialOptions) sip.DialOptions {
	var opts sip.DialOptions
	if o != nil {
		opts = *o
	}
	opts.Replaces, opts.EarlyOnly, opts.Join = nil, false, nil
	return opts
}

func (w *Watcher) replace(ctx context.Context, call Call, o *sip.DialOptions) (*sip.Call, error) {
	opts := options(o)
	opts.Replaces = &call.Dialog
	uri := call.target
	if uri == "" {
		uri = call.Remote.URI
	}
	if w.cfg.Target != nil {
		uri = w.cfg.Target(call)
	}
	if uri == "" {
		uri = w.ua.AOR()
	}
	c, err := w.ua.Dial(ctx, uri, &opts)
	return c, explain(err, replaced)
}

// replaced is what responses to Replaces mean (RFC 3891 §3): the dialog is not
// there, or has ended.
var replaced = map[int]error{403: ErrForbidden, 481: ErrGone, 603: ErrGone}

// coded is what responses to the access code mean.
var coded = map[int]error{
	403: ErrForbidden, 404: ErrNoCall, 480: ErrNoCall, 485: ErrSeveralCalls, 486: ErrSeveralCalls,
	410: ErrGone, 481: ErrGone, 487: ErrGone,
}

func (w *Watcher) dialCode(ctx context.Context, o *sip.DialOptions) (*sip.Call, error) {
	opts := options(o)
	c, err := w.ua.Dial(ctx, w.cfg.Code, &opts)
	meanings := maps.Clone(coded)
	maps.Copy(meanings, w.cfg.Errors)
	return c, explain(err, meanings)
}

// explain says what a refusal means, beside what was said.
func explain(err error, meanings map[int]error) error {
	var status *sip.StatusError
	if errors.As(err, &status) && meanings[status.Code] != nil {
		return fmt.Errorf("%w: %w", meanings[status.Code], err)
	}
	return err
}
