package blocking

import (
	"fmt"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// XEP-0191 §3.2, the list at the beginning of a session.
const fetch = `C: <iq type='get' id='{list}'><blocklist xmlns='urn:xmpp:blocking'/></iq>
S: <iq type='result' id='{list}'><blocklist xmlns='urn:xmpp:blocking'><item jid='romeo@montague.net'/><item jid='iago@shakespeare.lit'/></blocklist></iq>
`

// XEP-0191 §3.3 and §3.4: what is pushed, and by whom.
func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l *List
		changes := 0
		use := func(c *xmpp.Client) (err error) { l, err = New(c, func() { changes++ }); return err }
		xmppstage.Run(t, use, fetch, func(s *xmppstage.Stage) {
			for i, c := range []struct{ from, push, answer, want string }{
				{"mallory@example.org", "<unblock xmlns='urn:xmpp:blocking'/>", "error", "[iago@shakespeare.lit romeo@montague.net]"},
				{"juliet@im.example.com", "<block xmlns='urn:xmpp:blocking'/>", "error", "[iago@shakespeare.lit romeo@montague.net]"},
				{"juliet@im.example.com", "<block xmlns='urn:xmpp:blocking'><item jid='@'/></block>", "error", "[iago@shakespeare.lit romeo@montague.net]"},
				{"juliet@im.example.com", "<block xmlns='urn:xmpp:blocking'><item jid='example.org'/></block>", "result", "[example.org iago@shakespeare.lit romeo@montague.net]"},
				{"juliet@im.example.com", "<unblock xmlns='urn:xmpp:blocking'><item jid='iago@shakespeare.lit'/></unblock>", "result", "[example.org romeo@montague.net]"},
			} {
				s.Play(fmt.Sprintf("S: <iq type='set' from='%s' id='p%d'>%s</iq>\nC: <iq type='%s' to='%s' id='p%d'><any/></iq>", c.from, i, c.push, c.answer, c.from, i))
				if got := fmt.Sprint(l.All()); got != c.want {
					s.Errorf("after %s from %s: %s", c.push, c.from, got)
				}
			}
			for j, want := range map[string]bool{"romeo@montague.net/orchard": true, "romeo@montague.net": true, "montague.net": false, "anybody@example.org": true, "example.org/x": true, "iago@shakespeare.lit": false} {
				if l.Blocks(jid.MustParse(j)) != want {
					s.Errorf("%s is blocked: %t", j, !want)
				}
			}
			s.Play("S: <iq type='set' from='juliet@im.example.com' id='all'><unblock xmlns='urn:xmpp:blocking'/></iq>\nC: <iq type='result' to='juliet@im.example.com' id='all'/>")
			if len(l.All()) != 0 || changes != 4 {
				s.Errorf("after all: %v, %d changes", l.All(), changes)
			}
		})
	})
}

// XEP-0191 §3.3 to §3.5: what is asked for.
func TestVerbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		xmppstage.Run(t, nil, "", func(s *xmppstage.Stage) {
			romeo := jid.MustParse("romeo@montague.net")
			err := s.Do(`C: <iq type='set' id='{1}'><block xmlns='urn:xmpp:blocking'><item jid='romeo@montague.net'/></block></iq>
S: <iq type='result' id='{1}'/>
C: <iq type='set' id='{2}'><unblock xmlns='urn:xmpp:blocking'><item jid='romeo@montague.net'/></unblock></iq>
S: <iq type='result' id='{2}'/>
C: <iq type='set' id='{3}'><unblock xmlns='urn:xmpp:blocking'/></iq>
S: <iq type='result' id='{3}'/>`, func() error {
				if err := Block(s.Context(), s.Client, romeo); err != nil {
					return err
				}
				if err := Unblock(s.Context(), s.Client, romeo); err != nil {
					return err
				}
				return UnblockAll(s.Context(), s.Client)
			})
			if err != nil || Block(s.Context(), s.Client) != ErrList || Unblock(s.Context(), s.Client) != ErrList {
				s.Error(err)
			}
		})
	})
}

func FuzzParse(f *testing.F) {
	f.Add(`<block xmlns='urn:xmpp:blocking'><item jid='romeo@montague.net'/></block>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		all, err := Parse(e)
		if err != nil {
			return
		}
		if again, err := Parse(Element("block", all...)); err != nil || len(again) != len(all) {
			t.Errorf("%v became %v, %v", all, again, err)
		}
	})
}
