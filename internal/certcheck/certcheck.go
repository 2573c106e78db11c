// Package certcheck verifies the certificate of a SIP server as RFC 5922 has it, or that of another service as RFC 9525 has it, in place of the rules
// for HTTPS that crypto/tls applies.
//
// The difference is what a certificate has to name. It has to name the domain that the account was configured with, whatever host
// DNS led to: an SRV record is not signed, so believing its target would let whoever forges DNS choose the name to be checked.
package certcheck

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Options says whom to expect. Domain is required; the zero value of everything else is the strict rule.
type Options struct {
	// Domain is the domain as configured by the user, or the address literal (brackets allowed) if that is what was configured. An
	// internationalized one is given as A-labels.
	Domain string

	// Service is what the server is for, if that is not SIP: the service of its SRV records without the underscore, such as "xmpp-client". Then RFC
	// 9525 rules instead of RFC 5922: SIP URIs say nothing, names for the service (SRV-ID, RFC 4985) count as DNS names do, and wildcards are good (§6.3).
	// SRVTarget and AllowWildcard are not looked at. Empty means SIP.
	Service string

	// SRVTarget, if not empty, is a host name that is accepted beside Domain: the target of the SRV record that was followed. RFC 5922 §7.2
	// forbids this. It exists because hosted edges often have certificates for their own host name alone, and it trades away
	// the protection against forged DNS: set it only where the user asked for it.
	SRVTarget string

	// AllowWildcard accepts a DNS subject alternative name "*.example.com" for names with exactly one more label. RFC 5922 §7.2 forbids this. It
	// exists because hosted edges have such certificates.
	AllowWildcard bool

	// MinVersion is the oldest version of TLS to speak, such as [tls.VersionTLS13]. Zero and anything below mean TLS 1.2.
	MinVersion uint16
}

// Config returns a client configuration that verifies the server by these rules. Of base, which may be nil and is not changed, it keeps roots
// (RootCAs; nil are those of the system), client certificates, clock, session cache and all else; what it sets is:
//
//   - ServerName, the server name indication: the domain, also for a server that was configured by domain and is dialled by address; nothing for
//     an address literal (RFC 6066 §3).
//   - MinVersion, unless that of base is higher.
//   - InsecureSkipVerify and VerifyConnection. The latter runs in every handshake, resumed ones too (so sessions may be shared between
//     accounts), and calls that of base, if any, when its own checks have passed.
//
// What it objects to becomes an [*Error], which the handshake returns.
func Config(base *tls.Config, o Options) *tls.Config {
	if base == nil {
		base = new(tls.Config)
	}
	cfg := base.Clone()
	cfg.MinVersion = max(base.MinVersion, o.MinVersion, tls.VersionTLS12)
	o.Domain, o.SRVTarget = canonical(o.Domain), canonical(o.SRVTarget)
	cfg.ServerName = ""
	if !isAddr(o.Domain) {
		cfg.ServerName = o.Domain
	}
	cfg.InsecureSkipVerify = true // the rules of HTTPS are replaced, see VerifyConnection
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		now := time.Now
		if base.Time != nil {
			now = base.Time
		}
		if err := verify(cs.PeerCertificates, base.RootCAs, now(), o); err != nil {
			return err
		}
		if base.VerifyConnection != nil {
			return base.VerifyConnection(cs)
		}
		return nil
	}
	return cfg
}

func verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time, o Options) error {
	if len(chain) == 0 {
		return &Error{Reason: NoCertificate, Domain: o.Domain}
	}
	leaf := chain[0]
	if o.Service != "" {
		leaf = withNames(leaf)
	}
	opts := x509.VerifyOptions{
		Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // usable tells more
	}
	for _, c := range chain[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return &Error{Reason: reason(err, now), Domain: o.Domain, Err: err}
	}
	chains = slices.DeleteFunc(chains, func(chain []*x509.Certificate) bool { return !usable(chain, o.Service) })
	if len(chains) == 0 {
		return &Error{
			Reason: WrongUsage, Domain: o.Domain,
			Err: x509.CertificateInvalidError{Cert: leaf, Reason: x509.IncompatibleUsage},
		}
	}
	if o.Service == "" && !identifies(leaf, o) || o.Service != "" && !serves(leaf, chains, o) {
		return &Error{
			Reason: WrongName, Domain: o.Domain, Names: presented(leaf),
			Err: x509.HostnameError{Certificate: leaf, Host: o.Domain},
		}
	}
	return nil
}

