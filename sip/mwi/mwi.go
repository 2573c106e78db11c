// Package mwi reads and writes message summaries (RFC 3842,
// application/simple-message-summary): how many messages wait. It knows no user
// agent; with one, the lamp is
//
//	sub, err := ua.Subscribe(ctx, "", &sip.SubscribeOptions{
//		Event: mwi.Package, Accept: []string{mwi.ContentType},
//	})
//	for n := range sub.Notifications(ctx) {
//		summary, err := mwi.Parse(n.Body)
//		lamp(summary.Waiting, summary.Count(mwi.Voice).New)
//	}
//
// Each summary says everything: there is nothing to put together.
package mwi

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The event package and the type of its documents.
const (
	Package     = "message-summary"
	ContentType = "application/simple-message-summary"
)

// The bounds of a summary.
const (
	MaxSize  = 64 << 10 // bytes
	maxLines = 1000
)

// The classes of messages (RFC 3842 §3.5).
const (
	Voice      = "voice-message"
	Fax        = "fax-message"
	Pager      = "pager-message"
	Multimedia = "multimedia-message"
	Text       = "text-message"
	None       = "none"
)

// Summary is what waits.
type Summary struct {
	// Waiting tells whether there are messages, as the lamp shows it.
	Waiting bool
	// Account is who is to be called to hear them: a URI; "" is unsaid.
	Account string
	// Counts are those that were given, of each class at most one.
	Counts []Count
	// Messages are header fields of messages, where the server tells of each
	// by itself (RFC 3842 §3.5).
	Messages [][]Field
}

// Count is how many messages of a class there are.
type Count struct {
	Class    string // in lower case, such as Voice
	New, Old int
	// Urgent ones among them; -1: unsaid.
	UrgentNew, UrgentOld int
}

// Field is a header field of a message, such as Subject.
type Field struct{ Name, Value string }

// Count is the count of a class; all zero where there is none.
func (s *Summary) Count(class string) Count {
	for _, c := range s.Counts {
		if strings.EqualFold(c.Class, class) {
			return c
		}
	}
	return Count{Class: class}
}

// Error says why a summary was refused.
type Error struct{ Line, Reason string }

func (e *Error) Error() string { return fmt.Sprintf("mwi: %q: %s", e.Line, e.Reason) }

// Parse reads a summary of at most 64 KB. The error is an *Error. Lines of
// the summary that are not known are passed over.
func Parse(body []byte) (*Summary, error) {
	if len(body) > MaxSize {
		return nil, &Error{"", "the summary is too large"}
	}
	s := &Summary{}
	status, begun, part := false, false, 0
	var fields []Field
	n := 0
	for line := range strings.SplitSeq(string(body), "\n") {
		if n++; n > maxLines {
			return nil, &Error{"", "the summary has too many lines"}
		}
		line = strings.ReplaceAll(strings.TrimRight(line, "\r"), "\r", " ")
		if strings.TrimSpace(line) == "" {
			if begun {
				part++
			}
			if len(fields) > 0 {
				s.Messages, fields = append(s.Messages, fields), nil
			}
			continue
		}
		begun = true
		if line[0] == ' ' || line[0] == '\t' {
			if k := len(fields); k > 0 {
				fields[k-1].Value = strings.TrimSpace(fields[k-1].Value + " " + strings.TrimSpace(line)) // folded
				continue
			}
			return nil, &Error{clip(line), "folded line"}
		}
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			return nil, &Error{clip(line), "no header field"}
		}
		if part > 0 {
			fields = append(fields, Field{name, value})
			continue
		}
		if err := s.line(name, value, &status); err != nil {
			return nil, &Error{clip(line), err.Error()}
		}
	}
	if len(fields) > 0 {
		s.Messages = append(s.Messages, fields)
	}
	if !status {
		return nil, &Error{"", "no Messages-Waiting"}
	}
	return s, nil
}

func (s *Summary) line(name, value string, status *bool) error {
	switch class := strings.ToLower(name); class {
	case "messages-waiting":
		switch strings.ToLower(value) {
		case "yes":
			s.Waiting = true
		case "no":
			s.Waiting = false
		default:
			return errors.New("neither yes nor no")
		}
		*status = true
	case "message-account":
		s.Account = value
	default:
		if !strings.HasSuffix(class, "-message") && class != None {
			return nil
		}
		c, err := parseCount(value)
		if err != nil {
			return err
		}
		c.Class = class
		for i := range s.Counts {
			if s.Counts[i].Class == class {
				return errors.New("a class twice")
			}
		}
		s.Counts = append(s.Counts, c)
	}
	return nil
}

// parseCount reads new/old with (urgent new/urgent old) behind it.
func parseCount(v string) (Count, error) {
	c := Count{UrgentNew: -1, UrgentOld: -1}
	main, urgent, has := strings.Cut(v, "(")
	var err error
	if c.New, c.Old, err = pair(main); err != nil || !has {
		return c, err
	}
	urgent, ok := strings.CutSuffix(strings.TrimSpace(urgent), ")")
	if !ok {
		return c, errors.New("no closing parenthesis")
	}
	c.UrgentNew, c.UrgentOld, err = pair(urgent)
	return c, err
}

func pair(s string) (a, b int, err error) {
	x, y, ok := strings.Cut(s, "/")
	if !ok {
		return 0, 0, errors.New("no new/old")
	}
	n, err1 := strconv.ParseUint(strings.TrimSpace(x), 10, 32)
	m, err2 := strconv.ParseUint(strings.TrimSpace(y), 10, 32)
	if err1 != nil || err2 != nil || n > math.MaxInt32 || m > math.MaxInt32 {
		return 0, 0, errors.New("no number of messages")
	}
	return int(n), int(m), nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80]
	}
	return s
}

// Bytes is the summary as a server sends it. Line ends in values become
// spaces.
func (s *Summary) Bytes() []byte {
	var b strings.Builder
	waiting := "no"
	if s.Waiting {
		waiting = "yes"
	}
	field := func(name, value string) {
		value = strings.TrimSpace(strings.NewReplacer("\r", " ", "\n", " ").Replace(value))
		b.WriteString(strings.TrimSpace(name + ": " + value))
		b.WriteString("\r\n")
	}
	field("Messages-Waiting", waiting)
	if s.Account != "" {
		field("Message-Account", s.Account)
	}
	for _, c := range s.Counts {
		v := fmt.Sprintf("%d/%d", c.New, c.Old)
		if c.UrgentNew >= 0 && c.UrgentOld >= 0 {
			v += fmt.Sprintf(" (%d/%d)", c.UrgentNew, c.UrgentOld)
		}
		field(title(c.Class), v)
	}
	for _, m := range s.Messages {
		b.WriteString("\r\n")
		for _, f := range m {
			field(f.Name, f.Value)
		}
	}
	return []byte(b.String())
}

// title writes a class as it is usual.
func title(class string) string {
	if class == "" {
		return ""
	}
	name, rest, _ := strings.Cut(class, "-")
	name = strings.ToUpper(name[:min(1, len(name))]) + name[min(1, len(name)):]
	if rest == "" {
		return name
	}
	return name + "-" + strings.ToUpper(rest[:1]) + rest[1:]
}
