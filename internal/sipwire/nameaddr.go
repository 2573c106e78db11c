package sipwire

import (
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// arena hands out parameter lists from an array that lives in a message.
type arena struct{ free []sipgo.HeaderKV }

// take is an empty list with room for n parameters.
func (a *arena) take(n int) sipgo.HeaderParams {
	if a == nil || n > len(a.free) {
		return make(sipgo.HeaderParams, 0, n)
	}
	p := a.free[:0:n]
	a.free = a.free[n:]
	return p
}

// ParseNameAddr reads one name-addr or addr-spec with parameters, as From,
// Contact, Route or Refer-To have them (RFC 3261 §20.10). The display name is
// plain text. Parameter values are those of the wire; see [Param].
func ParseNameAddr(s string) (display string, uri sipgo.Uri, params sipgo.HeaderParams, err error) {
	err = parseNameAddr(s, &display, &uri, &params, nil)
	return display, uri, params, err
}

func parseNameAddr(s string, display *string, uri *sipgo.Uri, params *sipgo.HeaderParams, a *arena) error {
	s = trimLWS(s)
	if s == "" {
		return ErrNameAddr
	}
	if s[0] == '"' {
		n := quotedLen(s)
		if n < 0 {
			return ErrNameAddr
		}
		*display = unescape(s[1 : n-1])
		s = trimLWS(s[n:])
		if s == "" || s[0] != '<' {
			return ErrNameAddr
		}
	} else if open := strings.IndexByte(s, '<'); open > 0 {
		// Tokens, by the grammar. Whatever cannot be taken for something
		// else is let through (RFC 4475 §3.1.2.15).
		name := trimLWS(s[:open])
		if strings.ContainsAny(name, "\";:>") {
			open = -1
		} else {
			*display = name
			s = s[open:]
		}
	}

	if s[0] != '<' {
		// Without brackets the parameters are those of the header field, and
		// the URI may hold no comma, question mark or semicolon (§20).
		end := strings.IndexByte(s, ';')
		if end < 0 {
			end = len(s)
		}
		spec := trimLWS(s[:end])
		if indexByte2(spec, ',', '?') >= 0 {
			return ErrNameAddr
		}
		if err := parseURI(spec, uri, a); err != nil {
			return err
		}
		return parseParams(s[end:], params, a)
	}
	end := strings.IndexByte(s, '>')
	if end < 0 {
		return ErrNameAddr
	}
	// White space within the brackets is an error that does no harm (RFC 4475
	// §3.1.2.14).
	if err := parseURI(trimLWS(s[1:end]), uri, a); err != nil {
		return err
	}
	return parseParams(s[end+1:], params, a)
}

// quotedLen is the length of the quoted-string s begins with, -1 if it does
// not end.
func quotedLen(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// parseParams reads *( SEMI name [ EQUAL value ] ). A semicolon at the end is
// passed over.
func parseParams(s string, params *sipgo.HeaderParams, a *arena) error {
	s = trimLWS(s)
	if s == "" {
		return nil
	}
	out := a.take(strings.Count(s, ";"))
	for s != "" {
		if s[0] != ';' {
			return ErrParams
		}
		s = trimLWS(s[1:])
		if s == "" {
			break
		}
		n := 0
		for n < len(s) && tokenChar[s[n]] {
			n++
		}
		if n == 0 {
			return ErrParams
		}
		kv := sipgo.HeaderKV{K: s[:n]}
		s = trimLeft(s[n:])
		if s != "" && s[0] == '=' {
			s = trimLeft(s[1:])
			if s != "" && s[0] == '"' {
				n = quotedLen(s)
				if n < 0 {
					return ErrParams
				}
			} else {
				n = strings.IndexByte(s, ';')
				if n < 0 {
					n = len(s)
				}
			}
			kv.V = trimLWS(s[:n])
			if kv.V == "" || kv.V[0] != '"' && !isParamValue(kv.V) {
				return ErrParams
			}
			s = trimLeft(s[n:])
		}
		out = append(out, kv)
	}
	*params = out
	return nil
}

// isParamValue tells whether s can be a value without quotes. That is more
// than a token or host: what cannot be mistaken is let through.
func isParamValue(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ', '\t', ',', '"', '<', '>':
			return false
		}
	}
	return true
}

// indexByte2 is the index of the first a or b in s, or -1.
func indexByte2(s string, a, b byte) int {
	for i := 0; i < len(s); i++ {
		if s[i] == a || s[i] == b {
			return i
		}
	}
	return -1
}

func trimLeft(s string) string {
	for len(s) > 0 && isLWS(s[0]) {
		s = s[1:]
	}
	return s
}
