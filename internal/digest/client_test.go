package digest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// counter is a source of "randomness" that tests can foresee.
type counter byte

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(*c)
	}
	*c++
	return len(p), nil
}

func newTestClient(cfg ClientConfig) *Client {
	if cfg.Credentials == nil {
		cfg.Credentials = func(realm string, alg Algorithm) (Credential, error) {
			return Credential{Username: "bob", Password: "zanzibar"}, nil
		}
	}
	if cfg.Rand == nil {
		cfg.Rand = new(counter)
	}
	return NewClient(cfg)
}

// authorize returns the credentials that the next transmission carries, keyed by header field name and realm.
func authorize(t *testing.T, c *Client, at *Attempt, method, uri string, body []byte) map[string]Credentials {
	t.Helper()
	all := make(map[string]Credentials)
	for _, h := range c.Authorize(at, method, uri, body) {
		cred, err := ParseCredentials(h.Value)
		if err != nil {
			t.Fatalf("%s: %s: %v", h.Name, h.Value, err)
		}
		key := h.Name + " " + cred.Realm
		if _, dup := all[key]; dup {
			t.Fatalf("two header fields %s", key)
		}
		all[key] = cred
	}
	return all
}

func TestClientCountsUp(t *testing.T) {
	c := newTestClient(ClientConfig{})
	var at Attempt
	if h := c.Authorize(&at, "REGISTER", "sip:biloxi.com", nil); len(h) != 0 {
		t.Fatalf("authorized before any challenge: %v", h)
	}
	if err := c.Challenge(&at, []string{`Digest realm="biloxi.com",nonce="n1",qop="auth",opaque="o",algorithm=MD5`}, nil); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 3; i++ {
		var at Attempt // later requests carry their credentials at once
		cred := authorize(t, c, &at, "REGISTER", "sip:biloxi.com", nil)["Authorization biloxi.com"]
		if cred.NC != fmt.Sprintf("%08x", i) || cred.Nonce != "n1" || cred.Opaque != "o" || cred.Username != "bob" || cred.QOP != QOPAuth {
			t.Errorf("transmission %d: %+v", i, cred)
		}
		want := response(MD5, secret(MD5, "bob", "biloxi.com", "zanzibar"), "n1", cred.NC, cred.CNonce, QOPAuth, "REGISTER", "sip:biloxi.com", nil)
		if cred.Response != want {
			t.Errorf("transmission %d: response %s, want %s", i, cred.Response, want)
		}
	}
}

func TestClientLegacyForm(t *testing.T) {
	c := newTestClient(ClientConfig{})
	var at Attempt
	if err := c.Challenge(&at, []string{`Digest realm="biloxi.com",nonce="n1"`}, nil); err != nil {
		t.Fatal(err)
	}
	got := c.Authorize(&at, "REGISTER", "sip:biloxi.com", nil)[0].Value
	for _, param := range []string{"qop", "nc=", "cnonce"} {
		if strings.Contains(got, param) {
			t.Errorf("%s contains %s, which the server did not ask for", got, param)
		}
	}
}

