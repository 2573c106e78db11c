package call

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/timerqtest"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// The tests run calls in a world whose clock they turn by hand: two parties,
// each with its transactions and a call machine, joined by a wire that tests
// can watch, cut and write to.

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const latency = 10 * time.Millisecond

type world struct {
	t    *testing.T
	q    timerq.Queue
	now  time.Time
	wire []string // "alice INVITE", "bob 200 INVITE", in the order sent
	// lose drops a message if it returns true.
	lose func(from *party, m sipgo.Message) bool
	// rng, if set, makes media take their time, draws what a call draws and,
	// on a wire that is not reliable, delays and doubles messages.
	rng *rand.Rand
}

// party is a user agent or, with no machine, a scripted peer.
type party struct {
	w        *world
	name     string
	peer     *party
	table    *transaction.Table
	reliable bool
	ids      int
	calls    map[string]*Call // by local tag
	incoming []*Call
	events   []string
	ended    int
	media    *fakeMedia
	newMedia func() (offeranswer.Media, error)
	notify   func(offeranswer.Event) // of the media made last
	link     *flow
	work     []func() // operations on media that wait, with hold set
	aborts   []func()
	hold     bool
	timers   Timers // of its calls
	says     string // Allow, where it says that
	// script, if set, gets every message in place of the table.
	script func(now time.Time, m sipgo.Message)
}

// flow is a wire as its sender knows it.
type flow struct{ p *party }

func (f *flow) Reliable() bool { return f.p.reliable }

func newWorld(t *testing.T, reliable bool) (w *world, alice, bob *party) {
	w = &world{t: t, now: epoch}
	alice, bob = w.party("alice", reliable), w.party("bob", reliable)
	alice.peer, bob.peer = bob, alice
	return w, alice, bob
}

func (w *world) party(name string, reliable bool) *party {
	p := &party{w: w, name: name, reliable: reliable, calls: map[string]*Call{}, media: &fakeMedia{name: name}}
	p.link = &flow{p}
	p.table = transaction.New(&w.q, transaction.Config{}, p)
	return p
}

// run turns the clock until d has passed.
func (w *world) run(d time.Duration) { timerqtest.Run(&w.q, &w.now, w.now.Add(d)) }

func (w *world) at(d time.Duration, fn func()) {
	t := &timerq.Timer{F: func(time.Time) { fn() }}
	w.q.Set(t, w.now.Add(d))
}

func describeMessage(m sipgo.Message) string {
	switch m := m.(type) {
	case *sipgo.Request:
		return string(m.Method)
	case *sipgo.Response:
		return fmt.Sprint(m.StatusCode, " ", m.CSeq().MethodName)
	}
	return "?"
}

// Send is the party's sink: messages take the latency and are parsed anew.
func (p *party) Send(now time.Time, f transaction.Flow, m sipgo.Message) {
	w := p.w
	w.wire = append(w.wire, p.name+" "+describeMessage(m))
	if w.lose != nil && w.lose(p, m) {
		return
	}
	data := sipwire.Append(nil, m)
	arrive := func(now time.Time) {
		m, err := sipwire.Parse(data, p.reliable)
		if err != nil {
			w.t.Fatalf("%s sent what cannot be read: %v\n%s", p.name, err, data)
		}
		p.peer.receive(now, m)
	}
	delay := time.Duration(latency)
	if w.rng != nil && !p.reliable {
		if w.rng.IntN(10) == 0 {
			w.q.Set(&timerq.Timer{F: arrive}, now.Add(time.Duration(w.rng.IntN(900))*time.Millisecond))
		}
		delay = time.Duration(w.rng.IntN(60)) * time.Millisecond
	}
	w.q.Set(&timerq.Timer{F: arrive}, now.Add(delay))
}

func (p *party) receive(now time.Time, m sipgo.Message) {
	if p.script != nil {
		p.script(now, m)
		return
	}
	p.table.Receive(now, p.link, m)
}

func (p *party) Request(now time.Time, s *transaction.Server) {
	req := s.Request()
	if req.Method == sipgo.CANCEL {
		status := 481
		if inv := s.Cancels(); inv != nil {
			status = 200
			if c, ok := Of(inv); ok {
				defer c.Cancelled(now, req)
			}
		}
		s.Respond(now, sipwire.ResponseTo(req, status, "", "x"))
		return
	}
	if tag := sipwire.ToTag(req); tag != "" {
		if c := p.calls[tag]; c != nil {
			c.OnRequest(now, s)
			return
		}
		s.Respond(now, sipwire.ResponseTo(req, 481, "", ""))
		return
	}
	c, err := NewIncoming(partyEnv{p}, p.timers, s)
	if err != nil {
		r := sipwire.ResponseTo(req, StatusOf(err), "", "x")
		for _, h := range Explain(err) {
			r.AppendHeader(h)
		}
		s.Respond(now, r)
		return
	}
	p.calls[c.LocalTag()] = c
	p.incoming = append(p.incoming, c)
}

