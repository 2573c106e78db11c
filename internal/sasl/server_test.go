package sasl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
)

var allMechanisms = []string{
	"SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS", "PLAIN", "EXTERNAL",
}

// Each mechanism signs in, over each version of TLS with each binding that it has, and a wrong password does not.
func TestSignIn(t *testing.T) {
	cert := certificate(t, x509.ECDSAWithSHA256)
	lookup := users(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		p := connect(t, version, cert, nil, nil)
		types := []string{"tls-exporter", "tls-unique", "tls-server-end-point"}
		client := &Offer{Mechanisms: allMechanisms, Bindings: types, TLS: &p.client}
		cfg := &ServerConfig{
			Offer:  &Offer{Mechanisms: allMechanisms, Bindings: types, TLS: &p.server},
			Lookup: lookup, External: "user", Binding: ServerBinding(&p.server, cert.Leaf), Protect: true,
		}
		var choices []Choice
		for _, m := range allMechanisms {
			switch _, bound, _ := parseMechanism(m); {
			case bound:
				for _, b := range available(&p.client) {
					choices = append(choices, choice(m, b, 'p', client))
				}
			default:
				choices = append(choices, choice(m, "", 'n', client))
			}
		}
		for _, c := range choices {
			t.Run(tls.VersionName(version)+" "+c.Mechanism+" "+string(c.Binding), func(t *testing.T) {
				s, err := signIn(t, c, pencil, nil, cfg)
				if err != nil || s.Username() != "user" || s.AuthzID() != "" {
					t.Errorf("%q as %q: %v", s.Username(), s.AuthzID(), err)
				}
				if c.Mechanism == external {
					return
				}
				for _, wrong := range []*Credentials{{Username: "user", Password: "pen"}, {Username: "nobody", Password: "pencil"}} {
					var f *Failure
					s, err := signIn(t, c, wrong, nil, cfg)
					if !errors.As(err, &f) || f.Condition != NotAuthorized || s.Username() != "" {
						t.Errorf("%v: %v", wrong, err)
					}
				}
			})
		}
	}
}

// Somebody in the middle has another connection to each side, and no binding but that of the certificate survives it.
func TestManInTheMiddle(t *testing.T) {
	cert, forged := certificate(t, x509.ECDSAWithSHA256), certificate(t, x509.ECDSAWithSHA256)
	lookup := users(t)
	for _, c := range []struct {
		name    string
		version uint16
		cert    tls.Certificate // that the client sees
		binding Binding
		fails   bool
	}{
		{"stolen key", tls.VersionTLS13, cert, TLSExporter, true},
		{"stolen key", tls.VersionTLS12, cert, TLSUnique, true},
		{"stolen key", tls.VersionTLS13, cert, TLSServerEndPoint, false},
		{"another certificate", tls.VersionTLS13, forged, TLSServerEndPoint, true},
	} {
		t.Run(c.name+" "+string(c.binding), func(t *testing.T) {
			here, there := connect(t, c.version, c.cert, nil, nil), connect(t, c.version, cert, nil, nil)
			cfg := &ServerConfig{
				Offer:  &Offer{Mechanisms: allMechanisms, TLS: &there.server},
				Lookup: lookup, Binding: ServerBinding(&there.server, cert.Leaf),
			}
			_, err := signIn(t, choice("SCRAM-SHA-256-PLUS", c.binding, 'p', &Offer{Mechanisms: allMechanisms, TLS: &here.client}), pencil, nil, cfg)
			var e *ServerError
			if c.fails != (err != nil) || c.fails && (!errors.As(err, &e) || e.Value != bindingsDontMatch) {
				t.Error(err)
			}
		})
	}
}

