package xmppdial

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/certcheck"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

// XEP-0368 §3, RFC 7590 §3, RFC 9525 §6: whom a certificate has to name, wherever SRV records led, and what the server is told.
func TestHandshake(t *testing.T) {
	const none = certcheck.Reason(0)
	old := time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)
	tests := []struct {
		name    string
		target  Target
		cert    testca.Template
		foreign bool // of an authority that is not trusted
		protos  []string
		want    certcheck.Reason
		alpn    string
	}{
		{name: "domain", target: Target{Direct: true}, cert: testca.Template{DNS: []string{"example.com"}}, protos: []string{"xmpp-client"}, alpn: "xmpp-client"},
		{name: "STARTTLS has no ALPN", cert: testca.Template{DNS: []string{"example.com"}}, protos: []string{"xmpp-client"}},
		{name: "server without ALPN", target: Target{Direct: true}, cert: testca.Template{DNS: []string{"example.com"}}},
		{name: "of servers", target: Target{Direct: true, Service: Server}, cert: testca.Template{SRV: []string{"_xmpp-server.example.com"}}, protos: []string{"xmpp-client", "xmpp-server"}, alpn: "xmpp-server"},
		{name: "SRV-ID alone", cert: testca.Template{SRV: []string{"_xmpp-client.example.com"}}},
		{name: "wildcard", target: Target{Domain: "chat.example.com"}, cert: testca.Template{DNS: []string{"*.example.com"}}},
		{name: "the target of the SRV record", cert: testca.Template{DNS: []string{"edge.example"}}, want: certcheck.WrongName},
		{name: "SRV-ID of another service", cert: testca.Template{SRV: []string{"_xmpp-server.example.com"}}, want: certcheck.WrongName},
		{name: "wildcard above", cert: testca.Template{DNS: []string{"*.com"}}, want: certcheck.WrongName},
		{name: "expired", cert: testca.Template{DNS: []string{"example.com"}, NotAfter: old}, want: certcheck.Expired},
		{name: "untrusted", cert: testca.Template{DNS: []string{"example.com"}}, foreign: true, want: certcheck.Untrusted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01
				w, a := newWorld(t), newAuthority(t)
				issuer := a
				if tt.foreign {
					issuer = newAuthority(t)
				}
				cfg := issuer.server(tt.cert)
				cfg.NextProtos = tt.protos
				var sni string
				cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					sni = hello.ServerName
					return nil, nil
				}
				w.serve("10.0.0.2", "5222", func(c net.Conn) {
					s := tls.Server(c, cfg)
					if s.Handshake() == nil {
						drain(s)
					}
				})
				target := tt.target
				target.Host, target.Port = "10.0.0.2", 5222
				target.Domain = cmp.Or(target.Domain, "example.com")
				raw, target, err := w.dialer().Race([]Target{target}).Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				c, err := target.Handshake(t.Context(), raw, a.client())
				if tt.want != none {
					var e *certcheck.Error
					if !errors.As(err, &e) || e.Reason != tt.want || e.Domain != target.Domain {
						t.Errorf("error %v", err)
					}
					if w.open() != 0 {
						t.Error("the connection is open")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if cs := c.ConnectionState(); cs.NegotiatedProtocol != tt.alpn || sni != target.Domain {
					t.Errorf("protocol %q, server name %q", cs.NegotiatedProtocol, sni)
				}
				c.Close()
			})
		})
	}
}

// RFC 7590 §3.1, RFC 9325 §3.1.1: nothing older than TLS 1.2.
func TestHandshakeVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t), newAuthority(t)
		cfg := a.server(testca.Template{DNS: []string{"example.com"}})
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		w.serve("10.0.0.2", "5222", func(c net.Conn) { _ = tls.Server(c, cfg).Handshake() })
		base := a.client()
		base.MinVersion = tls.VersionTLS10
		raw := must(w.dial(t.Context(), "tcp", "10.0.0.2:5222"))(t)
		_, err := Target{Host: "10.0.0.2", Port: 5222, Domain: "example.com"}.Handshake(t.Context(), raw, base)
		var e *certcheck.Error
		if !errors.As(err, &e) || e.Reason != certcheck.OldVersion {
			t.Errorf("error %v", err)
		}
	})
}

// A server that says nothing is left when the context ends.
func TestHandshakeContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve("10.0.0.2", "5222", drain)
		raw := must(w.dial(t.Context(), "tcp", "10.0.0.2:5222"))(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := Target{Host: "10.0.0.2", Port: 5222, Domain: "example.com"}.Handshake(ctx, raw, nil)
		var ne net.Error
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() || time.Since(w.start) != time.Second || w.open() != 0 {
			t.Errorf("error %v after %v", err, time.Since(w.start))
		}
	})
}

// The way through a list in which servers answer and are no good: another certificate, no TLS, and one that is right.
func TestRaceToTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a := newWorld(t), newAuthority(t)
		secure := func(cfg *tls.Config) func(net.Conn) {
			return func(c net.Conn) {
				s := tls.Server(c, cfg)
				if s.Handshake() == nil {
					drain(s)
				}
			}
		}
		w.serve("10.0.0.2", "443", secure(a.server(testca.Template{DNS: []string{"web.example"}})))
		w.serve("10.0.0.3", "443", func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.0 400 Bad Request\r\n\r\n")) })
		w.serve("10.0.0.4", "443", secure(a.server(testca.Template{DNS: []string{"example.com"}})))
		var list []Target
		for _, h := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"} {
			list = append(list, Target{Host: h, Port: 443, Direct: true, Domain: "example.com", Service: Client})
		}
		r := w.dialer().Race(list)
		for {
			raw, target, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c, err := target.Handshake(t.Context(), raw, a.client())
			if err != nil {
				r.Refuse(err)
				continue
			}
			if target.Host != "10.0.0.4" || len(r.attempts) != 2 || w.open() != 1 {
				t.Errorf("%v after %v; %d open", target, r.attempts, w.open())
			}
			c.Close()
			return
		}
	})
}
