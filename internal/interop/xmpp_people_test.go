package interop

import (
	"bytes"
	"errors"
	"testing"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/activity"
	"github.com/hoorn-phone/hoorn/xmpp/avatar"
	"github.com/hoorn-phone/hoorn/xmpp/caps"
	"github.com/hoorn-phone/hoorn/xmpp/extdisco"
	"github.com/hoorn-phone/hoorn/xmpp/nick"
	"github.com/hoorn-phone/hoorn/xmpp/pubsub"
	"github.com/hoorn-phone/hoorn/xmpp/push"
	"github.com/hoorn-phone/hoorn/xmpp/vcard"
)

// What one tells of itself comes to its contacts: nickname, activity, picture, card, and what its client can do.
func TestXMPPPeople(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		ctx := patient(t)
		nicks, does, pictures := make(chan string, 10), make(chan activity.Activity, 10), make(chan []avatar.Info, 10)
		var can *caps.Cache
		alice := signIn(t, s, "alice", nil)
		fromAlice := func(from jid.JID) bool { return from.Equal(alice.Account()) }
		bob := signInWith(t, s, "bob", func(c *xmpp.Client) (err error) {
			can, err = caps.New(c)
			return errors.Join(err,
				nick.Listen(c, func(from jid.JID, n string) {
					if fromAlice(from) {
						nicks <- n
					}
				}),
				activity.Listen(c, func(from jid.JID, a activity.Activity) {
					if fromAlice(from) {
						does <- a
					}
				}),
				avatar.Listen(c, func(from jid.JID, infos []avatar.Info) {
					if fromAlice(from) {
						pictures <- infos
					}
				}))
		})
		befriend(t, alice, bob)
		if err := errors.Join(nick.Publish(ctx, alice, "Al"), activity.Publish(ctx, alice, activity.OnThePhone)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, nicks); got != "Al" {
			t.Errorf("nickname %q", got)
		}
		if got := receive(t, does); got != activity.OnThePhone {
			t.Errorf("activity %+v", got)
		}
		if got, err := nick.Get(ctx, bob, alice.Account()); err != nil || got != "Al" {
			t.Errorf("nickname %q, %v", got, err)
		}

		// A picture is what its hash says, however often it is fetched.
		picture := append([]byte("\x89PNG\r\n\x1a\n"), bytes.Repeat([]byte("hoorn"), 500)...)
		if err := avatar.Publish(ctx, alice, picture, "image/png", 64, 64); err != nil {
			t.Fatal(err)
		}
		infos := receive(t, pictures)
		if len(infos) != 1 || infos[0].ID != avatar.ID(picture) || infos[0].Width != 64 {
			t.Fatalf("picture %+v", infos)
		}
		if got, err := avatar.Fetch(ctx, bob, alice.Account(), infos[0]); err != nil || !bytes.Equal(got, picture) {
			t.Errorf("picture of %d bytes, %v", len(got), err)
		}
		if yes, err := avatar.Converts(ctx, alice); err != nil {
			t.Error(err)
		} else if yes {
			if p, err := avatar.FetchVCard(ctx, bob, alice.Account(), avatar.ID(picture)); err != nil || !bytes.Equal(p.Data, picture) {
				t.Errorf("the server does not convert: %v", err)
			}
		} else if s.Software == "Prosody" {
			t.Error("Prosody does not convert")
		}

		card := &vcard.Card{FullName: "Alice Liddell", Emails: []string{"alice@example.org"}, Phones: []string{"tel:+1-555-0100"}, Organization: "Wonderland"}
		if err := errors.Join(vcard.SetTemp(ctx, alice, card), vcard.Publish(ctx, alice, card, true)); err != nil {
			t.Fatal(err)
		}
		for name, get := range map[string]func() (*vcard.Card, error){
			"node":       func() (*vcard.Card, error) { return vcard.Get(ctx, bob, alice.Account()) },
			"vcard-temp": func() (*vcard.Card, error) { return vcard.GetTemp(ctx, bob, alice.Account()) },
		} {
			if got, err := get(); err != nil || got.FullName != card.FullName || len(got.Emails) != 1 || got.Organization != card.Organization {
				t.Errorf("card by %s: %+v, %v", name, got, err)
			}
		}
		if _, err := vcard.GetTemp(ctx, bob, jid.MustParse("carol@"+s.Domain)); !errors.Is(err, pubsub.ErrNoItem) {
			t.Errorf("card of who has none: %v", err)
		}

		for range 2 {
			if info, err := can.Features(ctx, alice.JID()); err != nil || !info.Has("urn:xmpp:ping") {
				t.Errorf("alice's client can %+v, %v", info, err)
			}
		}
	})
}

// receive waits for what a channel brings.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-patient(t).Done():
		t.Fatalf("no %T came", *new(T))
		panic("unreachable")
	}
}

// Services for calls, and the registration of push, where a server has them.
func TestXMPPServices(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		ctx := patient(t)
		alice := signIn(t, s, "alice", nil)
		if s.Software == "Prosody" { // ejabberd is not configured for it
			all, err := extdisco.Services(ctx, alice, jid.JID{}, "turn")
			if err != nil || len(all) != 1 || all[0].Host != "turn."+s.Domain || all[0].Port != 3478 || all[0].Transport != "udp" || all[0].Username == "" || all[0].Password == "" || !all[0].Restricted {
				for i := range all {
					all[i].Password = ""
				}
				t.Errorf("services %+v, %v", all, err)
			}
		}
		// Prosody has push in a module that is not its own.
		if yes, err := push.Supported(ctx, alice); err != nil || yes != (s.Software == "ejabberd") {
			t.Fatalf("push: %t, %v", yes, err)
		} else if !yes {
			return
		}
		service := jid.MustParse("push.example.org")
		if err := errors.Join(push.Enable(ctx, alice, service, "node"), push.Disable(ctx, alice, service, "node"), push.Disable(ctx, alice, service, "")); err != nil {
			t.Error(err)
		}
	})
}