// RFC 5802 §6 and §7: what a server refuses, and how.
func TestServerRefuses(t *testing.T) {
	p := connect(t, tls.VersionTLS13, certificate(t, x509.ECDSAWithSHA256), nil, nil)
	offer := func(mechanisms ...string) *Offer {
		return &Offer{Mechanisms: mechanisms, Bindings: []string{"tls-exporter"}, TLS: &p.server}
	}
	withPlus := offer("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS")
	for _, c := range []struct {
		name, mechanism string
		offer           *Offer
		messages        []string
		condition       string
		value           string // of the ServerError below it
	}{
		{"not offered", "SCRAM-SHA-256", withPlus, nil, InvalidMechanism, ""},
		{"not known", "DIGEST-MD5", offer("DIGEST-MD5"), nil, InvalidMechanism, ""},
		{"y, but there is", "SCRAM-SHA-1", withPlus, []string{"y,,n=user,r=n"}, NotAuthorized, bindingSupported},
		{"y, and there is not", "SCRAM-SHA-1", offer("SCRAM-SHA-1"), []string{"y,,n=user,r=n"}, "", ""},
		{"n, and there is", "SCRAM-SHA-1", withPlus, []string{"n,,n=user,r=n"}, "", ""},
		{"p without PLUS", "SCRAM-SHA-1", withPlus, []string{"p=tls-exporter,,n=user,r=n"}, NotAuthorized, bindingUnsupported},
		{"n with PLUS", "SCRAM-SHA-1-PLUS", withPlus, []string{"n,,n=user,r=n"}, NotAuthorized, bindingUnsupported},
		{"binding not listed", "SCRAM-SHA-1-PLUS", withPlus, []string{"p=tls-server-end-point,,n=user,r=n"}, NotAuthorized, bindingTypeUnknown},
		{"mandatory extension", "SCRAM-SHA-1", withPlus, []string{"n,,m=x,n=user,r=n"}, MalformedRequest, ""},
		{"no gs2-header", "SCRAM-SHA-1", withPlus, []string{"n=user,r=n"}, MalformedRequest, ""},
		{"bad flag", "SCRAM-SHA-1", withPlus, []string{"z,,n=user,r=n"}, MalformedRequest, ""},
		{"bad binding", "SCRAM-SHA-1", withPlus, []string{"p=,,n=user,r=n"}, MalformedRequest, ""},
		{"bad escape", "SCRAM-SHA-1", withPlus, []string{"n,,n=us=er,r=n"}, MalformedRequest, ""},
		{"bad authzid", "SCRAM-SHA-1", withPlus, []string{"n,user,n=user,r=n"}, MalformedRequest, ""},
		{"prohibited name", "SCRAM-SHA-1", withPlus, []string{"n,,n=us\aer,r=n"}, NotAuthorized, invalidUsername},
		{"binding of another header", "SCRAM-SHA-1", withPlus, []string{"n,,n=user,r=n", "c=eSws,r=@,p=AAAA"}, NotAuthorized, bindingsDontMatch},
		{"another nonce", "SCRAM-SHA-1", withPlus, []string{"n,,n=user,r=n", "c=biws,r=n,p=AAAA"}, NotAuthorized, otherError},
		{"short proof", "SCRAM-SHA-1", withPlus, []string{"n,,n=user,r=n", "c=biws,r=@,p=AAAA"}, NotAuthorized, invalidProof},
		{"wrong proof", "SCRAM-SHA-1", withPlus, []string{"n,,n=user,r=n", "c=biws,r=@,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="}, NotAuthorized, invalidProof},
		{"no proof", "SCRAM-SHA-1", withPlus, []string{"n,,n=user,r=n", "c=biws,r=@"}, MalformedRequest, ""},
		{"something behind the proof", "SCRAM-SHA-1", withPlus, []string{"n,,n=user,r=n", "c=biws,r=@,p=AAAA,x=y"}, MalformedRequest, ""},
		{"mandatory extension, late", "SCRAM-SHA-1", withPlus, []string{"n,,n=user,r=n", "c=biws,r=@,m=x,p=AAAA"}, MalformedRequest, ""},
		{"PLAIN of two parts", "PLAIN", offer("PLAIN"), []string{"user\x00pencil"}, MalformedRequest, ""},
		{"PLAIN of four parts", "PLAIN", offer("PLAIN"), []string{"\x00user\x00pencil\x00"}, MalformedRequest, ""},
		{"PLAIN without password", "PLAIN", offer("PLAIN"), []string{"\x00user\x00"}, MalformedRequest, ""},
		{"PLAIN as someone else", "PLAIN", offer("PLAIN"), []string{"boss\x00user\x00pencil"}, InvalidAuthzID, ""},
		{"EXTERNAL as someone else", "EXTERNAL", offer("EXTERNAL"), []string{"boss"}, InvalidAuthzID, ""},
		{"EXTERNAL as himself", "EXTERNAL", offer("EXTERNAL"), []string{"user"}, "", ""},
		{"EXTERNAL with NUL", "EXTERNAL", offer("EXTERNAL"), []string{"us\x00er"}, MalformedRequest, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := &ServerConfig{
				Offer: c.offer, Lookup: users(t), External: "user", Binding: ServerBinding(&p.server, nil),
				Rand: strings.NewReader(strings.Repeat("x", nonceSize)),
			}
			s, err := NewServer(c.mechanism, cfg)
			for _, m := range c.messages {
				if err != nil {
					break
				}
				// The nonce is known, as the randomness is.
				_, _, err = s.Next([]byte(strings.ReplaceAll(m, "@", "n"+strings.Repeat("eHh4", nonceSize/3))))
			}
			var f *Failure
			var e *ServerError
			if condition := ""; errors.As(err, &f) {
				condition = f.Condition
				if condition != c.condition {
					t.Errorf("%v, want %s", err, c.condition)
				}
			} else if c.condition != "" {
				t.Errorf("%v, want %s", err, c.condition)
			}
			if errors.As(err, &e); c.value != "" && (e == nil || e.Value != c.value) {
				t.Errorf("%v, want %s", err, c.value)
			}
			if err != nil && s != nil {
				if _, _, err := s.Next([]byte("n,,n=user,r=n")); !errors.Is(err, ErrOrder) {
					t.Errorf("goes on: %v", err)
				}
			}
		})
	}
}

