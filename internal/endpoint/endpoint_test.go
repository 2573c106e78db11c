package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// options is an OPTIONS request as it comes over the wire.
func options(via string) []byte {
	return []byte("OPTIONS sip:alice@10.0.0.1 SIP/2.0\r\nVia: " + via + "\r\nFrom: <sip:bob@example.com>;tag=b\r\nTo: <sip:alice@10.0.0.1>\r\n" +
		"Call-ID: x\r\nCSeq: 5 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
}

// listen opens a port of a host and collects what comes there.
func (r *rig) listen(h interface {
	ListenPacket(context.Context, string, string) (net.PacketConn, error)
}, addr string, got chan<- string) net.PacketConn {
	r.t.Helper()
	pc, err := h.ListenPacket(r.t.Context(), "udp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, _, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			got <- addr + " " + string(buf[:n])
		}
	}()
	return pc
}

// Where answers go over UDP: RFC 3261 §18.2.2, RFC 3581 §4.
func TestAnswersOverUDP(t *testing.T) {
	tests := []struct {
		name string
		host string
		from string // the request comes from here
		via  string
		want string // the answer comes here
		line string // with this Via
	}{
		// The example of RFC 3581 §4: a client behind a NAT.
		{"RFC 3581 §4", "192.0.2.1", "192.0.2.1:9988", "SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff", "192.0.2.1:9988",
			"SIP/2.0/UDP 10.1.1.1:4540;rport=9988;branch=z9hG4bKkjshdyff;received=192.0.2.1"},
		{"RFC 3581 §4: received even if it says the same", "10.0.0.9", "10.0.0.9:7000", "SIP/2.0/UDP 10.0.0.9:5060;rport;branch=z9hG4bKa", "10.0.0.9:7000",
			"SIP/2.0/UDP 10.0.0.9:5060;rport=7000;branch=z9hG4bKa;received=10.0.0.9"},
		{"the port in the Via", "10.0.0.9", "10.0.0.9:7000", "SIP/2.0/UDP 10.0.0.9:6000;branch=z9hG4bKa", "10.0.0.9:6000",
			"SIP/2.0/UDP 10.0.0.9:6000;branch=z9hG4bKa"},
		{"the default port", "10.0.0.9", "10.0.0.9:7000", "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKa", "10.0.0.9:5060",
			"SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKa"},
		{"§18.2.1: a name gets received", "10.0.0.9", "10.0.0.9:7000", "SIP/2.0/UDP bob.example.com:6000;branch=z9hG4bKa", "10.0.0.9:6000",
			"SIP/2.0/UDP bob.example.com:6000;branch=z9hG4bKa;received=10.0.0.9"},
		{"IPv6", "2001:db8::9", "[2001:db8::9]:7000", "SIP/2.0/UDP [2001:DB8::9]:7000;branch=z9hG4bKa", "[2001:db8::9]:7000",
			"SIP/2.0/UDP [2001:DB8::9]:7000;branch=z9hG4bKa"},
		{"IPv6 with another address in it", "2001:db8::9", "[2001:db8::9]:7000", "SIP/2.0/UDP [2001:db8::8]:7000;rport;branch=z9hG4bKa", "[2001:db8::9]:7000",
			"SIP/2.0/UDP [2001:db8::8]:7000;rport=7000;branch=z9hG4bKa;received=2001:db8::9"},
	}
	for _, tt := range tests {
		for _, bad := range []bool{false, true} { // with a transaction and, for what is malformed, without
			bubble(t, fmt.Sprint(tt.name, " ", bad), func(t *testing.T, r *rig) {
				to := "10.0.0.1:5060"
				if strings.Contains(tt.host, ":") {
					to = "[2001:db8::1]:5060"
					if _, err := r.e.Net.UDP(t.Context(), to); err != nil {
						t.Fatal(err)
					}
				}
				got := make(chan string, 8)
				h := r.net.Host(tt.host)
				pc := r.listen(h, tt.from, got)
				if tt.want != tt.from {
					r.listen(h, tt.want, got)
				}
				msg, status := options(tt.via), "200 "
				if bad {
					msg, status = []byte(strings.Replace(string(msg), "CSeq: 5", "CSeq: many", 1)), "400 "
				}
				pc.WriteTo(msg, net.UDPAddrFromAddrPort(addrPort(to)))
				answer := <-got
				if !strings.HasPrefix(answer, tt.want+" SIP/2.0 "+status) || !strings.Contains(answer, "\r\nVia: "+tt.line+"\r\n") {
					t.Errorf("answer %s", answer)
				}
			})
		}
	}
}

// What cannot be read and cannot be answered is dropped.
func TestBadDropped(t *testing.T) {
	bubble(t, "UDP", func(t *testing.T, r *rig) {
		got := make(chan string, 8)
		pc := r.listen(r.net.Host("10.0.0.9"), "10.0.0.9:5060", got)
		for _, m := range []string{"nonsense", "SIP/2.0 200 OK\r\n\r\n", "ACK sip:x SIP/2.0\r\nVia: y\r\n\r\n"} {
			pc.WriteTo([]byte(m), net.UDPAddrFromAddrPort(addrPort("10.0.0.1:5060")))
		}
		r.pass(time.Second)
		if len(got) != 0 {
			t.Errorf("answered %s", <-got)
		}
	})
}

