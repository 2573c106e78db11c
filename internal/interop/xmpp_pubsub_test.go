package interop

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/blocking"
	"github.com/hoorn-phone/hoorn/xmpp/bookmarks"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// befriend lets two users see each other's presence.
func befriend(t *testing.T, a, b *xmpp.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), xmppPatience)
	defer cancel()
	for _, pair := range [][2]*xmpp.Client{{a, b}, {b, a}} {
		if err := pair[0].Roster().Approve(ctx, pair[1].Account()); err != nil {
			t.Fatal(err)
		}
		if err := pair[0].Roster().Subscribe(ctx, pair[1].Account()); err != nil {
			t.Fatal(err)
		}
	}
	for _, pair := range [][2]*xmpp.Client{{a, b}, {b, a}} {
		go func() {
			for p := range pair[0].Roster().Requests(ctx) {
				pair[0].Roster().Approve(ctx, p.From)
			}
		}()
	}
	for j := range a.Roster().Changes(ctx) {
		if j.Equal(b.Account()) && len(a.Roster().Presence(j)) > 0 && len(b.Roster().Presence(a.Account())) > 0 {
			return
		}
		if j.Equal(b.Account()) && len(a.Roster().Presence(j)) > 0 {
			break
		}
	}
	for j := range b.Roster().Changes(ctx) {
		if j.Equal(a.Account()) && len(b.Roster().Presence(j)) > 0 {
			return
		}
	}
	t.Fatal("they do not see each other")
}

// Nodes of our own account: contacts get what is published, and never what is private (XEP-0163, XEP-0223).
func TestXMPPPubSub(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		ctx := patient(t)
		const node = "urn:example:tune"
		alice := signIn(t, s, "alice", nil)
		var events *pubsub.Events
		bob := signInWith(t, s, "bob", func(c *xmpp.Client) (err error) {
			events, err = pubsub.Follow(c, nil, node, "urn:example:private")
			return err
		})
		befriend(t, alice, bob)
		item := func(id, text string) pubsub.Item {
			return pubsub.Item{ID: id, Payload: xmltree.NewText(node, "tune", text)}
		}
		open := func(id string) error {
			_, err := pubsub.Publish(ctx, alice, jid.JID{}, "urn:example:private", item(id, "open"), form.Flag("pubsub#persist_items", true), form.Text("pubsub#access_model", "presence"))
			return err
		}
		if err := open("before"); err != nil {
			t.Fatal(err)
		}
		if err := pubsub.PublishPrivate(ctx, alice, "urn:example:private", item("secret", "mine alone")); err != nil {
			t.Fatal(err)
		}
		if _, err := pubsub.Get(ctx, bob, alice.Account(), "urn:example:private"); err == nil {
			t.Error("bob reads what is private")
		}
		if all, err := pubsub.Get(ctx, alice, jid.JID{}, "urn:example:private", "secret"); err != nil || len(all) != 1 || all[0].Payload.Text() != "mine alone" {
			t.Errorf("alice reads %+v, %v", all, err)
		}
		if err := open("after"); !errors.Is(err, pubsub.ErrPrecondition) {
			t.Errorf("published as for everybody: %v", err)
		}
		if err := pubsub.EnsurePrivate(ctx, alice, "urn:example:other"); err != nil {
			t.Error(err)
		}
		if _, err := pubsub.Publish(ctx, alice, jid.JID{}, node, item("current", "Greensleeves")); err != nil {
			t.Fatal(err)
		}
		for ev := range events.All(ctx) {
			if ev.Node != node {
				if len(ev.Items) > 0 && ev.Items[0].ID == "secret" {
					t.Error("bob is told what is private")
				}
				continue
			}
			if len(ev.Items) != 1 || !ev.From.Equal(alice.Account()) || ev.Items[0].ID != "current" {
				t.Errorf("event %+v", ev)
			}
			break
		}
		if i, err := pubsub.Last(ctx, bob, alice.Account(), node); err != nil || i.Payload.Text() != "Greensleeves" {
			t.Errorf("bob reads %+v, %v", i, err)
		}
		if err := pubsub.Retract(ctx, alice, jid.JID{}, node, "current", true); err != nil {
			t.Error(err)
		}
		if err := pubsub.Delete(ctx, alice, jid.JID{}, node); err != nil {
			t.Error(err)
		}
		if _, err := pubsub.Last(ctx, alice, jid.JID{}, node); !errors.Is(err, pubsub.ErrNoItem) {
			t.Errorf("after it was deleted: %v", err)
		}
	})
}

