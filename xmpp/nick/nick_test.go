package nick

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

// XEP-0172 §4.5: published, asked for, and told.
func TestNick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		use := func(c *xmpp.Client) error {
			return Listen(c, func(from jid.JID, nick string) { told = append(told, fmt.Sprint(from, nick)) })
		}
		xmppstage.Run(t, use, "", func(s *xmppstage.Stage) {
			got, err := xmppstage.During(s, `C: <iq type='set' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='http://jabber.org/protocol/nick'><item id='current'><nick xmlns='http://jabber.org/protocol/nick'>Ishmael</nick></item></publish></pubsub></iq>
S: <iq type='result' id='{1}'/>
C: <iq type='get' to='narrator@moby-dick.lit' id='{2}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='http://jabber.org/protocol/nick' max_items='1'/></pubsub></iq>
S: <iq type='result' from='narrator@moby-dick.lit' id='{2}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='http://jabber.org/protocol/nick'><item id='x'><nick xmlns='http://jabber.org/protocol/nick'>CallMeIshmael</nick></item></items></pubsub></iq>`, func() (string, error) {
				if err := Publish(s.Context(), s.Client, "Ishmael"); err != nil {
					return "", err
				}
				return Get(s.Context(), s.Client, jid.MustParse("narrator@moby-dick.lit"))
			})
			if got != "CallMeIshmael" || err != nil {
				s.Errorf("got %q, %v", got, err)
			}
			for _, inner := range []string{"<item id='x'><nick xmlns='http://jabber.org/protocol/nick'>I</nick></item>", "<retract id='x'/>"} {
				s.Play("S: <message from='narrator@moby-dick.lit'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='http://jabber.org/protocol/nick'>" + inner + "</items></event></message>")
			}
			synctest.Wait()
			if all := strings.Join(told, " "); all != "narrator@moby-dick.litI narrator@moby-dick.lit" {
				s.Errorf("told %s", all)
			}
		})
	})
}

func FuzzParse(f *testing.F) {
	f.Add(`<nick xmlns='http://jabber.org/protocol/nick'>Ishmael</nick>`)
	f.Add(`<nick xmlns='http://jabber.org/protocol/nick'>` + strings.Repeat("x", maxLength+1) + `</nick>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		if nick, ok := Parse(e); ok != (nick != "") || len(nick) > maxLength {
			t.Errorf("%q, %t", nick, ok)
		} else if again, _ := Parse(Element(nick)); again != nick {
			t.Errorf("%q became %q", nick, again)
		}
	})
}
