package muc

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// from returns a presence of an occupant with what the room says in x.
func from(nick, typ, x string) string {
	if typ != "" {
		typ = " type='" + typ + "'"
	}
	return "S: <presence from='coven@chat.shakespeare.lit/" + nick + "'" + typ + "><x xmlns='http://jabber.org/protocol/muc#user'>" + x + "</x></presence>\n"
}

func says(attrs, payload string) string {
	return "S: <message " + attrs + ">" + payload + "</message>\n"
}

const itself = "from='coven@chat.shakespeare.lit' "

// What happens in a room, in the examples of XEP-0045.
func TestChanges(t *testing.T) {
	const none = "<item affiliation='none' role='none'/>"
	for _, c := range []struct {
		name   string
		script string
		want   []string
	}{
		{"7.1 example 21: enters", from("hag", "", "<item affiliation='none' role='participant'/>"), []string{"entered hag none/participant"}},
		{"7.14 examples 80 to 82: leaves", from("secondwitch", "unavailable", "<item affiliation='member' role='none'/>"), []string{"gone secondwitch left"}},
		{
			"7.6 examples 54 to 56: another nick",
			from("secondwitch", "unavailable", "<item affiliation='admin' nick='oldhag' role='moderator'/><status code='303'/>") + from("oldhag", "", "<item affiliation='admin' role='moderator'/>"),
			[]string{"renamed secondwitch to oldhag", "updated oldhag admin/moderator/away to admin/moderator/"},
		},
		{
			"7.7 example 58: shown otherwise",
			"S: <presence from='coven@chat.shakespeare.lit/secondwitch'><show>xa</show><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='admin' role='moderator'/></x></presence>",
			[]string{"updated secondwitch admin/moderator/away to admin/moderator/xa"},
		},
		{
			"8.1 example 84: subject", says("from='coven@chat.shakespeare.lit/secondwitch' type='groupchat'", "<subject>Fire Burn and Cauldron Bubble!</subject>"),
			[]string{`subject "Fire Burn and Cauldron Bubble!" by secondwitch`},
		},
		{"8.1: no subject", says(itself+"type='groupchat'", "<subject/>"), []string{`subject "" by `}},
		{"8.1: not the subject of the room", says("from='coven@chat.shakespeare.lit/secondwitch' type='groupchat'", "<subject>My own</subject><body>Hello</body>"), nil},
		{
			"8.2 example 91: kicked",
			from("secondwitch", "unavailable", "<item affiliation='none' role='none'><actor nick='Fluellen' jid='fluellen@shakespeare.lit'/><reason>Avaunt, you cullion!</reason></item><status code='307'/>"),
			[]string{`gone secondwitch kicked by Fluellen fluellen@shakespeare.lit "Avaunt, you cullion!"`},
		},
		{"8.3, 8.4: voice", from("secondwitch", "", "<item affiliation='admin' role='participant'><reason>A worthy witch indeed!</reason></item>"), []string{`updated secondwitch admin/moderator/away to admin/participant/ "A worthy witch indeed!"`}},
		{"8.6 example 103: wants voice", says(itself, `<x xmlns='jabber:x:data' type='form'><title>Voice request</title><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#request</value></field>
<field var='muc#role' type='list-single' label='Requested role'><value>participant</value></field><field var='muc#jid' type='jid-single'><value>hag66@shakespeare.lit/pda</value></field>
<field var='muc#roomnick' type='text-single'><value>hag</value></field><field var='muc#request_allow' type='boolean'><value>false</value></field></x>`), []string{"voice hag66@shakespeare.lit/pda hag participant"}},
		{
			"9.1 example 109: banned", from("secondwitch", "unavailable", "<item affiliation='outcast' role='none' jid='earlofcambridge@shakespeare.lit/stabber'><reason>Treason</reason></item><status code='301'/>"),
			[]string{`gone secondwitch banned "Treason"`},
		},
		{"9.3: member", from("secondwitch", "", "<item affiliation='member' role='participant'/>"), []string{"updated secondwitch admin/moderator/away to member/participant/"}},
		{
			"9.4: no member any more, in a room for members", from("secondwitch", "unavailable", "<item affiliation='none' role='none'><actor nick='Bard'/></item><status code='321'/>"),
			[]string{"gone secondwitch affiliation changed by Bard "},
		},
		{"9.3: somebody who is not here", says(itself, "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='member' jid='hag66@shakespeare.lit' role='none'/></x>"), []string{"affiliation hag66@shakespeare.lit member"}},
		{"10.2.1: for members now", from("secondwitch", "unavailable", none+"<status code='322'/>"), []string{"gone secondwitch members only"}},
		{"a technical problem", from("secondwitch", "unavailable", none+"<status code='307'/><status code='333'/>"), []string{"gone secondwitch error"}},
		{
			"10.2.1 example 172: configured", says(itself+"type='groupchat'", "<x xmlns='http://jabber.org/protocol/muc#user'><status code='170'/><status code='104'/></x>") + info("new", features),
			[]string{"configured [170 104]", "info"},
		},
		{
			"7.8.2 example 65: declined", says(itself, "<x xmlns='http://jabber.org/protocol/muc#user'><decline from='hecate@shakespeare.lit'><reason>Sorry, I'm too busy right now.</reason></decline></x>"),
			[]string{`declined by  hecate@shakespeare.lit "Sorry, I'm too busy right now."`},
		},
		{
			"8.2 example 90: we are kicked", from(nick, "unavailable", "<item affiliation='none' role='none'><actor nick='Fluellen'/><reason>Avaunt!</reason></item><status code='307'/><status code='110'/>"),
			[]string{`gone thirdwitch kicked by Fluellen  "Avaunt!"`, `ended by Fluellen  "Avaunt!" (muc: out of the room: kicked: "Avaunt!")`},
		},
		{"9.1 example 108: we are banned", from(nick, "unavailable", none+"<status code='301'/><status code='110'/>"), []string{"gone thirdwitch banned", "ended (muc: out of the room: banned)"}},
		{
			"10.9 example 195: destroyed", from(nick, "unavailable", none+"<destroy jid='coven2@chat.shakespeare.lit'><reason>Macbeth doth come.</reason></destroy><status code='110'/>"),
			[]string{`gone thirdwitch destroyed "Macbeth doth come."`, `ended "Macbeth doth come." venue coven2@chat.shakespeare.lit (muc: out of the room: destroyed: "Macbeth doth come.")`},
		},
		{
			"17.3: the service shuts down, and comes back",
			from(nick, "unavailable", none+"<status code='110'/><status code='332'/>") + info("new", features) + `
C: <presence to='coven@chat.shakespeare.lit/thirdwitch' id='{*}'><any/></presence>
` + self,
			[]string{"gone thirdwitch shutdown", "left (muc: out of the room: shutdown)", "synced thirdwitch member/participant [110]"},
		},

		// What only a room may say, from others.
		{"a subject in private", says("from='coven@chat.shakespeare.lit/secondwitch' type='chat'", "<subject>no</subject>"), nil},
		{"a configuration by an occupant", says("from='coven@chat.shakespeare.lit/secondwitch' type='groupchat'", "<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>"), nil},
		{"a refusal by an occupant", says("from='coven@chat.shakespeare.lit/secondwitch'", "<x xmlns='http://jabber.org/protocol/muc#user'><decline from='hecate@shakespeare.lit'/></x>"), nil},
		{"another room", "S: <presence from='other@chat.shakespeare.lit/hag'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/></x></presence>", nil},
		{"the room's own presence", "S: <presence from='coven@chat.shakespeare.lit'><x xmlns='vcard-temp:x:update'><photo>x</photo></x></presence>", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				room := s.joined("")
				changes := s.follow(room)
				s.Play(c.script)
				s.sync()
				s.has(changes(), c.want...)
			})
		})
	}
}

