package siptest

import (
	"fmt"
	"maps"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// Feature is a service that users reach by dialling an access code: INVITE
// sip:*72@domain, with what the service wants to know behind the code
// (sip:*721002@domain).
type Feature string

// The features. What stands behind the code is in parentheses.
const (
	// Forwarding (the number to forward to) and its end.
	ForwardAlwaysOn        Feature = "forward-always-on"
	ForwardAlwaysOff       Feature = "forward-always-off"
	ForwardBusyOn          Feature = "forward-busy-on"
	ForwardBusyOff         Feature = "forward-busy-off"
	ForwardNoAnswerOn      Feature = "forward-no-answer-on"
	ForwardNoAnswerOff     Feature = "forward-no-answer-off"
	ForwardNotReachableOn  Feature = "forward-not-reachable-on"
	ForwardNotReachableOff Feature = "forward-not-reachable-off"

	// Forwarding to the user's own mailbox, and its end.
	VoicemailAlwaysOn    Feature = "voicemail-always-on"
	VoicemailAlwaysOff   Feature = "voicemail-always-off"
	VoicemailBusyOn      Feature = "voicemail-busy-on"
	VoicemailBusyOff     Feature = "voicemail-busy-off"
	VoicemailNoAnswerOn  Feature = "voicemail-no-answer-on"
	VoicemailNoAnswerOff Feature = "voicemail-no-answer-off"

	DoNotDisturbOn  Feature = "do-not-disturb-on"
	DoNotDisturbOff Feature = "do-not-disturb-off"

	// One call without one's number (the number to call), and with it.
	CallerIDBlock   Feature = "caller-id-block"
	CallerIDDeliver Feature = "caller-id-deliver"

	// Calls of others: the extension, where it is not one's own.
	Park           Feature = "park"
	ParkRetrieve   Feature = "park-retrieve"
	GroupPickup    Feature = "group-pickup"
	DirectedPickup Feature = "directed-pickup"
	PickupBarge    Feature = "pickup-barge"

	// CallPull brings here the call that another device of one's own has.
	CallPull Feature = "call-pull"

	// Mailboxes: the call that is held goes to that of an extension, one's own
	// if there is none; one's own is listened to; one's indicator is put out.
	VoicemailTransfer Feature = "voicemail-transfer"
	VoicePortal       Feature = "voice-portal"
	VoicemailOwn      Feature = "voicemail"
	ClearIndicator    Feature = "clear-indicator"

	// Whom one called last, and who called last.
	Redial     Feature = "redial"
	CallReturn Feature = "call-return"

	InternationalPrefix Feature = "plus" // the number without its "+"
)

// DefaultCodes are the access codes of a BroadWorks that nobody has changed.
func DefaultCodes() map[Feature]string { return maps.Clone(defaultCodes) }

var defaultCodes = map[Feature]string{
	ForwardAlwaysOn: "*72", ForwardAlwaysOff: "*73",
	ForwardBusyOn: "*90", ForwardBusyOff: "*91",
	ForwardNoAnswerOn: "*92", ForwardNoAnswerOff: "*93",
	ForwardNotReachableOn: "*94", ForwardNotReachableOff: "*95",
	VoicemailAlwaysOn: "*21", VoicemailAlwaysOff: "#21",
	VoicemailBusyOn: "*40", VoicemailBusyOff: "#40",
	VoicemailNoAnswerOn: "*41", VoicemailNoAnswerOff: "#41",
	DoNotDisturbOn: "*78", DoNotDisturbOff: "*79",
	CallerIDBlock: "*67", CallerIDDeliver: "*65",
	Park: "*68", ParkRetrieve: "*88",
	GroupPickup: "*98", DirectedPickup: "*97", PickupBarge: "*33",
	CallPull:          "*11",
	VoicemailTransfer: "*55", VoicePortal: "*86", VoicemailOwn: "*62", ClearIndicator: "*99",
	Redial: "*66", CallReturn: "*69",
	InternationalPrefix: "*14",
}

// completeCodes puts in the defaults, and refuses a table that is not clear.
func completeCodes(codes map[Feature]string) (map[Feature]string, error) {
	all := DefaultCodes()
	for f, code := range codes {
		if all[f] == "" {
			return nil, fmt.Errorf("siptest: Config.Codes: unknown feature %q", f)
		}
		if strings.Trim(code, "*#0123456789") != "" {
			return nil, fmt.Errorf("siptest: Config.Codes: %s: %q cannot be dialled", f, code)
		}
		all[f] = code
	}
	of := make(map[string]Feature)
	for f, code := range all {
		if other, taken := of[code]; taken && code != "" {
			return nil, fmt.Errorf("siptest: Config.Codes: %s and %s are both %q", min(f, other), max(f, other), code)
		}
		of[code] = f
	}
	return all, nil
}

// featureOf finds the access code at the start of what was dialled, the longest
// if there are several, and what stands behind it.
func (c *Config) featureOf(number string) (f Feature, digits string, ok bool) {
	longest := 0
	for feature, code := range c.Codes {
		if rest, found := strings.CutPrefix(number, code); found && len(code) > longest {
			f, digits, longest = feature, rest, len(code)
		}
	}
	return f, digits, longest > 0
}

// access takes a call to an access code. It returns false if none was dialled.
func (l *life) access(now time.Time, s *transaction.Server, caller *User, number string) bool {
	f, digits, ok := l.cfg.featureOf(plainNumber(number))
	if !ok {
		return false
	}
	l.feature(now, s, caller, f, digits)
	return true
}

// feature serves the call to an access code, with the digits behind it. Who
// has not been assigned a service may not use it: 403.
func (l *life) feature(now time.Time, s *transaction.Server, caller *User, f Feature, digits string) {
	switch f {
	case CallPull:
		l.pull(now, s, caller)
	case Park:
		l.park(now, s, caller, digits)
	case ParkRetrieve:
		l.retrieve(now, s, caller, digits)
	case DirectedPickup, PickupBarge:
		callee := l.srv.users.find(digits)
		if callee == nil {
			l.respond(now, s, sipgo.StatusNotFound)
			return
		}
		l.pickUpOf(now, s, caller, callee)
	case GroupPickup:
		l.pickUpOf(now, s, caller, nil)
	case ForwardAlwaysOn, ForwardBusyOn, ForwardNoAnswerOn, ForwardNotReachableOn:
		l.setForward(now, s, caller, f, digits)
	case ForwardAlwaysOff, ForwardBusyOff, ForwardNoAnswerOff, ForwardNotReachableOff:
		l.set(now, s, caller, func(s *Settings) { *s.forwardOf(f) = "" })
	case DoNotDisturbOn, DoNotDisturbOff:
		l.set(now, s, caller, func(s *Settings) { s.DoNotDisturb = f == DoNotDisturbOn })
	case VoicemailAlwaysOn, VoicemailAlwaysOff, VoicemailBusyOn, VoicemailBusyOff, VoicemailNoAnswerOn, VoicemailNoAnswerOff,
		VoicePortal, VoicemailOwn, ClearIndicator:
		l.atPortal(now, s, caller, f)
	case VoicemailTransfer:
		l.toMailbox(now, s, caller, digits)
	case CallerIDBlock, CallerIDDeliver:
		l.identified(now, s, caller, digits, f == CallerIDDeliver)
	case InternationalPrefix:
		l.redirect(now, s, caller, "+"+digits)
	case Redial:
		l.redirect(now, s, caller, caller.state.lastDialled())
	case CallReturn:
		l.redirect(now, s, caller, caller.state.lastCaller())
	default:
		l.respond(now, s, sipgo.StatusForbidden)
	}
}
