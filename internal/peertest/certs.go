package peertest

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/testca"
)

// certs are the PEM files from which a peer takes its certificate.
type certs struct {
	CA   string // the authority
	Cert string // the chain alone
	Key  string // the key alone
	Both string // chain and key
}

// mint makes a certificate for a domain and further names, in dir.
func mint(t testing.TB, ca *testca.CA, dir, domain string, more ...string) certs {
	t.Helper()
	leaf, err := ca.Issue(testca.Template{
		CommonName: domain,
		URIs:       []string{"sip:" + domain},
		// localhost is for Linphone, which compares with names alone.
		DNS: append([]string{domain, "localhost"}, more...),
		IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
	})
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	chain, key, err := testca.PEM(leaf)
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	write := func(name string, parts ...[]byte) string {
		file := filepath.Join(dir, name)
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		if err := os.WriteFile(file, all, 0o600); err != nil {
			t.Fatalf("peertest: %v", err)
		}
		return file
	}
	return certs{
		CA: write("ca.pem", ca.PEM()), Cert: write("cert.pem", chain),
		Key: write("key.pem", key), Both: write("both.pem", chain, key),
	}
}

// newCA makes an authority for one peer.
func newCA(t testing.TB) *testca.CA {
	t.Helper()
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	return ca
}
