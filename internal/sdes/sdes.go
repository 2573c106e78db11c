// Package sdes reads and writes the SRTP keys that travel in SDP: the
// a=crypto attribute of RFC 4568, with the suites of RFC 4568, RFC 6188 and
// RFC 7714.
//
// The values of this package hold master keys. They print as "redacted" with
// every verb of package fmt, in package log/slog and in JSON.
package sdes

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Suite is an SRTP crypto suite. The zero value is none.
type Suite uint8

// The suites that can be agreed on.
const (
	AESCM128HMACSHA1_80 Suite = iota + 1 // RFC 4568 §6.2.1
	AESCM128HMACSHA1_32                  // RFC 4568 §6.2.2
	AES256CMHMACSHA1_80                  // RFC 6188 §4
	AES256CMHMACSHA1_32                  // RFC 6188 §4
	AEADAES128GCM                        // RFC 7714 §14.2
	AEADAES256GCM                        // RFC 7714 §14.2
)

var suites = [...]struct {
	name      string
	key, salt int
}{
	AESCM128HMACSHA1_80: {"AES_CM_128_HMAC_SHA1_80", 16, 14},
	AESCM128HMACSHA1_32: {"AES_CM_128_HMAC_SHA1_32", 16, 14},
	AES256CMHMACSHA1_80: {"AES_256_CM_HMAC_SHA1_80", 32, 14},
	AES256CMHMACSHA1_32: {"AES_256_CM_HMAC_SHA1_32", 32, 14},
	AEADAES128GCM:       {"AEAD_AES_128_GCM", 16, 12},
	AEADAES256GCM:       {"AEAD_AES_256_GCM", 32, 12},
}

// Suites returns all suites, in the order in which this project prefers them:
// AEAD first because it is the cheapest and has the longest tag, then the
// longer keys, and the 32-bit tag last.
func Suites() []Suite {
	return []Suite{
		AEADAES128GCM, AEADAES256GCM,
		AES256CMHMACSHA1_80, AESCM128HMACSHA1_80,
		AES256CMHMACSHA1_32, AESCM128HMACSHA1_32,
	}
}

// ParseSuite returns the suite with this name. Names are case-sensitive in
// RFC 4568's grammar, but compare without case here: no two differ only so.
func ParseSuite(name string) (Suite, bool) {
	for s := range suites {
		if s > 0 && strings.EqualFold(suites[s].name, name) {
			return Suite(s), true
		}
	}
	return 0, false
}

// Valid tells whether s is one of the constants.
func (s Suite) Valid() bool { return s > 0 && int(s) < len(suites) }

// String returns the name used in SDP, such as "AEAD_AES_128_GCM".
func (s Suite) String() string {
	if !s.Valid() {
		return fmt.Sprintf("Suite(%d)", uint8(s))
	}
	return suites[s].name
}

// KeyLen returns the length of the master key in bytes, 0 for an invalid suite.
func (s Suite) KeyLen() int {
	if !s.Valid() {
		return 0
	}
	return suites[s].key
}

// SaltLen returns the length of the master salt in bytes, 0 for an invalid suite.
func (s Suite) SaltLen() int {
	if !s.Valid() {
		return 0
	}
	return suites[s].salt
}

// DefaultLifetime is how many packets a key protects when nothing is said
// (RFC 3711 §9.2: 2^48 SRTP packets).
const DefaultLifetime = 1 << 48

// A Key is one master key with its salt.
type Key struct {
	Master []byte
	Salt   []byte
	// Lifetime is how many packets the key may protect, 0 for the default,
	// [DefaultLifetime].
	Lifetime uint64
	// MKI is the master key identifier as it stands in packets, nil for none.
	// All keys of one attribute have an MKI of the same length, or none.
	MKI []byte
}

// A Crypto is what one a=crypto line says.
type Crypto struct {
	Tag   int // 0 to 999999999
	Suite Suite
	// Keys has at least one key. The sender uses any of them, told apart by
	// their MKI when there are several.
	Keys []Key
	// WSH is the sender's wish for the size of the replay window, 0 for none
	// (RFC 4568 §6.3.6). It is at least 64.
	WSH int
}

// New makes an attribute with one fresh key from random, which should be
// crypto/rand.Reader outside tests.
func New(tag int, s Suite, random io.Reader) (*Crypto, error) {
	if !s.Valid() {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, s)
	}
	b := make([]byte, s.KeyLen()+s.SaltLen())
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("sdes: no randomness for a key: %w", err)
	}
	n := s.KeyLen()
	return &Crypto{Tag: tag, Suite: s, Keys: []Key{{Master: b[:n:n], Salt: b[n:]}}}, nil
}

// Equal tells whether k and o are the same key, used in the same way.
func (k Key) Equal(o Key) bool {
	return bytes.Equal(k.Master, o.Master) && bytes.Equal(k.Salt, o.Salt) &&
		bytes.Equal(k.MKI, o.MKI) && k.Lifetime == o.Lifetime
}

// SameContext tells whether c and o describe the same cryptographic context:
// suite and keys, whatever the tags. It takes nil for no crypto.
func (c *Crypto) SameContext(o *Crypto) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.Suite == o.Suite && slices.EqualFunc(c.Keys, o.Keys, Key.Equal)
}
