package pubsub

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp"
	"github.com/hoorn-phone/hoorn/xmpp/form"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

func onStage(t *testing.T, test func(*xmppstage.Stage)) {
	synctest.Test(t, func(t *testing.T) { xmppstage.Run(t, nil, "", test) })
}

var service = jid.MustParse("pubsub.shakespeare.lit")

// refusal is an answer with a condition.
func refusal(id, condition string) string {
	return "S: <iq type='error' id='{" + id + "}'><error type='cancel'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>\n"
}

// XEP-0060 §7.1: an id that the service chooses; §7.1.5 options.
func TestPublish(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage) {
		entry := Item{Payload: xmltree.NewText("http://www.w3.org/2005/Atom", "entry", "Soliloquy")}
		id, err := xmppstage.During(s, `C: <iq type='set' to='pubsub.shakespeare.lit' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='princely_musings'><item><entry xmlns='http://www.w3.org/2005/Atom'>Soliloquy</entry></item></publish></pubsub></iq>
S: <iq type='result' from='pubsub.shakespeare.lit' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='princely_musings'><item id='ae890ac52d0df67ed7cfdf51b644e901'/></publish></pubsub></iq>`,
			func() (string, error) { return Publish(s.Context(), s.Client, service, "princely_musings", entry) })
		if err != nil || id != "ae890ac52d0df67ed7cfdf51b644e901" {
			s.Errorf("got %q, %v", id, err)
		}
		entry.ID = "current"
		id, err = xmppstage.During(s, `C: <iq type='set' id='{2}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='princely_musings'><item id='current'><any/></item></publish>
  <publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='pubsub#access_model'><value>presence</value></field></x></publish-options></pubsub></iq>
S: <iq type='error' id='{2}'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><precondition-not-met xmlns='http://jabber.org/protocol/pubsub#errors'/></error></iq>`,
			func() (string, error) {
				return Publish(s.Context(), s.Client, jid.JID{}, "princely_musings", entry, form.Text("pubsub#access_model", "presence"))
			})
		if id != "" || !errors.Is(err, ErrPrecondition) {
			s.Errorf("got %q, %v", id, err)
		}
		err = s.Do(`C: <iq type='set' id='{3}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><retract node='princely_musings' notify='true'><item id='current'/></retract></pubsub></iq>
`+refusal("3", "item-not-found"), func() error {
			return Retract(s.Context(), s.Client, jid.JID{}, "princely_musings", "current", true)
		})
		if !errors.Is(err, ErrNoItem) {
			s.Errorf("retract: %v", err)
		}
	})
}

// XEP-0060 §6.5.4: one page after the other, to the end.
func TestItems(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage) {
		page := func(id, request, items, set string) string {
			return "C: <iq type='get' id='{" + id + "}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/><set xmlns='http://jabber.org/protocol/rsm'><max>2</max>" + request + "</set></pubsub></iq>\n" +
				"S: <iq type='result' id='{" + id + "}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'>" + items + "</items><set xmlns='http://jabber.org/protocol/rsm'>" + set + "</set></pubsub></iq>\n"
		}
		read := func() (string, error) {
			var ids []string
			for i, err := range Items(s.Context(), s.Client, jid.JID{}, "n", 2) {
				if err != nil {
					return strings.Join(ids, " "), err
				}
				ids = append(ids, i.ID)
			}
			return strings.Join(ids, " "), nil
		}
		got, err := xmppstage.During(s, page("1", "", "<item id='a'/><item id='b'/>", "<first index='0'>a</first><last>b</last><count>3</count>")+
			page("2", "<after>b</after>", "<item id='c'/>", "<first index='2'>c</first><last>c</last><count>3</count>"), read)
		if got != "a b c" || err != nil {
			s.Errorf("got %q, %v", got, err)
		}
		got, err = xmppstage.During(s, page("3", "", "<item id='a'/>", "<first>a</first><last>a</last>")+
			page("4", "<after>a</after>", "<item id='a'/>", "<first>a</first><last>a</last>"), read)
		if got != "a a" || !errors.Is(err, ErrAnswer) {
			s.Errorf("in circles: %q, %v", got, err)
		}
		_, err = xmppstage.During(s, `C: <iq type='get' to='pubsub.shakespeare.lit' id='{5}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n' max_items='1'/></pubsub></iq>
S: <iq type='result' from='pubsub.shakespeare.lit' id='{5}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub></iq>`,
			func() (Item, error) { return Last(s.Context(), s.Client, service, "n") })
		if !errors.Is(err, ErrNoItem) {
			s.Errorf("the last of none: %v", err)
		}
	})
}

