package interop

import (
	"context"
	"errors"
	"testing"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/archive"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/muc"
	"github.com/hoorn-phone/hoorn/xmpp/stanzaid"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// guest is a user of a server who goes into rooms.
type guest struct {
	*testing.T
	c       *xmpp.Client
	rooms   *muc.Rooms
	archive *archive.Archive
}

func newGuest(t *testing.T, s *peertest.XMPPServer, user string) *guest {
	t.Helper()
	c := newClient(t, s, user, nil)
	rooms, err := muc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := archive.New(c)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t, c, rooms, archive}
	if err := c.Connect(g.patience()); err != nil {
		t.Fatal(err)
	}
	return g
}

// patience is for what a server does at once when the machine is idle.
func (g *guest) patience() context.Context {
	ctx, cancel := context.WithTimeout(g.Context(), xmppPatience)
	g.Cleanup(cancel)
	return ctx
}

func (g *guest) join(addr jid.JID, nick string, opts *muc.Options) *muc.Room {
	g.Helper()
	room, err := g.rooms.Join(g.patience(), addr, nick, opts)
	if err != nil {
		g.Fatalf("%s as %s: %v", addr, nick, err)
	}
	return room
}

// must fails if something did not work.
func (g *guest) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// make makes a room with a configuration.
func (g *guest) make(addr jid.JID, nick string, fields ...form.Field) *muc.Room {
	g.Helper()
	room := g.join(addr, nick, nil)
	if !room.Created() {
		g.Fatalf("%s was there already", addr)
	}
	if len(fields) == 0 {
		g.must(room.AcceptDefaults(g.patience()))
	} else {
		g.must(room.Configure(g.patience(), fields...))
	}
	return room
}

// await follows changes in the background from now on; the function that it returns waits for one.
func (g *guest) await(room *muc.Room) func(what string, is func(muc.Change) bool) muc.Change {
	changes := make(chan muc.Change, 1000)
	started := make(chan struct{})
	ctx := g.Context()
	go func() {
		defer close(changes)
		close(started)
		for c := range room.Changes(ctx) {
			changes <- c
		}
	}()
	<-started
	return func(what string, is func(muc.Change) bool) muc.Change {
		g.Helper()
		ctx := g.patience()
		var seen []muc.Change
		for {
			select {
			case c, ok := <-changes:
				switch {
				case !ok:
					g.Fatalf("%s: no more changes; there were %+v", what, seen)
				case is(c):
					return c
				}
				seen = append(seen, c)
			case <-ctx.Done():
				g.Fatalf("%s did not happen; what did: %+v", what, seen)
			}
		}
	}
}

func kind(k muc.ChangeKind, nick string) func(muc.Change) bool {
	return func(c muc.Change) bool { return c.Kind == k && (nick == "" || c.Occupant.Nick == nick) }
}

// said waits for a text in a room.
func (g *guest) said(room *muc.Room, text string) *xmpp.Message {
	g.Helper()
	for m := range g.c.Messages(g.patience()) {
		if m.From.Bare().Equal(room.Addr()) && m.Body() == text {
			return m
		}
	}
	g.Fatalf("%s does not hear %q in %s", g.c.Account(), text, room.Addr())
	return nil
}

func (g *guest) say(m *xmpp.Message) {
	g.Helper()
	_, err := g.c.Send(g.patience(), m)
	g.must(err)
}

func text(s string) *xmltree.Element { return xmltree.NewText(xmpp.NSClient, "body", s) }

