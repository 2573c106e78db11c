package passport

import "strings"

// maxNumber bounds a telephone number: E.164 has 15 digits, private plans more.
const maxNumber = 32

// CanonicalNumber brings a telephone number into the form in which PASSporTs
// have it (RFC 8224 §8.3): digits, "*" and "#" alone. It does not add a country
// code. ok is false for what is no number.
func CanonicalNumber(s string) (number string, ok bool) {
	s, _, _ = strings.Cut(s, ";") // parameters of a tel URI
	s = strings.TrimPrefix(s, "+")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == '*', c == '#':
			b.WriteByte(c)
		case strings.IndexByte("-.() ", c) >= 0: // visual separators (RFC 3966 §3)
		case strings.HasPrefix(s[i:], "%23"): // "#" in a URI
			b.WriteByte('#')
			i += 2
		default:
			return "", false
		}
		if b.Len() > maxNumber {
			return "", false
		}
	}
	return b.String(), b.Len() > 0
}
