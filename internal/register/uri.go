package register

import (
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// parseURI is nil for what is no URI that could be sent again, or too long.
func parseURI(s string) *sipgo.Uri {
	if s == "" || len(s) > maxURI {
		return nil
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`"<>\`, c) >= 0 {
			return nil
		}
	}
	var u sipgo.Uri
	if sipgo.ParseUri(s, &u) != nil || u.Wildcard {
		return nil
	}
	return &u
}

func isSIP(u *sipgo.Uri) bool {
	return u != nil && (u.Scheme == "sip" || u.Scheme == "sips") && u.Host != "" && u.Port >= 0 && u.Port < 1<<16
}

func uriParam(u *sipgo.Uri, name string) (string, bool) {
	for _, p := range u.UriParams {
		if strings.EqualFold(p.K, name) {
			return p.V, true
		}
	}
	return "", false
}

func hasURIParam(u *sipgo.Uri, name string) bool {
	_, ok := uriParam(u, name)
	return ok
}

// sameURI compares as RFC 3261 section 19.1.4 does, but for escapes and
// headers, which a registrar has no reason to change.
func sameURI(a, b *sipgo.Uri) bool {
	if !strings.EqualFold(scheme(a), scheme(b)) || a.Raw() != b.Raw() || a.User != b.User || a.Password != b.Password ||
		!strings.EqualFold(strings.Trim(a.Host, "[]"), strings.Trim(b.Host, "[]")) || a.Port != b.Port {
		return false
	}
	return paramsAgree(a, b) && paramsAgree(b, a)
}

func scheme(u *sipgo.Uri) string {
	if u.Scheme == "" {
		return "sip" // as sipgo writes it
	}
	return u.Scheme
}

// paramsAgree tells whether each parameter of a has the same value in b, or is
// one that may be in a alone.
func paramsAgree(a, b *sipgo.Uri) bool {
	for _, p := range a.UriParams {
		v, ok := uriParam(b, p.K)
		if ok && !strings.EqualFold(p.V, v) {
			return false
		}
		if !ok {
			switch strings.ToLower(p.K) {
			case "user", "ttl", "method", "maddr":
				return false
			}
		}
	}
	return true
}
