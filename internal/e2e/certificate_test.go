package e2e_test

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// badge is what a lab shows of itself in place of its own certificate.
type badge struct {
	t    *testing.T
	ca   *testca.CA
	cert atomic.Pointer[tls.Certificate]
}

func newBadge(t *testing.T) *badge {
	t.Helper()
	ca, err := testca.NewCA(time.Now())
	must(t, err)
	return &badge{t: t, ca: ca}
}

// show makes a certificate the one that is shown from now on.
func (b *badge) show(ca *testca.CA, tmpl testca.Template) {
	b.t.Helper()
	cert, err := ca.Issue(tmpl)
	must(b.t, err)
	b.cert.Store(&cert)
}

func (b *badge) wear(c *siptest.Config) {
	c.TLSConfig = func(t *tls.Config) {
		t.Certificates = nil
		t.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return b.cert.Load(), nil }
	}
}

func (b *badge) trust(c *sip.Config) { c.TLS.RootCAs = b.ca.Pool() }

var domain = testca.Template{URIs: []string{"sip:pbx.example"}}

func TestCertificates(t *testing.T) {
	for _, c := range []struct {
		name   string
		tmpl   testca.Template
		other  bool // from another authority
		reason sip.CertificateReason
	}{
		{name: "good", tmpl: domain},
		{name: "good by DNS name", tmpl: testca.Template{DNS: []string{"pbx.example"}}},
		{name: "unknown authority", tmpl: domain, other: true, reason: sip.CertificateUntrusted},
		{name: "another domain", tmpl: testca.Template{URIs: []string{"sip:example.com"}, DNS: []string{"pbx.example"}}, reason: sip.CertificateWrongName},
		{name: "the address alone", tmpl: testca.Template{DNS: []string{labAddr}}, reason: sip.CertificateWrongName},
		{name: "expired", tmpl: testca.Template{URIs: domain.URIs, NotAfter: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second), NotBefore: time.Date(1999, 12, 1, 0, 0, 0, 0, time.UTC)}, reason: sip.CertificateExpired},
		{name: "from the future", tmpl: testca.Template{URIs: domain.URIs, NotBefore: time.Date(2000, 1, 1, 0, 1, 0, 0, time.UTC)}, reason: sip.CertificateNotYetValid},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBadge(t)
				ca := b.ca
				if c.other {
					ca = newBadge(t).ca
				}
				b.show(ca, c.tmpl)
				w := newWorld(t, b.wear)
				p := w.newPhone("alice", settings{ua: b.trust})
				_, err := p.Register(t.Context())
				if c.reason == 0 {
					must(t, err)
					return
				}
				var ce *sip.CertificateError
				if !errors.As(err, &ce) || ce.Reason != c.reason || ce.Domain != "pbx.example" {
					t.Errorf("got %v, want %v", err, c.reason)
				}
				// Nothing of the account was said to such a server.
				if n := len(w.Transcript().Entries); n != 0 {
					t.Errorf("%d messages came to the lab", n)
				}
			})
		})
	}
}

func TestTLSTooOld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *siptest.Config) {
			c.TLSConfig = func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }
		})
		_, err := w.newPhone("alice", settings{}).Register(t.Context())
		var ce *sip.CertificateError
		if !errors.As(err, &ce) || ce.Reason != sip.TLSTooOld {
			t.Errorf("got %v", err)
		}
	})
}

func TestTLSVersions(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, func(c *siptest.Config) {
					c.TLSConfig = func(c *tls.Config) { c.MaxVersion = version }
				})
				if got := w.phone("alice", settings{}).reg.Info().Flow.TLSVersion; got != version {
					t.Errorf("%s, want %s", tls.VersionName(got), tls.VersionName(version))
				}
				_, err := w.newPhone("bob", settings{ua: func(c *sip.Config) { c.TLS.MinVersion = tls.VersionTLS13 }}).Register(t.Context())
				var ce *sip.CertificateError
				if refused := errors.As(err, &ce) && ce.Reason == sip.TLSTooOld; refused != (version < tls.VersionTLS13) {
					t.Errorf("a phone that wants TLS 1.3: %v", err)
				}
			})
		})
	}
}

// The lab's certificate runs out while a call is on. Who has to connect again
// then refuses it; the call goes on, and when there is a new certificate the
// account is back by itself.
func TestCertificateRunsOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBadge(t)
		b.show(b.ca, testca.Template{URIs: domain.URIs, NotAfter: time.Now().Add(3 * time.Minute)})
		w := newWorld(t, b.wear)
		pcmu := settings{ua: b.trust, media: media.Config{Codecs: codecsNamed("PCMU")}}
		alice, bob := w.phone("alice", pcmu), w.phone("bob", pcmu)
		pass(3*time.Minute - time.Second)
		x, y := alice.call(bob, "bob")
		pass(2 * time.Second)
		if n := w.Disconnect("alice"); n != 1 {
			t.Fatalf("%d connections", n)
		}
		pass(10 * time.Second)
		var ce *sip.CertificateError
		if e := lastEvent(t, alice.reg); e.State != sip.Reconnecting || !errors.As(e.Err, &ce) || ce.Reason != sip.CertificateExpired {
			t.Errorf("alice: %+v", e)
		}
		hum(t, x, y)
		b.show(b.ca, domain)
		alice.back(time.Now())
		hum(t, x, y)
		hangup(t, y, x)
	})
}

// lastEvent is the latest change of a registration.
func lastEvent(t *testing.T, r *sip.Registration) (last sip.RegistrationEvent) {
	t.Helper()
	for _, e := range events(t, r) {
		last = e
	}
	return last
}
