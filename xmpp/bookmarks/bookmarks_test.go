package bookmarks

import (
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func onStage(t *testing.T, test func(*xmppstage.Stage, *Bookmarks)) {
	synctest.Test(t, func(t *testing.T) {
		var b *Bookmarks
		xmppstage.Run(t, func(c *xmpp.Client) (err error) { b, err = New(c); return err }, "", func(s *xmppstage.Stage) { test(s, b) })
	})
}

// info is what the account can do.
func info(id, feature string) string {
	return "C: <iq type='get' to='juliet@im.example.com' id='{" + id + "}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>\n" +
		"S: <iq type='result' id='{" + id + "}'><query xmlns='http://jabber.org/protocol/disco#info'><feature var='" + feature + "'/></query></iq>\n"
}

// XEP-0402 §3.1, example 2.
const conference = `<conference xmlns='urn:xmpp:bookmarks:1' name='Council of Oberon' autojoin='true'><nick>Puck</nick><extensions><state xmlns='http://myclient.example/bookmark/state' minimized='true'/></extensions></conference>`

func TestList(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage, b *Bookmarks) {
		all, err := xmppstage.During(s, info("1", NSCompat)+`C: <iq type='get' id='{2}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub></iq>
S: <iq type='result' id='{2}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'><item id='theplay@conference.shakespeare.lit'><conference xmlns='urn:xmpp:bookmarks:1' name="The Play's the Thing" autojoin='0'/></item>
  <item id='orchard@conference.shakespeare.lit'>`+conference+`</item><item id='no/room'>`+conference+`</item></items></pubsub></iq>`, func() ([]Bookmark, error) { return b.List(s.Context()) })
		if err != nil || len(all) != 2 || all[0].Autojoin || !all[1].Autojoin || all[1].Nick != "Puck" || len(all[1].Extensions) != 1 || all[1].Element().String() != conference {
			s.Errorf("%+v, %v", all, err)
		}
	})
}

// XEP-0402 §3: events of others do not count.
func TestChanges(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage, b *Bookmarks) {
		event := func(from, xml string) {
			s.Play("S: <message from='" + from + "'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:bookmarks:1'>" + xml + "</items></event></message>")
		}
		event("mallory@example.org", "<item id='trap@conference.example.org'>"+conference+"</item>")
		event("juliet@im.example.com", "<item id='theplay@conference.shakespeare.lit'>"+conference+"</item>")
		event("juliet@im.example.com", "<retract id='theplay@conference.shakespeare.lit'/>")
		n := 0
		for ch := range b.Changes(s.Context()) {
			if ch.Bookmark.JID.String() != "theplay@conference.shakespeare.lit" || ch.Removed != (n == 1) {
				s.Errorf("change %+v", ch)
			}
			if n++; n == 2 {
				break
			}
		}
	})
}

// XEP-0048 §3 in XEP-0049: what others keep there survives.
func TestLegacy(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage, b *Bookmarks) {
		const url = `<url name='Complete Works' url='http://the-tech.mit.edu/Shakespeare/'/>`
		const old = `<conference jid='theplay@conference.shakespeare.lit' name='old'/>`
		err := s.Do(info("1", "x")+`C: <iq type='get' id='{2}'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query></iq>
S: <iq type='result' id='{2}'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>`+url+old+`</storage></query></iq>
C: <iq type='set' id='{3}'><query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>`+url+`<conference jid='theplay@conference.shakespeare.lit' name='new' autojoin='true'><nick>JC</nick></conference></storage></query></iq>
S: <iq type='result' id='{3}'/>`, func() error {
			return b.Set(s.Context(), Bookmark{JID: jid.MustParse("theplay@conference.shakespeare.lit"), Name: "new", Nick: "JC", Autojoin: true})
		})
		if err != nil {
			s.Error(err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("theplay@conference.shakespeare.lit", conference)
	f.Fuzz(func(t *testing.T, id, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		b, err := Parse(pubsub.Item{ID: id, Payload: e})
		if err != nil {
			return
		}
		again, err := Parse(pubsub.Item{ID: b.JID.String(), Payload: b.Element()})
		if err != nil || again.Element().String() != b.Element().String() {
			t.Errorf("%s became %s, %v", b.Element(), again.Element(), err)
		}
	})
}
