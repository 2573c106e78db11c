package certcheck

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

func newCA(t *testing.T) *testca.CA {
	t.Helper()
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *testca.CA, tmpl testca.Template) tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(tmpl)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// result is what a handshake looked like from both ends.
type result struct {
	err       error // of the client
	serverErr error
	client    tls.ConnectionState
	server    tls.ConnectionState
}

// connect makes a connection in memory, with buffers between its ends as TCP has.
func connect(t *testing.T) (client, server net.Conn) {
	t.Helper()
	n := memnet.New()
	here, there := n.Host("192.0.2.10"), n.Host("192.0.2.20")
	l, err := there.Listen(t.Context(), "tcp", ":5061")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = here.Dial(t.Context(), "tcp", "192.0.2.20:5061"); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// handshake runs one. The server sends an octet, so that the client also reads the session ticket that comes with TLS 1.3, and waits for the end.
func handshake(t *testing.T, client, server *tls.Config) result {
	t.Helper()
	a, b := connect(t)
	var r result
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer b.Close()
		conn := tls.Server(b, server)
		if r.serverErr = conn.Handshake(); r.serverErr == nil {
			if _, r.serverErr = conn.Write([]byte{0}); r.serverErr == nil {
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					r.serverErr = err // a refusal that comes after the handshake, as in TLS 1.3
				}
			}
		}
		r.server = conn.ConnectionState()
	}()
	conn := tls.Client(a, client)
	if r.err = conn.Handshake(); r.err == nil {
		_, r.err = io.ReadFull(conn, make([]byte, 1))
	}
	r.client = conn.ConnectionState()
	conn.Close()
	<-done
	return r
}

