// Package locate finds the servers of a SIP domain (RFC 3263; RFC 7118 §8 for WebSocket): which transport, which addresses, in which order.
//
// [Find] asks a [Resolver] and returns every address that may be tried, the preferred first. [Aside] keeps servers that failed at the end of
// such lists for a while. Connecting is not done here.
package locate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Transport is how SIP is carried.
type Transport string

// The transports. WS and WSS are both "ws" in a transport parameter (RFC 7118 §5.2.4); there a sips URI means WSS.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
	TLS Transport = "tls"
	WS  Transport = "ws"
	WSS Transport = "wss"
)

// Secure tells whether the transport is encrypted.
func (t Transport) Secure() bool { return t == TLS || t == WSS }

// DefaultPort is the port where no other is given (RFC 3261 §19.1.2, RFC 7118 §8), or 0 for an unknown transport.
func (t Transport) DefaultPort() uint16 {
	switch t {
	case UDP, TCP:
		return 5060
	case TLS:
		return 5061
	case WS:
		return 80
	case WSS:
		return 443
	}
	return 0
}

// service is the NAPTR service of a transport (RFC 3263 §4.1, RFC 7118 §8).
func (t Transport) service() string {
	switch t {
	case UDP:
		return "SIP+D2U"
	case TCP:
		return "SIP+D2T"
	case TLS:
		return "SIPS+D2T"
	case WS:
		return "SIP+D2W"
	case WSS:
		return "SIPS+D2W"
	}
	return ""
}

// srvName is where the SRV records of a transport are (RFC 3263 §4.1, §4.2). RFC 7118 gives no labels for WebSocket and leaves them to the general rule,
// service and protocol, which servers follow.
func (t Transport) srvName(domain string) string {
	switch t {
	case UDP:
		return "_sip._udp." + domain
	case TCP:
		return "_sip._tcp." + domain
	case TLS:
		return "_sips._tcp." + domain
	case WS:
		return "_sip._ws." + domain
	case WSS:
		return "_sips._ws." + domain
	}
	return ""
}

// Query is what to find.
type Query struct {
	// Host is a domain name or an address literal, with or without brackets.
	Host string

	// Port is the port of the URI; 0 means that it has none.
	Port uint16

	// Transport is that of the URI; empty means that it has none. Under Secure, TCP means TLS and WS means WSS, as in a sips URI.
	Transport Transport

	// Secure is set for a sips URI and for an account that requires TLS. Nothing but TLS and WSS is ever returned then, whatever DNS says.
	Secure bool

	// Supported is what the caller can and may use, in order of preference. Nil means TLS, TCP, UDP. The order decides where DNS leaves
	// the choice to the client (no NAPTR records, but SRV records for several transports).
	Supported []Transport

	// Family restricts the addresses: 4 or 6. Zero means both.
	Family int
}

// Target is one address to try.
type Target struct {
	Transport Transport
	Addr      netip.AddrPort
	Host      string // what the address belongs to: the target of the SRV record, or the domain
	Domain    string // what was asked for, without brackets: whom the certificate has to name
}

func (t Target) String() string {
	s := string(t.Transport) + ":" + t.Addr.String()
	if t.Host != t.Addr.Addr().String() {
		s += " (" + t.Host + ")"
	}
	return s
}

// Bounds on what DNS may make of one query.
const (
	maxRecords = 16 // of each kind
	maxHosts   = 24 // asked for addresses
	maxTargets = 64
)

// Finder finds servers. The zero value is ready, except for the Resolver.
type Finder struct {
	Resolver Resolver

	// Intn returns a number from 0 to n-1, for the weights of SRV records. Nil means math/rand/v2.
	Intn func(n int) int
}

