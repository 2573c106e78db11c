package rsm

import (
	"testing"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func TestRequest(t *testing.T) {
	for name, c := range map[string]struct {
		r    Request
		want string
	}{
		"nothing":              {Request{}, `<set xmlns='http://jabber.org/protocol/rsm'/>`},
		"§2.1 limit":           {Request{Max: 10}, `<set xmlns='http://jabber.org/protocol/rsm'><max>10</max></set>`},
		"§2.2 next page":       {Request{Max: 10, After: "peterpan@neverland.lit"}, `<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><after>peterpan@neverland.lit</after></set>`},
		"§2.3 page before":     {Request{Max: 10, Before: "peter@pixyland.org"}, `<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><before>peter@pixyland.org</before></set>`},
		"§2.5 last page":       {Request{Max: 10, Backward: true}, `<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><before/></set>`},
		"§2.7 how many":        {Request{Max: -1}, `<set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set>`},
		"an id that is markup": {Request{After: "<&>"}, `<set xmlns='http://jabber.org/protocol/rsm'><after>&lt;&amp;&gt;</after></set>`},
	} {
		if got := c.r.Element().String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestPage(t *testing.T) {
	for name, c := range map[string]struct {
		xml  string
		want Page
		ok   bool
	}{
		"§2.1": {`<set xmlns='http://jabber.org/protocol/rsm'><first index='0'>stpeter@jabber.org</first><last>peterpan@neverland.lit</last><count>800</count></set>`,
			Page{"stpeter@jabber.org", "peterpan@neverland.lit", 0, 800}, true},
		"§2.2 empty":  {`<set xmlns='http://jabber.org/protocol/rsm'><count>790</count></set>`, Page{"", "", -1, 790}, true},
		"no numbers":  {`<set xmlns='http://jabber.org/protocol/rsm'><first index='-1'>a</first><last>b</last><count>99999999999</count></set>`, Page{"a", "b", -1, -1}, true},
		"not a set":   {`<set xmlns='urn:x'/>`, Page{"", "", -1, -1}, false},
		"another one": {`<max xmlns='http://jabber.org/protocol/rsm'/>`, Page{"", "", -1, -1}, false},
	} {
		e, err := xmltree.Parse([]byte(c.xml))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := Parse(e); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %t, want %+v", name, got, ok, c.want)
		}
	}
}

// What was read and is written is read as the same.
func FuzzParse(f *testing.F) {
	f.Add(`<set xmlns='http://jabber.org/protocol/rsm'><first index='0'>a</first><last>b</last><count>8</count></set>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		p, ok := Parse(e)
		if p.First == "" {
			p.Index = -1
		}
		if again, _ := Parse(p.Element()); ok && again != p {
			t.Errorf("%+v became %+v", p, again)
		}
	})
}
