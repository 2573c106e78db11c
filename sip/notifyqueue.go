package sip

import (
	"context"
	"iter"
	"sync"
)

// The bounds of a notifyQueue.
const (
	notificationsKept = 64
	notifiedBytesKept = 1 << 20
)

// notifyQueue holds the notifications of one subscription that nobody has read
// yet. At its bounds the oldest make way: what came last is what is true.
type notifyQueue struct {
	mu     sync.Mutex
	list   []Notification
	bytes  int // of bodies
	missed int // since the latest that was read
	closed bool
	wake   chan struct{} // closed and replaced at each change; nil: nobody waits
}

func (q *notifyQueue) add(n Notification) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.list = append(q.list, n)
	q.bytes += len(n.Body)
	for len(q.list) > notificationsKept || q.bytes > notifiedBytesKept && len(q.list) > 1 {
		q.pop()
		q.missed++
	}
	q.notify()
}

func (q *notifyQueue) pop() Notification {
	n := q.list[0]
	q.list[0] = Notification{}
	q.list = q.list[1:]
	q.bytes -= len(n.Body)
	return n
}

func (q *notifyQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.notify()
}

func (q *notifyQueue) notify() {
	if q.wake != nil {
		close(q.wake)
		q.wake = nil
	}
}

// next takes the oldest; wait is what to wait for where there is none yet, nil
// where there will be none.
func (q *notifyQueue) next() (n Notification, ok bool, wait <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.list) > 0:
		n = q.pop()
		n.Missed, q.missed = q.missed, 0
		return n, true, nil
	case q.closed:
		return n, false, nil
	}
	if q.wake == nil {
		q.wake = make(chan struct{})
	}
	return n, false, q.wake
}

// all iterates until the queue is closed and empty, or the context ends.
func (q *notifyQueue) all(ctx context.Context) iter.Seq[Notification] {
	return func(yield func(Notification) bool) {
		for ctx.Err() == nil {
			n, ok, wait := q.next()
			switch {
			case ok:
				if !yield(n) {
					return
				}
			case wait == nil:
				return
			default:
				select {
				case <-wait:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}
