package archive

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func onStage(t *testing.T, test func(*xmppstage.Stage, *Archive)) {
	synctest.Test(t, func(t *testing.T) {
		var a *Archive
		xmppstage.Run(t, func(c *xmpp.Client) (err error) { a, err = New(c); return err }, "", func(s *xmppstage.Stage) { test(s, a) })
	})
}

// result is a result as a server sends it.
func result(from, query, id string) string {
	return fmt.Sprintf(`S: <message from='%s' to='juliet@im.example.com/balcony'><result xmlns='urn:xmpp:mam:2' queryid='%s' id='%s'>`+
		`<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25Z'/>`+
		`<message xmlns='jabber:client' from='witch@shakespeare.lit' to='macbeth@shakespeare.lit'><body>%s</body></message></forwarded></result></message>`+"\n", from, query, id, id)
}

func read(s *xmppstage.Stage, a *Archive, q *Query, script string) (ids string, err error) {
	s.Helper()
	return xmppstage.During(s, script, func() (string, error) {
		var all []string
		for r, err := range a.Results(s.Context(), q) {
			if err != nil {
				return strings.Join(all, " "), err
			}
			if r.Message.Body() != r.ID || !r.Stamp.Equal(time.Date(2010, 7, 10, 23, 8, 25, 0, time.UTC)) {
				s.Errorf("result %+v", r)
			}
			all = append(all, r.ID)
		}
		return strings.Join(all, " "), nil
	})
}

const account = "juliet@im.example.com"

