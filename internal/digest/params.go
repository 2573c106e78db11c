package digest

import "strings"

// Bounds on one header field value. Real ones have some 10 parameters and 400 octets; nonces that carry signed state reach a kilobyte or two.
const (
	maxValue  = 8 << 10
	maxParams = 32
)

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func skipSpace(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	return s
}

// cutScheme takes the authentication scheme off the front of a header field value.
func cutScheme(s string) (scheme, rest string) {
	s = skipSpace(s)
	i := 0
	for i < len(s) && isToken(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// isToken tells whether c may stand in a token (RFC 3261 §25.1).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-.!%*_+`'~", c) >= 0
}

// params reads comma separated auth-params (RFC 3261 §25.1) and gives each to f, its name in lower case and its value without quotes and
// escapes. More is taken than the grammar allows where servers are known to sin: quoted tokens, unquoted strings, empty list elements.
// What is a sin no reader can mend, such as a parameter that comes twice, is an error.
func params(what, s string, f func(name, value string)) error {
	bad := func(reason string) error { return &SyntaxError{What: what, Reason: reason} }
	var seen [maxParams]string
	n := 0
	for {
		for s = skipSpace(s); s != "" && s[0] == ','; {
			s = skipSpace(s[1:])
		}
		if s == "" {
			return nil
		}
		i := 0
		for i < len(s) && isToken(s[i]) {
			i++
		}
		if i == 0 {
			return bad("parameter name expected")
		}
		name := strings.ToLower(s[:i])
		s = skipSpace(s[i:])
		if s == "" || s[0] != '=' {
			return bad("no value for a parameter")
		}
		value, rest, ok := cutValue(skipSpace(s[1:]))
		if !ok {
			return bad("broken value of a parameter")
		}
		if s = skipSpace(rest); s != "" && s[0] != ',' {
			return bad("comma expected")
		}
		for _, other := range seen[:n] {
			if other == name {
				return bad("parameter given twice")
			}
		}
		if n == maxParams {
			return bad("too many parameters")
		}
		seen[n] = name
		n++
		f(name, value)
	}
}

// cutValue takes a quoted-string or a bare value off the front of s. Control characters are refused: the value may be sent back in a header field.
func cutValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		i := 0
		for i < len(s) && s[i] != ',' && !isSpace(s[i]) {
			if s[i] < ' ' || s[i] == 0x7f || s[i] == '"' || s[i] == '\\' {
				return "", "", false
			}
			i++
		}
		return s[:i], s[i:], true
	}
	escaped := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			value = s[1:i]
			if escaped {
				value = unescape(value)
			}
			return value, s[i+1:], true
		case c == '\\':
			escaped = true
			if i++; i == len(s) || s[i] < ' ' || s[i] == 0x7f {
				return "", "", false
			}
		case c < ' ' && c != '\t', c == 0x7f:
			return "", "", false
		}
	}
	return "", "", false
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// writer puts a header field value together.
type writer struct{ strings.Builder }

func (w *writer) name(name string) {
	if n := w.Len(); n > 0 && w.String()[n-1] != ' ' {
		w.WriteString(", ")
	}
	w.WriteString(name)
	w.WriteByte('=')
}

func (w *writer) token(name, value string) {
	w.name(name)
	w.WriteString(value)
}

func (w *writer) quoted(name, value string) {
	w.name(name)
	w.WriteByte('"')
	for i := 0; i < len(value); i++ {
		if value[i] == '"' || value[i] == '\\' {
			w.WriteByte('\\')
		}
		w.WriteByte(value[i])
	}
	w.WriteByte('"')
}
