package sip

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/flow"
	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

// bubble runs a scripted test in virtual time.
func bubble(t *testing.T, name string, fn func(t *testing.T, s *server)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { fn(t, newServer(t)) })
	})
}

func TestRegister(t *testing.T) {
	bubble(t, "RFC 5626 §4.2: instance, reg-id and outbound", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.Account.Instance = "urn:uuid:00000000-0000-1000-8000-000A95A0E128"
		_, outcome := start(t, cfg)
		c := s.accept()
		req := c.request("REGISTER")
		contact := contactOf(req)
		for _, want := range []string{`+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>"`, "reg-id=1", "transport=tls"} {
			if !strings.Contains(contact, want) {
				t.Errorf("Contact %s lacks %s", contact, want)
			}
		}
		for _, tag := range []string{"outbound", "path", "gruu"} {
			if !sipwire.HasToken(req, "Supported", tag) {
				t.Errorf("Supported %q lacks %s", sipwire.Header(req, "Supported"), tag)
			}
		}
		if req.Recipient.String() != "sip:example.com" || req.To().Address.String() != "sip:alice@example.com" {
			t.Errorf("Request-URI %v, To %v", req.Recipient, req.To())
		}
		c.granted(req, 3424)
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	})
	bubble(t, "RFC 3261 §10.2.4: refreshed before the shortened expiry", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 100)
		begin := time.Now()
		next := c.request("REGISTER")
		if took := time.Since(begin); took < 40*time.Second || took > 95*time.Second {
			t.Errorf("refreshed after %v of 100 s", took)
		}
		c.granted(next, 100)
		synctest.Wait()
		if !ua.reg.Info().Registered {
			t.Error("not registered")
		}
	})
	bubble(t, "RFC 3261 §10.3: 423 and Min-Expires", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.Account.Expires = 10 * time.Second
		_, outcome := start(t, cfg)
		c := s.accept()
		c.reply(c.request("REGISTER"), 423, "Min-Expires: 600")
		again := c.request("REGISTER")
		if e := sipwire.Header(again, "Expires"); e != "600" && !strings.Contains(contactOf(again), "expires=600") {
			t.Errorf("Expires %q, Contact %s", e, contactOf(again))
		}
		c.granted(again, 600)
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	})
	bubble(t, "RFC 3261 §22.2: challenge, repeat with the next CSeq", func(t *testing.T, s *server) {
		_, outcome := start(t, s.config())
		c := s.accept()
		first := c.request("REGISTER")
		c.reply(first, 401, `WWW-Authenticate: Digest realm="BroadWorks",nonce="BroadWorksX1BW",algorithm=MD5,qop="auth"`)
		second := c.request("REGISTER")
		if second.CSeq().SeqNo != first.CSeq().SeqNo+1 || second.CallID().Value() != first.CallID().Value() {
			t.Errorf("CSeq %v after %v", second.CSeq(), first.CSeq())
		}
		auth := sipwire.Header(second, "Authorization")
		if !strings.Contains(auth, `realm="BroadWorks"`) || strings.Contains(auth, "secret") {
			t.Errorf("Authorization %s", auth)
		}
		c.granted(second, 60)
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		// The nonce is used again, counted up (RFC 7616 §3.4.5), until it is stale.
		third := c.request("REGISTER")
		if auth := sipwire.Header(third, "Authorization"); !strings.Contains(auth, "nc=00000002") {
			t.Errorf("Authorization of the refresh %s", auth)
		}
		c.reply(third, 401, `WWW-Authenticate: Digest realm="BroadWorks",nonce="BroadWorksX2BW",stale=true,algorithm=MD5,qop="auth"`)
		fourth := c.request("REGISTER")
		if auth := sipwire.Header(fourth, "Authorization"); !strings.Contains(auth, `nonce="BroadWorksX2BW"`) {
			t.Errorf("Authorization after stale %s", auth)
		}
		c.granted(fourth, 60)
	})
	bubble(t, "a wrong password is told as such, after one repeat", func(t *testing.T, s *server) {
		_, outcome := start(t, s.config())
		c := s.accept()
		for range 2 {
			c.reply(c.request("REGISTER"), 401, `WWW-Authenticate: Digest realm="example.com",nonce="n1",algorithm=SHA-256,qop="auth"`)
		}
		var auth *AuthError
		if err := <-outcome; !errors.As(err, &auth) || auth.Realm != "example.com" {
			t.Errorf("error %v", err)
		}
	})
	bubble(t, "never a weaker digest than the account allows", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.Account.MinDigest = "SHA-256"
		_, outcome := start(t, cfg)
		c := s.accept()
		c.reply(c.request("REGISTER"), 401, `WWW-Authenticate: Digest realm="example.com",nonce="n1",algorithm=MD5,qop="auth"`)
		err := <-outcome
		if !errors.Is(err, ErrWeakDigest) || !errors.Is(err, digest.ErrWeakChallenge) {
			t.Errorf("error %v", err)
		}
	})
	bubble(t, "RFC 7616 §3.5: a server that does not know the password", func(t *testing.T, s *server) {
		_, outcome := start(t, s.config())
		c := s.accept()
		c.reply(c.request("REGISTER"), 401, `WWW-Authenticate: Digest realm="example.com",nonce="n1",algorithm=SHA-256,qop="auth"`)
		req := c.request("REGISTER")
		c.granted(req, 60, `Authentication-Info: qop=auth,rspauth="0000000000000000000000000000000000000000000000000000000000000000",cnonce="x",nc=00000001`)
		if err := <-outcome; !errors.Is(err, ErrServerUnproved) {
			t.Errorf("error %v", err)
		}
	})
	bubble(t, "403 is final", func(t *testing.T, s *server) {
		_, outcome := start(t, s.config())
		c := s.accept()
		c.reply(c.request("REGISTER"), 403)
		var se *StatusError
		if err := <-outcome; !errors.As(err, &se) || se.Code != 403 || se.Method != "REGISTER" {
			t.Errorf("error %v", err)
		}
	})
	bubble(t, "503 with Retry-After is waited out", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 60)
		c.reply(c.request("REGISTER"), 503, "Retry-After: 120")
		begin := time.Now()
		c2 := s.accept()
		if took := time.Since(begin); took < 120*time.Second {
			t.Errorf("came back after %v", took)
		}
		c2.granted(c2.request("REGISTER"), 60)
		synctest.Wait()
		if !ua.reg.Info().Registered {
			t.Error("not registered")
		}
	})
	bubble(t, "RFC 3261 §8.1.3.4: a redirect is followed", func(t *testing.T, s *server) {
		s.listen("10.0.0.3:5061", true)
		cfg := s.config()
		cfg.Network.Resolver.(*locate.Static).IP["other.example.com"] = []netip.Addr{netip.MustParseAddr("10.0.0.3")}
		_, outcome := start(t, cfg)
		c := s.accept()
		c.reply(c.request("REGISTER"), 302, "Contact: <sip:other.example.com:5061;transport=tls>")
		c2 := s.accept()
		c2.granted(c2.request("REGISTER"), 60)
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	})
	bubble(t, "unregisters on Close", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		closed := make(chan struct{})
		go func() { ua.Close(); close(closed) }()
		req := c.request("REGISTER")
		if e := sipwire.Header(req, "Expires"); e != "0" && !strings.Contains(contactOf(req), "expires=0") {
			t.Errorf("Expires %q, Contact %s", e, contactOf(req))
		}
		c.reply(req, 200)
		<-closed
	})
}

