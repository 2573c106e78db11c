package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
)

// Binding is a type of channel binding by its registered name (RFC 5056).
type Binding string

// Channel bindings of TLS.
const (
	TLSExporter       Binding = "tls-exporter"         // RFC 9266
	TLSUnique         Binding = "tls-unique"           // RFC 5929 §3
	TLSServerEndPoint Binding = "tls-server-end-point" // RFC 5929 §4
)

// bindings are all of them, the best first. Those of one connection stand before the one that all connections to a server share (XEP-0440).
var bindings = [...]Binding{TLSExporter, TLSUnique, TLSServerEndPoint}

// Data returns what binds to a connection. server is the certificate of the server; nil is what the peer showed, which is right for a client. The error is a
// [*BindingError].
func (b Binding) Data(cs *tls.ConnectionState, server *x509.Certificate) ([]byte, error) {
	if cs == nil || !cs.HandshakeComplete {
		return nil, &BindingError{Type: b, Reason: "no TLS"}
	}
	switch b {
	case TLSExporter:
		// RFC 9266 §2 wants a context of length zero, which before TLS 1.3 is not the same as none (RFC 5705 §4). Below that crypto/tls insists on the
		// extended master secret, as RFC 9266 §4.2 does.
		data, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
		if err != nil {
			return nil, &BindingError{Type: b, Reason: "no keying material", Err: err}
		}
		return data, nil
	case TLSUnique:
		if cs.Version >= tls.VersionTLS13 {
			return nil, &BindingError{Type: b, Reason: "not defined for TLS 1.3"} // RFC 8446 appendix C.5
		}
		// crypto/tls leaves it out for a connection resumed without the extended master secret: the same value could be had on two connections (RFC 7627 §1).
		if len(cs.TLSUnique) == 0 {
			return nil, &BindingError{Type: b, Reason: "resumed without extended master secret"}
		}
		return cs.TLSUnique, nil
	case TLSServerEndPoint:
		if server == nil {
			if len(cs.PeerCertificates) == 0 {
				return nil, &BindingError{Type: b, Reason: "no certificate of the server"}
			}
			server = cs.PeerCertificates[0]
		}
		h := endPointHash(server.SignatureAlgorithm)
		if h == 0 {
			return nil, &BindingError{Type: b, Reason: "not defined for signatures of " + server.SignatureAlgorithm.String()}
		}
		f := h.New()
		f.Write(server.Raw)
		return f.Sum(nil), nil
	}
	return nil, &BindingError{Type: b, Reason: "type not known"}
}

// endPointHash is the hash of the certificate's signature, or SHA-256 for MD5 and SHA-1 (RFC 5929 §4.1). Where the signature has no single hash there
// is no such channel binding: 0.
func endPointHash(a x509.SignatureAlgorithm) crypto.Hash {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.DSAWithSHA256, x509.ECDSAWithSHA256:
		return crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		return crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		return crypto.SHA512
	}
	return 0
}

// available are the channel bindings that a client's connection has, the best first.
func available(cs *tls.ConnectionState) []Binding {
	var list []Binding
	for _, b := range bindings {
		if _, err := b.Data(cs, nil); err == nil {
			list = append(list, b)
		}
	}
	return list
}
