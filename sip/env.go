package sip

import (
	"context"
	"slices"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// env is a dialog set as its machine sees it.
type env dialogSet

func (e *env) Request(now time.Time, flow transaction.Flow, req *sipgo.Request, h call.RequestHandler) call.Outgoing {
	o := &endpoint.Outgoing{Req: req, NextCSeq: h.NextCSeq}
	f, _ := flow.(*transport.Flow)
	o.Flow = e.c.ua.dialogFlow(f, req)
	switch req.Method {
	case sipgo.INVITE, sipgo.UPDATE, sipgo.REFER, sipgo.SUBSCRIBE, sipgo.NOTIFY:
		o.Prepare = func(f *transport.Flow, req *sipgo.Request) {
			req.RemoveHeader("Contact")
			req.AppendHeader(e.Contact(f))
		}
	}
	o.OnResponse = func(now time.Time, r *sipgo.Response) {
		e.c.learnSession(r, sipwire.ToTag(r))
		(*dialogSet)(e).learnIdentity(r)
		if r.IsRedirection() && req.Method == sipgo.INVITE {
			e.refusal = r
		}
		if r.IsSuccess() && req.Method == sipgo.INVITE {
			(*dialogSet)(e).learnFocus(r)
		}
		h.Response(now, o.Flow, r)
	}
	o.OnFailed = h.Failed
	if req.Method == sipgo.INVITE {
		e.invites = append(e.invites, o)
	}
	e.c.ua.ep.Send(now, o)
	return o
}

func (e *env) Ack(now time.Time, flow transaction.Flow, ack *sipgo.Request, invite call.Outgoing) {
	o, _ := invite.(*endpoint.Outgoing)
	e.c.saySession(ack)
	e.c.ua.ep.SendAck(now, e.c.ua.dialogFlow(flow.(*transport.Flow), ack), ack, o)
}

func (e *env) Contact(flow transaction.Flow) *sipgo.ContactHeader {
	f, _ := flow.(*transport.Flow)
	if f == nil {
		return nil
	}
	return &sipgo.ContactHeader{Address: e.c.ua.dialogContact(f, e.c.anonymous)}
}

func (e *env) Decorate(m sipgo.Message) {
	e.c.ua.decorate(m)
	e.c.saySession(m)
}

func (e *env) Timers() *timerq.Queue { return &e.c.ua.ep.Q }
func (e *env) ID(n int) string       { return e.c.ua.ep.ID(n) }
func (e *env) Float() float64        { return e.c.ua.ep.Float() }

func (e *env) Go(work func(), done func(now time.Time), abort func()) {
	e.c.ua.ep.Go(func(context.Context) { work() }, done, abort)
}

func (e *env) Post(fn func(now time.Time)) { e.c.ua.ep.Post(fn) }

func (e *env) NewMedia(ctx context.Context, notify func(offeranswer.Event)) (offeranswer.Media, error) {
	ua := e.c.ua
	oe := offeranswer.Env{Secure: ua.acct.transport.Secure(), Notify: notify}
	if f := e.c.flow.Load(); f != nil {
		oe.Local, oe.Secure = f.Local().Addr(), f.Secure()
	}
	return e.media.make(ctx, oe, ua.cfg.NewMedia)
}

func (e *env) Event(now time.Time, _ *call.Call, ev call.Event) {
	e.c.event(now, (*dialogSet)(e), ev)
}

// tell passes on what happened in the call's dialog set.
func (c *Call) tell(now time.Time, ev call.Event) {
	pub := Event{Time: now, Kind: EventKind(ev.Kind), Status: ev.Status, Phrase: ev.Reason, Streams: ev.Streams, Err: ev.Err}
	c.mu.Lock()
	c.media = real(c.m.Media())
	answering := c.state == CallAnswering
	switch ev.Kind {
	case call.StateChanged:
		c.state = CallState(ev.State)
		pub.State = c.state
	case call.MediaChanged:
		c.streams = ev.Streams
	case call.HoldChanged:
		c.held = Hold(ev.Held)
		pub.Held = c.held
	case call.ForksChanged:
		c.forks = c.forksOf(ev.Forks)
		pub.Forks = slices.Clone(c.forks)
	}
	if c.state == CallEstablished || c.state == CallEnded {
		c.forks = nil
	}
	c.mu.Unlock()
	if ev.Kind == call.StateChanged && ev.State == call.Ended {
		end := c.endOf(c.m, answering)
		if c.transferred {
			end.Cause = CauseTransferred
		}
		c.ended(now, end)
		if t := c.transfer; t != nil {
			t.callEnded(now, end)
		}
		return
	}
	c.log.add(pub)
	if ev.Kind == call.StateChanged && ev.State == call.Established {
		c.upOnce.Do(func() { close(c.up) })
	}
}

// ended tells everybody who waits.
func (c *Call) ended(now time.Time, end End) {
	c.mu.Lock()
	c.state, c.end = CallEnded, end
	c.mu.Unlock()
	if c.shared.end() {
		c.ua.ep.Go(func(context.Context) { _ = c.shared.close() }, func(time.Time) {}, nil)
	}
	c.log.add(Event{Time: now, Kind: StateChanged, State: CallEnded})
	c.log.close()
	c.upOnce.Do(func() { close(c.up) })
	c.doneOnce.Do(func() { close(c.done) })
	if v := c.verification; v != nil {
		v.finish(now, context.Canceled)
	}
}

// Ended forgets the dialog set: whatever still comes for it gets 481.
func (e *env) Ended(now time.Time, m *call.Call) {
	delete(e.c.ua.calls, callKey{m.ID(), m.LocalTag()})
	for _, d := range m.Dialogs() { // early ones too (RFC 3891 §3, RFC 3911 §4)
		e.c.ua.past.add(now, d)
	}
	// Their transactions linger for 64*T1, and must not keep the call as long.
	for _, o := range e.invites {
		o.Release(m.RemoteTag(), m.Numbers())
	}
	if e.server != nil {
		e.server.User = nil
	}
	e.invites, e.server = nil, nil
	e.c.ua.checkGone(now)
}

// contactURI is where the registrar finds us on a flow.
func (ua *UA) contactURI(f *transport.Flow) sipgo.Uri {
	uri := sipgo.Uri{Scheme: "sip", User: ua.acct.aor.User}
	if f == nil {
		return uri
	}
	uri.Host, uri.Port = f.Via()
	if ua.acct.direct && f.Reliable() && !f.Accepted() {
		// Nobody listens on the port that a connection was made from.
		for _, l := range ua.listening {
			if l.proto == f.Proto() && (l.addr.Addr().IsUnspecified() || l.addr.Addr().Unmap() == f.Local().Addr().Unmap()) {
				uri.Port = int(l.addr.Port())
			}
		}
	}
	if f.Proto() != transport.UDP {
		// TLS over sip: rather than sips:, which would ask of every hop what
		// only ours can promise (RFC 5630 §3.3).
		// A WebSocket is "ws" with or without TLS (RFC 7118 §5.2.4).
		proto := string(f.Proto())
		if f.Proto() == transport.WSS {
			proto = "ws"
		}
		uri.UriParams = sipgo.HeaderParams{{K: "transport", V: proto}}
	}
	if ua.acct.aor.Scheme == "sips" {
		uri.Scheme = "sips"
	}
	return uri
}

// dialogContact is where the peer of a dialog finds us: the GRUU if there is
// one (RFC 5627 §4.4), else the flow's address, marked to be reached over the
// flow where the server can do that (RFC 5626 §4.3).
func (ua *UA) dialogContact(f *transport.Flow, anonymous bool) sipgo.Uri {
	for _, af := range ua.flows {
		if af.reg == nil || f != nil && af.flow != f {
			continue
		}
		b, ok := af.reg.Binding(time.Now())
		if !ok {
			continue
		}
		if anonymous && b.TempGRUU != nil {
			return *b.TempGRUU.Clone()
		}
		if b.PubGRUU != nil && !anonymous {
			return *b.PubGRUU.Clone()
		}
		if b.Outbound {
			uri := ua.contactURI(f)
			uri.UriParams = append(uri.UriParams, sipgo.HeaderKV{K: "ob"})
			return uri
		}
	}
	return ua.contactURI(f)
}

// preloaded is the route of requests outside of dialogs: what the registrar
// gave (RFC 3608 §5), else the outbound proxy where it asks to be named.
func (ua *UA) preloaded() []string {
	for _, f := range ua.flows {
		if f.reg == nil {
			continue
		}
		if b, ok := f.reg.Binding(time.Now()); ok && len(b.ServiceRoute) > 0 {
			routes := make([]string, len(b.ServiceRoute))
			for i := range b.ServiceRoute {
				routes[i] = "<" + sipwire.FormatURI(&b.ServiceRoute[i]) + ">"
			}
			return routes
		}
	}
	if p := ua.acct.proxy; p != nil && p.UriParams.Has("lr") {
		return []string{"<" + sipwire.FormatURI(p) + ">"}
	}
	return nil
}
