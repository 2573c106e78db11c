package transaction

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/timerqtest"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// flow is a Flow with a name.
type flow struct {
	name     string
	reliable bool
}

func (f *flow) Reliable() bool { return f.reliable }

// world has a table, virtual time, and a log of everything the table did:
// "ms what" per line.
type world struct {
	t       *testing.T
	q       timerq.Queue
	table   *Table
	now     time.Time
	log     []string
	servers []*Server
	from    *flow // where receive has its messages from

	onRequest  func(s *Server)
	onResponse func(c *Client, r *sipgo.Response)
	onSend     func(m sipgo.Message)
}

func newWorld(t *testing.T, cfg Config) *world {
	w := &world{t: t, now: epoch, from: &flow{}}
	w.table = New(&w.q, cfg, w)
	return w
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%d ", w.now.Sub(epoch).Milliseconds())+fmt.Sprintf(format, args...))
}

// until advances to each deadline up to at, one by one, so that every
// callback runs at its exact time.
func (w *world) until(at time.Duration) { timerqtest.Run(&w.q, &w.now, epoch.Add(at)) }

// expect compares the log with the lines wanted and empties it.
func (w *world) expect(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.log, want) {
		w.t.Errorf("got:\n\t%s\nwant:\n\t%s", strings.Join(w.log, "\n\t"), strings.Join(want, "\n\t"))
	}
	w.log = nil
}

// gone checks that no transaction and no timer is left.
func (w *world) gone() {
	w.t.Helper()
	clients, servers := w.table.Len()
	if clients+servers+w.q.Len()+len(w.table.similar) != 0 || w.table.waiting.next != &w.table.waiting {
		w.t.Errorf("left: %d clients, %d servers, %d timers, %d hashes", clients, servers, w.q.Len(), len(w.table.similar))
	}
}

func describe(m sipgo.Message) string {
	switch m := m.(type) {
	case *sipgo.Request:
		return string(m.Method)
	case *sipgo.Response:
		return fmt.Sprintf("%d %s", m.StatusCode, m.CSeq().MethodName)
	}
	return "?"
}

// world is the Sink.

func (w *world) Send(_ time.Time, f Flow, m sipgo.Message) {
	name := f.(*flow).name
	if name != "" {
		name = " on " + name
	}
	w.note("send %s%s", describe(m), name)
	// What is sent has to be a message.
	back, err := sipwire.Parse(sipwire.Append(nil, m), true)
	if err != nil {
		w.t.Errorf("sent what cannot be read: %v", err)
	}
	if w.onSend != nil {
		w.onSend(back)
	}
}

func (w *world) Request(_ time.Time, s *Server) {
	w.note("request %s", s.Request().Method)
	s.User = w.serverUser()
	w.servers = append(w.servers, s)
	if w.onRequest != nil {
		w.onRequest(s)
	}
}

func (w *world) Ack(_ time.Time, _ Flow, ack *sipgo.Request)  { w.note("ack") }
func (w *world) Stray(_ time.Time, _ Flow, r *sipgo.Response) { w.note("stray %s", describe(r)) }
func (w *world) Response(_ time.Time, c *Client, r *sipgo.Response) {
	w.note("response %s", describe(r))
	if w.onResponse != nil {
		w.onResponse(c, r)
	}
}
func (w *world) Failed(_ time.Time, _ *Client, err error) { w.note("failed %v", err) }

type serverUser struct{ w *world }

func (w *world) serverUser() ServerUser { return serverUser{w} }

func (u serverUser) Failed(_ time.Time, _ *Server, err error) { u.w.note("server failed %v", err) }
func (u serverUser) Done(time.Time, *Server)                  { u.w.note("done") }

// request is a request with a branch. Extra lines go behind the others.
func request(method, branch string, extra ...string) *sipgo.Request {
	lines := []string{
		method + " sip:bob@biloxi.example SIP/2.0",
		"Via: SIP/2.0/UDP pc33.atlanta.example;branch=" + branch,
		"Max-Forwards: 70",
		"From: Alice <sip:alice@atlanta.example>;tag=1928301774",
		"To: Bob <sip:bob@biloxi.example>",
		"Call-ID: a84b4c76e66710",
		"CSeq: 314159 " + method,
	}
	return parse(append(lines, extra...)...).(*sipgo.Request)
}

func parse(lines ...string) sipgo.Message {
	m, err := sipwire.Parse([]byte(strings.Join(lines, "\r\n")+"\r\nContent-Length: 0\r\n\r\n"), true)
	if err != nil {
		panic(err)
	}
	return m
}

// respond is what a server far away would send.
func respond(req *sipgo.Request, status int) *sipgo.Response {
	return sipwire.ResponseTo(req, status, "", "tag"+string(req.Method))
}

// start sends a request on a flow.
func (w *world) start(reliable bool, req *sipgo.Request) *Client {
	w.t.Helper()
	c, err := w.table.Send(w.now, &flow{reliable: reliable}, req, w)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) receive(m sipgo.Message) { w.table.Receive(w.now, w.from, m) }
