package passport

import (
	"fmt"
	"strings"
	"time"
)

// Identity is an Identity header field (RFC 8224 §4).
type Identity struct {
	Token string // the PASSporT; in the compact form ".." and the signature
	Info  string // the URI of the certificate
	Alg   string // "" is ES256
	PPT   string
}

// Compact tells whether the PASSporT is in the compact form, which leaves out
// what the request says itself (RFC 8225 §7).
func (id *Identity) Compact() bool { return strings.HasPrefix(id.Token, "..") }

// ParseIdentity reads the value of an Identity header field:
//
//	token ";info=<" URI ">" *( ";" name "=" value )
func ParseIdentity(value string) (*Identity, error) {
	if len(value) > maxToken+maxInfo+256 {
		return nil, fmt.Errorf("%w: Identity of %d octets", ErrMalformed, len(value))
	}
	token, rest, _ := strings.Cut(value, ";")
	id := &Identity{Token: strings.TrimSpace(token)}
	if id.Token == "" || len(id.Token) > maxToken {
		return nil, ErrMalformed
	}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, fmt.Errorf("%w: parameters of Identity", ErrMalformed)
		}
		name, after = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(after)
		v, n := parameter(after)
		if n < 0 {
			return nil, fmt.Errorf("%w: parameters of Identity", ErrMalformed)
		}
		rest = strings.TrimSpace(after[n:])
		if rest != "" {
			if rest[0] != ';' {
				return nil, fmt.Errorf("%w: parameters of Identity", ErrMalformed)
			}
			rest = rest[1:]
		}
		switch name {
		case "info":
			id.Info = v
		case "alg":
			id.Alg = v
		case "ppt":
			id.PPT = v
		}
	}
	if id.Info == "" || len(id.Info) > maxInfo {
		return nil, fmt.Errorf("%w: info", ErrInfo)
	}
	if id.Alg != "" && id.Alg != "ES256" {
		return nil, fmt.Errorf("%w: algorithm %.20q", ErrUnsupported, id.Alg)
	}
	return id, nil
}

// parameter reads a value in angle brackets, in quotes or neither, and says how
// long it is on the wire; -1 where it does not end.
func parameter(s string) (v string, n int) {
	if s == "" {
		return "", -1
	}
	end := map[byte]byte{'<': '>', '"': '"'}[s[0]]
	if end == 0 {
		if n = strings.IndexByte(s, ';'); n < 0 {
			n = len(s)
		}
		v = strings.TrimSpace(s[:n])
		if v == "" || strings.ContainsAny(v, " \t\"<>") {
			return "", -1
		}
		return v, n
	}
	n = strings.IndexByte(s[1:], end)
	if n < 0 {
		return "", -1
	}
	return s[1 : 1+n], n + 2
}

// Passport reads the PASSporT of an Identity header field. Of the compact form
// it makes what was signed, from what the request says: who calls, whom, and
// Date.
func (id *Identity) Passport(orig, dest Party, date time.Time) (*Passport, error) {
	if !id.Compact() {
		p, err := Parse(id.Token)
		switch {
		case err != nil:
			return nil, err
		case p.PPT != id.PPT:
			// "ppt" names what the PASSporT is, so that it need not be decoded
			// (RFC 8224 §4).
			return nil, fmt.Errorf("%w: ppt is %.20q in Identity and %.20q within", ErrMalformed, id.PPT, p.PPT)
		case p.X5U != id.Info:
			return nil, fmt.Errorf("%w: info and x5u differ", ErrInfo)
		}
		return p, nil
	}
	switch {
	case id.PPT != "":
		// "shaken" has claims that no header field says (RFC 8588).
		return nil, fmt.Errorf("%w: compact form of %.20q", ErrUnsupported, id.PPT)
	case date.IsZero():
		return nil, fmt.Errorf("%w: compact form without Date", ErrMalformed)
	}
	p := &Passport{X5U: id.Info, Claims: Claims{Orig: orig, Dest: []Party{dest}, IssuedAt: date}}
	p.signed = serialize(id.Info, "", "", p.Claims)
	return p, p.parseSignature(id.Token[2:])
}
