// Package sasl is the SASL mechanisms of XMPP (RFC 4422, RFC 6120 §6), both sides: SCRAM with SHA-1, SHA-256 and SHA-512 (RFC 5802, RFC 7677,
// draft-melnikov-scram-sha-512), each with and without channel binding, PLAIN (RFC 4616), EXTERNAL (RFC 4422 appendix A), and
// hashed tokens (draft-schmaus-kitten-sasl-ht).
//
// A client calls [Select] with what the server offered and what the account allows. It gets choices to try in their order; each makes a [Mechanism],
// which takes the server's messages and gives the client's. A [Server] is the other half, for servers in tests.
//
// There is no I/O in here and no clock. Base64 and XML belong to the caller. The one thing that takes long is the derivation of keys from a password, which
// [Keys] remembers.
//
// # Downgrades
//
// Whoever can pretend to be the server in TLS can take mechanisms and channel bindings out of what it offers. Against that stand, in this order: the
// gs2 flag y (RFC 5802 §6), which a server refuses if it did offer channel binding; the hash over the whole offer (XEP-0474) and the version of TLS
// (XEP-0515), checked where a server sends them; and [Memory], which wants no less than was there before. Where a binding fails the same password is tried without one, since servers
// offer bindings that they cannot do; a [Memory] in which a binding once worked, or [Policy].RequireBinding, ends that.
//
// # Strings
//
// User names and passwords of SCRAM are prepared with SASLprep (RFC 4013), as RFC 5802 §5.1 wants and servers do, not with its successor (RFC 8265): the two differ for
// passwords outside of ASCII, and a password has to come out as it did when the server stored it.
package sasl
