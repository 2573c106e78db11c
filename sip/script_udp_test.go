package sip

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// bubbles runs a script over TLS and over UDP.
func bubbles(t *testing.T, name string, fn func(t *testing.T, s *server)) {
	for _, tr := range []Transport{TLS, UDP} {
		t.Run(name+", "+string(tr), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t)
				if tr == UDP {
					s.listenUDP("10.0.0.2:5061")
				}
				fn(t, s)
			})
		})
	}
}

// listenUDP has the server's accounts use UDP. Each address that something comes
// from is a conn. What the user agent repeats, and its keep-alives, are not
// shown.
func (s *server) listenUDP(addr string) {
	pc, err := s.host.ListenPacket(s.t.Context(), "udp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.udp = true
	var wg sync.WaitGroup
	s.t.Cleanup(func() { pc.Close(); wg.Wait() })
	wg.Go(func() {
		conns := make(map[string]*conn)
		seen := make(map[string]bool)
		buf := make([]byte, 64<<10)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				for _, c := range conns {
					close(c.in)
				}
				return
			}
			if b := bytes.TrimSpace(buf[:n]); len(b) == 0 || b[0] < 2 {
				continue // CRLF or STUN
			}
			msg, err := sipwire.Parse(bytes.Clone(buf[:n]), false)
			if err != nil {
				s.t.Errorf("the user agent sent what cannot be read: %v\n%s", err, buf[:n])
				continue
			}
			if key := repeats(msg); seen[key] {
				continue
			} else {
				seen[key] = true
			}
			c := conns[from.String()]
			if c == nil {
				c = &conn{t: s.t, c: &datagramConn{pc: pc, peer: from}, in: make(chan sipgo.Message, 64)}
				conns[from.String()] = c
				s.conns <- c
			}
			c.in <- msg
		}
	})
}

// repeats is the same for a message and its repetitions.
func repeats(m sipgo.Message) string {
	if r, ok := m.(*sipgo.Response); ok {
		return fmt.Sprint(r.StatusCode, sipwire.TopBranch(r), sipwire.Header(r, "CSeq"), sipwire.Header(r, "RSeq"))
	}
	return sipwire.Header(m, "CSeq") + sipwire.TopBranch(m)
}

// datagramConn writes to one peer what tests write for TLS.
type datagramConn struct {
	net.Conn
	pc   net.PacketConn
	peer net.Addr
}

var overUDP = strings.NewReplacer("SIP/2.0/TLS", "SIP/2.0/UDP", ";transport=tls", "")

func (c *datagramConn) Write(b []byte) (int, error) {
	return c.pc.WriteTo([]byte(overUDP.Replace(string(b))), c.peer)
}

func (c *datagramConn) Close() error { return c.pc.Close() }
