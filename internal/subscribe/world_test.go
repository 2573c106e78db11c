package subscribe

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/timerqtest"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// The tests run machines in a world whose clock they turn by hand: two
// parties with their transactions, joined by a wire.

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const latency = 10 * time.Millisecond

type world struct {
	t    *testing.T
	q    timerq.Queue
	now  time.Time
	lose func(from *party, m sipgo.Message) bool
	rng  *rand.Rand
}

// party is a user agent, or a scripted peer whose test takes requests out of
// got and answers them.
type party struct {
	w       *world
	name    string
	peer    *party
	table   *transaction.Table
	link    *link
	ids     int
	dialogs map[string]func(now time.Time, tx *transaction.Server) // by Call-ID and tag
	handler func(now time.Time, tx *transaction.Server)            // of the dialogs to come
	takes   func(now time.Time, tx *transaction.Server)            // what is in no dialog; nil: got
	got     []*transaction.Server
	log     []string
	routes  []string
	failing error // of the flow
	flows   []transaction.Flow
}

type link struct{ reliable bool }

func (l *link) Reliable() bool { return l.reliable }

func newWorld(t *testing.T, reliable bool) (w *world, alice, bob *party) {
	w = &world{t: t, now: epoch}
	for _, p := range []**party{&alice, &bob} {
		*p = &party{w: w, link: &link{reliable}, dialogs: map[string]func(time.Time, *transaction.Server){}}
		(*p).table = transaction.New(&w.q, transaction.Config{}, *p)
	}
	alice.name, bob.name, alice.peer, bob.peer = "alice", "bob", bob, alice
	return w, alice, bob
}

// run turns the clock until d has passed.
func (w *world) run(d time.Duration) { timerqtest.Run(&w.q, &w.now, w.now.Add(d)) }

// arrive lets what is on the wire arrive, there and back.
func (w *world) arrive() { w.run(2 * latency) }

func (p *party) Send(now time.Time, _ transaction.Flow, m sipgo.Message) {
	w := p.w
	if w.lose != nil && w.lose(p, m) {
		return
	}
	data := sipwire.Append(nil, m)
	delay := latency
	if w.rng != nil && !p.link.reliable {
		delay = time.Duration(w.rng.IntN(700)) * time.Millisecond
	}
	w.q.Set(&timerq.Timer{F: func(now time.Time) {
		m, err := sipwire.Parse(data, p.link.reliable)
		if err != nil {
			w.t.Fatalf("%s sent what cannot be read: %v\n%s", p.name, err, data)
		}
		p.peer.table.Receive(now, p.peer.link, m)
	}}, now.Add(delay))
}

func (p *party) Request(now time.Time, tx *transaction.Server) {
	req := tx.Request()
	if h := p.dialogs[string(*req.CallID())+" "+sipwire.ToTag(req)]; h != nil {
		h(now, tx)
		return
	}
	if p.takes != nil {
		p.takes(now, tx)
		return
	}
	p.got = append(p.got, tx)
}

func (p *party) Ack(time.Time, transaction.Flow, *sipgo.Request)    {}
func (p *party) Stray(time.Time, transaction.Flow, *sipgo.Response) {}

// The party as Env. Request is the sink's, so that this is a type of its own.
type env struct{ *party }

type pending struct {
	p *party
	h RequestHandler
}

func (s *pending) Response(now time.Time, _ *transaction.Client, r *sipgo.Response) {
	s.h.Response(now, s.p.link, r)
}
func (s *pending) Failed(now time.Time, _ *transaction.Client, err error) { s.h.Failed(now, err) }

func (e env) Request(now time.Time, f transaction.Flow, req *sipgo.Request, h RequestHandler) {
	e.flows = append(e.flows, f)
	if e.failing != nil {
		h.Failed(now, e.failing)
		return
	}
	e.send(now, req, &pending{e.party, h})
}

func (p *party) send(now time.Time, req *sipgo.Request, u transaction.ClientUser) {
	p.ids++
	req.PrependHeader(&sipgo.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "TLS", Host: p.name + ".invalid",
		Params: sipgo.HeaderParams{{K: "branch", V: fmt.Sprintf("z9hG4bK%s%d", p.name, p.ids)}}})
	if _, err := p.table.Send(now, p.link, req, u); err != nil {
		p.w.t.Fatal(err)
	}
}

func (e env) Contact(transaction.Flow) *sipgo.ContactHeader {
	return &sipgo.ContactHeader{Address: sipgo.Uri{Scheme: "sip", User: e.name, Host: e.name + ".invalid"}}
}
func (e env) Decorate(sipgo.Message) {}
func (e env) Timers() *timerq.Queue  { return &e.w.q }
func (e env) ID(n int) string        { e.ids++; return fmt.Sprintf("%s%0*d", e.name[:1], n-1, e.ids) }
func (e env) Float() float64 {
	if e.w.rng != nil {
		return e.w.rng.Float64()
	}
	return 0.5
}
func (e env) Dialog(id, tag string, ours bool) {
	if ours {
		e.dialogs[id+" "+tag] = e.handler
	} else {
		delete(e.dialogs, id+" "+tag)
	}
}

func uri(s string) sipgo.Uri {
	u, err := sipwire.ParseURI(s)
	if err != nil {
		panic(err)
	}
	return u
}

// observer writes down what a Subscriber says.
type observer struct{ p *party }

