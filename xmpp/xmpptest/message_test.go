package xmpptest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// sid is a stanza-id that a user's account has given.
func sid(user string) string {
	return "<stanza-id xmlns='urn:xmpp:sid:0' by='" + user + "@example.test' id='{*}'/>"
}

// RFC 6121 §8.5.2.1.1, §8.5.3: to a bare address those with the highest priority get it, to a full one that session.
func TestRouting(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		b := w.online("bob", "y")
		low, high, no := w.bound("alice", "low"), w.bound("alice", "high"), w.bound("alice", "no")
		low.play("C: <presence><priority>1</priority></presence>\nS: <presence any=''><any/></presence>")
		high.play("C: <presence><priority>5</priority></presence>\nS: <presence any=''><any/></presence>\nS: <presence any=''><any/></presence>")
		low.play("S: <presence any=''><any/></presence>")
		no.play("C: <presence><priority>-1</priority></presence>\nS: <presence any=''><any/></presence>\nS: <presence any=''><any/></presence>\nS: <presence any=''><any/></presence>")
		low.play("S: <presence any=''><any/></presence>")
		high.play("S: <presence any=''><any/></presence>")

		b.play("C: <message to='alice@example.test' type='chat' id='1'><body>to all</body></message>")
		high.play("S: <message from='bob@example.test/y' to='alice@example.test' type='chat' id='1'><body>to all</body>" + sid("alice") + "</message>")
		b.play("C: <message to='alice@example.test/low' type='chat' id='2'><body>to one</body></message>")
		low.play("S: <message from='bob@example.test/y' to='alice@example.test/low' type='chat' id='2'><body>to one</body>" + sid("alice") + "</message>")
		b.play("C: <message to='alice@example.test/gone' type='chat' id='3'><body>to the rest</body></message>")
		high.play("S: <message from='bob@example.test/y' to='alice@example.test/gone' type='chat' id='3'><body>to the rest</body>" + sid("alice") + "</message>")
		b.play("C: <message to='alice@example.test' type='headline' id='4'><body>news</body></message>")
		for _, r := range []*raw{low, high} {
			r.play("S: <message from='bob@example.test/y' to='alice@example.test' type='headline' id='4'><body>news</body></message>")
		}
		for _, c := range []struct{ stanza, condition, typ string }{
			{"<message to='alice@example.test' type='groupchat' id='e'/>", "service-unavailable", "cancel"},
			{"<message to='nobody@example.test' id='e'/>", "service-unavailable", "cancel"},
			{"<message to='a@elsewhere.test' id='e'/>", "remote-server-not-found", "cancel"},
			{"<message to='a@@b' id='e'/>", "jid-malformed", "modify"},
			{"<iq type='get' to='alice@example.test/gone' id='e'><ping xmlns='urn:xmpp:ping'/></iq>", "service-unavailable", "cancel"},
			{"<iq type='get' to='alice@example.test' id='e'><x xmlns='urn:x'/></iq>", "service-unavailable", "cancel"},
			{"<iq type='get' to='example.test' id='e'><x xmlns='urn:x'/></iq>", "service-unavailable", "cancel"},
			{"<iq type='get' to='example.test' id='e'/>", "bad-request", "modify"},
			{"<iq type='foo' to='example.test' id='e'/>", "bad-request", "modify"},
		} {
			kind, _, _ := strings.Cut(c.stanza[1:], " ")
			b.play("C: " + c.stanza + "\nS: <" + kind + " type='error' id='e' any=''><error type='" + c.typ + "'><" + c.condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></" + kind + ">")
		}
		for _, r := range []*raw{b, low, high, no} {
			r.quiet()
		}
	})
}

