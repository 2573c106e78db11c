// Package digest is HTTP Digest authentication as SIP uses it: RFC 3261 §22 with the algorithms of RFC 8760 and the arithmetic of RFC 7616.
//
// It has both ends. A [Client] belongs to one account: it takes the challenges of 401 and 407 responses, remembers the nonces it was given and
// writes the (Proxy-)Authorization header fields of every request. A [Server] issues challenges and checks what comes back.
//
// Neither does I/O or reads a clock, and randomness is injected. MD5, SHA-256 and SHA-512-256 are known, each with its -sess variant; the
// qualities of protection are auth, auth-int and the legacy form without qop (RFC 2069), which servers still send.
package digest
