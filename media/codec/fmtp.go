package codec

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of [ParseFmtp]. No registered audio format comes near them.
const (
	maxFmtpBytes  = 2048
	maxFmtpParams = 64
)

// ErrFmtp is wrapped by the errors of [ParseFmtp] and [Fmtp.Int].
var ErrFmtp = errors.New("codec: malformed fmtp")

// Fmtp is the parsed value of an a=fmtp, in the order of the text.
type Fmtp []FmtpParam

// An FmtpParam is one parameter. Formats that do not use name=value pairs
// (telephone-event's "0-15") come as a Value without Name.
type FmtpParam struct{ Name, Value string }

// ParseFmtp reads the format-specific parameters of an a=fmtp line, the part
// after the payload type: name=value pairs between semicolons (RFC 4855 §3).
// White space around names, values and separators does not count, nor do
// empty parameters, which real peers send. Input over 2048 bytes or 64
// parameters, or with control characters, is an error that wraps [ErrFmtp].
func ParseFmtp(s string) (Fmtp, error) {
	if len(s) > maxFmtpBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrFmtp, len(s))
	}
	var f Fmtp
	for part := range strings.SplitSeq(s, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if strings.ContainsFunc(part, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("%w: control character", ErrFmtp)
		}
		if len(f) == maxFmtpParams {
			return nil, fmt.Errorf("%w: more than %d parameters", ErrFmtp, maxFmtpParams)
		}
		name, value, pair := strings.Cut(part, "=")
		if !pair {
			f = append(f, FmtpParam{Value: part})
			continue
		}
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if name == "" {
			return nil, fmt.Errorf("%w: a value without a name", ErrFmtp)
		}
		f = append(f, FmtpParam{Name: name, Value: value})
	}
	return f, nil
}

// Get returns the value of the first parameter with this name, compared
// without case (RFC 4855 §3).
func (f Fmtp) Get(name string) (value string, ok bool) {
	for _, p := range f {
		if p.Name != "" && strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return "", false
}

// Int returns the value of a parameter as a number, or def when it is absent.
// A value that is no number, or is outside lo to hi, gives def and an error
// that wraps [ErrFmtp].
func (f Fmtp) Int(name string, def, lo, hi int) (int, error) {
	v, ok := f.Get(name)
	if !ok {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < lo || n > hi {
		return def, fmt.Errorf("%w: %s outside %d to %d", ErrFmtp, name, lo, hi)
	}
	return n, nil
}

// Bool reports whether a 0-or-1 parameter is 1. Absent and anything else is
// false, which is the default of every such parameter that we know.
func (f Fmtp) Bool(name string) bool {
	v, _ := f.Get(name)
	return v == "1"
}

// String writes the parameters as an a=fmtp value: "a=1;b=2".
func (f Fmtp) String() string {
	var b strings.Builder
	for i, p := range f {
		if i > 0 {
			b.WriteByte(';')
		}
		if p.Name != "" {
			b.WriteString(p.Name)
			b.WriteByte('=')
		}
		b.WriteString(p.Value)
	}
	return b.String()
}