func (p *party) Ack(now time.Time, _ transaction.Flow, ack *sipgo.Request) {
	if c := p.calls[sipwire.ToTag(ack)]; c != nil {
		c.OnAck(now, ack)
	}
}

func (p *party) Stray(time.Time, transaction.Flow, *sipgo.Response) {}

// The party as Env of its calls. Ack is the sink's, so that Env is a type of
// its own.
type partyEnv struct{ *party }

func (p *party) call(o offeranswer.Options) *Call { return p.dial(o) }

// callSaying makes a call whose INVITE says this of 100rel: "Require",
// "Supported" or "", nothing.
func (p *party) callSaying(how string) *Call {
	if how == "" {
		return p.dial(offeranswer.Options{})
	}
	return p.dial(offeranswer.Options{}, sipgo.NewHeader(how, option100rel))
}

func (p *party) dial(o offeranswer.Options, headers ...sipgo.Header) *Call {
	var to, from sipgo.Uri
	_ = sipgo.ParseUri("sip:"+p.peer.name+"@example.com", &to)
	_ = sipgo.ParseUri("sip:"+p.name+"@example.com", &from)
	c := New(partyEnv{p}, p.timers, Start{To: to, From: from, Headers: headers})
	p.calls[c.LocalTag()] = c
	c.Dial(p.w.now, o)
	return c
}

type sent struct {
	p *party
	c *transaction.Client
	h RequestHandler
}

func (s *sent) Cancel(now time.Time, headers ...sipgo.Header) { s.c.Cancel(now, headers...) }
func (s *sent) Response(now time.Time, _ *transaction.Client, r *sipgo.Response) {
	s.h.Response(now, s.p.link, r)
}
func (s *sent) Failed(now time.Time, _ *transaction.Client, err error) { s.h.Failed(now, err) }

func (p *party) via(req *sipgo.Request) {
	p.ids++
	req.PrependHeader(&sipgo.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "TLS", Host: p.name + ".invalid",
		Params: sipgo.HeaderParams{{K: "branch", V: fmt.Sprintf("z9hG4bK%s%d", p.name, p.ids)}}})
}

func (e partyEnv) Request(now time.Time, f transaction.Flow, req *sipgo.Request, h RequestHandler) Outgoing {
	e.via(req)
	s := &sent{p: e.party, h: h}
	if f == nil {
		f = e.link
	}
	c, err := e.table.Send(now, f, req, s)
	if err != nil {
		e.w.t.Fatal(err)
	}
	s.c = c
	return s
}

func (e partyEnv) Ack(now time.Time, f transaction.Flow, ack *sipgo.Request, _ Outgoing) {
	if ack.Via() == nil {
		e.via(ack)
	}
	e.Send(now, f, ack)
}

func (e partyEnv) Contact(transaction.Flow) *sipgo.ContactHeader {
	return &sipgo.ContactHeader{Address: sipgo.Uri{Scheme: "sip", User: e.name, Host: e.name + ".invalid"}}
}
func (e partyEnv) Decorate(m sipgo.Message) {
	if e.says != "" {
		m.AppendHeader(sipgo.NewHeader("Allow", e.says))
	}
	if !e.timers.Session.Off && e.timers.Session.Expires > 0 {
		m.AppendHeader(sipgo.NewHeader("Supported", optionTimer))
	}
}
func (e partyEnv) Timers() *timerq.Queue { return &e.w.q }
func (e partyEnv) ID(n int) string {
	e.ids++
	return fmt.Sprintf("%s%0*d", e.name[:1], n-1, e.ids)
}
func (e partyEnv) Float() float64 {
	if e.w.rng != nil {
		return e.w.rng.Float64()
	}
	return 0.5
}
func (e partyEnv) Go(work func(), done func(time.Time), abort func()) {
	e.aborts = append(e.aborts, abort)
	run := func() { work(); done(e.w.now) }
	if e.w.rng != nil && e.w.rng.IntN(2) == 0 {
		e.w.at(time.Duration(e.w.rng.IntN(300))*time.Millisecond, run)
		return
	}
	if e.hold {
		e.work = append(e.work, run)
		return
	}
	e.w.at(0, run)
}
func (e partyEnv) NewMedia(_ context.Context, notify func(offeranswer.Event)) (offeranswer.Media, error) {
	e.notify = notify
	if e.newMedia != nil {
		return e.newMedia()
	}
	return e.media, nil
}
func (e partyEnv) Post(fn func(time.Time)) { e.w.at(0, func() { fn(e.w.now) }) }
func (e partyEnv) Event(_ time.Time, c *Call, ev Event) {
	switch ev.Kind {
	case StateChanged:
		e.events = append(e.events, ev.State.String())
	case Progress:
		e.events = append(e.events, fmt.Sprint("progress ", ev.Status))
	case MediaChanged:
		e.events = append(e.events, "media")
	case MediaStarted:
		e.events = append(e.events, "started")
	case MediaTimeout:
		e.events = append(e.events, fmt.Sprint("timeout ", ev.Err))
	case HoldChanged:
		e.events = append(e.events, fmt.Sprintf("held %+v", ev.Held))
	}
}
func (e partyEnv) Ended(_ time.Time, c *Call) {
	e.ended++
	delete(e.calls, c.LocalTag())
}

