package carbons

import (
	"strings"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func copyOf(from, what, inner string) string {
	return `<message xmlns='jabber:client' from='` + from + `' to='juliet@im.example.com/balcony' type='chat'><` + what + ` xmlns='urn:xmpp:carbons:2'>` +
		`<forwarded xmlns='urn:xmpp:forward:0'>` + inner + `</forwarded></` + what + `></message>`
}

const (
	received = `<message xmlns='jabber:client' from='romeo@example.net/orchard' to='juliet@im.example.com/chamber' type='chat'><body>What man art thou</body></message>`
	sent     = `<message xmlns='jabber:client' from='juliet@im.example.com/chamber' to='romeo@example.net' type='chat'><body>Neither, fair saint</body></message>`
	enable   = `C: <iq type='set' id='{on}'><enable xmlns='urn:xmpp:carbons:2'/></iq>
S: <iq type='result' id='{on}'/>
`
)

// XEP-0280 §4, §7 and §11: only what our own account says is a copy.
func TestCarbons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		deliver := func(c *Carbon) {
			way := "received "
			if c.Sent {
				way = "sent "
			}
			got = append(got, way+c.Message.Body())
		}
		xmppstage.Run(t, func(c *xmpp.Client) error { return Use(c, deliver) }, enable, func(s *xmppstage.Stage) {
			const own = "juliet@im.example.com"
			for _, m := range []string{
				copyOf(own, "received", received),
				copyOf(own, "sent", sent),
				copyOf("mallory@example.org", "received", received),
				copyOf("juliet@im.example.com/chamber", "sent", sent),
				copyOf("im.example.com", "received", received),
				`<message><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>` + received + `</forwarded></received></message>`,
				copyOf(own, "sent", received),
				copyOf(own, "received", strings.Replace(received, "'chat'", "'groupchat'", 1)),
				copyOf(own, "received", ""),
			} {
				s.Play("S: " + m)
			}
			synctest.Wait()
			if strings.Join(got, ", ") != "received What man art thou, sent Neither, fair saint" {
				s.Errorf("got %q", got)
			}
			err := s.Do(`C: <iq type='set' id='{off}'><disable xmlns='urn:xmpp:carbons:2'/></iq>
S: <iq type='result' id='{off}'/>
C: <iq type='set' id='{again}'><enable xmlns='urn:xmpp:carbons:2'/></iq>
S: <iq type='result' id='{again}'/>`, func() error {
				if err := Disable(s.Context(), s.Client); err != nil {
					return err
				}
				return Enable(s.Context(), s.Client)
			})
			if err != nil {
				s.Error(err)
			}
		})
	})
}

// XEP-0280 §8, example 14.
func TestPrivate(t *testing.T) {
	if got := Private().String(); got != `<private xmlns='urn:xmpp:carbons:2'/>` {
		t.Errorf("got %s", got)
	}
}

func FuzzParse(f *testing.F) {
	account := jid.MustParse("juliet@im.example.com")
	f.Add(copyOf("juliet@im.example.com", "sent", sent))
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		m, err := xmpp.ParseMessage(e)
		if err != nil {
			return
		}
		if c, err := Parse(m, account); err == nil && (c.Message == nil || c.Sent && !c.Message.From.Bare().Equal(account)) {
			t.Errorf("took %+v", c)
		}
	})
}