func TestIdentity(t *testing.T) {
	const none = Reason(0)
	ip4, ip6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	tests := []struct {
		name string
		cert testca.Template
		opts Options
		want Reason
	}{
		{"DNS name", testca.Template{DNS: []string{"example.com"}}, Options{Domain: "example.com"}, none},
		{"in another case, with a final dot", testca.Template{DNS: []string{"EXAMPLE.com"}}, Options{Domain: "Example.COM."}, none},
		{"one of several", testca.Template{DNS: []string{"a.example", "example.com"}}, Options{Domain: "example.com"}, none},
		{"another DNS name", testca.Template{DNS: []string{"example.org"}}, Options{Domain: "example.com"}, WrongName},
		{"the parent", testca.Template{DNS: []string{"example.com"}}, Options{Domain: "sip.example.com"}, WrongName},
		{"a child", testca.Template{DNS: []string{"sip.example.com"}}, Options{Domain: "example.com"}, WrongName},
		{"common name alone", testca.Template{CommonName: "example.com"}, Options{Domain: "example.com"}, WrongName},
		{"no domain configured", testca.Template{DNS: []string{"example.com"}}, Options{}, WrongName},

		// RFC 5922 §7.1
		{"SIP URI", testca.Template{URIs: []string{"sip:example.com"}}, Options{Domain: "example.com"}, none},
		{"SIP URI in capitals", testca.Template{URIs: []string{"SIP:Example.Com"}}, Options{Domain: "example.com"}, none},
		{"SIP URI with port and parameter", testca.Template{URIs: []string{"sip:example.com:5061;transport=tls"}}, Options{Domain: "example.com"}, none},
		{"SIP URI of another domain beats the right DNS name", testca.Template{URIs: []string{"sip:example.org"}, DNS: []string{"example.com"}}, Options{Domain: "example.com"}, WrongName},
		{"SIP URI beats another DNS name", testca.Template{URIs: []string{"sip:example.com"}, DNS: []string{"example.org"}}, Options{Domain: "example.com"}, none},
		{"one of several SIP URIs", testca.Template{URIs: []string{"sip:example.org", "sip:example.com"}}, Options{Domain: "example.com"}, none},
		{"SIP URI of a user", testca.Template{URIs: []string{"sip:bob@example.com"}}, Options{Domain: "example.com"}, WrongName},
		{"SIP URI of a user does not hide the DNS name", testca.Template{URIs: []string{"sip:bob@example.org"}, DNS: []string{"example.com"}}, Options{Domain: "example.com"}, none},
		{"SIPS URI", testca.Template{URIs: []string{"sips:example.com"}}, Options{Domain: "example.com"}, WrongName},
		{"URI of another scheme", testca.Template{URIs: []string{"https://example.org/"}, DNS: []string{"example.com"}}, Options{Domain: "example.com"}, none},
		{"wildcard in a SIP URI", testca.Template{URIs: []string{"sip:*.example.com"}}, Options{Domain: "a.example.com", AllowWildcard: true}, WrongName},

		// RFC 5922 §7.2, and the first switch
		{"wildcard", testca.Template{DNS: []string{"*.example.com"}}, Options{Domain: "sip.example.com"}, WrongName},
		{"wildcard allowed", testca.Template{DNS: []string{"*.example.com"}}, Options{Domain: "sip.example.com", AllowWildcard: true}, none},
		{"wildcard for two labels", testca.Template{DNS: []string{"*.example.com"}}, Options{Domain: "a.b.example.com", AllowWildcard: true}, WrongName},
		{"wildcard for none", testca.Template{DNS: []string{"*.example.com"}}, Options{Domain: "example.com", AllowWildcard: true}, WrongName},
		{"part of a label", testca.Template{DNS: []string{"s*.example.com"}}, Options{Domain: "sip.example.com", AllowWildcard: true}, WrongName},
		{"top-level wildcard", testca.Template{DNS: []string{"*.com"}}, Options{Domain: "example.com", AllowWildcard: true}, WrongName},

		// The second switch
		{"SRV target", testca.Template{DNS: []string{"edge1.hosted.example"}}, Options{Domain: "example.com"}, WrongName},
		{"SRV target allowed", testca.Template{DNS: []string{"edge1.hosted.example"}}, Options{Domain: "example.com", SRVTarget: "Edge1.hosted.example."}, none},
		{"SRV target allowed, the domain is still good", testca.Template{DNS: []string{"example.com"}}, Options{Domain: "example.com", SRVTarget: "edge1.hosted.example"}, none},
		{"another host than the SRV target", testca.Template{DNS: []string{"edge2.hosted.example"}}, Options{Domain: "example.com", SRVTarget: "edge1.hosted.example"}, WrongName},
		{"SRV target by wildcard", testca.Template{DNS: []string{"*.hosted.example"}}, Options{Domain: "example.com", SRVTarget: "edge1.hosted.example", AllowWildcard: true}, none},
		{"SRV target that is an address", testca.Template{IPs: []netip.Addr{ip4}}, Options{Domain: "example.com", SRVTarget: "192.0.2.1"}, WrongName},

		// Addresses
		{"address", testca.Template{IPs: []netip.Addr{ip4}}, Options{Domain: "192.0.2.1"}, none},
		{"IPv6 in brackets", testca.Template{IPs: []netip.Addr{ip6}}, Options{Domain: "[2001:DB8:0::1]"}, none},
		{"another address", testca.Template{IPs: []netip.Addr{ip4}}, Options{Domain: "192.0.2.2"}, WrongName},
		{"address for a domain", testca.Template{IPs: []netip.Addr{ip4}}, Options{Domain: "example.com"}, WrongName},
		{"address as a DNS name", testca.Template{DNS: []string{"192.0.2.1"}}, Options{Domain: "192.0.2.1"}, WrongName},
		{"address in a SIP URI", testca.Template{URIs: []string{"sip:192.0.2.1"}}, Options{Domain: "192.0.2.1"}, none},
		{"IPv6 address and port in a SIP URI", testca.Template{URIs: []string{"sip:[2001:db8::1]:5061"}}, Options{Domain: "2001:db8::1"}, none},

		// RFC 5924 and RFC 5280 §4.2.1.12
		{"for SIP domains", testca.Template{DNS: []string{"example.com"}, UnknownExtKeyUsage: []asn1.ObjectIdentifier{sipDomain}}, Options{Domain: "example.com"}, none},
		{"for anything", testca.Template{DNS: []string{"example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}, Options{Domain: "example.com"}, none},
		{"for clients only", testca.Template{DNS: []string{"example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, Options{Domain: "example.com"}, WrongUsage},
		{"for something unknown only", testca.Template{DNS: []string{"example.com"}, UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 2, 3}}}, Options{Domain: "example.com"}, WrongUsage},

		{"expired", testca.Template{DNS: []string{"example.com"}, NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)}, Options{Domain: "example.com"}, Expired},
		{"not yet valid", testca.Template{DNS: []string{"example.com"}, NotBefore: time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC)}, Options{Domain: "example.com"}, NotYetValid},
	}
	synctest.Test(t, func(t *testing.T) { // the clock starts at 2000-01-01
		ca := newCA(t)
		for _, tt := range tests {
			server := &tls.Config{Certificates: []tls.Certificate{issue(t, ca, tt.cert)}}
			r := handshake(t, Config(&tls.Config{RootCAs: ca.Pool()}, tt.opts), server)
			var e *Error
			switch {
			case tt.want == none:
				if r.err != nil {
					t.Errorf("%s: %v", tt.name, r.err)
				}
			case !errors.As(r.err, &e) || e.Reason != tt.want || e.Domain != canonical(tt.opts.Domain):
				t.Errorf("%s: error %v (%T), want %v", tt.name, r.err, r.err, tt.want)
			case r.serverErr == nil:
				t.Errorf("%s: the server was not told", tt.name)
			}
		}
	})
}

func TestErrorsUnwrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other := newCA(t), newCA(t)
		cfg := Config(&tls.Config{RootCAs: ca.Pool()}, Options{Domain: "example.com"})
		try := func(from *testca.CA, tmpl testca.Template) error {
			return handshake(t, cfg, &tls.Config{Certificates: []tls.Certificate{issue(t, from, tmpl)}}).err
		}
		var e *Error

		err := try(other, testca.Template{DNS: []string{"example.com"}})
		var authority x509.UnknownAuthorityError
		if !errors.As(err, &e) || e.Reason != Untrusted || !errors.As(err, &authority) {
			t.Errorf("untrusted: %v (%T)", err, err)
		}

		err = try(ca, testca.Template{DNS: []string{"example.org", "example.net"}, URIs: []string{"sip:bob@example.org"}})
		var host x509.HostnameError
		if !errors.As(err, &e) || e.Reason != WrongName || !errors.As(err, &host) {
			t.Errorf("wrong name: %v (%T)", err, err)
		} else if want := []string{"sip:bob@example.org", "example.org", "example.net"}; !slices.Equal(e.Names, want) {
			t.Errorf("names %v, want %v", e.Names, want)
		}

		err = try(ca, testca.Template{DNS: []string{"example.com"}, NotAfter: time.Now().Add(-time.Minute)})
		var invalid x509.CertificateInvalidError
		if !errors.As(err, &e) || e.Reason != Expired || !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
			t.Errorf("expired: %v (%T)", err, err)
		}
		if err := verify(nil, nil, time.Now(), Options{Domain: "example.com"}); !errors.As(err, &e) || e.Reason != NoCertificate {
			t.Errorf("none: %v", err)
		}
	})
}

