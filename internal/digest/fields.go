package digest

import (
	"fmt"
	"strconv"
	"strings"
)

// Challenge is the value of a WWW-Authenticate or Proxy-Authenticate header field (RFC 7616 §3.3).
type Challenge struct {
	Realm     string
	Nonce     string
	Opaque    string
	Algorithm Algorithm
	QOP       QOP  // all that is offered; QOPNone is the legacy form
	Stale     bool // the credentials were right, but for an old nonce
	UserHash  bool // the server takes hashed user names (read, not used by [Client])
}

// ParseChallenge reads a challenge. The error is a [*SyntaxError], or [ErrUnsupported] for another scheme, an unknown algorithm, or a qop list in
// which nothing is known. Unknown parameters are passed over.
func ParseChallenge(s string) (Challenge, error) {
	var c Challenge
	s, err := cutDigest("challenge", s)
	if err != nil {
		return c, err
	}
	var realm, nonce bool
	var unsupported error
	err = params("challenge", s, func(name, value string) {
		switch name {
		case "realm":
			c.Realm, realm = value, true
		case "nonce":
			c.Nonce, nonce = value, true
		case "opaque":
			c.Opaque = value
		case "algorithm":
			c.Algorithm, unsupported = algorithm(value, unsupported)
		case "qop":
			set, named := parseQOP(value)
			if c.QOP = set; named && set == QOPNone {
				unsupported = fmt.Errorf("%w: qop %q", ErrUnsupported, short(value))
			}
		case "stale":
			c.Stale = strings.EqualFold(value, "true")
		case "userhash":
			c.UserHash = strings.EqualFold(value, "true")
		}
	})
	switch {
	case err != nil:
		return Challenge{}, err
	case !realm || !nonce:
		return Challenge{}, &SyntaxError{What: "challenge", Reason: "realm or nonce missing"}
	case unsupported != nil:
		return Challenge{}, unsupported
	}
	return c, nil
}

// String is the header field value.
func (c Challenge) String() string {
	var w writer
	w.WriteString("Digest ")
	w.quoted("realm", c.Realm)
	w.quoted("nonce", c.Nonce)
	w.token("algorithm", c.Algorithm.String())
	if c.QOP != QOPNone {
		w.quoted("qop", c.QOP.String())
	}
	if c.Opaque != "" {
		w.quoted("opaque", c.Opaque)
	}
	if c.Stale {
		w.token("stale", "true")
	}
	if c.UserHash {
		w.token("userhash", "true")
	}
	return w.Builder.String()
}

// Credentials is the value of an Authorization or Proxy-Authorization header field (RFC 7616 §3.4).
type Credentials struct {
	Username  string
	Realm     string
	Nonce     string
	URI       string
	Response  string
	CNonce    string
	Opaque    string
	NC        string // as on the wire, because it is hashed as it stands there
	Algorithm Algorithm
	QOP       QOP // one, or QOPNone
	UserHash  bool
}

// ParseCredentials reads credentials. The error is a [*SyntaxError], or [ErrUnsupported] for another scheme, algorithm or quality of protection.
func ParseCredentials(s string) (Credentials, error) {
	var c Credentials
	s, err := cutDigest("credentials", s)
	if err != nil {
		return c, err
	}
	bad := func(reason string) error { return &SyntaxError{What: "credentials", Reason: reason} }
	const username, realm, nonce, uri, resp, all = 1, 2, 4, 8, 16, 31
	have := 0
	var unsupported error
	err = params("credentials", s, func(name, value string) {
		switch name {
		case "username":
			c.Username, have = value, have|username
		case "realm":
			c.Realm, have = value, have|realm
		case "nonce":
			c.Nonce, have = value, have|nonce
		case "uri":
			c.URI, have = value, have|uri
		case "response":
			c.Response, have = value, have|resp
		case "cnonce":
			c.CNonce = value
		case "opaque":
			c.Opaque = value
		case "nc":
			c.NC = value
		case "algorithm":
			c.Algorithm, unsupported = algorithm(value, unsupported)
		case "qop":
			set, named := parseQOP(value)
			if c.QOP = set; named && set != QOPAuth && set != QOPAuthInt {
				unsupported = fmt.Errorf("%w: qop %q", ErrUnsupported, short(value))
			}
		case "userhash":
			c.UserHash = strings.EqualFold(value, "true")
		}
	})
	switch {
	case err != nil:
		return Credentials{}, err
	case have != all:
		return Credentials{}, bad("username, realm, nonce, uri or response missing")
	case unsupported != nil:
		return Credentials{}, unsupported
	}
	if c.QOP != QOPNone || c.NC != "" {
		if _, ok := parseNC(c.NC); !ok {
			return Credentials{}, bad("nonce count")
		}
	}
	return c, nil
}