// Rooms at both servers, with three users: the verbs of everybody, of moderators, admins and owners.
func TestXMPPRooms(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		alice, bob, carol := newGuest(t, s, "alice"), newGuest(t, s, "bob"), newGuest(t, s, "carol")
		service := jid.MustParse("rooms." + s.Domain)
		addr := func(name string) jid.JID {
			j, err := service.WithLocal(name)
			if err != nil {
				t.Fatal(err)
			}
			return j
		}

		t.Run("found", func(t *testing.T) {
			services, err := alice.rooms.Services(alice.patience(), jid.JID{})
			if err != nil || len(services) != 1 || !services[0].JID.Equal(service) {
				t.Errorf("services are %v, %v", services, err)
			}
			alice.make(addr("found"), "Alice", form.Text("muc#roomconfig_roomname", "A Dark Cave"), form.Flag("muc#roomconfig_publicroom", true))
			info, err := bob.rooms.Info(bob.patience(), addr("found"))
			if err != nil || info.Name != "A Dark Cave" || info.MembersOnly || info.Occupants != 1 {
				t.Errorf("the room is %+v, %v", info, err)
			}
			list, err := bob.rooms.List(bob.patience(), service)
			found := false
			for _, item := range list {
				found = found || item.JID.Equal(addr("found"))
			}
			if err != nil || !found {
				t.Errorf("rooms are %v, %v", list, err)
			}
			var refused stanza.Error
			if _, err := bob.rooms.Info(bob.patience(), addr("nowhere")); !errors.As(err, &refused) || refused.Condition != stanza.ItemNotFound {
				t.Errorf("a room that is not: %v", err)
			}
		})

		t.Run("talk", func(t *testing.T) {
			a := alice.make(addr("talk"), "Alice")
			next := alice.await(a)
			b := bob.join(addr("talk"), "Bob", nil)
			in := next("bob enters", kind(muc.Entered, "Bob")).Occupant
			if in.Role != muc.RoleParticipant || !in.Real.Bare().Equal(bob.c.Account()) { // which owners see
				t.Errorf("bob is %+v", in)
			}
			if s.Software == "Prosody" && (in.ID == "" || !a.Info().OccupantIDs || in.Author() != "id:"+in.ID) {
				t.Errorf("bob's occupant-id is %q", in.ID)
			}
			if me, ok := b.Self(); !ok || me.Nick != "Bob" || len(b.Occupants()) != 2 {
				t.Errorf("bob sees %+v, %v", me, b.Occupants())
			}
			bob.say(b.Message(text("Hello")))
			m := alice.said(a, "Hello")
			if o, ok := alice.rooms.Author(m); !ok || o.Author() != in.Author() {
				t.Errorf("who says hello is %+v, %t", o, ok)
			}
			var kept []string
			for r, err := range alice.archive.Results(alice.patience(), &archive.Query{Of: a.Addr()}) {
				alice.must(err)
				if r.Message.Body() == "" {
					continue
				}
				kept = append(kept, r.Message.Body())
				if o, ok := alice.rooms.PastAuthor(r.Message); ok != a.Info().OccupantIDs || ok && o.Author() != in.Author() {
					t.Errorf("who said %q is %+v, %t", r.Message.Body(), o, ok)
				}
			}
			if !a.Info().Archive || len(kept) != 1 || kept[0] != "Hello" {
				t.Errorf("the archive has %q", kept)
			}
			alice.say(a.Private("Bob", text("Between us")))
			if m := bob.said(b, "Between us"); !bob.rooms.IsPrivate(m) || m.From.Resourcepart() != "Alice" {
				t.Errorf("in private: %v", m)
			}
			alice.must(a.SetSubject(alice.patience(), "Fire Burn"))
			next("a new subject", func(c muc.Change) bool {
				return c.Kind == muc.SubjectChanged && c.Subject == "Fire Burn" && c.Occupant.Nick == "Alice"
			})
			bob.must(b.SetNick(bob.patience(), "Robert"))
			if c := next("a new nick", kind(muc.Renamed, "Robert")); c.Before.Nick != "Bob" || c.Occupant.Epoch != in.Epoch || b.Nick() != "Robert" {
				t.Errorf("renamed: %+v", c)
			}
			if err := b.SetNick(bob.patience(), "Alice"); !errors.Is(err, muc.ErrNickConflict) || b.Nick() != "Robert" {
				t.Errorf("a nick that is taken: %v", err)
			}
			if _, err := carol.rooms.Join(carol.patience(), addr("talk"), "Alice", nil); !errors.Is(err, muc.ErrNickConflict) {
				t.Errorf("carol as Alice: %v", err)
			}
			c := carol.join(addr("talk"), "Alice", &muc.Options{Alternatives: []string{"Carol"}, History: muc.History{Stanzas: 10}})
			if c.Nick() != "Carol" {
				t.Errorf("carol is %s", c.Nick())
			}
			if m := carol.said(c, "Hello"); s.Software == "Prosody" {
				if o, ok := carol.rooms.Author(m); !ok || o.Nick != "Robert" || o.ID != in.ID {
					t.Errorf("who said hello is %+v, %t", o, ok)
				}
			} else if o, ok := carol.rooms.Author(m); ok {
				t.Errorf("who said hello is %+v", o)
			}
			carol.must(carol.rooms.SetPresence(carol.patience(), &xmpp.Presence{Payload: []*xmltree.Element{xmltree.NewText(xmpp.NSClient, "show", "dnd")}}))
			next("carol is busy", func(c muc.Change) bool { return c.Occupant.Nick == "Carol" && c.Occupant.Show == xmpp.ShowDoNotDisturb })
			bob.must(b.Leave(bob.patience(), "so long"))
			if c := next("bob leaves", kind(muc.Gone, "Robert")); c.Cause != muc.CauseLeft {
				t.Errorf("gone: %+v", c)
			}
			if err := b.Wait(bob.patience()); err != muc.ErrLeft {
				t.Errorf("bob's room ended with %v", err)
			}
		})

		t.Run("moderated", func(t *testing.T) {
			a := alice.make(addr("moderated"), "Alice", form.Flag("muc#roomconfig_moderatedroom", true))
			next := alice.await(a)
			b := bob.join(addr("moderated"), "Bob", nil)
			if me, _ := b.Self(); me.Role != muc.RoleVisitor && s.Software == "Prosody" {
				t.Errorf("bob is %+v", me)
			}
			alice.must(a.SetRole(alice.patience(), "Bob", muc.RoleVisitor, ""))
			bob.must(b.RequestVoice(bob.patience()))
			v := next("bob wants voice", kind(muc.VoiceRequested, "")).Voice
			if !v.JID.Bare().Equal(bob.c.Account()) || v.Nick != "Bob" || v.Role != muc.RoleParticipant {
				t.Errorf("the request is %+v", v)
			}
			mine := bob.await(b)
			alice.must(a.AnswerVoice(alice.patience(), v, true))
			mine("bob has voice", func(c muc.Change) bool {
				return c.Kind == muc.Updated && c.Occupant.Self && c.Occupant.Role == muc.RoleParticipant
			})

			alice.must(a.Kick(alice.patience(), "Bob", "Avaunt!"))
			var out *muc.ExitError
			if err := b.Wait(bob.patience()); !errors.As(err, &out) || out.Cause != muc.CauseKicked || out.Reason != "Avaunt!" {
				t.Errorf("bob is out because %v", err)
			}
			b = bob.join(addr("moderated"), "Bob", nil)
			var refused stanza.Error
			if err := b.Kick(bob.patience(), "Alice", ""); !errors.As(err, &refused) {
				t.Errorf("bob kicks alice: %v", err)
			}
			alice.must(a.Ban(alice.patience(), bob.c.Account(), "Treason"))
			if err := b.Wait(bob.patience()); !errors.As(err, &out) || out.Cause != muc.CauseBanned || out.Reason != "Treason" {
				t.Errorf("bob is out because %v", err)
			}
			next("bob is banned", func(c muc.Change) bool { return c.Kind == muc.Gone && c.Cause == muc.CauseBanned })
			list, err := a.Members(alice.patience(), muc.AffiliationOutcast)
			if err != nil || len(list) != 1 || !list[0].JID.Equal(bob.c.Account()) || list[0].Reason != "Treason" && s.Software != "Prosody" { // which forgets why
				t.Errorf("banned are %+v, %v", list, err)
			}
			// ejabberd 23 lets him in, as an outcast who may speak.
			if _, err := bob.rooms.Join(bob.patience(), addr("moderated"), "Bob", nil); !errors.Is(err, muc.ErrBanned) && s.Software == "Prosody" {
				t.Errorf("bob comes back: %v", err)
			}
			alice.must(a.SetMembers(alice.patience(), muc.Member{JID: bob.c.Account(), Affiliation: muc.AffiliationNone}, muc.Member{JID: carol.c.Account(), Affiliation: muc.AffiliationAdmin}))
			if list, err := a.Members(alice.patience(), muc.AffiliationOutcast); err != nil || len(list) != 0 {
				t.Errorf("banned are %+v, %v", list, err)
			}
			c := carol.join(addr("moderated"), "Carol", nil)
			if me, _ := c.Self(); me.Affiliation != muc.AffiliationAdmin || me.Role != muc.RoleModerator {
				t.Errorf("carol is %+v", me)
			}
			mods, err := a.ByRole(alice.patience(), muc.RoleModerator)
			if err != nil || len(mods) != 2 {
				t.Errorf("moderators are %+v, %v", mods, err)
			}
		})

		t.Run("for members", func(t *testing.T) {
			a := alice.make(addr("members"), "Alice", form.Flag("muc#roomconfig_membersonly", true), form.Flag("muc#roomconfig_allowinvites", true))
			if _, err := bob.rooms.Join(bob.patience(), addr("members"), "Bob", nil); !errors.Is(err, muc.ErrMembersOnly) {
				t.Errorf("bob without invitation: %v", err)
			}
			alice.must(a.Invite(alice.patience(), bob.c.Account(), "Hey Bob"))
			for i := range bob.rooms.Invitations(bob.patience()) {
				if i.Direct || !i.Room.Equal(addr("members")) || i.Reason != "Hey Bob" || !i.From.Bare().Equal(alice.c.Account()) && !i.From.Bare().Equal(addr("members")) {
					t.Errorf("invited by %+v", i)
				}
				if _, err := bob.rooms.Accept(bob.patience(), i, "Bob", nil); err != nil {
					t.Error(err)
				}
				break
			}
			next := alice.await(a)
			alice.must(a.Invite(alice.patience(), carol.c.Account(), ""))
			for i := range carol.rooms.Invitations(carol.patience()) {
				carol.must(carol.rooms.Decline(carol.patience(), i, "too busy"))
				break
			}
			if c := next("carol declines", kind(muc.Declined, "")); c.Reason != "too busy" || !c.Actor.JID.Bare().Equal(carol.c.Account()) {
				t.Errorf("declined: %+v", c)
			}
			alice.must(a.SetAffiliation(alice.patience(), bob.c.Account(), muc.AffiliationNone, ""))
			if c := next("bob is sent away", kind(muc.Gone, "Bob")); c.Cause != muc.CauseAffiliation {
				t.Errorf("gone: %+v", c)
			}
		})

		t.Run("with a password", func(t *testing.T) {
			a := alice.make(addr("password"), "Alice", form.Flag("muc#roomconfig_passwordprotectedroom", true), form.Text("muc#roomconfig_roomsecret", "cauldronburn"))
			for _, password := range []string{"", "wrong"} {
				if _, err := bob.rooms.Join(bob.patience(), addr("password"), "Bob", &muc.Options{Password: password}); !errors.Is(err, muc.ErrPassword) {
					t.Errorf("with password %q: %v", password, err)
				}
			}
			bob.join(addr("password"), "Bob", &muc.Options{Password: "cauldronburn"})
			d, err := a.Configuration(alice.patience())
			if err != nil || d.Get("muc#roomconfig_roomsecret") != "cauldronburn" {
				t.Errorf("configuration %+v, %v", d, err)
			}
			next := alice.await(a)
			alice.must(a.Configure(alice.patience(), form.Flag("muc#roomconfig_passwordprotectedroom", false), form.Text("muc#roomconfig_roomsecret", "")))
			next("configured", kind(muc.Configured, ""))
			next("known anew", kind(muc.InfoChanged, ""))
			if a.Info().Password {
				t.Error("it still wants a password")
			}
			carol.join(addr("password"), "Carol", nil)
			// Directly, without the room.
			b := bob.rooms.Room(addr("password"))
			bob.must(b.InviteDirectly(bob.patience(), alice.c.JID(), "come"))
			for i := range alice.rooms.Invitations(alice.patience()) {
				if !i.Direct || !i.Room.Equal(addr("password")) || !i.From.Equal(bob.c.JID()) || i.Reason != "come" || i.Password != "cauldronburn" {
					t.Errorf("invited by %+v", i)
				}
				break
			}
		})

		t.Run("destroyed", func(t *testing.T) {
			a := alice.make(addr("destroyed"), "Alice")
			b := bob.join(addr("destroyed"), "Bob", nil)
			var refused stanza.Error
			if err := b.Destroy(bob.patience(), jid.JID{}, ""); !errors.As(err, &refused) || refused.Condition != stanza.Forbidden {
				t.Errorf("bob destroys it: %v", err)
			}
			if _, err := b.Configuration(bob.patience()); !errors.As(err, &refused) || refused.Condition != stanza.Forbidden {
				t.Errorf("bob configures it: %v", err)
			}
			alice.must(a.Destroy(alice.patience(), addr("talk"), "Macbeth doth come"))
			for _, room := range []*muc.Room{a, b} {
				var out *muc.ExitError
				if err := room.Wait(alice.patience()); !errors.As(err, &out) || out.Cause != muc.CauseDestroyed || out.Destruction.Reason != "Macbeth doth come" || !out.Destruction.Venue.Equal(addr("talk")) {
					t.Errorf("ended with %v", err)
				}
			}
		})

		t.Run("not made", func(t *testing.T) {
			a := alice.join(addr("cancelled"), "Alice", nil)
			alice.must(a.CancelConfiguration(alice.patience()))
			alice.must(a.Leave(alice.patience(), "")) // neither server destroys it by itself
			if again := alice.join(addr("cancelled"), "Alice", nil); !again.Created() {
				t.Error("the room has stayed")
			}
		})

		t.Run("moderation of messages", func(t *testing.T) {
			a := alice.make(addr("moderation"), "Alice")
			if !a.Info().Moderation {
				if err := a.Moderate(alice.patience(), "x", ""); err != muc.ErrNoModeration {
					t.Errorf("where it cannot be done: %v", err)
				}
				t.Skipf("%s has none", s.Software)
			}
			alice.say(a.Message(text("Bad")))
			id := stanzaid.Of(alice.said(a, "Bad"), a.Addr())
			alice.must(a.Moderate(alice.patience(), id, "bad"))
			for m := range alice.c.Messages(alice.patience()) {
				if got, ok := muc.ParseModeration(m); ok {
					if got.ID != id || got.Reason != "bad" || got.By.Resourcepart() != "Alice" {
						t.Errorf("moderated: %+v", got)
					}
					return
				}
			}
			t.Error("nobody is told")
		})

		t.Run("registered", func(t *testing.T) {
			a := alice.make(addr("registered"), "Alice")
			alice.must(a.SetAffiliation(alice.patience(), bob.c.Account(), muc.AffiliationMember, "")) // Prosody registers nobody else
			b := bob.join(addr("registered"), "Bob", nil)
			if _, err := b.Registration(bob.patience()); err != nil {
				t.Skipf("%s has no registration: %v", s.Software, err)
			}
			bob.must(b.Register(bob.patience(), "Bob"))
			reg, err := b.Registration(bob.patience())
			if err != nil || !reg.Registered || reg.Nick != "Bob" {
				t.Errorf("registered as %+v, %v", reg, err)
			}
			if nick, err := bob.rooms.ReservedNick(bob.patience(), b.Addr()); err != nil || nick != "Bob" {
				t.Errorf("reserved is %q, %v", nick, err)
			}
			bob.must(b.Unregister(bob.patience()))
		})
	})
}

// A server that dies and comes back finds everybody in the room again.
func TestXMPPRoomsRejoin(t *testing.T) {
	eachServer(t, func(t *testing.T, s *peertest.XMPPServer) {
		alice, bob := newGuest(t, s, "alice"), newGuest(t, s, "bob")
		addr := jid.MustParse("coven@rooms." + s.Domain)
		a := alice.make(addr, "Alice", form.Flag("muc#roomconfig_persistentroom", true))
		b := bob.join(addr, "Bob", nil)
		next, mine := alice.await(a), bob.await(b)
		s.Kill()
		s.Start()
		next("alice's session is gone", kind(muc.Left, ""))
		next("alice is back", kind(muc.Synced, "Alice"))
		mine("bob is back", kind(muc.Synced, "Bob"))
		deadline := time.Now().Add(xmppPatience)
		for len(a.Occupants()) < 2 && time.Now().Before(deadline) {
			next("bob enters", kind(muc.Entered, "Bob"))
		}
		bob.say(b.Message(text("Here again")))
		alice.said(a, "Here again")
	})
}
