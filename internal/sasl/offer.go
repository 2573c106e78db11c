package sasl

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Offer is what a server offers on a connection.
type Offer struct {
	// Mechanisms are the names as they came, known or not: of SASL2 (XEP-0388) if that is used, else of SASL.
	Mechanisms []string
	// Bindings are the types of channel binding as they came (XEP-0440). nil: the server does not tell.
	Bindings []string
	// TLS is the connection. nil: it is not encrypted, or the state of TLS cannot be had; then there is no channel binding and no PLAIN.
	TLS *tls.ConnectionState
}

// best is the strongest hash of the SCRAM mechanisms on offer that is not below least, 0 for none.
func (o *Offer) best(bound bool, least Hash) Hash {
	for _, h := range hashes {
		if h >= least && slices.Contains(o.Mechanisms, h.Mechanism(bound)) {
			return h
		}
	}
	return 0
}

// hash is the attribute h of XEP-0474 §5.1 for this offer.
func (o *Offer) hash(h Hash) string {
	// Names of mechanisms and bindings cannot hold these, nor can XML.
	const between, behind = "\x1e", "\x1f"
	s := strings.Join(slices.Sorted(slices.Values(o.Mechanisms)), between)
	if o.Bindings != nil {
		s += behind + strings.Join(slices.Sorted(slices.Values(o.Bindings)), between)
	}
	return base64.StdEncoding.EncodeToString(h.sum([]byte(s)))
}

// tlsVersion is the attribute t of XEP-0515.
func tlsVersion(version uint16) string { return fmt.Sprintf("%04x", version) }
