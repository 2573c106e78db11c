package interop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/archive"
	"github.com/hoorn-phone/hoorn/xmpp/carbons"
	"github.com/hoorn-phone/hoorn/xmpp/forward"
	"github.com/hoorn-phone/hoorn/xmpp/stanzaid"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// signInWith is signIn with extensions.
func signInWith(t *testing.T, s *peertest.XMPPServer, user string, use func(*xmpp.Client) error) *xmpp.Client {
	t.Helper()
	c := newClient(t, s, user, nil)
	if err := use(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), xmppPatience)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// patient is a context for what a server does at once.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), xmppPatience)
	t.Cleanup(cancel)
	return ctx
}

// What two people said is in the archives of both, in order, whatever the direction and the pages (XEP-0313).
func TestXMPPArchive(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		ctx := patient(t)
		var a *archive.Archive
		alice := signInWith(t, s, "alice", func(c *xmpp.Client) (err error) { a, err = archive.New(c); return err })
		bob := signIn(t, s, "bob", nil)
		const n = 60 // more than Prosody gives at once
		var want, ids []string
		for i := range n {
			text := fmt.Sprintf("number %d", i)
			want = append(want, text)
			say(t, bob, alice.JID(), text)
			m := hear(t, alice)
			if m.Body() != text {
				t.Fatalf("heard %q", m.Body())
			}
			ids = append(ids, stanzaid.Of(m, alice.Account()))
		}
		read := func(q archive.Query) (texts, read []string) {
			t.Helper()
			q.With = bob.Account()
			for r, err := range a.Results(ctx, &q) {
				if err != nil {
					t.Errorf("%+v: %v", q, err)
					break
				}
				texts, read = append(texts, r.Message.Body()), append(read, r.ID)
			}
			return texts, read
		}
		for _, size := range []int{0, 7, 1000} {
			texts, got := read(archive.Query{PageSize: size})
			if !slices.Equal(texts, want) || !slices.Equal(got, ids) {
				t.Errorf("pages of %d, forward: %q, ids %q want %q", size, texts, got, ids)
			}
			texts, _ = read(archive.Query{PageSize: size, Backward: true})
			if slices.Reverse(texts); !slices.Equal(texts, want) {
				t.Errorf("pages of %d, backward: %q", size, texts)
			}
		}
		if texts, _ := read(archive.Query{After: ids[n-3]}); !slices.Equal(texts, want[n-2:]) {
			t.Errorf("after one: %q", texts)
		}
		if texts, _ := read(archive.Query{Before: ids[2], Backward: true}); !slices.Equal(texts, []string{want[1], want[0]}) {
			t.Errorf("before one: %q", texts)
		}
		supported, extended, err := archive.Supports(ctx, alice, jid.JID{})
		if err != nil || !supported || extended != (s.Software == "Prosody") {
			t.Errorf("supports %t, %t, %v", supported, extended, err)
		}
		if extended {
			if texts, _ := read(archive.Query{AfterID: ids[1], BeforeID: ids[4]}); !slices.Equal(texts, want[2:4]) {
				t.Errorf("between two: %q", texts)
			}
			if texts, _ := read(archive.Query{IDs: []string{ids[5], ids[9]}}); !slices.Equal(texts, []string{want[5], want[9]}) {
				t.Errorf("two: %q", texts)
			}
			if m, err := archive.AskMetadata(ctx, alice, jid.JID{}); err != nil || m.Last.ID != ids[n-1] {
				t.Errorf("metadata %+v, %v", m, err)
			}
		}
		if d, err := archive.Fields(ctx, alice, jid.JID{}); err != nil || d.Field("with") == nil {
			t.Errorf("fields %+v, %v", d, err)
		}
		if s.Software == "Prosody" { // ejabberd's ids are times: it goes on from where one would be
			if _, err := a.Page(ctx, &archive.Query{After: "nothing-of-this-name"}); !errors.Is(err, archive.ErrGone) {
				t.Errorf("after what is not there: %v", err)
			}
		}
		p, err := archive.SetPreferences(ctx, alice, &archive.Preferences{Default: archive.Roster, Always: []jid.JID{bob.Account()}})
		if err == nil {
			p, err = archive.AskPreferences(ctx, alice)
		}
		if err != nil || p.Default != archive.Roster || len(p.Always) != 1 {
			t.Errorf("preferences %+v, %v", p, err)
		}
	})
}

// What one client sends and receives comes to the other (XEP-0280); what a stranger makes look like it does not.
func TestXMPPCarbons(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		copies := make(chan *carbons.Carbon, 10)
		phone := signIn(t, s, "alice", nil)
		desk := signInWith(t, s, "alice", func(c *xmpp.Client) error { return carbons.Use(c, func(c *carbons.Carbon) { copies <- c }) })
		bob := signIn(t, s, "bob", nil)
		forged := chatMessage(desk.JID(), "")
		e := bob.JID().String()
		inner := chatMessage(alice(s), "forged").Element().Set("from", e)
		forged.Payload = append(forged.Payload, wrap(inner))
		if _, err := bob.Send(patient(t), forged); err != nil {
			t.Fatal(err)
		}
		say(t, bob, phone.JID(), "to the phone")
		hears(t, phone, bob.JID(), "to the phone")
		say(t, phone, bob.JID(), "from the phone")
		var got []string
		for range 2 {
			select {
			case c := <-copies:
				got = append(got, fmt.Sprintf("%t %s", c.Sent, c.Message.Body()))
			case <-patient(t).Done():
				t.Fatal("no copy")
			}
		}
		if all := strings.Join(got, ", "); all != "false to the phone, true from the phone" {
			t.Errorf("copies: %s", all)
		}
	})
}

func alice(s *peertest.XMPPServer) jid.JID { return jid.MustParse("alice@" + s.Domain) }

// wrap makes a message look like a carbon copy.
func wrap(m *xmltree.Element) *xmltree.Element {
	return xmltree.New(carbons.NS, "received", xmltree.New(forward.NS, "forwarded", m))
}