// A certificate that is good now expires while the clock of the configuration moves.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		server := &tls.Config{Certificates: []tls.Certificate{issue(t, ca, testca.Template{DNS: []string{"example.com"}})}}
		now := time.Now()
		cfg := Config(&tls.Config{RootCAs: ca.Pool(), Time: func() time.Time { return now }}, Options{Domain: "example.com"})
		if r := handshake(t, cfg, server); r.err != nil {
			t.Fatal(r.err)
		}
		now = now.Add(testca.Lifetime + time.Second)
		var e *Error
		if r := handshake(t, cfg, server); !errors.As(r.err, &e) || e.Reason != Expired {
			t.Errorf("error %v", r.err)
		}
	})
}

func TestServerName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		cert := issue(t, ca, testca.Template{DNS: []string{"example.com"}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
		for domain, want := range map[string]string{"example.com": "example.com", "Example.com.": "example.com", "192.0.2.1": ""} {
			base := &tls.Config{RootCAs: ca.Pool(), ServerName: "edge1.hosted.example"}
			r := handshake(t, Config(base, Options{Domain: domain}), &tls.Config{Certificates: []tls.Certificate{cert}})
			if r.err != nil || r.server.ServerName != want {
				t.Errorf("%s: the server saw %q, error %v; want %q", domain, r.server.ServerName, r.err, want)
			}
			if base.InsecureSkipVerify || base.ServerName != "edge1.hosted.example" {
				t.Error("the given configuration was changed")
			}
		}
	})
}

func TestVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		cert := issue(t, ca, testca.Template{DNS: []string{"example.com"}})
		server := func(least, most uint16) *tls.Config {
			return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: least, MaxVersion: most}
		}
		client := func(base, opts uint16) *tls.Config {
			return Config(&tls.Config{RootCAs: ca.Pool(), MinVersion: base}, Options{Domain: "example.com", MinVersion: opts})
		}
		good := []struct {
			name           string
			client, server *tls.Config
			want           uint16
		}{
			{"1.2", client(0, 0), server(tls.VersionTLS12, tls.VersionTLS12), tls.VersionTLS12},
			{"1.3", client(0, 0), server(tls.VersionTLS12, tls.VersionTLS13), tls.VersionTLS13},
			{"raised", client(0, tls.VersionTLS13), server(tls.VersionTLS12, tls.VersionTLS13), tls.VersionTLS13},
		}
		for _, tt := range good {
			if r := handshake(t, tt.client, tt.server); r.err != nil || r.client.Version != tt.want {
				t.Errorf("%s: version %#x, error %v", tt.name, r.client.Version, r.err)
			}
		}
		bad := []struct {
			name           string
			client, server *tls.Config
		}{
			{"server of 1.1 only", client(0, 0), server(tls.VersionTLS10, tls.VersionTLS11)},
			{"lowered", client(tls.VersionTLS10, tls.VersionTLS11), server(tls.VersionTLS10, tls.VersionTLS11)},
			{"raised above the server", client(0, tls.VersionTLS13), server(tls.VersionTLS12, tls.VersionTLS12)},
			{"raised by base", client(tls.VersionTLS13, 0), server(tls.VersionTLS12, tls.VersionTLS12)},
		}
		for _, tt := range bad {
			r := handshake(t, tt.client, tt.server)
			var e *Error
			if err := Handshake("example.com", r.err); !errors.As(err, &e) || e.Reason != OldVersion || !errors.Is(err, r.err) {
				t.Errorf("%s: error %v", tt.name, r.err)
			}
		}
	})
}

// A server that answers the ClientHello with an old version, instead of refusing it, is noticed by the client.
func TestOldServerHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := connect(t)
		defer a.Close()
		go func() {
			defer b.Close()
			buf := make([]byte, 4096)
			if _, err := b.Read(buf); err != nil {
				return
			}
			// RFC 4346 §7.4.1.3: version 3.2, random, no session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
			hello := slices.Concat([]byte{3, 2}, make([]byte, 32), []byte{0, 0, 0x2f, 0})
			record := slices.Concat([]byte{22, 3, 2, 0, byte(len(hello) + 4), 2, 0, 0, byte(len(hello))}, hello)
			if _, err := b.Write(record); err == nil {
				_, _ = b.Read(buf) // the alert
			}
		}()
		err := tls.Client(a, Config(nil, Options{Domain: "example.com"})).Handshake()
		var e *Error
		if got := Handshake("example.com", err); !errors.As(got, &e) || e.Reason != OldVersion {
			t.Errorf("error %v", err)
		}
	})
}

