// Package broadworks uses the services of a BroadWorks server that users reach
// by dialling access codes: park and retrieve, pickup, forwarding, voicemail, do
// not disturb, caller ID, redial. Servers with the same services and other codes do as well.
//
// A verb that only sets something dials the code, waits until the server has
// answered and hung up, and hangs up itself after a while: an announcement
// says to people what the answer says to the program.
package broadworks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
)

// Feature is a service with an access code.
type Feature string

// The features. Those of forwarding with "On" are dialled with a target behind
// the code; voicemail is forwarding to the user's own mailbox.
const (
	ForwardAlwaysOn        Feature = "forward always on"
	ForwardAlwaysOff       Feature = "forward always off"
	ForwardBusyOn          Feature = "forward busy on"
	ForwardBusyOff         Feature = "forward busy off"
	ForwardNoAnswerOn      Feature = "forward no answer on"
	ForwardNoAnswerOff     Feature = "forward no answer off"
	ForwardNotReachableOn  Feature = "forward not reachable on"
	ForwardNotReachableOff Feature = "forward not reachable off"
	VoicemailAlwaysOn      Feature = "voicemail always on"
	VoicemailAlwaysOff     Feature = "voicemail always off"
	VoicemailBusyOn        Feature = "voicemail busy on"
	VoicemailBusyOff       Feature = "voicemail busy off"
	VoicemailNoAnswerOn    Feature = "voicemail no answer on"
	VoicemailNoAnswerOff   Feature = "voicemail no answer off"
	DoNotDisturbOn         Feature = "do not disturb on"
	DoNotDisturbOff        Feature = "do not disturb off"
	HideCallerID           Feature = "hide caller ID" // for one call, whose number is behind the code
	ShowCallerID           Feature = "show caller ID" // the same
	Redial                 Feature = "redial"
	CallReturn             Feature = "call return"
	CallPark               Feature = "park"
	CallRetrieve           Feature = "retrieve"
	CallPull               Feature = "pull"
	GroupPickup            Feature = "group pickup"
	DirectedPickup         Feature = "directed pickup"
	VoicemailTransfer      Feature = "voicemail transfer"
	VoicePortal            Feature = "voice portal"
	ClearIndicator         Feature = "clear indicator"
)

var defaults = map[Feature]string{
	ForwardAlwaysOn: "*72", ForwardAlwaysOff: "*73",
	ForwardBusyOn: "*90", ForwardBusyOff: "*91",
	ForwardNoAnswerOn: "*92", ForwardNoAnswerOff: "*93",
	ForwardNotReachableOn: "*94", ForwardNotReachableOff: "*95",
	VoicemailAlwaysOn: "*21", VoicemailAlwaysOff: "#21",
	VoicemailBusyOn: "*40", VoicemailBusyOff: "#40",
	VoicemailNoAnswerOn: "*41", VoicemailNoAnswerOff: "#41",
	DoNotDisturbOn: "*78", DoNotDisturbOff: "*79",
	HideCallerID: "*67", ShowCallerID: "*65",
	Redial: "*66", CallReturn: "*69",
	CallPark: "*68", CallRetrieve: "*88", CallPull: "*11",
	GroupPickup: "*98", DirectedPickup: "*97",
	VoicemailTransfer: "*55", VoicePortal: "*86", ClearIndicator: "*99",
}

// ErrDisabled says that the account has no code for a feature.
var ErrDisabled = errors.New("broadworks: the feature has no access code")

// ErrTarget says that what was to be dialled behind a code is no number or
// extension.
var ErrTarget = errors.New("broadworks: not a number or extension")

// FeatureError says which feature failed; Err is that of the call to its code,
// such as a *sip.StatusError.
type FeatureError struct {
	Feature Feature
	Err     error
}

func (e *FeatureError) Error() string {
	return fmt.Sprintf("broadworks: %s: %s", e.Feature, strings.TrimPrefix(e.Err.Error(), "broadworks: "))
}

func (e *FeatureError) Unwrap() error { return e.Err }

// answerTime is how long a server may talk after it has set something.
const answerTime = 10 * time.Second

// Services are the services of one account. Make it with [New].
type Services struct {
	ua    *sip.UA
	codes map[Feature]string
}

// New gives the services of an account. codes replace those of a BroadWorks
// that nobody has changed; "" is for a feature that there is not. Nil is the
// defaults.
func New(ua *sip.UA, codes map[Feature]string) *Services {
	s := &Services{ua: ua, codes: maps.Clone(defaults)}
	maps.Copy(s.codes, codes)
	return s
}

// SetDoNotDisturb has the server refuse all calls, or take them again.
func (s *Services) SetDoNotDisturb(ctx context.Context, on bool) error {
	if on {
		return s.set(ctx, DoNotDisturbOn, "")
	}
	return s.set(ctx, DoNotDisturbOff, "")
}

// Forward is when calls are sent on.
type Forward int

// The kinds of forwarding.
const (
	Always Forward = iota + 1
	Busy
	NoAnswer
	NotReachable
)

// SetForward has the server send calls on to a number or extension; "" ends
// that.
func (s *Services) SetForward(ctx context.Context, when Forward, target string) error {
	codes, ok := map[Forward][2]Feature{
		Always:       {ForwardAlwaysOn, ForwardAlwaysOff},
		Busy:         {ForwardBusyOn, ForwardBusyOff},
		NoAnswer:     {ForwardNoAnswerOn, ForwardNoAnswerOff},
		NotReachable: {ForwardNotReachableOn, ForwardNotReachableOff},
	}[when]
	switch {
	case !ok:
		return fmt.Errorf("broadworks: there is no forwarding %d", int(when))
	case target == "":
		return s.set(ctx, codes[1], "")
	}
	return s.set(ctx, codes[0], target)
}

