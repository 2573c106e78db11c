// Package xmppdial finds the server of an XMPP domain and reaches it.
//
// [Finder] asks DNS (RFC 6120 §3.2, XEP-0368). [Dialer] connects to the first of the servers that answers (RFC 8305) and hands over one connection
// after the other until the caller is content. [Target.Handshake] secures one (RFC 7590, RFC 9525). [Web] finds and opens WebSockets
// (XEP-0156, RFC 7395). [Via] goes through a proxy.
package xmppdial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/idna"

	"github.com/hoorn-phone/hoorn/internal/locate"
)

// Service is what is asked of a server. It is also the protocol's name for ALPN (XEP-0368 §3) and, in certificates, for SRV-ID.
type Service string

// The services.
const (
	Client Service = "xmpp-client" // what clients connect to
	Server Service = "xmpp-server" // what other servers connect to
)

// Port is the service's own port, or 0 for an unknown service (RFC 6120 §14.7).
func (s Service) Port() uint16 {
	switch s {
	case Client:
		return 5222
	case Server:
		return 5269
	}
	return 0
}

// srvName is where the SRV records of a service are, for STARTTLS or for direct TLS.
func (s Service) srvName(domain string, direct bool) string {
	if direct {
		return "_xmpps-" + strings.TrimPrefix(string(s), "xmpp-") + "._tcp." + domain
	}
	return "_" + string(s) + "._tcp." + domain
}

// Bounds on what DNS may make of one query.
const (
	maxRecords = 16 // of one service, for STARTTLS and for direct TLS each
	maxTargets = 20
)

// Resolver asks DNS. Its answers and errors are those of [locate.Resolver], any of which is one.
type Resolver interface {
	LookupSRV(ctx context.Context, name string) ([]locate.SRV, error)
	// LookupIP returns the addresses of a host in the order in which to try them.
	LookupIP(ctx context.Context, host string) ([]netip.Addr, error)
}

// Query is what to find.
type Query struct {
	// Domain is that of the account: a domain name, which may have U-labels, or an address literal with or without brackets. It is what
	// the certificate has to name, wherever the server is.
	Domain string

	// Service is what is asked of the server. Empty means Client.
	Service Service

	// Server is where the server is if DNS is not to be asked for it: a host or an address, with a port or without, as [locate.SplitHostPort] reads it.
	// Without one the port is the service's own, and 5223 or 5270 for direct TLS. Empty means to ask DNS.
	Server string

	// Direct says that Server speaks TLS from the first octet on. Without Server it is not looked at.
	Direct bool
}

// Target is a server to try.
type Target struct {
	Host    string // a name, or an address without brackets
	Port    uint16
	Direct  bool    // TLS from the first octet on (XEP-0368); otherwise STARTTLS (RFC 6120 §5)
	Domain  string  // whom the certificate has to name, in A-labels and lower case
	Service Service // never empty if a Finder made the target
}

// Address is host and port as net.Dial takes them.
func (t Target) Address() string {
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}

func (t Target) String() string {
	if t.Direct {
		return t.Address() + " (direct TLS)"
	}
	return t.Address()
}

// Finder finds servers. The zero value asks no DNS.
type Finder struct {
	// Resolver is asked for SRV records. Nil means that there are none: what is left is the domain itself, on the service's own port.
	Resolver Resolver

	// Intn returns a number from 0 to n-1, for the weights of SRV records. Nil means math/rand/v2.
	Intn func(n int) int
}