func TestFlowRecovery(t *testing.T) {
	bubble(t, "RFC 5626 §4.4.1: no pong within 10 s, the flow is dead", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600, "Require: outbound", "Flow-Timer: 30")
		// Answered as long as the server lives.
		for c.pings.Load() < 3 {
			<-time.After(time.Second)
		}
		c.mute.Store(true)
		begin := time.Now()
		c2 := s.accept()
		if took := time.Since(begin); took > 40*time.Second {
			t.Errorf("noticed after %v", took)
		}
		c2.granted(c2.request("REGISTER"), 3600, "Require: outbound", "Flow-Timer: 30")
		synctest.Wait()
		var dead *flow.TimeoutError
		found := false
		for _, e := range ua.reg.log.events {
			found = found || e.State == Reconnecting && errors.As(e.Err, &dead)
		}
		if !found || !ua.reg.Info().Registered {
			t.Errorf("events %+v", ua.reg.log.events)
		}
	})
	bubble(t, "a closed connection is dialled again at once", func(t *testing.T, s *server) {
		_, c := registered(t, s, s.config(), 3600)
		<-time.After(time.Minute)
		begin := time.Now()
		c.c.Close()
		c2 := s.accept()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("came back after %v", took)
		}
		c2.granted(c2.request("REGISTER"), 3600)
	})
	bubble(t, "a registrar that is down is tried with growing waits", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		<-time.After(time.Minute)
		s.stop()
		c.c.Close()
		begin := time.Now()
		<-time.After(10 * time.Minute)
		s.listen("10.0.0.2:5061", true)
		c2 := s.accept()
		if took := time.Since(begin); took > 41*time.Minute {
			t.Errorf("came back after %v", took)
		}
		c2.granted(c2.request("REGISTER"), 3600)
		synctest.Wait()
		if !ua.reg.Info().Registered {
			t.Error("not registered")
		}
	})
	bubble(t, "a connection cut without a FIN", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600, "Require: outbound", "Flow-Timer: 30")
		_ = c
		s.net.CutSilently(s.phone, s.host)
		<-time.After(time.Minute)
		s.net.Heal(s.phone, s.host)
		c2 := s.accept()
		c2.granted(c2.request("REGISTER"), 3600)
		synctest.Wait()
		if !ua.reg.Info().Registered {
			t.Error("not registered")
		}
	})
	bubble(t, "RFC 3263 §4.3: the next server when the first is down", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.Network.Resolver.(*locate.Static).IP["example.com"] = []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.2")}
		_, outcome := start(t, cfg)
		c := s.accept()
		c.granted(c.request("REGISTER"), 60)
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	})
}

