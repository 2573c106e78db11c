package endpoint

import (
	"sync"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/transport"
)

// mailboxSize is how many inputs wait for the loop before those who bring them
// are made to wait. Enough to work in batches, small beside a socket's own buffer.
const mailboxSize = 128

// mailboxKept is how many inputs an idle mailbox has room for. A channel of
// mailboxSize would be most of the memory of an idle account.
const mailboxKept = 4

type mailKind uint8

const (
	mailFunc mailKind = iota
	mailMessage
	mailClosed
	mailPong
)

// mail is one input of the loop.
type mail struct {
	kind mailKind
	f    *transport.Flow
	msg  sipgo.Message
	fn   func(now time.Time)
	err  error

	abort func() // in place of fn, if the loop has ended; nil: nothing
}

// mailbox is the queue in front of the loop: bounded, and no larger than what
// waits in it.
type mailbox struct {
	full chan struct{} // has one element while something waits

	mu    sync.Mutex
	items []mail
	room  chan struct{} // closed when the loop takes; nil: nobody waits for room
	spare []mail
}

func newMailbox() *mailbox { return &mailbox{full: make(chan struct{}, 1)} }

// put adds an input, unless the mailbox is full: then it returns what to wait
// for before the next attempt.
func (b *mailbox) put(m mail) (wait <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) >= mailboxSize {
		if b.room == nil {
			b.room = make(chan struct{})
		}
		return b.room
	}
	b.items = append(b.items, m)
	if len(b.items) == 1 {
		select {
		case b.full <- struct{}{}:
		default: // an earlier one has not been taken note of
		}
	}
	return nil
}

// take returns all that waits, which is the loop's, to be cleared, until it
// takes again. For the loop alone.
func (b *mailbox) take() []mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.items
	b.items = b.spare[:0]
	b.spare = taken
	if b.room != nil {
		close(b.room)
		b.room = nil
	}
	return taken
}

// rest lets go of the room that a burst has needed. For the loop alone, before
// it sleeps.
func (b *mailbox) rest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cap(b.spare) > mailboxKept {
		b.spare = nil
	}
	if len(b.items) == 0 && cap(b.items) > mailboxKept {
		b.items = nil
	}
}
