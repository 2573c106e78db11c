package certcheck

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Reason is what is wrong with a server.
type Reason uint8

// The reasons. Zero is none of them.
const (
	Untrusted     Reason = iota + 1 // no chain to a trusted root
	Expired                         // a certificate of the chain has expired
	NotYetValid                     // a certificate of the chain is from the future: perhaps the clock is wrong
	WrongName                       // a good certificate, but for another domain
	WrongUsage                      // a good certificate, but not one for such servers
	NoCertificate                   // the server showed none
	Invalid                         // any other fault of the chain; Err says which
	OldVersion                      // the server speaks no version of TLS that is new enough; see [Handshake]
)

var reasonNames = [...]string{
	Untrusted:     "certificate not from a trusted authority",
	Expired:       "certificate expired",
	NotYetValid:   "certificate not valid yet",
	WrongName:     "certificate is for another domain",
	WrongUsage:    "certificate is not for such servers",
	NoCertificate: "no certificate",
	Invalid:       "certificate invalid",
	OldVersion:    "TLS version too old",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) && r != 0 {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error says why a server is not believed to be the one of the domain.
type Error struct {
	Reason Reason
	Domain string
	Names  []string // of WrongName: whom the certificate names, at most 16, for people to read
	Err    error    // mostly one of crypto/x509; may be nil
}

func (e *Error) Error() string {
	s := fmt.Sprintf("certcheck: server for %s: %v", e.Domain, e.Reason)
	switch {
	case e.Reason == WrongName && len(e.Names) == 0:
		s += ": it names none"
	case e.Reason == WrongName:
		s += ": " + strings.Join(e.Names, ", ")
	case e.Err != nil:
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// presented lists the names of a certificate for an error text.
func presented(leaf *x509.Certificate) []string {
	const most = 16
	var names []string
	add := func(s string) {
		if len(names) < most {
			names = append(names, s)
		}
	}
	for _, u := range leaf.URIs {
		add(u.String())
	}
	for _, d := range leaf.DNSNames {
		add(d)
	}
	for _, n := range otherNames(leaf) {
		add(n.name)
	}
	for _, ip := range leaf.IPAddresses {
		add(ip.String())
	}
	return names
}

// Handshake makes an [*Error] with [OldVersion] of the error of a client handshake that failed because both sides could not agree on a version. Any
// other error, nil too, is returned as it is. crypto/tls has no error of its own for this: when the server notices first there
// is an alert, whose type is not exported; when the client does, only a text.
func Handshake(domain string, err error) error {
	if err == nil {
		return nil
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" && op.Err != nil && op.Err.Error() == protocolVersion {
		return &Error{Reason: OldVersion, Domain: domain, Err: err}
	}
	if strings.HasPrefix(err.Error(), "tls: server selected unsupported protocol version") {
		return &Error{Reason: OldVersion, Domain: domain, Err: err}
	}
	return err
}

// protocolVersion is the text of the alert protocol_version (RFC 8446 §6.2).
var protocolVersion = tls.AlertError(70).Error()
