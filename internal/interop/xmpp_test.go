package interop

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/ping"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// signIn connects a user of a Prosody.
func signIn(t *testing.T, p *peertest.Prosody, user string, change func(*xmpp.Config)) *xmpp.Client {
	t.Helper()
	cfg := &xmpp.Config{
		Account: jid.MustParse(user + "@" + p.Domain), Credentials: xmpp.Password("secret-" + user),
		TLS: &xmpp.TLSConfig{RootCAs: p.CA.Pool()}, Network: xmpp.Network{Resolver: p.Names()}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(cfg)
	}
	c, err := xmpp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func chatMessage(to jid.JID, text string) *xmpp.Message {
	m := &xmpp.Message{Payload: []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "body", text)}}
	m.To, m.Type, m.ID = to, stanza.ChatMessage, xmpp.NewID()
	return m
}

// Two users of Prosody talk, over each way to it.
func TestProsodyTalk(t *testing.T) {
	t.Parallel()
	p := peertest.StartProsody(t, peertest.ProsodyConfig{})
	bob := signIn(t, p, "bob", nil)
	for name, server := range map[string]string{"by DNS": "", "STARTTLS": p.C2S(), "direct TLS": "xmpps://" + p.Direct(), "WebSocket": p.WebSocket()} {
		t.Run(name, func(t *testing.T) {
			alice := signIn(t, p, "alice", func(c *xmpp.Config) { c.Server = server })
			sent, err := alice.Send(t.Context(), chatMessage(bob.JID(), "Hello, "+name))
			if err != nil {
				t.Fatal(err)
			}
			if err := sent.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			for m := range bob.Messages(t.Context()) {
				if m.Body() != "Hello, "+name || !m.From.Equal(alice.JID()) {
					t.Errorf("bob got %q from %s", m.Body(), m.From)
				}
				break
			}
			info, err := alice.Info(t.Context(), bob.JID(), "")
			if err != nil || !info.Has("urn:xmpp:ping") {
				t.Errorf("bob can %+v, %v", info, err)
			}
			s, err := alice.Session(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := ping.Send(t.Context(), s, bob.JID()); err != nil {
				t.Errorf("mellium's ping: %v", err)
			}
		})
	}
}