// Find returns the addresses to try, in order (RFC 3263 §4). It is never empty without an error. Errors are [ErrInsecure] if only a transport without
// encryption would be left, [ErrUnsupported] for a transport that the caller does not support, and [*Error] with [ErrNotFound] or
// [ErrTemporary] when DNS has nothing or does not say.
//
// Host names of SRV records whose addresses cannot be found are passed over while there are others.
func (f *Finder) Find(ctx context.Context, q Query) ([]Target, error) {
	s := search{Finder: f, ctx: ctx, q: q}
	s.q.Host = strings.TrimSuffix(strings.ToLower(strings.Trim(q.Host, "[]")), ".")
	if s.q.Host == "" {
		return nil, &Error{Kind: ErrNotFound, Name: q.Host, Err: errors.New("no host given")}
	}
	if err := s.allow(); err != nil {
		return nil, err
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	if len(s.targets) > 0 {
		return s.targets, nil
	}
	if s.failed != nil {
		return nil, s.failed
	}
	return nil, &Error{Kind: ErrNotFound, Name: s.q.Host}
}

// search is one run of Find.
type search struct {
	*Finder
	ctx     context.Context
	q       Query
	allowed []Transport
	hosts   int
	targets []Target
	failed  error // why a name gave nothing; a temporary reason goes before a final one
}

// allow works out the transports that may be used at all: no later step adds one.
func (s *search) allow() error {
	supported := s.q.Supported
	if supported == nil {
		supported = []Transport{TLS, TCP, UDP}
	}
	for _, t := range supported {
		if t.service() != "" && (t.Secure() || !s.q.Secure) && !slices.Contains(s.allowed, t) {
			s.allowed = append(s.allowed, t)
		}
	}
	if len(s.allowed) == 0 {
		if s.q.Secure {
			return ErrInsecure
		}
		return ErrUnsupported
	}
	if s.q.Transport == "" {
		return nil
	}
	if s.q.Secure { // RFC 3261 §26.2.2: transport=tcp in a sips URI is TLS over TCP
		switch s.q.Transport {
		case TCP:
			s.q.Transport = TLS
		case WS:
			s.q.Transport = WSS
		case UDP:
			return ErrInsecure
		}
	}
	if !slices.Contains(s.allowed, s.q.Transport) {
		return fmt.Errorf("%w: %q", ErrUnsupported, s.q.Transport)
	}
	s.allowed = []Transport{s.q.Transport}
	return nil
}

func (s *search) run() error {
	if ip, err := netip.ParseAddr(s.q.Host); err == nil {
		t := s.fallback()
		s.add(t, ip.Unmap().String(), s.port(t), []netip.Addr{ip})
		return nil
	}
	if s.q.Port != 0 { // RFC 3263 §4.2: a port means addresses, nothing else
		t := s.fallback()
		s.lookup(t, s.q.Host, s.q.Port)
		return s.ctx.Err()
	}
	if s.q.Transport == "" { // RFC 3263 §4.1
		if found := s.naptr(); found {
			return s.ctx.Err()
		}
	}
	if answered := s.srv(); answered || s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	// RFC 3263 §4.2: no SRV records, so the addresses of the domain itself.
	t := s.fallback()
	s.lookup(t, s.q.Host, s.port(t))
	return s.ctx.Err()
}

// fallback is the transport where DNS has not been asked for one, or has none: UDP for sip, TLS for sips (RFC 3263 §4.1), or what comes first
// in the caller's list if that is not in it.
func (s *search) fallback() Transport {
	t := UDP
	if s.q.Secure {
		t = TLS
	}
	if slices.Contains(s.allowed, t) {
		return t
	}
	return s.allowed[0]
}

func (s *search) port(t Transport) uint16 {
	if s.q.Port != 0 {
		return s.q.Port
	}
	return t.DefaultPort()
}

// naptr follows NAPTR records, and tells whether there were any that led to servers or would have, had these been found. A failure to get the
// records is no reason to stop: many a home router does not know the type, and the SRV records lead to the same servers.
func (s *search) naptr() bool {
	records, err := s.Resolver.LookupNAPTR(s.ctx, s.q.Host)
	if err != nil {
		return false
	}
	type usable struct {
		NAPTR
		t Transport
	}
	var list []usable
	for _, r := range records {
		i := slices.IndexFunc(s.allowed, func(t Transport) bool { return strings.EqualFold(t.service(), r.Service) })
		// RFC 3263 §4.1 has SRV records follow ("s") and no expression. "a" is what RFC 3958 would mean by it, and harmless.
		if i >= 0 && r.Regexp == "" && r.Replacement != "" && (strings.EqualFold(r.Flags, "s") || strings.EqualFold(r.Flags, "a")) {
			list = append(list, usable{r, s.allowed[i]})
		}
	}
	slices.SortStableFunc(list, func(a, b usable) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Preference, b.Preference))
	})
	found := false
	for i, r := range list {
		if r.Order != list[0].Order || i == maxRecords {
			break // RFC 3403 §4.1: what follows a match in order is not looked at
		}
		if strings.EqualFold(r.Flags, "a") {
			found = true
			s.lookup(r.t, hostName(r.Replacement), r.t.DefaultPort())
			continue
		}
		if s.records(r.t, hostName(r.Replacement)) {
			found = true
		}
	}
	return found
}

