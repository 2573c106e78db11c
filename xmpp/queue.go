package xmpp

import (
	"context"
	"iter"
	"sync"
)

// queue is a bounded queue with iterators as readers.
type queue[T any] struct {
	limit int

	mu     sync.Mutex
	items  []T
	closed bool
	wake   chan struct{} // closed and replaced when there is something to see
}

func newQueue[T any](limit int) *queue[T] { return &queue[T]{limit: limit, wake: make(chan struct{})} }

// put appends an item; false tells that there is no room.
func (q *queue[T]) put(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.items) >= q.limit {
		return false
	}
	q.items = append(q.items, v)
	q.notify()
	return true
}

// notify wakes readers; q.mu is held.
func (q *queue[T]) notify() {
	close(q.wake)
	q.wake = make(chan struct{})
}

func (q *queue[T]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		q.notify()
	}
}

// all yields items until ctx ends, or the queue is closed and empty.
func (q *queue[T]) all(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		for ctx.Err() == nil {
			v, ok, wake := q.take()
			switch {
			case ok:
				if !yield(v) {
					return
				}
				continue
			case wake == nil:
				return
			}
			select {
			case <-wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// take removes the first item. wake is nil if there will be no more.
func (q *queue[T]) take() (v T, ok bool, wake chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 {
		v = q.items[0]
		var zero T
		q.items[0] = zero
		if q.items = q.items[1:]; len(q.items) == 0 {
			q.items = nil
		}
		return v, true, q.wake
	}
	if q.closed {
		return v, false, nil
	}
	return v, false, q.wake
}
