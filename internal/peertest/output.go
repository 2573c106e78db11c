package peertest

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxLines bounds what is kept of a peer's output: the oldest lines go first.
const maxLines = 20000

// Output is what a peer wrote, line by line, as it comes.
type Output struct {
	filter func(string) string

	mu      sync.Mutex
	lines   []string
	dropped int // lines that went from the front
	partial []byte
	closed  bool
	changed chan struct{} // closed and replaced at each change
}

func newOutput(filter func(string) string) *Output {
	return &Output{filter: filter, changed: make(chan struct{})}
}

// Write takes output of the peer. It is there for os/exec.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partial = append(o.partial, p...)
	for {
		i := bytes.IndexByte(o.partial, '\n')
		if i < 0 {
			break
		}
		o.add(string(bytes.TrimRight(o.partial[:i], "\r")))
		o.partial = o.partial[i+1:]
	}
	return len(p), nil
}

// add appends a line; o.mu is held.
func (o *Output) add(line string) {
	if o.filter != nil {
		line = o.filter(line)
	}
	o.lines = append(o.lines, line)
	if len(o.lines) > maxLines {
		o.lines = o.lines[1:]
		o.dropped++
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *Output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.partial) > 0 {
		o.add(string(o.partial))
		o.partial = nil
	}
	o.closed = true
	close(o.changed)
	o.changed = make(chan struct{})
}

// Mark is a place in the output: what was written before it and what after.
type Mark int

// Mark returns the end of the output so far.
func (o *Output) Mark() Mark {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Mark(o.dropped + len(o.lines))
}

// Since returns the lines after a mark.
func (o *Output) Since(m Mark) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.lines[max(0, min(int(m)-o.dropped, len(o.lines))):]...)
}

// Tail returns the last n lines.
func (o *Output) Tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines[max(0, len(o.lines)-n):], "\n")
}

// Await waits for a line after the mark that matches. It returns the
// submatches of the expression and the mark behind that line. It fails when the context
// ends or the peer does.
func (o *Output) Await(ctx context.Context, since Mark, re *regexp.Regexp) ([]string, Mark, error) {
	next := int(since)
	for {
		o.mu.Lock()
		next = max(next, o.dropped)
		for ; next-o.dropped < len(o.lines); next++ {
			if m := re.FindStringSubmatch(o.lines[next-o.dropped]); m != nil {
				o.mu.Unlock()
				return m, Mark(next + 1), nil
			}
		}
		closed, changed := o.closed, o.changed
		o.mu.Unlock()
		if closed {
			return nil, 0, fmt.Errorf("the program ended and never wrote %q", re)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, 0, fmt.Errorf("no line %q: %w", re, ctx.Err())
		}
	}
}

// Wait is Await with the harness's own deadline; it fails the test if the
// line does not come.
func (o *Output) Wait(t testing.TB, since Mark, expr string) []string {
	t.Helper()
	m, _ := o.wait(t, since, expr)
	return m
}

func (o *Output) wait(t testing.TB, since Mark, expr string) ([]string, Mark) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, next, err := o.Await(ctx, since, regexp.MustCompile(expr))
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	return m, next
}

// eventually asks again and again, every few milliseconds, until the answer
// is nil. It is for what somebody else's program does without telling.
func eventually(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", ctx.Err(), err)
		}
	}
}
