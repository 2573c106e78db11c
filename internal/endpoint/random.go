package endpoint

import (
	"encoding/hex"
	mrand "math/rand/v2"
)

// Identifiers are drawn in the loop from a ChaCha8 stream: unguessable as
// RFC 3261 §19.3 asks of tags, and reproducible where the seed is given.

const idAlphabet = "abcdefghijkmnpqrstuvwxyz23456789" // 32 signs: 5 bits each

// ID draws an identifier of n signs with 5 random bits each. In the loop.
func (e *Endpoint) ID(n int) string {
	b := make([]byte, n)
	var bits uint64
	for i := range b {
		if i%12 == 0 {
			bits = e.rnd.Uint64()
		}
		b[i] = idAlphabet[bits&31]
		bits >>= 5
	}
	return string(b)
}

// Tag draws a From or To tag (RFC 3261 §19.3). In the loop.
func (e *Endpoint) Tag() string { return e.ID(12) }

// Branch draws a branch with the magic cookie (RFC 3261 §8.1.1.7). In the loop.
func (e *Endpoint) Branch() string { return "z9hG4bK" + e.ID(20) }

// Float draws from [0,1). In the loop.
func (e *Endpoint) Float() float64 { return mrand.New(e.rnd).Float64() }

// STUNID draws a STUN transaction identifier (RFC 5389 §6). In the loop.
func (e *Endpoint) STUNID() (id [12]byte) {
	_, _ = e.rnd.Read(id[:]) // never fails
	return id
}

// UUID draws a random UUID (RFC 9562 §5.4) in lower case and without hyphens,
// as a Session-ID has it (RFC 7989 §4.1). In the loop.
func (e *Endpoint) UUID() string {
	var b [16]byte
	_, _ = e.rnd.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return hex.EncodeToString(b[:])
}
