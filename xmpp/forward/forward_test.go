package forward

import (
	"errors"
	"testing"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// XEP-0297 §3, example 1.
const example = `<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25Z'/>` +
	`<message from='romeo@montague.lit/orchard' id='0202197' to='juliet@capulet.lit/balcony' type='chat' xmlns='jabber:client'>` +
	`<body>Yet I should kill thee with much cherishing.</body><mood xmlns='http://jabber.org/protocol/mood'><amorous/></mood></message></forwarded>`

func TestExample(t *testing.T) {
	e, err := xmltree.Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(e)
	if err != nil || f.Message.From.String() != "romeo@montague.lit/orchard" || f.Message.Body() != "Yet I should kill thee with much cherishing." || f.Delay.Stamp.Year() != 2010 {
		t.Fatalf("%+v, %v", f, err)
	}
	if again, err := Parse(f.Element()); err != nil || again.Element().String() != f.Element().String() || again.Message.ID != "0202197" {
		t.Errorf("written as %s, %v", f.Element(), err)
	}
}

func TestRefused(t *testing.T) {
	for _, xml := range []string{
		`<forwarded xmlns='urn:xmpp:forward:1'/>`,
		`<forwarded xmlns='urn:xmpp:forward:0'/>`,
		`<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client'/></forwarded>`,
		`<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:server'/></forwarded>`,
		`<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='@'/></forwarded>`,
		`<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='now'/><message xmlns='jabber:client'/></forwarded>`,
	} {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		if f, err := Parse(e); !errors.Is(err, ErrForward) || f != nil {
			t.Errorf("%s: %+v, %v", xml, f, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		if fw, err := Parse(e); err == nil && fw.Element().String() == "" {
			t.Error("written as nothing")
		}
	})
}
