// Package feed holds what was received until somebody reads it: a bounded queue with iterators as readers.
package feed

import (
	"context"
	"iter"
	"sync"
)

// Feed is a queue of up to Limit items. Put never blocks. It is made with New.
type Feed[T any] struct {
	limit int
	end   func(context.Context) error // returns when there will be no more, or with ctx

	mu     sync.Mutex
	items  []T
	wake   chan struct{} // closed and replaced when there is something new
	missed uint64
}

// New makes a feed. end returns when nothing will come any more, or its context ends, as Client.Wait does.
func New[T any](limit int, end func(context.Context) error) *Feed[T] {
	return &Feed[T]{limit: limit, end: end, wake: make(chan struct{})}
}

// Put appends an item. Without room it is counted as missed, and false.
func (f *Feed[T]) Put(v T) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.items) >= f.limit {
		f.missed++
		return false
	}
	f.items = append(f.items, v)
	close(f.wake)
	f.wake = make(chan struct{})
	return true
}

// Missed tells how many items found no room.
func (f *Feed[T]) Missed() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.missed
}

// All yields items until ctx ends, or nothing will come any more. Several may read; each item goes to one.
func (f *Feed[T]) All(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var watch sync.WaitGroup
		watch.Go(func() {
			f.end(ctx)
			cancel()
		})
		defer watch.Wait()
		defer cancel()
		for {
			v, ok, wake := f.take()
			if ok {
				if !yield(v) {
					return
				}
				continue
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (f *Feed[T]) take() (v T, ok bool, wake <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.items) == 0 {
		return v, false, f.wake
	}
	v = f.items[0]
	var zero T
	f.items[0] = zero
	if f.items = f.items[1:]; len(f.items) == 0 {
		f.items = nil
	}
	return v, true, f.wake
}
