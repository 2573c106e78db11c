package avatar

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/vcard"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

var (
	picture = []byte("not really a PNG")
	id      = ID(picture)
	coded   = base64.StdEncoding.EncodeToString(picture)
)

// items is the answer of a node.
func items(n, node, id, xml string) string {
	return "S: <iq type='result' from='romeo@example.net' id='{" + n + "}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='" + node + "'><item id='" + id + "'>" + xml + "</item></items></pubsub></iq>\n"
}

// XEP-0084 §3: published, told, fetched and taken away; a picture that is another is refused.
func TestAvatar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		use := func(c *xmpp.Client) error {
			return Listen(c, func(from jid.JID, infos []Info) { told = append(told, fmt.Sprint(from, len(infos))) })
		}
		xmppstage.Run(t, use, "", func(s *xmppstage.Stage) {
			ctx, c := s.Context(), s.Client
			err := s.Do(`C: <iq type='set' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:avatar:data'><item id='`+id+`'><data xmlns='urn:xmpp:avatar:data'>`+coded+`</data></item></publish></pubsub></iq>
S: <iq type='result' id='{1}'/>
C: <iq type='set' id='{2}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:avatar:metadata'><item id='`+id+`'><metadata xmlns='urn:xmpp:avatar:metadata'><info bytes='16' id='`+id+`' height='64' type='image/png' width='48'/></metadata></item></publish></pubsub></iq>
S: <iq type='result' id='{2}'/>
C: <iq type='set' id='{3}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:avatar:metadata'><item id='current'><metadata xmlns='urn:xmpp:avatar:metadata'/></item></publish></pubsub></iq>
S: <iq type='result' id='{3}'/>`, func() error { return errors.Join(Publish(ctx, c, picture, "image/png", 48, 64), Remove(ctx, c)) })
			if err != nil {
				s.Error(err)
			}
			const ask = "C: <iq type='get' to='romeo@example.net' id='{%s}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><any/></pubsub></iq>\n"
			romeo := jid.MustParse("romeo@example.net")
			fetch := func() ([]byte, error) {
				infos, err := Get(ctx, c, romeo)
				if err != nil || len(infos) != 1 {
					return nil, fmt.Errorf("metadata %+v, %w", infos, err)
				}
				return Fetch(ctx, c, romeo, infos[0])
			}
			metadata := "<metadata xmlns='urn:xmpp:avatar:metadata'><info bytes='16' id='" + strings.ToUpper(id) + "' type='image/png'/><info id='no hash'/></metadata>"
			got, err := xmppstage.During(s, fmt.Sprintf(ask, "4")+items("4", NSMetadata, id, metadata)+fmt.Sprintf(ask, "5")+items("5", NSData, id, "<data xmlns='urn:xmpp:avatar:data'> "+coded[:4]+"\n"+coded[4:]+"</data>"), fetch)
			if err != nil || string(got) != string(picture) {
				s.Errorf("fetched %q, %v", got, err)
			}
			_, err = xmppstage.During(s, fmt.Sprintf(ask, "6")+items("6", NSMetadata, id, metadata)+fmt.Sprintf(ask, "7")+items("7", NSData, id, "<data xmlns='urn:xmpp:avatar:data'>aGVsbG8=</data>"), fetch)
			if !errors.Is(err, ErrPicture) {
				s.Errorf("another picture: %v", err)
			}
			for _, inner := range []string{"<item id='x'>" + metadata + "</item>", "<item id='x'><metadata xmlns='urn:xmpp:avatar:metadata'/></item>", "<retract id='x'/>"} {
				s.Play("S: <message from='romeo@example.net'><event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:avatar:metadata'>" + inner + "</items></event></message>")
			}
			synctest.Wait()
			if all := strings.Join(told, " "); all != "romeo@example.net 1 romeo@example.net 0 romeo@example.net 0" {
				s.Errorf("told %s", all)
			}
		})
	})
}

// XEP-0153 §3.
func TestVCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		xmppstage.Run(t, nil, "", func(s *xmppstage.Stage) {
			romeo := jid.MustParse("romeo@example.net")
			for n, want := range map[string]error{id: nil, ID(nil): ErrPicture} {
				_, err := xmppstage.During(s, `C: <iq type='get' to='romeo@example.net' id='{`+n+`}'><vCard xmlns='vcard-temp'/></iq>
S: <iq type='result' from='romeo@example.net' id='{`+n+`}'><vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>`+coded+`</BINVAL></PHOTO></vCard></iq>`,
					func() (*vcard.Photo, error) { return FetchVCard(s.Context(), s.Client, romeo, n) })
				if !errors.Is(err, want) {
					s.Errorf("%s: %v", n, err)
				}
			}
		})
	})
	for name, c := range map[string]struct {
		e    *xmltree.Element
		want string
		ok   bool
	}{
		"one":            {Update(strings.ToUpper(id)), id, true},
		"none":           {Update(""), "", true},
		"not ready":      {xmltree.New(NSUpdate, "x"), "", false},
		"no hash":        {Update("me.png"), "", false},
		"another length": {Update("00ff"), "", false},
	} {
		if got, ok := Hash(&xmpp.Presence{Payload: []*xmltree.Element{c.e}}); got != c.want || ok != c.ok {
			t.Errorf("%s: %q, %t", name, got, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("<metadata xmlns='urn:xmpp:avatar:metadata'><info bytes='16' id='" + id + "' type='image/png' width='3'/></metadata>")
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		all, err := Parse(e)
		if err != nil {
			return
		}
		if again, err := Parse(Element(all...)); err != nil || fmt.Sprint(again) != fmt.Sprint(all) {
			t.Errorf("%v became %v, %v", all, again, err)
		}
	})
}
