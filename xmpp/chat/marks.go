package chat

import (
	"errors"
	"math"
	"slices"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// What others say of our messages: that they came, that they were seen, that
// they could not be delivered; and how far the user himself has read.

// bounced takes an error to one of our messages (RFC 6120 §8.3). It counts only from whom it was sent to.
func (t *turn) bounced() error {
	m := t.a.stanza
	for _, chat := range []string{m.From.Bare().String(), m.From.String()} {
		id, err := t.store.Resolve(t.ctx, Alias{Chat: chat, Author: me, ID: m.ID})
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		old, err := t.store.Message(t.ctx, id)
		if err != nil {
			return err
		}
		if !old.Author.Mine || old.State >= Delivered {
			return nil // one of his clients has it; another has not
		}
		failed := old.clone()
		failed.State, failed.Failure = Failed, failure(m.Error)
		t.b.Messages = append(t.b.Messages, failed)
		return nil
	}
	return nil
}

func failure(e *stanza.Error) string {
	if e == nil {
		return string(stanza.UndefinedCondition)
	}
	for _, text := range e.Text {
		if text != "" {
			return string(e.Condition) + ": " + text
		}
	}
	return string(e.Condition)
}

// settle moves one of our messages forward (XEP-0184 §5.4: receipts are of the one whom it went to).
func (t *turn) settle(to State) error {
	if t.p.room || t.p.author.Mine {
		return nil
	}
	m, err := t.target()
	switch {
	case errors.Is(err, ErrNotFound):
		return t.wait()
	case err != nil:
		return err
	}
	if own := m.clone(); own.Author.Mine && advance(own, to) {
		t.b.Messages = append(t.b.Messages, own)
	}
	return nil
}

// maxSeen bounds how many messages one marker moves.
const maxSeen = 500

// displayed takes a marker (XEP-0333 §4): all up to that message were seen, by
// the other or, on another of his devices, by the user himself.
func (t *turn) displayed() error {
	m, err := t.target()
	switch {
	case errors.Is(err, ErrNotFound):
		return t.wait()
	case err != nil:
		return err
	}
	if t.p.author.Mine {
		return t.read(m.Place())
	}
	if t.p.room {
		return nil // one of many: what that says of our message is for another issue of the user's
	}
	before, err := t.store.History(t.ctx, t.p.chat, m.Place(), maxSeen)
	if err != nil {
		return err
	}
	for _, m := range slices.Concat([]*Message{m}, before) {
		if !m.Author.Mine {
			continue
		}
		if m.State >= Displayed {
			break
		}
		if own := m.clone(); advance(own, Displayed) {
			t.b.Messages = append(t.b.Messages, own)
		}
	}
	return nil
}

// read moves the place up to which the user has read. It never goes back.
func (t *turn) read(to Place) error {
	ch, err := t.chat()
	if err != nil || !ch.Seen.Before(to) && ch.Seen != (Place{}) {
		return err
	}
	ch.Seen = to
	if ch.Unread, err = t.unread(ch); err != nil {
		return err
	}
	t.b.Chats = append(t.b.Chats, ch)
	return nil
}

// unread counts the messages of others behind Seen, up to maxSeen.
func (t *turn) unread(ch *Chat) (int, error) {
	list, err := t.store.History(t.ctx, ch.Address, Place{}, maxSeen)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, m := range list {
		if ch.Seen != (Place{}) && !ch.Seen.Before(m.Place()) {
			break
		}
		if !m.Author.Mine && m.Retracted == nil {
			n++
		}
	}
	return n, nil
}

// chat returns the conversation of the arrival, as the batch has it so far.
func (t *turn) chat() (*Chat, error) {
	ch, err := t.store.Chat(t.ctx, t.p.chat)
	switch {
	case errors.Is(err, ErrNotFound):
		return &Chat{Address: t.p.chat, Room: t.p.room}, nil
	case err != nil:
		return nil, err
	}
	own := *ch
	return &own, nil
}

// counted notes a new message in its conversation. What the user has said himself he has read up to.
func (t *turn) counted(m *Message) error {
	ch, err := t.chat()
	if err != nil {
		return err
	}
	if m.Time.After(ch.Last) {
		ch.Last = m.Time
	}
	switch {
	case m.Author.Mine:
		if ch.Seen == (Place{}) || ch.Seen.Before(m.Place()) {
			ch.Seen = Place{m.Time, math.MaxUint64} // it has no Seq yet
			if ch.Unread, err = t.unread(ch); err != nil {
				return err
			}
		}
	case m.Retracted == nil && (ch.Seen == (Place{}) || ch.Seen.Before(m.Place())):
		ch.Unread++
	}
	t.b.Chats = append(t.b.Chats, ch)
	return nil
}

// replyTo finds what a message answers to, if that is here (XEP-0461 §3.1).
func (t *turn) replyTo(m *Message) error {
	if m.Reply == nil {
		return nil
	}
	names := []Alias{{Archive: t.archive(), ID: m.Reply.Ref}}
	if !t.p.room {
		names = append(t.bothAuthors(m.Reply.Ref), names...)
	}
	for _, a := range names {
		id, err := t.store.Resolve(t.ctx, a)
		switch {
		case err == nil:
			r := *m.Reply
			r.ID = id
			m.Reply = &r
			return nil
		case !errors.Is(err, ErrNotFound):
			return err
		}
	}
	return nil
}

// readElement understands a message that was kept as XML.
func readElement(e *xmltree.Element) *content {
	m := new(xmpp.Message)
	m.ID = e.Get("id")
	for c := range e.Elements() {
		m.Payload = append(m.Payload, c)
	}
	return read(m)
}
