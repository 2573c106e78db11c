package register

import (
	"iter"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// maxDelta is the largest delta-seconds (RFC 3261 section 20.19).
const maxDelta = (1<<32 - 1) * time.Second

// value is one element of a header that lists addresses: a name-addr or an
// addr-spec with parameters (RFC 3261 section 20.10).
type value struct {
	addr   string // what stood between the angle brackets
	params string // from the first semicolon on
}

func (v value) uri() *sipgo.Uri { return parseURI(v.addr) }

// param is the unquoted value of the first parameter of that name.
func (v value) param(name string) string {
	rest := v.params
	for rest != "" {
		var p string
		p, rest = cut(rest, ';')
		k, val, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return unquote(strings.TrimSpace(val))
		}
	}
	return ""
}

// values runs over the addresses in all headers of that name (in lower case).
// One that is malformed has no URI.
func values(res *sipgo.Response, name string) iter.Seq[value] {
	return func(yield func(value) bool) {
		for s := range elements(res, name) {
			if !yield(parseValue(s)) {
				return
			}
		}
	}
}

// elements runs over the comma-separated elements of all headers of that name.
func elements(res *sipgo.Response, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, h := range res.Headers() {
			if !isHeader(h, name) {
				continue
			}
			rest := h.Value()
			for rest != "" {
				var s string
				s, rest = cut(rest, ',')
				if s = strings.TrimSpace(s); s != "" && !yield(s) {
					return
				}
			}
		}
	}
}

func hasToken(res *sipgo.Response, name, token string) bool {
	for s := range elements(res, name) {
		if strings.EqualFold(s, token) {
			return true
		}
	}
	return false
}

// headerText is the value of the first header of that name.
func headerText(res *sipgo.Response, name string) string {
	for _, h := range res.Headers() {
		if isHeader(h, name) {
			return strings.TrimSpace(h.Value())
		}
	}
	return ""
}

// isHeader knows the one compact form among the headers read here (RFC 3261
// section 20).
func isHeader(h sipgo.Header, name string) bool {
	n := h.Name()
	return strings.EqualFold(n, name) || name == "contact" && strings.EqualFold(n, "m")
}

func parseValue(s string) value {
	open := index(s, '<')
	if open < 0 {
		// An addr-spec: every parameter belongs to the header.
		addr, params := cut(s, ';')
		return value{strings.TrimSpace(addr), params}
	}
	addr, rest, ok := strings.Cut(s[open+1:], ">")
	rest = strings.TrimSpace(rest)
	if !ok || rest != "" && rest[0] != ';' {
		return value{}
	}
	return value{strings.TrimSpace(addr), strings.TrimPrefix(rest, ";")}
}

// cut splits at the first sep outside of quoted strings and angle brackets.
func cut(s string, sep byte) (before, after string) {
	if i := index(s, sep); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// index finds the first c outside of quoted strings and angle brackets.
func index(s string, c byte) int {
	var quoted, angled bool
	for i := 0; i < len(s); i++ {
		switch b := s[i]; {
		case quoted:
			if b == '\\' {
				i++
			} else if b == '"' {
				quoted = false
			}
		case b == c && !angled:
			return i
		case b == '"' && !angled:
			quoted = true
		case b == '<':
			angled = true
		case b == '>':
			angled = false
		}
	}
	return -1
}

// unquote takes a quoted-string apart (RFC 3261 section 25.1); what is not
// quoted stays as it is.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// escape makes s fit for the inside of a quoted-string. Control characters,
// which it cannot hold, become spaces.
func escape(s string) string {
	return string(appendEscaped(nil, s))
}

func appendEscaped(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return b
}

// appendParam writes ;name=value, quoted if it is no token.
func appendParam(b []byte, name, value string) []byte {
	b = append(append(b, ';'), name...)
	if value == "" {
		return b
	}
	b = append(b, '=')
	if isToken(value) {
		return append(b, value...)
	}
	b = appendEscaped(append(b, '"'), value)
	return append(b, '"')
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-.!%*_+`'~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// number reads 1*DIGIT; what is too large for 32 bits becomes the largest.
func number(s string) (uint64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, _ := strconv.ParseUint(s, 10, 32) // out of range is the one error left
	return n, true
}

// delta reads delta-seconds.
func delta(s string) (time.Duration, bool) {
	n, ok := number(s)
	return time.Duration(n) * time.Second, ok
}
