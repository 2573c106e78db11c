package transaction

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/timerqtest"
)

// walker is one end of a random walk: a table with users that do anything
// they may, connected to another end by a network that loses, doubles and
// delays what goes over unreliable flows.
type walker struct {
	t     *testing.T
	r     *rand.Rand
	q     *timerq.Queue
	now   *time.Time
	table *Table
	peer  *walker
	flows []*walkFlow

	clients map[*Client]*clientFate
	servers map[*Server]*serverFate
	n       int
}

type walkFlow struct {
	reliable bool
	remote   *walkFlow
	dead     bool
}

func (f *walkFlow) Reliable() bool { return f.reliable }

type clientFate struct {
	final, accepted bool
	failed          int
}

type serverFate struct {
	invite       bool
	failed, done int
}

func (w *walker) after(d time.Duration, f func(now time.Time)) {
	w.q.Set(&timerq.Timer{F: f}, w.now.Add(d))
}

func (w *walker) upTo(d time.Duration) time.Duration {
	return time.Duration(w.r.Int64N(int64(d)))
}

// walker is the Sink.

func (w *walker) Send(_ time.Time, f Flow, m sipgo.Message) {
	flow := f.(*walkFlow)
	if flow.dead {
		return
	}
	copies := 1
	delay := 20 * ms
	if !flow.reliable {
		copies = []int{0, 1, 1, 1, 2}[w.r.IntN(5)]
		delay = w.upTo(time.Second)
	}
	data := sipwire.Append(nil, m)
	for range copies {
		w.after(delay, func(now time.Time) {
			m, err := sipwire.Parse(data, true)
			if err != nil {
				w.t.Fatalf("sent what cannot be read: %v\n%s", err, data)
			}
			if !flow.remote.dead {
				w.peer.table.Receive(now, flow.remote, m)
			}
		})
		delay = w.upTo(40 * time.Second)
	}
}

func (w *walker) Request(now time.Time, s *Server) {
	if w.servers[s] != nil {
		w.t.Fatal("one request, two transactions")
	}
	w.servers[s] = &serverFate{invite: s.Request().Method == sipgo.INVITE}
	s.User = walkServerUser{w}
	if inv := s.Cancels(); inv != nil {
		s.Respond(now, sipwire.ResponseTo(s.Request(), 200, "", "x"))
		if !inv.Final() {
			inv.Respond(now, sipwire.ResponseTo(inv.Request(), 487, "", "x"))
		}
		return
	}
	var act func(now time.Time)
	act = func(now time.Time) {
		req := s.Request()
		if req == nil {
			return
		}
		status := []int{100, 180, 200, 302, 486, 603}[w.r.IntN(6)]
		if req.Method != sipgo.INVITE && status == 180 {
			return // never answered
		}
		s.Respond(now, sipwire.ResponseTo(req, status, "", "x"))
		if status < 200 {
			w.after(w.upTo(20*time.Second), act)
		}
	}
	if w.r.IntN(4) == 0 {
		act(now)
		return
	}
	w.after(w.upTo(20*time.Second), act)
}

func (w *walker) Ack(time.Time, Flow, *sipgo.Request)    {}
func (w *walker) Stray(time.Time, Flow, *sipgo.Response) {}

func (w *walker) Response(now time.Time, c *Client, r *sipgo.Response) {
	fate := w.clients[c]
	switch {
	case fate.failed > 0:
		w.t.Fatal("response after Failed")
	case fate.final && !(fate.accepted && r.StatusCode/100 == 2):
		w.t.Fatalf("%d after the final response", r.StatusCode)
	case r.StatusCode >= 200:
		fate.final = true
		fate.accepted = r.CSeq().MethodName == sipgo.INVITE && r.StatusCode < 300
	}
	switch w.r.IntN(30) {
	case 0:
		c.Cancel(now)
	case 1:
		delete(w.clients, c)
		c.Terminate(now)
	}
}

func (w *walker) Failed(_ time.Time, c *Client, err error) {
	fate := w.clients[c]
	if fate.failed++; fate.final || fate.failed > 1 || err == nil {
		w.t.Fatalf("Failed(%v): time %d, final %v", err, fate.failed, fate.final)
	}
}

type walkServerUser struct{ w *walker }

