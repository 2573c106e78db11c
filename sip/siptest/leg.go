package siptest

import (
	"context"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
	"github.com/hoorn-phone/hoorn/sip/dialoginfo"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// leg is one dialog between the lab and a device: the Env of its call.
type leg struct {
	l     *life
	m     *call.Call
	owner owner
	flow  *transport.Flow // where it began
	at    *binding        // the device; nil: not registered
	media func(ctx context.Context, g *leg, notify func(offeranswer.Event)) (offeranswer.Media, error)
	since time.Time // of the INVITE

	// headers go into each provisional and 2xx response to the INVITE.
	headers []sipgo.Header
}

// owner is what a leg is part of.
type owner interface {
	// event is what happens to the leg.
	event(now time.Time, g *leg, e call.Event)
	// response is a response to the lab's INVITE, before the leg takes it.
	response(now time.Time, g *leg, r *sipgo.Response)
}

// incoming makes the leg of an INVITE that came.
func (l *life) incoming(now time.Time, s *transaction.Server, g *leg) bool {
	g.l, g.flow, g.since = l, s.Flow().(*transport.Flow), now
	g.at = l.srv.loc.at(g.flow, now)
	m, err := call.NewIncoming(g, l.timers(0), s)
	if err != nil {
		l.respond(now, s, call.StatusOf(err), call.Explain(err)...)
		return false
	}
	g.m = m
	l.legs[legKey{m.ID(), m.LocalTag()}] = g
	return true
}

// outgoing makes the leg of an INVITE to a device. Dial sends it.
func (l *life) outgoing(now time.Time, b *binding, g *leg, start call.Start) {
	g.l, g.flow, g.at, g.since = l, b.flow, b, now
	start.CallID = l.callID()
	g.m = call.New(g, l.timers(call.Local), start)
	l.legs[legKey{g.m.ID(), g.m.LocalTag()}] = g
}

// Request sends a request to the device: over the flow of the dialog, or the
// one that the device has registered on since, as the old one may be dead
// without a word (RFC 5626 §5.3).
func (g *leg) Request(now time.Time, flow transaction.Flow, req *sipgo.Request, h call.RequestHandler) call.Outgoing {
	f, _ := flow.(*transport.Flow)
	initial := f == nil
	if initial {
		f = g.flow
	}
	if g.at != nil {
		if b := g.l.srv.loc.again(g.at, now); b != nil && b.live(now) && (b.regID != "" || f.Err() != nil) {
			f = b.flow
		}
	}
	o := &endpoint.Outgoing{Req: req, Flow: f, Pinned: true, OnFailed: h.Failed, Prepare: g.l.branch}
	o.OnResponse = func(now time.Time, r *sipgo.Response) {
		if initial {
			g.owner.response(now, g, r)
		}
		h.Response(now, o.Flow, r)
	}
	g.l.ep.Send(now, o)
	return o
}

// Ack sends the ACK of a 2xx.
func (g *leg) Ack(now time.Time, flow transaction.Flow, ack *sipgo.Request, invite call.Outgoing) {
	o, _ := invite.(*endpoint.Outgoing)
	g.l.ep.SendAck(now, flow.(*transport.Flow), ack, o)
}

// Contact is the lab's address as the device reaches it, or the URI of the
// conference that it is in.
func (g *leg) Contact(flow transaction.Flow) *sipgo.ContactHeader {
	if e, ok := g.owner.(*end); ok {
		if c := e.conference(); c != nil {
			return c.contact()
		}
	}
	f, _ := flow.(*transport.Flow)
	if f == nil {
		f = g.flow
	}
	return contactOf(f)
}

// contactOf is the lab's address for who is at the other end of a flow.
func contactOf(f *transport.Flow) *sipgo.ContactHeader {
	uri := sipgo.Uri{Scheme: "sip"}
	uri.Host, uri.Port = f.Via()
	if f.Proto() != transport.UDP {
		uri.UriParams = sipgo.HeaderParams{{K: "transport", V: string(f.Proto())}}
	}
	return &sipgo.ContactHeader{Address: uri}
}

// branch names a transaction of the lab's as BroadWorks does.
func (l *life) branch(_ *transport.Flow, req *sipgo.Request) {
	if via := req.Via(); via != nil {
		via.Params.Add("branch", "z9hG4bKBroadWorks."+l.ep.ID(20))
	}
}

// Decorate adds what every message of the lab says.
func (g *leg) Decorate(m sipgo.Message) {
	decorate(m)
	if e, ok := g.owner.(*end); ok {
		e.assert(m)
	}
	r, ok := m.(*sipgo.Response)
	if !ok || r.StatusCode <= 100 || r.StatusCode >= 300 {
		return
	}
	if cseq := r.CSeq(); cseq != nil && cseq.MethodName == sipgo.INVITE {
		for _, h := range g.headers {
			r.AppendHeader(h)
		}
	}
}

// Timers is the loop's queue.
func (g *leg) Timers() *timerq.Queue { return &g.l.ep.Q }

// ID draws a tag: other identifiers are given to the call.
func (g *leg) ID(int) string { return g.l.tag() }

// Float draws from [0,1).
func (g *leg) Float() float64 { return g.l.ep.Float() }

// Go runs work outside the loop.
func (g *leg) Go(work func(), done func(now time.Time), abort func()) {
	g.l.ep.Go(func(context.Context) { work() }, done, abort)
}

// Post brings fn into the loop.
func (g *leg) Post(fn func(now time.Time)) { g.l.ep.Post(fn) }

// NewMedia makes what the leg's owner wants.
func (g *leg) NewMedia(ctx context.Context, notify func(offeranswer.Event)) (offeranswer.Media, error) {
	return g.media(ctx, g, notify)
}

// Event tells the owner.
func (g *leg) Event(now time.Time, _ *call.Call, e call.Event) {
	g.owner.event(now, g, e)
	if u := g.user(); u != nil {
		g.l.changed(dialoginfo.Package, u)
	}
}

// Ended forgets the leg.
func (g *leg) Ended(_ time.Time, m *call.Call) {
	key := legKey{m.ID(), m.LocalTag()}
	delete(g.l.legs, key)
	g.l.bygone.add(key)
}