// What the handler is told.
func TestHandler(t *testing.T) {
	bubble(t, "ACK, strays, pongs, closed flows", func(t *testing.T, r *rig) {
		s, f := r.tcp("10.0.0.2:5060")
		r.pass(time.Second)
		ack := strings.ReplaceAll(string(options("SIP/2.0/TCP 10.0.0.2;branch=z9hG4bKa")), "OPTIONS", "ACK")
		stray := "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bKnobody\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
		if err := f.SendPing(); err != nil {
			t.Fatal(err)
		}
		s.conn().Write([]byte("\r\n"))
		s.conn().Write([]byte(ack + stray))
		r.pass(time.Second)
		s.conn().Close()
		r.pass(time.Second)
		want := []string{"pong 10.0.0.2:5060", "ACK 5", "stray 200", "closed 10.0.0.2:5060: true"}
		r.do(func(time.Time) {
			if !slices.Equal(r.log, want) {
				t.Errorf("told %q, want %q", r.log, want)
			}
		})
	})
	bubble(t, "STUN", func(t *testing.T, r *rig) {
		far, err := transportAt(r, "10.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := far.UDP(t.Context(), "10.0.0.2:3478"); err != nil { // which answers STUN by itself
			t.Fatal(err)
		}
		f := r.sock.Flow(addrPort("10.0.0.2:3478"))
		var id [12]byte
		r.do(func(time.Time) { id = r.e.STUNID() })
		if err := f.SendSTUN(id); err != nil || id == ([12]byte{}) {
			t.Fatal(err, id)
		}
		r.pass(time.Second)
		if want := []string{"stun 10.0.0.2:3478 10.0.0.1:5060"}; !slices.Equal(r.log, want) {
			t.Errorf("told %q, want %q", r.log, want)
		}
	})
}

func transportAt(r *rig, host string) (*transport.Transport, error) {
	h := r.net.Host(host)
	far := transport.New(transport.Config{Dial: h.Dial, ListenPacket: h.ListenPacket}, deaf{})
	r.t.Cleanup(func() { far.Close() })
	return far, nil
}

// deaf is a transport's handler.
type deaf struct{}

func (deaf) Accepted(*transport.Flow)                              {}
func (deaf) Message(*transport.Flow, sipgo.Message, []byte)        {}
func (deaf) Bad(*transport.Flow, *sipwire.BadMessage)              {}
func (deaf) Pong(*transport.Flow)                                  {}
func (deaf) STUN(*transport.Flow, [12]byte, netip.AddrPort, error) {}
func (deaf) Closed(*transport.Flow, error)                         {}

// Fate: messages are dropped, delayed and doubled, in both directions.
func TestFate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		fates := map[string][]time.Duration{
			"out OPTIONS": {time.Second},                   // late
			"in 200":      nil,                             // lost
			"in OPTIONS":  {0, 3 * time.Second},            // twice
			"out 200":     {time.Second, 10 * time.Second}, // late, and twice
		}
		r := newRig(t, func(cfg *Config) {
			cfg.Fate = func(_ time.Time, _ *transport.Flow, m sipgo.Message, out bool) []time.Duration {
				what := map[bool]string{true: "out ", false: "in "}[out]
				switch m := m.(type) {
				case *sipgo.Request:
					what += string(m.Method)
				case *sipgo.Response:
					what += fmt.Sprint(m.StatusCode)
				}
				seen = append(seen, what)
				if f, ok := fates[what]; ok {
					return f
				}
				return AsIs
			}
		})
		s, f := r.udp("10.0.0.2:5060", "200", "202")
		o, out := r.outgoing(sipgo.OPTIONS, f)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		r.pass(999 * time.Millisecond)
		if len(s.requests()) != 0 {
			t.Error("not late")
		}
		r.pass(time.Millisecond)
		if len(s.requests()) != 1 || out.responses != nil {
			t.Errorf("sent %s, outcome %v", s.methods(), out)
		}
		r.pass(time.Second) // the repetition, whose answer arrives
		if out.String() != "[202]" {
			t.Errorf("outcome %v", out)
		}
		r.pass(time.Minute)

		asked := 0
		r.request = func(now time.Time, tx *transaction.Server) {
			asked++
			r.e.Respond(now, tx, 200, "", "")
		}
		s.pc.WriteTo(options("SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKin"), net.UDPAddrFromAddrPort(addrPort("10.0.0.1:5060")))
		r.pass(time.Minute)
		// Two copies came: one transaction, and its answer again; each answer
		// twice.
		if asked != 1 || len(s.answers()) != 4 {
			t.Errorf("asked %d times, %d answers", asked, len(s.answers()))
		}
	})
}