// XEP-0313 §4.1 and §4.3: pages forward until complete; the server's maximum is obeyed.
func TestForward(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage, a *Archive) {
		q := &Query{With: jid.MustParse("juliet@capulet.lit"), Start: time.Date(2010, 6, 7, 0, 0, 0, 0, time.UTC), End: time.Date(2010, 7, 7, 13, 23, 54, 0, time.UTC), PageSize: 10}
		const fields = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field><field var='with'><value>juliet@capulet.lit</value></field>` +
			`<field var='start'><value>2010-06-07T00:00:00Z</value></field><field var='end'><value>2010-07-07T13:23:54Z</value></field></x>`
		got, err := read(s, a, q, `
C: <iq type='set' id='{1}'><query xmlns='urn:xmpp:mam:2' queryid='{q1}'>`+fields+`<set xmlns='http://jabber.org/protocol/rsm'><max>10</max></set></query></iq>
`+result(account, "{q1}", "a")+result(account, "{q1}", "b")+`
S: <iq type='result' id='{1}'><fin xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><first index='0'>a</first><last>b</last><count>3</count></set></fin></iq>
C: <iq type='set' id='{2}'><query xmlns='urn:xmpp:mam:2' queryid='{q2}'>`+fields+`<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><after>b</after></set></query></iq>
`+result(account, "{q2}", "c")+`
S: <iq type='result' id='{2}'><fin xmlns='urn:xmpp:mam:2' complete='true'><set xmlns='http://jabber.org/protocol/rsm'><first index='2'>c</first><last>c</last></set></fin></iq>`)
		if got != "a b c" || err != nil {
			s.Errorf("got %q, %v", got, err)
		}
	})
}

// XEP-0313 §4.3.1: backward from the last page, of a room.
func TestBackward(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage, a *Archive) {
		got, err := read(s, a, &Query{Of: jid.MustParse("coven@chat.shakespeare.lit"), Backward: true}, `
C: <iq type='set' to='coven@chat.shakespeare.lit' id='{1}'><query xmlns='urn:xmpp:mam:2' queryid='{q1}'><set xmlns='http://jabber.org/protocol/rsm'><max>100</max><before/></set></query></iq>
`+result("coven@chat.shakespeare.lit", "{q1}", "c")+result("coven@chat.shakespeare.lit", "{q1}", "d")+`
S: <iq type='result' from='coven@chat.shakespeare.lit' id='{1}'><fin xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><first>c</first><last>d</last></set></fin></iq>
C: <iq type='set' to='coven@chat.shakespeare.lit' id='{2}'><query xmlns='urn:xmpp:mam:2' queryid='{q2}'><set xmlns='http://jabber.org/protocol/rsm'><max>100</max><before>c</before></set></query></iq>
`+result("coven@chat.shakespeare.lit", "{q2}", "a")+result("coven@chat.shakespeare.lit", "{q2}", "b")+`
S: <iq type='result' from='coven@chat.shakespeare.lit' id='{2}'><fin xmlns='urn:xmpp:mam:2' complete='true'><set xmlns='http://jabber.org/protocol/rsm'><first>a</first><last>b</last></set></fin></iq>`)
		if got != "d c b a" || err != nil {
			s.Errorf("got %q, %v", got, err)
		}
	})
}

// XEP-0313 §8.2: results count only from the archive that was asked, and with the id of the query.
func TestForged(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage, a *Archive) {
		got, err := read(s, a, nil, `
C: <iq type='set' id='{1}'><query xmlns='urn:xmpp:mam:2' queryid='{q}'><any/></query></iq>
`+result("mallory@example.org", "{q}", "forged")+result("im.example.com", "{q}", "forged")+result("juliet@im.example.com/other", "{q}", "forged")+result(account, "guess", "forged")+result(account, "{q}", "good")+`
S: <message from='juliet@im.example.com'><result xmlns='urn:xmpp:mam:2' queryid='{q}' id='x'/></message>
S: <iq type='result' id='{1}'><fin xmlns='urn:xmpp:mam:2' complete='true'/></iq>`)
		if got != "good" || err != nil {
			s.Errorf("of our own: %q, %v", got, err)
		}
		got, err = read(s, a, &Query{Of: jid.MustParse("coven@chat.shakespeare.lit")}, `
C: <iq type='set' to='coven@chat.shakespeare.lit' id='{2}'><query xmlns='urn:xmpp:mam:2' queryid='{r}'><any/></query></iq>
`+result("coven@chat.shakespeare.lit/mallory", "{r}", "forged")+result(account, "{r}", "forged")+result("coven@chat.shakespeare.lit", "{r}", "good")+`
S: <iq type='result' from='coven@chat.shakespeare.lit' id='{2}'><fin xmlns='urn:xmpp:mam:2' complete='true'/></iq>`)
		if got != "good" || err != nil {
			s.Errorf("of a room: %q, %v", got, err)
		}
	})
}

// What goes wrong is an error, and the last thing that is yielded.
func TestErrors(t *testing.T) {
	const ask = `C: <iq type='set' id='{1}'><query xmlns='urn:xmpp:mam:2' queryid='{q}'><any/></query></iq>` + "\n"
	for name, c := range map[string]struct {
		q      Query
		script string
		want   error
	}{
		"§4.1.4 item-not-found": {Query{After: "x"}, ask + `S: <iq type='error' id='{1}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, ErrGone},
		"another answer":        {Query{}, ask + `S: <iq type='result' id='{1}'><query xmlns='urn:xmpp:mam:2'/></iq>`, ErrAnswer},
		"more than asked for": {Query{PageSize: 1}, ask + result(account, "{q}", "a") + result(account, "{q}", "b") +
			`S: <iq type='result' id='{1}'><fin xmlns='urn:xmpp:mam:2'/></iq>`, ErrAnswer},
		"it goes in circles": {Query{After: "a"}, ask + result(account, "{q}", "a") + `S: <iq type='result' id='{1}'><fin xmlns='urn:xmpp:mam:2'/></iq>`, ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *xmppstage.Stage, a *Archive) {
				if got, err := read(s, a, &c.q, c.script); got != "" || !errors.Is(err, c.want) {
					s.Errorf("got %q, %v", got, err)
				}
			})
		})
	}
}