// srv asks for the SRV records of every transport allowed, and tells whether DNS gave an answer other than that there are none. An answer that does
// not come is one: guessing on, at the address of the domain, would mostly find its web server.
func (s *search) srv() bool {
	answered := false
	for _, t := range s.allowed {
		if s.records(t, t.srvName(s.q.Host)) {
			answered = true
		}
	}
	return answered || s.failed != nil && errors.Is(s.failed, ErrTemporary)
}

// records adds the servers behind an SRV name, and tells whether the name has records.
func (s *search) records(t Transport, srvName string) bool {
	records, err := s.Resolver.LookupSRV(s.ctx, srvName)
	if err != nil {
		s.fail(srvName, err)
		return false
	}
	if len(records) > maxRecords {
		records = records[:maxRecords]
	}
	if len(records) == 1 && hostName(records[0].Target) == "" {
		// RFC 2782: a target of "." says that the service is decidedly not there.
		s.fail(srvName, &Error{Kind: ErrNotFound, Name: srvName, Err: errors.New("service not available at this domain")})
		return true
	}
	for _, r := range s.order(records) {
		if host := hostName(r.Target); host != "" && r.Port != 0 {
			s.lookup(t, host, r.Port)
		}
	}
	return len(records) > 0
}

// lookup adds the addresses of a host.
func (s *search) lookup(t Transport, host string, port uint16) {
	if s.hosts++; s.hosts > maxHosts || s.ctx.Err() != nil {
		return
	}
	if ip, err := netip.ParseAddr(host); err == nil { // forbidden in SRV records, met there all the same
		s.add(t, host, port, []netip.Addr{ip})
		return
	}
	addrs, err := s.Resolver.LookupIP(s.ctx, host)
	if err != nil {
		s.fail(host, err)
		return
	}
	if !s.add(t, host, port, addrs) {
		s.fail(host, &Error{Kind: ErrNotFound, Name: host})
	}
}

func (s *search) add(t Transport, host string, port uint16, addrs []netip.Addr) (added bool) {
	if len(addrs) > maxRecords {
		addrs = addrs[:maxRecords]
	}
	for _, ip := range addrs {
		if ip = ip.Unmap(); !ip.IsValid() || s.q.Family == 4 && !ip.Is4() || s.q.Family == 6 && !ip.Is6() {
			continue
		}
		added = true
		target := Target{Transport: t, Addr: netip.AddrPortFrom(ip, port), Host: host, Domain: s.q.Host}
		same := func(o Target) bool { return o.Transport == t && o.Addr == target.Addr }
		if len(s.targets) < maxTargets && !slices.ContainsFunc(s.targets, same) {
			s.targets = append(s.targets, target)
		}
	}
	return added
}

func (s *search) fail(name string, err error) {
	var e *Error
	if !errors.As(err, &e) {
		err = &Error{Kind: ErrTemporary, Name: name, Err: err}
	}
	if s.failed == nil || errors.Is(err, ErrTemporary) && !errors.Is(s.failed, ErrTemporary) {
		s.failed = err
	}
}

// order puts records into the order in which to try them.
func (f *Finder) order(records []SRV) []SRV {
	return Order(records, func(r SRV) SRV { return r }, f.Intn)
}

// hostName makes a host name of DNS comparable: lower case, without the final dot.
func hostName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }
