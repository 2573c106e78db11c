package sip

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Numbers are called at the account's domain (RFC 3261 §19.1.6, RFC 3966 §3).
func TestTel_RFC3261_19_1_6(t *testing.T) {
	for _, tt := range []struct{ tel, user string }{
		{"+358-555-1234567;postd=pp22", "+358-555-1234567;postd=pp22"},
		{"+358-555-1234567;POSTD=PP22;ISUB=1411", "+358-555-1234567;isub=1411;postd=pp22"},
		{"+358-555-1234567;phone-context=5;tsp=a.b;ext=22", "+358-555-1234567;ext=22;phone-context=5;tsp=a.b"},
		{"+1-201-555-0123", "+1-201-555-0123"}, // RFC 3966 §6
		{"7042;phone-context=example.com", "7042;phone-context=example.com"},
		{"863-1234;phone-context=+1-914-555", "863-1234;phone-context=+1-914-555"},
		{"*11", "*11"},
		{"#21", "%2321"},
		{"+1(800)555.0100", "+1(800)555.0100"},
		{"1;x=[a]:%3B", "1;x=%5ba%5d%3a%3b"},
		{"1;x", "1;x"},
		{"", ""}, {"+", ""}, {"-", ""}, {";phone-context=x", ""}, {"+*11", ""}, {"++1", ""},
		{"alice", ""}, {"alice@example.com", ""}, {"1@example.com", ""}, {"1;phone-context=@x", ""},
		{"1;", ""}, {"1;=x", ""}, {"1;x=", ""}, {"1;x=%0", ""}, {"1;x=%zz", ""}, {"%00", ""}, {"1%0d", ""},
		{"+1?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2", ""}, {"//+1", ""}, {"1 2", ""}, {"+1\r\nX: y", ""},
		{strings.Repeat("1", maxTel), strings.Repeat("1", maxTel)}, {strings.Repeat("1", maxTel+1), ""},
	} {
		if got, ok := telUser(tt.tel); got != tt.user || ok != (tt.user != "") {
			t.Errorf("tel:%s: %q, %v", tt.tel, got, ok)
		}
	}
	bubble(t, "dialled", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		for _, to := range []string{"tel:+1-201-555-0123", "TEL:+1-201-555-0123"} {
			if _, err := ua.Start(t.Context(), to, nil); err != nil {
				t.Fatal(err)
			}
			req := c.request("INVITE")
			if got := sipwire.FormatURI(&req.Recipient); got != "sip:+1-201-555-0123@example.com;user=phone" {
				t.Errorf("INVITE to %s", got)
			}
			c.reply(req, 404)
			c.request("ACK")
		}
	})
}

// A transfer to a number sends the peer to where our own call would go: a tel URI
// would mean to him whatever it means at his own domain (RFC 3966 §5.1.5, RFC 5589
// §6.1).
func TestTelTransfer(t *testing.T) {
	onStage(t, "blind", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c := bob.calls()
		result := transferring(func() error { return c.Transfer(t.Context(), "tel:+1-201-555-0123", &TransferOptions{NoHold: true}) })
		refer := bob.accepts()
		if got := sipwire.Header(refer, "Refer-To"); got != "<sip:+1-201-555-0123@example.com;user=phone>" {
			t.Errorf("Refer-To: %s", got)
		}
		bob.tells(200, "terminated;reason=noresource", "SIP/2.0 200 OK")
		bob.bye()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
	onStage(t, "to what is no number", nil, func(t *testing.T, s *stage) {
		c := s.actor("bob").calls()
		for _, to := range []string{"tel:", "tel:alice", "tel:+1?Replaces=x"} {
			var ue *URIError
			if err := c.Transfer(t.Context(), to, nil); !errors.As(err, &ue) {
				t.Errorf("%s: %v", to, err)
			}
		}
		s.quiet(time.Minute) // not even on hold
		if c.State() != CallEstablished || c.Held() != (Hold{}) {
			t.Errorf("%v, %+v", c.State(), c.Held())
		}
	})
}

// An account without a registrar that is named by its own address has nobody to
// ask for numbers: it would call itself.
func TestTelDirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, alice, _ := pair(t, UDP, nil)
		var ue *URIError
		if _, err := alice.Start(t.Context(), "tel:+12015550123", nil); !errors.As(err, &ue) {
			t.Error(err)
		}
		req := sipgo.NewRequest(sipgo.REFER, sipgo.Uri{Scheme: "sip", Host: "10.0.0.1"})
		req.AppendHeader(sipgo.NewHeader("Refer-To", "<tel:+12015550123>"))
		if _, status := alice.referral(req); status != 416 {
			t.Errorf("a REFER is answered %d", status)
		}
	})
}

// What telUser lets through is a user that is read as it was written.
func FuzzTel(f *testing.F) {
	for _, s := range []string{"+358-555-1234567;postd=pp22", "#21;x=[a]:%3B", "alice@example.com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		user, ok := telUser(s)
		if !ok {
			return
		}
		var uri sipgo.Uri
		if err := sipgo.ParseUri("sip:"+user+"@example.com;user=phone", &uri); err != nil || uri.Host != "example.com" || uri.Password != "" {
			t.Errorf("%q: %q: %v, %+v", s, user, err, uri)
		}
		if got := sipwire.FormatURI(&uri); got != "sip:"+user+"@example.com;user=phone" {
			t.Errorf("%q is written %q", user, got)
		}
	})
}
