package sipwire

import (
	"iter"
	"slices"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// Headers are the header fields of a request or response in their order. The
// slice belongs to the message.
func Headers(m sipgo.Message) []sipgo.Header {
	switch m := m.(type) {
	case *sipgo.Request:
		return m.Headers()
	case *sipgo.Response:
		return m.Headers()
	}
	return nil
}

// Find is the first header field of that name, or nil. Case does not matter;
// the name is the full one, not a compact form.
func Find(m sipgo.Message, name string) sipgo.Header {
	for _, h := range Headers(m) {
		if strings.EqualFold(h.Name(), name) {
			return h
		}
	}
	return nil
}

// Header is the value of the first header field of that name, or "".
func Header(m sipgo.Message, name string) string {
	if h := Find(m, name); h != nil {
		return h.Value()
	}
	return ""
}

// Values are the elements of all header fields of that name, their
// comma-separated lists split. Only for header fields that are lists.
func Values(m sipgo.Message, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, h := range Headers(m) {
			if !strings.EqualFold(h.Name(), name) {
				continue
			}
			for v := range List(h.Value()) {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// Tokens are the elements of all header fields of that name, as for
// Supported, Require or Allow.
func Tokens(m sipgo.Message, name string) []string {
	var out []string
	for v := range Values(m, name) {
		out = append(out, v)
	}
	return out
}

// HasToken tells whether one of the elements of the named header fields is
// the token, in any case.
func HasToken(m sipgo.Message, name, token string) bool {
	for v := range Values(m, name) {
		if strings.EqualFold(v, token) {
			return true
		}
	}
	return false
}

// Unsupported are the extensions that a message requires and that are not among
// those we have, in lower case (RFC 3261 §8.2.2.3).
func Unsupported(m sipgo.Message, have []string) []string {
	var lacking []string
	for tag := range Values(m, "Require") {
		if !slices.Contains(have, strings.ToLower(tag)) {
			lacking = append(lacking, tag)
		}
	}
	return lacking
}

// List splits a header value at its commas, not at those within quotes or
// angle brackets. Elements are trimmed; empty ones are left out.
func List(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(s) > 0 {
			elem, rest := cutList(s)
			if elem = trimLWS(elem); elem != "" && !yield(elem) {
				return
			}
			s = rest
		}
	}
}

// cutList cuts s at its first comma outside of quotes and angle brackets.
func cutList(s string) (elem, rest string) {
	if strings.IndexByte(s, ',') < 0 {
		return s, ""
	}
	quoted, angle := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted:
			if c == '\\' {
				i++
			} else if c == '"' {
				quoted = false
			}
		case c == '"':
			quoted = true
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ',' && !angle:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// FromTag is the tag of From, or "".
func FromTag(m sipgo.Message) string {
	if h := m.From(); h != nil {
		tag, _ := Param(h.Params, "tag")
		return tag
	}
	return ""
}

// ToTag is the tag of To, or "".
func ToTag(m sipgo.Message) string {
	if h := m.To(); h != nil {
		tag, _ := Param(h.Params, "tag")
		return tag
	}
	return ""
}

// SetToTag gives m a To header field with this tag, in place of the one it
// has. Without a To header field it does nothing.
func SetToTag(m sipgo.Message, tag string) {
	old := m.To()
	if old == nil {
		return
	}
	to := toWithTag(old, tag)
	switch m := m.(type) {
	case *sipgo.Request:
		m.ReplaceHeader(to)
	case *sipgo.Response:
		m.ReplaceHeader(to)
	}
}

// toWithTag is a copy of old with the tag.
func toWithTag(old *sipgo.ToHeader, tag string) *sipgo.ToHeader {
	to := &sipgo.ToHeader{DisplayName: old.DisplayName, Address: old.Address}
	to.Params = make(sipgo.HeaderParams, 0, len(old.Params)+1)
	for _, p := range old.Params {
		if !strings.EqualFold(p.K, "tag") {
			to.Params = append(to.Params, p)
		}
	}
	to.Params = append(to.Params, sipgo.HeaderKV{K: "tag", V: tag})
	return to
}

// TopBranch is the branch of the topmost Via, or "".
func TopBranch(m sipgo.Message) string {
	if via := m.Via(); via != nil {
		branch, _ := Param(via.Params, "branch")
		return branch
	}
	return ""
}

// Param finds a parameter by name, in any case, and takes the quotes of its
// value away.
func Param(params sipgo.HeaderParams, name string) (value string, ok bool) {
	for i := range params {
		if strings.EqualFold(params[i].K, name) {
			return Unquote(params[i].V), true
		}
	}
	return "", false
}

// Contacts are the Contact header fields that could be read.
func Contacts(m sipgo.Message) []*sipgo.ContactHeader {
	var out []*sipgo.ContactHeader
	for _, h := range Headers(m) {
		if c, ok := h.(*sipgo.ContactHeader); ok {
			out = append(out, c)
		}
	}
	return out
}
