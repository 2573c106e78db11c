package chat

import (
	"context"
	"iter"
	"sync"

	"mellium.im/xmpp/jid"
)

// Typing is what somebody does in a conversation (XEP-0085 §3).
type Typing string

// The values of Typing.
const (
	Active    Typing = "active"    // has the conversation before him
	Composing Typing = "composing" // writes
	Paused    Typing = "paused"    // has stopped writing
	Inactive  Typing = "inactive"  // does something else
	Gone      Typing = "gone"      // has closed it
)

// maxTyping bounds for how many addresses it is known what they do.
const maxTyping = 1024

// typing knows what others do, and tells those who ask.
type typing struct {
	mu    sync.Mutex
	state map[string]Typing // by bare address
	wake  chan struct{}
}

func newTyping() *typing { return &typing{state: make(map[string]Typing), wake: make(chan struct{})} }

func (t *typing) set(from jid.JID, state string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := from.Bare().String()
	if _, ok := t.state[key]; !ok && len(t.state) >= maxTyping {
		clear(t.state) // they will say so again
	}
	if t.state[key] == Typing(state) {
		return
	}
	t.state[key] = Typing(state)
	close(t.wake)
	t.wake = make(chan struct{})
}

// clear forgets what others do: without a connection nobody tells.
func (t *typing) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.state)
	close(t.wake)
	t.wake = make(chan struct{})
}

func (t *typing) get(addr string) (Typing, chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state[addr], t.wake
}

// States yields what the other does now, and whatever he does then, until ctx ends; "" is unknown. What changes before it is read is skipped.
func (c *Conversation) States(ctx context.Context) iter.Seq[Typing] {
	return func(yield func(Typing) bool) {
		last := Typing("?")
		for {
			s, wake := c.m.typing.get(c.addr.String())
			if s != last && !yield(s) {
				return
			}
			last = s
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
}
