package register

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
	"github.com/hoorn-phone/hoorn/internal/timerqtest"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const instance = "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"

// exchange is one request the machine made.
type exchange struct {
	at        time.Time
	req       *sipgo.Request
	done      func(time.Time, *sipgo.Response, error)
	cancelled bool
	over      bool
}

// harness is the world around a machine: its clock, its sender, its observer.
type harness struct {
	t     testing.TB
	q     timerq.Queue
	now   time.Time
	m     *Machine
	sent  []*exchange
	log   []string
	move  *sipgo.Uri
	bound Binding
	err   error
	// onSend, if set, may answer before Register returns.
	onSend func(*exchange)
}

func newHarness(t testing.TB, change func(*Config)) *harness {
	h := &harness{t: t, now: epoch}
	cfg := Config{
		Registrar: uri(t, "sips:registrar@example.com"),
		AOR:       uri(t, "sip:callee@example.com"),
		Contact:   func() sipgo.Uri { return uri(t, "sip:callee@192.0.2.1:5061;transport=tls") },
		CallID:    "call", FromTag: "tag",
		Rand: func() float64 { return 0 },
	}
	if change != nil {
		change(&cfg)
	}
	h.m = New(&h.q, cfg, h, h)
	return h
}

func full(c *Config) {
	c.Instance, c.Outbound, c.GRUU, c.Keep = instance, true, true, true
}

func (h *harness) Register(now time.Time, req *sipgo.Request, done func(time.Time, *sipgo.Response, error)) func() {
	e := &exchange{at: now, req: req, done: done}
	h.sent = append(h.sent, e)
	if h.onSend != nil {
		h.onSend(e)
	}
	return func() { e.cancelled, e.over = true, true }
}

func (h *harness) Registered(now time.Time, b Binding) {
	h.bound = b
	h.note("registered %v", b.Expires.Sub(now))
}

func (h *harness) Unregistered(_ time.Time, err error) {
	h.err = err
	h.note("unregistered %v", err)
}

func (h *harness) Failed(_ time.Time, err error, retryAfter time.Duration, move *sipgo.Uri, fatal bool) {
	h.err, h.move = err, move
	h.note("failed %v after=%v fatal=%v", err, retryAfter, fatal)
}

func (h *harness) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

// advance moves the clock, running what falls due at its exact time.
func (h *harness) advance(d time.Duration) { timerqtest.Run(&h.q, &h.now, h.now.Add(d)) }

func (h *harness) last() *exchange {
	h.t.Helper()
	if len(h.sent) == 0 {
		h.t.Fatal("no request was sent")
	}
	return h.sent[len(h.sent)-1]
}

// answer answers the newest request.
func (h *harness) answer(status string, headers ...string) {
	h.t.Helper()
	e := h.last()
	e.over = true
	e.done(h.now, response(h.t, status, headers...), nil)
}

func (h *harness) fail(err error) {
	h.t.Helper()
	e := h.last()
	e.over = true
	e.done(h.now, nil, err)
}

// expect checks and forgets what the observer heard.
func (h *harness) expect(want ...string) {
	h.t.Helper()
	if got := strings.Join(h.log, "\n"); got != strings.Join(want, "\n") {
		h.t.Fatalf("observer heard\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	h.log = nil
}

func (h *harness) requests(n int) {
	h.t.Helper()
	if len(h.sent) != n {
		h.t.Fatalf("%d requests sent, want %d", len(h.sent), n)
	}
}

func header(m sipgo.Message, name string) string {
	var all []string
	for _, h := range sipwire.Headers(m) {
		switch c, ok := h.(*sipgo.ContactHeader); {
		case !strings.EqualFold(h.Name(), name):
		case ok:
			all = append(all, sipwire.FormatNameAddr("", &c.Address, c.Params))
		default:
			all = append(all, h.Value())
		}
	}
	return strings.Join(all, ", ")
}

func response(t testing.TB, status string, headers ...string) *sipgo.Response {
	t.Helper()
	lines := append([]string{
		"SIP/2.0 " + status,
		"To: <sip:callee@example.com>;tag=r",
		"From: <sip:callee@example.com>;tag=tag",
		"Call-ID: call",
		"CSeq: 1 REGISTER",
	}, headers...)
	if !strings.Contains(strings.Join(headers, "\n"), "Via:") {
		lines = append(lines, "Via: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bK1")
	}
	m, err := sipwire.Parse([]byte(strings.Join(lines, "\r\n")+"\r\nContent-Length: 0\r\n\r\n"), true)
	if err != nil {
		t.Fatal(err)
	}
	return m.(*sipgo.Response)
}

func uri(t testing.TB, s string) sipgo.Uri {
	t.Helper()
	u, err := sipwire.ParseURI(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
