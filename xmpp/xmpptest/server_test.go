package xmpptest_test

import (
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
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

// A real client outlives each fault, and what it sends then arrives once.
func TestRealClientFaults(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		alice, bob := w.client("alice"), w.client("bob")
		defer alice.Close(w.Context())
		defer bob.Close(w.Context())
		next, stop := iter.Pull(bob.Messages(w.Context()))
		defer stop()
		sessions := func() []xmpptest.Session {
			synctest.Wait()
			return w.Sessions("alice")
		}
		first := sessions()[0].JID
		for _, c := range []struct {
			name    string
			fault   func()
			resumed bool
		}{
			{"cut", func() { w.Cut("alice") }, true},
			{"reset", func() { w.Reset("alice") }, true},
			{"vanish", func() { w.Vanish("alice") }, true},
			{"silence", func() { w.Silence("alice", true); w.pass(time.Second); w.Silence("alice", false) }, true},
			{"delay", func() { w.Delay("alice", 5*time.Second) }, true},
			{"lost acks", func() { w.Delay("alice", 0); w.DropAcks("alice", 1) }, true},
			{"refused", func() { w.RefuseResume("alice", 1, false); w.Cut("alice") }, false},
			{"refused with count", func() { w.RefuseResume("alice", 1, true); w.Cut("alice") }, false},
			{"shut down", func() { w.EndStreams("alice", "system-shutdown") }, false},
			{"other host", func() { w.Redirect(w.DirectAddr().String(), 1); w.Cut("alice") }, true},
		} {
			c.fault()
			if !c.resumed {
				w.pass(time.Minute) // what is under way then is nobody's fault: its fate is unknown
			}
			m := &xmpp.Message{Payload: []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "body", c.name)}}
			m.To, m.Type, m.ID = bob.JID(), stanza.ChatMessage, c.name
			sent, err := alice.Send(w.Context(), m)
			if err == nil {
				err = sent.Wait(w.Context())
			}
			if err != nil {
				w.Errorf("%s: %v", c.name, err)
				continue
			}
			if got, ok := next(); !ok || got.Body() != c.name {
				w.Errorf("%s: bob got %+v", c.name, got)
			}
			now := sessions()
			if len(now) != 1 || (now[0].JID == first) != c.resumed {
				w.Errorf("%s: it was %s, now there are %+v", c.name, first, now)
			}
			first = now[0].JID
		}
		if n := len(w.Archive("bob")); n != 10 {
			w.Errorf("bob's archive has %d messages", n)
		}
	})
}
