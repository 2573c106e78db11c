package certcheck

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/testca"
)

// RFC 9525 §6, RFC 6120 §13.7.1.2: who is a server of XMPP.
func TestServiceIdentity_RFC9525_6(t *testing.T) {
	const none = Reason(0)
	xmpp := func(domain string) Options { return Options{Domain: domain, Service: "xmpp-client"} }
	tests := []struct {
		name string
		cert testca.Template
		opts Options
		want Reason
	}{
		{"DNS-ID", testca.Template{DNS: []string{"example.com"}}, xmpp("example.com"), none},
		{"DNS-ID in another case", testca.Template{DNS: []string{"Example.COM"}}, xmpp("example.com."), none},
		{"another DNS-ID", testca.Template{DNS: []string{"example.org"}}, xmpp("example.com"), WrongName},
		{"common name alone", testca.Template{CommonName: "example.com"}, xmpp("example.com"), WrongName},
		{"address", testca.Template{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, xmpp("192.0.2.1"), none},
		{"another address", testca.Template{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, xmpp("192.0.2.2"), WrongName},

		// A SIP URI neither helps nor hides, other than in RFC 5922 §7.1.
		{"SIP URI", testca.Template{URIs: []string{"sip:example.com"}}, xmpp("example.com"), WrongName},
		{"SIP URI of another domain beside", testca.Template{URIs: []string{"sip:example.org"}, DNS: []string{"example.com"}}, xmpp("example.com"), none},

		// §6.3
		{"wildcard", testca.Template{DNS: []string{"*.example.com"}}, xmpp("chat.example.com"), none},
		{"wildcard for two labels", testca.Template{DNS: []string{"*.example.com"}}, xmpp("a.b.example.com"), WrongName},
		{"wildcard for none", testca.Template{DNS: []string{"*.example.com"}}, xmpp("example.com"), WrongName},
		{"part of a label", testca.Template{DNS: []string{"c*.example.com"}}, xmpp("chat.example.com"), WrongName},
		{"not the first label", testca.Template{DNS: []string{"chat.*.com"}}, xmpp("chat.example.com"), WrongName},

		// §6.5.1, RFC 4985
		{"SRV-ID alone", testca.Template{SRV: []string{"_xmpp-client.example.com"}}, xmpp("example.com"), none},
		{"SRV-ID alone, with a subject", testca.Template{CommonName: "x", SRV: []string{"_xmpp-client.example.com"}}, xmpp("example.com"), none},
		{"SRV-ID in capitals", testca.Template{SRV: []string{"_XMPP-Client.Example.com"}}, xmpp("example.com"), none},
		{"SRV-ID of another service", testca.Template{SRV: []string{"_xmpp-server.example.com"}}, xmpp("example.com"), WrongName},
		{"SRV-ID of a server, for one", testca.Template{SRV: []string{"_xmpp-server.example.com"}}, Options{Domain: "example.com", Service: "xmpp-server"}, none},
		{"SRV-ID of another domain", testca.Template{SRV: []string{"_xmpp-client.example.org"}}, xmpp("example.com"), WrongName},
		{"SRV-ID beside another DNS-ID", testca.Template{DNS: []string{"edge.example"}, SRV: []string{"_xmpp-client.example.com"}}, xmpp("example.com"), none},
		{"SRV-ID of another domain beside the right DNS-ID", testca.Template{DNS: []string{"example.com"}, SRV: []string{"_xmpp-client.example.org"}}, xmpp("example.com"), none},
		{"SRV-ID with a wildcard", testca.Template{SRV: []string{"_xmpp-client.*.example.com"}}, xmpp("chat.example.com"), none},
		{"SRV-ID without a service", testca.Template{SRV: []string{"example.com"}}, xmpp("example.com"), WrongName},
		{"SRV-ID, for SIP", testca.Template{CommonName: "x", SRV: []string{"_sip.example.com"}}, Options{Domain: "example.com"}, WrongName},

		// RFC 6120 §13.7.1.4
		{"XMPP address", testca.Template{XMPP: []string{"example.com"}}, xmpp("example.com"), none},
		{"XMPP address of a user", testca.Template{XMPP: []string{"romeo@example.com"}}, xmpp("example.com"), WrongName},
		{"XMPP address with a wildcard", testca.Template{XMPP: []string{"*.example.com"}}, xmpp("chat.example.com"), WrongName},
		{"XMPP address, for another service", testca.Template{XMPP: []string{"example.com"}}, Options{Domain: "example.com", Service: "imap"}, WrongName},

		{"for SIP domains only", testca.Template{DNS: []string{"example.com"}, UnknownExtKeyUsage: []asn1.ObjectIdentifier{sipDomain}}, xmpp("example.com"), WrongUsage},
		{"expired", testca.Template{SRV: []string{"_xmpp-client.example.com"}, NotAfter: time.Date(1999, 12, 31, 23, 30, 0, 0, time.UTC)}, xmpp("example.com"), Expired},
	}
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01
		ca := newCA(t)
		for _, tt := range tests {
			server := &tls.Config{Certificates: []tls.Certificate{issue(t, ca, tt.cert)}}
			r := handshake(t, Config(&tls.Config{RootCAs: ca.Pool()}, tt.opts), server)
			var e *Error
			switch {
			case tt.want == none:
				if r.err != nil {
					t.Errorf("%s: %v", tt.name, r.err)
				}
			case !errors.As(r.err, &e) || e.Reason != tt.want:
				t.Errorf("%s: error %v (%T), want %v", tt.name, r.err, r.err, tt.want)
			case tt.want == WrongName && len(tt.cert.SRV) > 0 && !slices.Contains(e.Names, tt.cert.SRV[0]):
				t.Errorf("%s: the error does not tell the names: %v", tt.name, e)
			}
		}
		server := &tls.Config{Certificates: []tls.Certificate{issue(t, newCA(t), testca.Template{SRV: []string{"_xmpp-client.example.com"}})}}
		var e *Error
		if r := handshake(t, Config(&tls.Config{RootCAs: ca.Pool()}, xmpp("example.com")), server); !errors.As(r.err, &e) || e.Reason != Untrusted {
			t.Errorf("of another authority: %v", r.err)
		}
	})
}