// sync waits until the client has seen all that the server sent.
func (s *stage) sync() {
	s.Helper()
	s.Play("S: <iq type='get' id='sync'><ping xmlns='urn:xmpp:ping'/></iq>\nC: <iq type='result' id='sync'/>")
}

// A change of nick does not break a presence; leaving does, for the same nick too.
func TestEpoch(t *testing.T) {
	onStage(t, func(s *stage) {
		room := s.joined("")
		epoch := func(nick string) uint64 {
			s.sync()
			o, ok := room.Occupant(nick)
			if !ok || o.Author() != fmt.Sprintf("epoch:%x", o.Epoch) {
				s.Errorf("%s is %+v", nick, o)
			}
			return o.Epoch
		}
		first := epoch("secondwitch")
		s.Play(from("secondwitch", "unavailable", "<item nick='oldhag'/><status code='303'/>") + from("oldhag", "", "<item role='visitor'/>"))
		if got := epoch("oldhag"); got != first {
			s.Error("a new nick is a new presence")
		}
		s.Play(from("oldhag", "unavailable", "") + from("oldhag", "", ""))
		second := epoch("oldhag")
		if second == first {
			s.Error("who comes is who went")
		}
		// What cannot be: from a nick that nobody has, to none, to ours.
		s.Play(from("nobody", "unavailable", "<item nick='x'/><status code='303'/>") + from("oldhag", "unavailable", "<status code='303'/>") +
			from("firstwitch", "unavailable", "<item nick='thirdwitch'/><status code='303'/>"))
		s.sync()
		if got := nicks(room.Occupants()); got != "thirdwitch" {
			s.Errorf("occupants are %s", got)
		}
	})
}

