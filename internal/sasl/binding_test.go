package sasl

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"testing"
)

// Both ends of a connection have the same binding, and two connections have not.
func TestBindings(t *testing.T) {
	certs := map[x509.SignatureAlgorithm]tls.Certificate{}
	for _, alg := range []x509.SignatureAlgorithm{
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.ECDSAWithSHA1, x509.SHA1WithRSA, x509.SHA256WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.PureEd25519,
	} {
		certs[alg] = certificate(t, alg)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for alg, cert := range certs {
			t.Run(tls.VersionName(version)+" "+alg.String(), func(t *testing.T) {
				p, q := connect(t, version, cert, nil, nil), connect(t, version, cert, nil, nil)
				server := ServerBinding(&p.server, cert.Leaf)
				for _, b := range bindings {
					ours, err := b.Data(&p.client, nil)
					theirs, err2 := server(b)
					missing := b == TLSUnique && version == tls.VersionTLS13 || b == TLSServerEndPoint && alg == x509.PureEd25519
					if missing {
						if !sameError(err, new(BindingError)) || !sameError(err2, new(BindingError)) {
							t.Errorf("%s exists: %v, %v", b, err, err2)
						}
						continue
					}
					if err != nil || err2 != nil || !bytes.Equal(ours, theirs) || len(ours) < 12 {
						t.Errorf("%s: %x, %v and %x, %v", b, ours, err, theirs, err2)
					}
					other, err := b.Data(&q.client, nil)
					if same := bytes.Equal(other, ours); err != nil || same != (b == TLSServerEndPoint) {
						t.Errorf("%s of another connection is the same: %v, %v", b, same, err)
					}
				}
			})
		}
	}
}

// RFC 5929 §4.1: the hash of the certificate's signature, and SHA-256 in place of MD5 and SHA-1.
func TestServerEndPoint(t *testing.T) {
	raw := []byte("certificate")
	sum := func(alg x509.SignatureAlgorithm) []byte {
		cs := &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{{Raw: raw, SignatureAlgorithm: alg}}}
		b, err := TLSServerEndPoint.Data(cs, nil)
		if err != nil && !sameError(err, new(BindingError)) {
			t.Error(err)
		}
		return b
	}
	s256, s384, s512 := sha256.Sum256(raw), sha512.Sum384(raw), sha512.Sum512(raw)
	for alg, want := range map[x509.SignatureAlgorithm][]byte{
		x509.MD5WithRSA: s256[:], x509.SHA1WithRSA: s256[:], x509.ECDSAWithSHA1: s256[:], x509.DSAWithSHA1: s256[:],
		x509.SHA256WithRSA: s256[:], x509.ECDSAWithSHA256: s256[:], x509.SHA256WithRSAPSS: s256[:],
		x509.SHA384WithRSA: s384[:], x509.ECDSAWithSHA384: s384[:], x509.SHA384WithRSAPSS: s384[:],
		x509.SHA512WithRSA: s512[:], x509.ECDSAWithSHA512: s512[:], x509.SHA512WithRSAPSS: s512[:],
		x509.PureEd25519: nil, x509.MD2WithRSA: nil, x509.UnknownSignatureAlgorithm: nil,
	} {
		if got := sum(alg); !bytes.Equal(got, want) {
			t.Errorf("%v: %x, want %x", alg, got, want)
		}
	}
}

// RFC 9266 §2: the context is there, and empty. Below TLS 1.3 that is another value than without context (RFC 5705 §4).
func TestExporterContext(t *testing.T) {
	p := connect(t, tls.VersionTLS12, certificate(t, x509.ECDSAWithSHA256), nil, nil)
	got, err := TLSExporter.Data(&p.client, nil)
	if err != nil {
		t.Fatal(err)
	}
	with, err := p.server.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil || !bytes.Equal(got, with) {
		t.Errorf("%x, want %x, %v", got, with, err)
	}
	without, err := p.server.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil || bytes.Equal(got, without) {
		t.Errorf("no context: %v", err)
	}
}

// A resumed connection has bindings of its own, and the certificate of the first.
func TestBindingsAfterResumption(t *testing.T) {
	cert := certificate(t, x509.ECDSAWithSHA256)
	cache, serverConfig := tls.NewLRUClientSessionCache(1), new(tls.Config)
	first := connect(t, tls.VersionTLS12, cert, cache, serverConfig)
	second := connect(t, tls.VersionTLS12, cert, cache, serverConfig)
	if !second.client.DidResume {
		t.Fatal("not resumed")
	}
	server := ServerBinding(&second.server, cert.Leaf)
	for _, b := range bindings {
		was, err := b.Data(&first.client, nil)
		if err != nil {
			t.Fatal(err)
		}
		now, err := b.Data(&second.client, nil)
		theirs, err2 := server(b)
		if err != nil || err2 != nil || !bytes.Equal(now, theirs) || bytes.Equal(now, was) != (b == TLSServerEndPoint) {
			t.Errorf("%s: %x, %v; was %x; server %x, %v", b, now, err, was, theirs, err2)
		}
	}
	// Without the extended master secret crypto/tls has no value for it.
	bare := &tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS12, DidResume: true}
	if _, err := TLSUnique.Data(bare, nil); !sameError(err, new(BindingError)) {
		t.Errorf("tls-unique without a value: %v", err)
	}
}

func TestNoBinding(t *testing.T) {
	for _, cs := range []*tls.ConnectionState{nil, {}, {HandshakeComplete: true, Version: tls.VersionTLS13}} {
		for _, b := range []Binding{TLSUnique, TLSServerEndPoint, "tls-strange"} {
			if data, err := b.Data(cs, nil); !sameError(err, new(BindingError)) || data != nil {
				t.Errorf("%s: %x, %v", b, data, err)
			}
		}
	}
	if _, err := ServerBinding(&tls.ConnectionState{HandshakeComplete: true}, nil)(TLSServerEndPoint); !sameError(err, new(BindingError)) {
		t.Errorf("a server without a certificate: %v", err)
	}
}
