package xmpptest

import (
	"testing"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// FuzzAddr: what is taken as an address is the same when it is read again.
func FuzzAddr(f *testing.F) {
	for _, s := range []string{"example.test", "alice@example.test", "Alice@EXAMPLE.test/Balcony", "a@b/ㅋㅋㅋ", "a@b/c@d/e", "@b", "a@", "a@b/", "/c", "a@@b", "ﬀ@b", "a@[::1]/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := parseAddr(s)
		if !ok {
			return
		}
		if again, ok := parseAddr(a.String()); !ok || again != a {
			t.Errorf("%q is %+v, which is %+v", s, a, again)
		}
	})
}

// FuzzReceive: nothing that clients send makes the server panic.
func FuzzReceive(f *testing.F) {
	for _, s := range []string{
		"<presence/>", "<presence type='unavailable'/>", "<presence to='bob@example.test' type='subscribe'/>", "<presence to='r@conference.example.test/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>",
		"<message to='bob@example.test' type='chat'><body>x</body></message>",
		"<presence to='r@conference.example.test/n'><x xmlns='http://jabber.org/protocol/muc'/></presence><message to='r@conference.example.test' type='groupchat'><body>x</body></message>",
		"<presence to='r@conference.example.test/n'><x xmlns='http://jabber.org/protocol/muc'/></presence><iq id='1' type='set' to='r@conference.example.test'><query xmlns='http://jabber.org/protocol/muc#admin'><item nick='n' role='none'/></query></iq>",
		"<presence to='r@conference.example.test/n'><x xmlns='http://jabber.org/protocol/muc'/></presence><iq id='1' type='set' to='r@conference.example.test'><query xmlns='http://jabber.org/protocol/muc#owner'><destroy/></query></iq><presence to='r@conference.example.test/m'/>",
		"<presence to='r@conference.example.test/n'><x xmlns='http://jabber.org/protocol/muc'/></presence><message to='r@conference.example.test'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='bob@example.test'/><decline to='bob@example.test'/></x></message>",
		"<iq id='1' type='set'><query xmlns='jabber:iq:roster'><item jid='bob@example.test'/></query></iq><iq id='2' type='get'><query xmlns='jabber:iq:roster' ver='0'/></iq>",
		"<iq id='1' type='set'><query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><before/><max>1</max></set></query></iq>",
		"<iq id='1' type='set'><prefs xmlns='urn:xmpp:mam:2' default='never'/></iq>",
		"<iq id='1' type='set'><block xmlns='urn:xmpp:blocking'><item jid='bob@example.test'/></block></iq><iq id='1' type='set'><unblock xmlns='urn:xmpp:blocking'/></iq>",
		"<iq id='1' type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item id='i'><x xmlns='x'/></item></publish></pubsub></iq><iq id='1' type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'><retract node='n' notify='1'><item id='i'/></retract></pubsub></iq>",
		"<iq id='1' type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'><x xmlns='jabber:x:data' type='submit'><field var='pubsub#max_items'><value>0</value></field></x></configure></pubsub></iq>",
		"<iq id='1' type='set' to='pubsub.example.test'><pubsub xmlns='http://jabber.org/protocol/pubsub'><create/></pubsub></iq><iq id='1' type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'/></iq>",
		"<enable xmlns='urn:xmpp:sm:3' resume='true'/><r xmlns='urn:xmpp:sm:3'/><a xmlns='urn:xmpp:sm:3' h='0'/>",
		"<iq id='1' type='set'><enable xmlns='urn:xmpp:carbons:2'/></iq><iq id='1' type='set'><query xmlns='jabber:iq:private'/></iq>",
		"<iq id='1' type='set' to='r@conference.example.test'><moderate xmlns='urn:xmpp:message-moderate:1' id='1'><retract xmlns='urn:xmpp:message-retract:1'/></moderate></iq>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, input string) {
		s := newServer()
		if err := s.cfg.complete(); err != nil {
			t.Fatal(err)
		}
		var sessions []*session
		for _, name := range []string{"alice", "bob"} {
			if err := s.AddUser(name, "secret"); err != nil {
				t.Fatal(err)
			}
			c := &conn{s: s}
			c.out.init()
			u := s.users[name]
			sess := &session{user: u, addr: u.addr.with("x"), conn: c, directed: make(map[addr]bool)}
			c.sess, u.sessions["x"] = sess, sess
			sessions = append(sessions, sess)
		}
		if err := s.Subscribe("alice", "bob"); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		parse := func(xml string) *xmltree.Element {
			e, err := inStream().Parse([]byte(xml))
			if err != nil {
				return nil
			}
			return e
		}
		for _, sess := range sessions {
			_ = s.receive(sess, parse("<presence/>"))
		}
		// All that is in the input is said by one, then by the other.
		all := parse("<all>" + input + "</all>")
		for _, sess := range sessions {
			for e := range all.Clone().Elements() {
				if sess.conn != nil && s.receive(sess, e) != nil {
					break
				}
			}
		}
		for _, sess := range sessions {
			s.endSession(sess, nil)
		}
		for _, r := range s.rooms {
			if len(r.occupants) > 0 {
				t.Errorf("%s has occupants without sessions", r.addr)
			}
		}
	})
}
