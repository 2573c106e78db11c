package xmppdial

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/hoorn-phone/hoorn/internal/certcheck"
)

// TLSConfig is the configuration for a target, for direct TLS and STARTTLS alike (RFC 7590 §3): TLS 1.2 at least, the domain as server name (XEP-0368 §3),
// and a certificate that names the domain, not the host that DNS led to (RFC 6120 §13.7.2.1, RFC 9525 §6). For direct TLS it offers the service's
// protocol name (ALPN, RFC 7301).
//
// Of base, which may be nil and is not changed, it keeps what [certcheck.Config] keeps: roots, client certificates, clock, session cache.
func (t Target) TLSConfig(base *tls.Config) *tls.Config {
	cfg := certcheck.Config(base, certcheck.Options{Domain: t.Domain, Service: string(t.service())})
	cfg.NextProtos = nil
	if t.Direct {
		cfg.NextProtos = []string{string(t.service())}
	}
	return cfg
}

// Handshake secures a connection to the target by [Target.TLSConfig]. A server that does not know ALPN is good. On an error, which is a [*certcheck.Error]
// if the server is not to be believed, the connection is closed.
func (t Target) Handshake(ctx context.Context, conn net.Conn, base *tls.Config) (*tls.Conn, error) {
	c := tls.Client(conn, t.TLSConfig(base))
	if err := c.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("xmppdial: TLS handshake with %v: %w", t, certcheck.Handshake(t.Domain, err))
	}
	return c, nil
}

func (t Target) service() Service {
	if t.Service == "" {
		return Client
	}
	return t.Service
}
