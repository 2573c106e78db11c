package endpoint

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// rig is an endpoint at 10.0.0.1 with a user whose decisions a test writes
// down, and servers on the same network that do what the test says.
type rig struct {
	t       *testing.T
	net     *memnet.Network
	us      *memnet.Host
	e       *Endpoint
	sock    *transport.Socket
	servers map[netip.AddrPort]*far

	request func(now time.Time, s *transaction.Server)
	route   func(now time.Time, o *Outgoing, ready func(time.Time, *transport.Flow, error))
	widen   func(now time.Time, f *transport.Flow, ready func(time.Time, *transport.Flow, error))
	log     []string // in the loop: what else the user was told
}

func (r *rig) Request(now time.Time, s *transaction.Server) {
	if r.request == nil {
		r.e.Respond(now, s, 200, "", "tag")
		return
	}
	r.request(now, s)
}

func (r *rig) note(format string, args ...any) { r.log = append(r.log, fmt.Sprintf(format, args...)) }

func (r *rig) Ack(_ time.Time, _ *transport.Flow, ack *sipgo.Request) {
	r.note("ACK %d", ack.CSeq().SeqNo)
}
func (r *rig) Stray(_ time.Time, _ *transport.Flow, res *sipgo.Response) {
	r.note("stray %d", res.StatusCode)
}
func (r *rig) Route(now time.Time, o *Outgoing, ready func(time.Time, *transport.Flow, error)) {
	r.route(now, o, ready)
}
func (r *rig) Widen(now time.Time, f *transport.Flow, ready func(time.Time, *transport.Flow, error)) {
	r.widen(now, f, ready)
}
func (r *rig) FlowClosed(_ time.Time, f *transport.Flow, err error) {
	r.note("closed %s: %v", f.Remote(), err != nil)
}
func (r *rig) Pong(_ time.Time, f *transport.Flow) { r.note("pong %s", f.Remote()) }
func (r *rig) STUN(_ time.Time, f *transport.Flow, _ [12]byte, mapped netip.AddrPort, _ error) {
	r.note("stun %s %s", f.Remote(), mapped)
}

// bubble runs a test with a rig in virtual time.
func bubble(t *testing.T, name string, fn func(t *testing.T, r *rig)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { fn(t, newRig(t, nil)) })
	})
}

func newRig(t *testing.T, mod func(*Config)) *rig {
	r := &rig{t: t, net: memnet.New(), servers: map[netip.AddrPort]*far{}}
	r.us = r.net.Host("10.0.0.1", "2001:db8::1")
	cfg := Config{
		Handler:   r,
		Transport: transport.Config{Dial: r.us.Dial, Listen: r.us.Listen, ListenPacket: r.us.ListenPacket},
		Rand:      zeros{},
		UserAgent: "endpoint test",
	}
	if mod != nil {
		mod(&cfg)
	}
	var err error
	if r.e, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.e.Close() })
	if r.sock, err = r.e.Net.UDP(t.Context(), "10.0.0.1:5060"); err != nil {
		t.Fatal(err)
	}
	return r
}

// zeros is randomness that is the same each time.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// far is a server as a test scripts it: it answers each request with the
// first of its statuses, which is then gone; with none left it is silent.
type far struct {
	addr netip.AddrPort
	pc   net.PacketConn

	mu     sync.Mutex
	conns  []net.Conn
	status []string // a status and further header lines: "401\nWWW-Authenticate: …"
	got    []*sipgo.Request
	answer []*sipgo.Response // to what it asked itself
}

// udp makes a server on UDP and the flow to it.
func (r *rig) udp(addr string, status ...string) (*far, *transport.Flow) {
	s := r.far(addr, status)
	pc, err := r.net.Host(s.addr.Addr().String()).ListenPacket(r.t.Context(), "udp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	s.pc = pc
	r.t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			s.receive(r.t, bytes.Clone(buf[:n]), func(b []byte) { pc.WriteTo(b, from) })
		}
	}()
	return s, r.sock.Flow(s.addr)
}

// tcp makes a server on TCP and the flow to it.
func (r *rig) tcp(addr string, status ...string) (*far, *transport.Flow) {
	s := r.far(addr, status)
	l, err := r.net.Host(s.addr.Addr().String()).Listen(r.t.Context(), "tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			go func() {
				var framer sipwire.Framer
				buf := make([]byte, 64<<10)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					framer.Write(buf[:n])
					for {
						frame, err := framer.Next()
						if err != nil || frame.Kind == sipwire.NoFrame {
							break
						}
						if frame.Kind == sipwire.Message {
							s.receive(r.t, bytes.Clone(frame.Data), func(b []byte) { c.Write(b) })
						}
					}
				}
			}()
		}
	}()
	return s, r.dial(addr)
}

