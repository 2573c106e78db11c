package sip

import (
	"cmp"
	"slices"
	"strings"
)

// maxTel bounds the telephone-subscriber of a tel URI.
const maxTel = 256

// telUser makes the user of a SIP URI of what a tel URI has behind its scheme
// (RFC 3966 §3): in lower case, the parameters in order of their names behind those of
// subaddress and extension, so that equal numbers are equal URIs (RFC 3261
// §19.1.6). A local number need not have its phone-context here: that is the
// account's domain. ok is false for what is no number.
func telUser(s string) (user string, ok bool) {
	number, rest, more := strings.Cut(strings.ToLower(s), ";")
	digits := number
	alphabet := "0123456789abcdef*#"
	if d, global := strings.CutPrefix(number, "+"); global {
		digits, alphabet = d, "0123456789"
	}
	if len(s) > maxTel || strings.Trim(digits, alphabet+"-.()") != "" || !strings.ContainsAny(digits, alphabet) {
		return "", false
	}
	var params []string
	for more {
		var p string
		p, rest, more = strings.Cut(rest, ";")
		name, value, valued := strings.Cut(p, "=")
		if !telParam(name, "-") || valued && !telParam(value, "[]/:&+$-_.!~*'()%") {
			return "", false
		}
		params = append(params, p)
	}
	slices.SortStableFunc(params, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return cmp.Or(cmp.Compare(telRank(a), telRank(b)), cmp.Compare(a, b))
	})
	// What a user may not have as it stands (RFC 3261 §25.1).
	return strings.NewReplacer("#", "%23", "[", "%5b", "]", "%5d", ":", "%3a").Replace(strings.Join(append([]string{number}, params...), ";")), true
}

// telParam tells whether s is the name or value of a parameter: letters, digits
// and marks.
func telParam(s, marks string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '%' && strings.IndexByte(marks, c) >= 0:
			if len(s) < i+3 || strings.Trim(s[i+1:i+3], "0123456789abcdef") != "" {
				return false
			}
		case strings.IndexByte(marks, c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

func telRank(name string) int {
	switch name {
	case "isub":
		return 0
	case "ext", "postd":
		return 1
	}
	return 2
}
