package interop

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// One script of other people's client passes with our server as it does with Prosody.
func TestSlixmppScript(t *testing.T) {
	t.Parallel()
	steps := []string{"login", "roster", "disco", "message", "carbons", "archive", "resume", "blocking", "vcard", "pep", "room", "moderation", "end"}
	run := func(t *testing.T, domain, addr, ca string) {
		t.Helper()
		ap := netip.MustParseAddrPort(addr)
		var got []string
		for _, line := range peertest.Slixmpp(t, filepath.Join("testdata", "twousers.py"), domain, ap.Addr().String(), strconv.Itoa(int(ap.Port())), ca, "rooms."+domain) {
			if step, ok := strings.CutPrefix(line, "done "); ok {
				got = append(got, step)
			}
		}
		if !slices.Equal(got, steps) {
			t.Errorf("it did %q", got)
		}
	}
	t.Run("xmpptest", func(t *testing.T) {
		t.Parallel()
		peertest.Need(t, "slixmpp")
		s, err := xmpptest.Start(&xmpptest.Config{
			Rooms: "rooms.example.test", Users: map[string]string{"alice": "secret-alice", "bob": "secret-bob"},
			// With TLS 1.3 it does tls-unique, which is not defined there, and then claims that we have no channel binding.
			Mechanisms: []string{"SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, s.CAPEM(), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, s.Domain(), s.Addr().String(), ca)
	})
	t.Run("Prosody", func(t *testing.T) {
		t.Parallel()
		s := peertest.StartProsody(t, peertest.ProsodyConfig{})
		run(t, s.Domain, s.C2S(), s.CAFile())
	})
}
