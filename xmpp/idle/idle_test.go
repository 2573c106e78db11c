package idle

import (
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// XEP-0319 §3, example 1.
func TestIdle(t *testing.T) {
	at := time.Date(1969, 7, 21, 2, 56, 15, 0, time.UTC)
	if got := Element(at).String(); got != `<idle xmlns='urn:xmpp:idle:1' since='1969-07-21T02:56:15Z'/>` {
		t.Errorf("written as %s", got)
	}
	if since, ok := Of(&xmpp.Presence{Payload: []*xmltree.Element{Element(at)}}); !ok || !since.Equal(at) {
		t.Errorf("read as %v, %t", since, ok)
	}
	for _, p := range []*xmpp.Presence{{}, {Payload: []*xmltree.Element{xmltree.New(NS, "idle").Set("since", "long")}}} {
		if since, ok := Of(p); ok {
			t.Errorf("read as %v", since)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`<idle xmlns='urn:xmpp:idle:1' since='1969-07-21T02:56:15.123-05:00'/>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		if since, ok := Parse(e); ok && since.Year() > 0 && since.Year() < 10000 {
			if again, ok := Parse(Element(since)); !ok || !again.Equal(since.Truncate(time.Microsecond)) {
				t.Errorf("%v became %v", since, again)
			}
		}
	})
}