// A client without an initial response is asked for it (RFC 4422 §3), once.
func TestServerAsksForInitialResponse(t *testing.T) {
	cfg := &ServerConfig{Offer: &Offer{Mechanisms: allMechanisms}, External: "user"}
	s, err := NewServer("EXTERNAL", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if challenge, done, err := s.Next(nil); challenge == nil || len(challenge) != 0 || done || err != nil {
		t.Errorf("%q, %v, %v", challenge, done, err)
	}
	if _, done, err := s.Next(nil); !done || err != nil || s.Username() != "user" {
		t.Errorf("%v, %v, %q", done, err, s.Username())
	}
}

func TestServerAuthorizes(t *testing.T) {
	cfg := &ServerConfig{
		Offer: &Offer{Mechanisms: allMechanisms}, Lookup: users(t), External: "user",
		Authorize: func(username, authzid string) error {
			if username != "user" || authzid != "boss@example.org" {
				return errors.New("no")
			}
			return nil
		},
	}
	for _, m := range []string{"SCRAM-SHA-512", "PLAIN", "EXTERNAL"} {
		s, err := signIn(t, choice(m, "", 'n', cfg.Offer), &Credentials{Username: "user", Password: "pencil", AuthzID: "boss@example.org"}, nil, cfg)
		if err != nil || s.AuthzID() != "boss@example.org" {
			t.Errorf("%s: %q, %v", m, s.AuthzID(), err)
		}
		_, err = signIn(t, choice(m, "", 'n', cfg.Offer), &Credentials{Username: "user", Password: "pencil", AuthzID: "god@example.org"}, nil, cfg)
		var f *Failure
		if !errors.As(err, &f) || f.Condition != InvalidAuthzID {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// Names are prepared on both sides, so that they meet.
func TestPreparedOnBothSides(t *testing.T) {
	stored, err := NewStored(SHA256, "p\u00e5ss\u00a0word", []byte("salt"), 4096) // å in one piece, a space that does not break
	if err != nil {
		t.Fatal(err)
	}
	offer := &Offer{Mechanisms: []string{"SCRAM-SHA-256", "PLAIN"}}
	cfg := &ServerConfig{Offer: offer, Lookup: func(name string, h Hash) (Stored, error) {
		if name != "IX" || h != SHA256 {
			return Stored{}, &Failure{Condition: CredentialsExpired}
		}
		return stored, nil
	}}
	for _, m := range offer.Mechanisms {
		cred := &Credentials{Username: "\u2168", Password: "pa\u030ass word"} // in two pieces; Roman nine
		if _, err := signIn(t, choice(m, "", 'n', offer), cred, nil, cfg); err != nil {
			t.Errorf("%s: %v", m, err)
		}
		var f *Failure
		if _, err := signIn(t, choice(m, "", 'n', offer), pencil, nil, cfg); !errors.As(err, &f) || f.Condition != CredentialsExpired {
			t.Errorf("%s: a Failure of Lookup comes as %v", m, err)
		}
	}
}

// The list that arrived is not the list that was sent (XEP-0474), or TLS is not the same at both ends (XEP-0515).
func TestDowngradeInTheMiddle(t *testing.T) {
	cert := certificate(t, x509.ECDSAWithSHA256)
	p12, p13 := connect(t, tls.VersionTLS12, cert, nil, nil), connect(t, tls.VersionTLS13, cert, nil, nil)
	sent := Offer{Mechanisms: allMechanisms, Bindings: []string{"tls-exporter", "tls-server-end-point"}, TLS: &p13.server}
	cfg := &ServerConfig{Offer: &sent, Lookup: users(t), Protect: true}
	for _, c := range []struct {
		name   string
		change func(*Offer)
		fails  bool
	}{
		{"nothing", func(*Offer) {}, false},
		{"another order", func(o *Offer) { slices.Reverse(o.Mechanisms) }, false},
		{"a mechanism gone", func(o *Offer) { o.Mechanisms = o.Mechanisms[1:] }, true},
		{"a mechanism more", func(o *Offer) { o.Mechanisms = append(o.Mechanisms, "X") }, true},
		{"two in one", func(o *Offer) {
			o.Mechanisms = append(o.Mechanisms[2:], o.Mechanisms[0]+","+o.Mechanisms[1])
		}, true},
		{"a binding gone", func(o *Offer) { o.Bindings = o.Bindings[1:] }, true},
		{"all bindings gone", func(o *Offer) { o.Bindings = nil }, true},
		{"older TLS", func(o *Offer) { o.TLS = &p12.client }, true},
		{"TLS not known", func(o *Offer) { o.TLS = nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			came := Offer{Mechanisms: slices.Clone(sent.Mechanisms), Bindings: slices.Clone(sent.Bindings), TLS: &p13.client}
			c.change(&came)
			_, err := signIn(t, choice("SCRAM-SHA-256", "", 'n', &came), pencil, nil, cfg)
			if c.fails != errors.Is(err, ErrDowngrade) || !c.fails && err != nil {
				t.Error(err)
			}
		})
	}
}
