package interop

import (
	"context"
	"errors"
	"net"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mellium.im/xmpp/ping"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
)

// eachServer runs a test with both servers.
func eachServer(t *testing.T, test func(*testing.T, *peertest.XMPPServer)) {
	t.Parallel()
	t.Run("Prosody", func(t *testing.T) {
		t.Parallel()
		test(t, peertest.StartProsody(t, peertest.ProsodyConfig{}))
	})
	t.Run("ejabberd", func(t *testing.T) {
		t.Parallel()
		test(t, peertest.StartEjabberd(t, peertest.EjabberdConfig{}))
	})
}

// Two users of a server talk, over each way to it.
func TestXMPPTalk(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		bob := signIn(t, s, "bob", nil)
		ways := []struct {
			name   string
			change func(*xmpp.Config)
		}{
			{"DNS", nil},
			{"STARTTLS", func(c *xmpp.Config) { c.Server = s.C2S() }},
			{"direct TLS", func(c *xmpp.Config) { c.Server = "xmpps://" + s.Direct() }},
			{"WebSocket", func(c *xmpp.Config) { c.Server = s.WebSocket() }},
			{"host-meta", onlyHTTPS(s)},
		}
		if s.Software == "Prosody" {
			ways = ways[:len(ways)-1] // 0.12 has no host-meta of its own
		}
		for _, way := range ways {
			t.Run(way.name, func(t *testing.T) {
				alice := signIn(t, s, "alice", way.change)
				say(t, alice, bob.JID(), "Hello by "+way.name)
				hears(t, bob, alice.JID(), "Hello by "+way.name)
				say(t, bob, alice.JID(), "Hello again")
				hears(t, alice, bob.JID(), "Hello again")
				info, err := alice.Info(t.Context(), bob.JID(), "")
				if err != nil || !info.Has("urn:xmpp:ping") {
					t.Errorf("bob can %+v, %v", info, err)
				}
				session, err := alice.Session(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := ping.Send(t.Context(), session, bob.JID()); err != nil {
					t.Errorf("mellium's ping: %v", err)
				}
			})
		}
	})
}

// onlyHTTPS is a network that lets nothing but HTTPS through, as some hotels have it, and DNS without SRV records.
func onlyHTTPS(s *peertest.XMPPServer) func(*xmpp.Config) {
	return func(c *xmpp.Config) {
		c.Network.Resolver = &peertest.Names{Hosts: []string{s.Domain}}
		c.Network.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			switch {
			case strings.HasSuffix(addr, ":443"):
				addr = s.HTTPS()
			case addr != s.HTTPS():
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
}

// The best that a server and its version of TLS have is what signs in.
func TestXMPPMechanisms(t *testing.T) {
	t.Parallel()
	prosody := func(hash, tls string) func(*testing.T) *peertest.XMPPServer {
		return func(t *testing.T) *peertest.XMPPServer {
			return peertest.StartProsody(t, peertest.ProsodyConfig{Hash: hash, MaxTLS: tls})
		}
	}
	ejabberd := func(hash, tls string) func(*testing.T) *peertest.XMPPServer {
		return func(t *testing.T) *peertest.XMPPServer {
			return peertest.StartEjabberd(t, peertest.EjabberdConfig{Hash: hash, MaxTLS: tls})
		}
	}
	tests := []struct {
		name  string
		start func(*testing.T) *peertest.XMPPServer
		want  []string // what it is asked for; the last one succeeds
	}{
		{"Prosody SHA-1", prosody("SHA-1", ""), []string{"SCRAM-SHA-1"}},
		{"Prosody SHA-256", prosody("SHA-256", ""), []string{"SCRAM-SHA-256"}}, // no binding of TLS 1.3
		{"Prosody SHA-256 TLS 1.2", prosody("SHA-256", "1.2"), []string{"SCRAM-SHA-256-PLUS"}},
		// It offers channel binding over TLS 1.3 and knows no binding for it.
		{"ejabberd SHA-1", ejabberd("SHA-1", ""), []string{"SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}},
		{"ejabberd SHA-256 TLS 1.2", ejabberd("SHA-256", "1.2"), []string{"SCRAM-SHA-256-PLUS"}},
		{"ejabberd SHA-512", ejabberd("SHA-512", ""), []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-512"}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := c.start(t)
			for _, server := range []string{s.C2S(), "xmpps://" + s.Direct()} {
				mark := s.Log.Mark()
				signIn(t, s, "alice", func(c *xmpp.Config) { c.Server = server })
				if got := mechanisms(s, mark); !slices.Equal(got, c.want) {
					t.Errorf("%s: asked for %q, want %q", server, got, c.want)
				}
			}
			bad := newClient(t, s, "alice", func(c *xmpp.Config) { c.Credentials = xmpp.Password("guess") })
			var refused *xmpp.AuthError
			if err := bad.Connect(t.Context()); !errors.As(err, &refused) || refused.Condition != "not-authorized" {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
}

// mechanisms are those that a server was asked for, by its log.
func mechanisms(s *peertest.XMPPServer, since peertest.Mark) []string {
	asked := regexp.MustCompile(`<auth[^>]* mechanism='([A-Z0-9-]+)'|mechanism = <<"([A-Z0-9-]+)">>`)
	var all []string
	for _, line := range s.Log.Since(since) {
		if m := asked.FindStringSubmatch(line); m != nil {
			all = append(all, m[1]+m[2])
		}
	}
	return all
}
