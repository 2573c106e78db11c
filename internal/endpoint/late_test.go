package endpoint

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transport"
)

// peer is the other side of one UDP flow.
type peer struct {
	t    *testing.T
	conn net.PacketConn
	from net.Addr
}

// read returns what has arrived, each message as its text.
func (p *peer) read() []string {
	var got []string
	buf := make([]byte, 4096)
	for {
		// What is under way arrives within no time: the network has no latency.
		p.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return got
		}
		p.from = from
		got = append(got, string(buf[:n]))
	}
}

func (p *peer) write(text string) {
	if _, err := p.conn.WriteTo([]byte(strings.ReplaceAll(text, "\n", "\r\n")), p.from); err != nil {
		p.t.Error(err)
	}
}

// methods are the methods of requests.
func methods(requests []string) (m []string) {
	for _, r := range requests {
		method, _, _ := strings.Cut(r, " ")
		m = append(m, method)
	}
	return m
}

// RFC 3261 §13.2.2.4: every 2xx of an INVITE is acknowledged, and the dialogs
// of a fork that nobody wants are ended, also when the call has been over for long.
func TestReleasedInvite_RFC3261_13_2_2_4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New()
		us, them := network.Host("10.0.0.1"), network.Host("10.0.0.2")
		conn, err := them.ListenPacket(t.Context(), "udp", "10.0.0.2:5060")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		p := &peer{t: t, conn: conn}
		e, err := New(Config{
			Handler:   nobody{},
			Transport: transport.Config{ListenPacket: us.ListenPacket, Dial: us.Dial},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		sock, err := e.Net.UDP(t.Context(), "10.0.0.1:5060")
		if err != nil {
			t.Fatal(err)
		}
		invite := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{Scheme: "sip", User: "bob", Host: "10.0.0.2"})
		for _, h := range []string{
			"From: <sip:alice@10.0.0.1>;tag=a", "To: <sip:bob@10.0.0.2>", "Call-ID: late", "Max-Forwards: 70", "Proxy-Authorization: Digest x",
		} {
			name, value, _ := strings.Cut(h, ": ")
			invite.AppendHeader(sipgo.NewHeader(name, value))
		}
		invite.AppendHeader(&sipgo.CSeqHeader{SeqNo: 7, MethodName: sipgo.INVITE})
		var heard []int
		o := &Outgoing{
			Req: invite, Flow: sock.Flow(netip.MustParseAddrPort("10.0.0.2:5060")),
			OnResponse: func(_ time.Time, r *sipgo.Response) { heard = append(heard, r.StatusCode) },
			OnFailed:   func(_ time.Time, err error) { t.Error(err) },
		}
		e.Post(func(now time.Time) {
			o.Release("early", nil) // before the final response this does nothing
			e.Send(now, o)
			o.Release("early", nil)
		})
		got := p.read()
		if len(got) != 1 {
			t.Fatalf("sent %q", got)
		}
		m, err := sipwire.Parse([]byte(got[0]), false)
		if err != nil {
			t.Fatal(err)
		}
		ok := func(status, tag string) string {
			return fmt.Sprintf("SIP/2.0 %s\nVia: %s\nFrom: <sip:alice@10.0.0.1>;tag=a\nTo: <sip:bob@10.0.0.2>;tag=%s\nCall-ID: late\n"+
				"CSeq: 7 INVITE\nRecord-Route: <sip:far.example;lr>, <sip:near.example;lr>\nContact: <sip:%[3]s@192.0.2.7>\nContent-Length: 0\n\n",
				status, sipwire.Header(m, "Via"), tag)
		}
		p.write(ok("180 Ringing", "one"))
		p.write(ok("200 OK", "one"))
		synctest.Wait()
		e.Post(func(time.Time) { o.Release("one", map[string]uint32{"two": 9}) }) // two had a PRACK

		p.write(ok("200 OK", "one"))
		if got := p.read(); !slices.Equal(methods(got), []string{"ACK"}) {
			t.Errorf("to the 2xx again: %q", got)
		}
		p.write(ok("200 OK", "two"))
		got = p.read()
		if !slices.Equal(methods(got), []string{"ACK", "BYE"}) {
			t.Fatalf("to the 2xx of another branch: %q", got)
		}
		for i, want := range [][]string{
			{"ACK sip:two@192.0.2.7 SIP/2.0", "CSeq: 7 ACK", "Proxy-Authorization: Digest x"},
			{"BYE sip:two@192.0.2.7 SIP/2.0", "CSeq: 10 BYE"},
		} {
			want = append(want, "Route: <sip:near.example;lr>\r\nRoute: <sip:far.example;lr>",
				"From: <sip:alice@10.0.0.1>;tag=a", "To: <sip:bob@10.0.0.2>;tag=two", "Call-ID: late", "Max-Forwards: 70", "Via: SIP/2.0/UDP 10.0.0.1:5060")
			for _, w := range want {
				if !strings.Contains(strings.ReplaceAll(got[i], ":<", ": <"), w) {
					t.Errorf("no %q in\n%s", w, got[i])
				}
			}
		}
		p.write(ok("200 OK", "two"))
		if got := p.read(); !slices.Equal(methods(got), []string{"ACK"}) {
			t.Errorf("to that again: %q", got)
		}
		p.write(ok("180 Ringing", "three"))
		if got := p.read(); len(got) != 0 {
			t.Errorf("to a late 180: %q", got)
		}
		if !slices.Equal(heard, []int{180, 200}) {
			t.Errorf("its user heard %v", heard)
		}
	})
}
