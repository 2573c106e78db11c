package testca

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestIssue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := NewCA(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.Issue(Template{
			DNS: []string{"example.com"}, URIs: []string{"sip:example.com"}, IPs: []netip.Addr{netip.MustParseAddr("2001:db8::1")},
		})
		if err != nil {
			t.Fatal(err)
		}
		verify := func(at time.Time, roots *x509.CertPool, host string) error {
			_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, DNSName: host})
			return err
		}
		for _, host := range []string{"example.com", "2001:db8::1"} {
			if err := verify(time.Now(), ca.Pool(), host); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		if len(cert.Leaf.URIs) != 1 || cert.Leaf.URIs[0].String() != "sip:example.com" {
			t.Errorf("URIs %v", cert.Leaf.URIs)
		}
		for _, at := range []time.Time{time.Now().Add(-early - time.Second), time.Now().Add(Lifetime + time.Second)} {
			if verify(at, ca.Pool(), "") == nil {
				t.Errorf("valid at %v", at)
			}
		}
		other, err := NewCA(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if verify(time.Now(), other.Pool(), "") == nil {
			t.Error("valid under a CA that did not issue it")
		}
	})
}

func TestPEM(t *testing.T) {
	ca, err := NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(Template{DNS: []string{"example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	chain, key, err := PEM(cert)
	if err != nil {
		t.Fatal(err)
	}
	again, err := tls.X509KeyPair(chain, key)
	if err != nil || !bytes.Equal(again.Certificate[0], cert.Certificate[0]) {
		t.Errorf("read back: %v", err)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(ca.PEM()) || !pool.Equal(ca.Pool()) {
		t.Error("the CA's own certificate is not read back")
	}
	if _, _, err := PEM(tls.Certificate{}); err == nil {
		t.Error("nothing is written without an error")
	}
}