// Hats of the XEP (XEP-0317 §3), of Prosody and of ejabberd.
func TestHats(t *testing.T) {
	for space, want := range map[string]bool{nsHats: true, nsHatsEjabberd: true, nsHatsProsody: false} {
		onStage(t, func(s *stage) {
			room := s.joined("<feature var='urn:xmpp:hats:0'/>")
			s.Play("S: <presence from='coven@chat.shakespeare.lit/hag'><hats xmlns='" + space + "'><hat uri='http://tech.example.edu/hats#TeacherAssistant' title=\"Teacher's Assistant\"/><hat/></hats></presence>")
			s.sync()
			hag, _ := room.Occupant("hag")
			if len(hag.Hats) != 1 || hag.Hats[0] != (Hat{"http://tech.example.edu/hats#TeacherAssistant", "Teacher's Assistant", want}) {
				s.Errorf("%s: %+v", space, hag.Hats)
			}
		})
	}
}

// A reader who falls behind is told so.
func TestMissed(t *testing.T) {
	w := &watcher{wake: make(chan struct{}, 1)}
	for i := range maxChanges {
		w.put(Change{Kind: Updated, Occupant: Occupant{Epoch: uint64(i)}})
		w.put(Change{Kind: Updated, Occupant: Occupant{Epoch: uint64(i), Nick: "x"}, Before: Occupant{Nick: "no"}})
	}
	if len(w.changes) != maxChanges || w.changes[7].Occupant.Nick != "x" || w.changes[7].Before.Nick != "" {
		t.Errorf("%d changes wait, %+v", len(w.changes), w.changes[7])
	}
	w.put(Change{Kind: Ended})
	if len(w.changes) != 2 || w.changes[0].Kind != Missed || w.changes[1].Kind != Ended {
		t.Errorf("then %+v", w.changes)
	}
}

func TestBounds(t *testing.T) {
	var table occupants
	for i := range maxOccupants + 10 {
		table.put(&Occupant{Nick: fmt.Sprint(i)})
	}
	if len(table.byNick) != maxOccupants {
		t.Errorf("%d occupants", len(table.byNick))
	}
	if table.put(&Occupant{Nick: "me", Self: true}); table.byNick["me"] == nil {
		t.Error("we found no room")
	}
	table.remove("me")
	if table.put(&Occupant{Nick: "next"}) || !table.put(&Occupant{Nick: "7"}) {
		t.Error("after that")
	}
	long := occupants{}
	for i := range 2000 {
		long.put(&Occupant{Nick: strings.Repeat("x", 40000) + fmt.Sprint(i)})
	}
	if long.bytes > maxNickBytes || len(long.byNick) != maxNickBytes/40004 {
		t.Errorf("%d nicks have %d bytes", len(long.byNick), long.bytes)
	}
	x := "<x xmlns='http://jabber.org/protocol/muc#user'>"
	for i := range 100 {
		x += fmt.Sprintf("<status code='%d'/>", 100+i)
	}
	u := parseUser(parse(t, x+"<item role='god' affiliation='king' jid='@@@' nick='n'><reason>"+strings.Repeat("ä", maxText)+"</reason></item><status code='no'/><status code='-1'/></x>"))
	if len(u.codes) != maxCodes || u.role != RoleNone || u.affiliation != AffiliationNone || u.real.Domainpart() != "" || len(u.reason) > maxText || !strings.HasPrefix(u.reason, "ää") {
		t.Errorf("read %d codes, %+v", len(u.codes), u.role)
	}
}