func TestHandshakePassesOthers(t *testing.T) {
	for _, err := range []error{nil, io.EOF, &Error{Reason: Expired}, &net.OpError{Op: "remote error", Err: tls.AlertError(40)}} {
		if got := Handshake("example.com", err); got != err {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}

// Resumption skips the server's certificate on the wire, but not the checks: what one account accepted says nothing for another.
func TestResumption(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		synctest.Test(t, func(t *testing.T) {
			ca := newCA(t)
			// One session cache and one server name, as accounts on one hosted edge have them.
			base := &tls.Config{RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8), MaxVersion: version}
			server := &tls.Config{Certificates: []tls.Certificate{issue(t, ca, testca.Template{DNS: []string{"edge1.hosted.example"}})}}
			lax := Config(base, Options{Domain: "example.com", SRVTarget: "edge1.hosted.example"})
			strict := Config(base, Options{Domain: "example.com"})
			if r := handshake(t, lax, server); r.err != nil || r.client.DidResume {
				t.Fatalf("first: resumed %v, error %v", r.client.DidResume, r.err)
			}
			if r := handshake(t, lax, server); r.err != nil || !r.client.DidResume {
				t.Fatalf("second: resumed %v, error %v", r.client.DidResume, r.err)
			}
			r := handshake(t, strict, server)
			var e *Error
			if !errors.As(r.err, &e) || e.Reason != WrongName {
				t.Errorf("the strict account accepts what the lax one did: error %v", r.err)
			}
			// The certificate of the first handshake does not outlive itself either.
			late := base.Clone()
			late.Time = func() time.Time { return time.Now().Add(testca.Lifetime + time.Minute) }
			r = handshake(t, Config(late, Options{Domain: "example.com", SRVTarget: "edge1.hosted.example"}), server)
			if !errors.As(r.err, &e) || e.Reason != Expired {
				t.Errorf("resumed with an expired certificate: error %v", r.err)
			}
		})
	}
}

func TestClientCertificateAndOwnCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		refuse := errors.New("refused by the caller")
		called := 0
		base := &tls.Config{
			RootCAs:      ca.Pool(),
			Certificates: []tls.Certificate{issue(t, ca, testca.Template{CommonName: "handset 7"})},
			VerifyConnection: func(tls.ConnectionState) error {
				called++
				return refuse
			},
		}
		server := &tls.Config{
			Certificates: []tls.Certificate{issue(t, ca, testca.Template{DNS: []string{"example.com"}})},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
			MaxVersion: tls.VersionTLS12, // in which the client hears of a refusal within the handshake
		}
		if r := handshake(t, Config(base, Options{Domain: "example.com"}), server); !errors.Is(r.err, refuse) || called != 1 {
			t.Errorf("error %v, %d calls", r.err, called)
		}
		if r := handshake(t, Config(base, Options{Domain: "example.org"}), server); errors.Is(r.err, refuse) || called != 1 {
			t.Errorf("wrong name: error %v, %d calls", r.err, called)
		}
		base.VerifyConnection = nil
		r := handshake(t, Config(base, Options{Domain: "example.com"}), server)
		if r.err != nil || len(r.server.PeerCertificates) != 1 || r.server.PeerCertificates[0].Subject.CommonName != "handset 7" {
			t.Errorf("error %v, the server saw %d certificates", r.err, len(r.server.PeerCertificates))
		}
	})
}

func TestErrorText(t *testing.T) {
	for _, r := range []Reason{Untrusted, Expired, NotYetValid, WrongName, WrongUsage, NoCertificate, Invalid, OldVersion} {
		e := &Error{Reason: r, Domain: "example.com", Names: []string{"a.example"}}
		if s := e.Error(); !strings.Contains(s, "example.com") || !strings.Contains(s, r.String()) || strings.Contains(s, "reason ") {
			t.Errorf("%q", s)
		}
	}
}
