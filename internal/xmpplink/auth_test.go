package xmpplink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/internal/xmpplink/linktest"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

// serverKeys are made once: RSA takes long.
var serverKeys = sync.OnceValue(func() map[string]any {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]any{"RSA": r, "ECDSA": e}
})

// certify makes a certificate that signs itself.
func (s *stage) certify(key any, template *x509.Certificate) tls.Certificate {
	s.Helper()
	var public any
	switch k := key.(type) {
	case *rsa.PrivateKey:
		public = &k.PublicKey
	case *ecdsa.PrivateKey:
		public = &k.PublicKey
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		s.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		s.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// login signs in once, and tells by which mechanism.
func (s *stage) login(server *linktest.Server) (string, error) {
	s.Helper()
	before := len(server.Logins())
	stream, err := s.direct(s.Context(), nil)
	if err != nil {
		return "", err
	}
	stream.Cut(errors.New("cut"))
	all := server.Logins()
	if len(all) != before+1 {
		s.Fatalf("logins %q", all)
	}
	return all[before], nil
}

// RFC 5929, RFC 9266, XEP-0440: each channel binding over each version of TLS and with each kind of certificate, by both versions of SASL.
func TestChannelBinding(t *testing.T) {
	keys := serverKeys()
	everything := []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for kind, key := range keys {
			for _, binding := range []string{"tls-exporter", "tls-unique", "tls-server-end-point", ""} {
				for _, sasl2 := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, %s, %s, SASL2 %v", tls.VersionName(version), kind, binding, sasl2), func(t *testing.T) {
						onServer(t, func(s *stage, server *linktest.Server) {
							cert := s.certify(key, &x509.Certificate{DNSNames: []string{"im.example.com"}})
							s.cfg.TLS.RootCAs = x509.NewCertPool()
							s.cfg.TLS.RootCAs.AddCert(cert.Leaf)
							s.cfg.Keys = new(sasl.Keys)
							server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version}
							server.SASL2, server.Mechanisms, server.Protect = sasl2, everything, true
							if binding != "" { // else the version of TLS implies it
								server.Bindings = []string{binding}
							}
							want := "SCRAM-SHA-512-PLUS"
							used := sasl.Binding("")
							server.Bind = func(b sasl.Binding, cs *tls.ConnectionState) ([]byte, error) {
								used = b
								return sasl.ServerBinding(cs, cert.Leaf)(b)
							}
							if binding == "tls-unique" && version == tls.VersionTLS13 { // which has none
								want = "SCRAM-SHA-512"
							}
							got, err := s.login(server)
							if err != nil || got != want {
								s.Errorf("%q, %v", got, err)
							}
							implied := map[uint16]sasl.Binding{tls.VersionTLS12: sasl.TLSUnique, tls.VersionTLS13: sasl.TLSExporter}[version]
							if want != got || binding == "" && used != implied || binding != "" && used != "" && used != sasl.Binding(binding) {
								s.Errorf("bound by %q", used)
							}
						})
					})
				}
			}
		}
	}
}

// A binding that the server offers and cannot do costs one failure, once; then the password works without it.
func TestBrokenBinding(t *testing.T) {
	onServer(t, func(s *stage, server *linktest.Server) {
		server.Mechanisms = []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}
		tries := 0
		server.Bind = func(sasl.Binding, *tls.ConnectionState) ([]byte, error) { tries++; return []byte("broken"), nil }
		for i := range 2 {
			if got, err := s.login(server); err != nil || got != "SCRAM-SHA-256" || tries != 1 {
				s.Errorf("login %d: %q, %v, %d tries", i+1, got, err, tries)
			}
		}
	})
}

// Somebody who can change what the server offers, though under TLS.
func TestDowngrade(t *testing.T) {
	mechanisms := func(list ...string) func(*xmltree.Element) {
		return func(f *xmltree.Element) {
			f.Remove(nsSASL, "mechanisms")
			m := xmltree.New(nsSASL, "mechanisms")
			for _, name := range list {
				m.Add(xmltree.NewText(nsSASL, "mechanism", name))
			}
			f.Add(m)
		}
	}
	for _, c := range []struct {
		name    string
		protect bool // XEP-0474
		strip   func(*xmltree.Element)
		is      func(error) bool
	}{
		{"-PLUS is gone, RFC 5802 §6: the server refuses y", false, mechanisms("SCRAM-SHA-256", "SCRAM-SHA-1"), func(err error) bool {
			var e *AuthError
			return errors.As(err, &e) && e.Condition == sasl.NotAuthorized
		}},
		{"the stronger hash is gone, XEP-0474 §5.1", true, mechanisms("SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"), func(err error) bool { return errors.Is(err, sasl.ErrDowngrade) }},
		{"the bindings are gone, XEP-0474 §5.1", true, func(f *xmltree.Element) { f.Remove(nsBinding, "sasl-channel-binding") },
			func(err error) bool { return errors.Is(err, sasl.ErrDowngrade) }},
		{"nothing but PLAIN, which is not allowed", false, mechanisms("PLAIN"), func(err error) bool {
			var e *sasl.NoMechanismError
			return errors.As(err, &e)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onServer(t, func(s *stage, server *linktest.Server) {
				server.Mechanisms = []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"}
				server.Bindings = []string{"tls-exporter", "tls-server-end-point"}
				server.Protect, server.Strip = c.protect, c.strip
				got, err := s.login(server)
				var e *Error
				if got != "" || !errors.As(err, &e) || e.Stage != StageAuth || !c.is(err) {
					s.Errorf("%q, %v", got, err)
				}
			})
		})
	}
}

// XEP-0178 §2: a certificate signs in; one that names nobody does not, and the password does.
func TestExternal(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for kind, key := range serverKeys() {
			for _, sasl2 := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, SASL2 %v", tls.VersionName(version), kind, sasl2), func(t *testing.T) {
					onServer(t, func(s *stage, server *linktest.Server) {
						server.TLS = server.TLS.Clone()
						server.TLS.ClientAuth, server.TLS.MinVersion, server.TLS.MaxVersion = tls.RequestClientCert, version, version
						server.SASL2, server.Mechanisms = sasl2, []string{"EXTERNAL", "SCRAM-SHA-256"}
						s.cfg.Policy.Certificate = true
						var got []string
						for _, mail := range [][]string{{"juliet@im.example.com"}, nil} {
							s.cfg.TLS = s.cfg.TLS.Clone()
							s.cfg.TLS.Certificates = []tls.Certificate{s.certify(key, &x509.Certificate{EmailAddresses: mail})}
							mechanism, err := s.login(server)
							if err != nil {
								s.Error(err)
							}
							got = append(got, mechanism)
						}
						if !slices.Equal(got, []string{"EXTERNAL", "SCRAM-SHA-256"}) {
							s.Errorf("logins %q", got)
						}
					})
				})
			}
		}
	}
}