func (r *rig) dial(addr string) *transport.Flow {
	f, err := r.e.Net.Dial(r.t.Context(), transport.Target{Proto: transport.TCP, Addr: netip.MustParseAddrPort(addr)})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func (r *rig) far(addr string, status []string) *far {
	s := &far{addr: netip.MustParseAddrPort(addr), status: status}
	r.servers[s.addr] = s
	return s
}

func (s *far) receive(t *testing.T, b []byte, write func([]byte)) {
	m, err := sipwire.Parse(b, false)
	if err != nil {
		t.Errorf("%s got what cannot be read: %v\n%s", s.addr, err, b)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	req, ok := m.(*sipgo.Request)
	if !ok {
		s.answer = append(s.answer, m.(*sipgo.Response))
		return
	}
	s.got = append(s.got, req)
	if req.Method == sipgo.ACK || len(s.status) == 0 {
		return
	}
	next := s.status[0]
	s.status = s.status[1:]
	for _, one := range strings.Split(next, "|") { // several responses to one request
		lines := strings.Split(one, "\n")
		code, err := strconv.Atoi(lines[0])
		if err != nil {
			continue // silence
		}
		res := sipwire.ResponseTo(req, code, "", "far")
		for _, l := range lines[1:] {
			name, value, _ := strings.Cut(l, ": ")
			res.AppendHeader(sipgo.NewHeader(name, value))
		}
		write(sipwire.Append(nil, res))
	}
}

// requests are those that came.
func (s *far) requests() []*sipgo.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// answers are the responses that came.
func (s *far) answers() []*sipgo.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.answer)
}

// conn is the first connection that came.
func (s *far) conn() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[0]
}

// then is what it answers next.
func (s *far) then(status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = []string{status}
}

// methods are those of the requests that came.
func (s *far) methods() string {
	var ms []string
	for _, req := range s.requests() {
		ms = append(ms, string(req.Method))
	}
	return strings.Join(ms, " ")
}

// outcome is what became of a request.
type outcome struct {
	responses []int
	err       error
	failed    int
}

func (o *outcome) String() string {
	if o.err != nil {
		return fmt.Sprint(o.responses, " ", o.err)
	}
	return fmt.Sprint(o.responses)
}

// outgoing makes a request on its way, unsent. flow may be nil.
func (r *rig) outgoing(method sipgo.RequestMethod, flow *transport.Flow) (*Outgoing, *outcome) {
	m, err := sipwire.Parse(fmt.Appendf(nil, "%s sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP x\r\nFrom: <sip:alice@example.com>;tag=a\r\n"+
		"To: <sip:bob@example.com>\r\nCall-ID: 1\r\nCSeq: 1 %s\r\nMax-Forwards: 70\r\n\r\n", method, method), false)
	if err != nil {
		r.t.Fatal(err)
	}
	req := m.(*sipgo.Request)
	req.RemoveHeader("Via")
	out := &outcome{}
	cseq := uint32(1)
	return &Outgoing{
		Req: req, Flow: flow, NextCSeq: func() uint32 { cseq++; return cseq },
		OnResponse: func(_ time.Time, res *sipgo.Response) { out.responses = append(out.responses, res.StatusCode) },
		OnFailed:   func(_ time.Time, err error) { out.err = err; out.failed++ },
	}, out
}

// do runs a function in the loop.
func (r *rig) do(fn func(now time.Time)) {
	r.t.Helper()
	if err := r.e.Run(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// pass lets time pass. What a test has looked at before is not changed before.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	r.do(func(time.Time) {})
	<-time.After(d)
	synctest.Wait()
}

// along routes to these flows, one after the other, skipping those tried.
func along(flows ...*transport.Flow) func(time.Time, *Outgoing, func(time.Time, *transport.Flow, error)) {
	return func(now time.Time, o *Outgoing, ready func(time.Time, *transport.Flow, error)) {
		if n := len(o.Tried); n < len(flows) {
			ready(now, flows[n], nil)
			return
		}
		ready(now, nil, errNowhere)
	}
}

var errNowhere = fmt.Errorf("nowhere to go")

func testDigest(cfg *Config) {
	cfg.Digest = digest.NewClient(digest.ClientConfig{
		Credentials: func(string, digest.Algorithm) (digest.Credential, error) {
			return digest.Credential{Username: "alice", Password: "secret"}, nil
		},
		Rand: zeros{},
	})
}
