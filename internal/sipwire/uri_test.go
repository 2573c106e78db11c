package sipwire

import (
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"
)

func TestParseURI(t *testing.T) {
	for _, c := range []struct {
		in              string
		scheme, user    string
		password, host  string
		port            int
		params, headers string
		raw             string
		out             string // "" when it is in
	}{
		// RFC 3261 §19.1.3.
		{in: "sip:alice@atlanta.com", scheme: "sip", user: "alice", host: "atlanta.com"},
		{in: "sip:alice:secretword@atlanta.com;transport=tcp", scheme: "sip", user: "alice", password: "secretword", host: "atlanta.com", params: "transport=tcp"},
		{in: "sips:alice@atlanta.com?subject=project%20x&priority=urgent", scheme: "sips", user: "alice", host: "atlanta.com", headers: "subject=project%20x&priority=urgent"},
		{in: "sip:+1-212-555-1212:1234@gateway.com;user=phone", scheme: "sip", user: "+1-212-555-1212", password: "1234", host: "gateway.com", params: "user=phone"},
		{in: "sips:1212@gateway.com", scheme: "sips", user: "1212", host: "gateway.com"},
		{in: "sip:alice@192.0.2.4", scheme: "sip", user: "alice", host: "192.0.2.4"},
		{in: "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com", scheme: "sip", host: "atlanta.com", params: "method=REGISTER", headers: "to=alice%40atlanta.com"},
		{in: "sip:alice;day=tuesday@atlanta.com", scheme: "sip", user: "alice;day=tuesday", host: "atlanta.com"},

		{in: "SIP:a@B:5070", scheme: "sip", user: "a", host: "B", port: 5070, out: "sip:a@B:5070"},
		{in: "sip:[2001:db8::1]:5061;lr;x", scheme: "sip", host: "[2001:db8::1]", port: 5061, params: "lr;x"},
		{in: "sip:a?b/c@h", scheme: "sip", user: "a?b/c", host: "h"},
		{in: "sip:h;;a=b;", scheme: "sip", host: "h", params: "a=b", out: "sip:h;a=b"},
		{in: "sip:h;a=b=c?x=y=z&w", scheme: "sip", host: "h", params: "a=b=c", headers: "x=y=z&w"},
		{in: "tel:+49-30-1234;phone-context=x", scheme: "tel", raw: "+49-30-1234;phone-context=x"},
		{in: "urn:service:sos", scheme: "urn", raw: "service:sos"},
		{in: "soap.beep://192.0.2.103:3002", scheme: "soap.beep", raw: "//192.0.2.103:3002"},
		{in: "Http://x/?a=b", scheme: "http", raw: "//x/?a=b", out: "http://x/?a=b"},
	} {
		u, err := ParseURI(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if u.Scheme != c.scheme || u.User != c.user || u.Password != c.password || u.Host != c.host || u.Port != c.port ||
			u.UriParams.ToString(';') != c.params || u.Headers.ToString('&') != c.headers || u.Raw() != c.raw {
			t.Errorf("%s: %+v", c.in, u)
		}
		want := c.in
		if c.out != "" {
			want = c.out
		}
		if got := FormatURI(&u); got != want {
			t.Errorf("%s: written %s", c.in, got)
		}
	}
	for _, in := range []string{
		"", "sip", "sip:", ":x", "sip:@h", "sip::p@h", "sip:a@", "sip:a@b@c", "sip:a b@h", "sip:a@h\r\n", "sip:a@h:",
		"sip:a@h:0", "sip:a@h:65536", "sip:a@h:1x", "sip:a@h:5060:1", "sip:2001:db8::1", "sip:[::1", "sip:[::1]x", "sip:[1.2.3.4]",
		"sip:[fe80::1%25eth0]", "sip:[2001:db8:::10]", "sip:a@<h>", "sip:\"a\"@h", "sip:h/x", "*", "1x:y", "x y:z", "sip:;a=b", "sip:?a=b",
	} {
		if u, err := ParseURI(in); err == nil {
			t.Errorf("%q: %+v", in, u)
		}
	}
}

// RFC 3261 §19.1.4 has these examples.
func TestSameURI(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true},
		{"sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com", "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com", true},
		{"sip:alice@atlanta.com?subject=project%20x&priority=urgent", "sip:alice@atlanta.com?priority=urgent&subject=project%20x", true},
		{"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false}, // user parts differ
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false},
		{"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false},
		{"sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false},
		{"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false},

		{"sip:a@h", "sips:a@h", false},
		{"sip:a:b@h", "sip:a@h", false},
		{"sip:a@h;user=phone", "sip:a@h", false},
		{"sip:a@[2001:DB8::0:1]", "sip:a@[2001:db8::1]", true},
		{"sip:a%zz@h", "sip:a%zz@h", true},
		{"tel:+1", "tel:+1", true},
		{"tel:+1", "tel:+2", false},
		{"sip:h?a=b", "sip:h?c=b", false},
	} {
		a, errA := ParseURI(c.a)
		b, errB := ParseURI(c.b)
		if errA != nil || errB != nil {
			t.Fatal(c.a, errA, c.b, errB)
		}
		if SameURI(&a, &b) != c.same || SameURI(&b, &a) != c.same {
			t.Errorf("%s and %s: want same %v", c.a, c.b, c.same)
		}
	}
	if !SameURI(&sipgo.Uri{Host: "h"}, &sipgo.Uri{Scheme: "sip", Host: "h"}) {
		t.Error("no scheme is not sip")
	}
}

func TestParseNameAddr(t *testing.T) {
	for _, c := range []struct {
		in, display, uri string
		params           string // as written
	}{
		// RFC 3261 §20.10, §20.20 and §20.39.
		{`"Mr. Watson" <sip:watson@worcester.bell-telephone.com>;q=0.7; expires=3600`, "Mr. Watson", "sip:watson@worcester.bell-telephone.com", ";q=0.7;expires=3600"},
		{`"A. G. Bell" <sip:agb@bell-telephone.com> ;tag=a48s`, "A. G. Bell", "sip:agb@bell-telephone.com", ";tag=a48s"},
		{`sip:+12125551212@server.phone2net.com;tag=887s`, "", "sip:+12125551212@server.phone2net.com", ";tag=887s"},
		{`Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8`, "Anonymous", "sip:c8oqz84zk7z@privacy.org", ";tag=hyh8"},
		{`The Operator <sip:operator@cs.columbia.edu>;tag=287447`, "The Operator", "sip:operator@cs.columbia.edu", ";tag=287447"},

		{`<sip:a@b>`, "", "sip:a@b", ""},
		{` < sip:a@b > `, "", "sip:a@b", ""},
		{`"" <sip:a@b>`, "", "sip:a@b", ""},
		{`"a \"b\" \\ <c>, d"<sip:a@b>`, `a "b" \ <c>, d`, "sip:a@b", ""},
		{"\"\u041f\u0435\u0442\u044f\" <sip:a@b>", "\u041f\u0435\u0442\u044f", "sip:a@b", ""},
		{`<sip:a@b;lr?x=y>;z`, "", "sip:a@b;lr?x=y", ";z"},
		{`sip:a@b ; z = y ;`, "", "sip:a@b", ";z=y"},
		{`<sip:a@b>;x="q;\"r\",s" ; y=[::1]`, "", "sip:a@b", `;x="q;\"r\",s";y=[::1]`},
		{`sip:a@b;x=<1>`, "", "", ""},
		{`tel:+1;y`, "", "tel:+1", ";y"},
	} {
		display, uri, params, err := ParseNameAddr(c.in)
		if c.uri == "" {
			if err == nil {
				t.Errorf("%s: no error", c.in)
			}
			continue
		}
		if err != nil || display != c.display || FormatURI(&uri) != c.uri || string(appendParams(nil, params)) != c.params {
			t.Errorf("%s: %q %s %s %v", c.in, display, FormatURI(&uri), appendParams(nil, params), err)
		}
	}
	for _, in := range []string{
		"", " ", `"`, `"a`, `"a\"`, `"a"`, `"a" sip:b@c`, `"a" x <sip:b@c>`, `a b`, `a <sip:b@c`, `a sip:b@c>`, `<>`, `<sip:a@b> x`,
		`<sip:a@b>x`, `sip:a@b,sip:c@d`, `sip:a@b?x=y`, `<sip:a@b>,<sip:c@d>`, `<sip:a@b>;=x`, `<sip:a@b>;;x`, `<sip:a@b>;x=`, `<sip:a@b>;x="y`,
		`<sip:a@b>;x=y z`, `<sip:a@b>;x="y"z`, `a;b <sip:c@d>`, `*`,
	} {
		if _, uri, _, err := ParseNameAddr(in); err == nil {
			t.Errorf("%q: %s", in, FormatURI(&uri))
		}
	}
}

func FuzzParseURI(f *testing.F) {
	for _, s := range []string{
		"sip:alice:secretword@atlanta.com;transport=tcp?subject=project%20x", "sips:[2001:db8::1]:5061;lr", "tel:+1;x=y", "soap.beep://h:1",
		"sip:[2001:db8:::192.0.2.1]", "sip:%00@h;;a=;b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			return
		}
		text := FormatURI(&u)
		if strings.ContainsAny(text, " \r\n<>\"") {
			t.Fatalf("%q holds what a URI cannot", text)
		}
		again, err := ParseURI(text)
		if err != nil || FormatURI(&again) != text || !SameURI(&u, &again) {
			t.Errorf("%q: written %q, then %q, %v", s, text, FormatURI(&again), err)
		}
	})
}

func FuzzParseNameAddr(f *testing.F) {
	for _, s := range []string{
		`"Mr. Watson" <sip:watson@worcester.bell-telephone.com>;q=0.7; expires=3600`, "sip:a@b;tag=1", `"\"" < sip:a@[::1] >;x="y,z"`,
		"Bell, Alexander <sip:a.g.bell@example.com>;tag=43", `<urn:uuid:1>;+sip.instance="<urn:uuid:1>"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		display, uri, params, err := ParseNameAddr(s)
		if err != nil {
			return
		}
		text := FormatNameAddr(display, &uri, params)
		display2, uri2, params2, err := ParseNameAddr(text)
		if err != nil {
			t.Fatalf("%q: cannot read %q: %v", s, text, err)
		}
		if again := FormatNameAddr(display2, &uri2, params2); again != text {
			t.Errorf("%q: written %q, then %q", s, text, again)
		}
		for _, p := range params {
			if v, ok := Param(params, p.K); !ok && v == "" {
				t.Errorf("%q: no parameter %q", s, p.K)
			}
		}
	})
}