func TestClientChooses(t *testing.T) {
	md5 := `Digest realm="r",nonce="n",qop="auth",algorithm=MD5`
	sha256 := `Digest realm="r",nonce="n",qop="auth",algorithm=SHA-256`
	sha512 := `Digest realm="r",nonce="n",qop="auth",algorithm=SHA-512-256`
	unknown := `Digest realm="r",nonce="n",qop="auth",algorithm=SHA3-256`
	tests := []struct {
		name       string
		cfg        ClientConfig
		challenges []string
		alg        Algorithm
		qop        QOP
		err        error
	}{
		{name: "strongest last", challenges: []string{md5, sha256, sha512}, alg: SHA512256, qop: QOPAuth},
		{name: "strongest first", challenges: []string{sha512, sha256, md5}, alg: SHA512256, qop: QOPAuth}, // the order RFC 8760 §2.3 wants
		{name: "unknown first", challenges: []string{unknown, md5}, alg: MD5, qop: QOPAuth},
		{name: "another scheme first", challenges: []string{`Bearer realm="r"`, md5}, alg: MD5, qop: QOPAuth},
		{name: "garbage first", challenges: []string{`Digest realm="`, sha256}, alg: SHA256, qop: QOPAuth},
		{name: "only unknown", challenges: []string{unknown}, err: ErrUnsupported},
		{name: "only another scheme", challenges: []string{`Basic realm="r"`}, err: ErrUnsupported},
		{name: "none", err: ErrNoChallenge},
		{name: "weak", cfg: ClientConfig{MinAlgorithm: SHA256}, challenges: []string{md5}, err: ErrWeakChallenge},
		{name: "weak session variant", cfg: ClientConfig{MinAlgorithm: SHA256}, challenges: []string{`Digest realm="r",nonce="n",algorithm=MD5-sess`}, err: ErrWeakChallenge},
		{name: "weak and unknown", cfg: ClientConfig{MinAlgorithm: SHA256}, challenges: []string{md5, `Digest realm="r",nonce="n",algorithm=MD6`}, err: ErrUnsupported},
		{name: "minimum met", cfg: ClientConfig{MinAlgorithm: SHA256}, challenges: []string{md5, sha256}, alg: SHA256, qop: QOPAuth},
		{name: "both qualities", challenges: []string{`Digest realm="r",nonce="n",qop="auth-int,auth"`}, qop: QOPAuth},
		{name: "integrity only", challenges: []string{`Digest realm="r",nonce="n",qop="auth-int"`}, qop: QOPAuthInt},
		{name: "integrity required", cfg: ClientConfig{RequireAuthInt: true}, challenges: []string{`Digest realm="r",nonce="n",qop="auth,auth-int"`}, qop: QOPAuthInt},
		{name: "integrity required, not offered", cfg: ClientConfig{RequireAuthInt: true}, challenges: []string{sha512}, err: ErrWeakChallenge},
		{name: "integrity required, offered with the weaker only", cfg: ClientConfig{RequireAuthInt: true},
			challenges: []string{sha512, `Digest realm="r",nonce="n",qop="auth,auth-int"`}, alg: MD5, qop: QOPAuthInt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestClient(tt.cfg)
			var at Attempt
			err := c.Challenge(&at, tt.challenges, nil)
			creds := authorize(t, c, &at, "REGISTER", "sip:r", []byte("body"))
			if tt.err != nil {
				if !errors.Is(err, tt.err) || len(creds) != 0 {
					t.Errorf("error %v, credentials %v; want error %v and nothing sent", err, creds, tt.err)
				}
				return
			}
			cred := creds["Authorization r"]
			if err != nil || cred.Algorithm != tt.alg || cred.QOP != tt.qop {
				t.Fatalf("error %v, algorithm %v, qop %v; want %v, %v", err, cred.Algorithm, cred.QOP, tt.alg, tt.qop)
			}
			key := secret(tt.alg, "bob", "r", "zanzibar")
			if want := response(tt.alg, key, "n", cred.NC, cred.CNonce, tt.qop, "REGISTER", "sip:r", []byte("body")); cred.Response != want {
				t.Errorf("response %s, want %s", cred.Response, want)
			}
		})
	}
}

// A forking proxy hands on the challenges of all branches (RFC 3261 §16.7 step 7, §22.3): all are answered in one repeat.
func TestClientAnswersSeveralRealmsAtOnce(t *testing.T) {
	c := newTestClient(ClientConfig{})
	var at Attempt
	err := c.Challenge(&at,
		[]string{`Digest realm="a",nonce="1"`, `Digest realm="b",nonce="2"`},
		[]string{`Digest realm="a",nonce="3"`, `Digest realm="a",nonce="3",algorithm=SHA-256`})
	if err != nil {
		t.Fatal(err)
	}
	got := authorize(t, c, &at, "INVITE", "sip:x", nil)
	for key, nonce := range map[string]string{"Authorization a": "1", "Authorization b": "2", "Proxy-Authorization a": "3"} {
		if got[key].Nonce != nonce {
			t.Errorf("%s answers nonce %q, want %q", key, got[key].Nonce, nonce)
		}
	}
	if len(got) != 3 || got["Proxy-Authorization a"].Algorithm != SHA256 {
		t.Errorf("got %+v", got)
	}
}

// One hop after the other asks: the second repeat carries both.
func TestClientAnswersHopAfterHop(t *testing.T) {
	c := newTestClient(ClientConfig{})
	var at Attempt
	c.Authorize(&at, "INVITE", "sip:x", nil)
	if err := c.Challenge(&at, nil, []string{`Digest realm="proxy",nonce="1",qop="auth"`}); err != nil {
		t.Fatal(err)
	}
	c.Authorize(&at, "INVITE", "sip:x", nil)
	if err := c.Challenge(&at, []string{`Digest realm="server",nonce="2",qop="auth"`}, nil); err != nil {
		t.Fatal(err)
	}
	got := authorize(t, c, &at, "INVITE", "sip:x", nil)
	if got["Proxy-Authorization proxy"].NC != "00000002" || got["Authorization server"].NC != "00000001" {
		t.Errorf("got %+v", got)
	}
	var refused *AuthError
	if err := c.Challenge(&at, []string{`Digest realm="server",nonce="2",qop="auth"`}, nil); !errors.As(err, &refused) || refused.Realm != "server" || refused.Proxy {
		t.Errorf("error %v", err)
	}
}