// sipDomain is id-kp-sipDomain (RFC 5924 §3).
var sipDomain = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 20}

// usable tells whether every certificate of a chain below its root may be used for a server. Without the extension it may (RFC 5280 §4.2.1.12).
// With it, RFC 5924 §4.1 asks for id-kp-sipDomain where the service is SIP or, as policy allows, another usage: serverAuth is what public authorities issue.
func usable(chain []*x509.Certificate, service string) bool {
	for _, c := range chain[:max(1, len(chain)-1)] {
		if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
			continue
		}
		if !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) &&
			(service != "" || !slices.ContainsFunc(c.UnknownExtKeyUsage, sipDomain.Equal)) {
			return false
		}
	}
	return true
}

// reason sorts what x509 says.
func reason(err error, now time.Time) Reason {
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	var system x509.SystemRootsError
	switch {
	case errors.As(err, &authority), errors.As(err, &system):
		return Untrusted
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
			return NotYetValid
		}
		return Expired
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return WrongUsage
	}
	return Invalid
}

// identifies tells whether a certificate is one for the domain, by RFC 5922 §7.1 and §7.2.
//
// If it has SIP URIs that name a domain, only these count. Otherwise its DNS names do; and for a domain that is configured as an address, its
// addresses. The common name never counts. RFC 5922 §7.1 leaves that to the client where there are no alternative names at all, but
// its text is free, no name constraint of an authority binds it, and public authorities have not vouched for it for years (RFC 9525 §2).
func identifies(leaf *x509.Certificate, o Options) bool {
	if ids := sipIdentities(leaf); len(ids) > 0 {
		return slices.ContainsFunc(ids, func(id string) bool { return id == o.Domain || id == o.SRVTarget && id != "" && !isAddr(id) })
	}
	if hasAddr(leaf, o.Domain) {
		return true
	}
	for _, name := range leaf.DNSNames {
		if matches(canonical(name), o.Domain, o.AllowWildcard) || matches(canonical(name), o.SRVTarget, o.AllowWildcard) {
			return true
		}
	}
	return false
}

// hasAddr tells whether a certificate has the address that a domain is, if it is one.
func hasAddr(leaf *x509.Certificate, domain string) bool {
	ip, err := netip.ParseAddr(domain)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(leaf.IPAddresses, func(b net.IP) bool {
		a, ok := netip.AddrFromSlice(b)
		return ok && a.Unmap() == ip.WithZone("")
	})
}

// matches compares a DNS subject alternative name with a domain; both are canonical.
func matches(name, domain string, wildcard bool) bool {
	if domain == "" || isAddr(domain) {
		return false
	}
	if name == domain {
		return true
	}
	if !wildcard {
		return false
	}
	// The asterisk stands for one whole label, the first, and not below a top-level domain.
	rest, ok := strings.CutPrefix(name, "*.")
	label, parent, dotted := strings.Cut(domain, ".")
	return ok && dotted && label != "" && rest == parent && strings.Contains(rest, ".")
}

// sipIdentities are the domains that a certificate names in SIP URIs. URIs with a user part name a user; "sips" is not a scheme that counts
// (both RFC 5922 §7.1).
func sipIdentities(leaf *x509.Certificate) []string {
	var ids []string
	for _, u := range leaf.URIs {
		if !strings.EqualFold(u.Scheme, "sip") || u.Opaque == "" || strings.Contains(u.Opaque, "@") {
			continue
		}
		host := u.Opaque
		if i := strings.IndexAny(host, ";?"); i >= 0 {
			host = host[:i]
		}
		if ap, err := netip.ParseAddrPort(host); err == nil {
			host = ap.Addr().String()
		} else if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
			host = host[:i] // a port says nothing about the domain
		}
		if host = canonical(host); host != "" {
			ids = append(ids, host)
		}
	}
	return ids
}

// canonical makes names comparable: lower case, no final dot, address literals without brackets and in their shortest form.
func canonical(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	bare := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if ip, err := netip.ParseAddr(bare); err == nil {
		return ip.Unmap().String()
	}
	return name
}

func isAddr(name string) bool {
	_, err := netip.ParseAddr(name)
	return err == nil
}
