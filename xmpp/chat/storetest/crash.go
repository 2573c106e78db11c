package storetest

import (
	"context"
	"errors"
	"sync"

	"github.com/hoorn-phone/hoorn/xmpp/chat"
)

// ErrCrashed is what a store answers that has crashed.
var ErrCrashed = errors.New("storetest: the store has crashed")

// Crasher is a store that dies at a batch: before it is applied, or after it
// was but before anybody knew. From then on everything fails. The store behind is as it would be found
// after a restart, so that a test can kill a messenger between any two of its steps:
//
//	for n := 0; ; n++ {
//		crasher := &storetest.Crasher{Store: store, Batches: n / 2, After: n%2 == 1}
//		… // a messenger on crasher, until it fails; then one on store: is all as it should be?
//	}
type Crasher struct {
	chat.Store
	Batches int  // that are applied before the one at which it dies
	After   bool // that one is applied, too

	mu      sync.Mutex
	crashed bool
}

// Crashed tells whether it has died.
func (c *Crasher) Crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crashed
}

// Apply implements chat.Store.
func (c *Crasher) Apply(ctx context.Context, b *chat.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.crashed:
		return ErrCrashed
	case c.Batches > 0:
		c.Batches--
		return c.Store.Apply(ctx, b)
	}
	c.crashed = true
	if c.After {
		if err := c.Store.Apply(ctx, b); err != nil {
			return err
		}
	}
	return ErrCrashed
}
