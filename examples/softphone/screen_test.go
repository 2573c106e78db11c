package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// In a terminal the status stays below the lines, and never wraps.
func TestScreenLive(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&console{out: &out, live: true, width: func() int { return 8 }})
	s.status("status …")
	s.line("%s", "a line that may be long")
	s.status("new")
	s.status("")
	s.line("end")
	const erase = "\r\x1b[K"
	want := "status " + erase + "a line that may be long\n" + "status " + erase + "new" + erase + "end\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

// Elsewhere it is a line now and then.
func TestScreenPlain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newScreen(&console{out: &out})
		for range 12 {
			<-time.After(time.Second)
			s.status(time.Now().Format("status at :05"))
			s.status("")
		}
		s.line("end")
		if want := "status at :05\nstatus at :10\nend\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	newScreen(&console{out: &out}).table([][]string{{"", "one"}, {"größe", "1"}, {"x", "22", "3"}})
	if want := "         one\n  größe  1\n  x      22   3\n"; out.String() != want {
		t.Errorf("got\n%q, want\n%q", out.String(), want)
	}
}

// What comes from elsewhere does nothing to the terminal.
func TestPrintable(t *testing.T) {
	if got := printable("Eve \x1b[2J\r\u009b<sip:eve@example.com>\n\tok"); got != "Eve ·[2J··<sip:eve@example.com>\n\tok" {
		t.Errorf("%q", got)
	}
}
