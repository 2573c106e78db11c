package sipwire

import (
	"errors"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// DialogRef points at a dialog from outside of it: the value of Replaces
// (RFC 3891 §6.1) and Join (RFC 3911 §7.1). The tags are seen from whoever reads
// the header field: Local is his own.
type DialogRef struct {
	CallID string
	Local  string // to-tag
	Remote string // from-tag
	// EarlyOnly is the flag of Replaces: only if the dialog is early.
	EarlyOnly bool
}

// ErrDialogRef is a Replaces or Join that cannot be read.
var ErrDialogRef = errors.New("sipwire: malformed reference to a dialog")

// Replaces is the value of a Replaces header field.
func (d DialogRef) Replaces() string {
	s := d.Join()
	if d.EarlyOnly {
		s += ";early-only"
	}
	return s
}

// Join is the value of a Join header field.
func (d DialogRef) Join() string {
	return d.CallID + ";to-tag=" + d.Local + ";from-tag=" + d.Remote
}

// ParseReplaces reads a Replaces header field: "exactly one to-tag and exactly
// one from-tag" (RFC 3891 §6.1).
func ParseReplaces(s string) (DialogRef, error) {
	return parseDialogRef(s, "early-only")
}

// ParseJoin reads a Join header field (RFC 3911 §7.1).
func ParseJoin(s string) (DialogRef, error) {
	return parseDialogRef(s, "")
}

func parseDialogRef(s, flag string) (DialogRef, error) {
	const local, remote = "to-tag", "from-tag"
	// A Call-ID is word [ "@" word ], which has no semicolon, but most of
	// what is special elsewhere.
	id, params, ok := ParseValue(s)
	if !ok || strings.ContainsAny(id, " \t\r\n,") {
		return DialogRef{}, ErrDialogRef
	}
	d := DialogRef{CallID: id}
	n := 0
	for _, p := range params {
		switch {
		case strings.EqualFold(p.K, local) && d.Local == "" && IsToken(p.V):
			d.Local = p.V
			n++
		case strings.EqualFold(p.K, remote) && d.Remote == "" && IsToken(p.V):
			d.Remote = p.V
			n++
		case strings.EqualFold(p.K, local), strings.EqualFold(p.K, remote):
			return DialogRef{}, ErrDialogRef // twice, or no token
		case flag != "" && strings.EqualFold(p.K, flag):
			d.EarlyOnly = true
		}
	}
	if n != 2 {
		return DialogRef{}, ErrDialogRef
	}
	return d, nil
}

// EscapeHeader writes a header field's name or value as it stands in a URI
// (RFC 3261 §19.1.1, hname and hvalue).
func EscapeHeader(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', strings.IndexByte("-_.!~*'()[]/?:+$", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// URIHeader is the value of a header field in a URI, without its escapes. ok
// is false where there is none of that name, or several.
func URIHeader(u *sipgo.Uri, name string) (value string, ok bool) {
	for _, h := range u.Headers {
		if !strings.EqualFold(decodeEscapes(h.K), name) {
			continue
		}
		if ok {
			return "", false
		}
		value, ok = decodeEscapes(h.V), true
	}
	return value, ok
}
