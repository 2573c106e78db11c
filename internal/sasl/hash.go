package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"hash"
	"strings"
)

// Hash is the hash function of a SCRAM mechanism. The greater is the stronger; the zero value is none.
type Hash uint8

// Hashes of SCRAM.
const (
	SHA1   Hash = iota + 1 // RFC 5802
	SHA256                 // RFC 7677
	SHA512                 // draft-melnikov-scram-sha-512
)

// hashes are all of them, the strongest first.
var hashes = [...]Hash{SHA512, SHA256, SHA1}

// String returns the name of the hash in names of mechanisms.
func (h Hash) String() string {
	switch h {
	case SHA1:
		return "SHA-1"
	case SHA256:
		return "SHA-256"
	case SHA512:
		return "SHA-512"
	}
	return fmt.Sprintf("Hash(%d)", uint8(h))
}

const (
	plain    = "PLAIN"
	external = "EXTERNAL"
	scram    = "SCRAM-"
	plus     = "-PLUS"
)

// Mechanism returns the name of the SCRAM mechanism with this hash, with channel binding or without.
func (h Hash) Mechanism(bound bool) string {
	if bound {
		return scram + h.String() + plus
	}
	return scram + h.String()
}

// parseMechanism takes the name of a SCRAM mechanism apart.
func parseMechanism(name string) (h Hash, bound, ok bool) {
	name, bound = strings.CutSuffix(name, plus)
	for _, h := range hashes {
		if name == h.Mechanism(false) {
			return h, bound, true
		}
	}
	return 0, false, false
}

func (h Hash) new() func() hash.Hash {
	switch h {
	case SHA1:
		return sha1.New
	case SHA256:
		return sha256.New
	}
	return sha512.New
}

func (h Hash) size() int {
	switch h {
	case SHA1:
		return sha1.Size
	case SHA256:
		return sha256.Size
	}
	return sha512.Size
}

func (h Hash) sum(b []byte) []byte {
	f := h.new()()
	f.Write(b)
	return f.Sum(nil)
}

func (h Hash) hmac(key []byte, s string) []byte {
	m := hmac.New(h.new(), key)
	m.Write([]byte(s))
	return m.Sum(nil)
}

// derive makes ClientKey and ServerKey of a password that SASLprep has prepared (RFC 5802 §3).
func (h Hash) derive(prepared string, salt []byte, iterations int) (clientKey, serverKey []byte, err error) {
	salted, err := pbkdf2.Key(h.new(), prepared, salt, iterations, h.size())
	if err != nil {
		return nil, nil, fmt.Errorf("sasl: %w", err)
	}
	return h.hmac(salted, "Client Key"), h.hmac(salted, "Server Key"), nil
}

// proof is ClientKey XOR HMAC(StoredKey, AuthMessage). XORed once more it gives ClientKey back.
func (h Hash) proof(key, storedKey []byte, authMessage string) []byte {
	p := h.hmac(storedKey, authMessage)
	subtle.XORBytes(p, p, key)
	return p
}