// Of what Go was given, either done or abort runs, once, whenever Close comes;
// and Close leaves nobody behind.
func TestCloseWithWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		var done, aborted atomic.Int32
		start := func(work func(ctx context.Context)) {
			r.do(func(time.Time) { r.e.Go(work, func(time.Time) { done.Add(1) }, func() { aborted.Add(1) }) })
		}
		start(func(context.Context) {})
		synctest.Wait()
		if done.Load() != 1 {
			t.Errorf("%d done", done.Load())
		}
		// Work that ends with the endpoint, and work whose end waits in the
		// mailbox of a loop that is busy.
		start(func(ctx context.Context) { <-ctx.Done() })
		finish := make(chan struct{})
		for range 20 {
			start(func(context.Context) { <-finish })
		}
		r.do(func(time.Time) { r.e.Go(func(ctx context.Context) { <-ctx.Done() }, func(time.Time) {}, nil) })
		busy := make(chan struct{})
		r.e.Post(func(time.Time) { <-busy })
		synctest.Wait()
		close(finish)
		synctest.Wait()
		closed := make(chan struct{})
		for range 2 {
			go func() {
				r.e.Close()
				closed <- struct{}{}
			}()
		}
		synctest.Wait()
		close(busy)
		<-closed
		<-closed
		if done.Load()+aborted.Load() != 22 || aborted.Load() == 0 {
			t.Errorf("%d done, %d aborted, of 22", done.Load(), aborted.Load())
		}
		if r.e.Context().Err() == nil {
			t.Error("the context lives on")
		}
		if r.e.Post(func(time.Time) { t.Error("runs after Close") }) {
			t.Error("Post after Close")
		}
		if err := r.e.Run(t.Context(), func(time.Time) {}); !errors.Is(err, ErrClosed) {
			t.Errorf("Run after Close: %v", err)
		}
		if r.e.Close() != nil {
			t.Error("Close again")
		}
	})
}

// A caller that does not wait any more, and one whose endpoint goes.
func TestRun(t *testing.T) {
	bubble(t, "context", func(t *testing.T, r *rig) {
		busy := make(chan struct{})
		r.e.Post(func(time.Time) { <-busy })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ran := false
		if err := r.e.Run(ctx, func(time.Time) { ran = true }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run: %v", err)
		}
		close(busy)
		r.do(func(time.Time) {
			if !ran {
				t.Error("it was in the mailbox, and did not run")
			}
		})
	})
	bubble(t, "closed meanwhile", func(t *testing.T, r *rig) {
		busy := make(chan struct{})
		r.e.Post(func(time.Time) { <-busy })
		synctest.Wait() // the loop is at it
		result := make(chan error)
		go func() { result <- r.e.Run(t.Context(), func(time.Time) {}) }()
		synctest.Wait()
		go r.e.Close()
		synctest.Wait()
		close(busy)
		if err := <-result; !errors.Is(err, ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestNewWithoutRandomness(t *testing.T) {
	if _, err := New(Config{Handler: nobody{}, Rand: strings.NewReader("short")}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("New: %v", err)
	}
}

// Identifiers differ from each other, and are the same for the same seed.
func TestIdentifiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs [2][]string
		for i := range runs {
			r := newRig(t, nil)
			r.do(func(time.Time) {
				for range 100 {
					runs[i] = append(runs[i], r.e.Tag(), r.e.Branch(), r.e.ID(40))
				}
				if f := r.e.Float(); f < 0 || f >= 1 {
					t.Errorf("Float is %v", f)
				}
				if r.e.Logger() == nil {
					t.Error("no logger")
				}
			})
		}
		if !slices.Equal(runs[0], runs[1]) {
			t.Error("the same seed gave others")
		}
		seen := map[string]bool{}
		for _, id := range runs[0] {
			if seen[id] || strings.Trim(strings.TrimPrefix(id, "z9hG4bK"), idAlphabet) != "" {
				t.Errorf("identifier %q", id)
			}
			seen[id] = true
		}
	})
}

// The endpoint names itself, in what it sends by itself too.
func TestNames(t *testing.T) {
	bubble(t, "Server and User-Agent", func(t *testing.T, r *rig) {
		s, f := r.udp("10.0.0.2:5060", "200")
		o, _ := r.outgoing(sipgo.OPTIONS, f)
		r.e.UserAgent(o.Req)
		r.do(func(now time.Time) { r.e.Send(now, o) })
		s.pc.WriteTo(options("SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKin"), net.UDPAddrFromAddrPort(addrPort("10.0.0.1:5060")))
		r.pass(time.Second)
		if got := sipwire.Header(s.requests()[0], "User-Agent"); got != "endpoint test" {
			t.Errorf("User-Agent %q", got)
		}
		if got := sipwire.Header(s.answers()[0], "Server"); got != "endpoint test" || sipwire.ToTag(s.answers()[0]) != "tag" {
			t.Errorf("Server %q in %v", got, s.answers()[0])
		}
	})
}