func TestClientRefused(t *testing.T) {
	const first = `Digest realm="r",nonce="1",qop="auth"`
	tests := []struct {
		name   string
		second string // to credentials for the first
	}{
		{"the same nonce", first},
		{"a new nonce", `Digest realm="r",nonce="2",qop="auth"`}, // many servers never repeat a nonce
		{"another algorithm", `Digest realm="r",nonce="2",qop="auth",algorithm=SHA-256`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			c := newTestClient(ClientConfig{Credentials: func(string, Algorithm) (Credential, error) {
				asked++
				return Credential{Username: "bob", Password: "wrong"}, nil
			}})
			var at Attempt
			c.Authorize(&at, "REGISTER", "sip:r", nil)
			if err := c.Challenge(&at, []string{first}, nil); err != nil {
				t.Fatal(err)
			}
			c.Authorize(&at, "REGISTER", "sip:r", nil)
			err := c.Challenge(&at, []string{tt.second}, nil)
			var refused *AuthError
			if !errors.As(err, &refused) || refused.Realm != "r" || refused.Stale {
				t.Fatalf("error %v", err)
			}
			if strings.Contains(err.Error(), "wrong") {
				t.Errorf("%q tells the password", err)
			}
			var next Attempt
			if h := c.Authorize(&next, "REGISTER", "sip:r", nil); len(h) != 0 {
				t.Errorf("refused credentials are used again: %v", h)
			}
			if err := c.Challenge(&next, []string{first}, nil); err != nil || asked != 2 {
				t.Errorf("error %v; asked for credentials %d times, want again after they were refused", err, asked)
			}
		})
	}
}

// Credentials kept from an earlier request get a second chance with a new nonce, whether the server says stale or forgot everything.
func TestClientOldNonce(t *testing.T) {
	for _, stale := range []string{"", ",stale=true"} {
		asked := 0
		c := newTestClient(ClientConfig{Credentials: func(string, Algorithm) (Credential, error) {
			asked++
			return Credential{Username: "bob", Password: "zanzibar"}, nil
		}})
		if err := c.Challenge(new(Attempt), []string{`Digest realm="r",nonce="1",qop="auth"`}, nil); err != nil {
			t.Fatal(err)
		}
		var at Attempt
		c.Authorize(&at, "REGISTER", "sip:r", nil)
		if err := c.Challenge(&at, []string{`Digest realm="r",nonce="2",qop="auth"` + stale}, nil); err != nil {
			t.Fatalf("%q: %v", stale, err)
		}
		if got := authorize(t, c, &at, "REGISTER", "sip:r", nil)["Authorization r"]; got.Nonce != "2" || got.NC != "00000001" {
			t.Errorf("%q: %+v", stale, got)
		}
		if asked != 1 {
			t.Errorf("%q: asked for credentials %d times, want once", stale, asked)
		}
		var refused *AuthError
		if err := c.Challenge(&at, []string{`Digest realm="r",nonce="3",qop="auth"`}, nil); !errors.As(err, &refused) {
			t.Errorf("%q: error %v after the fresh nonce was refused as well", stale, err)
		}
	}
}

func TestClientStaleIsBounded(t *testing.T) {
	c := newTestClient(ClientConfig{})
	var at Attempt
	var err error
	rounds := 0
	for ; err == nil && rounds < 100; rounds++ {
		c.Authorize(&at, "REGISTER", "sip:r", nil)
		err = c.Challenge(&at, []string{fmt.Sprintf(`Digest realm="r",nonce="%d",stale=true`, rounds)}, nil)
	}
	var refused *AuthError
	if !errors.As(err, &refused) || !refused.Stale || rounds != 1+maxStale+1 {
		t.Errorf("error %v after %d rounds", err, rounds)
	}
}

func TestClientRealmsAreBounded(t *testing.T) {
	c := newTestClient(ClientConfig{})
	var at Attempt
	var err error
	for i := 0; err == nil && i < 100; i++ {
		var values []string
		for j := range 40 {
			values = append(values, fmt.Sprintf(`Digest realm="%d.%d",nonce="n"`, i, j))
		}
		err = c.Challenge(&at, values, values)
	}
	if !errors.Is(err, ErrTooManyChallenges) {
		t.Errorf("error %v", err)
	}
	if n := len(c.Authorize(&at, "REGISTER", "sip:r", nil)); n > maxSpaces {
		t.Errorf("%d header fields", n)
	}
}