// XEP-0060 §6.1 and §6.2.
func TestSubscribe(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage) {
		sub, err := xmppstage.During(s, `C: <iq type='set' to='pubsub.shakespeare.lit' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscribe node='princely_musings' jid='juliet@im.example.com'/></pubsub></iq>
S: <iq type='result' from='pubsub.shakespeare.lit' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><subscription node='princely_musings' jid='juliet@im.example.com' subid='ba49252aaa4f5d320c24d3766f0bdcade78c78d3' subscription='subscribed'/></pubsub></iq>`,
			func() (Subscription, error) {
				return Subscribe(s.Context(), s.Client, service, "princely_musings")
			})
		if err != nil || sub.State != "subscribed" || sub.Node != "princely_musings" {
			s.Errorf("%+v, %v", sub, err)
		}
		err = s.Do(`C: <iq type='set' to='pubsub.shakespeare.lit' id='{2}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><unsubscribe node='princely_musings' jid='juliet@im.example.com' subid='ba49252aaa4f5d320c24d3766f0bdcade78c78d3'/></pubsub></iq>
S: <iq type='result' from='pubsub.shakespeare.lit' id='{2}'/>`, func() error { return Unsubscribe(s.Context(), s.Client, service, sub.Node, sub.ID) })
		if err != nil {
			s.Error(err)
		}
	})
}

const (
	privateConfig = `<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#node_config</value></field><any/></x>`
	publishFlags  = `C: <iq type='set' id='{%s}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n'><item id='i'/></publish><publish-options><x xmlns='jabber:x:data' type='submit'>` +
		`<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='pubsub#persist_items'><value>1</value></field>` +
		`<field var='pubsub#access_model'><value>whitelist</value></field></x></publish-options></pubsub></iq>` + "\n"
)

// infoIs is what the account can do.
func infoIs(id, feature string) string {
	return "C: <iq type='get' to='juliet@im.example.com' id='{" + id + "}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>\n" +
		"S: <iq type='result' id='{" + id + "}'><query xmlns='http://jabber.org/protocol/disco#info'><feature var='" + feature + "'/></query></iq>\n"
}

func configIs(id, model string) string {
	return "C: <iq type='get' id='{" + id + "}'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'/></pubsub></iq>\n" +
		"S: <iq type='result' id='{" + id + "}'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'><x xmlns='jabber:x:data' type='form'><field var='pubsub#access_model'><value>" + model + "</value></field></x></configure></pubsub></iq>\n"
}

func ok(id string) string { return "S: <iq type='result' id='{" + id + "}'/>\n" }

// XEP-0223: what is private is so before and after it is published, whatever the node was like.
func TestPublishPrivate(t *testing.T) {
	const options = "http://jabber.org/protocol/pubsub#publish-options"
	publish := func(id string) string { return fmt.Sprintf(publishFlags, id) }
	configure := func(id string) string {
		return "C: <iq type='set' id='{" + id + "}'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><configure node='n'>" + privateConfig + "</configure></pubsub></iq>\n" + ok(id)
	}
	create := "C: <iq type='set' id='{c}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='n'/><configure>" + privateConfig + "</configure></pubsub></iq>\n" + ok("c")
	for name, c := range map[string]struct {
		script string
		want   error
	}{
		"it is":       {infoIs("1", options) + publish("2") + ok("2") + configIs("3", "whitelist"), nil},
		"it was open": {infoIs("1", options) + publish("2") + refusal("2", "conflict") + configure("3") + publish("4") + ok("4") + configIs("5", "whitelist"), nil},
		"it stays open": {infoIs("1", options) + publish("2") + ok("2") + configIs("3", "presence") +
			"C: <iq type='set' id='{4}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><retract node='n'><item id='i'/></retract></pubsub></iq>\n" + ok("4"), ErrNotPrivate},
		"options are unknown, no node": {infoIs("1", "x") + "C: <iq type='get' id='{2}'><any/></iq>\n" + refusal("2", "item-not-found") + create + configIs("3", "whitelist") +
			publish("4") + ok("4") + configIs("5", "whitelist"), nil},
		"options are unknown, it stays open": {infoIs("1", "x") + configIs("2", "presence") + configure("3") + configIs("4", "presence"), ErrNotPrivate},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *xmppstage.Stage) {
				err := s.Do(c.script, func() error { return PublishPrivate(s.Context(), s.Client, "n", Item{ID: "i"}) })
				if !errors.Is(err, c.want) {
					s.Errorf("got %v", err)
				}
			})
		})
	}
}

