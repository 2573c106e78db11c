package xmpptest_test

import (
	"testing"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// Two real clients talk.
func TestRealClients(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		if err := w.Subscribe("alice", "bob"); err != nil {
			w.Fatal(err)
		}
		alice, bob := w.client("alice"), w.client("bob")
		defer alice.Close(w.Context())
		defer bob.Close(w.Context())
		m := &xmpp.Message{Payload: []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "body", "Hello")}}
		m.To, m.Type, m.ID = bob.JID(), stanza.ChatMessage, "1"
		sent, err := alice.Send(w.Context(), m)
		if err != nil {
			w.Fatal(err)
		}
		if err := sent.Wait(w.Context()); err != nil {
			w.Error(err)
		}
		for m := range bob.Messages(w.Context()) {
			if m.Body() != "Hello" || m.From.String() != alice.JID().String() {
				w.Errorf("bob got %+v", m)
			}
			break
		}
	})
}
