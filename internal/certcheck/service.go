package certcheck

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
)

// Object identifiers of what is read here.
var (
	subjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}              // RFC 5280 §4.2.1.6
	nameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}              // RFC 5280 §4.2.1.10
	dnsSRV          = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7} // id-on-dnsSRV, RFC 4985 §2
	xmppAddr        = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5} // id-on-xmppAddr, RFC 6120 §13.7.1.4
)

// maxOtherNames bounds how many names of these kinds are looked at in one certificate.
const maxOtherNames = 64

// serves tells whether a certificate is one for the service at the domain, by RFC 9525 §6. chains lead to the roots.
func serves(leaf *x509.Certificate, chains [][]*x509.Certificate, o Options) bool {
	if hasAddr(leaf, o.Domain) {
		return true
	}
	for _, name := range leaf.DNSNames {
		if matches(canonical(name), o.Domain, true) {
			return true
		}
	}
	if !slices.ContainsFunc(chains, unconstrained) {
		return false
	}
	for _, n := range otherNames(leaf) {
		switch {
		case n.kind.Equal(dnsSRV):
			// RFC 9525 §6.5.1: the service has to be the same, and belongs to this name alone.
			service, name, ok := strings.Cut(n.name, ".")
			if ok && strings.EqualFold(service, "_"+o.Service) && matches(canonical(name), o.Domain, true) {
				return true
			}
		case n.kind.Equal(xmppAddr):
			// RFC 6120 §13.7.1.2: old certificates of servers have it. No wildcard, and a user's address is none of a server.
			if strings.HasPrefix(o.Service, "xmpp-") && matches(canonical(n.name), o.Domain, false) {
				return true
			}
		}
	}
	return false
}

// unconstrained tells whether no authority of a chain is bound to certain names. crypto/x509 holds DNS names against such constraints, but knows nothing
// of these other names: without this, an authority for one domain could name any other in them.
func unconstrained(chain []*x509.Certificate) bool {
	for _, c := range chain {
		for _, e := range c.Extensions {
			if e.Id.Equal(nameConstraints) {
				return false
			}
		}
	}
	return true
}

// withNames returns a certificate whose alternative names count as understood. crypto/x509 refuses a certificate that marks them critical and has none that it
// knows; RFC 5280 §4.1.2.6 wants them critical where the subject is empty.
func withNames(leaf *x509.Certificate) *x509.Certificate {
	if len(leaf.UnhandledCriticalExtensions) == 0 || len(otherNames(leaf)) == 0 {
		return leaf
	}
	c := *leaf
	c.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), subjectAltName.Equal)
	return &c
}

// otherName is an alternative name of a kind that crypto/x509 does not read.
type otherName struct {
	kind asn1.ObjectIdentifier
	name string
}

// otherNames are the names for services and the XMPP addresses of a certificate. What cannot be read is none.
func otherNames(leaf *x509.Certificate) []otherName {
	for _, e := range leaf.Extensions {
		if e.Id.Equal(subjectAltName) {
			return parseOtherNames(e.Value)
		}
	}
	return nil
}

// parseOtherNames reads GeneralNames (RFC 5280 §4.2.1.6).
func parseOtherNames(der []byte) []otherName {
	var all asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &all); err != nil || len(rest) > 0 || all.Tag != asn1.TagSequence || all.Class != asn1.ClassUniversal {
		return nil
	}
	var names []otherName
	for rest := all.Bytes; len(rest) > 0 && len(names) < maxOtherNames; {
		var general asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &general); err != nil {
			return names
		}
		if general.Class != asn1.ClassContextSpecific || general.Tag != 0 || !general.IsCompound {
			continue
		}
		var n otherName
		var wrapped, value asn1.RawValue
		inner, err := asn1.Unmarshal(general.Bytes, &n.kind)
		if err != nil {
			continue
		}
		if _, err = asn1.Unmarshal(inner, &wrapped); err != nil || wrapped.Class != asn1.ClassContextSpecific || wrapped.Tag != 0 {
			continue
		}
		if _, err = asn1.Unmarshal(wrapped.Bytes, &value); err != nil || value.Class != asn1.ClassUniversal {
			continue
		}
		if n.kind.Equal(dnsSRV) && value.Tag == asn1.TagIA5String || n.kind.Equal(xmppAddr) && value.Tag == asn1.TagUTF8String {
			n.name = string(value.Bytes)
			names = append(names, n)
		}
	}
	return names
}
