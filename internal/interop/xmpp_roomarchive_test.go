package interop

import (
	"slices"
	"testing"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/archive"
	"github.com/hoorn-phone/hoorn/xmpp/stanzaid"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// A room has an archive of its own, whose results come from the room (XEP-0313 §6), with the ids that it gave the messages.
func TestXMPPRoomArchive(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		ctx := patient(t)
		var a *archive.Archive
		joined := make(chan struct{}, 10)
		room := jid.MustParse("coven@rooms." + s.Domain)
		alice := signInWith(t, s, "alice", func(c *xmpp.Client) (err error) {
			if a, err = archive.New(c); err != nil {
				return err
			}
			return c.Use(&xmpp.Extension{Name: "test", Presence: func(p *xmpp.Presence) bool {
				if p.From.Bare().Equal(room) && p.Type == stanza.AvailablePresence {
					joined <- struct{}{}
				}
				return false
			}})
		})
		const nsMUC = "http://jabber.org/protocol/muc"
		enter := &xmpp.Presence{Payload: []*xmltree.Element{xmltree.New(nsMUC, "x")}}
		enter.To = jid.MustParse(room.String() + "/witch")
		if _, err := alice.Send(ctx, enter); err != nil {
			t.Fatal(err)
		}
		receive(t, joined)
		// A room that is new is locked until it has a configuration (XEP-0045 §10.1.2).
		const owner, data = nsMUC + "#owner", "jabber:x:data"
		if _, err := alice.Set(ctx, room, xmltree.New(owner, "query", xmltree.New(data, "x").Set("type", "submit"))); err != nil {
			t.Fatal(err)
		}
		want := []string{"thunder", "lightning", "rain"}
		var ids []string
		for _, text := range want {
			m := chatMessage(room, text)
			m.Type = stanza.GroupChatMessage
			if _, err := alice.Send(ctx, m); err != nil {
				t.Fatal(err)
			}
			for heard := ""; heard != text; {
				m := hear(t, alice)
				if heard = m.Body(); heard == text {
					ids = append(ids, stanzaid.Of(m, room))
				}
			}
		}
		if archived, _, err := archive.Supports(ctx, alice, room); err != nil || !archived {
			t.Fatalf("the room has an archive: %t, %v", archived, err)
		}
		var texts, got []string
		for r, err := range a.Results(ctx, &archive.Query{Of: room, PageSize: 2}) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Message.Body() != "" { // a change of the subject is archived, too
				texts, got = append(texts, r.Message.Body()), append(got, r.ID)
			}
		}
		if !slices.Equal(texts, want) || !slices.Equal(got, ids) {
			t.Errorf("%q with ids %q, want %q with %q", texts, got, want, ids)
		}
	})
}
