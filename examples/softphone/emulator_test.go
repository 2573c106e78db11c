package main

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// emulator is a terminal that understands what the panel sends, and nothing else.
type emulator struct {
	mu      sync.Mutex
	lines   []string
	row     int
	rest    []byte
	strange string // the first sequence that was not understood
	colours int    // sequences that only change attributes
	whole   bool   // the alternate screen is shown
	cursor  bool
	changed chan struct{}
}

func newEmulator() *emulator { return &emulator{changed: make(chan struct{}), cursor: true} }

func (e *emulator) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := append(e.rest, p...)
	for len(b) > 0 {
		n := e.take(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	e.rest = append([]byte(nil), b...)
	close(e.changed)
	e.changed = make(chan struct{})
	return len(p), nil
}

// take takes a character or a sequence; 0: it is not complete.
func (e *emulator) take(b []byte) int {
	switch {
	case b[0] == 0x1b:
		end := strings.IndexFunc(string(b), func(r rune) bool { return r >= '@' && r <= '~' && r != '[' })
		if end < 0 {
			return 0
		}
		e.control(string(b[1 : end+1]))
		return end + 1
	case b[0] == '\r', b[0] == '\n':
		return 1
	case !utf8.FullRune(b):
		return 0
	}
	r, n := utf8.DecodeRune(b)
	for len(e.lines) <= e.row {
		e.lines = append(e.lines, "")
	}
	e.lines[e.row] += string(r)
	return n
}

func (e *emulator) control(seq string) {
	switch last := seq[len(seq)-1]; {
	case last == 'H':
		row, _, ok := strings.Cut(strings.TrimPrefix(seq[:len(seq)-1], "["), ";")
		n, err := strconv.Atoi(row)
		if !ok || err != nil || n < 1 {
			e.strange += seq
			return
		}
		e.row = n - 1
		for len(e.lines) < n {
			e.lines = append(e.lines, "")
		}
		e.lines[e.row] = "" // a line is always written whole
	case seq == "[K":
	case seq == "[2J":
		e.lines = nil
	case last == 'm':
		e.colours++
	case seq == "[?1049h":
		e.whole = true
	case seq == "[?1049l":
		e.whole, e.lines, e.row = false, nil, 0
	case seq == "[?25l", seq == "[?25h":
		e.cursor = seq == "[?25h"
	default:
		e.strange += seq
	}
}

func (e *emulator) get() (lines []string, changed <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.lines...), e.changed
}

func (e *emulator) String() string {
	lines, _ := e.get()
	return strings.Join(lines, "\n")
}

// await waits until one line has all of the texts.
func (e *emulator) await(t *testing.T, texts ...string) string {
	t.Helper()
	limit := time.After(patience)
	for {
		lines, changed := e.get()
		for _, l := range lines {
			if containsAll(l, texts) {
				return l
			}
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no line with %q on the screen:\n%s", texts, e)
		}
	}
}

// gone waits until no line has all of the texts.
func (e *emulator) gone(t *testing.T, texts ...string) {
	t.Helper()
	limit := time.After(patience)
	for {
		lines, changed := e.get()
		there := false
		for _, l := range lines {
			there = there || containsAll(l, texts)
		}
		if !there {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("still a line with %q on the screen:\n%s", texts, e)
		}
	}
}

// left waits until the panel's screen is not shown any more, and the cursor is.
func (e *emulator) left(t *testing.T) {
	t.Helper()
	limit := time.After(patience)
	for {
		e.mu.Lock()
		left, changed := !e.whole && e.cursor, e.changed
		e.mu.Unlock()
		if left {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("the panel's screen is left on the terminal:\n%s", e)
		}
	}
}

func containsAll(s string, texts []string) bool {
	for _, t := range texts {
		if !strings.Contains(s, t) {
			return false
		}
	}
	return true
}

// widest is the width of the widest line.
func (e *emulator) widest() int {
	lines, _ := e.get()
	n := 0
	for _, l := range lines {
		n = max(n, runewidth.StringWidth(l))
	}
	return n
}
