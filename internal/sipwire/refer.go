package sipwire

import (
	"bytes"
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// ParseReferSub reads a Refer-Sub header field (RFC 4488 §4): whether a
// REFER makes a subscription. ok is false for what it cannot say.
func ParseReferSub(s string) (sub, ok bool) {
	v, _, ok := ParseValue(s)
	switch {
	case !ok:
		return false, false
	case strings.EqualFold(v, "true"):
		return true, true
	case strings.EqualFold(v, "false"):
		return false, true
	}
	return false, false
}

// Sipfrag is the type of a body that is a piece of a SIP message (RFC 3420).
const Sipfrag = "message/sipfrag"

// AppendStatus appends the status line that a NOTIFY of the event refer has
// for its body (RFC 3515 §2.4.5).
func AppendStatus(dst []byte, status int, phrase string) []byte {
	if phrase == "" {
		phrase = ReasonPhrase(status)
	}
	dst = append(dst, "SIP/2.0 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	for i := 0; i < len(phrase); i++ {
		if c := phrase[i]; c != '\r' && c != '\n' {
			dst = append(dst, c)
		}
	}
	return append(dst, "\r\n"...)
}

// maxPhrase bounds a reason phrase that is kept.
const maxPhrase = 256

// ParseStatus reads the status line at the beginning of a sipfrag. "Each NOTIFY
// MUST contain a body of type message/sipfrag ... The body MUST begin with a
// SIP Response Status-Line" (RFC 3515 §2.4.5).
func ParseStatus(body []byte) (status int, phrase string, ok bool) {
	line := body
	if i := bytes.IndexByte(body, '\n'); i >= 0 {
		line = body[:i]
	}
	rest, ok := strings.CutPrefix(strings.TrimRight(string(line[:min(len(line), 2*maxPhrase)]), "\r"), "SIP/2.0 ")
	if !ok || len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' || !isDigits(rest[:3]) {
		return 0, "", false
	}
	status, _ = strconv.Atoi(rest[:3])
	if status < 100 || status > 699 {
		return 0, "", false
	}
	phrase = strings.TrimSpace(rest[3:])
	return status, phrase[:min(len(phrase), maxPhrase)], true
}

// ReferTo is what a Refer-To header field points at (RFC 3515 §2.1).
type ReferTo struct {
	Name string
	URI  sipgo.Uri // without method and headers
	// Method is that of the URI's method parameter, "" without one: INVITE.
	Method string
	// Headers are those of the URI, in its order, without escapes.
	Headers []sipgo.Header
}

// maxReferHeaders bounds the header fields of a Refer-To URI.
const maxReferHeaders = 16

// ParseReferTo reads a Refer-To header field.
func ParseReferTo(s string) (ReferTo, error) {
	name, uri, _, err := ParseNameAddr(s)
	if err != nil {
		return ReferTo{}, err
	}
	r := ReferTo{Name: name}
	for _, h := range uri.Headers {
		k, v := decodeEscapes(h.K), decodeEscapes(h.V)
		if len(r.Headers) == maxReferHeaders || !IsToken(k) || strings.ContainsAny(v, "\r\n\x00") {
			return ReferTo{}, ErrURI
		}
		r.Headers = append(r.Headers, sipgo.NewHeader(k, v))
	}
	uri.Headers = nil
	var params sipgo.HeaderParams
	for _, p := range uri.UriParams {
		if strings.EqualFold(p.K, "method") {
			r.Method = strings.ToUpper(decodeEscapes(p.V))
			continue
		}
		params = append(params, p)
	}
	uri.UriParams = params
	r.URI = uri
	return r, nil
}