// XEP-0313 §4.1.4, example 7 and 8.
func TestExtended(t *testing.T) {
	q := &Query{AfterID: "a", BeforeID: "b", IDs: []string{"c", "d"}}
	want := `<query xmlns='urn:xmpp:mam:2' queryid='1'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>` +
		`<field var='after-id'><value>a</value></field><field var='before-id'><value>b</value></field><field var='ids'><value>c</value><value>d</value></field></x>` +
		`<set xmlns='http://jabber.org/protocol/rsm'><max>5</max></set></query>`
	if got := q.element("1", 5).String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// XEP-0313 §5 and §4.1.6, XEP-0441 §2.
func TestAsk(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage, _ *Archive) {
		m, err := xmppstage.During(s, `C: <iq type='get' id='{1}'><metadata xmlns='urn:xmpp:mam:2'/></iq>
S: <iq type='result' id='{1}'><metadata xmlns='urn:xmpp:mam:2'><start id='YWxwaGEg' timestamp='2008-08-22T21:09:04Z'/><end id='b21lZ2Eg' timestamp='2020-04-20T14:34:21Z'/></metadata></iq>`,
			func() (Metadata, error) { return AskMetadata(s.Context(), s.Client, jid.JID{}) })
		if err != nil || m.First.ID != "YWxwaGEg" || m.Last.Stamp.Year() != 2020 {
			s.Errorf("metadata %+v, %v", m, err)
		}
		d, err := xmppstage.During(s, `C: <iq type='get' id='{2}'><query xmlns='urn:xmpp:mam:2'/></iq>
S: <iq type='result' id='{2}'><query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='form'><field type='hidden' var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field type='jid-single' var='with'/></x></query></iq>`,
			func() (bool, error) {
				d, err := Fields(s.Context(), s.Client, jid.JID{})
				return d.Field("with") != nil, err
			})
		if err != nil || !d {
			s.Errorf("fields %t, %v", d, err)
		}
		p, err := xmppstage.During(s, `C: <iq type='set' id='{3}'><prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>romeo@montague.lit</jid></always><never><jid>montague@montague.lit</jid></never></prefs></iq>
S: <iq type='result' id='{3}'><prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>romeo@montague.lit</jid></always><never/></prefs></iq>`,
			func() (*Preferences, error) {
				return SetPreferences(s.Context(), s.Client, &Preferences{Roster, []jid.JID{jid.MustParse("romeo@montague.lit")}, []jid.JID{jid.MustParse("montague@montague.lit")}})
			})
		if err != nil || p.Default != Roster || len(p.Always) != 1 || len(p.Never) != 0 {
			s.Errorf("preferences %+v, %v", p, err)
		}
		yes, err := xmppstage.During(s, `C: <iq type='get' to='juliet@im.example.com' id='{4}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>
S: <iq type='result' id='{4}'><query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:mam:2'/><feature var='urn:xmpp:mam:2#extended'/></query></iq>`,
			func() (bool, error) {
				archive, extended, err := Supports(s.Context(), s.Client, jid.JID{})
				return archive && extended, err
			})
		if err != nil || !yes {
			s.Errorf("supports %t, %v", yes, err)
		}
	})
}

// Whatever comes as a result or as preferences, nothing panics, and what is taken is bounded and whole.
func FuzzResult(f *testing.F) {
	f.Add(strings.TrimPrefix(strings.TrimSpace(result(account, "q", "a")), "S: "))
	f.Add(`<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>a@b</jid></always></prefs>`)
	c, err := xmpp.New(&xmpp.Config{Account: jid.MustParse(account), Credentials: xmpp.Password("")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := (&xmltree.Parser{Space: xmpp.NSClient}).Parse([]byte(xml))
		if err != nil {
			return
		}
		if p, err := ParsePreferences(e); err == nil {
			if again, err := ParsePreferences(p.Element()); err != nil || again.Element().String() != p.Element().String() {
				t.Errorf("%s became %v, %v", p.Element(), again, err)
			}
		}
		m, err := xmpp.ParseMessage(e)
		if err != nil {
			return
		}
		a := &Archive{c: c, open: map[string]*collector{"q": {limit: 1}}}
		taken := a.message(m)
		if got := a.open["q"].results; len(got) > 0 && (!taken || got[0].ID == "" || got[0].Message == nil || !c.FromOwn(m.From)) {
			t.Errorf("took %+v", got[0])
		}
	})
}
