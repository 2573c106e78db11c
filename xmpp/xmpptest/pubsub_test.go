package xmpptest_test

import (
	"testing"

	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

func publish(id, node, item, options string) string {
	if options != "" {
		options = "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>" + options + "</x></publish-options>"
	}
	return "C: <iq type='set' id='" + id + "'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='" + node + "'>" + item + "</publish>" + options + "</pubsub></iq>\n"
}

func option(name, value string) string {
	return "<field var='pubsub#" + name + "'><value>" + value + "</value></field>"
}

func published(id string) string {
	return "S: <iq type='result' id='" + id + "' any=''><pubsub xmlns='http://jabber.org/protocol/pubsub'><any/></pubsub></iq>\n"
}

func event(inner string) string {
	return "<event xmlns='http://jabber.org/protocol/pubsub#event'>" + inner + "</event>"
}

// wanting is a session that has told that it wants to hear of tunes (XEP-0163 §4.2).
func (w *world) wanting(user, resource string) *raw {
	r := w.bound(user, resource)
	r.write("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://psi-im.org' ver='q07='/></presence>")
	e := r.next()
	for e.Name.Local == "presence" { // his own, and those of his other sessions
		e = r.next()
	}
	if e.Child("http://jabber.org/protocol/disco#info", "query").Get("node") != "http://psi-im.org#q07=" {
		w.Fatalf("asked %s", e)
	}
	r.vars["caps"] = e.Get("id")
	r.play("C: <iq type='result' to='" + user + "@example.test' id='{caps}'><query xmlns='http://jabber.org/protocol/disco#info'><feature var='http://jabber.org/protocol/tune+notify'/></query></iq>")
	return r
}

// XEP-0163 §3, §4.3: events go to those who see our presence and want them.
func TestPersonalEvents(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		if err := w.Subscribe("alice", "bob"); err != nil {
			w.Fatal(err)
		}
		a := w.bound("alice", "x")
		b, c := w.wanting("bob", "y"), w.wanting("carol", "z")
		const tune = "http://jabber.org/protocol/tune"
		a.play(publish("1", tune, "<item id='t'><tune xmlns='http://jabber.org/protocol/tune'><artist>Gerald Finzi</artist></tune></item>", "") + published("1"))
		b.play("S: <message from='alice@example.test' to='bob@example.test/y' type='headline' id='{*}'>" + event("<items node='http://jabber.org/protocol/tune'><item id='t' publisher='alice@example.test'><tune xmlns='http://jabber.org/protocol/tune'><artist>Gerald Finzi</artist></tune></item></items>") + "</message>")
		a.play(publish("2", "urn:other", "<item><x xmlns='urn:other'/></item>", "") + published("2"))
		// The last item for who comes later (§4.3.4).
		again := w.wanting("bob", "again")
		again.vars["n"] = tune
		for e := again.next(); ; e = again.next() {
			if e.Name.Local == "message" {
				if e.Child("http://jabber.org/protocol/pubsub#event", "event").First().Get("node") != tune {
					w.Errorf("bob got %s", e)
				}
				break
			}
		}
		b.play("S: <presence from='bob@example.test/again' any=''><any/></presence>")
		get := "C: <iq type='get' to='alice@example.test' id='g'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='http://jabber.org/protocol/tune'/></pubsub></iq>\n"
		b.play(get + "S: <iq type='result' id='g' any=''><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='http://jabber.org/protocol/tune'><item id='t' publisher='alice@example.test'><any/></item></items></pubsub></iq>")
		c.play(get + "S: <iq type='error' id='g' any=''><error type='auth'><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><presence-subscription-required xmlns='http://jabber.org/protocol/pubsub#errors'/></error></iq>")
		c.play("C: <iq type='set' to='alice@example.test' id='h'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:x'><item/></publish></pubsub></iq>\n" + errorIQ("h", "auth", "forbidden"))
		a.play(`
C: <iq type='set' id='r'><pubsub xmlns='http://jabber.org/protocol/pubsub'><retract node='http://jabber.org/protocol/tune' notify='1'><item id='t'/></retract></pubsub></iq>
S: <iq type='result' id='r' any=''/>`)
		b.play("S: <message type='headline' any=''>" + event("<items node='http://jabber.org/protocol/tune'><retract id='t'/></items>") + "</message>")
		c.quiet()
	})
}