// Nothing that a room says of somebody breaks a bound, or anything at all.
func FuzzUser(f *testing.F) {
	for _, s := range []string{
		"<item affiliation='none' role='none' jid='a@b/c'><actor nick='Fluellen' jid='a@b'/><reason>Avaunt, you cullion!</reason></item><status code='307'/><status code='110'/>",
		"<item nick='oldhag' affiliation='admin'/><status code='303'/>",
		"<destroy jid='coven@chat.shakespeare.lit'><reason>Macbeth doth come.</reason><password>x</password></destroy>",
		"<item jid='room@chat/\u00ad'/>",
	} {
		f.Add("<x xmlns='http://jabber.org/protocol/muc#user'>" + s + "</x>")
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := xmltree.Parse([]byte(s))
		if err != nil {
			return
		}
		u := parseUser(e)
		if len(u.codes) > maxCodes || len(u.reason) > maxText {
			t.Errorf("%d codes, %d of reason", len(u.codes), len(u.reason))
		}
		_ = u.cause().String() + u.text() + u.real.String()
		parseHats([]*xmltree.Element{e}, nil)
	})
}

// Whatever presences a room sends: what is known stays within its bounds, and one occupant has one place.
func FuzzPresence(f *testing.F) {
	f.Add("secondwitch", "", "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/></x>")
	f.Add("secondwitch", "unavailable", "<x xmlns='http://jabber.org/protocol/muc#user'><item nick='thirdwitch'/><status code='303'/></x>")
	f.Add(nick, "unavailable", "<x xmlns='http://jabber.org/protocol/muc#user'><item nick='\u00ad'/><status code='303'/><status code='110'/></x>")
	f.Add(nick, "unavailable", "<x xmlns='http://jabber.org/protocol/muc#user'><destroy jid='x'/><status code='332'/><status code='110'/></x>")
	f.Add(nick, "error", "<x xmlns='http://jabber.org/protocol/muc'/>")
	f.Fuzz(func(t *testing.T, who, typ, payload string) {
		e, err := xmltree.Parse([]byte("<presence xmlns='jabber:client'>" + payload + "</presence>"))
		if err != nil {
			return
		}
		r := &Rooms{log: slog.New(slog.DiscardHandler), rooms: make(map[string]*Room), wake: make(chan struct{}, 1)}
		room := &Room{rooms: r, addr: coven, key: coven.String(), nick: nick, state: Joined, done: make(chan struct{})}
		r.rooms[room.key] = room
		room.watchers = []*watcher{{wake: make(chan struct{}, 1)}}
		for _, n := range []string{nick, "secondwitch"} {
			j, _ := occupantJID(coven, n)
			room.occupants.put(&Occupant{JID: j, Nick: n, Self: n == nick})
		}
		p := &xmpp.Presence{Payload: slices.Collect(e.Elements())}
		p.From, p.Unsafe = occupantJID(coven, who)
		if p.Type = stanza.PresenceType(typ); p.Type == stanza.ErrorPresence {
			p.Error = new(stanza.Error)
		}
		for range 2 {
			r.seen(p)
		}
		bytes := 0
		for n, o := range room.occupants.byNick {
			if bytes += len(n); n != o.Nick || o.JID.Resourcepart() != n {
				t.Errorf("%q is in the place of %q", o.Nick, n)
			}
		}
		if bytes != room.occupants.bytes {
			t.Errorf("%d bytes of nicks, counted as %d", bytes, room.occupants.bytes)
		}
	})
}