// XEP-0160, RFC 6121 §8.5.2.2.1.
func TestOffline(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) { c.Limits.Offline = 1 }, func(w *world) {
		b := w.online("bob", "y")
		b.play(`
C: <message to='alice@example.test' type='chat' id='1'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>
C: <message to='alice@example.test' type='headline' id='2'><body>news</body></message>
C: <message to='alice@example.test' type='chat' id='3'><body>later</body></message>
C: <message to='alice@example.test' type='chat' id='4'><body>too much</body></message>
S: <message from='alice@example.test' to='bob@example.test/y' type='error' id='4'><body>too much</body><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
		w.pass(time.Hour)
		a := w.online("alice", "x")
		a.play("S: <message from='bob@example.test/y' to='alice@example.test' type='chat' id='3'><body>later</body>" + sid("alice") +
			"<delay xmlns='urn:xmpp:delay' from='example.test' stamp='2000-01-01T00:00:00.000Z'/></message>")
		a.quiet()
	})
}

const carbonsOn = `
C: <iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>
S: <iq type='result' id='c' any=''/>
`

// XEP-0280 §7, §8.
func TestCarbons(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, other, b := w.bound("alice", "x"), w.bound("alice", "other"), w.online("bob", "y")
		other.play(carbonsOn)
		a.play("C: <presence/>\nS: <presence any=''/>")
		b.play("C: <message to='alice@example.test/x' type='chat' id='1'><body>hi</body></message>")
		a.play("S: <message any='' id='1'><body>hi</body><any/></message>")
		other.play(`S: <message from='alice@example.test' to='alice@example.test/other' type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
<message xmlns='jabber:client' from='bob@example.test/y' to='alice@example.test/x' type='chat' id='1'><body>hi</body>` + sid("alice") + `</message></forwarded></received></message>`)
		a.play("C: <message to='bob@example.test' type='chat' id='2'><body>ho</body></message>")
		other.play(`S: <message from='alice@example.test' to='alice@example.test/other' type='chat'><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
<message xmlns='jabber:client' from='alice@example.test/x' to='bob@example.test' type='chat' id='2'><body>ho</body>` + sid("alice") + `</message></forwarded></sent></message>`)
		a.play("C: <message to='bob@example.test' type='chat' id='3'><body>psst</body><private xmlns='urn:xmpp:carbons:2'/></message>")
		other.quiet()
	})
}

// A stanza-id in our name that we have not given is removed (XEP-0359 §6).
func TestForgedStanzaID(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.online("alice", "x"), w.online("bob", "y")
		b.play("C: <message to='alice@example.test' type='chat'><body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='alice@example.test' id='forged'/><stanza-id xmlns='urn:xmpp:sid:0' by='room@else.test' id='kept'/></message>")
		a.play("S: <message any=''><body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='room@else.test' id='kept'/><stanza-id xmlns='urn:xmpp:sid:0' by='alice@example.test' id='{id}'/></message>")
		if got := w.Archive("alice"); len(got) != 1 || got[0].ID != a.vars["id"] {
			w.Errorf("the archive has %+v, the message said %s", got, a.vars["id"])
		}
	})
}

// XEP-0191 §3.
func TestBlocking(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		if err := w.Subscribe("alice", "bob"); err != nil {
			w.Fatal(err)
		}
		a := w.online("alice", "x")
		b := w.online("bob", "y")
		b.play("S: <presence from='alice@example.test/x' any=''/>")
		a.play("S: <presence from='bob@example.test/y' any=''/>")
		a.play(`
C: <iq type='get' id='1'><blocklist xmlns='urn:xmpp:blocking'/></iq>
S: <iq type='result' id='1' any=''><blocklist xmlns='urn:xmpp:blocking'/></iq>
C: <iq type='set' id='2'><block xmlns='urn:xmpp:blocking'><item jid='bob@example.test'/></block></iq>
S: <iq type='result' id='2' any=''/>
S: <iq type='set' id='{*}' any=''><block xmlns='urn:xmpp:blocking'><item jid='bob@example.test'/></block></iq>`)
		b.play(`
S: <presence from='alice@example.test/x' to='bob@example.test' type='unavailable'/>
C: <message to='alice@example.test' id='3' type='chat'><body>hey</body></message>
S: <message from='alice@example.test' id='3' type='error' any=''><body>hey</body><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>`)
		a.play(`
C: <message to='bob@example.test' id='4' type='chat'><body>hey</body></message>
S: <message from='bob@example.test' id='4' type='error' any=''><body>hey</body><error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><blocked xmlns='urn:xmpp:blocking:errors'/></error></message>
C: <iq type='set' id='5'><unblock xmlns='urn:xmpp:blocking'/></iq>
S: <iq type='result' id='5' any=''/>
S: <iq type='set' id='{*}' any=''><unblock xmlns='urn:xmpp:blocking'/></iq>`)
		b.play("S: <presence from='alice@example.test/x' any=''/>")
	})
}

// XEP-0049, XEP-0054, XEP-0092, XEP-0202, XEP-0215.
func TestServices(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) {
		c.Services = []xmpptest.Service{{Type: "stun", Host: "stun.example.test", Port: 3478, Transport: "udp"},
			{Type: "turn", Host: "turn.example.test", Port: 3478, Transport: "udp", Username: "u", Password: "p", Expires: time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)}}
	}, func(w *world) {
		a, b := w.bound("alice", "x"), w.bound("bob", "y")
		a.play(`
C: <iq type='get' to='example.test' id='1'><services xmlns='urn:xmpp:extdisco:2' type='turn'/></iq>
S: <iq type='result' id='1' any=''><services xmlns='urn:xmpp:extdisco:2' type='turn'><service type='turn' host='turn.example.test' port='3478' transport='udp' username='u' password='p' restricted='true' expires='2000-01-01T01:00:00.000Z'/></services></iq>
C: <iq type='get' to='example.test' id='2'><time xmlns='urn:xmpp:time'/></iq>
S: <iq type='result' id='2' any=''><time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2000-01-01T00:00:00.000Z</utc></time></iq>
C: <iq type='set' id='3'><vCard xmlns='vcard-temp'><FN>Alice</FN></vCard></iq>
S: <iq type='result' id='3' any=''/>
C: <iq type='set' id='4'><query xmlns='jabber:iq:private'><x xmlns='urn:x'>y</x></query></iq>
S: <iq type='result' id='4' any=''/>
C: <iq type='get' id='5'><query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query></iq>
S: <iq type='result' id='5' any=''><query xmlns='jabber:iq:private'><x xmlns='urn:x'>y</x></query></iq>`)
		b.play(`
C: <iq type='get' to='alice@example.test' id='6'><vCard xmlns='vcard-temp'/></iq>
S: <iq type='result' id='6' from='alice@example.test' any=''><vCard xmlns='vcard-temp'><FN>Alice</FN></vCard></iq>
C: <iq type='set' to='alice@example.test' id='7'><vCard xmlns='vcard-temp'><FN>Eve</FN></vCard></iq>
S: <iq type='error' id='7' any=''><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
C: <iq type='get' to='alice@example.test' id='8'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>
S: <iq type='error' id='8' any=''><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
	})
}
