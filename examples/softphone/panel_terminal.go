package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
)

// terminal is a screen that is drawn on line by line: only lines that have
// changed are written again.
type terminal struct {
	w      io.Writer
	size   func() (width, height int)
	colour bool

	shown         []string
	width, height int
}

// What is sent to a terminal (ECMA-48 and its private modes): the alternate
// screen, so that what stood there before comes back, and the cursor.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[2J"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	restOfLine  = "\x1b[K"
	clearScreen = "\x1b[2J"
)

// Sizes of a terminal that does not tell.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

// errNoTerminal is for panels without one.
var errNoTerminal = errors.New("the panel needs a terminal that can be drawn on; softphone call and softphone listen print lines instead")

// drawable tells whether the program has a terminal that can be drawn on.
func drawable(c *console) bool {
	return c.keys && c.live && c.raw != nil && os.Getenv("TERM") != "dumb"
}

// openTerminal takes over the terminal of the program. The function it
// returns gives it back as it was.
func openTerminal(c *console) (*terminal, func(), error) {
	restore, err := c.raw()
	if err != nil {
		return nil, nil, fmt.Errorf("the terminal: %w", err)
	}
	t := &terminal{w: c.out, size: c.size, colour: os.Getenv("NO_COLOR") == ""}
	io.WriteString(t.w, enterScreen)
	return t, func() {
		io.WriteString(t.w, leaveScreen)
		restore()
	}, nil
}

// rawTerminal lets keys through one by one.
func rawTerminal() (restore func(), err error) {
	fd := int(os.Stdin.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(fd, old) }, nil
}

// paint shows a view.
func (t *terminal) paint(v *view) {
	width, height := t.size()
	if width <= 0 || height <= 0 {
		width, height = defaultWidth, defaultHeight
	}
	lines := v.draw(width, height, t.colour)
	var b strings.Builder
	if width != t.width || height != t.height {
		b.WriteString(clearScreen)
		t.shown, t.width, t.height = nil, width, height
	}
	for i, l := range lines {
		if i < len(t.shown) && t.shown[i] == l {
			continue
		}
		fmt.Fprintf(&b, "\x1b[%d;1H%s%s", i+1, l, restOfLine)
	}
	for i := len(lines); i < len(t.shown); i++ {
		fmt.Fprintf(&b, "\x1b[%d;1H%s", i+1, restOfLine)
	}
	t.shown = slices.Clone(lines)
	if b.Len() > 0 {
		io.WriteString(t.w, b.String())
	}
}

// repaint draws all of it again with the next paint.
func (t *terminal) repaint() { t.width = 0 }
