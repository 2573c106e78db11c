package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"strings"
)

// Algorithm is a digest algorithm of RFC 7616 §3.3. The zero value is MD5, which is also what a challenge without an algorithm parameter means.
type Algorithm uint8

// The algorithms, weakest first. The -sess variants are as strong as what they are built on: see [Algorithm.Base].
const (
	MD5       Algorithm = 0
	SHA256    Algorithm = 1
	SHA512256 Algorithm = 2

	MD5Sess       = MD5 | sess
	SHA256Sess    = SHA256 | sess
	SHA512256Sess = SHA512256 | sess

	sess Algorithm = 0x80
)

var algorithmNames = [...]string{MD5: "MD5", SHA256: "SHA-256", SHA512256: "SHA-512-256"}

// ParseAlgorithm reads the name of an algorithm, in any case. The second result is false for a name that is not known here.
func ParseAlgorithm(name string) (Algorithm, bool) {
	var flag Algorithm
	if n := len(name) - len("-sess"); n > 0 && strings.EqualFold(name[n:], "-sess") {
		name, flag = name[:n], sess
	}
	for i, known := range algorithmNames {
		if strings.EqualFold(name, known) {
			return Algorithm(i) | flag, true
		}
	}
	return 0, false
}

// Base is the algorithm without -sess: the one whose H(username:realm:password) a credential holds, and by which strength is compared.
func (a Algorithm) Base() Algorithm { return a &^ sess }

// Sess tells whether this is a -sess variant, in which nonce and cnonce are mixed into A1 (RFC 7616 §3.4.2).
func (a Algorithm) Sess() bool { return a&sess != 0 }

// String is the name as it stands in a header field.
func (a Algorithm) String() string {
	base := int(a.Base())
	if base >= len(algorithmNames) {
		return "unknown"
	}
	if a.Sess() {
		return algorithmNames[base] + "-sess"
	}
	return algorithmNames[base]
}

// size is the length of a hexadecimal digest.
func (a Algorithm) size() int {
	if a.Base() == MD5 {
		return 2 * md5.Size
	}
	return 2 * sha256.Size // SHA-512/256 has 32 octets as well
}

// sum is H() of RFC 7616 §3.3 in lower-case hexadecimal.
func (a Algorithm) sum(data []byte) string {
	var buf [2 * sha256.Size]byte
	switch a.Base() {
	case SHA256:
		s := sha256.Sum256(data)
		hex.Encode(buf[:], s[:])
	case SHA512256:
		s := sha512.Sum512_256(data)
		hex.Encode(buf[:], s[:])
	default:
		s := md5.Sum(data)
		hex.Encode(buf[:], s[:])
	}
	return string(buf[:a.size()])
}

// sumOf is the digest of the parts with colons between them.
func (a Algorithm) sumOf(parts ...string) string {
	var stack [512]byte
	b := stack[:0]
	for i, p := range parts {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, p...)
	}
	return a.sum(b)
}

// QOP is a quality of protection (RFC 7616 §3.3), or a set of them in a challenge.
type QOP uint8

// The zero value, QOPNone, is the legacy form without a qop parameter (RFC 2069): no nonce count, no cnonce.
const (
	QOPNone    QOP = 0
	QOPAuth    QOP = 1 << 0
	QOPAuthInt QOP = 1 << 1
)

// Has tells whether q is in the set.
func (s QOP) Has(q QOP) bool { return s&q != 0 }

// String is the value of a qop parameter: names with commas between them, or nothing.
func (s QOP) String() string {
	switch s & (QOPAuth | QOPAuthInt) {
	case QOPAuth:
		return "auth"
	case QOPAuthInt:
		return "auth-int"
	case QOPAuth | QOPAuthInt:
		return "auth,auth-int"
	}
	return ""
}

// parseQOP reads a list of qualities. Names that are not known are passed over, as RFC 7616 §3.3 asks; named tells whether the list named anything.
func parseQOP(list string) (set QOP, named bool) {
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); {
		case name == "":
			continue
		case strings.EqualFold(name, "auth"):
			set |= QOPAuth
		case strings.EqualFold(name, "auth-int"):
			set |= QOPAuthInt
		}
		named = true
	}
	return set, named
}

// secret is H(A1) without the session step: H(username:realm:password).
func secret(alg Algorithm, username, realm, password string) string {
	return alg.sumOf(username, realm, password)
}

// sessionKey is H(A1): the secret itself, or for a -sess algorithm the secret with the nonces mixed in (RFC 7616 §3.4.2).
func sessionKey(alg Algorithm, secret, nonce, cnonce string) string {
	if alg.Sess() {
		return alg.sumOf(secret, nonce, cnonce)
	}
	return secret
}

// response is the request-digest of RFC 7616 §3.4.1, or with an empty method the rspauth of §3.5. key is H(A1). nc is the nonce count as it stands
// on the wire. The digest of the body counts only under auth-int.
func response(alg Algorithm, key, nonce, nc, cnonce string, qop QOP, method, uri string, body []byte) string {
	var ha2 string
	if qop == QOPAuthInt {
		ha2 = alg.sumOf(method, uri, alg.sum(body)) // RFC 7616 §3.4.3
	} else {
		ha2 = alg.sumOf(method, uri)
	}
	if qop == QOPNone {
		return alg.sumOf(key, nonce, ha2) // RFC 2069
	}
	return alg.sumOf(key, nonce, nc, cnonce, qop.String(), ha2)
}
