package muc

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
)

// heard is what a hook after that of Rooms sees of a message, in that moment.
type heard struct {
	body   string
	author string // as Author says
	known  bool
}

// listening is a stage whose client has an extension behind Rooms, as chat is.
func listening(t *testing.T, test func(*stage, func() []heard)) {
	synctest.Test(t, func(t *testing.T) {
		s := new(stage)
		var all []heard
		xmppstage.Run(t, func(c *xmpp.Client) (err error) {
			if s.rooms, err = New(c); err != nil {
				return err
			}
			return c.Use(&xmpp.Extension{Name: "listener", Message: func(m *xmpp.Message) bool {
				o, ok := s.rooms.Author(m)
				author := o.Nick
				if o.ID != "" {
					author += " " + o.ID
				}
				all = append(all, heard{m.Body(), author, ok})
				return true
			}})
		}, "", func(x *xmppstage.Stage) {
			s.Stage = x
			test(s, func() []heard {
				s.sync()
				synctest.Wait()
				got := all
				all = nil
				return got
			})
		})
	})
}

func line(nick, body, more string) string {
	return says("from='coven@chat.shakespeare.lit/"+nick+"' type='groupchat'", "<body>"+body+"</body>"+more)
}

// Who has written a message is who has the nick when it comes, not a moment before or later.
func TestAuthor(t *testing.T) {
	listening(t, func(s *stage, got func() []heard) {
		s.joined("")
		s.Play(line("secondwitch", "1", "") +
			from("secondwitch", "unavailable", "<item nick='oldhag'/><status code='303'/>") + from("oldhag", "", "<item role='participant'/>") + line("oldhag", "2", "") +
			line("secondwitch", "3, of nobody", "") +
			from("secondwitch", "", "<item role='participant'/>") + line("secondwitch", "4, of another", "") +
			line("firstwitch", "5, of the past", "<delay xmlns='urn:xmpp:delay' from='coven@chat.shakespeare.lit' stamp='2002-10-13T23:58:37Z'/>") +
			says(itself+"type='groupchat'", "<body>6, of the room</body>") +
			line("firstwitch", "7, with an id that the room does not announce", "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>") +
			says("from='other@chat.shakespeare.lit/firstwitch' type='groupchat'", "<body>8, from elsewhere</body>") +
			says("from='coven@chat.shakespeare.lit/firstwitch' type='chat'", "<body>9, in private</body>"))
		want := []heard{
			{"1", "secondwitch", true}, {"2", "oldhag", true}, {"3, of nobody", "", false}, {"4, of another", "secondwitch", true}, {"5, of the past", "", false},
			{"6, of the room", "", false}, {"7, with an id that the room does not announce", "firstwitch", true}, {"8, from elsewhere", "", false}, {"9, in private", "firstwitch", true},
		}
		if all := got(); fmt.Sprint(all) != fmt.Sprint(want) {
			s.Errorf("heard %v\nwant %v", all, want)
		}
	})
}

// XEP-0421: where the room announces ids, they tell the author, there or not.
func TestAuthorID_XEP0421(t *testing.T) {
	id := func(id string) string {
		return "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='" + id + "'/>"
	}
	const past = "<delay xmlns='urn:xmpp:delay' from='coven@chat.shakespeare.lit' stamp='2002-10-13T23:58:37Z'/>"
	listening(t, func(s *stage, got func() []heard) {
		room := s.joined("<feature var='urn:xmpp:occupant-id:0'/>")
		s.Play("S: <presence from='coven@chat.shakespeare.lit/hag'><x xmlns='http://jabber.org/protocol/muc#user'><item role='participant'/></x>" + id("dd72603deec90a38ba552f7c68cbcc61bca202cd") + "</presence>\n" +
			line("hag", "1", id("dd72603deec90a38ba552f7c68cbcc61bca202cd")) +
			line("hag", "2, of who was hag", past+id("other")) +
			line("crone", "3, when hag was crone", past+id("dd72603deec90a38ba552f7c68cbcc61bca202cd")) +
			line("hag", "4, without", "") + line("hag", "5, too long", id(strings.Repeat("x", 2000))))
		want := []heard{
			{"1", "hag dd72603deec90a38ba552f7c68cbcc61bca202cd", true}, {"2, of who was hag", "hag other", true},
			{"3, when hag was crone", "hag dd72603deec90a38ba552f7c68cbcc61bca202cd", true}, {"4, without", "hag dd72603deec90a38ba552f7c68cbcc61bca202cd", true},
			{"5, too long", "hag dd72603deec90a38ba552f7c68cbcc61bca202cd", true},
		}
		if all := got(); fmt.Sprint(all) != fmt.Sprint(want) {
			s.Errorf("heard %v\nwant %v", all, want)
		}
		for id, want := range map[string]string{"": "", "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='dd72603deec90a38ba552f7c68cbcc61bca202cd'/>": "hag"} {
			e := parse(t, "<message xmlns='jabber:client' type='groupchat' from='coven@chat.shakespeare.lit/hag'>"+id+"</message>")
			m, err := xmpp.ParseMessage(e)
			if o, ok := s.rooms.PastAuthor(m); err != nil || o.Nick != want || ok != (want != "") {
				s.Errorf("out of an archive: %+v, %t, %v", o, ok, err)
			}
		}
		if hag, _ := room.Occupant("hag"); hag.Author() != "id:dd72603deec90a38ba552f7c68cbcc61bca202cd" {
			s.Errorf("hag is %s", hag.Author())
		}
	})
}