// SetVoicemail has the server send calls to the user's own mailbox, or no
// longer. For NotReachable there is no code: it is an error.
func (s *Services) SetVoicemail(ctx context.Context, when Forward, on bool) error {
	codes, ok := map[Forward][2]Feature{
		Always:   {VoicemailAlwaysOn, VoicemailAlwaysOff},
		Busy:     {VoicemailBusyOn, VoicemailBusyOff},
		NoAnswer: {VoicemailNoAnswerOn, VoicemailNoAnswerOff},
	}[when]
	switch {
	case !ok:
		return fmt.Errorf("broadworks: there is no voicemail for forwarding %d", int(when))
	case on:
		return s.set(ctx, codes[0], "")
	}
	return s.set(ctx, codes[1], "")
}

// ClearIndicator puts out the lamp that says that messages wait. They stay in
// the mailbox.
func (s *Services) ClearIndicator(ctx context.Context) error {
	return s.set(ctx, ClearIndicator, "")
}

// Park puts a call on hold and parks it on an extension, the user's own if that is
// "". The call has ended when it returns; after an error it is there, and resumed.
func (s *Services) Park(ctx context.Context, c *sip.Call, extension string) error {
	return s.away(ctx, CallPark, c, extension)
}

// TransferToVoicemail sends a call to the mailbox of an extension, the user's
// own if that is "". It is otherwise like Park.
func (s *Services) TransferToVoicemail(ctx context.Context, c *sip.Call, extension string) error {
	return s.away(ctx, VoicemailTransfer, c, extension)
}

// Retrieve takes the call that is parked on an extension, the user's own if
// that is "".
func (s *Services) Retrieve(ctx context.Context, extension string, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, CallRetrieve, extension, o)
}

// PickupGroup takes the call that rings longest in the user's group.
func (s *Services) PickupGroup(ctx context.Context, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, GroupPickup, "", o)
}

// PickupDirected takes the call that rings at an extension.
func (s *Services) PickupDirected(ctx context.Context, extension string, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, DirectedPickup, extension, o)
}

// Pull brings here the call that another device of the user's has.
func (s *Services) Pull(ctx context.Context, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, CallPull, "", o)
}

// Portal calls the voice portal, where the user hears his messages.
func (s *Services) Portal(ctx context.Context, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, VoicePortal, "", o)
}

// Redial calls the number that the user has called last, on any device.
func (s *Services) Redial(ctx context.Context, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, Redial, "", o)
}

// ReturnCall calls who has called the user last.
func (s *Services) ReturnCall(ctx context.Context, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, CallReturn, "", o)
}

// DialShown calls a number and shows the user's own, where the server hides it
// otherwise.
func (s *Services) DialShown(ctx context.Context, number string, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, ShowCallerID, number, o)
}

// DialHidden calls a number without showing the user's own, by the access code.
// sip.DialOptions.Anonymous is SIP's way to do so.
func (s *Services) DialHidden(ctx context.Context, number string, o *sip.DialOptions) (*sip.Call, error) {
	return s.dial(ctx, HideCallerID, number, o)
}

// dial calls a feature's code with what it is to know behind it.
func (s *Services) dial(ctx context.Context, f Feature, target string, o *sip.DialOptions) (*sip.Call, error) {
	number, err := s.number(f, target)
	if err != nil {
		return nil, &FeatureError{f, err}
	}
	c, err := s.ua.Dial(ctx, number, o)
	if err != nil {
		return nil, &FeatureError{f, err}
	}
	return c, nil
}

// number is what is dialled for a feature.
func (s *Services) number(f Feature, target string) (string, error) {
	code := s.codes[f]
	if code == "" {
		return "", ErrDisabled
	}
	if len(target) > 64 || strings.Trim(target, "+0123456789*#") != "" {
		return "", fmt.Errorf("%w: %q", ErrTarget, target)
	}
	// "#" cannot stand in a URI as it is (RFC 3261 §25.1).
	return strings.ReplaceAll(code+target, "#", "%23"), nil
}

// set dials a code that only changes something.
func (s *Services) set(ctx context.Context, f Feature, target string) error {
	c, err := s.dial(ctx, f, target, nil)
	if errors.Is(err, sip.ErrEnded) {
		return nil // answered, and ended by the server before we could look
	}
	if err != nil {
		return err
	}
	listen, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err = c.Wait(listen)
	_ = c.Hangup(context.WithoutCancel(ctx))
	switch {
	case ctx.Err() != nil:
		return &FeatureError{f, context.Cause(ctx)}
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		return &FeatureError{f, err}
	}
	return nil
}

// away has the server take a call from us, which it does to the one on hold.
func (s *Services) away(ctx context.Context, f Feature, c *sip.Call, target string) error {
	if _, err := s.number(f, target); err != nil {
		return &FeatureError{f, err} // no reason to hold
	}
	if err := c.Hold(ctx); err != nil {
		return &FeatureError{f, err}
	}
	err := s.set(ctx, f, target)
	if err == nil {
		listen, cancel := context.WithTimeout(ctx, answerTime)
		defer cancel()
		err = c.Wait(listen)
		if c.State() == sip.CallEnded {
			return nil
		}
		err = &FeatureError{f, err} // the server said yes, and did nothing
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	_ = c.Resume(back) // without effect if it has ended
	return err
}
