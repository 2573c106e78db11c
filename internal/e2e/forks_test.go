package e2e_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/sip"
)

// forker is a proxy over UDP that sends each request on to all it knows, and
// everything that they answer back: it stays out of the dialogs (RFC 3261 §16).
type forker struct {
	t    *testing.T
	conn net.PacketConn
	to   []netip.AddrPort
	from net.Addr // the caller
}

const forkerAddr = "10.0.9.9:5060"

func newForker(t *testing.T, n *memnet.Network, to ...*phone) *forker {
	t.Helper()
	addr := netip.MustParseAddrPort(forkerAddr)
	conn, err := n.Host(addr.Addr().String()).ListenPacket(t.Context(), "udp", forkerAddr)
	must(t, err)
	f := &forker{t: t, conn: conn}
	for _, p := range to {
		f.to = append(f.to, netip.AddrPortFrom(p.addr, 5060))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			f.relay(bytes.Clone(buf[:n]), from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return f
}

func (f *forker) relay(data []byte, from net.Addr) {
	if bytes.HasPrefix(data, []byte("SIP/2.0 ")) {
		if top := bytes.Index(data, []byte("Via: ")); !bytes.HasPrefix(data, []byte("SIP/2.0 100")) {
			_, below, _ := bytes.Cut(data[top:], []byte("\r\n"))
			f.send(slices.Concat(data[:top], below), f.from)
		}
		return
	}
	msg, err := sipwire.Parse(data, false)
	m, ok := msg.(*sipgo.Request)
	if !ok {
		f.t.Error(err)
		return
	}
	f.from = from
	for _, to := range f.to {
		req := m.Clone()
		req.Recipient = sipgo.Uri{Scheme: "sip", Host: to.Addr().String(), Port: int(to.Port())}
		req.PrependHeader(&sipgo.ViaHeader{
			ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: "10.0.9.9", Port: 5060,
			Params: sipgo.HeaderParams{{K: "branch", V: sipwire.TopBranch(m) + "-" + to.Addr().String()}},
		})
		f.send(sipwire.Append(nil, req), net.UDPAddrFromAddrPort(to))
	}
}

func (f *forker) send(data []byte, to net.Addr) {
	if _, err := f.conn.WriteTo(data, to); err != nil {
		f.t.Error(err)
	}
}

// RFC 3261 §13.2.2.4: an INVITE rings at two, who both give early media. The one
// who was chosen is heard, later the one who has answered, and both are encrypted
// although their answers are to one offer.
func TestForksHeard(t *testing.T) {
	for winner, name := range []string{"the first answers", "the second answers"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				ca, err := testca.NewCA(time.Now())
				must(t, err)
				alice := w.direct("alice", sip.UDP, ca, toneA)
				phones := []*phone{w.direct("bob", sip.UDP, ca, toneB), w.direct("carol", sip.UDP, ca, toneC)}
				tones := []float64{toneB, toneC}
				newForker(t, w.net, phones...)

				ca0 := alice.start("sip:all@" + forkerAddr + ";transport=udp")
				ends := make([]*end, 2)
				for i, p := range phones {
					c := p.accept()
					must(t, c.Progress(t.Context()))
					ends[i] = p.end(c)
					pass(500 * ms)
				}
				a := alice.end(ca0)
				forks := ca0.Forks()
				if len(forks) != 2 || !forks[0].Heard || forks[1].Heard || !forks[0].Media || !forks[1].Media || forks[1].Status != 183 {
					t.Fatalf("%+v", forks)
				}
				hears := func(step string, i int) {
					t.Helper()
					sounds(t, step, a, ends[i], toneA, tones[i])
					other := ends[1-i]
					other.ear.take()
					pass(200 * ms)
					if pcm := other.ear.take(); without(pcm, toneA) < 200*ms {
						t.Errorf("%s: %s hears alice", step, other.p.AOR())
					}
				}
				hears("by itself", 0)
				must(t, ca0.Listen(t.Context(), forks[1].ID))
				hears("chosen", 1)
				must(t, ca0.Listen(t.Context(), forks[0].ID))
				hears("chosen again", 0)
				must(t, ca0.Listen(t.Context(), forks[1].ID))
				hears("and back", 1)
				if st := a.sess.Stats(); st.Received.BadSRTP+st.Received.Stray != 0 || st.Legs != 2 || st.Suite == "" {
					t.Errorf("%+v", st)
				}

				loser := ends[1-winner]
				must(t, ends[winner].Answer(t.Context(), nil))
				must(t, ca0.Answered(t.Context()))
				sounds(t, "answered", a, ends[winner], toneA, tones[winner])
				// The other answers, too late: he has ACK and BYE.
				if err := loser.Answer(t.Context(), nil); err != nil && !errors.Is(err, sip.ErrEnded) {
					t.Error(err) // the BYE may be here as soon as the ACK
				}
				ended(t, loser.Call, sip.Remote)
				if !slices.ContainsFunc(callEvents(t, loser.Call), func(e sip.Event) bool { return e.State == sip.CallEstablished }) {
					t.Error("the second 2xx had no ACK")
				}
				sounds(t, "still", a, ends[winner], toneA, tones[winner])
				if st := a.sess.Stats(); st.Legs != 1 || st.Remote.Addr() != ends[winner].p.addr {
					t.Errorf("%+v", st)
				}
				hangup(t, a, ends[winner])
			})
		})
	}
}
