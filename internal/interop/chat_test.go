package interop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/chat"
)

// messenger signs in a user of a server with a messenger.
func messenger(t *testing.T, s *peertest.XMPPServer, user string) (*xmpp.Client, *chat.Messenger) {
	t.Helper()
	c := newClient(t, s, user, nil)
	m, err := chat.New(c, &chat.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	connectClient(t, c)
	return c, m
}

// shows waits until a conversation is like that, a line for each message.
func shows(t *testing.T, conv *chat.Conversation, m *chat.Messenger, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for _, err := range m.Changes(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		list, err := conv.History(ctx, chat.Place{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		got = got[:0]
		for i := len(list) - 1; i >= 0; i-- {
			got = append(got, said(list[i]))
		}
		if strings.Join(got, "\n") == strings.Join(want, "\n") {
			return
		}
	}
	t.Fatalf("%s has\n%s\nwant\n%s", conv.Address(), strings.Join(got, "\n"), strings.Join(want, "\n"))
}

func said(m *chat.Message) string {
	s := m.Author.Address + ": " + m.Body
	if m.Reply != nil {
		s += fmt.Sprintf(" [to %q]", m.Reply.Quote)
	}
	for _, v := range m.Versions {
		s += " [was " + v.Body + "]"
	}
	if m.Retracted != nil {
		s += " [gone]"
	}
	for _, r := range m.Reactions {
		s += " [" + r.Author.Address + " " + strings.Join(r.Emojis, "") + "]"
	}
	if m.State != chat.Received {
		s += " " + m.State.String()
	}
	return s
}

// Two people write to each other at Prosody: each sees what the other sees.
func TestProsodyChat(t *testing.T) {
	t.Parallel()
	p := peertest.StartProsody(t, peertest.ProsodyConfig{})
	alice, am := messenger(t, p, "alice")
	bob, bm := messenger(t, p, "bob")
	toBob, toAlice := am.Conversation(bob.Account()), bm.Conversation(alice.Account())
	ctx := t.Context()
	send := func(c *chat.Conversation, d *chat.Draft) *chat.Message {
		t.Helper()
		msg, err := c.Send(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	hello := send(toBob, &chat.Draft{Body: "Helo"})
	// Nobody's full address is known, and neither is in the other's roster: Prosody delivers to the bare one.
	do(am.Wait(ctx, hello.ID, chat.Delivered))
	shows(t, toAlice, bm, "alice@alpha.test: Helo")
	do(toBob.Correct(ctx, hello.ID, "Hello"))
	shows(t, toAlice, bm, "alice@alpha.test: Hello [was Helo]")
	list, err := toAlice.History(ctx, chat.Place{}, 1)
	do(err)
	do(toAlice.React(ctx, list[0].ID, "👋", "🐢"))
	do(toAlice.MarkRead(ctx, list[0].ID))
	shows(t, toBob, am, "alice@alpha.test: Hello [was Helo] [bob@alpha.test 👋🐢] displayed")
	answer := send(toAlice, &chat.Draft{Body: "Hello yourself", ReplyTo: list[0].ID})
	shows(t, toBob, am, "alice@alpha.test: Hello [was Helo] [bob@alpha.test 👋🐢] displayed", `bob@alpha.test: Hello yourself [to "> Hello\n"]`)
	do(toAlice.Retract(ctx, answer.ID))
	shows(t, toBob, am, "alice@alpha.test: Hello [was Helo] [bob@alpha.test 👋🐢] displayed", "bob@alpha.test:  [gone]")
	do(toBob.Typing(ctx, chat.Composing))
	for s := range toAlice.States(ctx) {
		if s == chat.Composing {
			break
		}
	}
	nobody := am.Conversation(jid.MustParse("nobody@alpha.test"))
	lost := send(nobody, &chat.Draft{Body: "Is there anybody?"})
	var failed *chat.FailedError
	if err := am.Wait(ctx, lost.ID, chat.Delivered); !errors.As(err, &failed) || !strings.Contains(failed.Reason, "service-unavailable") {
		t.Errorf("to nobody: %v", err)
	}
	// The same from now on without a connection, and with one again.
	do(alice.Close(ctx))
	late := send(toBob, &chat.Draft{Body: "Good night"})
	if late.State != chat.Queued {
		t.Errorf("without a connection it is %v", late.State)
	}
}
