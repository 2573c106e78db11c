package sipwire

import (
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// Seconds reads a header field of delta-seconds, such as Expires or
// Min-Expires. A value that is missing, no number or beyond 2^32-1 is not ok
// (RFC 4475 §3.1.2.4: it is treated as the default).
func Seconds(m sipgo.Message, name string) (d time.Duration, ok bool) {
	h := Find(m, name)
	if h == nil {
		return 0, false
	}
	return ParseSeconds(h.Value())
}

// ParseSeconds reads delta-seconds, as a header value or the expires
// parameter of a Contact.
func ParseSeconds(s string) (d time.Duration, ok bool) {
	s = trimLWS(s)
	if !isDigits(s) {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return time.Duration(n) * time.Second, err == nil
}

// RetryAfter reads the Retry-After of a response (RFC 3261 §20.33), without
// its comment and parameters.
func RetryAfter(m sipgo.Message) (d time.Duration, ok bool) {
	v := Header(m, "Retry-After")
	if i := strings.IndexAny(v, "(;"); i >= 0 {
		v = v[:i]
	}
	return ParseSeconds(v)
}

// Reason is why something was done (RFC 3326): the element of a Reason header
// field.
type Reason struct {
	Protocol string // "SIP", "Q.850", "preemption" and others
	Cause    int    // 0 if there is none
	Text     string
}

// Header is the header field.
func (r Reason) Header() sipgo.Header { return sipgo.NewHeader("Reason", r.String()) }

func (r Reason) String() string {
	s := r.Protocol
	if r.Cause != 0 {
		s += ";cause=" + strconv.Itoa(r.Cause)
	}
	if r.Text != "" {
		s += ";text=" + Quote(r.Text)
	}
	return s
}

// Reasons are the reasons a message gives. Elements that cannot be read are
// left out.
func Reasons(m sipgo.Message) []Reason {
	var out []Reason
	for v := range Values(m, "Reason") {
		protocol, params, ok := ParseValue(v)
		if !ok {
			continue
		}
		r := Reason{Protocol: protocol}
		if c, ok := Param(params, "cause"); ok {
			n, ok := parseLength(c)
			if !ok {
				continue
			}
			r.Cause = n
		}
		r.Text, _ = Param(params, "text")
		out = append(out, r)
	}
	return out
}

// ParseValue reads a value of the form token *(SEMI parameter), as Event,
// Subscription-State, Session-Expires or Content-Disposition have it. What
// is in front of the parameters may be any text but empty.
func ParseValue(s string) (value string, params sipgo.HeaderParams, ok bool) {
	value, rest := s, ""
	if i := strings.IndexByte(s, ';'); i >= 0 {
		value, rest = s[:i], s[i:]
	}
	value = trimLWS(value)
	if value == "" || parseParams(rest, &params, nil) != nil {
		return "", nil, false
	}
	return value, params, true
}