// XEP-0060 §7.1.5, XEP-0223, XEP-0402 §4: options are conditions, and a whitelist keeps contacts out.
func TestPublishOptions(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		if err := w.Subscribe("alice", "bob"); err != nil {
			w.Fatal(err)
		}
		a, b := w.bound("alice", "x"), w.bound("bob", "y")
		private := option("access_model", "whitelist") + option("persist_items", "true") + option("max_items", "max") + option("send_last_published_item", "never")
		for _, id := range []string{"1", "2"} {
			a.play(publish(id, "urn:xmpp:bookmarks:1", "<item id='room"+id+"@conference.example.test'><conference xmlns='urn:xmpp:bookmarks:1'/></item>", private) + published(id))
		}
		b.play("C: <iq type='get' to='alice@example.test' id='g'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub></iq>\n" +
			"S: <iq type='error' id='g' any=''><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><closed-node xmlns='http://jabber.org/protocol/pubsub#errors'/></error></iq>")
		a.play(publish("3", "urn:xmpp:bookmarks:1", "<item/>", option("access_model", "open")) +
			"S: <iq type='error' id='3' any=''><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><precondition-not-met xmlns='http://jabber.org/protocol/pubsub#errors'/></error></iq>")
		a.play(`
C: <iq type='set' id='4'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='urn:xmpp:bookmarks:1'><x xmlns='jabber:x:data' type='submit'>` + option("access_model", "presence") + option("max_items", "1") + `</x></configure></pubsub></iq>
S: <iq type='result' id='4' any=''/>`)
		b.play(`
C: <iq type='get' to='alice@example.test' id='g'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub></iq>
S: <iq type='result' id='g' any=''><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'><item id='room2@conference.example.test' any=''><any/></item></items></pubsub></iq>
C: <iq type='set' to='alice@example.test' id='d'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><delete node='urn:xmpp:bookmarks:1'/></pubsub></iq>
` + errorIQ("d", "auth", "forbidden"))
		a.play(`
C: <iq type='set' id='5'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><purge node='urn:xmpp:bookmarks:1'/></pubsub></iq>
S: <iq type='result' id='5' any=''/>
C: <iq type='set' id='6'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><delete node='urn:xmpp:bookmarks:1'/></pubsub></iq>
S: <iq type='result' id='6' any=''/>
C: <iq type='get' id='7'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>
S: <iq type='result' id='7' any=''><query xmlns='http://jabber.org/protocol/disco#items'/></iq>`)
	})
}

// XEP-0060 §6.1, §8.1: nodes of the service.
func TestPubSubService(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) { c.Limits.Nodes, c.Limits.Items = 1, 2 }, func(w *world) {
		a, b := w.bound("alice", "x"), w.bound("bob", "y")
		a.play(`
C: <iq type='set' to='pubsub.example.test' id='1'><pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='princely_musings'/><configure><x xmlns='jabber:x:data' type='submit'>` + option("max_items", "max") + `</x></configure></pubsub></iq>
S: <iq type='result' id='1' any=''><pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='princely_musings'/></pubsub></iq>
C: <iq type='set' to='pubsub.example.test' id='2'><pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='princely_musings'/></pubsub></iq>
` + errorIQ("2", "cancel", "conflict") + `
C: <iq type='set' to='pubsub.example.test' id='3'><pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='another'/></pubsub></iq>
` + errorIQ("3", "wait", "resource-constraint"))
		b.play(`
C: <iq type='set' to='pubsub.example.test' id='4'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='princely_musings' jid='bob@example.test/y'/></pubsub></iq>
S: <iq type='result' id='4' any=''><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscription node='princely_musings' jid='bob@example.test/y' subscription='subscribed'/></pubsub></iq>
C: <iq type='set' to='pubsub.example.test' id='5'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='princely_musings'><item/></publish></pubsub></iq>
` + errorIQ("5", "auth", "forbidden"))
		for _, id := range []string{"a", "b", "c"} {
			a.play("C: <iq type='set' to='pubsub.example.test' id='p'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='princely_musings'><item id='" + id + "'><entry xmlns='urn:e'/></item></publish></pubsub></iq>\n" + published("p"))
			b.play("S: <message from='pubsub.example.test' any=''>" + event("<items node='princely_musings'><item id='"+id+"' any=''><any/></item></items>") + "</message>")
		}
		b.play(`
C: <iq type='get' to='pubsub.example.test' id='6'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='princely_musings'/></pubsub></iq>
S: <iq type='result' id='6' any=''><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='princely_musings'><item id='b' any=''><any/></item><item id='c' any=''><any/></item></items></pubsub></iq>
C: <iq type='set' to='pubsub.example.test' id='7'><pubsub xmlns='http://jabber.org/protocol/pubsub'><unsubscribe node='princely_musings' jid='bob@example.test/y'/></pubsub></iq>
S: <iq type='result' id='7' any=''/>
C: <iq type='get' to='pubsub.example.test' id='8'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='gone'/></pubsub></iq>
` + errorIQ("8", "cancel", "item-not-found"))
	})
}
