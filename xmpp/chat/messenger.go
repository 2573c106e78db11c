// Package chat is what a messenger is made of: conversations whose messages are
// kept, corrected, taken back and reacted to; an outbox that survives a lost
// connection and, with a store that lasts, the end of the program.
//
//	m, err := chat.New(client, nil) // before client.Connect
//	…
//	conv := m.Conversation(jid.MustParse("romeo@montague.lit"))
//	msg, err := conv.Send(ctx, &chat.Draft{Body: "Art thou not Romeo?"}) // nil: safe in the outbox, also offline
//	err = m.Wait(ctx, msg.ID, chat.Delivered)
//	for change, err := range m.Changes(ctx, 0) { … } // every message, and whatever becomes of it
//
// What is shown is what the store has: whoever reads Changes slowly reads less
// often, and misses nothing.
package chat

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/archive"
	"github.com/hoorn-phone/hoorn/xmpp/carbons"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Config is what a [Messenger] is made of. Its zero value, and nil, are good.
type Config struct {
	// Store keeps everything; nil is a Memory of its own.
	Store Store
	// NoReceipts and NoMarkers keep to ourselves that messages have come
	// (XEP-0184) and, where MarkRead is called, that they were seen (XEP-0333).
	NoReceipts, NoMarkers bool
	// Logger hears what happens; nil is silent. Bodies are never logged.
	Logger *slog.Logger
}

// Messenger keeps the conversations of an account. Its methods may be called by anybody at any time.
type Messenger struct {
	client *xmpp.Client
	cfg    Config
	store  Store
	log    *slog.Logger
	ledger ledger
	outbox outbox
	sync   syncer
	typing *typing

	mu      sync.Mutex // of the ledger: one batch after the other
	changed chan struct{}
	waker   sync.Mutex // of changed
}