// XEP-0060 §8: what an owner can do.
func TestOwner(t *testing.T) {
	onStage(t, func(s *xmppstage.Stage) {
		verb := func(id, xml string) string {
			return "C: <iq type='set' to='pubsub.shakespeare.lit' id='{" + id + "}'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'>" + xml + "</pubsub></iq>\n" +
				"S: <iq type='result' from='pubsub.shakespeare.lit' id='{" + id + "}'/>\n"
		}
		all, err := xmppstage.During(s, `C: <iq type='set' to='pubsub.shakespeare.lit' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><create/></pubsub></iq>
S: <iq type='result' from='pubsub.shakespeare.lit' id='{1}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='25e3d37dabbab9541f7523321421edc5bfeb2dae'/></pubsub></iq>
`+verb("2", "<purge node='25e3d37dabbab9541f7523321421edc5bfeb2dae'/>")+verb("3", "<affiliations node='n'><affiliation jid='bard@shakespeare.lit' affiliation='publisher'/></affiliations>")+
			`C: <iq type='get' to='pubsub.shakespeare.lit' id='{4}'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><affiliations node='n'/></pubsub></iq>
S: <iq type='result' from='pubsub.shakespeare.lit' id='{4}'><pubsub xmlns='http://jabber.org/protocol/pubsub#owner'><affiliations node='n'><affiliation jid='hamlet@denmark.lit' affiliation='owner'/></affiliations></pubsub></iq>
`+verb("5", "<delete node='n'/>"), func() ([]Affiliation, error) {
			node, err := Create(s.Context(), s.Client, service, "")
			if err == nil {
				err = Purge(s.Context(), s.Client, service, node)
			}
			if err == nil {
				err = SetAffiliations(s.Context(), s.Client, service, "n", Affiliation{jid.MustParse("bard@shakespeare.lit"), "publisher"})
			}
			all, failed := Affiliations(s.Context(), s.Client, service, "n")
			return all, errors.Join(err, failed, Delete(s.Context(), s.Client, service, "n"))
		})
		if err != nil || len(all) != 1 || all[0].Affiliation != "owner" {
			s.Errorf("%+v, %v", all, err)
		}
	})
}

func event(from, xml string) string {
	return "<message xmlns='jabber:client' from='" + from + "' to='juliet@im.example.com'><event xmlns='http://jabber.org/protocol/pubsub#event'>" + xml + "</event></message>"
}

// XEP-0060 §7.1.2, §7.2.2, §8: events, and who may send them.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events *Events
		use := func(c *xmpp.Client) (err error) { events, err = Follow(c, c.FromOwn, "n"); return err }
		xmppstage.Run(t, use, "", func(s *xmppstage.Stage) {
			const own = "juliet@im.example.com"
			for _, m := range []string{
				event("mallory@example.org", "<items node='n'><item id='forged'/></items>"),
				event(own+"/other", "<items node='n'><item id='forged'/></items>"),
				event(own, "<items node='n'><item id='a'><x xmlns='y'/></item><retract id='b'/></items>"),
				event(own, "<items node='other'><item id='other'/></items>"),
				event(own, "<items node='n'><item id='a' publisher='@'/></items>"),
				event(own, "<purge node='n'/>"), event(own, "<delete node='n'/>"), event(own, "<configuration node='n'/>"),
				event(own, "<subscription node='n' jid='juliet@im.example.com' subscription='none'/>"),
			} {
				s.Play("S: " + m)
			}
			var got []string
			for ev := range events.All(s.Context()) {
				var ids []string
				for _, i := range ev.Items {
					ids = append(ids, i.ID)
				}
				got = append(got, fmt.Sprint(ids, ev.Retracted, ev.Purged, ev.Deleted, ev.Configured != nil, ev.Subscription != nil))
				if len(got) == 5 {
					break
				}
			}
			want := "[a] [b] false false false false; [] [] true false false false; [] [] false true false false; [] [] false false true false; [] [] false false false true"
			if all := strings.Join(got, "; "); all != want {
				s.Errorf("got  %s\nwant %s", all, want)
			}
			for m := range s.Client.Messages(s.Context()) {
				if m.Child(NSEvent, "event").First().Get("node") != "other" {
					s.Errorf("not taken: %s", m.Element())
				}
				break
			}
			for range maxEvents + 1 {
				s.Play("S: " + event(own, "<purge node='n'/>"))
			}
			synctest.Wait()
			if events.Missed() != 1 {
				s.Errorf("%d missed", events.Missed())
			}
		})
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add(event("a@b", "<items node='n'><item id='a' publisher='c@d'><x xmlns='y'/></item><retract id='b'/></items>"))
	f.Add(event("a@b", "<configuration node='n'><x xmlns='jabber:x:data'/></configuration>"))
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		m, err := xmpp.ParseMessage(e)
		if err != nil {
			return
		}
		if ev, ok := ParseEvent(m); ok && ev.Node == "" {
			t.Errorf("took %+v", ev)
		}
	})
}
