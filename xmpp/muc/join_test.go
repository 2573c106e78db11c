package muc

import (
	"context"
	"errors"
	"testing"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
)

// XEP-0045 §7.2.1 and §7.2.2, examples 18 to 20.
func TestJoin(t *testing.T) {
	onStage(t, func(s *stage) {
		room, err := s.join(info("i", features)+enters+others+`
S: <presence from='coven@chat.shakespeare.lit/thirdwitch'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' role='participant'/>
  <status code='100'/><status code='110'/><status code='170'/><status code='210'/></x></presence>`, nil)
		if err != nil {
			s.Fatal(err)
		}
		if got := nicks(room.Occupants()); got != "firstwitch secondwitch thirdwitch" {
			s.Errorf("occupants are %s", got)
		}
		second, ok := room.Occupant("secondwitch")
		if !ok || second.Role != RoleModerator || second.Affiliation != AffiliationAdmin || second.Real.String() != "wiccarocks@shakespeare.lit/laptop" ||
			second.Show != xmpp.ShowAway || second.Status != "brewing" || second.Self || second.Unsafe || second.JID.String() != "coven@chat.shakespeare.lit/secondwitch" {
			s.Errorf("the second witch is %+v, %t", second, ok)
		}
		me, ok := room.Self()
		if !ok || !me.Self || me.Nick != nick || me.Role != RoleParticipant || me.Epoch == second.Epoch {
			s.Errorf("we are %+v, %t", me, ok)
		}
		if state, err := room.State(); state != Joined || err != nil || !room.ShowsReal() || !room.Logged() || room.Created() || room.Session() != 1 {
			s.Errorf("state %v, %v", state, err)
		}
		if room.Info().Name != "A Dark Cave" || s.rooms.Room(second.JID) != room || len(s.rooms.All()) != 1 || room.Addr().String() != coven.String() {
			s.Errorf("the room is %+v", room.Info())
		}
		if _, err := s.rooms.Join(s.Context(), coven, "again", nil); err != ErrJoined {
			s.Errorf("joined twice: %v", err)
		}
	})
}

// The nick can be another than was asked for (§7.2.3, status 210); password (§7.2.6, example 29) and history (§7.2.15, examples 36 to 41) are asked as told.
func TestJoinOptions(t *testing.T) {
	for name, c := range map[string]struct {
		opts  Options
		asked string // in the element x
	}{
		"password":          {Options{Password: "cauldronburn"}, "<history maxstanzas='0'/><password>cauldronburn</password>"},
		"history":           {Options{History: History{Stanzas: 20}}, "<history maxstanzas='20'/>"},
		"since":             {Options{History: History{Since: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}}, "<history since='1970-01-01T00:00:00Z'/>"},
		"since, and 3":      {Options{History: History{Stanzas: 3, Since: time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)}}, "<history maxstanzas='3' since='1970-01-01T00:00:00Z'/>"},
		"less than nothing": {Options{History: History{Stanzas: -1}}, "<history maxstanzas='0'/>"},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				room, err := s.join(info("i", features)+`
C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{enter}'><x xmlns='http://jabber.org/protocol/muc'>`+c.asked+`</x></presence>
S: <presence from='coven@chat.shakespeare.lit/hag'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' role='participant'/>
  <status code='110'/><status code='210'/></x></presence>`, &c.opts)
				if err != nil || room.Nick() != "hag" {
					s.Errorf("joined as %v, %v", room, err)
				}
			})
		})
	}
}

// §7.2: what a room may answer, examples 28 to 35.
func TestJoinRefused(t *testing.T) {
	for _, c := range []struct {
		section, typ, condition string
		want                    error
	}{
		{"7.2.6", "auth", "not-authorized", ErrPassword},
		{"7.2.7", "auth", "registration-required", ErrMembersOnly},
		{"7.2.8", "auth", "forbidden", ErrBanned},
		{"7.2.9", "cancel", "conflict", ErrNickConflict},
		{"7.2.10", "wait", "service-unavailable", ErrFull},
		{"7.2.11", "cancel", "item-not-found", ErrNoRoom},
		{"7.10", "cancel", "not-acceptable", ErrNickReserved},
		{"10.1.1", "cancel", "not-allowed", ErrNotAllowed},
		{"7.2.1", "modify", "jid-malformed", ErrNick},
		{"limit", "wait", "resource-constraint", ErrLimit},
		{"10.9", "cancel", "gone", ErrDestroyed},
	} {
		t.Run(c.section, func(t *testing.T) {
			onStage(t, func(s *stage) {
				room, err := s.join(info("i", features)+enters+`
S: <presence from='coven@chat.shakespeare.lit/thirdwitch' id='of another' type='error'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
S: <presence from='coven@chat.shakespeare.lit/thirdwitch' id='{enter}' type='error'><x xmlns='http://jabber.org/protocol/muc'/>
  <error by='coven@chat.shakespeare.lit' type='`+c.typ+`'><`+c.condition+` xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>`, nil)
				var refused *JoinError
				var own stanza.Error
				if room != nil || !errors.Is(err, c.want) || !errors.As(err, &refused) || refused.Nick != nick || !errors.As(err, &own) || string(own.Condition) != c.condition {
					s.Errorf("%v, %v", room, err)
				}
				if s.rooms.Room(coven) != nil {
					s.Error("the room is among those that are joined")
				}
			})
		})
	}
}

