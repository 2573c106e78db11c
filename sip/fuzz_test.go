package sip

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// alive fails the test unless the user agent at 10.0.0.1:5060 answers OPTIONS
// to somebody who has done nothing yet.
func alive(t *testing.T, n *memnet.Network, tr Transport) {
	t.Helper()
	peer := n.Host("10.0.0.8")
	conn, err := peer.Dial(t.Context(), map[Transport]string{UDP: "udp", TCP: "tcp"}[tr], "10.0.0.1:5060")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "OPTIONS sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/%s 10.0.0.8:9;branch=z9hG4bKlives;rport\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:alice@10.0.0.1>\r\n"+
		"Call-ID: lives\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\nContent-Length: 0\r\n\r\n", strings.ToUpper(string(tr)))
	conn.SetReadDeadline(time.Now().Add(time.Second))
	if s := readStatus(conn); s != 200 && s != 486 { // 486: calls wait
		t.Errorf("afterwards OPTIONS is answered with %d", s)
	}
}

// Whatever arrives at a user agent, over UDP or on a stream, in however many
// pieces: it does not panic, it answers others, and it leaves nothing behind
// when it closes.
func FuzzUA(f *testing.F) {
	for _, file := range tortureFiles(f) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint16(len(data)), false)
		f.Add(data, uint16(100), true)
	}
	invite := "INVITE sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.9;branch=z9hG4bKa\r\nFrom: <sip:b@10.0.0.9>;tag=b\r\nTo: <sip:alice@10.0.0.1>\r\n" +
		"Call-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:b@10.0.0.9>\r\nContent-Length: 0\r\n\r\n"
	f.Add([]byte(invite+strings.NewReplacer("INVITE", "CANCEL").Replace(invite)), uint16(50), true)
	f.Add([]byte("\r\n\r\n\r\n"+invite+"\r\n\r\n"), uint16(1), true)
	f.Add([]byte(strings.Replace(invite, "Call-ID", "Require: 100rel\r\nCall-ID", 1)), uint16(2000), false)
	f.Fuzz(func(t *testing.T, data []byte, piece uint16, stream bool) {
		if len(data) > 32<<10 {
			t.Skip()
		}
		synctest.Test(t, func(t *testing.T) {
			tr := map[bool]Transport{false: UDP, true: TCP}[stream]
			n, alice, _ := pair(t, tr, nil)
			go func() { // an app that takes what comes
				for {
					in, err := alice.Accept(t.Context())
					if err != nil {
						return
					}
					in.Ring(t.Context())
					in.Progress(t.Context())
					go in.Answer(t.Context(), nil)
				}
			}()
			peer := n.Host("10.0.0.9")
			conn, err := peer.Dial(t.Context(), map[Transport]string{UDP: "udp", TCP: "tcp"}[tr], "10.0.0.1:5060")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go drainConn(conn)
			size := max(1, int(piece), len(data)/64)
			for len(data) > 0 {
				n := min(size, len(data))
				if _, err := conn.Write(data[:n]); err != nil {
					break // the user agent has closed it
				}
				data = data[n:]
			}
			synctest.Wait()
			alive(t, n, tr)
			pass(40 * time.Second) // past all the timers of a call without ACK
		})
	})
}

func drainConn(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

// Whatever a peer says to our INVITE and what follows, the call ends when it
// is hung up, and the user agent lives. In the script VIA, FROM, CALLID, NUM and TO
// stand for the header fields of the request that is answered; a line "--"
// divides messages, of which one is sent for each request that comes.
func FuzzPeer(f *testing.F) {
	const head = "Via: VIA\r\nFrom: FROM\r\nTo: <sip:bob@10.0.0.2>;tag=t\r\nCall-ID: CALLID\r\nCSeq: NUM\r\n"
	const contact = "Contact: <sip:bob@10.0.0.2:5060>\r\n"
	const sdp = "Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
	for _, script := range []string{
		"SIP/2.0 200 OK\r\n" + head + contact + sdp,
		"SIP/2.0 180 Ringing\r\n" + head + contact + "Require: 100rel\r\nRSeq: 1\r\n" + sdp + "--SIP/2.0 200 OK\r\n" + head + "\r\n--SIP/2.0 200 OK\r\n" + head + contact + sdp,
		"SIP/2.0 302 Moved\r\n" + head + "Contact: <sip:x@y>;q=0.5, *\r\n\r\n",
		"SIP/2.0 401 Unauthorized\r\n" + head + "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\"\r\n\r\n",
		"SIP/2.0 503 No\r\n" + head + "Retry-After: 99999999999\r\n\r\n",
		"SIP/2.0 200 OK\r\n" + head + "Contact: <sip:bob@10.0.0.2>\r\nRecord-Route: <sip:strict>, <sip:a;lr>\r\n" + sdp +
			"--BYE sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKq\r\nFrom: <sip:bob@10.0.0.2>;tag=t\r\nTo: FROM\r\nCall-ID: CALLID\r\nCSeq: 9 BYE\r\n\r\n",
	} {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script string) {
		if len(script) > 8<<10 {
			t.Skip()
		}
		synctest.Test(t, func(t *testing.T) {
			n := memnet.New()
			phone, host := n.Host("10.0.0.1"), n.Host("10.0.0.2")
			ua := newUA(t, &Config{
				Account: Account{AOR: "sip:alice@10.0.0.1", Direct: true, Transport: UDP, Password: "secret"},
				Listen:  []string{"udp:10.0.0.1:5060"},
				Network: Network{Dial: phone.Dial, Listen: phone.Listen, ListenPacket: phone.ListenPacket, Resolver: &locate.Static{}},
			})
			pc, err := host.ListenPacket(t.Context(), "udp", "10.0.0.2:5060")
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			go func() {
				said := strings.Split(script, "--")
				buf := make([]byte, 64<<10)
				for {
					n, from, err := pc.ReadFrom(buf)
					if err != nil {
						return
					}
					m, err := sipwire.Parse(bytes.Clone(buf[:n]), false)
					req, ok := m.(*sipgo.Request)
					if err != nil || !ok || len(said) == 0 {
						continue
					}
					text := strings.NewReplacer(
						"VIA", sipwire.Header(req, "Via"), "FROM", sipwire.Header(req, "From"),
						"CALLID", sipwire.Header(req, "Call-ID"), "NUM", sipwire.Header(req, "CSeq"),
					).Replace(said[0])
					said = said[1:]
					pc.WriteTo([]byte(text), from)
				}
			}()
			c, err := ua.Start(t.Context(), "sip:bob@10.0.0.2;transport=udp", nil)
			if err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
			if err := c.Hangup(t.Context()); err != nil {
				t.Error(err)
			}
			begin := time.Now()
			c.Wait(t.Context())
			// Timer B of the INVITE, and of each that was sent anew.
			if took := time.Since(begin); took > 10*time.Minute {
				t.Errorf("a call that was hung up took %v to end", took)
			}
			alive(t, n, UDP)
			pass(time.Minute)
			ua.ep.Run(t.Context(), func(time.Time) {
				if len(ua.calls) != 0 {
					t.Errorf("%d calls are left", len(ua.calls))
				}
			})
		})
	})
}
