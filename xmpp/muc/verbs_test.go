package muc

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// set is a request to the room and its empty result.
func set(payload string) string {
	return `
C: <iq type='set' to='coven@chat.shakespeare.lit' id='{set}'>` + payload + `</iq>
S: <iq type='result' from='coven@chat.shakespeare.lit' id='{set}'/>
`
}

func get(payload, answer string) string {
	return `
C: <iq type='get' to='coven@chat.shakespeare.lit' id='{get}'>` + payload + `</iq>
S: <iq type='result' from='coven@chat.shakespeare.lit' id='{get}'>` + answer + `</iq>
`
}

// What is sent by each verb that needs no more than a result, or nothing at all, in the examples of XEP-0045.
func TestVerbs(t *testing.T) {
	const (
		admin = "http://jabber.org/protocol/muc#admin"
		owner = "http://jabber.org/protocol/muc#owner"
		user  = "http://jabber.org/protocol/muc#user"
	)
	hecate := jid.MustParse("hecate@shakespeare.lit")
	query := func(space, payload string) string {
		return set("<query xmlns='" + space + "'>" + payload + "</query>")
	}
	message := func(payload string) string {
		return "C: <message to='coven@chat.shakespeare.lit' id='{*}'>" + payload + "</message>"
	}
	invitation := &Invitation{Room: coven, From: jid.MustParse("crone1@shakespeare.lit/desktop")}
	for _, c := range []struct {
		name, script string
		do           func(context.Context, *Room) error
	}{
		{"8.2 example 89: kick", query(admin, "<item nick='pistol' role='none'><reason>Avaunt, you cullion!</reason></item>"), func(ctx context.Context, r *Room) error {
			return r.Kick(ctx, "pistol", "Avaunt, you cullion!")
		}},
		{"8.3 example 94: voice", query(admin, "<item nick='thirdwitch' role='participant'/>"), func(ctx context.Context, r *Room) error {
			return r.SetRole(ctx, nick, RoleParticipant, "")
		}},
		{"9.1 example 106: ban", query(admin, "<item affiliation='outcast' jid='earlofcambridge@shakespeare.lit'><reason>Treason</reason></item>"), func(ctx context.Context, r *Room) error {
			return r.Ban(ctx, jid.MustParse("earlofcambridge@shakespeare.lit/stabber"), "Treason")
		}},
		{"9.3 example 115: member, with a nick", query(admin, "<item affiliation='member' jid='hag66@shakespeare.lit' nick='thirdwitch'/>"), func(ctx context.Context, r *Room) error {
			return r.SetMembers(ctx, Member{JID: jid.MustParse("hag66@shakespeare.lit"), Nick: nick, Affiliation: AffiliationMember})
		}},
		{"9.5: several", query(admin, "<item affiliation='none' jid='a@b'/>") + strings.ReplaceAll(query(admin, "<item affiliation='owner' jid='c@d'/>"), "{set}", "{2}"), func(ctx context.Context, r *Room) error {
			return r.SetMembers(ctx, Member{JID: jid.MustParse("a@b"), Affiliation: AffiliationNone}, Member{JID: jid.MustParse("c@d"), Affiliation: AffiliationOwner})
		}},
		{"10.1.2 example 155: instant", query(owner, "<x xmlns='jabber:x:data' type='submit'/>"), func(ctx context.Context, r *Room) error { return r.AcceptDefaults(ctx) }},
		{"10.1.3 example 160: cancelled", query(owner, "<x xmlns='jabber:x:data' type='cancel'/>"), func(ctx context.Context, r *Room) error { return r.CancelConfiguration(ctx) }},
		{
			"10.2 example 158: configured", query(owner, `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#roomconfig</value></field>
<field var='muc#roomconfig_membersonly'><value>1</value></field></x>`),
			func(ctx context.Context, r *Room) error {
				return r.Configure(ctx, form.Flag("muc#roomconfig_membersonly", true))
			},
		},
		{"10.9 example 193: destroyed", query(owner, "<destroy jid='coven2@chat.shakespeare.lit'><reason>Macbeth doth come.</reason></destroy>"), func(ctx context.Context, r *Room) error {
			return r.Destroy(ctx, jid.MustParse("coven2@chat.shakespeare.lit"), "Macbeth doth come.")
		}},
		{
			"7.10 example 72: registered", query("jabber:iq:register", `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#register</value></field>
<field var='muc#register_roomnick'><value>thirdwitch</value></field></x>`),
			func(ctx context.Context, r *Room) error { return r.Register(ctx, nick) },
		},
		{"XEP-0077 §3.2: no more", query("jabber:iq:register", "<remove/>"), func(ctx context.Context, r *Room) error { return r.Unregister(ctx) }},
		{"7.8.2 example 61: invite", message("<x xmlns='" + user + "'><invite to='hecate@shakespeare.lit'><reason>Hey Hecate</reason></invite></x>"), func(ctx context.Context, r *Room) error {
			return r.Invite(ctx, hecate, "Hey Hecate")
		}},
		{"7.8.2 example 64: decline", message("<x xmlns='" + user + "'><decline to='crone1@shakespeare.lit/desktop'><reason>too busy</reason></decline></x>"), func(ctx context.Context, r *Room) error {
			return r.rooms.Decline(ctx, invitation, "too busy")
		}},
		{"XEP-0249 example 1: directly", "C: <message to='hecate@shakespeare.lit' id='{*}'><x xmlns='jabber:x:conference' jid='coven@chat.shakespeare.lit' reason='Hey Hecate'/></message>", func(ctx context.Context, r *Room) error {
			return r.InviteDirectly(ctx, hecate, "Hey Hecate")
		}},
		{"XEP-0249: no answer", "", func(ctx context.Context, r *Room) error {
			return r.rooms.Decline(ctx, &Invitation{Direct: true}, "")
		}},
		{
			"7.13 example 78: wants voice", message("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#request</value></field><field var='muc#role'><value>participant</value></field></x>"),
			func(ctx context.Context, r *Room) error { return r.RequestVoice(ctx) },
		},
		{
			"8.6 example 104: gets it", message(`<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#request</value></field><field var='muc#role'><value>participant</value></field>
<field var='muc#jid'><value>hag66@shakespeare.lit/pda</value></field><field var='muc#roomnick'><value>thirdwitch</value></field><field var='muc#request_allow'><value>1</value></field></x>`),
			func(ctx context.Context, r *Room) error {
				return r.AnswerVoice(ctx, &VoiceRequest{JID: jid.MustParse("hag66@shakespeare.lit/pda"), Nick: nick, Role: RoleParticipant}, true)
			},
		},
		{"7.4 example 44: to all", "C: <message to='coven@chat.shakespeare.lit' type='groupchat' id='{*}'><body>Harpier cries</body></message>", func(ctx context.Context, r *Room) error {
			_, err := r.rooms.c.Send(ctx, r.Message(xmltree.NewText(xmpp.NSClient, "body", "Harpier cries")))
			return err
		}},
		{"7.5 example 47: in private", "C: <message to='coven@chat.shakespeare.lit/secondwitch' type='chat' id='{*}'><body>I'll give thee a wind.</body><x xmlns='" + user + "'/></message>", func(ctx context.Context, r *Room) error {
			_, err := r.rooms.c.Send(ctx, r.Private("secondwitch", xmltree.NewText(xmpp.NSClient, "body", "I'll give thee a wind.")))
			return err
		}},
		{"8.1 example 83: subject", `
C: <message to='coven@chat.shakespeare.lit' type='groupchat' id='{*}'><subject>Fire</subject></message>
S: <message from='coven@chat.shakespeare.lit/thirdwitch' type='groupchat' id='another'><subject>Fire</subject></message>`, func(ctx context.Context, r *Room) error {
			return r.SetSubject(ctx, "Fire")
		}},
		{"7.6 example 53: nick", `
C: <presence to='coven@chat.shakespeare.lit/oldhag' id='{*}'/>
` + from(nick, "unavailable", "<item affiliation='member' nick='oldhag' role='participant'/><status code='303'/><status code='110'/>") + from("oldhag", "", "<item affiliation='member' role='participant'/><status code='110'/>"), func(ctx context.Context, r *Room) error {
			err := r.SetNick(ctx, "oldhag")
			if err == nil && r.Nick() != "oldhag" {
				err = errors.New("the nick is " + r.Nick())
			}
			return err
		}},
		{"7.6: the same nick", `
C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'/>` + self, func(ctx context.Context, r *Room) error { return r.SetNick(ctx, nick) }},
		{"7.14 example 80: leave", `
C: <presence to='coven@chat.shakespeare.lit/thirdwitch' type='unavailable'><status>gone where the goblins go</status></presence>
` + from(nick, "unavailable", "<item affiliation='member' role='none'/><status code='110'/>"), func(ctx context.Context, r *Room) error {
			err := r.Leave(ctx, "gone where the goblins go")
			if err == nil {
				if err = r.Wait(ctx); err == ErrLeft {
					err = nil
				}
			}
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				room := s.joined("")
				if err := s.Do(c.script, func() error { return c.do(s.Context(), room) }); err != nil {
					s.Error(err)
				}
			})
		})
	}
}

