package chat

import (
	"context"
	"errors"
	"time"
)

// ErrNotFound says that a store does not have what was asked for.
var ErrNotFound = errors.New("chat: not found")

// Store keeps messages and what is needed to be in step with the server. Package
// storetest holds a store against this contract.
//
// One messenger uses a store at a time. It calls Apply for one batch after the
// other; the rest may be called by several at once, and sees batches whole or not at all.
type Store interface {
	// Apply does all of a batch or nothing of it, in the order of its fields, and
	// returns when a crash cannot undo it. It gives each message and chat of the batch the next number as Changed, and a message that is new and has no Seq that number as Seq, too.
	Apply(ctx context.Context, b *Batch) error

	// Message returns a message by its ID; ErrNotFound if there is none.
	Message(ctx context.Context, id string) (*Message, error)
	// Resolve returns the ID of the message that somebody calls by an alias; ErrNotFound if there is none.
	Resolve(ctx context.Context, a Alias) (id string, err error)
	// History returns up to n messages of a chat before a place, the newest
	// first. The zero Place is the end.
	History(ctx context.Context, chat string, before Place, n int) ([]*Message, error)
	// Changes returns up to n messages and chats that have changed since a number, each as it is
	// now, in the order of their last change. So whoever reads slowly misses nothing but what was overtaken.
	Changes(ctx context.Context, since uint64, n int) ([]Change, error)
	// Outbox returns one's own messages whose State is Queued, in the order in which they were put there.
	Outbox(ctx context.Context) ([]*Message, error)
	// Actions returns what waits to be said about messages, in the order in which it was put there.
	Actions(ctx context.Context) ([]*Action, error)
	// Waiting returns what waits for a message of an alias, in the order in which it came.
	Waiting(ctx context.Context, a Alias) ([]*Waiting, error)
	// Chats returns all chats, the one with the newest message first.
	Chats(ctx context.Context) ([]*Chat, error)
	// Chat returns a chat; ErrNotFound if there is none.
	Chat(ctx context.Context, chat string) (*Chat, error)
	// Value returns what a batch has set for a key; ErrNotFound if nothing.
	Value(ctx context.Context, key string) ([]byte, error)
}

// Batch is a set of changes that belong together.
type Batch struct {
	Messages []*Message        // new or instead of those with the same ID
	Aliases  map[Alias]string  // new names, by the message's ID
	Wait     []*Waiting        // what waits for its message
	Actions  []*Action         // more to be said about messages
	Said     []string          // actions that need not be said any more, by ID
	Settled  []Alias           // aliases for which nothing waits any more
	Chats    []*Chat           // new or instead of those with the same Address
	Values   map[string][]byte // nil removes a key
}

// Empty tells whether a batch changes nothing.
func (b *Batch) Empty() bool {
	return len(b.Messages)+len(b.Aliases)+len(b.Wait)+len(b.Actions)+len(b.Said)+len(b.Settled)+len(b.Chats)+len(b.Values) == 0
}

// Alias is what a message is called by somebody else. It is unique: no two messages have the same.
type Alias struct {
	// Archive is whose archive has it under ID (XEP-0359): the bare address of a room or of our account. Or it is "", and
	// Author of Chat has given it ID.
	Archive      string
	Chat, Author string
	ID           string
}

// Place is a place in a chat: behind all messages that are older, or as old and came before.
type Place struct {
	Time time.Time
	Seq  uint64 // Message.Seq
}

// Place is where a message is in its chat.
func (m *Message) Place() Place { return Place{m.Time, m.Seq} }

// Before tells whether a place comes before another. The zero Place is the end.
func (p Place) Before(q Place) bool {
	switch {
	case p == Place{}:
		return false
	case q == Place{}:
		return true
	case !p.Time.Equal(q.Time):
		return p.Time.Before(q.Time)
	}
	return p.Seq < q.Seq
}

// Change is a message or a chat that has changed.
type Change struct {
	Message *Message // or nil
	Chat    *Chat    // or nil
}

// Cursor is the number of the change, from which Changes goes on.
func (c Change) Cursor() uint64 {
	if c.Message != nil {
		return c.Message.Changed
	}
	return c.Chat.Changed
}

// Waiting is something that is said of a message which has not come yet: a
// correction, a retraction, a reaction, a receipt.
type Waiting struct {
	For    Alias
	Author Author // who says it
	Time   time.Time
	XML    []byte // the message stanza that says it
	Mine   bool
}

// Action is what we say about a message, and what waits in the outbox for that:
// a correction, a retraction, a reaction, a marker.
type Action struct {
	ID  string // and the stanza's id
	XML []byte // the message stanza
}

// Chat is a conversation.
type Chat struct {
	Address string
	Room    bool
	Last    time.Time // of the newest message
	Unread  int       // messages of others after Seen
	Seen    Place     // up to where the user has read, on any of his devices
	Changed uint64
}