// Find returns the servers to try, in order; at most 20, and never none without an error. Records for direct TLS and for STARTTLS are one list, ordered by
// priority and weight (XEP-0368 §3). Only if DNS has neither, or does not answer, the domain itself is the server, with STARTTLS (RFC 6120 §3.2.2).
//
// An error is the context's, or a [*locate.Error]: with [locate.ErrNotFound] if DNS says that the domain has no such service, or the query names no host; with
// [locate.ErrTemporary] if DNS denies one kind and does not tell about the other.
func (f *Finder) Find(ctx context.Context, q Query) ([]Target, error) {
	if q.Service == "" {
		q.Service = Client
	}
	domain, err := ASCII(q.Domain)
	if err != nil {
		return nil, err
	}
	origin := Target{Host: domain, Port: q.Service.Port(), Domain: domain, Service: q.Service}
	if q.Server != "" {
		return explicit(origin, q)
	}
	if _, err := netip.ParseAddr(domain); err == nil || f.Resolver == nil {
		return []Target{origin}, nil
	}
	var records [2][]locate.SRV // for direct TLS, for STARTTLS
	var errs [2]error
	var wg sync.WaitGroup
	for i, direct := range []bool{true, false} {
		wg.Go(func() { records[i], errs[i] = f.Resolver.LookupSRV(ctx, q.Service.srvName(domain, direct)) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(records[0])+len(records[1]) == 0 {
		// That there are none and that there is no answer is the same here (RFC 6120 §3.2.1, step 9): many a router does not
		// pass on questions of types that it does not know.
		return []Target{origin}, nil
	}
	// A server that nothing leads to now is no reason to try the domain itself: "it SHOULD NOT attempt the fallback process" (RFC 6120 §3.2.1). The same goes
	// for the target "." in either answer (XEP-0368 §5).
	if targets := f.merge(origin, records[0], records[1]); len(targets) > 0 {
		return targets, nil
	}
	if err := errors.Join(errs[:]...); err != nil && !errors.Is(err, locate.ErrNotFound) {
		return nil, &locate.Error{Kind: locate.ErrTemporary, Name: domain, Err: err} // the other kind may well be there
	}
	return nil, &locate.Error{Kind: locate.ErrNotFound, Name: domain, Err: errors.New("service not available at this domain")}
}

// merge makes one list of both kinds of records.
func (f *Finder) merge(origin Target, direct, starttls []locate.SRV) []Target {
	type record struct {
		locate.SRV
		direct bool
	}
	var all []record
	add := func(records []locate.SRV, direct bool) {
		for _, r := range records[:min(len(records), maxRecords)] {
			all = append(all, record{r, direct})
		}
	}
	add(direct, true)
	add(starttls, false)
	all = slices.DeleteFunc(all, func(r record) bool {
		_, err := hostName(r.Target)
		return err != nil || r.Port == 0 // "." among them
	})
	var targets []Target
	for _, r := range locate.Order(all, func(r record) locate.SRV { return r.SRV }, f.Intn) {
		t := origin
		t.Host, _ = hostName(r.Target)
		t.Port, t.Direct = r.Port, r.direct
		if len(targets) < maxTargets && !slices.Contains(targets, t) {
			targets = append(targets, t)
		}
	}
	return targets
}

// explicit is the server that the user gave.
func explicit(origin Target, q Query) ([]Target, error) {
	host, port, err := splitHostPort(q.Server)
	if err != nil {
		return nil, err
	}
	t := origin
	t.Host, t.Direct = host, q.Direct
	switch {
	case port != 0:
		t.Port = port
	case q.Direct:
		t.Port++ // 5223 and 5270: registered nowhere for this, used everywhere
	}
	return []Target{t}, nil
}

// ASCII is a domain in lower case with A-labels instead of U-labels (RFC 5890 §2.3.2.1), without a final dot and brackets: what DNS and certificates know it by. The
// error is a [*locate.Error] with [locate.ErrNotFound].
func ASCII(domain string) (string, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(domain, "["), "]")
	if strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
		ascii, err := labels.ToASCII(name)
		if err != nil {
			return "", &locate.Error{Kind: locate.ErrNotFound, Name: domain, Err: err}
		}
		name = ascii
	}
	return hostName(name)
}

// labels allows what hosts are called in practice, underscores among it; what remains is checked by hostName.
var labels = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(false))

// hostName is a host in lower case without a final dot. What is not one, "." for instance, is refused, since names go on to proxies and into HTTP.
func hostName(s string) (string, error) {
	bad := &locate.Error{Kind: locate.ErrNotFound, Name: s, Err: errors.New("not a host")}
	if ip, err := netip.ParseAddr(s); err == nil {
		// Any text passes for a zone (RFC 4007 §11) in package netip.
		if _, port, err := locate.SplitHostPort(ip.Zone()); ip.Zone() != "" && (err != nil || port != 0) {
			return "", bad
		}
		return ip.Unmap().String(), nil
	}
	host, port, err := locate.SplitHostPort(s)
	if err != nil || port != 0 {
		return "", bad
	}
	return strings.ToLower(strings.TrimSuffix(host, ".")), nil
}

// splitHostPort is [locate.SplitHostPort] for hosts that may have U-labels.
func splitHostPort(s string) (host string, port uint16, err error) {
	name, rest := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 }) {
		name, rest = s[:i], s[i:]
	}
	if rest != "" || !strings.Contains(s, ":") {
		if name, err = ASCII(name); err != nil {
			return "", 0, err
		}
	}
	if host, port, err = locate.SplitHostPort(name + rest); err != nil {
		return "", 0, fmt.Errorf("xmppdial: %q: %w", s, err)
	}
	host, err = hostName(host)
	return host, port, err
}
