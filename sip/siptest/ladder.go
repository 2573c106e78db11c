package siptest

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// DrawOptions say how a transcript is drawn. The zero value is good.
type DrawOptions struct {
	// Title of the page; "" is "SIP ladder".
	Title string
	// Lab is the name of the lab's column; "" is "lab".
	Lab string
	// Keys shows the SRTP keys in session descriptions, which are hidden
	// otherwise.
	Keys bool
}

func (o *DrawOptions) complete() DrawOptions {
	var c DrawOptions
	if o != nil {
		c = *o
	}
	if c.Title == "" {
		c.Title = "SIP ladder"
	}
	if c.Lab == "" {
		c.Lab = "lab"
	}
	return c
}

// ladder is a transcript with columns: one for the lab, second from the left,
// and one for each device in the order in which they appear.
type ladder struct {
	columns []string
	steps   []step
	start   time.Time
	calls   int // Call-IDs
}

// step is one arrow of a ladder.
type step struct {
	*Entry
	from, to int // columns
	label    string
	call     int // its Call-ID, numbered from 1
	class    int // of a response; 0: a request
}

func (t *Transcript) ladder(o *DrawOptions) *ladder {
	l := &ladder{}
	var parties []string
	for i := range t.Entries {
		if p := t.Entries[i].Party; !slices.Contains(parties, p) {
			parties = append(parties, p)
		}
	}
	lab := min(1, len(parties))
	l.columns = slices.Insert(parties, lab, o.Lab)
	column := func(party string) int {
		for i, c := range l.columns {
			if i != lab && c == party {
				return i
			}
		}
		return lab
	}
	calls := make(map[string]int)
	for i := range t.Entries {
		e := &t.Entries[i]
		if i == 0 {
			l.start = e.Time
		}
		s := step{Entry: e, from: column(e.Party), to: lab}
		if e.Sent {
			s.from, s.to = s.to, s.from
		}
		var id string
		s.label, s.class, id = describe(e.Data)
		if calls[id] == 0 {
			calls[id] = len(calls) + 1
		}
		s.call = calls[id]
		l.steps = append(l.steps, s)
	}
	l.calls = len(calls)
	return l
}

// describe says in a few words what a message is.
func describe(data []byte) (label string, class int, callID string) {
	m, err := sipwire.Parse(data, false)
	if err != nil {
		line, _, _ := strings.Cut(string(data), "\r\n")
		return strings.ToValidUTF8("malformed: "+line[:min(len(line), 40)], "?"), 0, ""
	}
	if id := sipwire.Find(m, "Call-ID"); id != nil {
		callID = id.Value()
	}
	switch m := m.(type) {
	case *sipgo.Request:
		label = string(m.Method)
	case *sipgo.Response:
		label, class = itoa(m.StatusCode)+" "+m.Reason, m.StatusCode/100
		if cseq := m.CSeq(); cseq != nil && cseq.MethodName != sipgo.INVITE {
			label += " (" + string(cseq.MethodName) + ")"
		}
	}
	if strings.HasPrefix(strings.ToLower(sipwire.Header(m, "Content-Type")), "application/sdp") && len(m.Body()) > 0 {
		label += " +SDP"
	}
	return label, class, callID
}

// at is the time of a step since the first, in seconds.
func (l *ladder) at(s *step) string {
	return strconv.FormatFloat(s.Time.Sub(l.start).Seconds(), 'f', 3, 64)
}

// columnWidth is the room between two lines of a ladder in text.
const columnWidth = 30

// WriteText draws the transcript in text: a column for each party, an arrow
// for each message. Each line has the time since the first message in
// seconds and, at its end, the number of the dialog's Call-ID. Nil options
// are the zero value.
func (t *Transcript) WriteText(w io.Writer, o *DrawOptions) error {
	opts := o.complete()
	l := t.ladder(&opts)
	b := bufio.NewWriter(w)
	if t.Missing > 0 {
		fmt.Fprintf(b, "(%d older messages are not kept)\n", t.Missing)
	}
	const margin = 11
	head := []rune(strings.Repeat(" ", margin+columnWidth*len(l.columns)))
	for i, name := range l.columns {
		if name = printable(name); utf8.RuneCountInString(name) > columnWidth-2 {
			name = string([]rune(name)[:columnWidth-3]) + "…"
		}
		at := margin + i*columnWidth - utf8.RuneCountInString(name)/2
		for _, r := range name {
			if at >= 0 && at < len(head) {
				head[at] = r
			}
			at++
		}
	}
	fmt.Fprintln(b, strings.TrimRight(string(head), " "))
	for i := range l.steps {
		s := &l.steps[i]
		line := []rune(strings.Repeat(" ", columnWidth*(len(l.columns)-1)+1))
		for c := range l.columns {
			line[c*columnWidth] = '│'
		}
		s.draw(line)
		fmt.Fprintf(b, "%*s %s  #%d", margin-1, l.at(s), string(line), s.call)
		if s.Fault != "" {
			fmt.Fprintf(b, " %s", printable(s.Fault))
		}
		fmt.Fprintln(b)
	}
	return b.Flush()
}

// draw draws the arrow into a line of text.
func (s *step) draw(line []rune) {
	left, right := min(s.from, s.to)*columnWidth+1, max(s.from, s.to)*columnWidth-1
	lost := strings.HasPrefix(s.Fault, "lost")
	for x := left; x <= right; x++ {
		if line[x] == '│' {
			line[x] = '┼'
		} else {
			line[x] = '─'
		}
	}
	switch {
	case lost && s.from < s.to:
		line[right] = '╳'
	case lost:
		line[left] = '╳'
	case s.from < s.to:
		line[right] = '▶'
	default:
		line[left] = '◀'
	}
	label := []rune(" " + printable(s.label) + " ")
	// Beside the device, so that arrows over several columns are read at
	// their end.
	if s.from < s.to && s.Sent || s.from > s.to && !s.Sent {
		left = right - columnWidth + 2
	} else {
		right = left + columnWidth - 2
	}
	room := right - left - 3
	if len(label) > room {
		label = append(label[:room-2], '…', ' ')
	}
	copy(line[left+(right-left+1-len(label))/2:], label)
}

// printable takes out what would spoil a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}

func itoa(n int) string { return strconv.Itoa(n) }
