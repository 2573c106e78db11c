package chat

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// book is a ledger with a clock that ticks once for each message.
type book struct {
	*testing.T
	ledger
	store Memory
	now   time.Time
	ids   int
}

func newBook(t *testing.T) *book {
	b := &book{T: t, now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	b.ledger = ledger{store: &b.store, account: "juliet@capulet.lit", trusts: func(string) bool { return true }, newID: func() string {
		b.ids++
		return strconv.Itoa(b.ids)
	}}
	return b
}

// message reads a message as the client would give it.
func message(t *testing.T, xml string) *xmpp.Message {
	p := xmltree.Parser{Space: xmpp.NSClient}
	e, err := p.Parse([]byte(xml))
	if err != nil {
		t.Fatal(xml, err)
	}
	m := new(xmpp.Message)
	m.ID, m.Type = e.Get("id"), stanza.MessageType(e.Get("type"))
	if from := e.Get("from"); from != "" {
		m.From = jid.MustParse(from)
	}
	m.To = jid.MustParse("juliet@capulet.lit/balcony")
	if to := e.Get("to"); to != "" {
		m.To = jid.MustParse(to)
	}
	for c := range e.Elements() {
		if c.Name.Local == "error" {
			m.Error = &stanza.Error{Condition: stanza.Condition(c.First().Name.Local)}
			continue
		}
		m.Payload = append(m.Payload, c)
	}
	return m
}

// live takes a message that comes now; archived one that an archive has under an id.
func (b *book) live(xml string) { b.take(&arrival{stanza: message(b.T, xml)}) }
func (b *book) sent(xml string) { b.take(&arrival{stanza: message(b.T, xml), sent: true}) }
func (b *book) room(author Author, xml string) {
	b.take(&arrival{stanza: message(b.T, xml), author: author})
}
func (b *book) archived(archive, id, xml string) {
	b.take(&arrival{stanza: message(b.T, xml), archive: archive, archiveID: id})
}

func (b *book) take(a *arrival) {
	b.Helper()
	b.now = b.now.Add(time.Second)
	if a.at.IsZero() {
		a.at = b.now
	}
	batch, _, err := b.ledger.take(context.Background(), a)
	if err != nil {
		b.Fatal(err)
	}
	if err := b.store.Apply(context.Background(), batch); err != nil {
		b.Fatal(err)
	}
}

// shows compares a conversation with how it should be, a line for each message.
func (b *book) shows(chat string, want ...string) {
	b.Helper()
	list, err := b.store.History(context.Background(), chat, Place{}, 100)
	if err != nil {
		b.Fatal(err)
	}
	slices.Reverse(list)
	var got []string
	for _, m := range list {
		got = append(got, line(m))
	}
	if !slices.Equal(got, want) {
		b.Errorf("%s has\n%s\nwant\n%s", chat, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func line(m *Message) string {
	who := m.Author.Address
	if m.Author.Mine {
		who = "me"
	}
	s := fmt.Sprintf("%s %s: %s", m.ID, who, m.Body)
	if m.Reply != nil {
		s += fmt.Sprintf(" [to %s%s]", m.Reply.ID, strings.TrimSpace(m.Reply.Quote))
	}
	for _, v := range m.Versions {
		s += fmt.Sprintf(" [was %s]", v.Body)
	}
	if m.Retracted != nil {
		s += fmt.Sprintf(" [gone %s%s]", m.Retracted.By, m.Retracted.Reason)
	}
	for _, r := range m.Reactions {
		s += fmt.Sprintf(" [%s %s]", r.Author.Address, strings.Join(r.Emojis, ""))
	}
	if m.State != Received {
		s += " " + m.State.String() + m.Failure
	}
	return s
}

const (
	romeo = "romeo@montague.lit"
	hall  = "hall@rooms.lit"
)

func TestConversation(t *testing.T) {
	b := newBook(t)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='a'><body>Hello</body><thread parent='p'>t</thread></message>`)
	b.sent(`<message from='juliet@capulet.lit/phone' to='romeo@montague.lit' type='chat' id='b'><body>Who is there?</body></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='c'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='a'><body>Hello</body></message>`) // again, as after a resend
	b.shows(romeo, "1 romeo@montague.lit: Hello", "2 me: Who is there? sent")
}

// XEP-0308 §3 and §5: by the author alone, by the id of the first message, before and after it.
func TestCorrection_XEP0308(t *testing.T) {
	b := newBook(t)
	correct := func(from, id, target, text string) {
		b.live(fmt.Sprintf(`<message from='%s/o' type='chat' id='%s'><body>%s</body><replace id='%s' xmlns='urn:xmpp:message-correct:0'/></message>`, from, id, text, target))
	}
	correct(romeo, "early", "late", "But soft, what light")
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='bad1'><body>But soft, what light through yonder airlock breaks?</body></message>`)
	correct(romeo, "good1", "bad1", "But soft, what light through yonder window breaks?")
	correct(romeo, "good2", "bad1", "It is the east")
	correct(romeo, "good2", "bad1", "It is the east")               // again
	correct("tybalt@capulet.lit", "evil", "bad1", "I hate Juliet")  // of somebody else's
	correct(romeo, "good3", "good2", "by the id of the correction") // §3: that is wrong, and waits for nothing good
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='late'><body>butt soft</body></message>`)
	b.shows(romeo,
		"1 romeo@montague.lit: It is the east [was But soft, what light through yonder airlock breaks?] [was But soft, what light through yonder window breaks?]",
		"2 romeo@montague.lit: But soft, what light [was butt soft]")
	b.shows("tybalt@capulet.lit")
}

// XEP-0424 §5: by the author alone, in the old form too.
func TestRetraction_XEP0424(t *testing.T) {
	b := newBook(t)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='1'><body>one</body></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='2'><body>two</body></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='r0'><retract id='3' xmlns='urn:xmpp:message-retract:1'/><body>/me retracted</body></message>`)
	b.live(`<message from='tybalt@capulet.lit/o' type='chat' id='r1'><retract id='1' xmlns='urn:xmpp:message-retract:1'/></message>`)
	b.sent(`<message to='romeo@montague.lit' type='chat' id='r2'><retract id='1' xmlns='urn:xmpp:message-retract:1'/></message>`)
	b.shows(romeo, "1 romeo@montague.lit: one", "2 romeo@montague.lit: two")
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='r3'><retract id='1' xmlns='urn:xmpp:message-retract:1'/></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='r4'><apply-to id='2' xmlns='urn:xmpp:fasten:0'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='3'><body>three</body></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='c'><body>and yet</body><replace id='1' xmlns='urn:xmpp:message-correct:0'/></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='l'><reactions id='1' xmlns='urn:xmpp:reactions:0'><reaction>👋</reaction></reactions></message>`)
	b.shows(romeo, "1 romeo@montague.lit:  [gone ]", "2 romeo@montague.lit:  [gone ]", "3 romeo@montague.lit:  [gone ]")
}

// XEP-0425 §4: by the room itself, in both versions; the names are the room's stanza-ids.
func TestModeration_XEP0425(t *testing.T) {
	b := newBook(t)
	say := func(nick, id, text string) {
		b.room(Author{}, fmt.Sprintf(`<message from='%s/%s' type='groupchat' id='w-%s'><body>%s</body><stanza-id xmlns='urn:xmpp:sid:0' by='%s' id='%s'/></message>`, hall, nick, id, text, hall, id))
	}
	say("mallory", "s1", "spam")
	say("mallory", "s2", "more spam")
	say("romeo", "s3", "good")
	const retract = `<retract id='s3' xmlns='urn:xmpp:message-retract:1'><moderated by='hall@rooms.lit/mallory' xmlns='urn:xmpp:message-moderate:1'/></retract>`
	b.room(Author{}, `<message from='hall@rooms.lit/mallory' type='groupchat'>`+retract+`</message>`) // no room
	b.room(Author{}, `<message from='other@rooms.lit' type='groupchat'>`+retract+`</message>`)        // another room
	b.room(Author{}, `<message from='hall@rooms.lit' type='groupchat'><retract id='s1' xmlns='urn:xmpp:message-retract:1'><moderated by='hall@rooms.lit/nurse' xmlns='urn:xmpp:message-moderate:1'/><reason>: spam</reason></retract></message>`)
	b.room(Author{}, `<message from='hall@rooms.lit' type='groupchat'><apply-to id='s2' xmlns='urn:xmpp:fasten:0'><moderated by='hall@rooms.lit/nurse' xmlns='urn:xmpp:message-moderate:0'><retract xmlns='urn:xmpp:message-retract:0'/></moderated></apply-to></message>`)
	b.shows(hall, "1 hall@rooms.lit/mallory:  [gone hall@rooms.lit/nurse: spam]", "2 hall@rooms.lit/mallory:  [gone hall@rooms.lit/nurse]", "3 hall@rooms.lit/romeo: good")
}

// XEP-0444 §3.2, §4.1: the last set counts, each emoji once; in rooms by the stanza-id.
func TestReactions_XEP0444(t *testing.T) {
	b := newBook(t)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='744f6e18-a57a-11e9-a656-4889e7820c76'><body>Hi</body></message>`)
	react := func(send func(string), who, emojis string) {
		send(fmt.Sprintf(`<message %s type='chat' id='x'><reactions id='744f6e18-a57a-11e9-a656-4889e7820c76' xmlns='urn:xmpp:reactions:0'>%s</reactions></message>`, who, emojis))
	}
	react(b.sent, "from='juliet@capulet.lit/a' to='romeo@montague.lit'", "<reaction>👋</reaction><reaction>🐢</reaction><reaction>👋</reaction>")
	react(b.live, "from='romeo@montague.lit/o'", "<reaction>💘</reaction>")
	react(b.live, "from='tybalt@capulet.lit/o'", "<reaction>😠</reaction>")
	b.shows(romeo, "1 romeo@montague.lit: Hi [juliet@capulet.lit 👋🐢] [romeo@montague.lit 💘]")
	react(b.sent, "from='juliet@capulet.lit/b' to='romeo@montague.lit'", "<reaction>🐢</reaction>")
	react(b.live, "from='romeo@montague.lit/p'", "")
	b.shows(romeo, "1 romeo@montague.lit: Hi [juliet@capulet.lit 🐢]")
}

// XEP-0461 §3.1 with the fallback of XEP-0428.
func TestReply_XEP0461(t *testing.T) {
	b := newBook(t)
	b.sent(`<message to='romeo@montague.lit' type='chat' id='message-id1'><body>We should bake a cake</body></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='message-id2'><body>&gt; We should bake a cake
Great idea!</body><reply to='juliet@capulet.lit' id='message-id1' xmlns='urn:xmpp:reply:0'/><fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='24'/></fallback></message>`)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='3'><body>To what?</body><reply id='nothing' xmlns='urn:xmpp:reply:0'/></message>`)
	b.shows(romeo, "1 me: We should bake a cake sent", "2 romeo@montague.lit: Great idea! [to 1> We should bake a cake]", "3 romeo@montague.lit: To what? [to ]")
}

// XEP-0184 §5.4, XEP-0333 §4: from whom it went to; a marker covers all before.
func TestReceipts_XEP0184(t *testing.T) {
	b := newBook(t)
	for _, id := range []string{"1", "2", "3"} {
		b.sent(`<message to='romeo@montague.lit' type='chat' id='` + id + `'><body>` + id + `</body></message>`)
	}
	b.live(`<message from='tybalt@capulet.lit/o' type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>`)
	b.live(`<message from='romeo@montague.lit/o'><received xmlns='urn:xmpp:receipts' id='3'/></message>`)
	b.shows(romeo, "1 me: 1 sent", "2 me: 2 sent", "3 me: 3 delivered")
	b.live(`<message from='romeo@montague.lit/o'><displayed xmlns='urn:xmpp:chat-markers:0' id='2'/></message>`)
	b.live(`<message from='romeo@montague.lit/o'><received xmlns='urn:xmpp:receipts' id='2'/></message>`)
	b.shows(romeo, "1 me: 1 displayed", "2 me: 2 displayed", "3 me: 3 delivered")
	b.live(`<message from='romeo@montague.lit' type='error' id='3'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
	b.sent(`<message to='romeo@montague.lit' type='chat' id='4'><body>4</body></message>`)
	b.live(`<message from='tybalt@capulet.lit' type='error' id='4'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
	b.shows(romeo, "1 me: 1 displayed", "2 me: 2 displayed", "3 me: 3 delivered", "4 me: 4 sent")
	b.live(`<message from='romeo@montague.lit' type='error' id='4'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
	b.shows(romeo, "1 me: 1 displayed", "2 me: 2 displayed", "3 me: 3 delivered", "4 me: 4 failedgone")
}

// A message comes live, as a carbon and from the archive, in any order: it is one (XEP-0359 §6).
func TestOnce(t *testing.T) {
	const (
		plain = `<message from='romeo@montague.lit/o' type='chat' id='a'><body>once</body></message>`
		named = `<message from='romeo@montague.lit/o' type='chat' id='a'><body>once</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='s1'/></message>`
		anon  = `<message from='romeo@montague.lit/o' type='chat'><body>once</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='s1'/></message>`
	)
	for name, ways := range map[string][]func(*book){
		"live, archive":  {func(b *book) { b.live(named) }, func(b *book) { b.archived("juliet@capulet.lit", "s1", plain) }},
		"archive, live":  {func(b *book) { b.archived("juliet@capulet.lit", "s1", plain) }, func(b *book) { b.live(named) }},
		"by id alone":    {func(b *book) { b.live(plain) }, func(b *book) { b.archived("juliet@capulet.lit", "s1", plain) }},
		"by name alone":  {func(b *book) { b.live(anon) }, func(b *book) { b.archived("juliet@capulet.lit", "s1", plain) }, func(b *book) { b.live(plain) }},
		"archive, twice": {func(b *book) { b.archived("juliet@capulet.lit", "s1", plain) }, func(b *book) { b.archived("juliet@capulet.lit", "s1", plain) }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			for _, way := range ways {
				way(b)
			}
			b.shows(romeo, "1 romeo@montague.lit: once")
			m, err := b.store.Message(context.Background(), "1")
			if err != nil || m.ArchiveID != "s1" {
				t.Errorf("the archive calls it %q, %v", m.ArchiveID, err)
			}
			if ch, err := b.store.Chat(context.Background(), romeo); err != nil || ch.Unread != 1 {
				t.Errorf("%+v, %v", ch, err)
			}
		})
	}
}

// A stanza-id counts only by who gives them out; an id of another's harms nobody.
func TestNamesOfOthers(t *testing.T) {
	b := newBook(t)
	b.trusts = func(who string) bool { return who == "juliet@capulet.lit" }
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='a'><body>mine</body><stanza-id xmlns='urn:xmpp:sid:0' by='romeo@montague.lit' id='s1'/></message>`)
	b.live(`<message from='tybalt@capulet.lit/o' type='chat' id='a'><body>other</body><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='s2'/></message>`)
	b.room(Author{}, `<message from='hall@rooms.lit/x' type='groupchat' id='a'><body>room</body><stanza-id xmlns='urn:xmpp:sid:0' by='hall@rooms.lit' id='s2'/></message>`)
	b.shows(romeo, "1 romeo@montague.lit: mine")
	b.shows("tybalt@capulet.lit", "2 tybalt@capulet.lit: other")
	b.shows(hall, "3 hall@rooms.lit/x: room")
}

// Authorship in rooms: the occupant id where the room has one (XEP-0421), else the nick in one unbroken presence.
func TestRoomAuthors(t *testing.T) {
	const correction = `<replace id='w' xmlns='urn:xmpp:message-correct:0'/>`
	say := func(b *book, a Author, id, text, more, occupant string) {
		if occupant != "" {
			more += `<occupant-id xmlns='urn:xmpp:occupant-id:0' id='` + occupant + `'/>`
		}
		b.room(a, `<message from='`+a.Address+`' type='groupchat' id='`+id+`'><body>`+text+`</body>`+more+`</message>`)
	}
	nick := Author{Address: hall + "/romeo", Epoch: 1}
	t.Run("another nick, same occupant", func(t *testing.T) {
		b := newBook(t)
		say(b, nick, "w", "one", "", "o1")
		say(b, Author{Address: hall + "/montague", Epoch: 2}, "x", "two", correction, "o1")
		b.shows(hall, "1 hall@rooms.lit/romeo: two [was one]")
	})
	t.Run("same nick, another occupant", func(t *testing.T) {
		b := newBook(t)
		say(b, nick, "w", "one", "", "o1")
		say(b, nick, "x", "two", correction, "o2")
		b.shows(hall, "1 hall@rooms.lit/romeo: one")
	})
	t.Run("same nick, other presence", func(t *testing.T) {
		b := newBook(t)
		say(b, nick, "w", "one", "", "")
		say(b, Author{Address: hall + "/romeo", Epoch: 2}, "x", "two", correction, "")
		b.shows(hall, "1 hall@rooms.lit/romeo: one")
		say(b, nick, "y", "three", correction, "")
		b.shows(hall, "1 hall@rooms.lit/romeo: three [was one]")
	})
}

// How far the user has read is told by his own markers, and by what he writes.
func TestUnread(t *testing.T) {
	b := newBook(t)
	unread := func(want int) {
		t.Helper()
		if ch, err := b.store.Chat(context.Background(), romeo); err != nil || ch.Unread != want {
			t.Errorf("%+v, %v; want %d unread", ch, err, want)
		}
	}
	for _, id := range []string{"1", "2", "3"} {
		b.live(`<message from='romeo@montague.lit/o' type='chat' id='` + id + `'><body>` + id + `</body></message>`)
	}
	unread(3)
	b.sent(`<message to='romeo@montague.lit' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='2'/></message>`)
	unread(1)
	b.sent(`<message to='romeo@montague.lit' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>`)
	unread(1)
	b.sent(`<message to='romeo@montague.lit' type='chat' id='4'><body>4</body></message>`)
	unread(0)
	b.live(`<message from='romeo@montague.lit/o' type='chat' id='5'><body>5</body></message>`)
	unread(1)
}
