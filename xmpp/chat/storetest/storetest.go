// Package storetest holds a chat.Store against its contract, and breaks one on purpose.
//
//	func TestStore(t *testing.T) {
//		if err := storetest.Check(t.Context(), new(mine.Store)); err != nil {
//			t.Error(err)
//		}
//	}
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/chat"
)

// Check holds an empty store against the contract of chat.Store. The error has all that is wrong.
func Check(ctx context.Context, s chat.Store) error {
	c := &check{ctx: ctx, s: s}
	for _, part := range []func(){c.nothing, c.messages, c.history, c.aliases, c.waiting, c.chats, c.changes, c.outbox, c.actions, c.values, c.copies} {
		part()
	}
	return errors.Join(c.errs...)
}

type check struct {
	ctx  context.Context
	s    chat.Store
	errs []error
}

func (c *check) errorf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("storetest: "+format, args...))
}

func (c *check) apply(b chat.Batch) {
	if err := c.s.Apply(c.ctx, &b); err != nil {
		c.errorf("Apply: %w", err)
	}
}

func (c *check) absent(what string, err error) {
	if !errors.Is(err, chat.ErrNotFound) {
		c.errorf("%s that is not there: %v, want ErrNotFound", what, err)
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func message(id, in string, minute int) *chat.Message {
	return &chat.Message{ID: id, Chat: in, Body: "body of " + id, Time: noon.Add(time.Duration(minute) * time.Minute), Author: chat.Author{Address: in}}
}

func ids(list []*chat.Message) []string {
	var all []string
	for _, m := range list {
		all = append(all, m.ID)
	}
	return all
}

// nothing is what an empty store has.
func (c *check) nothing() {
	c.apply(chat.Batch{})
	_, err := c.s.Message(c.ctx, "x")
	c.absent("a message", err)
	_, err = c.s.Resolve(c.ctx, chat.Alias{Chat: "x", ID: "x"})
	c.absent("an alias", err)
	_, err = c.s.Chat(c.ctx, "x")
	c.absent("a chat", err)
	_, err = c.s.Value(c.ctx, "x")
	c.absent("a value", err)
	history, err := c.s.History(c.ctx, "x", chat.Place{}, 10)
	c.empty("History", len(history), err)
	changes, err := c.s.Changes(c.ctx, 0, 10)
	c.empty("Changes", len(changes), err)
	outbox, err := c.s.Outbox(c.ctx)
	c.empty("Outbox", len(outbox), err)
	actions, err := c.s.Actions(c.ctx)
	c.empty("Actions", len(actions), err)
	waiting, err := c.s.Waiting(c.ctx, chat.Alias{ID: "x"})
	c.empty("Waiting", len(waiting), err)
	chats, err := c.s.Chats(c.ctx)
	c.empty("Chats", len(chats), err)
}

func (c *check) empty(what string, n int, err error) {
	if n != 0 || err != nil {
		c.errorf("%s of an empty store: %d, %v", what, n, err)
	}
}

func (c *check) messages() {
	m := message("m1", "a@x", 0)
	m.Reply, m.Retracted = &chat.Reply{Ref: "r", ID: "i", Quote: "q"}, &chat.Retraction{Time: noon, By: "b"}
	m.Reactions = []chat.Reaction{{Author: chat.Author{Address: "b@x", Occupant: "o", Epoch: 7}, Emojis: []string{"👋", "🐢"}, Time: noon}}
	m.Versions = []chat.Version{{Body: "before", Time: noon}}
	c.apply(chat.Batch{Messages: []*chat.Message{m}})
	got, err := c.s.Message(c.ctx, "m1")
	if err != nil {
		c.errorf("Message: %w", err)
		return
	}
	if got.Body != m.Body || !got.Time.Equal(m.Time) || got.Reply == nil || *got.Reply != *m.Reply || got.Retracted == nil || got.Retracted.By != "b" ||
		len(got.Reactions) != 1 || got.Reactions[0].Author != m.Reactions[0].Author || !slices.Equal(got.Reactions[0].Emojis, m.Reactions[0].Emojis) || len(got.Versions) != 1 {
		c.errorf("a message came back as %+v", got)
	}
}

// history is in order of time, then as it came; a message that moves is in one place only.
func (c *check) history() {
	c.apply(chat.Batch{Messages: []*chat.Message{message("h3", "h@x", 3), message("h1", "h@x", 1), message("h2b", "h@x", 2), message("h2a", "h@x", 2), message("other", "i@x", 2)}})
	c.apply(chat.Batch{Messages: []*chat.Message{message("h1", "h@x", 4)}})
	want := []string{"h1", "h3", "h2a", "h2b"}
	all, err := c.s.History(c.ctx, "h@x", chat.Place{}, 10)
	if !slices.Equal(ids(all), want) || err != nil {
		c.errorf("History: %v, %v; want %v", ids(all), err, want)
		return
	}
	var paged []string
	for before := (chat.Place{}); ; {
		page, err := c.s.History(c.ctx, "h@x", before, 1)
		if err != nil || len(page) == 0 || len(paged) > len(want) {
			break
		}
		paged = append(paged, page[0].ID)
		before = page[0].Place()
	}
	if !slices.Equal(paged, want) {
		c.errorf("History in pages of one: %v, want %v", paged, want)
	}
}

func (c *check) aliases() {
	a, b := chat.Alias{Archive: "a@x", ID: "1"}, chat.Alias{Chat: "a@x", Author: "b@x", ID: "1"}
	c.apply(chat.Batch{Aliases: map[chat.Alias]string{a: "m1", b: "h1"}})
	for alias, want := range map[chat.Alias]string{a: "m1", b: "h1"} {
		if id, err := c.s.Resolve(c.ctx, alias); id != want || err != nil {
			c.errorf("Resolve(%+v): %q, %v; want %q", alias, id, err, want)
		}
	}
	_, err := c.s.Resolve(c.ctx, chat.Alias{Chat: "a@x", Author: "c@x", ID: "1"})
	c.absent("an alias", err)
}

func (c *check) waiting() {
	a := chat.Alias{Chat: "a@x", Author: "b@x", ID: "later"}
	c.apply(chat.Batch{Wait: []*chat.Waiting{{For: a, XML: []byte("1"), Time: noon, Author: chat.Author{Address: "b@x"}}, {For: a, XML: []byte("2")}}})
	c.apply(chat.Batch{Wait: []*chat.Waiting{{For: a, XML: []byte("3")}}})
	all, err := c.s.Waiting(c.ctx, a)
	var got string
	for _, w := range all {
		got += string(w.XML)
	}
	if got != "123" || err != nil || all[0].Author.Address != "b@x" || !all[0].Time.Equal(noon) {
		c.errorf("Waiting: %q, %v", got, err)
	}
	c.apply(chat.Batch{Settled: []chat.Alias{a}})
	all, err = c.s.Waiting(c.ctx, a)
	c.empty("Waiting after Settled", len(all), err)
}

func (c *check) chats() {
	c.apply(chat.Batch{Chats: []*chat.Chat{{Address: "a@x", Last: noon, Unread: 2, Seen: chat.Place{Time: noon, Seq: 7}}, {Address: "h@x", Room: true, Last: noon.Add(time.Hour)}}})
	all, err := c.s.Chats(c.ctx)
	if err != nil || len(all) != 2 || all[0].Address != "h@x" || !all[0].Room || all[1].Unread != 2 {
		c.errorf("Chats: %+v, %v", all, err)
	}
	ch, err := c.s.Chat(c.ctx, "a@x")
	if err != nil || ch.Unread != 2 || ch.Seen.Seq != 7 || !ch.Seen.Time.Equal(noon) {
		c.errorf("Chat: %+v, %v", ch, err)
	}
}

// changes come once each, in the order of the last, in pages of any size.
func (c *check) changes() {
	c.apply(chat.Batch{Messages: []*chat.Message{message("m1", "a@x", 0)}})
	var order []string
	last := uint64(0)
	for {
		page, err := c.s.Changes(c.ctx, last, 2)
		if err != nil || len(page) > 2 {
			c.errorf("Changes: %d, %v", len(page), err)
			return
		}
		if len(page) == 0 {
			break
		}
		for _, ch := range page {
			if ch.Cursor() <= last {
				c.errorf("Changes: %d after %d", ch.Cursor(), last)
				return
			}
			last = ch.Cursor()
			if ch.Message != nil {
				order = append(order, ch.Message.ID)
			} else {
				order = append(order, ch.Chat.Address)
			}
		}
	}
	n := len(order)
	sorted := slices.Sorted(slices.Values(order))
	if n == 0 || order[n-1] != "m1" || len(slices.Compact(sorted)) != n {
		c.errorf("Changes: %v, want each once and m1 last", order)
	}
}

// outbox has what is Queued, in order.
func (c *check) outbox() {
	own := func(id string, minute int, s chat.State) *chat.Message {
		m := message(id, "o@x", minute)
		m.State, m.Author = s, chat.Author{Address: "me@x", Mine: true}
		return m
	}
	c.apply(chat.Batch{Messages: []*chat.Message{own("o1", 9, chat.Queued), own("o2", 1, chat.Queued), own("o3", 5, chat.Queued), own("o4", 6, chat.Sent)}})
	c.apply(chat.Batch{Messages: []*chat.Message{own("o1", 9, chat.Queued)}})
	out, err := c.s.Outbox(c.ctx)
	if want := []string{"o1", "o2", "o3"}; !slices.Equal(ids(out), want) || err != nil {
		c.errorf("Outbox: %v, %v; want %v", ids(out), err, want)
	}
	c.apply(chat.Batch{Messages: []*chat.Message{own("o1", 9, chat.Sent), own("o3", 5, chat.Failed)}})
	out, err = c.s.Outbox(c.ctx)
	if want := []string{"o2"}; !slices.Equal(ids(out), want) || err != nil {
		c.errorf("Outbox: %v, %v; want %v", ids(out), err, want)
	}
}

// actions stay until they were said.
func (c *check) actions() {
	c.apply(chat.Batch{Actions: []*chat.Action{{ID: "1", XML: []byte("<a/>")}, {ID: "2", XML: []byte("<b/>")}}})
	c.apply(chat.Batch{Actions: []*chat.Action{{ID: "3", XML: []byte("<c/>")}}, Said: []string{"2", "x"}})
	all, err := c.s.Actions(c.ctx)
	if err != nil || len(all) != 2 || all[0].ID != "1" || string(all[0].XML) != "<a/>" || all[1].ID != "3" {
		c.errorf("Actions: %+v, %v", all, err)
	}
}

func (c *check) values() {
	c.apply(chat.Batch{Values: map[string][]byte{"k": []byte("v"), "empty": {}}})
	if v, err := c.s.Value(c.ctx, "k"); string(v) != "v" || err != nil {
		c.errorf("Value: %q, %v", v, err)
	}
	if v, err := c.s.Value(c.ctx, "empty"); len(v) != 0 || err != nil {
		c.errorf("an empty Value: %q, %v", v, err)
	}
	c.apply(chat.Batch{Values: map[string][]byte{"k": nil}})
	_, err := c.s.Value(c.ctx, "k")
	c.absent("a value", err)
}

// copies: what is handed in or out is not the store's own.
func (c *check) copies() {
	m := message("copy", "c@x", 0)
	v := []byte("v")
	c.apply(chat.Batch{Messages: []*chat.Message{m}, Values: map[string][]byte{"copy": v}})
	m.Body, v[0] = "changed", 'x'
	if got, err := c.s.Message(c.ctx, "copy"); err != nil || got.Body != "body of copy" {
		c.errorf("a message changed with what was handed in: %+v, %v", got, err)
	}
	if got, err := c.s.Value(c.ctx, "copy"); err != nil || string(got) != "v" {
		c.errorf("a value changed with what was handed in: %q, %v", got, err)
	}
}
