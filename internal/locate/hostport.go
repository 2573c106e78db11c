package locate

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

var errHostPort = errors.New("locate: not a host, optionally with a port")

// SplitHostPort reads what people write for a server: a domain or an address, with a port or without. "example.com", "example.com:5061",
// "192.0.2.1:5060", "2001:db8::1", "[2001:db8::1]" and "[2001:db8::1]:5061" are all good. host has no brackets; port is 0 if there is none.
func SplitHostPort(s string) (host string, port uint16, err error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, 0, nil
	}
	rest := ""
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if host, rest, ok = strings.Cut(inner, "]"); !ok {
			return "", 0, errHostPort
		}
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is6() {
			return "", 0, errHostPort
		}
	} else {
		i := strings.IndexByte(s, ':')
		if i < 0 {
			i = len(s)
		}
		host, rest = s[:i], s[i:]
		if !isHostName(host) {
			return "", 0, errHostPort
		}
	}
	if rest == "" {
		return host, 0, nil
	}
	digits := strings.TrimPrefix(rest, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 || rest[0] != ':' || digits[0] == '+' {
		return "", 0, errHostPort
	}
	return host, uint16(n), nil
}

// isHostName tells whether s could be a name in DNS: letters, digits, hyphens and the underscores that are met in practice.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
