package sip

import (
	"context"
	"iter"
	"sync"
)

// eventLog keeps the latest events of one object for readers that come and
// go. Every reader starts at the oldest event kept, so that nobody misses
// what happened between making a call and listening to it.
type eventLog[T any] struct {
	mu     sync.Mutex
	events []T
	first  int // number of events[0]
	closed bool
	wake   chan struct{} // closed and replaced at each change; nil: nobody waits
}

// eventsKept bounds a log. A reader that falls further behind misses the
// oldest.
const eventsKept = 64

func (l *eventLog[T]) add(e T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if len(l.events) == eventsKept {
		copy(l.events, l.events[1:])
		l.events = l.events[:eventsKept-1]
		l.first++
	}
	l.events = append(l.events, e)
	l.notify()
}

func (l *eventLog[T]) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.notify()
}

func (l *eventLog[T]) notify() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// next returns event n or the first one kept after it; wait is what to wait
// for where there is none yet, nil where there will be none.
func (l *eventLog[T]) next(n int) (e T, at int, ok bool, wait <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = max(n, l.first)
	if i := n - l.first; i < len(l.events) {
		return l.events[i], n, true, nil
	}
	if l.closed {
		return e, n, false, nil
	}
	if l.wake == nil {
		l.wake = make(chan struct{})
	}
	return e, n, false, l.wake
}

// all iterates until the log is closed or the context ends.
func (l *eventLog[T]) all(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		for n := 0; ctx.Err() == nil; {
			e, at, ok, wait := l.next(n)
			switch {
			case ok:
				if !yield(e) {
					return
				}
				n = at + 1
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