func TestClientCredentials(t *testing.T) {
	ha1 := secret(SHA256, "bob", "r", "zanzibar")
	c := newTestClient(ClientConfig{Credentials: func(realm string, alg Algorithm) (Credential, error) {
		if realm != "r" {
			return Credential{}, io.ErrUnexpectedEOF
		}
		if alg != SHA256 {
			t.Errorf("asked for %v, want the base algorithm", alg)
		}
		return Credential{Username: "bob", HA1: strings.ToUpper(ha1)}, nil
	}})
	var at Attempt
	// One realm without credentials does not stop the other.
	if err := c.Challenge(&at, []string{`Digest realm="other",nonce="n"`, `Digest realm="r",nonce="n",algorithm=SHA-256-sess,qop="auth"`}, nil); err != nil {
		t.Fatal(err)
	}
	got := authorize(t, c, &at, "REGISTER", "sip:r", nil)
	cred := got["Authorization r"]
	want := response(SHA256, sessionKey(SHA256Sess, ha1, "n", cred.CNonce), "n", cred.NC, cred.CNonce, QOPAuth, "REGISTER", "sip:r", nil)
	if len(got) != 1 || cred.Response != want {
		t.Errorf("got %+v", got)
	}
	// Alone it does.
	err := c.Challenge(&at, []string{`Digest realm="other",nonce="n"`}, nil)
	var ch *ChallengeError
	if !errors.As(err, &ch) || ch.Realm != "other" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	c.Reset()
	if h := c.Authorize(&at, "REGISTER", "sip:r", nil); len(h) != 0 {
		t.Errorf("after Reset: %v", h)
	}
}

func TestClientWrongHA1(t *testing.T) {
	c := newTestClient(ClientConfig{Credentials: func(string, Algorithm) (Credential, error) {
		return Credential{Username: "bob", HA1: secret(MD5, "bob", "r", "zanzibar")}, nil
	}})
	err := c.Challenge(new(Attempt), []string{`Digest realm="r",nonce="n",algorithm=SHA-256`}, nil)
	var ch *ChallengeError
	if !errors.As(err, &ch) || ch.Realm != "r" {
		t.Errorf("error %v for an MD5 HA1 where SHA-256 is asked", err)
	}
}

func TestClientNoRandomness(t *testing.T) {
	c := newTestClient(ClientConfig{Rand: iotest.ErrReader(io.ErrClosedPipe)})
	var at Attempt
	if err := c.Challenge(&at, []string{`Digest realm="r",nonce="n"`}, nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
	if h := c.Authorize(&at, "REGISTER", "sip:r", nil); len(h) != 0 {
		t.Errorf("sent %v", h)
	}
}

func TestCredentialHidesSecrets(t *testing.T) {
	c := Credential{Username: "bob", Password: "zanzibar", HA1: "deadbeef"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, c); strings.Contains(s, "zanzibar") || strings.Contains(s, "deadbeef") {
			t.Errorf("%s prints %s", format, s)
		}
	}
	if s := c.LogValue().String(); strings.Contains(s, "zanzibar") || strings.Contains(s, "deadbeef") {
		t.Errorf("logged as %s", s)
	}
}

