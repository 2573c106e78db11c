package media

import (
	"errors"
	"sync"
	"time"
)

const (
	// spoolTime bounds what waits to be written, in seconds.
	spoolTime = 2

	// flushTime is how long closing waits for a writer that does not return.
	flushTime = 5 * time.Second
)

// errSlow is the error of closing a writer that did not take everything in time.
var errSlow = errors.New("the writer did not take everything in time")

// A spool writes the samples it is given by a goroutine of its own, because
// writers may block and a pacer must not. What does not fit is dropped and
// counted.
type spool struct {
	write func(pcm []int16) error
	limit int // samples that may wait
	batch int // samples worth waking up for
	wake  chan struct{}
	done  chan struct{}

	mu      sync.Mutex
	fill    []int16
	closed  bool
	err     error
	dropped uint64 // calls of put that did not fit
}

func newSpool(write func([]int16) error, limit, batch int) *spool {
	s := &spool{write: write, limit: limit, batch: batch, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go s.run()
	return s
}

func (s *spool) run() {
	defer close(s.done)
	var pcm []int16
	for range s.wake {
		for {
			s.mu.Lock()
			pcm, s.fill = s.fill, pcm[:0]
			closed := s.closed
			s.mu.Unlock()
			if len(pcm) == 0 {
				if closed {
					return
				}
				break
			}
			if err := s.write(pcm); err != nil {
				s.mu.Lock()
				s.err = err
				s.mu.Unlock()
				return
			}
		}
	}
}

// put adds samples. It returns the error of an earlier write.
func (s *spool) put(pcm []int16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.closed {
		return s.err
	}
	if len(s.fill)+len(pcm) > s.limit {
		s.dropped++
	} else {
		s.fill = append(s.fill, pcm...)
	}
	if len(s.fill) >= s.batch {
		s.signal()
	}
	return nil
}

func (s *spool) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *spool) droppedCount() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// close writes what waits, and gives up after flushTime. whole says that the
// goroutine has ended.
func (s *spool) close() (whole bool, err error) {
	s.mu.Lock()
	s.closed = true
	s.signal()
	s.mu.Unlock()
	t := time.NewTimer(flushTime)
	defer t.Stop()
	select {
	case <-s.done:
		s.mu.Lock()
		defer s.mu.Unlock()
		return true, s.err
	case <-t.C:
		return false, errSlow
	}
}