// Bookmarks are kept where the server keeps them, for all clients of an account.
func TestXMPPBookmarks(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		ctx := patient(t)
		var here, there *bookmarks.Bookmarks
		signInWith(t, s, "alice", func(c *xmpp.Client) (err error) { here, err = bookmarks.New(c); return err })
		signInWith(t, s, "alice", func(c *xmpp.Client) (err error) { there, err = bookmarks.New(c); return err })
		legacy, err := here.Legacy(ctx)
		if err != nil || legacy != (s.Software == "ejabberd") {
			t.Errorf("legacy: %t, %v", legacy, err)
		}
		room := func(name string) jid.JID { return jid.MustParse(name + "@rooms." + s.Domain) }
		for _, b := range []bookmarks.Bookmark{{JID: room("one"), Name: "One", Nick: "al", Autojoin: true}, {JID: room("two"), Name: "Two"}, {JID: room("one"), Name: "Uno", Autojoin: true}} {
			if err := here.Set(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		names := func(all []bookmarks.Bookmark) map[string]string {
			m := make(map[string]string)
			for _, b := range all {
				m[b.JID.Localpart()] = fmt.Sprint(b.Name, b.Autojoin, b.Nick)
			}
			return m
		}
		all, err := there.List(ctx)
		if got := names(all); err != nil || len(got) != 2 || got["one"] != "Unotrue" || got["two"] != "Twofalse" {
			t.Errorf("list %+v, %v", all, err)
		}
		if err := errors.Join(here.Remove(ctx, room("one")), here.Remove(ctx, room("one"))); err != nil {
			t.Error(err)
		}
		if all, err = there.List(ctx); err != nil || len(all) != 1 {
			t.Errorf("list %+v, %v", all, err)
		}
		if legacy {
			return
		}
		for ch := range there.Changes(ctx) {
			if ch.Removed {
				if !ch.Bookmark.JID.Equal(room("one")) {
					t.Errorf("change %+v", ch)
				}
				break
			}
		}
	})
}

// Who is blocked is not heard, on any client of ours (XEP-0191).
func TestXMPPBlocking(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		ctx := patient(t)
		var there *blocking.List
		changes := make(chan struct{}, 100)
		alice := signIn(t, s, "alice", nil)
		signInWith(t, s, "alice", func(c *xmpp.Client) (err error) {
			there, err = blocking.New(c, func() { changes <- struct{}{} })
			return err
		})
		bob := signIn(t, s, "bob", nil)
		until := func(blocked bool) {
			t.Helper()
			for there.Blocks(bob.JID()) != blocked {
				select {
				case <-changes:
				case <-ctx.Done():
					t.Fatalf("blocked: %t", !blocked)
				}
			}
		}
		if err := blocking.Block(ctx, alice, bob.Account()); err != nil {
			t.Fatal(err)
		}
		until(true)
		say(t, bob, alice.JID(), "not heard")
		if s.Software == "ejabberd" { // Prosody says nothing
			if m := hear(t, bob); m.Error == nil || m.Error.Condition != stanza.ServiceUnavailable {
				t.Errorf("bob hears %s", m.Element())
			}
		}
		if err := blocking.Unblock(ctx, alice, bob.Account()); err != nil {
			t.Fatal(err)
		}
		until(false)
		say(t, bob, alice.JID(), "again")
		hears(t, alice, bob.JID(), "again")
	})
}
