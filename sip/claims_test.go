package sip

import (
	"context"
	"crypto/x509"
	"reflect"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/passport"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// RFC 8224 §8.1, §8.3, §8.5.
func TestPassportParties(t *testing.T) {
	tn := func(s string) passport.Party { return passport.Party{TN: s} }
	uri := func(s string) passport.Party { return passport.Party{URI: s} }
	for _, tt := range []struct {
		uri  string
		want []passport.Party
	}{
		{"tel:+1-215-555-1212;verstat=No-TN-Validation", []passport.Party{tn("12155551212")}},
		{"tel:1800FLOWERS", nil},
		{"sip:+12155551212;isub=1@h", []passport.Party{tn("12155551212")}},
		{"sip:%2B12155551212@h", []passport.Party{tn("12155551212")}},
		{"sip:12155551212@h;User=Phone", []passport.Party{tn("12155551212")}},
		{"sips:1001@PBX.example:5061;transport=tls", []passport.Party{uri("sips:1001@pbx.example"), tn("1001")}},
		{"sip:*67%2321@h;user=phone", []passport.Party{tn("*67#21")}},
		{"sip:alice@h;user=phone", []passport.Party{uri("sip:alice@h")}},
		{"SIP:%41lice%2f:secret@[2001:DB8::1]:5060?Subject=x", []passport.Party{uri("sip:alice%2f@[2001:db8::1]")}},
		{"sip:h", nil},
		{"urn:service:sos", nil},
	} {
		u, err := sipwire.ParseURI(tt.uri)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&IdentityConfig{}).parties(&u); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.uri, got, tt.want)
		}
	}
}

// Whatever Identity and the header fields that it speaks of say: what is read is
// bounded, and nothing passes without a certificate.
func FuzzIdentityStatements(f *testing.F) {
	const token = "..VLBCIVDCaeK6M4hLJb6SHQvacAQVvoiiEOWQ_iUkqk79UD81fHQ0E1b3_GluIkba7UWYRM47ZbNFdOJquE35cw"
	f.Add(token+certInfo, "sip:+12155551212@h", "sip:%61lice@h", "Sat, 01 Jan 2000 00:00:00 GMT", "<tel:+1>")
	f.Add(token+certInfo+", a.b.c;info=<x>, ;ppt=div", "tel:1;x", "sip:1@h;user=phone", "Sat", `<sip:a%zz@h>, <sip:anonymous@h>`)
	ua := &UA{cfg: Config{Identity: IdentityConfig{
		Certificates: func(context.Context, string) ([]*x509.Certificate, error) { return nil, nil },
		E164:         func(s string) string { return s + "0" },
	}}}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value, from, to, date, asserted string) {
		fromURI, err := sipwire.ParseURI(from)
		if err != nil {
			return
		}
		toURI, err := sipwire.ParseURI(to)
		if err != nil {
			return
		}
		req := sipgo.NewRequest(sipgo.INVITE, toURI)
		req.AppendHeader(&sipgo.FromHeader{Address: fromURI})
		req.AppendHeader(&sipgo.ToHeader{Address: toURI})
		for _, h := range [][2]string{{"Identity", value}, {"Date", date}, {"P-Asserted-Identity", asserted}} {
			req.AppendHeader(sipgo.NewHeader(h[0], h[1]))
		}
		id := identityOf(req, true)
		statements := ua.statements(now, req, &id)
		if len(statements) > maxIdentities {
			t.Errorf("%d statements", len(statements))
		}
		for _, st := range statements {
			// Two names of each of two that are asserted, and of To.
			if len(st.passports) > 8 || st.err == nil && len(st.passports) == 0 {
				t.Errorf("%d readings, %v", len(st.passports), st.err)
			}
			if st.err == nil && st.check(t.Context(), now, &ua.cfg.Identity) == nil {
				t.Error("passes without a certificate")
			}
		}
		for _, p := range ua.cfg.Identity.parties(&toURI) {
			if again := canonicalParty(p); again.TN != p.TN {
				t.Errorf("%+v becomes %+v", p, again)
			}
		}
	})
}

// A stranger asserts nothing: what he says of himself is compared, not
// P-Asserted-Identity, which his call would not show either.
func TestPassportCallers(t *testing.T) {
	req := inviteWith(t, "<sip:+12155551213@h>;tag=1", "P-Asserted-Identity: <tel:+12155551212>")
	for _, tt := range []struct {
		own  bool
		want string
	}{{true, "12155551212"}, {false, "12155551213"}} {
		id := identityOf(req, tt.own)
		if got := (&IdentityConfig{}).callers(req, &id); !reflect.DeepEqual(got, []passport.Party{{TN: tt.want}}) {
			t.Errorf("own flow %v: %+v", tt.own, got)
		}
	}
}
