package extdisco

import (
	"testing"
	"testing/synctest"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/hoorn-phone/hoorn/internal/xmppstage"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// XEP-0215 §3.2 and §3.3.
func TestServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		xmppstage.Run(t, nil, "", func(s *xmppstage.Stage) {
			server := jid.MustParse("shakespeare.lit")
			all, err := xmppstage.During(s, `C: <iq type='get' to='shakespeare.lit' id='{1}'><services xmlns='urn:xmpp:extdisco:2' type='turn'/></iq>
S: <iq type='result' from='shakespeare.lit' id='{1}'><services xmlns='urn:xmpp:extdisco:2' type='turn'><service host='turn.shakespeare.lit' type='turn' port='9001' transport='udp' username='1nv3nt3d' password='jj929jkj5sadjfj93v3n' restricted='true' expires='2010-07-10T23:08:25Z'/>
  <service type='turn'/><service host='a' type='turn' port='70000'/><service host='a' type='turn' expires='soon'/></services></iq>`,
				func() ([]Service, error) { return Services(s.Context(), s.Client, server, "turn") })
			want := Service{Type: "turn", Host: "turn.shakespeare.lit", Port: 9001, Transport: "udp", Username: "1nv3nt3d", Password: "jj929jkj5sadjfj93v3n", Restricted: true, Expires: time.Date(2010, 7, 10, 23, 8, 25, 0, time.UTC)}
			if err != nil || len(all) != 1 || all[0] != want {
				s.Errorf("%+v, %v", all, err)
			}
			got, err := xmppstage.During(s, `C: <iq type='get' to='shakespeare.lit' id='{2}'><credentials xmlns='urn:xmpp:extdisco:2'><service type='turn' host='turn.shakespeare.lit' port='9001'/></credentials></iq>
S: <iq type='result' from='shakespeare.lit' id='{2}'><credentials xmlns='urn:xmpp:extdisco:2'><service host='turn.shakespeare.lit' type='turn' password='jj929jkj5sadjfj93v3n' username='nb78932lkjlskjfdb7g8'/></credentials></iq>`,
				func() (Service, error) { return Credentials(s.Context(), s.Client, server, want) })
			if err != nil || got.Username != "nb78932lkjlskjfdb7g8" {
				s.Errorf("%+v, %v", got, err)
			}
		})
	})
}

func FuzzParse(f *testing.F) {
	f.Add(`<service xmlns='urn:xmpp:extdisco:2' host='a' type='turn' port='9001' expires='2010-07-10T23:08:25Z' restricted='1'/>`)
	f.Fuzz(func(t *testing.T, xml string) {
		e, err := xmltree.Parse([]byte(xml))
		if err != nil {
			return
		}
		if s, ok := Parse(e); ok && (s.Type == "" || s.Host == "") {
			t.Errorf("took %+v", s)
		}
	})
}
