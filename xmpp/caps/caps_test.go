package caps

import (
	"fmt"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// What XEP-0115 §5.2 and §5.3 give as examples.
var (
	exodus = &xmpp.Info{
		Identities: []xmpp.Identity{{Category: "client", Type: "pc", Name: "Exodus 0.9.1"}},
		Features:   []string{"http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/muc", "http://jabber.org/protocol/caps"},
	}
	psi = func() *xmpp.Info {
		e, err := xmltree.Parse([]byte(`<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
<field var='ip_version' type='text-multi'><value>ipv4</value><value>ipv6</value></field><field var='os'><value>Mac</value></field><field var='os_version'><value>10.5.1</value></field>
<field var='software'><value>Psi</value></field><field var='software_version'><value>0.11</value></field></x>`))
		if err != nil {
			panic(err)
		}
		return &xmpp.Info{Identities: []xmpp.Identity{{Category: "client", Type: "pc", Lang: "en", Name: "Psi 0.11"}, {Category: "client", Type: "pc", Lang: "el", Name: "Ψ 0.11"}}, Features: exodus.Features, Forms: []*xmltree.Element{e}}
	}()
)

func TestHash(t *testing.T) {
	twice := *exodus
	twice.Features = append([]string{"http://jabber.org/protocol/muc"}, exodus.Features...)
	mark := xmpp.Info{Features: []string{"a<b"}}
	forms := *psi
	forms.Forms = append(forms.Forms, psi.Forms[0])
	for name, c := range map[string]struct {
		info     *xmpp.Info
		function string
		want     string
	}{
		"§5.2":             {exodus, "sha-1", "QgayPKawpkPSDYmwT/WM94uAlu0="},
		"§5.3":             {psi, "sha-1", "q07IKJEyjvHSyhy//CH0CxmKi8w="},
		"unknown function": {exodus, "md2", ""},
		"a feature twice":  {&twice, "sha-1", ""},
		"a form twice":     {&forms, "sha-1", ""},
		"a separator":      {&mark, "sha-1", ""},
	} {
		if got, ok := Hash(c.info, c.function); got != c.want || ok != (c.want != "") {
			t.Errorf("%s: %q, %t", name, got, ok)
		}
	}
}

// XEP-0115 §5.4 and §6.2: one asks for all who tell the same, and who lies is believed only of itself.
func TestFeatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k *Cache
		xmppstage.Run(t, func(c *xmpp.Client) (err error) { k, err = New(c); return err }, "", func(s *xmppstage.Stage) {
			const node, ver = "http://code.google.com/p/exodus", "QgayPKawpkPSDYmwT/WM94uAlu0="
			present := func(from string) {
				s.Play("S: <presence from='" + from + "'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='" + node + "' ver='" + ver + "'/></presence>")
				synctest.Wait()
			}
			query := func(id, to, node, xml string) string {
				if node != "" {
					node = " node='" + node + "'"
				}
				return "C: <iq type='get' to='" + to + "' id='{" + id + "}'><query xmlns='http://jabber.org/protocol/disco#info'" + node + "/></iq>\n" +
					"S: <iq type='result' from='" + to + "' id='{" + id + "}'><query xmlns='http://jabber.org/protocol/disco#info'>" + xml + "</query></iq>\n"
			}
			features := func(j string) func() (bool, error) {
				return func() (bool, error) {
					info, err := k.Features(s.Context(), jid.MustParse(j))
					return info.Has("http://jabber.org/protocol/muc"), err
				}
			}
			truth := "<identity category='client' name='Exodus 0.9.1' type='pc'/>"
			for _, f := range exodus.Features {
				truth += "<feature var='" + f + "'/>"
			}
			const lie = "<feature var='http://jabber.org/protocol/muc'/>"
			for i, c := range []struct {
				who, script string
				want        bool
			}{
				{"mallory@example.org/x", query("1", "mallory@example.org/x", node+"#"+ver, lie), true},
				{"romeo@montague.lit/orchard", query("2", "romeo@montague.lit/orchard", node+"#"+ver, truth), true},
				{"benvolio@capulet.lit/230193", "", true},
				{"romeo@montague.lit/orchard", "", true},
			} {
				present(c.who)
				if got, err := xmppstage.During(s, c.script, features(c.who)); got != c.want || err != nil {
					s.Errorf("%d: %s: %t, %v", i, c.who, got, err)
				}
			}
			s.Play("S: <presence from='romeo@montague.lit/orchard' type='unavailable'/>")
			synctest.Wait()
			if got, err := xmppstage.During(s, query("5", "romeo@montague.lit/orchard", "", ""), features("romeo@montague.lit/orchard")); got || err != nil {
				s.Errorf("without a version: %t, %v", got, err)
			}
		})
	})
}

// The versions used last are kept.
func TestBound(t *testing.T) {
	c, err := xmpp.New(&xmpp.Config{Account: jid.MustParse("a@b"), Credentials: xmpp.Password("")})
	if err != nil {
		t.Fatal(err)
	}
	k, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	first := key{"sha-1", "first"}
	k.put(first, exodus)
	for i := range maxVersions + 10 {
		k.put(key{"sha-1", fmt.Sprint(i)}, exodus)
		if k.get(first) == nil {
			t.Fatal("what is used was forgotten")
		}
	}
	if len(k.versions) != maxVersions || k.recent.Len() != maxVersions || k.get(key{"sha-1", "0"}) != nil {
		t.Errorf("%d and %d versions", len(k.versions), k.recent.Len())
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>`)
	f.Add(`<query xmlns='http://jabber.org/protocol/disco#info'><x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>a</value></field></x></query>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		if v, ok := Parse(e); ok && v.Ver == "" {
			t.Errorf("took %+v", v)
		}
		info := new(xmpp.Info)
		for c := range e.Elements() {
			info.Forms = append(info.Forms, c)
			info.Features = append(info.Features, c.Get("var"))
		}
		if ver, ok := Hash(info, "sha-1"); ok != (ver != "") {
			t.Errorf("%q, %t", ver, ok)
		}
	})
}
