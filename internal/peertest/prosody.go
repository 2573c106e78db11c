package peertest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/testca"
)

// ProsodyConfig says what kind of Prosody a test wants.
type ProsodyConfig struct {
	// Domain it serves; "" is alpha.test.
	Domain string
	// Hash of the passwords it stores, and so of the SCRAM that it offers: "SHA-1" or "SHA-256" (what "" means).
	Hash string
	// MaxTLS is the newest version of TLS that it speaks: "1.2", or "" for what it has.
	MaxTLS string

	federated *federated
}

// federated is what a server needs to know of others; nil if there are none.
type federated struct {
	ca        *testca.CA
	dns       int    // the port of its name server
	untrusted string // a second domain, with a certificate of an authority that nobody knows
}

// prosodyProtocol are LuaSec's names of versions of TLS.
var prosodyProtocol = map[string]string{"": "tlsv1_2+", "1.2": "tlsv1_2"}

// StartProsody starts a Prosody and returns when it answers. It ends with the test.
func StartProsody(t testing.TB, c ProsodyConfig) *XMPPServer {
	t.Helper()
	Need(t, "prosody")
	if c.Domain == "" {
		c.Domain = "alpha.test"
	}
	if c.Hash == "" {
		c.Hash = "SHA-256"
	}
	s := &XMPPServer{Software: "Prosody", Domain: c.Domain, t: t, dir: tempDir(t, "prosody"), ports: reserveXMPP(t), path: "/xmpp-websocket"}
	data := struct {
		xmppPorts
		Dir, Domain, Hash, Protocol string
		Certs, UntrustedCerts       certs
		DNS                         int
		Untrusted                   string
	}{xmppPorts: s.ports, Dir: s.dir, Domain: c.Domain, Hash: c.Hash, Protocol: prosodyProtocol[c.MaxTLS]}
	s.CA, data.DNS, data.Untrusted, data.UntrustedCerts = c.federated.apply(t, s.dir)
	data.Certs = mint(t, s.CA, s.dir, c.Domain, xmppNames(c.Domain)...)
	render(t, filepath.Join(s.dir, "prosody.cfg.lua"), "prosody.cfg.lua.tmpl", data)
	accounts := filepath.Join(s.dir, "data", hexHost(c.Domain), "accounts")
	if err := os.MkdirAll(accounts, 0o700); err != nil {
		t.Fatalf("peertest: %v", err)
	}
	for _, user := range xmppUsers {
		// Prosody hashes it at the first login.
		account := fmt.Sprintf("return {\n\t[\"password\"] = \"secret-%s\";\n};\n", user)
		if err := os.WriteFile(filepath.Join(accounts, user+".dat"), []byte(account), 0o600); err != nil {
			t.Fatalf("peertest: %v", err)
		}
	}
	s.run = func() *process {
		return start(t, spec{program: "prosody", args: []string{"-F", "--config", filepath.Join(s.dir, "prosody.cfg.lua")}, dir: s.dir})
	}
	s.Start()
	return s
}

// apply makes what the templates of servers need of it.
func (f *federated) apply(t testing.TB, dir string) (ca *testca.CA, dns int, untrusted string, c certs) {
	t.Helper()
	if f == nil {
		return newCA(t), 0, "", certs{}
	}
	sub := filepath.Join(dir, "untrusted")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatalf("peertest: %v", err)
	}
	return f.ca, f.dns, f.untrusted, mint(t, newCA(t), sub, f.untrusted)
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
