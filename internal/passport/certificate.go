package passport

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Why a certificate is not good for a PASSporT.
var (
	// ErrCertificate: it is not valid now, does not lead to a root, or has no
	// key for ES256. The error wraps what crypto/x509 said.
	ErrCertificate = errors.New("passport: certificate")
	// ErrAuthority: it is not one for who is said to call (RFC 8226).
	ErrAuthority = errors.New("passport: certificate of somebody else")
	// ErrSignature: the signature is not the certificate's.
	ErrSignature = errors.New("passport: signature")
)

// maxChain bounds how many certificates are looked at.
const maxChain = 8

// Verify checks the signature and whether the certificate, the first of the
// chain, may speak for who calls. An intermediate certificate's list of numbers
// is not compared with that of the certificate below it: the authorities that
// roots stand for are trusted to have done that.
//
// The error is ErrCertificate, ErrSignature, ErrAuthority, or ErrUnsupported for
// a certificate that constrains more than numbers.
func (p *Passport) Verify(now time.Time, chain []*x509.Certificate, roots *x509.CertPool) error {
	if len(chain) == 0 || len(chain) > maxChain || slices.Contains(chain, nil) {
		return fmt.Errorf("%w: %d of them", ErrCertificate, len(chain))
	}
	leaf := *chain[0]
	// The one extension that crypto/x509 does not know and we do.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), tnAuthList.Equal)
	o := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(o); err != nil {
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	// It "falls within the validity period of the credential" (RFC 8224 §6.2).
	if p.IssuedAt.Before(leaf.NotBefore) || p.IssuedAt.After(leaf.NotAfter) {
		return fmt.Errorf("%w: not valid when the call was signed", ErrCertificate)
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return fmt.Errorf("%w: its key is not for signatures with ES256", ErrCertificate)
	}
	if !p.SignedBy(key) {
		return ErrSignature
	}
	if slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(claimConstraints) || e.Id.Equal(enhancedConstraints) }) {
		return fmt.Errorf("%w: certificate that constrains claims", ErrUnsupported)
	}
	if !speaksFor(&leaf, p.Orig) {
		return ErrAuthority
	}
	return nil
}

// speaksFor tells whether a certificate is one for a caller: it covers his
// number (RFC 8226 §9), or names the domain of his URI (RFC 8224 §8.4).
func speaksFor(leaf *x509.Certificate, orig Party) bool {
	if orig.TN == "" {
		return namesDomain(leaf, orig.URI)
	}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(tnAuthList) {
			return covers(e.Value, orig.TN)
		}
	}
	return false
}

func namesDomain(leaf *x509.Certificate, uri string) bool {
	_, host, ok := strings.Cut(uri, "@")
	if !ok {
		return false
	}
	if slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return strings.EqualFold(name, host) }) {
		return true
	}
	for _, u := range leaf.URIs { // "sip:example.com" (RFC 5922 §7.1)
		if strings.EqualFold(u.Scheme, "sip") && strings.EqualFold(u.Opaque, host) {
			return true
		}
	}
	return false
}

var (
	// tnAuthList is id-pe-TNAuthList (RFC 8226 §9).
	tnAuthList = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 26}
	// What a certificate may sign beyond numbers and domains: JWTClaimConstraints
	// (RFC 8226 §8) and EnhancedJWTClaimConstraints (RFC 9118). They need not be
	// marked critical, but to pass over one would be to allow what it forbids.
	claimConstraints    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 27}
	enhancedConstraints = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 33}
)

// maxEntries bounds how many entries of a list of numbers are looked at.
const maxEntries = 1024

// covers reads a TNAuthorizationList, whose tags are explicit (RFC 8226 §9), and
// tells whether it covers a number. A service provider code stands for all
// numbers of that provider, which only he knows: his word is taken.
func covers(der []byte, number string) bool {
	var list asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 || list.Tag != asn1.TagSequence {
		return false
	}
	for n, rest := 0, list.Bytes; len(rest) > 0 && n < maxEntries; n++ {
		var e asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &e); err != nil || e.Class != asn1.ClassContextSpecific {
			return false
		}
		switch e.Tag {
		case 0:
			var code string
			if more, err := asn1.UnmarshalWithParams(e.Bytes, &code, "ia5"); err == nil && len(more) == 0 && code != "" {
				return true
			}
		case 1:
			var r struct {
				Start string `asn1:"ia5"`
				Count int64
			}
			if _, err := asn1.Unmarshal(e.Bytes, &r); err == nil && inRange(r.Start, r.Count, number) {
				return true
			}
		case 2:
			var one string
			if more, err := asn1.UnmarshalWithParams(e.Bytes, &one, "ia5"); err == nil && len(more) == 0 && one == number {
				return true
			}
		}
	}
	return false
}

// inRange tells whether a number is one of count from start on. All have as
// many digits as the first.
func inRange(start string, count int64, number string) bool {
	if len(start) != len(number) || len(number) > 15 || count < 2 {
		return false
	}
	first, ok1 := digits(start)
	n, ok2 := digits(number)
	return ok1 && ok2 && n >= first && n-first < count
}

func digits(s string) (n int64, ok bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, s != ""
}
