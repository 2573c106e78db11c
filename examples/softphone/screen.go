package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// statusEvery is how often statistics are printed where they cannot be
// rewritten in place.
const statusEvery = 5 * time.Second

// screen writes lines, and below them one that changes. Where the output is no
// terminal, that one is printed now and then instead.
type screen struct {
	mu      sync.Mutex
	w       io.Writer
	live    bool
	width   func() int
	current string // what stands below
	printed time.Time
}

func newScreen(c *console) *screen {
	return &screen{w: c.out, live: c.live, width: c.width, printed: time.Now()}
}

// redirect makes the screen write elsewhere, and returns where it wrote so
// far. What is not the terminal is not rewritten.
func (s *screen) redirect(w io.Writer) (former io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	former, s.w = s.w, w
	s.live, s.current = false, ""
	return former
}

// line prints a line.
func (s *screen) line(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	fmt.Fprintf(s.w, format+"\n", args...)
	s.draw()
}

// status replaces the line below; "" removes it.
func (s *screen) status(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live {
		s.erase()
		s.current = text
		s.draw()
		return
	}
	if now := time.Now(); text != "" && now.Sub(s.printed) >= statusEvery {
		s.printed = now
		fmt.Fprintln(s.w, text)
	}
}

func (s *screen) erase() {
	if s.live && s.current != "" {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}

func (s *screen) draw() {
	if !s.live || s.current == "" {
		return
	}
	text := s.current
	if s.width != nil {
		// A line that wraps could not be erased.
		if n := s.width() - 1; n > 0 && utf8.RuneCountInString(text) > n {
			text = string([]rune(text)[:n])
		}
	}
	fmt.Fprint(s.w, text)
}

// table prints rows in columns, the first one to the left and the others two
// spaces apart.
func (s *screen) table(rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString("  " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		s.line("%s", strings.TrimRight(b.String(), " "))
	}
}

// milliseconds shows a short time.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// clock shows how long something takes.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