// Who the server is, is checked before anything is said to it.
func TestCertificates(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name string
		cert testca.Template
		own  bool // signed by somebody else
		max  uint16
		mod  func(*Config)
		want CertificateReason // 0: none
	}{
		{name: "RFC 5922 §7.1: SIP URI", cert: testca.Template{URIs: []string{"sip:example.com"}}},
		{name: "DNS name", cert: testca.Template{DNS: []string{"example.com"}}},
		{name: "wrong name", cert: testca.Template{DNS: []string{"example.org"}}, want: CertificateWrongName},
		{name: "RFC 5922 §7.1: a SIP URI beats DNS names", cert: testca.Template{URIs: []string{"sip:example.org"}, DNS: []string{"example.com"}}, want: CertificateWrongName},
		{name: "wildcard", cert: testca.Template{DNS: []string{"*.com"}}, want: CertificateWrongName},
		{name: "expired", cert: testca.Template{DNS: []string{"example.com"}, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-24 * time.Hour)}, want: CertificateExpired},
		{name: "not trusted", cert: testca.Template{DNS: []string{"example.com"}}, own: true, want: CertificateUntrusted},
		{name: "TLS 1.1", cert: testca.Template{DNS: []string{"example.com"}}, max: tls.VersionTLS11, want: TLSTooOld},
		{name: "TLS 1.2 where 1.3 is asked", cert: testca.Template{DNS: []string{"example.com"}}, max: tls.VersionTLS12,
			mod: func(c *Config) { c.TLS.MinVersion = tls.VersionTLS13 }, want: TLSTooOld},
		{name: "TLS 1.2", cert: testca.Template{DNS: []string{"example.com"}}, max: tls.VersionTLS12},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T, s *server) {
			ca := s.ca
			if tt.own {
				ca, _ = testca.NewCA(time.Now())
			}
			cert, err := ca.Issue(tt.cert)
			if err != nil {
				t.Fatal(err)
			}
			s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: tt.max}
			cfg := s.config()
			if tt.mod != nil {
				tt.mod(cfg)
			}
			_, outcome := start(t, cfg)
			if tt.want == 0 {
				c := s.accept()
				c.granted(c.request("REGISTER"), 60)
				if err := <-outcome; err != nil {
					t.Fatal(err)
				}
				return
			}
			var ce *CertificateError
			if err := <-outcome; !errors.As(err, &ce) || ce.Reason != tt.want {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// The account's domain is the name asked for, also where the proxy is an address.
func TestSNI(t *testing.T) {
	bubble(t, "address target", func(t *testing.T, s *server) {
		var name string
		cert := s.tls.Certificates[0]
		s.tls = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name = h.ServerName
			return &cert, nil
		}}
		cfg := s.config()
		cfg.Account.Proxy = "sip:10.0.0.2:5061;transport=tls"
		_, outcome := start(t, cfg)
		c := s.accept()
		c.granted(c.request("REGISTER"), 60)
		if err := <-outcome; err != nil || name != "example.com" {
			t.Errorf("error %v, SNI %q", err, name)
		}
	})
}

// A server that asks who we are gets the account's certificate.
func TestClientCertificate(t *testing.T) {
	bubble(t, "mutual TLS", func(t *testing.T, s *server) {
		mine := s.issue(testca.Template{URIs: []string{"sip:alice@example.com"}})
		s.tls.ClientAuth, s.tls.ClientCAs = tls.RequireAndVerifyClientCert, s.ca.Pool()
		cfg := s.config()
		cfg.TLS.Certificates = []tls.Certificate{mine}
		_, c := registered(t, s, cfg, 3600)
		shown := c.c.(*tls.Conn).ConnectionState().PeerCertificates
		if len(shown) == 0 || len(shown[0].URIs) != 1 || shown[0].URIs[0].String() != "sip:alice@example.com" {
			t.Errorf("the server saw %v", shown)
		}
	})
}
