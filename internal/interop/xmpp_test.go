package interop

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// xmppPatience bounds what a server does at once when the machine is idle.
const xmppPatience = 30 * time.Second

// newClient makes a client of a server's user.
func newClient(t *testing.T, s *peertest.XMPPServer, user string, change func(*xmpp.Config)) *xmpp.Client {
	t.Helper()
	cfg := &xmpp.Config{
		Account: jid.MustParse(user + "@" + s.Domain), Credentials: xmpp.Password("secret-" + user),
		TLS: &xmpp.TLSConfig{RootCAs: s.CA.Pool()}, Network: xmpp.Network{Resolver: s.Names()}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(cfg)
	}
	c, err := xmpp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// signIn connects a user of a server.
func signIn(t *testing.T, s *peertest.XMPPServer, user string, change func(*xmpp.Config)) *xmpp.Client {
	t.Helper()
	c := newClient(t, s, user, change)
	connectClient(t, c)
	return c
}

func connectClient(t *testing.T, c *xmpp.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), xmppPatience)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
}

func chatMessage(to jid.JID, text string) *xmpp.Message {
	m := &xmpp.Message{Payload: []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "body", text)}}
	m.To, m.Type, m.ID = to, stanza.ChatMessage, xmpp.NewID()
	return m
}

// say sends a text and waits until the server has it.
func say(t *testing.T, c *xmpp.Client, to jid.JID, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), xmppPatience)
	defer cancel()
	sent, err := c.Send(ctx, chatMessage(to, text))
	if err == nil {
		err = sent.Wait(ctx)
	}
	if err != nil {
		t.Fatalf("%s to %s: %v", c.JID(), to, err)
	}
}

// hear waits for the next message that has a text or is an error.
func hear(t *testing.T, c *xmpp.Client) *xmpp.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), xmppPatience)
	defer cancel()
	for m := range c.Messages(ctx) {
		if m.Body() != "" || m.Error != nil {
			return m
		}
	}
	t.Fatalf("%s hears nothing", c.JID())
	return nil
}

// hears waits for a text from somebody.
func hears(t *testing.T, c *xmpp.Client, from jid.JID, text string) {
	t.Helper()
	m := hear(t, c)
	if m.Error != nil || m.Body() != text || !m.From.Equal(from) {
		t.Errorf("%s hears %q from %s (%v), want %q from %s", c.JID(), m.Body(), m.From, m.Error, text, from)
	}
}
