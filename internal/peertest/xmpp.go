package peertest

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

// XMPPServer is a running XMPP server for one domain, with rooms at rooms.Domain and uploads at upload.Domain. It
// knows the users alice, bob, carol and dave; each one's password is "secret-" and the name. A component may connect as echo.Domain with "secret-component".
type XMPPServer struct {
	Software string // "Prosody" or "ejabberd"
	Domain   string
	CA       *testca.CA // who signed its certificate
	Log      *Output    // of the latest start

	t     testing.TB
	dir   string
	ports xmppPorts
	path  string // of WebSockets
	run   func() *process
	proc  *process
}

// xmppUsers are whom each server knows.
var xmppUsers = []string{"alice", "bob", "carol", "dave"}

type xmppPorts struct{ C2S, Direct, S2S, Component, HTTP, HTTPS int }

func reserveXMPP(t testing.TB) xmppPorts {
	t.Helper()
	b := reserve(t, 6)
	return xmppPorts{C2S: b.take(1), Direct: b.take(1), S2S: b.take(1), Component: b.take(1), HTTP: b.take(1), HTTPS: b.take(1)}
}

// xmppNames are the names of a server's certificate besides its domain.
func xmppNames(domain string) []string {
	return []string{"rooms." + domain, "upload." + domain, "pubsub." + domain}
}

// Start starts it again, on the same ports and with what it stored.
func (s *XMPPServer) Start() {
	s.t.Helper()
	s.proc = s.run()
	s.Log = s.proc.out
	err := eventually(s.t.Context(), func() error {
		if !s.proc.running() {
			return nil // found out below
		}
		for _, addr := range []string{s.C2S(), s.Direct(), loopback(s.ports.HTTPS)} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			conn.Close()
		}
		return nil
	})
	if err == nil && !s.proc.running() {
		err = errors.Join(errors.New("it ended"), s.proc.err)
	}
	if err != nil {
		s.t.Fatalf("peertest: %s does not answer: %v", s.Software, err)
	}
}

// Stop ends it in order: it says goodbye to who is connected.
func (s *XMPPServer) Stop() { s.proc.stop() }

// Kill ends it without a word to anybody.
func (s *XMPPServer) Kill() { s.proc.kill() }

// C2S is where clients connect with STARTTLS.
func (s *XMPPServer) C2S() string { return loopback(s.ports.C2S) }

// Direct is where clients connect with TLS from the beginning.
func (s *XMPPServer) Direct() string { return loopback(s.ports.Direct) }

// S2S is where other servers connect.
func (s *XMPPServer) S2S() string { return loopback(s.ports.S2S) }

// WebSocket is the endpoint of WebSockets, by the domain's name.
func (s *XMPPServer) WebSocket() string {
	return fmt.Sprintf("wss://%s:%d%s", s.Domain, s.ports.HTTPS, s.path)
}

// HTTPS is where it serves WebSockets, uploads and, if it is ejabberd, host-meta (XEP-0156).
func (s *XMPPServer) HTTPS() string { return loopback(s.ports.HTTPS) }

// Component is where components connect.
func (s *XMPPServer) Component() string { return loopback(s.ports.Component) }

// Names is what DNS would say of it.
func (s *XMPPServer) Names() *Names {
	srv := func(port int) []locate.SRV { return []locate.SRV{{Target: s.Domain, Port: uint16(port)}} }
	return &Names{Hosts: []string{s.Domain}, SRV: map[string][]locate.SRV{
		"_xmpp-client._tcp." + s.Domain:  srv(s.ports.C2S),
		"_xmpps-client._tcp." + s.Domain: srv(s.ports.Direct),
	}}
}