// release lets operations on media that were held run.
func (p *party) release() {
	p.hold = false
	work := p.work
	p.work = nil
	for _, fn := range work {
		fn()
	}
}

// fakeMedia writes down what is asked of it.
type fakeMedia struct {
	name   string
	log    []string
	offers int
	closed bool
	refuse map[string]error // by operation
	late   bool             // makes no first offer: the INVITE goes without
}

type fakeLeg struct {
	m      *fakeMedia
	dialog string
}

func (m *fakeMedia) note(format string, args ...any) error {
	s := fmt.Sprintf(format, args...)
	m.log = append(m.log, s)
	op, _, _ := strings.Cut(s, " ")
	return m.refuse[op]
}

func (m *fakeMedia) Offer(context.Context, offeranswer.Options) ([]byte, error) {
	if m.late {
		return nil, m.note("offer")
	}
	m.offers++
	return fmt.Appendf(nil, "%s offers %d", m.name, m.offers), m.note("offer")
}
func (m *fakeMedia) Leg(dialog string) (offeranswer.Leg, error) { return &fakeLeg{m, dialog}, nil }
func (m *fakeMedia) Rebind(context.Context, netip.Addr) error   { return nil }
func (m *fakeMedia) Select(offeranswer.Leg) error               { return nil }
func (m *fakeMedia) Close() error                               { m.closed = true; return m.note("close") }
func (l *fakeLeg) Streams() []offeranswer.Stream                { return nil }
func (l *fakeLeg) Commit() error                                { return l.m.note("commit") }
func (l *fakeLeg) Rollback() error                              { return l.m.note("rollback") }
func (l *fakeLeg) Local() []byte                                { return nil }
func (l *fakeLeg) Close() error                                 { return l.m.note("closeleg %s", l.dialog) }
func (l *fakeLeg) Offer(ctx context.Context, o offeranswer.Options) ([]byte, error) {
	return l.m.Offer(ctx, o)
}
func (l *fakeLeg) Answer(_ context.Context, offer []byte, _ offeranswer.Options) ([]byte, error) {
	return fmt.Appendf(nil, "%s answers %q", l.m.name, offer), l.m.note("answer %s", offer)
}
func (l *fakeLeg) SetAnswer(_ context.Context, sdp []byte, provisional bool) error {
	return l.m.note("setanswer %s %v", sdp, provisional)
}

// check fails the test unless the wire saw exactly this.
func (w *world) check(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.wire, want) {
		w.t.Errorf("on the wire:\n\t%s\nwant:\n\t%s", strings.Join(w.wire, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// over fails the test unless nothing is left of any call.
func (w *world) over(parties ...*party) {
	w.t.Helper()
	w.run(5 * time.Minute)
	for _, p := range parties {
		if len(p.calls) != 0 {
			w.t.Errorf("%s still has a call", p.name)
		}
		if cl, sv := p.table.Len(); cl+sv != 0 {
			w.t.Errorf("%s still has %d client and %d server transactions", p.name, cl, sv)
		}
		if p.media.offers+len(p.media.log) > 0 && !p.media.closed {
			w.t.Errorf("%s: media were not closed", p.name)
		}
	}
	if n := w.q.Len(); n != 0 {
		w.t.Errorf("%d timers are left", n)
	}
}

var errNo = errors.New("no")
