package xmpptest_test

import (
	"testing"

	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// oid is an occupant-id (XEP-0421).
const oid = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{*}'/>"

// roomID is a stanza-id of the room, who is in a room as others see it.
const roomID = "<stanza-id xmlns='urn:xmpp:sid:0' by='coven@conference.example.test' id='{*}'/>"

func muc(inner string) string {
	return "<x xmlns='http://jabber.org/protocol/muc#user'>" + inner + "</x>"
}

const (
	coven     = "coven@conference.example.test"
	noSubject = "S: <message from='coven@conference.example.test' type='groupchat' any=''><subject/></message>\n"
	unlock    = `
C: <iq type='set' to='coven@conference.example.test' id='own'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>
S: <iq type='result' id='own' any=''/>
`
)

// inCoven has alice as the owner of an unlocked room, and bob in it.
func inCoven(t *testing.T, test func(w *world, a, b *raw)) {
	inWorld(t, nil, func(w *world) {
		a, b := w.bound("alice", "x"), w.bound("bob", "y")
		a.play(`
C: <presence to='coven@conference.example.test/first'><x xmlns='http://jabber.org/protocol/muc'/></presence>
S: <presence from='coven@conference.example.test/first' to='alice@example.test/x'>` + oid + muc("<item affiliation='owner' role='moderator' jid='alice@example.test/x'/><status code='110'/><status code='170'/><status code='201'/>") + `</presence>
` + noSubject + unlock)
		b.play(`
C: <presence to='coven@conference.example.test/second'><x xmlns='http://jabber.org/protocol/muc'/></presence>
S: <presence from='coven@conference.example.test/first' to='bob@example.test/y'>` + oid + muc("<item affiliation='owner' role='moderator'/>") + `</presence>
S: <presence from='coven@conference.example.test/second' to='bob@example.test/y'>` + oid + muc("<item affiliation='none' role='participant' jid='bob@example.test/y'/><status code='110'/><status code='170'/>") + `</presence>
` + noSubject)
		a.play("S: <presence from='coven@conference.example.test/second' to='alice@example.test/x'>" + oid + muc("<item affiliation='none' role='participant' jid='bob@example.test/y'/>") + "</presence>")
		test(w, a, b)
	})
}

// refused is an error to presence that should have brought somebody into the room.
func refused(to, typ, condition string) string {
	return "S: <presence from='" + to + "' type='error' any=''><error type='" + typ + "'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error><x xmlns='http://jabber.org/protocol/muc'/></presence>\n"
}

func errorIQ(id, typ, condition string) string {
	return "S: <iq type='error' id='" + id + "' any=''><error type='" + typ + "'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>\n"
}

// XEP-0045 §7.2, §7.4, §7.6, §7.14.
func TestRoom(t *testing.T) {
	inCoven(t, func(w *world, a, b *raw) {
		b.play("C: <message to='coven@conference.example.test' type='groupchat' id='1'><body>Harpier cries</body></message>")
		for _, r := range []*raw{a, b} {
			r.play("S: <message from='coven@conference.example.test/second' type='groupchat' id='1' any=''><body>Harpier cries</body>" + oid + roomID + "</message>")
		}
		if got := w.Archive(coven); len(got) != 1 {
			w.Errorf("%d archived", len(got))
		}
		// A nick that somebody has (§7.2.8), and one that he takes instead (§7.6).
		c := w.bound("carol", "z")
		c.play("C: <presence to='coven@conference.example.test/second'><x xmlns='http://jabber.org/protocol/muc'/></presence>\n" + refused(coven+"/second", "cancel", "conflict"))
		b.play("C: <presence to='coven@conference.example.test/first'/>\nS: <presence from='coven@conference.example.test/first' type='error' any=''><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")
		b.play("C: <presence to='coven@conference.example.test/third'/>")
		a.play(`
S: <presence from='coven@conference.example.test/second' type='unavailable' any=''>` + oid + muc("<item affiliation='none' role='participant' nick='third' any=''/><status code='303'/>") + `</presence>
S: <presence from='coven@conference.example.test/third' any=''>` + oid + muc("<item affiliation='none' role='participant' any=''/>") + `</presence>`)
		b.play(`
S: <presence from='coven@conference.example.test/second' type='unavailable' any=''>` + oid + muc("<item affiliation='none' role='participant' nick='third' any=''/><status code='110'/><status code='303'/>") + `</presence>
S: <presence from='coven@conference.example.test/third' any=''>` + oid + muc("<item affiliation='none' role='participant' any=''/><status code='110'/>") + `</presence>`)

		// Presence of an occupant goes around (§7.7), and his history and subject to who comes later (§7.2.13, §7.2.15).
		b.play("C: <message to='coven@conference.example.test' type='groupchat' id='s'><subject>Thrice</subject></message>\nS: <message type='error' id='s' any=''><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
		a.play("C: <message to='coven@conference.example.test' type='groupchat' id='s'><subject>Thrice</subject></message>\nS: <message any='' id='s' type='groupchat'><subject>Thrice</subject><any/></message>")
		b.play("S: <message any='' id='s' type='groupchat'><subject>Thrice</subject><any/></message>")
		c.play(`
C: <presence to='coven@conference.example.test/fourth'><x xmlns='http://jabber.org/protocol/muc'/></presence>
S: <presence from='coven@conference.example.test/first' any=''><any/></presence>
S: <presence from='coven@conference.example.test/third' any=''><any/></presence>
S: <presence from='coven@conference.example.test/fourth' any=''><any/></presence>
S: <message from='coven@conference.example.test/second' to='carol@example.test/z' type='groupchat' id='1'><body>Harpier cries</body>` + oid + roomID + `<delay xmlns='urn:xmpp:delay' from='coven@conference.example.test' stamp='2000-01-01T00:00:00.000Z'/></message>
S: <message from='coven@conference.example.test/first' type='groupchat' any=''><subject>Thrice</subject><any/></message>`)
		for _, r := range []*raw{a, b} {
			r.play("S: <presence from='coven@conference.example.test/fourth' any=''><any/></presence>")
		}
		// A session that ends has left (§7.14).
		w.EndStreams("bob", "system-shutdown")
		a.play("S: <presence from='coven@conference.example.test/third' type='unavailable' any=''>" + oid + muc("<item affiliation='none' role='none' any=''/>") + "</presence>")
		c.play("S: <presence from='coven@conference.example.test/third' type='unavailable' any=''><any/></presence>")
		c.play(`
C: <presence to='coven@conference.example.test/fourth' type='unavailable'><status>bye</status></presence>
S: <presence from='coven@conference.example.test/fourth' type='unavailable' any=''><status>bye</status>` + oid + muc("<item affiliation='none' role='none' any=''/><status code='110'/>") + `</presence>
C: <message to='coven@conference.example.test' type='groupchat' id='2'><body>x</body></message>
S: <message type='error' id='2' any=''><body>x</body><error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
	})
}

// A second session of a user enters under the same nick, and both hear everything.
func TestRoomTwoSessions(t *testing.T) {
	inCoven(t, func(w *world, a, b *raw) {
		again := w.bound("bob", "z")
		again.play(`
C: <presence to='coven@conference.example.test/second'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>
S: <presence from='coven@conference.example.test/first' any=''><any/></presence>
S: <presence from='coven@conference.example.test/second' any=''><any/></presence>
` + noSubject)
		for _, r := range []*raw{a, b} {
			r.play("S: <presence from='coven@conference.example.test/second' any=''><any/></presence>")
		}
		a.play("C: <message to='coven@conference.example.test/second' type='chat' id='pm'><body>psst</body></message>")
		for _, r := range []*raw{b, again} {
			r.play("S: <message from='coven@conference.example.test/first' type='chat' id='pm' any=''><body>psst</body>" + muc("") + oid + "<any/></message>")
		}
		again.play("C: <presence to='coven@conference.example.test/second' type='unavailable'/>\nS: <presence type='unavailable' any=''><any/></presence>")
		b.quiet()
		a.quiet()
	})
}

// XEP-0045 §8.2, §9.1, §9.4 and the rules of who may what.
func TestRoomAdmin(t *testing.T) {
	admin := func(typ, id, inner string) string {
		return "C: <iq type='" + typ + "' to='coven@conference.example.test' id='" + id + "'><query xmlns='http://jabber.org/protocol/muc#admin'>" + inner + "</query></iq>\n"
	}
	inCoven(t, func(w *world, a, b *raw) {
		b.play(admin("set", "1", "<item nick='first' role='none'/>") + errorIQ("1", "auth", "forbidden"))
		b.play(admin("get", "1", "<item affiliation='member'/>") + errorIQ("1", "auth", "forbidden"))
		a.play(admin("set", "2", "<item nick='nobody' role='none'/>") + errorIQ("2", "cancel", "item-not-found"))
		a.play(admin("set", "3", "<item jid='alice@example.test' affiliation='member'/>") + errorIQ("3", "cancel", "conflict"))
		a.play(admin("set", "4", "<item nick='second' role='none'><reason>Avaunt</reason></item>") + `
S: <iq type='result' id='4' any=''/>
S: <presence from='coven@conference.example.test/second' type='unavailable' any=''>` + oid + muc("<item affiliation='none' role='none' jid='bob@example.test/y'><actor nick='first'/><reason>Avaunt</reason></item><status code='307'/>") + `</presence>`)
		b.play("S: <presence from='coven@conference.example.test/second' type='unavailable' any=''>" + oid + muc("<item any='' role='none'><any/></item><status code='110'/><status code='307'/>") + "</presence>")

		join := "C: <presence to='coven@conference.example.test/second'><x xmlns='http://jabber.org/protocol/muc'/></presence>\n"
		joined := "S: <presence from='coven@conference.example.test/first' any=''><any/></presence>\nS: <presence from='coven@conference.example.test/second' any=''><any/></presence>\n" + noSubject
		b.play(join + joined)
		a.play("S: <presence from='coven@conference.example.test/second' any=''><any/></presence>")
		a.play(admin("set", "5", "<item jid='bob@example.test' affiliation='admin'/>") + `
S: <iq type='result' id='5' any=''/>
S: <presence from='coven@conference.example.test/second' any=''>` + oid + muc("<item affiliation='admin' role='moderator' any=''><actor nick='first'/></item>") + `</presence>`)
		b.play("S: <presence any=''><any/></presence>")
		b.play(admin("set", "6", "<item jid='alice@example.test' affiliation='none'/>") + errorIQ("6", "cancel", "not-allowed"))
		b.play(admin("set", "6", "<item nick='first' role='participant'/>") + errorIQ("6", "cancel", "not-allowed"))
		b.play(admin("get", "7", "<item affiliation='owner'/>") + "S: <iq type='result' id='7' any=''><query xmlns='http://jabber.org/protocol/muc#admin'><item jid='alice@example.test' affiliation='owner'/></query></iq>")
		a.play(admin("set", "8", "<item jid='bob@example.test' affiliation='outcast'/>") + `
S: <iq type='result' id='8' any=''/>
S: <presence from='coven@conference.example.test/second' type='unavailable' any=''>` + oid + muc("<item affiliation='outcast' role='none' any=''><any/></item><status code='301'/>") + `</presence>`)
		b.play("S: <presence type='unavailable' any=''><any/></presence>\n" + join + refused(coven+"/second", "auth", "forbidden"))
	})
}

// XEP-0045 §10: configuration, what it does to those who want to enter, and the end of the room.
func TestRoomOwner(t *testing.T) {
	owner := func(id, inner string) string {
		return "C: <iq type='set' to='coven@conference.example.test' id='" + id + "'><query xmlns='http://jabber.org/protocol/muc#owner'>" + inner + "</query></iq>\n"
	}
	submit := func(fields ...string) string {
		s := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
		for i := 0; i < len(fields); i += 2 {
			s += "<field var='muc#roomconfig_" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
		}
		return s + "</x>"
	}
	const join = "C: <presence to='coven@conference.example.test/third'><x xmlns='http://jabber.org/protocol/muc'/></presence>\n"
	inCoven(t, func(w *world, a, b *raw) {
		c := w.online("carol", "z")
		b.play(owner("1", submit("roomname", "x")) + errorIQ("1", "auth", "forbidden"))
		a.play(owner("2", submit("passwordprotectedroom", "1")) + errorIQ("2", "modify", "not-acceptable"))
		a.play(owner("3", submit("passwordprotectedroom", "1", "roomsecret", "cauldron", "whois", "anyone")) + `
S: <iq type='result' id='3' any=''/>
S: <message from='coven@conference.example.test' type='groupchat' any=''>` + muc("<status code='172'/>") + "</message>")
		b.play("S: <message from='coven@conference.example.test' type='groupchat' any=''>" + muc("<status code='172'/>") + "</message>")
		c.play(join + refused(coven+"/third", "auth", "not-authorized"))
		// Whoever is invited learns the password (§7.8.2).
		b.play("C: <message to='coven@conference.example.test'>" + muc("<invite to='carol@example.test'><reason>Come</reason></invite>") + "</message>")
		c.play("S: <message from='coven@conference.example.test' to='carol@example.test' any=''>" + muc("<invite from='bob@example.test'><reason>Come</reason></invite><password>cauldron</password>") +
			"<x xmlns='jabber:x:conference' jid='coven@conference.example.test' reason='Come' password='cauldron'/><any/></message>")
		a.play(owner("4", submit("passwordprotectedroom", "0", "membersonly", "1")) + `
S: <iq type='result' id='4' any=''/>
S: <message type='groupchat' any=''>` + muc("<status code='104'/>") + `</message>
S: <presence from='coven@conference.example.test/second' type='unavailable' any=''>` + oid + muc("<item role='none' any=''/><status code='322'/>") + "</presence>")
		c.play(join + refused(coven+"/third", "auth", "registration-required"))
		c.play("C: <iq type='set' to='coven@conference.example.test' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>\n" + errorIQ("q", "auth", "forbidden"))
		a.play(owner("5", "<destroy jid='heath@conference.example.test'><reason>Done</reason></destroy>") + `
S: <iq type='result' id='5' any=''/>
S: <presence from='coven@conference.example.test/first' type='unavailable' any=''>` + oid + muc("<item affiliation='none' role='none'/><status code='110'/><destroy jid='heath@conference.example.test'><reason>Done</reason></destroy>") + "</presence>")
		c.play("C: <iq type='get' to='coven@conference.example.test' id='i'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>\n" + errorIQ("i", "cancel", "item-not-found"))
	})
}

// XEP-0410 §3: who is in the room hears so; XEP-0045: IQs between occupants.
func TestRoomIQ(t *testing.T) {
	inCoven(t, func(w *world, a, b *raw) {
		c := w.bound("carol", "z")
		const self = "C: <iq type='get' to='coven@conference.example.test/second' id='p'><ping xmlns='urn:xmpp:ping'/></iq>\n"
		b.play(self + "S: <iq type='result' from='coven@conference.example.test/second' to='bob@example.test/y' id='p'/>")
		c.play(self + errorIQ("p", "modify", "not-acceptable"))
		b.play("C: <iq type='get' to='coven@conference.example.test/nobody' id='p'><ping xmlns='urn:xmpp:ping'/></iq>\n" + errorIQ("p", "cancel", "item-not-found"))
		a.play("C: <iq type='get' to='coven@conference.example.test/second' id='v'><query xmlns='jabber:iq:version'/></iq>")
		b.play(`
S: <iq type='get' from='coven@conference.example.test/first' to='bob@example.test/y' id='{v}'><query xmlns='jabber:iq:version'/></iq>
C: <iq type='result' to='coven@conference.example.test/first' id='{v}'><query xmlns='jabber:iq:version'><name>x</name></query></iq>`)
		a.play("S: <iq type='result' from='coven@conference.example.test/second' to='alice@example.test/x' id='v'><query xmlns='jabber:iq:version'><name>x</name></query></iq>")
		a.play(`
C: <iq type='get' to='conference.example.test' id='d'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>
S: <iq type='result' id='d' any=''><query xmlns='http://jabber.org/protocol/disco#items'><item jid='coven@conference.example.test'/></query></iq>`)
	})
}

// XEP-0425 §4 in both versions, XEP-0424 §4.3: a tombstone stays.
func TestModeration(t *testing.T) {
	for version, ask := range map[string]string{
		"1": "<moderate id='{sid}' xmlns='urn:xmpp:message-moderate:1'><retract xmlns='urn:xmpp:message-retract:1'/><reason xmlns='urn:xmpp:message-moderate:1'>Spam</reason></moderate>",
		"0": "<apply-to id='{sid}' xmlns='urn:xmpp:fasten:0'><moderate xmlns='urn:xmpp:message-moderate:0'><retract xmlns='urn:xmpp:message-retract:0'/><reason>Spam</reason></moderate></apply-to>",
	} {
		t.Run(version, func(t *testing.T) {
			inCoven(t, func(w *world, a, b *raw) {
				b.play("C: <message to='coven@conference.example.test' type='groupchat' id='1'><body>Buy</body></message>")
				for _, r := range []*raw{a, b} {
					r.play("S: <message any='' id='1' type='groupchat'><body>Buy</body><any/></message>")
					r.vars["sid"] = w.Archive(coven)[0].ID
				}
				b.play("C: <iq type='set' to='coven@conference.example.test' id='m'>" + ask + "</iq>\n" + errorIQ("m", "auth", "forbidden"))
				a.play("C: <iq type='set' to='coven@conference.example.test' id='m'>" + ask + "</iq>\nS: <iq type='result' id='m' any=''/>")
				for _, r := range []*raw{a, b} {
					r.play(`S: <message type='groupchat' from='coven@conference.example.test' any=''>
<retract id='{sid}' xmlns='urn:xmpp:message-retract:1'><moderated by='coven@conference.example.test/first' xmlns='urn:xmpp:message-moderate:1'>` + oid + `</moderated><reason>Spam</reason></retract>
<apply-to id='{sid}' xmlns='urn:xmpp:fasten:0'><moderated by='coven@conference.example.test/first' xmlns='urn:xmpp:message-moderate:0'><retract xmlns='urn:xmpp:message-retract:0'/><reason>Spam</reason></moderated></apply-to>
` + roomID + `</message>`)
				}
				all := w.Archive(coven)
				if len(all) != 2 || all[0].Stanza.Child("jabber:client", "body") != nil || all[0].Stanza.Child("urn:xmpp:message-retract:1", "retracted") == nil {
					w.Errorf("archived %v", all[0].Stanza)
				}
				a.play("C: <iq type='set' to='coven@conference.example.test' id='n'><moderate id='gone' xmlns='urn:xmpp:message-moderate:1'><retract xmlns='urn:xmpp:message-retract:1'/></moderate></iq>\n" + errorIQ("n", "cancel", "item-not-found"))
			})
		})
	}
}

// Only the author's retraction changes the archive.
func TestRetraction(t *testing.T) {
	inCoven(t, func(w *world, a, b *raw) {
		b.play("C: <message to='coven@conference.example.test' type='groupchat' id='1'><body>Oops</body></message>\nS: <message any=''><any/></message>")
		a.play("S: <message any=''><any/></message>")
		retract := "C: <message to='coven@conference.example.test' type='groupchat' id='2'><retract id='" + w.Archive(coven)[0].ID + "' xmlns='urn:xmpp:message-retract:1'/></message>\n"
		for i, r := range []*raw{a, b} {
			r.play(retract)
			for _, r := range []*raw{a, b} {
				r.play("S: <message any='' id='2'><any/></message>")
			}
			if gone := w.Archive(coven)[0].Stanza.Child("urn:xmpp:message-retract:1", "retracted") != nil; gone != (i == 1) {
				w.Errorf("%s has retracted it: %v", r.name, gone)
			}
		}
	})
}

// The archive of a room is that of the room (XEP-0313 §7.1), and a room without archive keeps nothing.
func TestRoomArchive(t *testing.T) {
	inCoven(t, func(w *world, a, b *raw) {
		for _, r := range []*raw{a, b} {
			r.play("C: <message to='coven@conference.example.test' type='groupchat'><body>x</body></message>")
			for _, r := range []*raw{a, b} {
				r.play("S: <message any=''><any/></message>")
			}
		}
		b.play("C: <message to='coven@conference.example.test' type='groupchat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>\nS: <message any=''><composing xmlns='http://jabber.org/protocol/chatstates'/>" + oid + "</message>")
		bodies, ids, _ := b.query(coven, set("<max>1</max><before/>"))
		if len(bodies) != 1 || ids[0] != w.Archive(coven)[1].ID {
			w.Errorf("got %v", bodies)
		}
	})
}

// Presence that should not get anybody into a room.
func TestRoomRefuses(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) { c.Limits.Rooms = 1 }, func(w *world) {
		a, b := w.bound("alice", "x"), w.bound("bob", "y")
		a.play("C: <presence to='coven@conference.example.test'><x xmlns='http://jabber.org/protocol/muc'/></presence>\n" + refused(coven, "modify", "jid-malformed"))
		a.play("C: <presence to='coven@conference.example.test/first'/>\n" + refused(coven+"/first", "modify", "not-acceptable"))
		a.play("C: <presence to='coven@conference.example.test/first'><x xmlns='http://jabber.org/protocol/muc'/></presence>\nS: <presence any=''><any/></presence>\n" + noSubject)
		b.play("C: <presence to='coven@conference.example.test/second'><x xmlns='http://jabber.org/protocol/muc'/></presence>\n" + refused(coven+"/second", "cancel", "item-not-found")) // locked, §10.1.1
		b.play("C: <presence to='other@conference.example.test/second'><x xmlns='http://jabber.org/protocol/muc'/></presence>\n" + refused("other@conference.example.test/second", "wait", "resource-constraint"))
		b.play("C: <message to='other@conference.example.test' type='groupchat' id='1'/>\nS: <message type='error' id='1' any=''><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
	})
}
