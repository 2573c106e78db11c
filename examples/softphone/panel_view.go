package main

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// A view is what the panel shows at one moment: plain data, drawn by lines.
type view struct {
	title    string
	rows     []row
	selected int      // index into rows; -1: none
	messages []string // the latest last
	prompt   string   // a question, with what was typed so far in input; "" is none
	input    string
	help     []string // shown in place of messages; nil: not
	keys     string
}

// row is a call.
type row struct {
	number int
	who    string
	state  string
	lasts  time.Duration
	// heard and said are levels in dBFS; metered says that there are any.
	heard, said float64
	metered     bool
	marks       []string // muted, merged, …
	detail      string   // codec and suite, device
	alert       bool     // wants the user's attention
	away        bool     // on another device
}

// Limits of what is drawn: a terminal that says it is smaller gets this much,
// and cuts it off itself.
const (
	minWidth  = 8
	minHeight = 3
	maxWidth  = 1000
)

// Colours are attributes only, for the terminal's own palette to fill in. A
// view without colour says the same in signs.
const (
	bold    = "\x1b[1m"
	dim     = "\x1b[2m"
	reverse = "\x1b[7m"
	plain   = "\x1b[0m"
)

// draw returns the lines that fill a terminal of this size, none of them wider.
func (v *view) draw(width, height int, colour bool) []string {
	width, height = min(max(width, minWidth), maxWidth), max(height, minHeight)
	style := func(code, s string) string {
		if !colour || s == "" {
			return s
		}
		return code + s + plain
	}
	bottom := []string{style(dim, fit(v.keys, width))}
	if v.prompt != "" {
		bottom[0] = ask(v.prompt, v.input, width)
	}
	top := []string{style(bold, fit(v.title, width))}

	// Calls come first; the selected one is always among those shown.
	room := max(1, height-len(top)-len(bottom))
	first := max(0, min(v.selected-room/2, len(v.rows)-room))
	shown := v.rows[min(first, len(v.rows)):min(first+room, len(v.rows))]
	cols := columnsOf(v.rows, width)
	for i, r := range shown {
		line := r.line(first+i == v.selected, cols, width)
		switch {
		case first+i == v.selected:
			line = style(reverse, line)
		case r.alert:
			line = style(bold, line)
		case r.away:
			line = style(dim, line)
		}
		top = append(top, line)
	}
	below := v.messages
	if v.help != nil {
		below = v.help
	}
	room = max(0, height-len(top)-len(bottom))
	if n := len(below) - room; n > 0 {
		if v.help != nil {
			below = below[:room]
		} else {
			below = below[n:]
		}
	}
	for range room - len(below) {
		top = append(top, "")
	}
	for _, m := range below {
		top = append(top, fit(m, width))
	}
	return append(top, bottom...)
}

// ask keeps the end of what is typed in sight.
func ask(prompt, input string, width int) string {
	text := safe(prompt) + " " + safe(input) + "_"
	if n := runewidth.StringWidth(text) - width; n > 0 {
		text = runewidth.TruncateLeft(text, n+1, "<")
	}
	return fit(text, width)
}

// columns are the widths that the rows share.
type columns struct {
	who, state int
	meters     bool
	detail     bool
}

// meterWidth is that of both meters of a row with what stands around them.
const (
	meterSteps = 8
	meterWidth = 2 * (meterSteps + 5)
)

// columnsOf shares out the width: names and states first, then meters, and
// details where there is room left.
func columnsOf(rows []row, width int) columns {
	var c columns
	for _, r := range rows {
		c.who = max(c.who, runewidth.StringWidth(safe(r.who)))
		c.state = max(c.state, runewidth.StringWidth(r.stateText()))
	}
	left := width - 4 // the mark and the number
	c.state = min(c.state, max(0, left-1))
	left -= c.state + 1
	c.who = max(0, min(c.who, left-1, 40))
	left -= c.who + 1
	if c.meters = left >= meterWidth; c.meters {
		left -= meterWidth
	}
	c.detail = left >= 12
	return c
}

func (r *row) stateText() string {
	text := r.state
	if r.lasts > 0 {
		text += " " + clock(r.lasts)
	}
	if len(r.marks) > 0 {
		text += " [" + strings.Join(r.marks, " ") + "]"
	}
	return text
}

// line draws a row: "> 1 bob  talking 0:42 [muted]  in ###-----  out ##------  opus".
func (r *row) line(selected bool, c columns, width int) string {
	var b strings.Builder
	switch {
	case selected:
		b.WriteByte('>')
	case r.alert:
		b.WriteByte('!')
	default:
		b.WriteByte(' ')
	}
	if r.number > 0 {
		fmt.Fprintf(&b, "%2d ", r.number)
	} else {
		b.WriteString("   ")
	}
	b.WriteString(pad(safe(r.who), c.who))
	b.WriteByte(' ')
	b.WriteString(pad(r.stateText(), c.state))
	if c.meters {
		if r.metered {
			b.WriteString(" in " + meter(r.heard) + " out " + meter(r.said))
		} else {
			b.WriteString(strings.Repeat(" ", meterWidth-1))
		}
	}
	if c.detail && r.detail != "" {
		b.WriteString("  " + safe(r.detail))
	}
	return fit(b.String(), width)
}

// meter shows a level: a step is 6 dB, and full is 0 dBFS.
func meter(dB float64) string {
	n := 0
	if !math.IsNaN(dB) {
		n = min(max(meterSteps+int(math.Floor(dB/6)), 0), meterSteps)
	}
	return strings.Repeat("#", n) + strings.Repeat("-", meterSteps-n)
}

// fit cuts a line to a width.
func fit(s string, width int) string { return runewidth.Truncate(safe(s), width, "") }

// pad cuts or fills a cell.
func pad(s string, width int) string {
	return runewidth.FillRight(runewidth.Truncate(s, width, ""), width)
}

// safe shows what others chose (their names, a server's words): nothing in it
// may move the cursor or turn the line around.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}
