package digest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func newTestServer(cfg ServerConfig) *Server {
	cfg.Realm = "biloxi.com"
	if cfg.Rand == nil {
		cfg.Rand = new(counter)
	}
	cfg.Lookup = func(username string, alg Algorithm) (Credential, error) {
		switch username {
		case "bob":
			return Credential{Username: username, Password: "zanzibar"}, nil
		case "carol":
			return Credential{Username: username, HA1: secret(alg, "carol", "biloxi.com", "chicago")}, nil
		}
		return Credential{}, io.EOF
	}
	return NewServer(cfg)
}

func challenges(t *testing.T, s *Server, now time.Time, stale bool) []string {
	t.Helper()
	values, err := s.Challenges(now, stale)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func values(headers []Header) []string {
	var v []string
	for _, h := range headers {
		v = append(v, h.Value)
	}
	return v
}

// Both ends together, in every combination: challenge, answer, repeat with the same nonce, mutual proof.
func TestClientAndServer(t *testing.T) {
	for _, alg := range []Algorithm{MD5, MD5Sess, SHA256, SHA256Sess, SHA512256, SHA512256Sess} {
		for _, qop := range []QOP{QOPNone, QOPAuth, QOPAuthInt, QOPAuth | QOPAuthInt} {
			t.Run(alg.String()+" "+qop.String(), func(t *testing.T) {
				s := newTestServer(ServerConfig{Algorithms: []Algorithm{alg}, QOP: qop, Opaque: "o"})
				c := newTestClient(ClientConfig{})
				var at Attempt
				if err := c.Challenge(&at, challenges(t, s, epoch, false), nil); err != nil {
					t.Fatal(err)
				}
				for range 3 {
					r := Request{Method: "MESSAGE", URI: "sip:carol@biloxi.com", Body: []byte("hi")}
					r.Values = values(c.Authorize(&at, r.Method, r.URI, r.Body))
					login, err := s.Verify(epoch, r)
					if err != nil {
						t.Fatal(err)
					}
					if login.Username != "bob" || login.Opaque != "o" {
						t.Errorf("login %+v", login)
					}
					info, err := s.Info(epoch, login, []byte("answer"))
					if err != nil || (info == "") != (qop == QOPNone) {
						t.Fatalf("info %q, %v", info, err)
					}
					if err := c.Info(&at, false, info, []byte("answer")); err != nil {
						t.Errorf("info %s: %v", info, err)
					}
				}
			})
		}
	}
}

func TestServerVerify(t *testing.T) {
	s := newTestServer(ServerConfig{Algorithms: []Algorithm{SHA256, MD5}, QOP: QOPAuth})
	ch, err := ParseChallenge(challenges(t, s, epoch, false)[1])
	if err != nil {
		t.Fatal(err)
	}
	nc := 0
	type answer struct {
		user, password, nonce, uri, nc, cnonce string
		alg                                    Algorithm
		qop                                    QOP
	}
	answered := func(f func(*answer)) string {
		nc++
		a := answer{
			user: "bob", password: "zanzibar", nonce: ch.Nonce, uri: "sip:biloxi.com",
			nc: fmt.Sprintf("%08x", nc), cnonce: "c", qop: QOPAuth,
		}
		f(&a)
		key := sessionKey(a.alg, secret(a.alg, a.user, "biloxi.com", a.password), a.nonce, a.cnonce)
		return Credentials{
			Username: a.user, Realm: "biloxi.com", Nonce: a.nonce, URI: a.uri, CNonce: a.cnonce, NC: a.nc, Algorithm: a.alg, QOP: a.qop,
			Response: response(a.alg, key, a.nonce, a.nc, a.cnonce, a.qop, "REGISTER", a.uri, nil),
		}.String()
	}
	tests := []struct {
		name string
		f    func(*answer)
		want error
	}{
		{"short count, empty cnonce", func(a *answer) { a.nc, a.cnonce = "1", "" }, nil}, // as one client library sends it
		{"right", func(*answer) {}, nil},
		{"HA1 stored", func(a *answer) { a.user, a.password = "carol", "chicago" }, nil},
		{"other algorithm of the list", func(a *answer) { a.alg = SHA256 }, nil},
		{"without qop", func(a *answer) { a.qop, a.nc, a.cnonce = QOPNone, "", "" }, nil}, // RFC 3261 §22.4
		{"URI with parameters", func(a *answer) { a.uri = "sips:Biloxi.com:5061;transport=tls" }, nil},
		{"wrong password", func(a *answer) { a.password = "guess" }, ErrDenied},
		{"unknown user", func(a *answer) { a.user = "mallory" }, ErrDenied},
		{"other URI", func(a *answer) { a.uri = "sip:atlanta.com" }, ErrDenied},
		{"other user in the URI", func(a *answer) { a.uri = "sip:x@biloxi.com" }, ErrDenied},
		{"algorithm not offered", func(a *answer) { a.alg = MD5Sess }, ErrDenied},
		{"quality not offered", func(a *answer) { a.qop = QOPAuthInt }, ErrDenied},
		{"unknown nonce", func(a *answer) { a.nonce = "made up" }, ErrStale},
		{"unknown nonce, wrong password", func(a *answer) { a.nonce, a.password = "made up", "guess" }, ErrDenied},
		{"count repeated", func(a *answer) { a.nc = "00000002" }, ErrReplay},
		{"count zero", func(a *answer) { a.nc = "00000000" }, ErrReplay},
		{"count with a gap", func(a *answer) { a.nc = "000000ff" }, nil},
	}
	for _, tt := range tests {
		login, err := s.Verify(epoch, Request{Method: "REGISTER", URI: "sip:biloxi.com", Values: []string{answered(tt.f)}})
		if !errors.Is(err, tt.want) || (err == nil) != (login != nil) {
			t.Errorf("%s: %+v, error %v, want %v", tt.name, login, err, tt.want)
		}
	}
}

func TestServerVerifyChooses(t *testing.T) {
	s := newTestServer(ServerConfig{QOP: QOPAuth})
	c := newTestClient(ClientConfig{})
	if err := c.Challenge(new(Attempt), challenges(t, s, epoch, false), nil); err != nil {
		t.Fatal(err)
	}
	good := func() string { return c.Authorize(new(Attempt), "REGISTER", "sip:biloxi.com", nil)[0].Value }
	other := strings.Replace(good(), "biloxi.com", "atlanta.com", 1)
	tests := []struct {
		name   string
		values []string
		want   error
	}{
		{"nothing", nil, ErrNoCredentials},
		{"another realm", []string{other}, ErrNoCredentials},
		{"another scheme", []string{"Basic Ym9iOnphbnppYmFy"}, ErrNoCredentials},
		{"another realm, then ours", []string{other, good()}, nil},
		{"garbage, then ours", []string{`Digest "`, good()}, nil},
	}
	for _, tt := range tests {
		if _, err := s.Verify(epoch, Request{Method: "REGISTER", URI: "sip:biloxi.com", Values: tt.values}); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
	var syntax *SyntaxError
	if _, err := s.Verify(epoch, Request{Values: []string{`Digest "`}}); !errors.As(err, &syntax) {
		t.Errorf("garbage: error %v", err)
	}
}

// auth-int covers the body on the way.
func TestServerIntegrity(t *testing.T) {
	s := newTestServer(ServerConfig{QOP: QOPAuthInt})
	c := newTestClient(ClientConfig{})
	if err := c.Challenge(new(Attempt), challenges(t, s, epoch, false), nil); err != nil {
		t.Fatal(err)
	}
	r := Request{Method: "MESSAGE", URI: "sip:x", Body: []byte("pay 10")}
	r.Values = values(c.Authorize(new(Attempt), r.Method, r.URI, r.Body))
	r.Body = []byte("pay 1000")
	if _, err := s.Verify(epoch, r); !errors.Is(err, ErrDenied) {
		t.Errorf("changed body: error %v", err)
	}
	r.Body = []byte("pay 10")
	if _, err := s.Verify(epoch, r); err != nil {
		t.Errorf("right body: %v", err)
	}
}

// The whole life of a nonce, as a registration that refreshes sees it.
func TestServerNonceLife(t *testing.T) {
	s := newTestServer(ServerConfig{QOP: QOPAuth, Lifetime: time.Minute})
	c := newTestClient(ClientConfig{})
	send := func(at *Attempt, now time.Time) error {
		_, err := s.Verify(now, Request{Method: "REGISTER", URI: "sip:b", Values: values(c.Authorize(at, "REGISTER", "sip:b", nil))})
		return err
	}
	var at Attempt
	if err := send(&at, epoch); !errors.Is(err, ErrNoCredentials) {
		t.Fatal(err)
	}
	if err := c.Challenge(&at, challenges(t, s, epoch, false), nil); err != nil {
		t.Fatal(err)
	}
	if err := send(&at, epoch.Add(time.Minute)); err != nil {
		t.Errorf("at its last moment: %v", err)
	}
	at = Attempt{}
	now := epoch.Add(time.Minute + 1)
	if err := send(&at, now); !errors.Is(err, ErrStale) {
		t.Errorf("after its time: %v", err)
	}
	if err := c.Challenge(&at, challenges(t, s, now, true), nil); err != nil {
		t.Fatal(err)
	}
	if err := send(&at, now); err != nil {
		t.Errorf("with the new nonce: %v", err)
	}
	s.Forget()
	if err := send(new(Attempt), now); !errors.Is(err, ErrStale) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestServerNextNonce(t *testing.T) {
	s := newTestServer(ServerConfig{QOP: QOPAuth, NextNonceAfter: 2})
	c := newTestClient(ClientConfig{})
	if err := c.Challenge(new(Attempt), challenges(t, s, epoch, false), nil); err != nil {
		t.Fatal(err)
	}
	var counts []string
	for range 5 {
		var at Attempt
		login, err := s.Verify(epoch, Request{Method: "REGISTER", URI: "sip:b", Values: values(c.Authorize(&at, "REGISTER", "sip:b", nil))})
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, login.NC[7:])
		info, err := s.Info(epoch, login, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Info(&at, false, info, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(counts, " "); got != "1 2 1 2 1" {
		t.Errorf("nonce counts %s", got)
	}
}

func TestServerNonces(t *testing.T) {
	s := newTestServer(ServerConfig{QOP: QOPAuth, MaxNonces: 2, Nonce: func(random string) string { return "BroadWorksX" + random[:13] + "BW" }})
	var clients []*Client
	for range 3 {
		c := newTestClient(ClientConfig{})
		ch := challenges(t, s, epoch, false)
		if err := c.Challenge(new(Attempt), ch, nil); err != nil {
			t.Fatal(err)
		}
		if parsed, err := ParseChallenge(ch[0]); err != nil || !strings.HasPrefix(parsed.Nonce, "BroadWorksX") || !strings.HasSuffix(parsed.Nonce, "BW") {
			t.Errorf("challenge %s", ch[0])
		}
		clients = append(clients, c)
	}
	for i, want := range []error{ErrStale, nil, nil} { // above the bound the oldest goes
		_, err := s.Verify(epoch, Request{Method: "REGISTER", URI: "sip:b", Values: values(clients[i].Authorize(new(Attempt), "REGISTER", "sip:b", nil))})
		if !errors.Is(err, want) {
			t.Errorf("client %d: error %v, want %v", i, err, want)
		}
	}
	if len(s.nonces) != 2 {
		t.Errorf("%d nonces remembered", len(s.nonces))
	}
}

func TestServerNoRandomness(t *testing.T) {
	s := newTestServer(ServerConfig{Rand: iotest.ErrReader(io.ErrClosedPipe)})
	if _, err := s.Challenges(epoch, false); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
}

func TestSameURI(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"sip:AS:8934", "sip:as:8934", true},
		{"sip:biloxi.com", "sip:biloxi.com;transport=tcp", true},
		{"sip:bob@biloxi.com", "sips:bob@biloxi.com:5061;lr?x=y", true},
		{"sip:bob;ext=1@biloxi.com", "sip:bob@biloxi.com", false},
		{"sip:bob@biloxi.com", "sip:Bob@biloxi.com", false},
		{"sip:biloxi.com:5080", "sip:biloxi.com", false},
		{"tel:+1234", "tel:+1234", true},
		{"tel:+1234", "sip:+1234", false},
		{"", "sip:biloxi.com", false},
	}
	for _, tt := range tests {
		if got := sameURI(tt.a, tt.b); got != tt.want {
			t.Errorf("sameURI(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}
