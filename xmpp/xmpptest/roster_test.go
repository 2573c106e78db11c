package xmpptest_test

import (
	"testing"

	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

const getRoster = `
C: <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>
S: <iq type='result' id='r' any=''><query xmlns='jabber:iq:roster' ver='{*}'><any/></query></iq>
`

// RFC 6121 §3.1, §3.2, §3.3: a subscription from the request to its end.
func TestSubscription(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.bound("alice", "x"), w.bound("bob", "y")
		a.play(getRoster + "C: <presence/>\nS: <presence any=''/>")
		b.play(getRoster + "C: <presence><show>dnd</show></presence>\nS: <presence any=''><any/></presence>")

		a.play(`
C: <presence to='bob@example.test' type='subscribe' id='s1'/>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='1'><item jid='bob@example.test' subscription='none' ask='subscribe'/></query></iq>`)
		b.play(`
S: <presence from='alice@example.test' to='bob@example.test' type='subscribe' id='s1'/>
C: <presence to='alice@example.test' type='subscribed'/>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='1'><item jid='alice@example.test' subscription='from'/></query></iq>`)
		a.play(`
S: <presence from='bob@example.test' to='alice@example.test' type='subscribed'/>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='2'><item jid='bob@example.test' subscription='to'/></query></iq>
S: <presence from='bob@example.test/y' to='alice@example.test'><show>dnd</show></presence>`)
		// A new session of hers sees him at once (§4.3).
		second := w.online("alice", "z")
		second.play("S: <presence from='alice@example.test/x' to='alice@example.test/z'/>\nS: <presence from='bob@example.test/y' to='alice@example.test/z'><show>dnd</show></presence>")
		a.play("S: <presence from='alice@example.test/z' to='alice@example.test'/>")

		b.play(`
C: <presence to='alice@example.test' type='unsubscribed'/>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='2'><item jid='alice@example.test' subscription='none'/></query></iq>`)
		a.play(`
S: <presence from='bob@example.test' to='alice@example.test' type='unsubscribed'/>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='3'><item jid='bob@example.test' subscription='none'/></query></iq>
S: <presence from='bob@example.test/y' to='alice@example.test' type='unavailable'/>`)
		b.quiet()
		a.quiet()
	})
}

// RFC 6121 §3.1.3: a request waits for one who is offline, and is no contact; §3.4: one that was approved in advance is answered at once.
func TestRequests(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a := w.online("alice", "x")
		a.play("C: <presence to='bob@example.test' type='subscribe' id='s1'/>")
		a.play(ping)
		b := w.bound("bob", "y")
		b.play(`
C: <iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>
S: <iq type='result' id='r' any=''><query xmlns='jabber:iq:roster' ver='0'/></iq>
C: <presence/>
S: <presence any=''/>
S: <presence from='alice@example.test' to='bob@example.test' type='subscribe' id='s1'/>
C: <presence to='alice@example.test' type='unsubscribed'/>`)
		b.quiet()
		if r := w.Roster("bob"); len(r) != 0 {
			w.Errorf("bob has %+v", r)
		}
		if r := w.Roster("alice"); len(r) != 1 || r[0].Ask || r[0].Subscription != "none" {
			w.Errorf("alice has %+v", r)
		}
		b.play(`
C: <presence to='alice@example.test' type='subscribed'/>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='{*}'><item jid='alice@example.test' subscription='none' approved='true'/></query></iq>`)
		a.play(`
C: <presence to='bob@example.test' type='subscribe' id='s2'/>
S: <presence from='bob@example.test/y' to='alice@example.test'/>`)
		b.play(`
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='{*}'><item jid='alice@example.test' subscription='from'/></query></iq>`)
		b.quiet()
		if r := w.Roster("alice"); len(r) != 1 || r[0].Subscription != "to" {
			w.Errorf("alice has %+v", r)
		}
	})
}

// RFC 6121 §2.6: with a version there come only the changes.
func TestRosterVersions(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a := w.bound("alice", "x")
		a.play(getRoster + `
C: <iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='bob@example.test' name='Bob'><group>Friends</group></item></query></iq>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='1'><item jid='bob@example.test' name='Bob' subscription='none'><group>Friends</group></item></query></iq>
S: <iq type='result' id='1' any=''/>
C: <iq type='set' id='2'><query xmlns='jabber:iq:roster'><item jid='carol@example.test'/></query></iq>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='2'><item jid='carol@example.test' subscription='none'/></query></iq>
S: <iq type='result' id='2' any=''/>
C: <iq type='set' id='3'><query xmlns='jabber:iq:roster'><item jid='bob@example.test' subscription='remove'/></query></iq>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='3'><item jid='bob@example.test' subscription='remove'/></query></iq>
S: <iq type='result' id='3' any=''/>`)
		for _, script := range []string{`
C: <iq type='get' id='r'><query xmlns='jabber:iq:roster' ver='3'/></iq>
S: <iq type='result' id='r' any=''/>`, `
C: <iq type='get' id='r'><query xmlns='jabber:iq:roster' ver='1'/></iq>
S: <iq type='result' id='r' any=''/>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='2'><item jid='carol@example.test' subscription='none'/></query></iq>
S: <iq type='set' id='{*}' any=''><query xmlns='jabber:iq:roster' ver='3'><item jid='bob@example.test' subscription='remove'/></query></iq>`, `
C: <iq type='get' id='r'><query xmlns='jabber:iq:roster' ver=''/></iq>
S: <iq type='result' id='r' any=''><query xmlns='jabber:iq:roster' ver='3'><item jid='carol@example.test' subscription='none'/></query></iq>`} {
			b := w.bound("alice", "z")
			b.play(script)
			b.quiet()
		}
	})
}

// RFC 6121 §2.3.3, §2.5.3 and RFC 6120 §8.3.3.
func TestRosterErrors(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) { c.Limits.Roster = 1 }, func(w *world) {
		a := w.bound("alice", "x")
		for _, c := range []struct{ send, typ, condition string }{
			{"<item jid='bob@example.test' subscription='remove'/>", "cancel", "item-not-found"},
			{"<item jid='bob@example.test'/><item jid='carol@example.test'/>", "modify", "bad-request"},
			{"", "modify", "bad-request"},
			{"<item jid='@'/>", "modify", "bad-request"},
			{"<item jid='bob@example.test'><group/></item>", "modify", "not-acceptable"},
			{"<item jid='bob@example.test'><group>a</group><group>a</group></item>", "modify", "bad-request"},
		} {
			a.play("C: <iq type='set' id='1'><query xmlns='jabber:iq:roster'>" + c.send + "</query></iq>\n" +
				"S: <iq type='error' id='1' any=''><error type='" + c.typ + "'><" + c.condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")
		}
		a.play(`
C: <iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='bob@example.test'/></query></iq>
S: <iq type='result' id='1' any=''/>
C: <iq type='set' id='2'><query xmlns='jabber:iq:roster'><item jid='carol@example.test'/></query></iq>
S: <iq type='error' id='2' any=''><error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
C: <iq type='get' id='3' to='bob@example.test'><query xmlns='jabber:iq:roster'/></iq>
S: <iq type='error' id='3' any=''><error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
	})
}
