package siptest

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
)

//go:embed ladder.html
var pageText string

var page = template.Must(template.New("ladder").Parse(pageText))

// pageData is what the page's template gets. Everything in it is text: the
// template escapes it for where it stands.
type pageData struct {
	Title   string
	Began   string
	Missing int
	Columns []string
	Calls   []pageCall
	Steps   []pageStep
}

type pageCall struct {
	Number, Hue int
	ID          string
}

type pageStep struct {
	Time       string
	Label      string
	First, End int // grid lines between which the arrow lies
	Span       int // columns, both ends counted
	Right      bool
	Class      string
	Call       pageCall
	Fault      string
	Lost       bool
	Clock      string
	Way        string
	Start      string
	Headers    []pageHeader
	Body       string
}

type pageHeader struct{ Name, Value string }

// WriteHTML draws the transcript as a page of its own: it loads nothing, has
// no script, and shows each message when its arrow is clicked. Nil options are
// the zero value.
func (t *Transcript) WriteHTML(w io.Writer, o *DrawOptions) error {
	opts := o.complete()
	l := t.ladder(&opts)
	d := pageData{Title: opts.Title, Missing: t.Missing, Columns: l.columns}
	if !l.start.IsZero() {
		d.Began = l.start.UTC().Format("2006-01-02 15:04:05.000 UTC")
	}
	for i := range l.steps {
		s := &l.steps[i]
		p := pageStep{
			Time: l.at(s), Label: s.label, Class: s.kind(),
			First: min(s.from, s.to) + 1, End: max(s.from, s.to) + 2,
			Right: s.from < s.to,
			Call:  pageCall{s.call, hue(s.call), ""},
			Fault: s.Fault, Lost: strings.HasPrefix(s.Fault, "lost"),
			Clock: s.Time.UTC().Format("15:04:05.000000"),
			Way:   s.way(),
		}
		p.Span = p.End - p.First
		data := s.Data
		if !opts.Keys {
			data = withoutKeys(data)
		}
		p.Start, p.Headers, p.Body = parts(data)
		if s.call > len(d.Calls) {
			_, _, id := describe(s.Data)
			d.Calls = append(d.Calls, pageCall{s.call, hue(s.call), id})
		}
		d.Steps = append(d.Steps, p)
	}
	return page.Execute(w, &d)
}

// kind is the class of a step for its colour.
func (s *step) kind() string {
	switch {
	case s.class == 0:
		return "request"
	case s.class == 1:
		return "provisional"
	case s.class == 2:
		return "success"
	case s.class == 3:
		return "redirection"
	}
	return "failure"
}

// way says where a message came from and went to.
func (s *step) way() string {
	from, to := s.Remote.String(), s.Local.String()
	if s.Sent {
		from, to = to, from
	}
	return strings.ToUpper(string(s.Transport)) + " " + from + " → " + to
}

// hue is the colour of a call: neighbours in number lie far apart.
func hue(call int) int { return call * 137 % 360 }

// parts takes a message apart for show, whatever it is.
func parts(data []byte) (start string, headers []pageHeader, body string) {
	text := strings.ToValidUTF8(string(data), "\uFFFD")
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	for i, line := range strings.Split(head, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		switch {
		case i == 0:
			start = line
		case !ok || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			headers = append(headers, pageHeader{"", line})
		default:
			headers = append(headers, pageHeader{name + ":", value})
		}
	}
	return start, headers, strings.ReplaceAll(body, "\r\n", "\n")
}