// New makes a messenger of a client that has not been connected yet.
func New(c *xmpp.Client, cfg *Config) (*Messenger, error) {
	if cfg == nil {
		cfg = new(Config)
	}
	m := &Messenger{client: c, cfg: *cfg, store: cfg.Store, log: cfg.Logger, changed: make(chan struct{}), typing: newTyping()}
	if m.store == nil {
		m.store = new(Memory)
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.ledger = ledger{store: m.store, account: c.Account().String(), newID: xmpp.NewID, trusts: m.sync.trusts}
	m.outbox = outbox{m: m, inFlight: make(map[string]bool)}
	a, err := archive.New(c)
	if err != nil {
		return nil, err
	}
	m.sync.m, m.sync.a = m, a
	if err := carbons.Use(c, m.carbon); err != nil {
		return nil, err
	}
	return m, c.Use(&xmpp.Extension{
		Name:     "chat",
		Features: []string{nsCorrect, nsRetract, nsReactions, nsReceipts, nsMarkers, nsStates, nsReply, nsFallback},
		Message:  m.message,
		Bound:    m.sync.bound,
		Resumed:  m.outbox.wake,
		Lost:     func(error) { m.typing.clear() },
	})
}

// message takes what belongs to conversations. It runs in the order of the wire;
// what it has applied is what the server hears to be handled.
func (m *Messenger) message(s *xmpp.Message) bool {
	switch s.Type {
	case stanza.ChatMessage, stanza.NormalMessage, stanza.ErrorMessage:
	default:
		return false
	}
	if s.From.Domainpart() == "" || s.Type != stanza.ErrorMessage && !belongs(s) {
		return false
	}
	a := &arrival{stanza: s, at: sentAt(s, m.client.Account().Domainpart()), live: true}
	if !m.sync.hold(a) {
		m.arrived(a)
	}
	return true
}

// belongs tells whether a message says anything to a conversation.
func belongs(s *xmpp.Message) bool {
	c := read(s)
	return c.act != nothing || c.state != ""
}

// carbon takes what another client of ours has sent or received.
func (m *Messenger) carbon(c *carbons.Carbon) {
	if c.Message.Type == stanza.GroupChatMessage || !belongs(c.Message) {
		return
	}
	at := c.Delay.Stamp
	if at.IsZero() {
		at = time.Now()
	}
	a := &arrival{stanza: c.Message, sent: c.Sent, at: at}
	if !m.sync.hold(a) {
		m.arrived(a)
	}
}

// arrived gives a message that came in this session to the ledger, and answers it.
func (m *Messenger) arrived(a *arrival) {
	c, err := m.take(context.Background(), a)
	if err != nil {
		m.log.Error("chat: a message could not be kept", "from", a.stanza.From.String(), "err", err)
		return
	}
	if c.state != "" && !a.sent {
		m.typing.set(a.stanza.From, c.state)
	}
	if c.act == says && c.wantsReceipt && a.live && !m.cfg.NoReceipts && a.stanza.ID != "" {
		m.receipt(a.stanza)
	}
	if c.act != nothing {
		m.sync.soon()
	}
}

// receipt confirms a message (XEP-0184 §5.3). It is not kept: who wants to know asks again with the next.
func (m *Messenger) receipt(to *xmpp.Message) {
	r := &xmpp.Message{Payload: []*xmltree.Element{xmltree.New(nsReceipts, "received").Set("id", to.ID), xmltree.New(nsHints, "store")}}
	r.To, r.Type, r.ID = to.From, to.Type, xmpp.NewID()
	m.client.Reply(r)
}

// take gives a message to the ledger and keeps what comes of it.
func (m *Messenger) take(ctx context.Context, a *arrival) (*content, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, c, err := m.ledger.take(ctx, a)
	if err == nil {
		err = m.apply(ctx, b)
	}
	return c, err
}

// apply keeps a batch and wakes those who wait for changes; m.mu is held.
func (m *Messenger) apply(ctx context.Context, b *Batch) error {
	if b.Empty() {
		return nil
	}
	if err := m.store.Apply(ctx, b); err != nil {
		return err
	}
	m.notify()
	return nil
}

// notify lets those look again who wait for a change.
func (m *Messenger) notify() {
	m.waker.Lock()
	defer m.waker.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

// sentAt is when a message was sent: by a delay of our own server's (XEP-0203
// §4), which keeps messages while we are away; else now.
func sentAt(s *xmpp.Message, server string) time.Time {
	for _, e := range s.Payload {
		if !e.Is(nsDelay, "delay") {
			continue
		}
		from, err := jid.Parse(e.Get("from"))
		if err != nil || from.Domainpart() != server {
			continue
		}
		if t, err := time.Parse(time.RFC3339, e.Get("stamp")); err == nil {
			return t
		}
	}
	return time.Now()
}

// Changes yields every message and chat that has changed since a cursor, as it is now, and then those that
// change, until ctx ends. 0 is the beginning; Change.Cursor is where to go on.
// What changes several times before it is read is read once. An error is the store's, and ends it.
func (m *Messenger) Changes(ctx context.Context, since uint64) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for ctx.Err() == nil {
			m.waker.Lock()
			changed := m.changed
			m.waker.Unlock()
			page, err := m.store.Changes(ctx, since, 100)
			if err != nil {
				yield(Change{}, err)
				return
			}
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
				since = c.Cursor()
			}
			if len(page) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}
}

// Message returns a message as it is now; ErrNotFound if there is none.
func (m *Messenger) Message(ctx context.Context, id string) (*Message, error) {
	return m.store.Message(ctx, id)
}

// Chats returns the conversations, the one with the newest message first.
func (m *Messenger) Chats(ctx context.Context) ([]*Chat, error) { return m.store.Chats(ctx) }

// FailedError says that a message was refused.
type FailedError struct{ Reason string }

func (e *FailedError) Error() string { return "chat: the message was refused: " + e.Reason }

// Wait waits until one of our messages has got so far. A *FailedError says that it was refused.
func (m *Messenger) Wait(ctx context.Context, id string, s State) error {
	for {
		m.waker.Lock()
		changed := m.changed
		m.waker.Unlock()
		msg, err := m.store.Message(ctx, id)
		switch {
		case err != nil:
			return err
		case !msg.Author.Mine:
			return errors.New("chat: the message is not ours")
		case msg.State == Failed:
			return &FailedError{msg.Failure}
		case msg.State >= s:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