func (u walkServerUser) Failed(_ time.Time, s *Server, err error) {
	f := u.w.servers[s]
	if f.failed++; f.failed > 1 || f.done > 0 || f.invite != errors.Is(err, ErrNoAck) {
		u.w.t.Fatalf("server Failed(%v): %+v", err, *f)
	}
}

func (u walkServerUser) Done(_ time.Time, s *Server) { u.w.servers[s].done++ }

// step does something.
func (w *walker) step() {
	now := *w.now
	switch w.r.IntN(12) {
	case 0: // a flow dies, and another takes its place
		i := w.r.IntN(len(w.flows))
		old := w.flows[i]
		old.dead, old.remote.dead = true, true
		w.flows[i], w.peer.flows[i] = pair(old.reliable)
		w.table.FlowFailed(now, old, errors.New("dead"))
		w.peer.table.FlowFailed(now, old.remote, errors.New("dead"))
	case 1:
		for c := range w.clients {
			c.Cancel(now)
			break
		}
	case 2: // garbage
		m := sipwire.ResponseTo(request("INVITE", fmt.Sprintf("z9hG4bK%d", w.r.IntN(w.n+1))), 100+w.r.IntN(600), "", "y")
		w.table.Receive(now, w.flows[0], m)
	case 3:
		method := []string{"ACK", "CANCEL", "INVITE"}[w.r.IntN(3)]
		w.table.Receive(now, w.flows[0], request(method, fmt.Sprintf("z9hG4bK%d", w.r.IntN(w.n+1))))
	default:
		w.n++
		method := []string{"INVITE", "INVITE", "OPTIONS"}[w.r.IntN(3)]
		req := request(method, fmt.Sprintf("z9hG4bK%d", w.n))
		id := sipgo.CallIDHeader(fmt.Sprint(w.n))
		req.ReplaceHeader(&id)
		c, err := w.table.Send(now, w.flows[w.r.IntN(len(w.flows))], req, w)
		if err != nil {
			w.t.Fatal(err)
		}
		w.clients[c] = &clientFate{}
	}
}

func pair(reliable bool) (a, b *walkFlow) {
	a, b = &walkFlow{reliable: reliable}, &walkFlow{reliable: reliable}
	a.remote, b.remote = b, a
	return a, b
}

// Whatever happens, every transaction ends: when the users have given up on
// what waits for them, no timer and no entry is left, each client had a final
// response or one failure, each server transaction was Done once.
func TestRandomWalk(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var q timerq.Queue
			now := epoch
			mk := func() *walker {
				w := &walker{t: t, r: r, q: &q, now: &now, clients: map[*Client]*clientFate{}, servers: map[*Server]*serverFate{}}
				w.table = New(&q, Config{MaxServer: 150}, w)
				return w
			}
			a, b := mk(), mk()
			a.peer, b.peer = b, a
			for i := range 4 {
				fa, fb := pair(i%2 == 0)
				a.flows, b.flows = append(a.flows, fa), append(b.flows, fb)
			}
			run := func(d time.Duration) { timerqtest.Run(&q, &now, now.Add(d)) }
			for range 600 {
				run(a.upTo(600 * ms))
				a.step()
				b.step()
			}
			run(5 * time.Minute)
			for _, w := range []*walker{a, b} {
				for s := range w.servers {
					if req := s.Request(); req != nil {
						s.Respond(now, sipwire.ResponseTo(req, 480, "", "x"))
					}
				}
				for c := range w.clients {
					c.Cancel(now)
				}
			}
			run(5 * time.Minute)
			for _, w := range []*walker{a, b} {
				clients, servers := w.table.Len()
				if clients+servers+len(w.table.similar)+w.table.open != 0 || w.table.waiting.next != &w.table.waiting {
					t.Errorf("left: %d clients, %d servers, %d hashes, %d open", clients, servers, len(w.table.similar), w.table.open)
				}
				for c, fate := range w.clients {
					if !fate.final && fate.failed != 1 {
						t.Errorf("client %s: %+v", c.branch, *fate)
					}
				}
				for s, fate := range w.servers {
					if fate.done != 1 {
						t.Errorf("server %q: %+v", s.key, *fate)
					}
				}
			}
			if q.Len() != 0 {
				t.Errorf("%d timers left", q.Len())
			}
		})
	}
}
