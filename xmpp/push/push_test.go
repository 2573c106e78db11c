package push

import (
	"testing"
	"testing/synctest"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp/form"
)

// XEP-0357 §5 and §6.
func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		xmppstage.Run(t, nil, "", func(s *xmppstage.Stage) {
			service := jid.MustParse("push-5.client.example")
			err := s.Do(`C: <iq type='get' to='juliet@im.example.com' id='{0}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>
S: <iq type='result' id='{0}'><query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:push:0'/></query></iq>
C: <iq type='set' id='{1}'><enable xmlns='urn:xmpp:push:0' jid='push-5.client.example' node='yxs32uqsflafdk3iuqo'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/pubsub#publish-options</value></field><field var='secret'><value>eruio234vzxc2kla-91</value></field></x></enable></iq>
S: <iq type='result' id='{1}'/>
C: <iq type='set' id='{2}'><disable xmlns='urn:xmpp:push:0' jid='push-5.client.example' node='yxs32uqsflafdk3iuqo'/></iq>
S: <iq type='result' id='{2}'/>
C: <iq type='set' id='{3}'><disable xmlns='urn:xmpp:push:0' jid='push-5.client.example'/></iq>
S: <iq type='error' id='{3}'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, func() error {
				if ok, err := Supported(s.Context(), s.Client); !ok || err != nil {
					s.Errorf("supported: %t, %v", ok, err)
				}
				if err := Enable(s.Context(), s.Client, service, "yxs32uqsflafdk3iuqo", form.Text("secret", "eruio234vzxc2kla-91")); err != nil {
					return err
				}
				if err := Disable(s.Context(), s.Client, service, "yxs32uqsflafdk3iuqo"); err != nil {
					return err
				}
				return Disable(s.Context(), s.Client, service, "")
			})
			if err != nil {
				s.Error(err)
			}
		})
	})
}
