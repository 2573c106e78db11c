package activity

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// XEP-0108 §2.1, example 1; §2.3.
func TestActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		use := func(c *xmpp.Client) error {
			return Listen(c, func(from jid.JID, a Activity) { told = append(told, fmt.Sprint(from, a)) })
		}
		xmppstage.Run(t, use, "", func(s *xmppstage.Stage) {
			err := s.Do(`C: <iq type='set' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='http://jabber.org/protocol/activity'><item id='current'><activity xmlns='http://jabber.org/protocol/activity'><talking><on_the_phone/></talking></activity></item></publish></pubsub></iq>
S: <iq type='result' id='{1}'/>
C: <iq type='set' id='{2}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='http://jabber.org/protocol/activity'><item id='current'><activity xmlns='http://jabber.org/protocol/activity'/></item></publish></pubsub></iq>
S: <iq type='result' id='{2}'/>`, func() error {
				if err := Publish(s.Context(), s.Client, OnThePhone); err != nil {
					return err
				}
				return Publish(s.Context(), s.Client, Activity{})
			})
			if err != nil {
				s.Error(err)
			}
			for _, inner := range []string{
				"<item id='x'><activity xmlns='http://jabber.org/protocol/activity'><relaxing><partying/></relaxing><text xml:lang='en'>My nurse&apos;s birthday!</text></activity></item>",
				"<item id='x'><activity xmlns='http://jabber.org/protocol/activity'/></item>",
			} {
				s.Play("S: <message from='romeo@example.net'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='http://jabber.org/protocol/activity'>" + inner + "</items></event></message>")
			}
			synctest.Wait()
			if all := strings.Join(told, ", "); all != "romeo@example.net {relaxing partying My nurse's birthday!}, romeo@example.net {  }" {
				s.Errorf("told %s", all)
			}
		})
	})
}

func FuzzParse(f *testing.F) {
	f.Add(`<activity xmlns='http://jabber.org/protocol/activity'><relaxing><partying/></relaxing><text>t</text></activity>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		a, ok := Parse(e)
		if !ok || a.General == "" {
			return
		}
		if again, ok := Parse(a.Element()); !ok || again != a {
			t.Errorf("%+v became %+v", a, again)
		}
	})
}