// Nicks that somebody else has give way to the next; when none is left, the first refusal is the error.
func TestAlternatives(t *testing.T) {
	conflict := func(nick, id string) string {
		return `
C: <presence to='coven@chat.shakespeare.lit/` + nick + `' id='{` + id + `}'><x xmlns='http://jabber.org/protocol/muc'><any/></x></presence>
S: <presence from='coven@chat.shakespeare.lit/` + nick + `' id='{` + id + `}' type='error'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>`
	}
	opts := &Options{Alternatives: []string{"hag", "crone"}}
	onStage(t, func(s *stage) {
		room, err := s.join(info("i", features)+conflict(nick, "1")+conflict("hag", "2")+`
C: <presence to='coven@chat.shakespeare.lit/crone' id='{3}'><any/></presence>
S: <presence from='coven@chat.shakespeare.lit/crone'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='visitor'/><status code='110'/></x></presence>`, opts)
		if err != nil || room.Nick() != "crone" {
			s.Errorf("joined as %v, %v", room, err)
		}
	})
	onStage(t, func(s *stage) {
		_, err := s.join(info("i", features)+conflict(nick, "1")+conflict("hag", "2")+conflict("crone", "3"), opts)
		var refused *JoinError
		if !errors.Is(err, ErrNickConflict) || !errors.As(err, &refused) || refused.Nick != nick {
			s.Errorf("got %v", err)
		}
	})
}

func TestJoinArguments(t *testing.T) {
	onStage(t, func(s *stage) {
		for addr, want := range map[string]error{"chat.shakespeare.lit": ErrAddress, "coven@chat.shakespeare.lit/x": ErrAddress} {
			if _, err := s.rooms.Join(s.Context(), jid.MustParse(addr), nick, nil); err != want {
				s.Errorf("%s: %v", addr, err)
			}
		}
		for _, nick := range []string{"", "\u00ad", string(make([]byte, 2000))} {
			if _, err := s.rooms.Join(s.Context(), coven, nick, nil); err != ErrNick {
				s.Errorf("%.10q: %v", nick, err)
			}
		}
	})
}

// A room that does not answer is left: it may let us in when nobody waits any more.
func TestJoinTimeout(t *testing.T) {
	onStage(t, func(s *stage) {
		start := time.Now()
		_, err := s.join(info("i", features)+enters+"C: <presence to='coven@chat.shakespeare.lit/thirdwitch' type='unavailable'/>", &Options{Timeout: 5 * time.Second})
		if err != errSilent || time.Since(start) != 5*time.Second || len(s.rooms.All()) != 0 {
			s.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeoutCause(s.Context(), time.Second, errors.New("enough"))
		defer cancel()
		_, err = xmppstage.During(s.Stage, info("j", features)+"C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'><any/></presence>\nC: <presence to='coven@chat.shakespeare.lit/thirdwitch' type='unavailable'/>",
			func() (*Room, error) { return s.rooms.Join(ctx, coven, nick, nil) })
		if err == nil || err.Error() != "enough" {
			s.Errorf("got %v", err)
		}
	})
}

// §10.1: a room that did not exist is ours, and locked until it is configured: examples 153 to 159.
func TestCreate(t *testing.T) {
	onStage(t, func(s *stage) {
		room, err := s.join(`
C: <iq type='get' to='coven@chat.shakespeare.lit' id='{i}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>
S: <iq type='error' from='coven@chat.shakespeare.lit' id='{i}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
`+enters+`
S: <presence from='coven@chat.shakespeare.lit/thirdwitch'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/><status code='110'/><status code='201'/></x>
  <occupant-id xmlns='urn:xmpp:occupant-id:0' id='me'/></presence>
`+info("again", features+"<feature var='urn:xmpp:occupant-id:0'/>"), nil)
		if err != nil || !room.Created() {
			s.Fatal(err)
		}
		if me, _ := room.Self(); me.ID != "me" || me.Author() != "id:me" {
			s.Errorf("we are %+v", me)
		}
		if err := s.Do(`
C: <iq type='set' to='coven@chat.shakespeare.lit' id='{o}'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>
S: <iq type='result' from='coven@chat.shakespeare.lit' id='{o}'/>`, func() error { return room.AcceptDefaults(s.Context()) }); err != nil {
			s.Error(err)
		}
	})
}

// A client that is closed ends its rooms.
func TestClosed(t *testing.T) {
	var room *Room
	ended := make(chan error, 1)
	onStage(t, func(s *stage) {
		room = s.joined("")
		go func() { ended <- room.Wait(context.Background()) }()
	})
	if err := <-ended; err != xmpp.ErrClosed {
		t.Errorf("the room ended with %v", err)
	}
}