// Nicks that PRECIS refuses, or that are longer than an address may be: the room has them, so they are there.
func TestUnsafeNicks(t *testing.T) {
	long := strings.Repeat("ㅋ", 10000)
	listening(t, func(s *stage, got func() []heard) {
		room := s.joined("")
		for i, n := range []string{"a\u00adb", long} {
			s.Play(from(n, "", "<item role='participant'/>") + line(n, fmt.Sprint(i), ""))
			if all := got(); len(all) != 1 || all[0].author != n || !all[0].known {
				s.Errorf("heard %.200v", all)
			}
			o, ok := room.Occupant(n)
			if !ok || !o.Unsafe || o.Nick != n {
				s.Errorf("%.20q is %t, %t", n, ok, o.Unsafe)
			}
			if err := s.Do("C: <message to='coven@chat.shakespeare.lit/"+n+"' type='chat' id='{*}'><x xmlns='http://jabber.org/protocol/muc#user'/></message>", func() error {
				_, err := s.Client.Send(s.Context(), room.Private(n))
				return err
			}); err != nil {
				s.Error(err)
			}
			s.Play(from(n, "unavailable", "<item nick='"+n+n+"'/><status code='303'/>"))
			s.sync()
			if o, ok := room.Occupant(n + n); !ok || !o.Unsafe {
				s.Errorf("renamed it is %t, %t", ok, o.Unsafe)
			}
			s.Play(from(n+n, "unavailable", ""))
			s.sync()
		}
		if got := nicks(room.Occupants()); got != "firstwitch secondwitch thirdwitch" {
			s.Errorf("occupants are %.200s", got)
		}
	})
}

// Invitations: XEP-0045 §7.8.2, examples 62 and 70; XEP-0249, example 1; and those that are none.
func TestInvitations(t *testing.T) {
	onStage(t, func(s *stage) {
		s.Play(says("from='darkcave@chat.shakespeare.lit'", "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='crone1@shakespeare.lit/desktop'><reason>Hey Hecate</reason><continue thread='e0ff'/></invite><password>cauldronburn</password></x><x xmlns='jabber:x:conference' jid='darkcave@chat.shakespeare.lit'/>") +
			says("from='crone1@shakespeare.lit/desktop'", "<x xmlns='jabber:x:conference' jid='darkcave@macbeth.shakespeare.lit' password='cauldronburn' reason='Hey Hecate' continue='true' thread='e0ff'/>") +
			// Somebody who says that a room says, or that somebody invites: it is not the room.
			says("from='mallory@shakespeare.lit/desktop'", "<body>forged</body><x xmlns='http://jabber.org/protocol/muc#user'><invite from='crone1@shakespeare.lit'/></x>") +
			says("from='mallory@shakespeare.lit/desktop'", "<body>nowhere</body><x xmlns='jabber:x:conference' jid='@@@'/>") +
			says("from='coven@chat.shakespeare.lit/x' type='groupchat'", "<body>to all</body><x xmlns='jabber:x:conference' jid='a@b'/>") +
			says("from='coven@chat.shakespeare.lit' type='error'", "<body>failed</body><x xmlns='jabber:x:conference' jid='a@b'/><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"))
		s.sync()
		var got []string
		for i := range s.rooms.Invitations(s.Context()) {
			got = append(got, fmt.Sprintf("%s %s %t %s %s %t %s", i.Room, i.From, i.Direct, i.Reason, i.Password, i.Continue, i.Thread))
			if len(got) == 2 {
				break
			}
		}
		if want := "darkcave@chat.shakespeare.lit crone1@shakespeare.lit/desktop false Hey Hecate cauldronburn true e0ff|darkcave@macbeth.shakespeare.lit crone1@shakespeare.lit/desktop true Hey Hecate cauldronburn true e0ff"; strings.Join(got, "|") != want {
			s.Errorf("invitations %q", got)
		}
		var passed []string
		for m := range s.Client.Messages(s.Context()) {
			if passed = append(passed, m.Body()); m.Type == stanza.ErrorMessage {
				break
			}
		}
		if strings.Join(passed, ", ") != "forged, nowhere, to all, failed" {
			s.Errorf("what is no invitation: %q", passed)
		}
		room, err := xmppstage.During(s.Stage, info("i", features)+`
C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/><password>cauldronburn</password></x></presence>
`+self, func() (*Room, error) {
			return s.rooms.Accept(s.Context(), &Invitation{Room: coven, Password: "cauldronburn"}, nick, nil)
		})
		if err != nil || room.Nick() != nick {
			s.Errorf("accepted: %v", err)
		}
	})
}

// Nobody reads: more than 256 invitations are dropped.
func TestInvitationsOverflow(t *testing.T) {
	onStage(t, func(s *stage) {
		for range maxInvitations + 1 {
			s.Play(says("from='a@b/c'", "<x xmlns='jabber:x:conference' jid='d@e'/>"))
		}
		s.sync()
		if n := s.rooms.invitations.Missed(); n != 1 {
			s.Errorf("%d were dropped", n)
		}
	})
}
