package transaction

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/timerq"
)

// null is a Sink and ClientUser that does nothing but keep the latest server
// transaction.
type null struct{ s *Server }

func (*null) Send(time.Time, Flow, sipgo.Message)          {}
func (n *null) Request(_ time.Time, s *Server)             { n.s = s }
func (*null) Ack(time.Time, Flow, *sipgo.Request)          {}
func (*null) Stray(time.Time, Flow, *sipgo.Response)       {}
func (*null) Response(time.Time, *Client, *sipgo.Response) {}
func (*null) Failed(now time.Time, c *Client, err error)   {}

// numbered is a request like another with a branch of its own.
func numbered(like *sipgo.Request, n int) *sipgo.Request {
	req := sipgo.NewRequest(like.Method, like.Recipient)
	for _, h := range like.Headers() {
		if via, ok := h.(*sipgo.ViaHeader); ok {
			via = via.Clone()
			via.Params = sipgo.HeaderParams{{K: "branch", V: fmt.Sprintf("z9hG4bK%016x", n)}}
			h = via
		}
		req.AppendHeader(h)
	}
	return req
}

// BenchmarkTransaction is the work of one transaction from its first message
// to its last timer, without building and parsing of messages.
func BenchmarkTransaction(b *testing.B) {
	const batch = 1000
	for _, c := range []struct {
		name   string
		method string
		status int
		server bool
	}{
		{"client/INVITE/200", "INVITE", 200, false},
		{"client/INVITE/486", "INVITE", 486, false},
		{"client/BYE/200", "BYE", 200, false},
		{"server/INVITE/200", "INVITE", 200, true},
		{"server/INVITE/486", "INVITE", 486, true},
		{"server/BYE/200", "BYE", 200, true},
	} {
		for _, reliable := range []bool{true, false} {
			transport := "udp"
			if reliable {
				transport = "tcp"
			}
			b.Run(c.name+"/"+transport, func(b *testing.B) {
				var q timerq.Queue
				sink := &null{}
				t := New(&q, Config{}, sink)
				f := &flow{reliable: reliable}
				like := request(c.method, "z9hG4bK")
				reqs := make([]*sipgo.Request, batch)
				ress := make([]*sipgo.Response, batch)
				for i := range reqs {
					reqs[i] = numbered(like, i)
					ress[i] = sipwire.ResponseTo(reqs[i], c.status, "", "tag")
				}
				now := epoch
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if c.server {
						t.Receive(now, f, reqs[i])
						sink.s.Respond(now, ress[i])
					} else {
						if _, err := t.Send(now, f, reqs[i], sink); err != nil {
							b.Fatal(err)
						}
						t.Receive(now, f, ress[i])
					}
					if i++; i == batch {
						i = 0
						now = now.Add(time.Minute)
						q.Advance(now)
					}
				}
			})
		}
	}
}

// BenchmarkLingering measures the memory of transactions that only wait for
// retransmissions, timers and table entries included.
func BenchmarkLingering(b *testing.B) {
	const count = 100_000
	for _, c := range []struct {
		name   string
		method string
		status int
		server bool
	}{
		{"client/INVITE/200", "INVITE", 200, false},
		{"client/INVITE/486", "INVITE", 486, false},
		{"client/BYE/200", "BYE", 200, false},
		{"server/INVITE/200", "INVITE", 200, true},
		{"server/INVITE/486", "INVITE", 486, true},
		{"server/BYE/200", "BYE", 200, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			like := request(c.method, "z9hG4bK")
			var bytes uint64
			for b.Loop() {
				var q timerq.Queue
				sink := &null{}
				t := New(&q, Config{MaxServer: count}, sink)
				f := &flow{}
				before := heap()
				for i := range count {
					// As on the wire: every message has memory of its own.
					m, err := sipwire.Parse(sipwire.Append(nil, numbered(like, i)), false)
					if err != nil {
						b.Fatal(err)
					}
					req := m.(*sipgo.Request)
					res := sipwire.ResponseTo(req, c.status, "", "tag")
					if c.server {
						t.Receive(epoch, f, req)
						sink.s.Respond(epoch, res)
					} else {
						if _, err := t.Send(epoch, f, req, sink); err != nil {
							b.Fatal(err)
						}
						t.Receive(epoch, f, res)
					}
				}
				sink.s = nil
				bytes = (heap() - before) / count
				if clients, servers := t.Len(); clients+servers != count {
					b.Fatalf("%d clients, %d servers", clients, servers)
				}
				runtime.KeepAlive(t)
			}
			b.ReportMetric(float64(bytes), "B/transaction")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
