// Package testca is a throwaway certificate authority for tests and for the lab. Its keys live in memory and its certificates for a day.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"time"
)

// Lifetime is how long certificates are valid, unless a [Template] says otherwise. They are valid from an hour before they are made, so that a clock
// that is a little slow does no harm.
const Lifetime = 24 * time.Hour

const early = time.Hour

// CA issues certificates. It is safe for concurrent use.
type CA struct {
	now  time.Time
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority of which now is the present. It stays the present of all that the CA issues, so that a test can mint in virtual time.
func NewCA(now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("testca: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "hoorn throwaway CA"},
		NotBefore:             now.Add(-early),
		NotAfter:              now.Add(365 * 24 * time.Hour), // longer than anything it issues by default
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := sign(template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("testca: %w", err)
	}
	return &CA{now: now, cert: cert, key: key}, nil
}

// Template is what a certificate is to say. The zero value gives one without any name, for servers and clients alike.
type Template struct {
	CommonName string
	DNS        []string     // DNS subject alternative names
	URIs       []string     // URI subject alternative names, such as "sip:example.com"
	IPs        []netip.Addr // address subject alternative names
	SRV        []string     // names for a service (RFC 4985), such as "_xmpp-client.example.com"
	XMPP       []string     // XMPP addresses (RFC 6120 §13.7.1.4), such as "example.com"

	NotBefore time.Time // zero: an hour before the time of the CA
	NotAfter  time.Time // zero: Lifetime after the time of the CA

	// ExtKeyUsage and UnknownExtKeyUsage are what the key is for. If both are empty it is for TLS servers and clients.
	ExtKeyUsage        []x509.ExtKeyUsage
	UnknownExtKeyUsage []asn1.ObjectIdentifier

	Extensions []pkix.Extension // those that crypto/x509 does not know
}

// Issue makes a key and a certificate for it. The leaf is parsed; the chain does not hold the CA itself.
func (ca *CA) Issue(t Template) (tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: t.CommonName},
		DNSNames:              t.DNS,
		NotBefore:             t.NotBefore,
		NotAfter:              t.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           t.ExtKeyUsage,
		UnknownExtKeyUsage:    t.UnknownExtKeyUsage,
		ExtraExtensions:       t.Extensions,
		BasicConstraintsValid: true,
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = ca.now.Add(-early)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = ca.now.Add(Lifetime)
	}
	if len(t.ExtKeyUsage) == 0 && len(t.UnknownExtKeyUsage) == 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, s := range t.URIs {
		u, err := url.Parse(s)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("testca: %w", err)
		}
		template.URIs = append(template.URIs, u)
	}
	for _, ip := range t.IPs {
		template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
	}
	if len(t.SRV)+len(t.XMPP) > 0 {
		names, err := alternativeNames(t)
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("testca: %w", err)
		}
		template.ExtraExtensions = append(template.ExtraExtensions, names)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("testca: %w", err)
	}
	der, err := sign(template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("testca: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// sign signs with a random serial number: nobody keeps count here, and two authorities may share a name.
func sign(template, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	var serial [16]byte
	if _, err := rand.Read(serial[:]); err != nil {
		return nil, fmt.Errorf("testca: %w", err)
	}
	serial[0] &= 0x7f // positive, RFC 5280 §4.1.2.2
	template.SerialNumber = new(big.Int).SetBytes(serial[:])
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("testca: %w", err)
	}
	return der, nil
}

// Pool holds the CA alone: the roots of those who are to trust it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Certificate is the CA's own certificate. It must not be changed.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// PEM is the CA's own certificate, for peers that read files.
func (ca *CA) PEM() []byte { return block("CERTIFICATE", ca.cert.Raw) }

// PEM is a certificate chain and its key (PKCS #8), for peers that read files.
func PEM(cert tls.Certificate) (chain, key []byte, err error) {
	if len(cert.Certificate) == 0 {
		return nil, nil, errors.New("testca: no certificate")
	}
	for _, der := range cert.Certificate {
		chain = append(chain, block("CERTIFICATE", der)...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("testca: %w", err)
	}
	return chain, block("PRIVATE KEY", der), nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
