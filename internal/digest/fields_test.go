package digest

import (
	"errors"
	"strings"
	"testing"
)

func TestParseChallenge(t *testing.T) {
	tests := []struct {
		name, in string
		want     Challenge
	}{
		{
			"RFC 3261 20.44",
			`Digest realm="atlanta.com", domain="sip:boxesbybob.com", qop="auth", nonce="f84f1cec41e6cbe5aea9c8e88d359", opaque="", stale=FALSE, algorithm=MD5`,
			Challenge{Realm: "atlanta.com", Nonce: "f84f1cec41e6cbe5aea9c8e88d359", QOP: QOPAuth},
		},
		{
			"RFC 7616 3.9.2",
			`Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true`,
			Challenge{
				Realm: "api@example.org", Nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", Algorithm: SHA512256, QOP: QOPAuth,
				Opaque: "HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", UserHash: true,
			},
		},
		{
			"BroadWorks", `DIGEST qop="auth",nonce="BroadWorksXk9gfh1i2Tj5BW",realm="BroadWorks",algorithm=MD5`,
			Challenge{Realm: "BroadWorks", Nonce: "BroadWorksXk9gfh1i2Tj5BW", QOP: QOPAuth},
		},
		{"legacy", `Digest realm="a", nonce="b"`, Challenge{Realm: "a", Nonce: "b"}},
		{"quoted where tokens belong", `Digest realm="a",nonce="b",algorithm="sha-256-sess",stale="TRUE",qop="auth , auth-int"`,
			Challenge{Realm: "a", Nonce: "b", Algorithm: SHA256Sess, Stale: true, QOP: QOPAuth | QOPAuthInt}},
		{"bare where strings belong", `Digest realm=a.example,nonce=/b+c==,qop=auth`, Challenge{Realm: "a.example", Nonce: "/b+c==", QOP: QOPAuth}},
		{"escapes", `Digest realm="say \"hi\" \\ there", nonce="b"`, Challenge{Realm: `say "hi" \ there`, Nonce: "b"}},
		{"comma and equals inside a string", `Digest realm="a, nonce=x", nonce="b"`, Challenge{Realm: "a, nonce=x", Nonce: "b"}},
		{"empty elements, folded", "Digest\r\n realm=\"a\",, ,\r\n\tnonce = \"b\" ,", Challenge{Realm: "a", Nonce: "b"}},
		{"unknown quality among known", `Digest realm="a",nonce="b",qop="token,auth-int"`, Challenge{Realm: "a", Nonce: "b", QOP: QOPAuthInt}},
		{"empty qop is the legacy form", `Digest realm="a",nonce="b",qop=""`, Challenge{Realm: "a", Nonce: "b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseChallenge(tt.in)
			if err != nil || got != tt.want {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, tt.want)
			}
			if again, err := ParseChallenge(got.String()); err != nil || again != got {
				t.Errorf("written as %s, read again as %+v, %v", got, again, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	challenge := func(s string) error { _, err := ParseChallenge(s); return err }
	credentials := func(s string) error { _, err := ParseCredentials(s); return err }
	info := func(s string) error { _, err := ParseInfo(s); return err }
	const cred = `Digest username="a",realm="b",nonce="c",uri="sip:d",response="e"`
	tests := []struct {
		name        string
		parse       func(string) error
		in          string
		unsupported bool
	}{
		{"empty", challenge, "", false},
		{"basic", challenge, `Basic realm="a"`, true},
		{"bearer", challenge, `Bearer realm="a", scope="b"`, true},
		{"no realm", challenge, `Digest nonce="b"`, false},
		{"no nonce", challenge, `Digest realm="b"`, false},
		{"twice", challenge, `Digest realm="a",nonce="b",nonce="c"`, false},
		{"open string", challenge, `Digest realm="a",nonce="b`, false},
		{"open escape", challenge, `Digest realm="a",nonce="b\`, false},
		{"line break in a string", challenge, "Digest realm=\"a\r\nX: y\",nonce=\"b\"", false},
		{"escaped line break", challenge, "Digest realm=\"a\\\nX: y\",nonce=\"b\"", false},
		{"no comma", challenge, `Digest realm="a" nonce="b"`, false},
		{"no value", challenge, `Digest realm,nonce="b"`, false},
		{"scheme glued", challenge, `Digest,realm="a",nonce="b"`, false},
		{"unknown algorithm", challenge, `Digest realm="a",nonce="b",algorithm=SHA-1`, true},
		{"unknown quality", challenge, `Digest realm="a",nonce="b",qop="auth-conf"`, true},
		{"too long", challenge, `Digest realm="` + strings.Repeat("a", maxValue) + `",nonce="b"`, false},
		{"too many", challenge, `Digest realm="a",nonce="b"` + manyParams(maxParams), false},
		{"no response", credentials, `Digest username="a",realm="b",nonce="c",uri="sip:d"`, false},
		{"nc missing", credentials, cred + `,qop=auth,cnonce="x"`, false},
		{"nc not hexadecimal", credentials, cred + `,qop=auth,nc=0000000g`, false},
		{"nc too long", credentials, cred + `,qop=auth,nc=000000001`, false},
		{"nc negative", credentials, cred + `,qop=auth,nc=-1`, false},
		{"two qualities", credentials, cred + `,qop="auth,auth-int",nc=00000001`, true},
		{"info nc", info, `nc=x`, false},
		{"info quality", info, `qop=other,rspauth="a"`, true},
		{"info too long", info, strings.Repeat(",", maxValue+1), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.parse(tt.in)
			var syntax *SyntaxError
			if tt.unsupported && !errors.Is(err, ErrUnsupported) || !tt.unsupported && !errors.As(err, &syntax) {
				t.Errorf("error %v (%T)", err, err)
			}
		})
	}
}

func manyParams(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(",p" + strings.Repeat("x", i) + "=1")
	}
	return b.String()
}

func TestParseCredentials(t *testing.T) {
	const in = `Digest username="+12105550000",realm="BroadWorks",nonce="BroadWorksXlu1BW",uri="sip:AS:8934",algorithm=MD5,response="6629fae49393a053",qop=auth,nc=1,cnonce=""`
	got, err := ParseCredentials(in)
	want := Credentials{
		Username: "+12105550000", Realm: "BroadWorks", Nonce: "BroadWorksXlu1BW", URI: "sip:AS:8934",
		Response: "6629fae49393a053", QOP: QOPAuth, NC: "1",
	}
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestParseInfo(t *testing.T) {
	// RFC 7616 §3.5 in form, RFC 3261 §20.6 for nextnonce alone.
	got, err := ParseInfo(`nextnonce="47364c23432d2e131a5fb210812c", qop=auth, rspauth="6629fae4", cnonce="0a4f113b", nc=00000001`)
	want := Info{NextNonce: "47364c23432d2e131a5fb210812c", QOP: QOPAuth, RspAuth: "6629fae4", CNonce: "0a4f113b", NC: "00000001"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if got, err := ParseInfo(`nextnonce="47364c23432d2e131a5fb210812c"`); err != nil || got != (Info{NextNonce: "47364c23432d2e131a5fb210812c"}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAlgorithmNames(t *testing.T) {
	for _, name := range []string{"MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"} {
		for _, written := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			if alg, ok := ParseAlgorithm(written); !ok || alg.String() != name {
				t.Errorf("%s is read as %v, %v", written, alg, ok)
			}
		}
	}
	for _, name := range []string{"", "-sess", "SHA-512", "MD5-sess-sess", "MD5 "} {
		if alg, ok := ParseAlgorithm(name); ok {
			t.Errorf("%q is read as %v", name, alg)
		}
	}
}

func FuzzParseChallenge(f *testing.F) {
	f.Add(`Digest realm="atlanta.com", domain="sip:boxesbybob.com", qop="auth", nonce="f84f1cec41e6cbe5aea9c8e88d359", opaque="", stale=FALSE, algorithm=MD5`)
	f.Add(`Digest realm="a\"b\\", qop="auth,auth-int", nonce=x/y, algorithm=SHA-512-256-sess, userhash=true, stale=true, opaque="o"`)
	f.Add(`Basic realm="a"`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseChallenge(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(c.String(), "\r\n\x00") {
			t.Fatalf("%q lets control characters through", c.String())
		}
		if again, err := ParseChallenge(c.String()); len(c.String()) <= maxValue && (err != nil || again != c) {
			t.Fatalf("%+v written as %q, read again as %+v, %v", c, c.String(), again, err)
		}
	})
}

func FuzzParseCredentials(f *testing.F) {
	f.Add(`Digest username="bob", realm="biloxi.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="sip:bob@biloxi.com", qop=auth, nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"`)
	f.Add(`Digest username="a\\b",realm="",nonce="",uri="",response="",nc=1,cnonce="",algorithm=md5-sess,userhash=true`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCredentials(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(c.String(), "\r\n\x00") {
			t.Fatalf("%q lets control characters through", c.String())
		}
		if again, err := ParseCredentials(c.String()); len(c.String()) <= maxValue && (err != nil || again != c) {
			t.Fatalf("%+v written as %q, read again as %+v, %v", c, c.String(), again, err)
		}
	})
}

func FuzzParseInfo(f *testing.F) {
	f.Add(`nextnonce="47364c23432d2e131a5fb210812c", qop=auth, rspauth="6629fae4", cnonce="0a4f113b", nc=00000001`)
	f.Add(`,`)
	f.Fuzz(func(t *testing.T, s string) {
		in, err := ParseInfo(s)
		if err != nil {
			return
		}
		if again, err := ParseInfo(in.String()); len(in.String()) <= maxValue && (err != nil || again != in) {
			t.Fatalf("%+v written as %q, read again as %+v, %v", in, in.String(), again, err)
		}
	})
}

// FuzzChallenge feeds a client what a hostile server may say, twice to one request.
func FuzzChallenge(f *testing.F) {
	f.Add(`Digest realm="a",nonce="b",qop="auth"`, `Digest realm="a",nonce="c",stale=true`, `nextnonce="d"`)
	f.Fuzz(func(t *testing.T, first, second, info string) {
		c := newTestClient(ClientConfig{})
		var at Attempt
		if c.Challenge(&at, []string{first}, []string{second}) == nil && len(c.Authorize(&at, "REGISTER", "sip:a", nil)) == 0 {
			t.Fatal("nothing to send after a challenge was taken")
		}
		_ = c.Info(&at, false, info, nil)
		_ = c.Challenge(&at, []string{second}, nil)
		for _, h := range c.Authorize(&at, "REGISTER", "sip:a", nil) {
			if strings.ContainsAny(h.Value, "\r\n\x00") {
				t.Fatalf("%q lets control characters through", h.Value)
			}
		}
	})
}
