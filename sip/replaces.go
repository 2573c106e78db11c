package sip

import (
	"context"
	"fmt"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Dialog names a dialog of a call (RFC 3261 §12) as the side sees it that is
// named by LocalTag. Replaces and Join point at one (RFC 3891, RFC 3911).
type Dialog struct {
	CallID    string
	LocalTag  string
	RemoteTag string
}

// reference is what an INVITE to the other side says of the dialog.
func (d Dialog) reference() (sipwire.DialogRef, error) {
	ref := sipwire.DialogRef{CallID: d.CallID, Local: d.RemoteTag, Remote: d.LocalTag}
	if read, err := sipwire.ParseReplaces(ref.Replaces()); err != nil || read != ref {
		return ref, sipwire.ErrDialogRef
	}
	return ref, nil
}

// Dialog is the dialog that the call lives in now; the zero value before there
// is one, which an outgoing call has once it rings. Where its INVITE has
// forked that is the first fork to ring, until one has answered. The zero value
// also after the user agent was closed.
func (c *Call) Dialog() Dialog {
	var d Dialog
	_ = c.run(context.Background(), func(time.Time) { d = c.dialog() })
	return d
}

func (c *Call) dialog() Dialog {
	ds := c.m.Dialogs()
	if len(ds) == 0 {
		return Dialog{}
	}
	return Dialog{CallID: ds[0].CallID, LocalTag: ds[0].LocalTag, RemoteTag: ds[0].RemoteTag}
}

// ReplaceRequest is an INVITE that wants to take the place of a call's dialog
// (RFC 3891), or to join it (RFC 3911).
type ReplaceRequest struct {
	// Call is the one meant. Methods of it that wait must not be called from
	// within Config.Replace.
	Call *Call
	// From is who asks, as Call.Remote has it.
	From Party
	// ReferredBy is who has sent him, by his own words (RFC 3892); the zero
	// value where nobody is named.
	ReferredBy Party
	// OwnFlow says that it came over one of the account's own flows: the
	// server let it through.
	OwnFlow bool
	// Join says that it is to join the call and not to replace it.
	Join bool
}

// appendReferences adds the header fields of DialOptions.Replaces and Join.
// What they ask for is required of the callee: to him who does not know it, the
// call would be just another one (RFC 3891 §4, RFC 3911 §5).
func appendReferences(headers []sipgo.Header, o *DialOptions) ([]sipgo.Header, error) {
	if o.Replaces != nil && o.Join != nil {
		return nil, fmt.Errorf("sip: a call cannot both replace another and join it")
	}
	if o.Replaces != nil {
		ref, err := o.Replaces.reference()
		if err != nil {
			return nil, fmt.Errorf("sip: DialOptions.Replaces: %w", err)
		}
		ref.EarlyOnly = o.EarlyOnly
		headers = append(headers, sipgo.NewHeader("Require", "replaces"), sipgo.NewHeader("Replaces", ref.Replaces()))
	}
	if o.Join != nil {
		ref, err := o.Join.reference()
		if err != nil {
			return nil, fmt.Errorf("sip: DialOptions.Join: %w", err)
		}
		headers = append(headers, sipgo.NewHeader("Require", "join"), sipgo.NewHeader("Join", ref.Join()))
	}
	return headers, nil
}

// pointed finds the dialog that a Replaces or Join header field of an INVITE
// points at. "The to-tag parameter is compared to the local tag, and the
// from-tag parameter is compared to the remote tag" (RFC 3891 §3). Where there
// is none it returns the answer that says so.
func (ua *UA) pointed(now time.Time, ref sipwire.DialogRef) (set *dialogSet, d call.Dialog, status int) {
	if set = ua.calls[callKey{ref.CallID, ref.Local}]; set != nil {
		var ok bool
		if d, ok = set.m.DialogWith(ref.Remote); !ok && ref.Remote == "0" {
			// A tag of zero also means a peer without tags (RFC 3891 §6.1).
			d, ok = set.m.DialogWith("")
		}
		if ok {
			if set.m.State() == call.Ended || set != set.c.set && (set.c.move == nil || set.c.move.set != set) {
				return nil, d, sipgo.StatusGlobalDecline
			}
			return set, d, 0
		}
	}
	if ua.past.has(now, ref) {
		return nil, d, sipgo.StatusGlobalDecline
	}
	return nil, d, sipgo.StatusCallTransactionDoesNotExists
}

// replacing takes an INVITE with Replaces. False: it has none.
func (ua *UA) replacing(now time.Time, s *transaction.Server) bool {
	req := s.Request()
	switch values, join := headerValues(req, "Replaces"), sipwire.Find(req, "Join") != nil; {
	case len(values) == 0:
		return false
	case len(values) > 1 || join:
		// "If more than one Replaces header field is present in an INVITE ...
		// the UAS MUST reject the request with a 400", and with Join, which
		// asks for something else, too (RFC 3891 §3, RFC 3911 §4).
		ua.respond(now, s, sipgo.StatusBadRequest)
	default:
		ref, err := sipwire.ParseReplaces(values[0])
		if err != nil {
			ua.respond(now, s, sipgo.StatusBadRequest)
			break
		}
		ua.replace(now, s, ref)
	}
	return true
}

func (ua *UA) replace(now time.Time, s *transaction.Server, ref sipwire.DialogRef) {
	set, d, status := ua.pointed(now, ref)
	switch {
	case ua.draining:
		status = sipgo.StatusTemporarilyUnavailable
	case status != 0: // no such dialog (any more)
	case !d.Confirmed && !d.Initiated:
		// It rings here: "If the Replaces header field matches an early dialog
		// that was not initiated by this UA, it returns a 481" (§3).
		status = sipgo.StatusCallTransactionDoesNotExists
	case !ua.mayReplace(s, set.c, false):
		status = sipgo.StatusForbidden
	case d.Confirmed && ref.EarlyOnly:
		status = sipgo.StatusBusyHere
	case set.c.move != nil:
		status = sipgo.StatusRequestPending // somebody else was first
	case !takesSDP(s.Request()):
		status = sipgo.StatusNotAcceptable
	}
	if status != 0 {
		ua.respond(now, s, status)
		return
	}
	c := set.c
	next := c.incoming(now, s)
	if next == nil {
		return
	}
	next.m.Inherit(set.m)
	// If it cannot be taken, "the UA ... MUST leave the matched dialog
	// unchanged" (§3).
	c.moveTo(&move{set: next, replaces: true, done: func(_ time.Time, err error) {
		if err != nil {
			ua.log.Warn("a call was not replaced", "call", c.id, "error", err)
		}
	}})
	next.m.Answer(now, offeranswer.Options{NewKeys: true}, func(now time.Time, err error) {
		if err == nil && !d.Confirmed {
			// "and shuts down the replaced dialog by sending a CANCEL" (§3);
			// a confirmed one is left when the new one is heard.
			set.m.Hangup(now, replaced)
		}
	})
}

// mayReplace tells whether an INVITE may replace or join a call (RFC 3891 §3:
// "MUST verify that the initiator of the new INVITE is authorized").
func (ua *UA) mayReplace(s *transaction.Server, c *Call, join bool) bool {
	own := !ua.acct.direct && ua.own(s)
	if ua.cfg.Replace == nil {
		return own
	}
	r := &ReplaceRequest{Call: c, OwnFlow: own, Join: join, ReferredBy: referredBy(s.Request())}
	id := identityOf(s.Request(), own)
	r.From = id.callerOf()
	return ua.cfg.Replace(r)
}

// referredBy is the party that a Referred-By header field names (RFC 3892 §3).
func referredBy(req *sipgo.Request) Party {
	v := sipwire.Header(req, "Referred-By")
	if v == "" {
		return Party{}
	}
	name, uri, _, err := sipwire.ParseNameAddr(v)
	if err != nil {
		return Party{}
	}
	return Party{URI: sipwire.FormatURI(&uri), Name: name}
}

// headerValues are the values of all header fields of a name, each whole.
func headerValues(m sipgo.Message, name string) []string {
	var vs []string
	for _, h := range sipwire.Headers(m) {
		if sipgo.HeaderToLower(h.Name()) == sipgo.HeaderToLower(name) {
			vs = append(vs, h.Value())
		}
	}
	return vs
}

// pastDialogs are the latest dialogs that have ended: who wants to replace one
// of them is told so, instead of that there never was one. The oldest of 64 is
// forgotten for a new one, and each after 32 seconds.
type pastDialogs struct {
	list []pastDialog
	next int
}

type pastDialog struct {
	Dialog
	until time.Time
}

const (
	maxPast = 64
	pastFor = 32 * time.Second
)

func (p *pastDialogs) add(now time.Time, d call.Dialog) {
	e := pastDialog{Dialog{CallID: d.CallID, LocalTag: d.LocalTag, RemoteTag: d.RemoteTag}, now.Add(pastFor)}
	if len(p.list) < maxPast {
		p.list = append(p.list, e)
		return
	}
	p.list[p.next] = e
	p.next = (p.next + 1) % maxPast
}

func (p *pastDialogs) has(now time.Time, ref sipwire.DialogRef) bool {
	for _, e := range p.list {
		if now.Before(e.until) && e.CallID == ref.CallID && e.LocalTag == ref.Local &&
			(e.RemoteTag == ref.Remote || ref.Remote == "0" && e.RemoteTag == "") {
			return true
		}
	}
	return false
}
