package register

import (
	"iter"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
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
			return sipwire.Unquote(strings.TrimSpace(val))
		}
	}
	return ""
}

// values runs over the addresses in all headers of that name.
// One that is malformed has no URI.
func values(res *sipgo.Response, name string) iter.Seq[value] {
	return func(yield func(value) bool) {
		for s := range sipwire.Values(res, name) {
			if !yield(parseValue(s)) {
				return
			}
		}
	}
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

// appendParam writes ;name=value, quoted if it is no token.
func appendParam(b []byte, name, value string) []byte {
	b = append(append(b, ';'), name...)
	if value == "" {
		return b
	}
	b = append(b, '=')
	if sipwire.IsToken(value) {
		return append(b, value...)
	}
	return append(b, sipwire.Quote(value)...)
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
