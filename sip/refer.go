package sip

import (
	"context"
	"errors"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/subscribe"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// ReferDecision is what to do about a REFER.
type ReferDecision int

// The decisions.
const (
	ReferRefuse ReferDecision = iota // 603 (Decline)
	ReferFollow                      // call the target
	ReferAsk                         // the user decides: see UA.AcceptRefer
)

// ReferRequest is somebody's wish that we call somebody else (REFER, RFC 3515):
// in a call, that it goes on with another party.
type ReferRequest struct {
	// Call is the one whose peer asks; nil outside of a call.
	Call *Call
	// From is who asks, Target whom to call.
	From, Target Party
	// ReferredBy is who is behind it, by the peer's own words (RFC 3892).
	ReferredBy Party
	// Replaces says that the call is to take the place of one that the target
	// has: an attended transfer.
	Replaces bool
	// OwnFlow says that it came over one of the account's own flows.
	OwnFlow bool

	ua      *UA
	inv     *invitation
	decided bool // in the loop
	n       *subscribe.Notifier
	w       *subscribe.Watcher
	status  int // to tell
	phrase  string
}

const (
	// referLife is how long the subscription of a REFER lives: an INVITE rings
	// for three minutes (Timer C), and may be redirected.
	referLife = 5 * time.Minute
	// referInterval is how far apart the NOTIFYs are of provisional responses.
	referInterval = time.Second
)

// DefaultRefer is what Config.Refer is if it is nil. It follows in a call;
// outside of one, what the user's other devices ask: the same address of record,
// over the account's own flow.
func DefaultRefer(r *ReferRequest) ReferDecision {
	if r.Call != nil || r.OwnFlow && r.ua.isOwn(r.From.URI) {
		return ReferFollow
	}
	return ReferRefuse
}

// isOwn tells whether a URI is the account's address of record.
func (ua *UA) isOwn(s string) bool {
	uri, err := sipwire.ParseURI(s)
	return err == nil && uri.User == ua.acct.aor.User && strings.EqualFold(uri.Host, ua.acct.aor.Host)
}

// referred takes a REFER in the call's dialog.
func (c *Call) referred(now time.Time, s *transaction.Server) {
	set := c.ua.find(s.Request())
	switch {
	case set != c.set || c.m.State() != call.Established:
		c.ua.respond(now, s, sipgo.StatusTemporarilyUnavailable)
	case c.move != nil || c.referral != nil && !c.referral.decided:
		c.ua.respond(now, s, sipgo.StatusRequestPending) // one at a time
	default:
		c.ua.referredIn(now, s, set)
	}
}

// referred takes a REFER outside of a call.
func (ua *UA) referred(now time.Time, s *transaction.Server) {
	if status := ua.busy(); status != 0 {
		ua.respond(now, s, status)
		return
	}
	ua.referredIn(now, s, nil)
}

// referredIn takes a REFER in a dialog set of a call, nil: outside.
func (ua *UA) referredIn(now time.Time, s *transaction.Server, set *dialogSet) {
	r, status := ua.referral(s.Request())
	if status != 0 {
		ua.respond(now, s, status)
		return
	}
	r.OwnFlow = !ua.acct.direct && ua.own(s)
	id := identityOf(s.Request(), r.OwnFlow)
	r.From = id.callerOf()
	if set != nil {
		r.Call = set.c
		r.inv.from, r.inv.name = set.from()
	}
	decide := ua.cfg.Refer
	if decide == nil {
		decide = DefaultRefer
	}
	decision := decide(r)
	switch decision {
	case ReferFollow:
	case ReferAsk:
		if len(ua.refers) == cap(ua.refers) {
			ua.respond(now, s, sipgo.StatusBusyHere)
			return
		}
	default:
		ua.respond(now, s, sipgo.StatusGlobalDecline)
		return
	}
	if !r.accept(now, s, set) {
		return
	}
	if set != nil {
		set.c.referral = r
	}
	if decision == ReferAsk {
		ua.refers <- r // there is room, and only the loop fills it
		return
	}
	r.follow(now)
}

// referral reads a REFER, or tells how to refuse it.
func (ua *UA) referral(req *sipgo.Request) (*ReferRequest, int) {
	values := headerValues(req, "Refer-To")
	if len(values) != 1 {
		return nil, sipgo.StatusBadRequest // RFC 3515 §2.4.2
	}
	to, err := sipwire.ParseReferTo(values[0])
	if err != nil {
		return nil, sipgo.StatusBadRequest
	}
	if to.Method != "" && to.Method != "INVITE" {
		return nil, sipgo.StatusGlobalDecline // nothing but calls
	}
	text := sipwire.FormatURI(&to.URI)
	uri, err := ua.target(text)
	if err != nil {
		return nil, 416 // a scheme that we do not call (RFC 3261 §21.4.14)
	}
	r := &ReferRequest{ua: ua, status: sipgo.StatusTrying, ReferredBy: referredBy(req), Target: Party{URI: text, Name: to.Name}}
	inv := &invitation{to: uri, from: ua.acct.aor, name: ua.acct.name, media: offeranswer.Options{NewKeys: true},
		targets: targets{left: defaultRedirects}}
	// Of the header fields in the URI those are taken that make the call part
	// of a transfer. Others would let the peer speak in our name.
	for _, h := range to.Headers {
		switch strings.ToLower(h.Name()) {
		case "replaces":
			if _, err := sipwire.ParseReplaces(h.Value()); err != nil || r.Replaces {
				return nil, sipgo.StatusBadRequest
			}
			r.Replaces = true
			inv.headers = append(inv.headers, sipgo.NewHeader("Require", "replaces"), sipgo.NewHeader("Replaces", h.Value()))
		case "join":
			if _, err := sipwire.ParseJoin(h.Value()); err != nil || sipwire.Find(req, "Join") != nil {
				return nil, sipgo.StatusBadRequest
			}
			inv.headers = append(inv.headers, sipgo.NewHeader("Require", "join"), sipgo.NewHeader("Join", h.Value()))
		}
	}
	if v := sipwire.Header(req, "Referred-By"); v != "" && r.ReferredBy.URI != "" {
		inv.headers = append(inv.headers, sipgo.NewHeader("Referred-By", v)) // RFC 3892 §2.2
	}
	r.inv = inv
	return r, 0
}

// from is who we are in the dialog set, for another of the same call.
func (s *dialogSet) from() (sipgo.Uri, string) {
	if s.c.anonymous {
		return sipgo.Uri{Scheme: "sip", User: "anonymous", Host: "anonymous.invalid"}, "Anonymous"
	}
	return s.c.ua.acct.aor, s.c.ua.acct.name
}

// accept answers the REFER with 202, and makes its subscription unless the peer
// does not want any (RFC 3515 §2.4.4, RFC 4488 §4).
func (r *ReferRequest) accept(now time.Time, s *transaction.Server, set *dialogSet) bool {
	if sub, ok := sipwire.ParseReferSub(sipwire.Header(s.Request(), "Refer-Sub")); ok && !sub {
		r.ua.respond(now, s, sipgo.StatusAccepted, sipgo.NewHeader("Refer-Sub", "false"))
		return true
	}
	env := &subscriptionEnv{ua: r.ua}
	r.n = subscribe.NewNotifier(env, subscribe.NotifierConfig{
		Package: "refer", Types: []string{sipwire.Sipfrag}, Expires: referLife, Max: referLife,
		Interval: referInterval, MaxWatchers: 1, T1: r.ua.cfg.Timers.T1,
	}, (*referSource)(r))
	env.take = r.n.OnSubscribe
	if set == nil {
		r.w = r.n.OnRefer(now, s, referLife, "", nil)
	} else {
		r.w = r.n.OnRefer(now, s, referLife, set.m.LocalTag(), set.m.Within)
	}
	return r.w != nil
}

// referSource is what the subscription of a REFER tells.
type referSource ReferRequest

// Authorize: nobody can subscribe but by the REFER itself.
func (*referSource) Authorize(time.Time, *sipgo.Request) int { return sipgo.StatusForbidden }

func (r *referSource) State(time.Time, *subscribe.Watcher, bool) (string, []byte) {
	return sipwire.Sipfrag, sipwire.AppendStatus(nil, r.status, r.phrase)
}

func (r *referSource) Left(time.Time, *subscribe.Watcher, error) { r.w = nil }

// tell tells who asked how the target has answered.
func (r *ReferRequest) tell(now time.Time, status int, phrase string) {
	r.status, r.phrase = status, phrase
	switch {
	case r.w == nil:
	case status < 200:
		r.w.Changed(now)
	default:
		r.w.End(now, "noresource", 0) // RFC 3515 §2.4.7
	}
}

// settle tells the outcome.
func (r *ReferRequest) settle(now time.Time, err error) {
	if err == nil {
		r.tell(now, sipgo.StatusOK, "")
		return
	}
	status, phrase := sipgo.StatusServiceUnavailable, ""
	if se, ok := errors.AsType[*call.StatusError](err); ok {
		status, phrase = se.Code, se.Phrase
	} else if errors.Is(err, ErrEnded) {
		status = sipgo.StatusRequestTerminated
	} else if errors.Is(err, transaction.ErrTimeout) {
		status = sipgo.StatusRequestTimeout
	}
	r.tell(now, status, phrase)
}

// follow calls the target. In the loop.
func (r *ReferRequest) follow(now time.Time) bool {
	if r.decided {
		return false
	}
	r.decided = true
	ua, c := r.ua, r.Call
	var set *dialogSet
	switch {
	case ua.draining, c == nil && ua.full(), c != nil && (c.m.State() != call.Established || c.move != nil):
		r.tell(now, sipgo.StatusTemporarilyUnavailable, "")
		return false
	case c == nil:
		c = newCall(ua, Outgoing)
		set = c.outgoing(r.inv)
		c.begun(set)
		c.local, c.remote = set.local, set.remote
		ua.incoming <- c // there is room, and only the loop fills it
	default:
		set = c.outgoing(r.inv)
		set.m.Inherit(c.m)
	}
	c.move = &move{
		set:      set,
		progress: func(now time.Time, status int, phrase string) { r.tell(now, status, phrase) },
		done:     r.settle,
	}
	set.begin(now)
	return true
}

// AcceptRefer waits for the next REFER that Config.Refer has left to the user.
// After Close the error is ErrClosed.
func (ua *UA) AcceptRefer(ctx context.Context) (*ReferRequest, error) {
	select {
	case r := <-ua.refers:
		return r, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-ua.ep.Context().Done():
		return nil, ErrClosed
	}
}

// Follow calls the target: the call moves there, or stays as it is if that
// fails. Outside of a call, Accept returns the new one. It does not wait for an
// answer. ErrState the second time, and where the call has ended.
func (r *ReferRequest) Follow(ctx context.Context) error {
	ok := false
	if err := r.ua.ep.Run(ctx, func(now time.Time) { ok = r.follow(now) }); err != nil {
		return publicError("REFER", err)
	}
	if !ok {
		return ErrState
	}
	return nil
}

// Refuse tells who asked that the target will not be called: with a status of 300 to
// 699, 0 is 603 (Decline). ErrState for another, and the second time.
func (r *ReferRequest) Refuse(ctx context.Context, status int) error {
	if status == 0 {
		status = sipgo.StatusGlobalDecline
	}
	if status < 300 || status > 699 {
		return ErrState
	}
	ok := false
	if err := r.ua.ep.Run(ctx, func(now time.Time) {
		if ok = !r.decided; ok {
			r.decided = true
			r.tell(now, status, "")
		}
	}); err != nil {
		return publicError("REFER", err)
	}
	if !ok {
		return ErrState
	}
	return nil
}

// resubscribedRefer takes a SUBSCRIBE to what a REFER in a call is about.
func (ua *UA) resubscribedRefer(c *Call, now time.Time, s *transaction.Server, _ sipwire.Event) {
	if c != nil && c.referral != nil && c.referral.n != nil {
		c.referral.n.OnSubscribe(now, s)
		return
	}
	ua.respond(now, s, sipgo.StatusCallTransactionDoesNotExists)
}
