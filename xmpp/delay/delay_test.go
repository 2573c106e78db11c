package delay

import (
	"errors"
	"testing"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func parse(t *testing.T, xml string) *xmltree.Element {
	t.Helper()
	e, err := xmltree.Parse([]byte(xml))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// XEP-0203 §4, example 1 and 2.
func TestExamples(t *testing.T) {
	e := parse(t, `<delay xmlns='urn:xmpp:delay' from='juliet@capulet.com/balcony' stamp='2002-09-10T23:41:07Z'/>`)
	d, err := Parse(e)
	if err != nil || !d.From.Equal(jid.MustParse("juliet@capulet.com/balcony")) || !d.Stamp.Equal(time.Date(2002, 9, 10, 23, 41, 7, 0, time.UTC)) {
		t.Errorf("%+v, %v", d, err)
	}
	if again, err := Parse(d.Element()); err != nil || again.Element().String() != d.Element().String() {
		t.Errorf("written as %s, %v", d.Element(), err)
	}
	payload := []*xmltree.Element{parse(t, `<delay xmlns='urn:xmpp:delay' from='mallory@example.org' stamp='1969-07-21T02:56:15Z'/>`), parse(t, `<delay xmlns='urn:xmpp:delay' from='capulet.com' stamp='2002-09-10T23:08:25Z'>Offline Storage</delay>`)}
	if d, ok := Of(payload, jid.MustParse("capulet.com")); !ok || d.Reason != "Offline Storage" {
		t.Errorf("of our server: %+v, %t", d, ok)
	}
	if d, ok := Of(payload); !ok || d.Stamp.Year() != 1969 {
		t.Errorf("of anybody: %+v, %t", d, ok)
	}
	if d, ok := Of(payload, jid.MustParse("example.net")); ok {
		t.Errorf("of nobody: %+v", d)
	}
}

// XEP-0082 §3.2.
func TestTime(t *testing.T) {
	for s, want := range map[string]string{
		"1969-07-21T02:56:15Z":        "1969-07-21T02:56:15Z",
		"1969-07-20T21:56:15-05:00":   "1969-07-21T02:56:15Z",
		"2020-01-01T00:00:00.123456Z": "2020-01-01T00:00:00.123456Z",
		"2020-01-01T00:00:00.500Z":    "2020-01-01T00:00:00.5Z",
	} {
		if got, err := ParseTime(s); err != nil || FormatTime(got) != want {
			t.Errorf("%s is %s, %v", s, FormatTime(got), err)
		}
	}
	for _, s := range []string{"", "20020910T23:08:25", "2002-09-10", "2002-13-10T23:08:25Z"} {
		if _, err := ParseTime(s); !errors.Is(err, ErrDelay) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`<delay xmlns='urn:xmpp:delay' from='capulet.com' stamp='2002-09-10T23:08:25.12Z'>Offline Storage</delay>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		d, err := Parse(e)
		if err != nil {
			return
		}
		if again, err := Parse(d.Element()); err == nil && again.Element().String() != d.Element().String() {
			t.Errorf("%s became %s", d.Element(), again.Element())
		}
	})
}