// String is the header field value.
func (c Credentials) String() string {
	var w writer
	w.Grow(256 + len(c.Nonce) + len(c.URI))
	w.WriteString("Digest ")
	w.quoted("username", c.Username)
	w.quoted("realm", c.Realm)
	w.quoted("nonce", c.Nonce)
	w.quoted("uri", c.URI)
	w.quoted("response", c.Response)
	w.token("algorithm", c.Algorithm.String())
	if c.CNonce != "" || c.QOP != QOPNone {
		w.quoted("cnonce", c.CNonce)
	}
	if c.Opaque != "" {
		w.quoted("opaque", c.Opaque)
	}
	if c.QOP != QOPNone {
		w.token("qop", c.QOP.String())
	}
	if c.NC != "" {
		w.token("nc", c.NC)
	}
	if c.UserHash {
		w.token("userhash", "true")
	}
	return w.Builder.String()
}

// Info is the value of an Authentication-Info or Proxy-Authentication-Info header field (RFC 7616 §3.5).
type Info struct {
	NextNonce string // the nonce to use from now on, if not empty
	RspAuth   string // the server's own proof that it knows the password, if not empty
	CNonce    string
	NC        string // as on the wire
	QOP       QOP    // the one that RspAuth was made with; QOPNone if not said
}

// ParseInfo reads an Info. The error is a [*SyntaxError] or, for an unknown quality of protection, [ErrUnsupported].
func ParseInfo(s string) (Info, error) {
	var in Info
	if len(s) > maxValue {
		return in, &SyntaxError{What: "info", Reason: "too long"}
	}
	var unsupported error
	err := params("info", s, func(name, value string) {
		switch name {
		case "nextnonce":
			in.NextNonce = value
		case "rspauth":
			in.RspAuth = value
		case "cnonce":
			in.CNonce = value
		case "nc":
			in.NC = value
		case "qop":
			set, named := parseQOP(value)
			if in.QOP = set; named && set != QOPAuth && set != QOPAuthInt {
				unsupported = fmt.Errorf("%w: qop %q", ErrUnsupported, short(value))
			}
		}
	})
	switch {
	case err != nil:
		return Info{}, err
	case unsupported != nil:
		return Info{}, unsupported
	}
	if in.NC != "" {
		if _, ok := parseNC(in.NC); !ok {
			return Info{}, &SyntaxError{What: "info", Reason: "nonce count"}
		}
	}
	return in, nil
}

// String is the header field value; it is empty if there is nothing to say.
func (in Info) String() string {
	var w writer
	if in.NextNonce != "" {
		w.quoted("nextnonce", in.NextNonce)
	}
	if in.QOP != QOPNone {
		w.token("qop", in.QOP.String())
	}
	if in.RspAuth != "" {
		w.quoted("rspauth", in.RspAuth)
	}
	if in.CNonce != "" {
		w.quoted("cnonce", in.CNonce)
	}
	if in.NC != "" {
		w.token("nc", in.NC)
	}
	return w.Builder.String()
}

// cutDigest checks length and scheme, and returns the parameters.
func cutDigest(what, s string) (string, error) {
	if len(s) > maxValue {
		return "", &SyntaxError{What: what, Reason: "too long"}
	}
	scheme, rest := cutScheme(s)
	switch {
	case scheme == "":
		return "", &SyntaxError{What: what, Reason: "no scheme"}
	case !strings.EqualFold(scheme, "Digest"):
		return "", fmt.Errorf("%w: scheme %q", ErrUnsupported, short(scheme))
	case rest != "" && !isSpace(rest[0]):
		return "", &SyntaxError{What: what, Reason: "space expected after the scheme"}
	}
	return rest, nil
}

func algorithm(value string, before error) (Algorithm, error) {
	alg, ok := ParseAlgorithm(value)
	if !ok {
		return 0, fmt.Errorf("%w: algorithm %q", ErrUnsupported, short(value))
	}
	return alg, before
}

// parseNC reads a nonce count. The grammar wants exactly eight digits; clients in the field also send fewer.
func parseNC(s string) (uint32, bool) {
	if s == "" || len(s) > 8 || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 32)
	return uint32(n), err == nil
}

// short keeps what the network sent from flooding an error text.
func short(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
