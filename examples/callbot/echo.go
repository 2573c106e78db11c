package main

import "sync"

const (
	echoRate = 16000

	// echoLimit bounds what waits to be said: a quarter of a second. What the
	// two sides are apart in time beyond that is lost.
	echoLimit = echoRate / 4
)

// echo is a media.Sink and a media.Source: what goes in comes out.
type echo struct {
	mu   sync.Mutex
	wait []int16
}

func newEcho() *echo { return &echo{wait: make([]int16, 0, echoLimit)} }

// SampleRate is the rate of both sides.
func (e *echo) SampleRate() int { return echoRate }

// WriteFrame takes what was heard.
func (e *echo) WriteFrame(pcm []int16) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if over := len(e.wait) + len(pcm) - echoLimit; over > 0 {
		e.drop(min(over, len(e.wait)))
	}
	e.wait = append(e.wait, pcm[max(0, len(pcm)-echoLimit):]...)
	return nil
}

// ReadFrame gives what is to be said: what there is, the rest is silence.
func (e *echo) ReadFrame(pcm []int16) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := copy(pcm, e.wait)
	e.drop(n)
	return n, nil
}

func (e *echo) drop(n int) { e.wait = e.wait[:copy(e.wait, e.wait[n:])] }