// An authority that may speak for one domain only must not name another in a form that crypto/x509 does not hold against its constraints (RFC 4985 §4).
func TestServiceNameConstraints(t *testing.T) {
	now := time.Now()
	root, rootKey := authority(t, nil, nil, nil)
	bound, boundKey := authority(t, root, rootKey, []string{"example.org"})
	free, freeKey := authority(t, root, rootKey, nil)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	der, err := asn1.Marshal([]asn1.RawValue{generalSRV(t, "_xmpp-client.example.com")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		by   *x509.Certificate
		key  *ecdsa.PrivateKey
		good bool
	}{{"bound", bound, boundKey, false}, {"free", free, freeKey, true}} {
		leaf, _ := certificate(t, &x509.Certificate{
			ExtraExtensions: []pkix.Extension{{Id: subjectAltName, Value: der}},
			ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, c.by, c.key)
		err := verify([]*x509.Certificate{leaf, c.by}, roots, now, Options{Domain: "example.com", Service: "xmpp-client"})
		var e *Error
		if c.good != (err == nil) || err != nil && (!errors.As(err, &e) || e.Reason != WrongName) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// generalSRV is a GeneralName with a name for a service.
func generalSRV(t *testing.T, name string) asn1.RawValue {
	t.Helper()
	id, err := asn1.Marshal(dnsSRV)
	if err != nil {
		t.Fatal(err)
	}
	value, err := asn1.MarshalWithParams(name, "ia5,explicit,tag:0")
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: append(id, value...)}
}

func authority(t *testing.T, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, only []string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	return certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority for " + strings.Join(only, " ")}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, PermittedDNSDomains: only, PermittedDNSDomainsCritical: len(only) > 0,
	}, parent, parentKey)
}

func certificate(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

func FuzzOtherNames(f *testing.F) {
	f.Add([]byte{0x30, 0x00})
	f.Add([]byte("\x30\x27\xa0\x25\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x07\xa0\x19\x16\x17_xmpp-client.a.example"))
	f.Add([]byte("\x30\x15\xa0\x13\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x05\xa0\x07\x0c\x05a.b.c"))
	f.Fuzz(func(t *testing.T, der []byte) {
		names := parseOtherNames(der)
		if len(names) > maxOtherNames {
			t.Fatalf("%d names", len(names))
		}
		for _, n := range names {
			if len(n.name) > len(der) || !n.kind.Equal(dnsSRV) && !n.kind.Equal(xmppAddr) {
				t.Fatalf("%+v", n)
			}
		}
	})
}