func TestClientInfo(t *testing.T) {
	const uri = "sip:biloxi.com"
	start := func(t *testing.T, params string) (*Client, *Attempt, Credentials) {
		c := newTestClient(ClientConfig{})
		at := new(Attempt)
		if err := c.Challenge(at, []string{`Digest realm="r",nonce="1",` + params}, nil); err != nil {
			t.Fatal(err)
		}
		return c, at, authorize(t, c, at, "REGISTER", uri, nil)["Authorization r"]
	}
	rspauth := func(alg Algorithm, cred Credentials, qop QOP, password, body string) Info {
		key := sessionKey(alg, secret(alg, "bob", "r", password), cred.Nonce, cred.CNonce)
		return Info{
			QOP: qop, CNonce: cred.CNonce, NC: cred.NC,
			RspAuth: response(alg, key, cred.Nonce, cred.NC, cred.CNonce, qop, "", uri, []byte(body)),
		}
	}
	t.Run("right", func(t *testing.T) {
		for _, alg := range []Algorithm{MD5, SHA256Sess, SHA512256} {
			for _, qop := range []QOP{QOPAuth, QOPAuthInt} {
				c, at, cred := start(t, fmt.Sprintf(`qop="%v",algorithm=%v`, qop, alg))
				if err := c.Info(at, false, rspauth(alg, cred, qop, "zanzibar", "body").String(), []byte("body")); err != nil {
					t.Errorf("%v %v: %v", alg, qop, err)
				}
			}
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		c, at, cred := start(t, `qop="auth"`)
		if err := c.Info(at, false, rspauth(MD5, cred, QOPAuth, "guess", "").String(), nil); !errors.Is(err, ErrRspAuth) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("body changed", func(t *testing.T) {
		c, at, cred := start(t, `qop="auth-int"`)
		if err := c.Info(at, false, rspauth(MD5, cred, QOPAuthInt, "zanzibar", "body").String(), []byte("other")); !errors.Is(err, ErrRspAuth) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("replayed from another request", func(t *testing.T) {
		c, at, cred := start(t, `qop="auth"`)
		c.Authorize(at, "REGISTER", uri, nil)
		if err := c.Info(at, false, rspauth(MD5, cred, QOPAuth, "zanzibar", "").String(), nil); !errors.Is(err, ErrRspAuth) {
			t.Errorf("error %v", err)
		}
		in := rspauth(MD5, cred, QOPAuth, "zanzibar", "")
		in.NC, in.CNonce = "", "" // not saying so does not help
		if err := c.Info(at, false, in.String(), nil); !errors.Is(err, ErrRspAuth) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("next nonce", func(t *testing.T) {
		c, at, cred := start(t, `qop="auth",opaque="o"`)
		in := rspauth(MD5, cred, QOPAuth, "zanzibar", "")
		in.NextNonce = "2"
		var other Attempt
		c.Authorize(&other, "OPTIONS", uri, nil)
		if err := c.Info(at, false, in.String(), nil); err != nil {
			t.Fatal(err)
		}
		// The response to a request sent before the change does not turn the clock back.
		if err := c.Info(&other, false, `nextnonce="3"`, nil); err != nil {
			t.Fatal(err)
		}
		next := authorize(t, c, new(Attempt), "REGISTER", uri, nil)["Authorization r"]
		if next.Nonce != "2" || next.NC != "00000001" || next.Opaque != "o" || next.CNonce == cred.CNonce {
			t.Errorf("next request carries %+v", next)
		}
	})
	t.Run("next nonce from an impostor", func(t *testing.T) {
		c, at, cred := start(t, `qop="auth"`)
		in := rspauth(MD5, cred, QOPAuth, "guess", "")
		in.NextNonce = "2"
		if err := c.Info(at, false, in.String(), nil); !errors.Is(err, ErrRspAuth) {
			t.Errorf("error %v", err)
		}
		if next := authorize(t, c, new(Attempt), "REGISTER", uri, nil)["Authorization r"]; next.Nonce != "1" {
			t.Errorf("next request carries %+v", next)
		}
	})
	t.Run("for nothing sent", func(t *testing.T) {
		c, at, _ := start(t, `qop="auth"`)
		if err := c.Info(at, true, `rspauth="00"`, nil); err != nil {
			t.Error(err)
		}
		if err := c.Info(new(Attempt), false, `nextnonce="2"`, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		c, at, _ := start(t, `qop="auth"`)
		var syntax *SyntaxError
		if err := c.Info(at, false, `rspauth="`, nil); !errors.As(err, &syntax) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("two realms", func(t *testing.T) {
		c, at, _ := start(t, `qop="auth"`)
		if err := c.Challenge(at, []string{`Digest realm="s",nonce="9",qop="auth"`}, nil); err != nil {
			t.Fatal(err)
		}
		all := authorize(t, c, at, "REGISTER", uri, nil)
		in := rspauth(MD5, all["Authorization r"], QOPAuth, "zanzibar", "")
		in.NextNonce = "2"
		if err := c.Info(at, false, in.String(), nil); err != nil {
			t.Fatal(err)
		}
		all = authorize(t, c, at, "REGISTER", uri, nil)
		if all["Authorization r"].Nonce != "2" || all["Authorization s"].Nonce != "9" {
			t.Errorf("next request carries %+v", all)
		}
	})
}

func BenchmarkAuthorize(b *testing.B) {
	c := newTestClient(ClientConfig{})
	if err := c.Challenge(new(Attempt), []string{`Digest realm="biloxi.com",nonce="BroadWorksXk9gfh1i2Tj5BW",qop="auth"`}, nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var at Attempt
		c.Authorize(&at, "INVITE", "sip:alice@biloxi.com", nil)
	}
}
