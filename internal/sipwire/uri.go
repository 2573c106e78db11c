package sipwire

import (
	"errors"
	"net/netip"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// Errors of ParseURI and ParseNameAddr.
var (
	ErrURI      = errors.New("sipwire: malformed URI")
	ErrNameAddr = errors.New("sipwire: malformed address")
	ErrParams   = errors.New("sipwire: malformed parameters")
)

// ParseURI reads a URI. SIP and SIPS URIs are taken apart (RFC 3261 §19.1.1)
// with their escapes left as they are; an IPv6 address as Host keeps its
// brackets. Of any other URI the part behind the scheme is the Raw of the
// result.
func ParseURI(s string) (sipgo.Uri, error) {
	var u sipgo.Uri
	err := parseURI(s, &u, nil)
	return u, err
}

func parseURI(s string, u *sipgo.Uri, a *arena) error {
	colon := strings.IndexByte(s, ':')
	if colon <= 0 || colon == len(s)-1 {
		return ErrURI
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '<' || c == '>' || c == '"' {
			return ErrURI
		}
	}
	scheme := s[:colon]
	switch {
	case strings.EqualFold(scheme, "sip"):
		u.Scheme = "sip"
	case strings.EqualFold(scheme, "sips"):
		u.Scheme = "sips"
	default:
		return parseOtherURI(scheme, s[colon+1:], u)
	}
	s = s[colon+1:]

	// An @ has to be escaped everywhere but behind the user part, and only
	// the user part may hold ; and ? before it.
	if at := strings.IndexByte(s, '@'); at >= 0 {
		user := s[:at]
		s = s[at+1:]
		if user == "" {
			return ErrURI
		}
		u.User, u.Password, _ = strings.Cut(user, ":")
		if u.User == "" {
			return ErrURI
		}
	}
	end := indexByte2(s, ';', '?')
	if end < 0 {
		return parseHostPort(s, &u.Host, &u.Port)
	}
	if err := parseHostPort(s[:end], &u.Host, &u.Port); err != nil {
		return err
	}
	params := s[end:]
	if q := strings.IndexByte(params, '?'); q >= 0 {
		if err := parsePairs(params[q+1:], '&', &u.Headers, a); err != nil {
			return err
		}
		params = params[:q]
	}
	return parsePairs(params, ';', &u.UriParams, a)
}

// parseOtherURI goes through sipgo, whose Uri hides what such a URI holds.
// Its parser knows schemes of letters only.
func parseOtherURI(scheme, rest string, u *sipgo.Uri) error {
	for i := 0; i < len(scheme); i++ {
		c := scheme[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return ErrURI
		}
	}
	if err := sipgo.ParseUri("other:"+rest, u); err != nil {
		return ErrURI
	}
	u.Scheme = strings.ToLower(scheme)
	return nil
}

// parsePairs reads name=value pairs. Empty ones are passed over.
func parsePairs(s string, sep byte, out *sipgo.HeaderParams, a *arena) error {
	if len(s) > 0 && s[0] == sep {
		s = s[1:]
	}
	n := 1
	for i := 0; i < len(s); i++ {
		if s[i] == sep {
			n++
		}
	}
	for len(s) > 0 {
		pair := s
		if i := strings.IndexByte(s, sep); i >= 0 {
			pair, s = s[:i], s[i+1:]
		} else {
			s = ""
		}
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		if k == "" {
			return ErrURI
		}
		if *out == nil {
			*out = a.take(n)
		}
		*out = append(*out, sipgo.HeaderKV{K: k, V: v})
	}
	return nil
}

// parseHostPort reads host[:port]. The brackets of an IPv6 address stay.
func parseHostPort(s string, host *string, port *int) error {
	h := s
	if s != "" && s[0] == '[' {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return ErrURI
		}
		h, s = s[:end+1], s[end+1:]
		if !isIPv6(h[1:end]) {
			// The grammar of RFC 3261 allows a third colon in front of an
			// IPv4 part; it has to be tolerated (RFC 5118 §4.10).
			h = strings.Replace(h, ":::", "::", 1)
			if strings.IndexByte(h, '.') < 0 || !isIPv6(h[1:len(h)-1]) {
				return ErrURI
			}
		}
	} else {
		end := strings.IndexByte(s, ':')
		if end < 0 {
			end = len(s)
		}
		h, s = s[:end], s[end:]
		if !isHost(h) {
			return ErrURI
		}
	}
	*host = h
	if s == "" {
		return nil
	}
	if s[0] != ':' {
		return ErrURI
	}
	return parsePort(s[1:], port)
}

func parsePort(s string, port *int) error {
	if len(s) == 0 || len(s) > 5 {
		return ErrURI
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return ErrURI
		}
		n = n*10 + int(s[i]-'0')
	}
	if n == 0 || n > 65535 {
		return ErrURI
	}
	*port = n
	return nil
}

// isHost is liberal: underscores are in use.
func isHost(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if ('a' > c|0x20 || c|0x20 > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return len(s) > 0
}

func isIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}

// SameURI compares two URIs by RFC 3261 §19.1.4. URIs of other schemes are
// the same when their text is.
func SameURI(a, b *sipgo.Uri) bool {
	if !strings.EqualFold(scheme(a), scheme(b)) || a.Raw() != b.Raw() {
		return false
	}
	if decodeEscapes(a.User) != decodeEscapes(b.User) || decodeEscapes(a.Password) != decodeEscapes(b.Password) ||
		a.Port != b.Port || !sameHost(a.Host, b.Host) {
		return false
	}
	if !sameParams(a.UriParams, b.UriParams) || !sameParams(b.UriParams, a.UriParams) {
		return false
	}
	// Header components are never ignored.
	if len(a.Headers) != len(b.Headers) {
		return false
	}
	for i := range a.Headers {
		if !hasPair(b.Headers, &a.Headers[i], func(x, y string) bool { return x == y }) {
			return false
		}
	}
	return true
}

func scheme(u *sipgo.Uri) string {
	if u.Scheme == "" {
		return "sip"
	}
	return u.Scheme
}

func sameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	x, errX := netip.ParseAddr(strings.Trim(a, "[]"))
	y, errY := netip.ParseAddr(strings.Trim(b, "[]"))
	return errX == nil && errY == nil && x == y
}

// sameParams tells whether each parameter of a is in b with the same value.
// One that is only in a matters if it is among those that always do.
func sameParams(a, b sipgo.HeaderParams) bool {
	for i := range a {
		if hasPair(b, &a[i], strings.EqualFold) {
			continue
		}
		if _, other := Param(b, a[i].K); other {
			return false
		}
		switch strings.ToLower(a[i].K) {
		case "user", "ttl", "method", "maddr", "transport":
			return false
		}
	}
	return true
}

// hasPair tells whether params has the name of p, in any case, with its value.
func hasPair(params sipgo.HeaderParams, p *sipgo.HeaderKV, same func(x, y string) bool) bool {
	for i := range params {
		if strings.EqualFold(params[i].K, p.K) && same(decodeEscapes(params[i].V), decodeEscapes(p.V)) {
			return true
		}
	}
	return false
}

// decodeEscapes replaces %HH. What is no escape stays.
func decodeEscapes(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