func (o observer) note(format string, args ...any) {
	o.p.log = append(o.p.log, fmt.Sprintf(format, args...))
}
func (o observer) Accepted(_ time.Time, r *sipgo.Response) { o.note("accepted %d", r.StatusCode) }
func (o observer) Notified(_ time.Time, n Notification) {
	o.note("%d %s %s", n.Dialog, n.State.State, n.Body)
}
func (o observer) Lost(_ time.Time, err error, retry time.Duration) {
	o.note("lost %v, %v", err, retry)
}
func (o observer) Ended(_ time.Time, err error) { o.note("ended %v", err) }

// subscriber makes one for alice.
func subscriber(p *party, change func(*SubscriberConfig)) *Subscriber {
	cfg := SubscriberConfig{
		Target: uri("sip:bob@example.com"), From: uri("sip:alice@example.com"), Event: sipwire.Event{Package: "dialog"},
		Routes: func() []string { return p.routes },
	}
	if change != nil {
		change(&cfg)
	}
	s := NewSubscriber(env{p}, cfg, observer{p})
	p.handler = s.OnNotify
	return s
}

// said fails the test unless the party's log is this, and clears it.
func (p *party) said(want ...string) {
	p.w.t.Helper()
	if strings.Join(p.log, "\n") != strings.Join(want, "\n") {
		p.w.t.Fatalf("at %v %s has seen\n  %s\nwant\n  %s", p.w.now.Sub(epoch), p.name, strings.Join(p.log, "\n  "), strings.Join(want, "\n  "))
	}
	p.log = nil
}

// take takes a request that came.
func (p *party) take(method string) *transaction.Server {
	p.w.t.Helper()
	p.w.arrive()
	if len(p.got) == 0 || string(p.got[0].Request().Method) != method {
		p.w.t.Fatalf("at %v: no %s came, but %v", p.w.now.Sub(epoch), method, p.got)
	}
	tx := p.got[0]
	p.got = p.got[1:]
	return tx
}

// none fails the test if a request came.
func (p *party) none() {
	p.w.t.Helper()
	if len(p.got) > 0 {
		p.w.t.Fatalf("at %v there is a %v", p.w.now.Sub(epoch), p.got[0].Request())
	}
}

// takeAt takes a request that is sent so long after the epoch, and not before.
func (p *party) takeAt(at time.Duration, method string) *transaction.Server {
	p.w.t.Helper()
	p.w.run(at - p.w.now.Sub(epoch) - 1 + latency)
	p.none()
	p.w.run(1)
	tx := p.take(method)
	return tx
}

// takeWithin takes a request that comes within d.
func (p *party) takeWithin(d time.Duration, method string) *transaction.Server {
	p.w.t.Helper()
	p.w.run(d)
	return p.take(method)
}

// reply answers as the scripted peer; lines are header fields.
func (p *party) reply(tx *transaction.Server, status int, lines ...string) {
	res := sipwire.ResponseTo(tx.Request(), status, "", "bobs")
	add(res, lines)
	tx.Respond(p.w.now, res)
	p.w.arrive()
}

func add(m sipgo.Message, lines []string) {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		m.AppendHeader(sipgo.NewHeader(name, strings.TrimSpace(value)))
	}
}

// notify sends a NOTIFY in the dialog of a SUBSCRIBE, and returns the status of
// its answer.
func (p *party) notify(sub *sipgo.Request, tag string, cseq int, body string, lines ...string) int {
	return p.notifyAll(sub, tag, cseq, body, lines...).StatusCode
}

func (p *party) notifyAll(sub *sipgo.Request, tag string, cseq int, body string, lines ...string) *sipgo.Response {
	p.w.t.Helper()
	answer := &answer{}
	p.send(p.w.now, p.request(sub, tag, cseq, body, lines), answer)
	p.w.arrive()
	if answer.r == nil {
		p.w.t.Fatalf("at %v: no answer to the NOTIFY: %v", p.w.now.Sub(epoch), answer.err)
	}
	return answer.r
}

func (p *party) request(sub *sipgo.Request, tag string, cseq int, body string, lines []string) *sipgo.Request {
	req := sipgo.NewRequest(sipgo.NOTIFY, sub.Contact().Address)
	maxForwards := sipgo.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	req.AppendHeader(&sipgo.FromHeader{Address: uri("sip:bob@example.com"), Params: sipgo.HeaderParams{{K: "tag", V: tag}}})
	to := sub.From()
	req.AppendHeader(&sipgo.ToHeader{Address: to.Address, Params: to.Params})
	req.AppendHeader(sub.CallID())
	req.AppendHeader(&sipgo.CSeqHeader{SeqNo: uint32(cseq), MethodName: sipgo.NOTIFY})
	req.AppendHeader(&sipgo.ContactHeader{Address: uri("sip:" + tag + "@192.0.2.9")})
	if !strings.Contains(strings.Join(lines, " "), "Event:") {
		lines = append(lines, "Event: dialog")
	}
	add(req, lines)
	if body != "" {
		setBody(req, "application/dialog-info+xml", []byte(body))
	}
	return req
}

type answer struct {
	r   *sipgo.Response
	err error
}

func (a *answer) Response(_ time.Time, _ *transaction.Client, r *sipgo.Response) { a.r = r }
func (a *answer) Failed(_ time.Time, _ *transaction.Client, err error)           { a.err = err }

// header fails the test unless a header field has this value.
func header(t *testing.T, m sipgo.Message, name, want string) {
	t.Helper()
	if got := sipwire.Header(m, name); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}
