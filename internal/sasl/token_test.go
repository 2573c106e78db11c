package sasl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
)

// allTokens is what XEP-0484 example 1 offers, and the fourth.
var allTokens = []string{"HT-SHA-256-NONE", "HT-SHA-256-ENDP", "HT-SHA-256-EXPR", "HT-SHA-256-UNIQ", "HT-SHA-512-ENDP"}

// The formulas of the draft, §3.1 and §3.3, by HMAC with SHA-256 (RFC 2104): computed by another implementation.
func TestTokenMessages(t *testing.T) {
	m, err := NewToken("HT-SHA-256-NONE", "juliet", "secret-token:fast-1", &tls.ConnectionState{HandshakeComplete: true})
	if err != nil {
		t.Fatal(err)
	}
	initiator := unhex(t, "e66a8ce321715b507d13b3b914b3d2883dd71f6cbe9190577080f3cbd35a77d7")
	responder := unhex(t, "ac8ba839a9632cc2b2079f1ecf80066efa0de65db9a519ab8b3e7716ce3cdbed")
	if got, err := m.Start(); err != nil || !bytes.Equal(got, append([]byte("juliet\x00"), initiator...)) {
		t.Errorf("%x, %v", got, err)
	}
	if err := m.Done(responder); err != nil {
		t.Error(err)
	}
	if err := m.Done(responder); err != ErrOrder {
		t.Errorf("twice: %v", err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTokens(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		for _, alg := range []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.ECDSAWithSHA256} {
			cert := certificate(t, alg)
			p := connect(t, version, cert, nil, nil)
			list := new(Policy).Tokens(allTokens, &p.client)
			want := []string{"HT-SHA-256-EXPR", "HT-SHA-256-UNIQ", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"}
			if version == tls.VersionTLS13 { // tls-unique ends with TLS 1.2, RFC 9266
				want = slices.Delete(want, 1, 2)
			}
			if !slices.Equal(list, want) {
				t.Errorf("%s, %v: %q", name, alg, list)
			}
			for _, mechanism := range list {
				given := "token-1"
				cfg := &ServerConfig{Offer: &Offer{Mechanisms: allTokens, TLS: &p.server}, Binding: ServerBinding(&p.server, cert.Leaf),
					Token: func(username, m string) (string, error) {
						if username != "user" || m != mechanism {
							return "", errors.New("nobody")
						}
						return given, nil
					}}
				for _, token := range []string{"token-1", "token-2"} {
					client, err := NewToken(mechanism, "user", token, &p.client)
					if err != nil {
						t.Fatal(err)
					}
					server, err := NewServer(mechanism, cfg)
					if err != nil {
						t.Fatal(err)
					}
					message, _ := client.Start()
					answer, done, err := server.Next(message)
					if good := token == given; good != (err == nil && done && client.Done(answer) == nil && server.Username() == "user") {
						t.Errorf("%s with %s: %v", mechanism, token, err)
					}
				}
			}
		}
	}
}

// A server that does not have the token cannot say the last word.
func TestTokenServer(t *testing.T) {
	cs := &tls.ConnectionState{HandshakeComplete: true}
	for name, answer := range map[string][]byte{"nothing": nil, "our own": hashToken("x", "Initiator", nil), "another": hashToken("y", "Responder", nil)} {
		m, err := NewToken("HT-SHA-256-NONE", "user", "x", cs)
		if err != nil {
			t.Fatal(err)
		}
		m.Start()
		if err := m.Done(answer); err != ErrServerSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenRefuses(t *testing.T) {
	cs := &tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13}
	for name, c := range map[string]struct {
		mechanism, username, token string
		cs                         *tls.ConnectionState
	}{
		"not encrypted":     {"HT-SHA-256-NONE", "user", "x", nil},
		"no token":          {"HT-SHA-256-NONE", "user", "", cs},
		"no user":           {"HT-SHA-256-NONE", "", "x", cs},
		"NUL":               {"HT-SHA-256-NONE", "us\x00er", "x", cs},
		"another hash":      {"HT-SHA-512-NONE", "user", "x", cs},
		"another mechanism": {"SCRAM-SHA-1", "user", "x", cs},
		"no such binding":   {"HT-SHA-256-UNIQ", "user", "x", cs},
	} {
		if m, err := NewToken(c.mechanism, c.username, c.token, c.cs); m != nil || !errors.Is(err, ErrToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bound := &Policy{RequireBinding: true}
	if got := bound.Tokens([]string{"HT-SHA-256-NONE"}, new(tls.ConnectionState)); got != nil {
		t.Errorf("without binding: %q", got)
	}
	remembers := &Policy{Memory: &Memory{level: level{bound: true}}}
	if got := remembers.Tokens([]string{"HT-SHA-256-NONE"}, new(tls.ConnectionState)); got != nil {
		t.Errorf("without binding, which has worked: %q", got)
	}
}
