package sip

import (
	"context"
	"errors"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/flow"
	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/register"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// accountFlow is one of the account's connections to its servers (RFC 5626
// §4.2) with the binding on it: it is dialled, registered, kept alive, and
// dialled again when it is lost. In the loop.
type accountFlow struct {
	ua    *UA
	regID int

	flow    *transport.Flow // nil: none
	target  locate.Target
	known   []locate.Target // the servers there were when it was last dialled
	last    *transport.Flow // the one before
	dialing *dial           // under way
	waiting []func(now time.Time, f *transport.Flow, err error)
	linger  bool // not registered any more: to be closed with the last call or subscription

	reg        *register.Machine // nil: not registering
	started    bool
	redirected *sipgo.Uri // a 3xx sent us there
	redirects  int
	servers    int // not tried yet by the first attempt
	keep       *flow.KeepAlive
	backoff    flow.Backoff
	retry      timerq.Timer
}

// maxRedirects bounds 3xx responses to one registration.
const maxRedirects = 5

// dial is one attempt to connect.
type dial struct{ cancel context.CancelFunc }

func newAccountFlow(ua *UA, regID int) *accountFlow {
	f := &accountFlow{ua: ua, regID: regID}
	f.backoff = flow.Backoff{Rand: ua.ep.Float}
	f.retry.F = f.dial
	return f
}

func (f *accountFlow) up() bool { return f.flow != nil && f.flow.Err() == nil }

// register starts the binding on this flow.
func (f *accountFlow) register(now time.Time) {
	a := &f.ua.acct
	f.reg = register.New(&f.ua.ep.Q, register.Config{
		Registrar: a.registrar, AOR: a.aor, DisplayName: a.name,
		Contact:       func() sipgo.Uri { return f.ua.contactURI(f.flow) },
		ContactParams: a.params,
		Instance:      a.instance, RegID: f.regID,
		Outbound: a.outbound, GRUU: a.gruu, Keep: true,
		Expires: a.expires, T1: f.ua.cfg.Timers.T1,
		CallID: f.ua.ep.ID(24), FromTag: f.ua.ep.Tag(), Rand: f.ua.ep.Float,
	}, (*registrar)(f), (*registrar)(f))
	f.started, f.redirects, f.redirected, f.servers, f.linger = false, 0, nil, 0, false
	if f.up() {
		f.start(now)
		return
	}
	f.dial(now)
}

// want calls ready with the flow, once there is one or none can be had.
func (f *accountFlow) want(now time.Time, ready func(now time.Time, fl *transport.Flow, err error)) {
	if f.up() {
		ready(now, f.flow, nil)
		return
	}
	f.waiting = append(f.waiting, ready)
	f.dial(now)
}

// dial connects to the best server there is.
func (f *accountFlow) dial(now time.Time) {
	if f.dialing != nil || f.up() {
		return
	}
	f.ua.ep.Q.Stop(&f.retry)
	ctx, cancel := context.WithCancel(f.ua.ep.Context())
	d := &dial{cancel}
	f.dialing = d
	query := f.ua.query(f.redirected)
	var targets []locate.Target
	var fl *transport.Flow
	var target locate.Target
	var err error
	f.ua.ep.Go(func(context.Context) {
		finder := locate.Finder{Resolver: f.ua.res}
		targets, err = finder.Find(ctx, query)
	}, func(now time.Time) {
		switch {
		case f.dialing != d: // called off
			return
		case err != nil:
			f.dialled(now, nil, target, 0, err)
			return
		}
		targets, _ = f.ua.aside.Order(now, f.away(targets))
		f.known = targets
		f.target = targets[0] // so that the other flow keeps away from it
		f.ua.ep.Go(func(context.Context) {
			fl, target, err = f.ua.connect(ctx, targets)
		}, func(now time.Time) {
			switch {
			case f.dialing == d:
				f.dialled(now, fl, target, len(targets), err)
			case err == nil:
				fl.Close(nil)
			}
		}, nil)
	}, nil)
}

// elsewhere tells whether there is a server that a request was not offered to.
func (f *accountFlow) elsewhere(o *endpoint.Outgoing) bool {
	return slices.ContainsFunc(f.known, func(t locate.Target) bool {
		return !slices.ContainsFunc(o.Tried, func(fl *transport.Flow) bool {
			return isSame(t.Addr, fl.Remote()) && string(t.Transport) == string(fl.Proto())
		})
	})
}

// away puts the server of the account's other flow last: two flows are to two
// servers where there are two (RFC 5626 §4.2).
func (f *accountFlow) away(targets []locate.Target) []locate.Target {
	var here, there []locate.Target
	for _, t := range targets {
		taken := false
		for _, other := range f.ua.flows {
			taken = taken || other != f && (other.up() || other.dialing != nil) && other.target.Addr == t.Addr
		}
		if taken {
			there = append(there, t)
		} else {
			here = append(here, t)
		}
	}
	return append(here, there...)
}

func (f *accountFlow) dialled(now time.Time, fl *transport.Flow, target locate.Target, servers int, err error) {
	f.dialing.cancel()
	f.dialing = nil
	waiting := f.waiting
	f.waiting = nil
	if err == nil && fl.Err() != nil {
		err = fl.Err() // lost before we heard of it
	}
	if err != nil {
		f.ua.log.Debug("no connection", "account", f.ua.AOR(), "reg-id", f.regID, "error", err)
		for _, ready := range waiting {
			ready(now, nil, err)
		}
		f.failed(now, err, 0, false)
		return
	}
	f.flow, f.target = fl, target
	if f.servers == 0 {
		f.servers = servers
	}
	if f.last != nil {
		for _, set := range f.ua.calls {
			set.m.Moved(f.last, fl)
		}
		f.last = nil
	}
	for _, ready := range waiting {
		ready(now, fl, nil)
	}
	switch {
	case f.reg == nil:
		f.ua.rehome(now, fl)
	case f.started:
		f.reg.FlowChanged(now)
	default:
		f.start(now)
	}
}

func (f *accountFlow) start(now time.Time) {
	f.started = true
	f.reg.Start(now)
}

// failed decides what comes after a failure of the flow or its binding.
func (f *accountFlow) failed(now time.Time, err error, after time.Duration, fatal bool) {
	f.drop(err)
	// A server that a redirect has led to is left for good.
	f.redirected, f.redirects = nil, 0
	if f.reg == nil || f.ua.reg == nil {
		return
	}
	if !f.ua.reg.lost(now, f, err, fatal) {
		f.quit(now)
		f.ua.checkLeft(now)
		return
	}
	wait := f.backoff.Failed(now, f.ua.othersUp(f))
	f.ua.ep.Q.Set(&f.retry, now.Add(max(wait, after)))
}

// drop closes the flow.
func (f *accountFlow) drop(err error) {
	if f.keep != nil {
		f.keep.Stop()
		f.keep = nil
	}
	if fl := f.flow; fl != nil {
		f.flow, f.last, f.linger = nil, fl, false
		fl.Close(err)
	}
}

// quit ends the binding without a word. What calls and subscriptions need they
// keep: the connection until the last of them is over, and one that is being made.
func (f *accountFlow) quit(now time.Time) {
	f.ua.ep.Q.Stop(&f.retry)
	if f.reg != nil {
		f.reg.Stop(now)
		f.reg = nil
	}
	if f.dialing != nil && len(f.waiting) == 0 {
		f.dialing.cancel()
		f.dialing = nil
	}
	if f.linger = f.ua.needed(); !f.linger {
		f.drop(nil)
	}
}

// lost takes the end of the connection.
func (f *accountFlow) lost(now time.Time, err error) {
	if err == nil {
		err = ErrNoFlow
	}
	f.ua.log.Info("connection lost", "account", f.ua.AOR(), "reg-id", f.regID, "error", err)
	f.ua.aside.Fail(now, f.target, 0)
	f.failed(now, err, 0, false)
}

// registrar is the flow as its registration machine sees it.
type registrar accountFlow

func (r *registrar) Register(now time.Time, req *sipgo.Request, done func(now time.Time, res *sipgo.Response, err error)) func() {
	f := (*accountFlow)(r)
	if !f.up() {
		done(now, nil, ErrNoFlow)
		return nil
	}
	if p := f.ua.acct.proxy; p != nil && p.UriParams.Has("lr") {
		req.PrependHeader(sipgo.NewHeader("Route", "<"+sipwire.FormatURI(p)+">"))
	}
	f.ua.decorate(req)
	over := false
	finish := func(now time.Time, res *sipgo.Response, err error) {
		if !over {
			over = true
			done(now, res, err)
		}
	}
	f.ua.ep.Send(now, &endpoint.Outgoing{
		Req: req, Flow: f.flow, Pinned: true, NextCSeq: f.reg.NextCSeq,
		ViaParams: []sipgo.HeaderKV{{K: "keep"}},
		OnResponse: func(now time.Time, res *sipgo.Response) {
			if res.StatusCode >= 200 {
				finish(now, res, nil)
			}
		},
		OnFailed: func(now time.Time, err error) { finish(now, nil, err) },
	})
	return func() { over = true }
}

func (r *registrar) Registered(now time.Time, b register.Binding) {
	f := (*accountFlow)(r)
	f.backoff.Registered(now)
	f.ua.aside.Clear(f.target)
	if f.up() {
		if f.keep == nil {
			f.keep = flow.New(&f.ua.ep.Q, flow.Config{
				Reliable: f.flow.Reliable(), Rand: f.ua.ep.Float, TxID: f.ua.ep.STUNID,
			}, (*keeper)(f))
		}
		terms := flow.Terms{Answered: b.Outbound || b.Keep, Interval: b.FlowTimer}
		if terms.Interval == 0 {
			terms.Interval = b.KeepEvery
		}
		f.keep.Start(now, terms)
	}
	if f.ua.reg != nil {
		f.ua.reg.granted(now, f, b)
	}
	if f.up() {
		f.ua.rehome(now, f.flow)
	}
}

func (r *registrar) Unregistered(now time.Time, err error) {
	f := (*accountFlow)(r)
	f.ua.unregistered(now, f, err)
}

func (r *registrar) Failed(now time.Time, err error, after time.Duration, move *sipgo.Uri, fatal bool) {
	f := (*accountFlow)(r)
	if move != nil {
		if f.redirects++; f.redirects <= maxRedirects {
			f.redirected = move
			f.drop(err)
			f.dial(now)
			return
		}
	}
	fatal = fatal || isAuth(err)
	if f.flow != nil {
		f.ua.aside.Fail(now, f.target, after)
	}
	if !fatal && f.ua.reg != nil && !f.ua.reg.settled && f.servers > 1 {
		// The first attempt goes through every server before it gives up.
		f.servers--
		f.drop(err)
		f.dial(now)
		return
	}
	f.failed(now, err, after, fatal)
}

// isAuth tells whether the account itself is the reason of a failure.
func isAuth(err error) bool {
	var auth *AuthError
	return errors.As(publicError("REGISTER", err), &auth)
}

// keeper is the flow as its keep-alive machine sees it.
type keeper accountFlow

func (k *keeper) SendPing(time.Time) {
	if k.flow != nil {
		_ = k.flow.SendPing() // a failure ends the flow, which is heard of
	}
}

func (k *keeper) SendSTUN(_ time.Time, id [12]byte) {
	if k.flow != nil {
		_ = k.flow.SendSTUN(id) // an error is as good as silence
	}
}

func (k *keeper) FlowFailed(now time.Time, err error) {
	(*accountFlow)(k).lost(now, err)
}

// othersUp tells whether another flow of the account is registered (RFC 5626 §4.5).
func (ua *UA) othersUp(f *accountFlow) bool {
	if ua.reg == nil {
		return false
	}
	for id := range ua.reg.up {
		if id != f.regID {
			return true
		}
	}
	return false
}

// unregister removes the bindings. The registration ends when they are gone.
func (ua *UA) unregister(now time.Time) {
	if ua.reg == nil || ua.reg.leaving {
		return
	}
	ua.reg.leaving = true
	for _, f := range ua.flows {
		if f.reg == nil {
			continue
		}
		ua.ep.Q.Stop(&f.retry)
		if f.up() {
			f.reg.Unregister(now)
		} else {
			var err error // nothing to say it over
			if _, bound := f.reg.Binding(now); bound {
				err = ErrNoFlow
			}
			ua.unregistered(now, f, err)
		}
	}
	ua.checkLeft(now)
}

func (ua *UA) unregistered(now time.Time, f *accountFlow, err error) {
	if err != nil {
		ua.log.Info("the binding was not removed", "account", ua.AOR(), "error", err)
		if ua.reg != nil && ua.reg.left == nil {
			ua.reg.left = publicError("REGISTER", err)
		}
	}
	f.quit(now)
	ua.checkLeft(now)
}

// checkLeft ends a registration that is being left once no binding is.
func (ua *UA) checkLeft(now time.Time) {
	if ua.reg == nil || !ua.reg.leaving {
		return
	}
	for _, f := range ua.flows {
		if f.reg != nil {
			return
		}
	}
	ua.reg.end(now, ErrUnregistered)
}