// What the room may refuse is told as it came.
func TestVerbsRefused(t *testing.T) {
	onStage(t, func(s *stage) {
		room := s.joined("")
		var refused stanza.Error
		err := s.Do(`
C: <iq type='set' to='coven@chat.shakespeare.lit' id='{k}'><any/></iq>
S: <iq type='error' from='coven@chat.shakespeare.lit' id='{k}'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, func() error { return room.Kick(s.Context(), "firstwitch", "") })
		if !errors.As(err, &refused) || refused.Condition != stanza.NotAllowed { // §8.2 example 93
			s.Errorf("kick: %v", err)
		}
		err = s.Do(`
C: <message to='coven@chat.shakespeare.lit' type='groupchat' id='{s}'><subject>x</subject></message>
S: <message from='coven@chat.shakespeare.lit' type='error' id='{s}'><subject>x</subject><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`, func() error { return room.SetSubject(s.Context(), "x") })
		if !errors.As(err, &refused) || refused.Condition != stanza.Forbidden { // §8.1 example 86
			s.Errorf("subject: %v", err)
		}
		err = s.Do(`
C: <presence to='coven@chat.shakespeare.lit/firstwitch' id='{n}'/>
S: <presence from='coven@chat.shakespeare.lit/firstwitch' type='error' id='{n}'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>`, func() error { return room.SetNick(s.Context(), "firstwitch") })
		if !errors.Is(err, ErrNickConflict) || room.Nick() != nick { // §7.6 example 57
			s.Errorf("nick: %v", err)
		}
		ctx, cancel := context.WithTimeoutCause(s.Context(), time.Second, errors.New("enough"))
		defer cancel()
		if err := s.Do("C: <presence to='coven@chat.shakespeare.lit/x' id='{*}'/>", func() error { return room.SetNick(ctx, "x") }); err == nil || err.Error() != "enough" {
			s.Errorf("no answer: %v", err)
		}
		if err := s.Do("C: <presence to='coven@chat.shakespeare.lit/thirdwitch' type='unavailable'/>", func() error {
			ctx, cancel := context.WithTimeoutCause(s.Context(), time.Second, errors.New("enough"))
			defer cancel()
			return room.Leave(ctx, "")
		}); err == nil || err.Error() != "enough" || room.Wait(s.Context()) != ErrLeft {
			s.Errorf("leaving: %v", err)
		}
		if err := room.Leave(s.Context(), ""); err != ErrLeft {
			s.Errorf("left twice: %v", err)
		}
		if err := room.SetSubject(s.Context(), ""); err != ErrLeft {
			s.Errorf("a subject from outside: %v", err)
		}
	})
}

// What a room tells who asks.
func TestAsked(t *testing.T) {
	onStage(t, func(s *stage) {
		room := s.joined("")
		// §9.5 example 122.
		list, err := xmppstage.During(s.Stage, get("<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member'/></query>", `<query xmlns='http://jabber.org/protocol/muc#admin'>
<item affiliation='member' jid='hag66@shakespeare.lit' nick='thirdwitch' role='participant'/><item affiliation='member' jid='@@@'/></query>`), func() ([]Member, error) { return room.Members(s.Context(), AffiliationMember) })
		if err != nil || len(list) != 2 || list[0].JID.String() != "hag66@shakespeare.lit" || list[0].Nick != nick || list[0].Affiliation != AffiliationMember || list[0].Role != RoleParticipant {
			s.Errorf("members %+v, %v", list, err)
		}
		// §8.5 example 98.
		list, err = xmppstage.During(s.Stage, strings.ReplaceAll(get("<query xmlns='http://jabber.org/protocol/muc#admin'><item role='participant'/></query>", "<x xmlns='y'/>"), "{get}", "{g2}"), func() ([]Member, error) {
			return room.ByRole(s.Context(), RoleParticipant)
		})
		if err != errAnswer || list != nil {
			s.Errorf("roles %+v, %v", list, err)
		}
		// §10.2 example 164.
		d, err := xmppstage.During(s.Stage, strings.ReplaceAll(get("<query xmlns='http://jabber.org/protocol/muc#owner'/>", `<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='form'>
<field type='hidden' var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field><field type='text-single' var='muc#roomconfig_roomname'><value>A Dark Cave</value></field></x></query>`), "{get}", "{g3}"), func() (*form.Data, error) {
			return room.Configuration(s.Context())
		})
		if err != nil || d.Get("muc#roomconfig_roomname") != "A Dark Cave" {
			s.Errorf("configuration %+v, %v", d, err)
		}
		// §7.10 example 71.
		reg, err := xmppstage.During(s.Stage, strings.ReplaceAll(get("<query xmlns='jabber:iq:register'/>", "<query xmlns='jabber:iq:register'><registered/><username>thirdwitch</username></query>"), "{get}", "{g4}"), func() (*Registration, error) {
			return room.Registration(s.Context())
		})
		if err != nil || !reg.Registered || reg.Nick != nick || reg.Form != nil {
			s.Errorf("registration %+v, %v", reg, err)
		}
		// §6.4 example 10.
		i, err := xmppstage.During(s.Stage, info("g5", `<feature var='muc_passwordprotected'/><feature var='muc_hidden'/><feature var='muc_membersonly'/><feature var='muc_moderated'/><feature var='muc_nonanonymous'/><feature var='muc_persistent'/>
<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#roominfo</value></field><field var='muc#roominfo_description'><value>The place for all good witches!</value></field>
<field var='muc#roominfo_changesubject'><value>true</value></field><field var='muc#roominfo_lang'><value>en</value></field><field var='muc#roominfo_occupants'><value>45</value></field><field var='muc#roominfo_subject'><value>Spells</value></field></x>`), func() (*Info, error) {
			return s.rooms.Info(s.Context(), coven)
		})
		if err != nil || i.Name != "A Dark Cave" || i.Description != "The place for all good witches!" || i.Lang != "en" || i.Occupants != 45 || i.Subject != "Spells" || !i.ChangeSubject ||
			!i.Password || !i.Hidden || !i.MembersOnly || !i.Moderated || !i.ShowsReal || !i.Persistent || i.Archive || i.OccupantIDs || i.Moderation {
			s.Errorf("info %+v, %v", i, err)
		}
		// §7.12 example 76.
		own, err := xmppstage.During(s.Stage, strings.ReplaceAll(get("<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>", "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'><identity category='conference' name='thirdwitch' type='text'/></query>"), "{get}", "{g6}"), func() (string, error) {
			return s.rooms.ReservedNick(s.Context(), coven)
		})
		if err != nil || own != nick {
			s.Errorf("reserved is %q, %v", own, err)
		}
	})
}

// XEP-0425, and before that its version 0.2.1.
func TestModerate(t *testing.T) {
	for feature, script := range map[string]string{
		nsModerate:    "<moderate xmlns='urn:xmpp:message-moderate:1' id='stanza-id-1'><retract xmlns='urn:xmpp:message-retract:1'/><reason>This message contains inappropriate content</reason></moderate>",
		nsModerateOld: "<apply-to xmlns='urn:xmpp:fasten:0' id='stanza-id-1'><moderate xmlns='urn:xmpp:message-moderate:0'><retract xmlns='urn:xmpp:message-retract:0'/><reason>This message contains inappropriate content</reason></moderate></apply-to>",
	} {
		onStage(t, func(s *stage) {
			room := s.joined("<feature var='" + feature + "'/>")
			if err := s.Do(set(script), func() error {
				return room.Moderate(s.Context(), "stanza-id-1", "This message contains inappropriate content")
			}); err != nil {
				s.Errorf("%s: %v", feature, err)
			}
		})
	}
	onStage(t, func(s *stage) {
		if err := s.joined("").Moderate(s.Context(), "x", ""); err != ErrNoModeration {
			s.Errorf("where it cannot be done: %v", err)
		}
	})
	const (
		now = "<retract id='stanza-id-1' xmlns='urn:xmpp:message-retract:1'><moderated by='room@muc.example.com/macbeth' xmlns='urn:xmpp:message-moderate:1'><occupant-id xmlns='urn:xmpp:occupant-id:0' id='dd72603deec90a38ba552f7c68cbcc61bca202cd'/></moderated><reason>bad</reason></retract>"
		old = "<apply-to id='stanza-id-1' xmlns='urn:xmpp:fasten:0'><moderated by='room@muc.example.com/macbeth' xmlns='urn:xmpp:message-moderate:0'><retract xmlns='urn:xmpp:message-retract:0'/><reason>bad</reason></moderated></apply-to>"
	)
	for _, c := range []struct {
		from, typ, payload string
		want               *Moderation
	}{
		{"room@muc.example.com", "groupchat", now, &Moderation{"stanza-id-1", jid.MustParse("room@muc.example.com/macbeth"), "dd72603deec90a38ba552f7c68cbcc61bca202cd", "bad"}},
		{"room@muc.example.com", "groupchat", old, &Moderation{"stanza-id-1", jid.MustParse("room@muc.example.com/macbeth"), "", "bad"}},
		{"room@muc.example.com/macbeth", "groupchat", now, nil}, // forged
		{"room@muc.example.com/macbeth", "groupchat", old, nil},
		{"room@muc.example.com", "chat", now, nil},
		{"room@muc.example.com", "groupchat", "<retract id='own' xmlns='urn:xmpp:message-retract:1'/>", nil},
	} {
		m := &xmpp.Message{Payload: []*xmltree.Element{parse(t, c.payload)}}
		m.From, m.Type = jid.MustParse(c.from), stanza.MessageType(c.typ)
		got, ok := ParseModeration(m)
		if ok != (c.want != nil) || ok && (got.ID != c.want.ID || !got.By.Equal(c.want.By) || got.ByID != c.want.ByID || got.Reason != c.want.Reason) {
			t.Errorf("%s: %+v, %t", c.payload, got, ok)
		}
	}
}
