package xmpptest_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
	"github.com/hoorn-phone/hoorn/xmpp/xmpptest"
)

// query asks an archive and returns the bodies and ids that came, and the end.
func (r *raw) query(to, inner string) (bodies, ids []string, fin *xmltree.Element) {
	r.Helper()
	if to != "" {
		to = " to='" + to + "'"
	}
	r.write("<iq type='set' id='q'" + to + "><query xmlns='urn:xmpp:mam:2' queryid='f27'>" + inner + "</query></iq>")
	for {
		e := r.next()
		if e.Name.Local == "iq" {
			return bodies, ids, e
		}
		result := e.Child("urn:xmpp:mam:2", "result")
		if result.Get("queryid") != "f27" {
			r.Fatalf("got %s", e)
		}
		f := result.Child("urn:xmpp:forward:0", "forwarded")
		if f.Child("urn:xmpp:delay", "delay") == nil {
			r.Errorf("no delay in %s", e)
		}
		bodies = append(bodies, f.Child("jabber:client", "message").Child("jabber:client", "body").Text())
		ids = append(ids, result.Get("id"))
	}
}

func form(fields ...string) string {
	s := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>"
	for i := 0; i < len(fields); i += 2 {
		s += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	return s + "</x>"
}

func set(inner string) string {
	return "<set xmlns='http://jabber.org/protocol/rsm'>" + inner + "</set>"
}

// XEP-0313 §4 and XEP-0059 §2.
func TestArchive(t *testing.T) {
	inWorld(t, func(c *xmpptest.Config) { c.Limits.Archive = 9 }, func(w *world) {
		a, b := w.bound("alice", "x"), w.online("bob", "y")
		for i := range 10 {
			a.write(fmt.Sprintf("<message to='bob@example.test' type='chat'><body>%d</body></message>", i))
			b.next()
			w.pass(time.Minute)
		}
		b.write("<message to='carol@example.test' type='chat'><body>not for alice</body></message>")
		all := w.Archive("alice") // 1 to 9: the oldest has gone
		if len(all) != 9 || len(w.Archive("bob@example.test")) != 9 {
			w.Fatalf("%d archived", len(all))
		}
		for _, c := range []struct {
			name, inner, want string
			complete          bool
			count             int
		}{
			{"all", "", "123456789", true, 9},
			{"first page", set("<max>4</max>"), "1234", false, 9},
			{"next page", set("<max>4</max><after>" + all[3].ID + "</after>"), "5678", false, 9},
			{"last page", set("<max>4</max><after>" + all[7].ID + "</after>"), "9", true, 9},
			{"backward", set("<max>4</max><before/>"), "6789", false, 9},
			{"further backward", set("<max>4</max><before>" + all[5].ID + "</before>"), "2345", false, 9},
			{"to the beginning", set("<max>4</max><before>" + all[1].ID + "</before>"), "1", true, 9},
			{"count", set("<max>0</max>"), "", false, 9},
			{"flipped", "<flip-page/>" + set("<max>3</max><before/>"), "987", false, 9},
			{"with", form("with", "bob@example.test"), "123456789", true, 9},
			{"with nobody", form("with", "carol@example.test"), "", true, 0},
			{"since", form("start", "2000-01-01T00:08:00Z"), "89", true, 2},
			{"until", form("end", "2000-01-01T00:02:00Z"), "12", true, 2},
			{"after-id", form("after-id", all[6].ID), "89", true, 2},
			{"before-id", form("before-id", all[2].ID), "12", true, 2},
			{"ids", form("ids", all[4].ID), "5", true, 1},
		} {
			bodies, ids, iq := a.query("", c.inner)
			fin := iq.Child("urn:xmpp:mam:2", "fin")
			rsm := fin.Child("http://jabber.org/protocol/rsm", "set")
			if got := strings.Join(bodies, ""); got != c.want || (fin.Get("complete") == "true") != c.complete || rsm.Child("http://jabber.org/protocol/rsm", "count").Text() != strconv.Itoa(c.count) {
				w.Errorf("%s: got %s, %s", c.name, got, iq)
			}
			first, last := rsm.Child("http://jabber.org/protocol/rsm", "first").Text(), rsm.Child("http://jabber.org/protocol/rsm", "last").Text()
			if n := len(ids); n > 0 && c.name != "flipped" && (first != ids[0] || last != ids[n-1]) {
				w.Errorf("%s: %s to %s in %s", c.name, ids[0], ids[n-1], iq)
			}
		}
		for inner, condition := range map[string]string{
			set("<after>gone</after>"):       "item-not-found",
			set("<before>gone</before>"):     "item-not-found",
			set("<max>x</max>"):              "bad-request",
			set("<index>1</index>"):          "feature-not-implemented",
			form("after-id", "gone"):         "item-not-found",
			form("ids", "gone"):              "item-not-found",
			form("start", "yesterday"):       "bad-request",
			form("with", "@"):                "jid-malformed",
			form("{urn:example}colour", "x"): "feature-not-implemented",
		} {
			if _, _, iq := a.query("", inner); iq.Child("jabber:client", "error").Child("urn:ietf:params:xml:ns:xmpp-stanzas", condition) == nil {
				w.Errorf("%s: %s", inner, iq)
			}
		}
		if _, _, iq := a.query("bob@example.test", ""); iq.Get("type") != "error" {
			w.Errorf("bob's archive is open: %s", iq)
		}
		a.vars["first"], a.vars["last"] = all[0].ID, all[8].ID
		a.play(`
C: <iq type='get' id='m'><metadata xmlns='urn:xmpp:mam:2'/></iq>
S: <iq type='result' id='m' any=''><metadata xmlns='urn:xmpp:mam:2'><start id='{first}' timestamp='2000-01-01T00:01:00.000Z'/><end id='{last}' timestamp='2000-01-01T00:09:00.000Z'/></metadata></iq>
C: <iq type='set' id='p'><prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never><jid>bob@example.test</jid></never></prefs></iq>
S: <iq type='result' id='p' any=''><prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never><jid>bob@example.test</jid></never></prefs></iq>
C: <message to='bob@example.test' type='chat'><body>secret</body></message>`)
		b.next()
		if got := w.Archive("alice"); len(got) != 9 || got[8].ID != all[8].ID {
			w.Error("archived against the user's will")
		}
	})
}

// What is archived, and what is not (XEP-0313 §5.1.1).
func TestArchived(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a := w.bound("alice", "x")
		for _, c := range []struct {
			inner, typ string
			kept       bool
		}{
			{"<body>x</body>", "chat", true},
			{"<body>x</body>", "normal", true},
			{"<body>x</body>", "headline", false},
			{"<body>x</body><no-store xmlns='urn:xmpp:hints'/>", "chat", false},
			{"<active xmlns='http://jabber.org/protocol/chatstates'/>", "chat", false},
			{"<active xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>", "chat", true},
			{"<received xmlns='urn:xmpp:receipts' id='1'/>", "chat", true},
			{"<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", "chat", true},
			{"", "chat", false},
		} {
			before := len(w.Archive("alice"))
			a.play("C: <message to='bob@example.test' type='" + c.typ + "'>" + c.inner + "</message>\n" + ping)
			if kept := len(w.Archive("alice")) > before; kept != c.kept {
				w.Errorf("%s %s: archived %v", c.typ, c.inner, kept)
			}
		}
		if w.Archive("nobody") != nil || w.Archive("room@conference.example.test") != nil {
			w.Error("archives of nobody")
		}
	})
}
