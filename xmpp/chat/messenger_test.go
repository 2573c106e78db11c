package chat

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// offline is a messenger that was never connected.
func offline(t *testing.T, s Store) *Messenger {
	t.Helper()
	c, err := xmpp.New(&xmpp.Config{Account: jid.MustParse("juliet@capulet.lit"), Credentials: xmpp.Password("x")})
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(c, &Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What is sent without a connection is safe, in order, and can be changed.
func TestOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s := new(Memory)
		m := offline(t, s)
		conv := m.Conversation(jid.MustParse("romeo@montague.lit/orchard"))
		first, err := conv.Send(ctx, &Draft{Body: "one", Mentions: []Mention{{0, 3, "xmpp:romeo@montague.lit"}}})
		if err != nil || first.State != Queued {
			t.Fatal(first, err)
		}
		second, err := conv.Send(ctx, &Draft{Body: "two", ReplyTo: first.ID, Link: "https://example.com/a.png", Extra: []*xmltree.Element{xmltree.New("x", "extra")}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(conv.Correct(ctx, first.ID, "uno"), conv.React(ctx, second.ID, "👋"), conv.Typing(ctx, Composing), conv.MarkRead(ctx, second.ID)); err != nil {
			t.Error(err)
		}
		out, err := s.Outbox(ctx)
		if err != nil || len(out) != 2 || out[0].Body != "uno" || out[0].Versions[0].Body != "one" || len(out[1].Reactions) != 1 {
			t.Errorf("outbox %+v, %v", out, err)
		}
		stanza, err := wire(out[1])
		if err != nil || stanza.Body() != "> one\ntwo" || stanza.Child("x", "extra") == nil || stanza.Child(nsOOB, "x").Child(nsOOB, "url").Text() != "https://example.com/a.png" {
			t.Errorf("on the wire %v, %v", stanza, err)
		}
		if c := read(stanza); c.message.Body != "two" || c.message.Reply.Quote != "> one\n" {
			t.Errorf("read again %+v", c.message)
		}
		acts, err := s.Actions(ctx)
		if err != nil || len(acts) != 2 {
			t.Errorf("%d actions, %v", len(acts), err)
		}
		// Another messenger on the same store goes on where this one was.
		again := offline(t, s)
		if chats, err := again.Chats(ctx); err != nil || len(chats) != 1 || chats[0].Unread != 0 {
			t.Errorf("chats %+v, %v", chats, err)
		}
		n := 0
		for c, err := range again.Changes(ctx, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; c.Chat == nil && c.Message == nil {
				t.Error("a change of nothing")
			}
			if n == 3 { // two messages, one chat
				break
			}
		}
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := m.Wait(wait, first.ID, Sent); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a connection it was sent: %v", err)
		}
		synctest.Wait()
	})
}

func TestRefusedDrafts(t *testing.T) {
	ctx := t.Context()
	m := offline(t, nil)
	conv, other := m.Conversation(jid.MustParse("romeo@montague.lit")), m.Conversation(jid.MustParse("tybalt@capulet.lit"))
	mine, err := conv.Send(ctx, &Draft{Body: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	if !m.message(message(t, `<message from='romeo@montague.lit/o' type='chat' id='his'><body>his</body></message>`)) {
		t.Fatal("not taken")
	}
	list, err := conv.History(ctx, Place{}, 1)
	if err != nil || list[0].Body != "his" {
		t.Fatal(list, err)
	}
	his := list[0].ID
	for name, c := range map[string]struct {
		want error
		do   func() error
	}{
		"nothing":            {ErrEmpty, func() error { _, err := conv.Send(ctx, &Draft{}); return err }},
		"too long":           {ErrTooLong, func() error { _, err := conv.Send(ctx, &Draft{Body: strings.Repeat("x", maxBody+1)}); return err }},
		"reply to nothing":   {ErrNotFound, func() error { _, err := conv.Send(ctx, &Draft{Body: "x", ReplyTo: "x"}); return err }},
		"reply to elsewhere": {ErrNotFound, func() error { _, err := other.Send(ctx, &Draft{Body: "x", ReplyTo: mine.ID}); return err }},
		"forward of nothing": {ErrNotFound, func() error { _, err := conv.Send(ctx, &Draft{Forward: "x"}); return err }},
		"correct his":        {ErrNotOurs, func() error { return conv.Correct(ctx, his, "x") }},
		"correct to nothing": {ErrEmpty, func() error { return conv.Correct(ctx, mine.ID, "") }},
		"retract his":        {ErrNotOurs, func() error { return conv.Retract(ctx, his) }},
		"react to nothing":   {ErrNotFound, func() error { return conv.React(ctx, "x", "👋") }},
		"react to what is gone": {ErrGone, func() error {
			return errors.Join(conv.Retract(ctx, mine.ID), conv.React(ctx, mine.ID, "👋"))
		}},
		"read nothing": {ErrNotFound, func() error { return conv.MarkRead(ctx, "x") }},
	} {
		if err := c.do(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := conv.Send(ctx, &Draft{Body: "\xff"}); err == nil {
		t.Error("what is not UTF-8 was taken")
	}
	for i := 0; ; i++ {
		if err := conv.React(ctx, his, strings.Repeat("👋", 1+i%2)); errors.Is(err, ErrOutboxFull) {
			break
		} else if err != nil || i > maxActions {
			t.Fatalf("%d actions: %v", i, err)
		}
	}
}

// FuzzRead gives messages of all kinds to a ledger: nothing panics, and what is kept is bounded.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`<message from='romeo@montague.lit/o' id='a'><body>x</body><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='1' end='-1'/></fallback><reply xmlns='urn:xmpp:reply:0' id='a'/></message>`,
		`<message from='h@r/x' type='groupchat'><retract id='a' xmlns='urn:xmpp:message-retract:1'><moderated xmlns='urn:xmpp:message-moderate:1'/></retract></message>`,
		`<message from='romeo@montague.lit'><reactions id='a' xmlns='urn:xmpp:reactions:0'><reaction/></reactions><reference xmlns='urn:xmpp:reference:0' type='mention' begin='9' end='1' uri='x'/></message>`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := xmltree.Parser{Space: xmpp.NSClient}
		e, err := p.Parse([]byte(s))
		if err != nil || e.Name.Local != "message" {
			return
		}
		from, err := jid.Parse(e.Get("from"))
		if err != nil {
			return
		}
		msg := new(xmpp.Message)
		msg.From, msg.ID = from, e.Get("id")
		for c := range e.Elements() {
			msg.Payload = append(msg.Payload, c)
		}
		b := newBook(t)
		b.live(`<message from='romeo@montague.lit/o' type='chat' id='a'><body>x</body></message>`)
		for range 2 {
			b.take(&arrival{stanza: msg})
		}
		list, err := b.store.History(t.Context(), from.Bare().String(), Place{}, 10)
		if err != nil || len(list) > 3 {
			t.Fatal(len(list), err)
		}
		for _, m := range list {
			if len(m.Body) > maxBody || len(m.Mentions) > maxMentions || len(m.Links) > maxLinks {
				t.Fatal(m)
			}
		}
	})
}
