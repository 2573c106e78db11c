package peertest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

// ProsodyConfig says what kind of Prosody a test wants.
type ProsodyConfig struct {
	// Domain it serves; "" is alpha.test.
	Domain string
	// Hash of the passwords it stores, and so of the SCRAM that it offers: "SHA-1" or "SHA-256" (what "" means).
	Hash string
}

// Prosody is a running XMPP server for one domain, with rooms at rooms.Domain
// and uploads at upload.Domain. It knows the users alice, bob, carol and dave; each one's password is
// "secret-" and the name. A component may connect as echo.Domain with "secret-component".
type Prosody struct {
	Domain string
	CA     *testca.CA
	Log    *Output // of the latest start

	t     testing.TB
	dir   string
	ports xmppPorts
	proc  *process
}

type xmppPorts struct{ C2S, Direct, S2S, Component, HTTP, HTTPS int }

// StartProsody starts a Prosody and returns when it answers. It ends with the test.
func StartProsody(t testing.TB, c ProsodyConfig) *Prosody {
	t.Helper()
	Need(t, "prosody")
	if c.Domain == "" {
		c.Domain = "alpha.test"
	}
	if c.Hash == "" {
		c.Hash = "SHA-256"
	}
	b := reserve(t, 6)
	p := &Prosody{Domain: c.Domain, CA: newCA(t), t: t, dir: tempDir(t, "prosody"), ports: xmppPorts{
		C2S: b.take(1), Direct: b.take(1), S2S: b.take(1), Component: b.take(1), HTTP: b.take(1), HTTPS: b.take(1),
	}}
	render(t, filepath.Join(p.dir, "prosody.cfg.lua"), "prosody.cfg.lua.tmpl", struct {
		xmppPorts
		Dir, Domain, Hash string
		Certs             certs
	}{p.ports, p.dir, c.Domain, c.Hash, mint(t, p.CA, p.dir, c.Domain, "rooms."+c.Domain, "upload."+c.Domain)})
	accounts := filepath.Join(p.dir, "data", hexHost(c.Domain), "accounts")
	if err := os.MkdirAll(accounts, 0o700); err != nil {
		t.Fatalf("peertest: %v", err)
	}
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		// Prosody hashes it at the first login.
		account := fmt.Sprintf("return {\n\t[\"password\"] = \"secret-%s\";\n};\n", user)
		if err := os.WriteFile(filepath.Join(accounts, user+".dat"), []byte(account), 0o600); err != nil {
			t.Fatalf("peertest: %v", err)
		}
	}
	p.Start()
	return p
}

// hexHost is how Prosody names the folder of a domain.
func hexHost(domain string) string {
	var s string
	for _, c := range []byte(domain) {
		if c == '-' || c == '.' {
			s += fmt.Sprintf("%%%02x", c)
		} else {
			s += string(c)
		}
	}
	return s
}

// Start starts it again, on the same ports and with what it stored.
func (p *Prosody) Start() {
	p.t.Helper()
	p.proc = start(p.t, spec{program: "prosody", args: []string{"-F", "--config", filepath.Join(p.dir, "prosody.cfg.lua")}, dir: p.dir})
	p.Log = p.proc.out
	err := eventually(p.t.Context(), func() error {
		if !p.proc.running() {
			return nil // found out below
		}
		for _, addr := range []string{p.C2S(), p.Direct()} {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return err
			}
			conn.Close()
		}
		return nil
	})
	if err != nil {
		p.t.Fatalf("peertest: prosody does not answer: %v", err)
	}
	if !p.proc.running() {
		p.t.Fatalf("peertest: prosody ended: %v", p.proc.err)
	}
}

// Stop ends it in order. Kill ends it without a word to anybody.
func (p *Prosody) Stop() { p.proc.stop() }

// Kill ends it without a word to anybody.
func (p *Prosody) Kill() { p.proc.kill() }

// C2S is where clients connect with STARTTLS.
func (p *Prosody) C2S() string { return loopback(p.ports.C2S) }

// Direct is where clients connect with TLS from the beginning.
func (p *Prosody) Direct() string { return loopback(p.ports.Direct) }

// WebSocket is the endpoint of WebSockets, by the domain's name.
func (p *Prosody) WebSocket() string {
	return fmt.Sprintf("wss://%s:%d/xmpp-websocket", p.Domain, p.ports.HTTPS)
}

// Component is where components connect.
func (p *Prosody) Component() string { return loopback(p.ports.Component) }

// Names is what DNS would say of it.
func (p *Prosody) Names() *Names {
	srv := func(port int) []locate.SRV { return []locate.SRV{{Target: p.Domain, Port: uint16(port)}} }
	return &Names{Hosts: []string{p.Domain}, SRV: map[string][]locate.SRV{
		"_xmpp-client._tcp." + p.Domain:  srv(p.ports.C2S),
		"_xmpps-client._tcp." + p.Domain: srv(p.ports.Direct),
	}}
}
