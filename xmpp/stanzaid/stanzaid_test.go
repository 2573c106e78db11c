package stanzaid

import (
	"strings"
	"testing"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func message(t *testing.T, payload string) *xmpp.Message {
	t.Helper()
	e, err := xmltree.Parse([]byte(`<message xmlns='jabber:client' from='room@muc.example.org/nick' type='groupchat'>` + payload + `</message>`))
	if err != nil {
		t.Fatal(err)
	}
	m, err := xmpp.ParseMessage(e)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// XEP-0359 §3.1 and §6.
func TestOf(t *testing.T) {
	const own = `<stanza-id xmlns='urn:xmpp:sid:0' id='5f3dbc5e-e1d3-4077-a492-693f3769c7ad' by='room@muc.example.org'/>`
	for name, c := range map[string]struct{ payload, want string }{
		"the room's":        {own, "5f3dbc5e-e1d3-4077-a492-693f3769c7ad"},
		"beside another's":  {`<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='other@muc.example.org'/>` + own, "5f3dbc5e-e1d3-4077-a492-693f3769c7ad"},
		"of an occupant":    {`<stanza-id xmlns='urn:xmpp:sid:0' id='x' by='room@muc.example.org/nick'/>`, ""},
		"by none":           {`<stanza-id xmlns='urn:xmpp:sid:0' id='x'/>`, ""},
		"two of the same":   {own + own, ""},
		"too long":          {`<stanza-id xmlns='urn:xmpp:sid:0' id='` + strings.Repeat("x", 2000) + `' by='room@muc.example.org'/>`, ""},
		"another namespace": {`<stanza-id xmlns='urn:xmpp:sid:1' id='x' by='room@muc.example.org'/>`, ""},
	} {
		if got := Of(message(t, c.payload), jid.MustParse("room@muc.example.org")); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	by := jid.MustParse("room@muc.example.org")
	if got := Of(&xmpp.Message{Payload: []*xmltree.Element{Element("a", by)}}, by); got != "a" {
		t.Errorf("written and read: %q", got)
	}
	if Announced(nil) || Announced(&xmpp.Info{Features: []string{"urn:xmpp:ping"}}) || !Announced(&xmpp.Info{Features: []string{NS}}) || !Announced(&xmpp.Info{Features: []string{"urn:xmpp:mam:2"}}) {
		t.Error("announced by whom it is not, or not by whom it is")
	}
}

// XEP-0359 §3.2.
func TestOrigin(t *testing.T) {
	if got := Origin(message(t, `<origin-id xmlns='urn:xmpp:sid:0' id='de305d54-75b4-431b-adb2-eb6b9e546013'/>`)); got != "de305d54-75b4-431b-adb2-eb6b9e546013" {
		t.Errorf("got %q", got)
	}
	m := new(xmpp.Message)
	SetOrigin(m)
	SetOrigin(m)
	if m.ID == "" || Origin(m) != m.ID || len(m.Payload) != 1 {
		t.Errorf("%q, %q, %d payloads", m.ID, Origin(m), len(m.Payload))
	}
}
