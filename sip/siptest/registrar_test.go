package siptest_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// What a registration is granted, on each transport.
func TestRegister(t *testing.T) {
	for _, transport := range []sip.Transport{sip.TLS, sip.TCP, sip.UDP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, func(c *siptest.Config) {
					c.Registrar.GRUU, c.Registrar.ServiceRoute, c.Registrar.FlowTimer = true, true, 90*time.Second
				})
				alice := l.phone("alice", over(l, transport))
				info := alice.reg.Info()
				if left := time.Until(info.Expires); left != 3424*time.Second {
					t.Errorf("granted %v, want BroadWorks' 3424 s", left)
				}
				if !info.Outbound || info.FlowTimer != 90*time.Second {
					t.Errorf("outbound %v, Flow-Timer %v", info.Outbound, info.FlowTimer)
				}
				if want := "sip:alice@pbx.example;gr=" + alice.Instance(); info.PublicGRUU != want {
					t.Errorf("public GRUU %q, want %q", info.PublicGRUU, want)
				}
				if !strings.HasPrefix(info.TempGRUU, "sip:tgruu.") {
					t.Errorf("temporary GRUU %q", info.TempGRUU)
				}
				if len(info.ServiceRoute) != 1 || len(info.AssociatedURIs) != 2 {
					t.Errorf("Service-Route %q, P-Associated-URI %q", info.ServiceRoute, info.AssociatedURIs)
				}
				d := l.Devices("1001")
				if len(d) != 1 || !d[0].Reachable || !d[0].Outbound || d[0].Transport != transport || d[0].Instance != alice.Instance() {
					t.Errorf("devices %+v", d)
				}
				// It is refreshed before it ends, and removed on close.
				wait(t, time.Hour)
				if d := l.Devices("alice"); len(d) != 1 || !d[0].Reachable {
					t.Errorf("devices after an hour: %+v", d)
				}
				alice.Close()
				synctest.Wait()
				if d := l.Devices("alice"); len(d) != 0 {
					t.Errorf("devices after Close: %+v", d)
				}
			})
		})
	}
}

// Without RFC 5626 there is RFC 6223.
func TestRegisterPlain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) { c.Registrar.NoOutbound = true })
		alice := l.phone("alice", over(l, sip.TCP))
		if alice.reg.Info().Outbound || alice.reg.Info().PublicGRUU != "" {
			t.Errorf("granted %+v", alice.reg.Info())
		}
		ok := l.messages("alice", "SIP/2.0 200", true)[0]
		if !strings.Contains(ok, ";keep=30") || strings.Contains(ok, "outbound") {
			t.Errorf("the 200:\n%s", ok)
		}
	})
}

// A shorter registration than the lab likes: 423.
func TestMinExpires(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) { c.Registrar.MinExpires, c.Registrar.MaxExpires = 600*time.Second, time.Hour })
		alice := l.phone("alice", func(c *sip.Config) { c.Account.Expires = time.Minute })
		if left := time.Until(alice.reg.Info().Expires); left != 600*time.Second {
			t.Errorf("granted %v", left)
		}
		if n := l.count("alice< 423 REGISTER"); n != 1 {
			t.Errorf("%d times 423", n)
		}
	})
}

// Digest: each algorithm, auth-int, without qop, Authentication-Info.
func TestDigest(t *testing.T) {
	for _, c := range []struct {
		name string
		auth siptest.Auth
		want string // in the Authorization
	}{
		{"as BroadWorks", siptest.Auth{}, `realm="BroadWorks",nonce="BroadWorksX`},
		{"MD5", siptest.Auth{Algorithms: []string{"MD5"}}, "algorithm=MD5"},
		{"SHA-256", siptest.Auth{Algorithms: []string{"SHA-256"}, Realm: "pbx.example"}, "algorithm=SHA-256"},
		{"SHA-512-256", siptest.Auth{Algorithms: []string{"SHA-512-256"}}, "algorithm=SHA-512-256"},
		{"the best of several", siptest.Auth{Algorithms: []string{"SHA-512-256", "SHA-256", "MD5"}}, "algorithm=SHA-512-256"},
		{"RFC 2069", siptest.Auth{Legacy: true}, `response="`},
		{"auth-int", siptest.Auth{AuthInt: true}, "qop=auth"},
		{"Authentication-Info", siptest.Auth{Info: true, NextNonceAfter: 1}, "qop=auth"},
		{"in dialogs", siptest.Auth{InDialog: true, NonceLifetime: time.Second}, "qop=auth"},
		{"calls without", siptest.Auth{OpenCalls: true}, "qop=auth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, func(cfg *siptest.Config) { cfg.Auth = c.auth })
				alice, bob := l.phone("alice"), l.phone("bob")
				reg := l.messages("alice", "REGISTER", false)
				if len(reg) != 2 || !strings.Contains(strings.ReplaceAll(reg[1], ", ", ","), c.want) {
					t.Errorf("%d REGISTERs; the last lacks %q:\n%s", len(reg), c.want, reg[len(reg)-1])
				}
				info := strings.Contains(l.messages("alice", "SIP/2.0 200", true)[0], "\r\nAuthentication-Info:")
				if info != c.auth.Info {
					t.Errorf("Authentication-Info: %v", info)
				}
				l.ClearTranscript()
				a, b := talk(t, alice, bob, "bob")
				wait(t, 10*time.Second) // the nonce of "in dialogs" is stale by now
				a.Hangup(t.Context())
				ended(t, b, sip.Remote)
				l.idle()
				if open := !strings.Contains(l.messages("alice", "INVITE", false)[0], "Authorization"); c.auth.OpenCalls && l.count("alice< 401 INVITE") != 0 {
					t.Errorf("challenged: %v", open)
				}
				if n := l.count("alice< 401 BYE"); c.auth.InDialog != (n == 1) {
					t.Errorf("the BYE was challenged %d times", n)
				}
			})
		})
	}
}

func TestDigestRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		for name, mod := range map[string]func(*sip.Config){
			"wrong password": func(c *sip.Config) { c.Account.Password = "guess" },
			"unknown user":   func(c *sip.Config) { c.Account.Username = "nobody" },
		} {
			cfg, _ := l.config("alice")
			mod(cfg)
			ua, err := sip.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			var auth *sip.AuthError
			if _, err := ua.Register(t.Context()); !errors.As(err, &auth) {
				t.Errorf("%s: %v", name, err)
			}
			ua.Close()
		}
		// The right password of somebody else.
		cfg, _ := l.config("alice")
		cfg.Account.AOR = "sip:bob@pbx.example"
		ua, err := sip.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer ua.Close()
		var se *sip.StatusError
		if _, err := ua.Register(t.Context()); !errors.As(err, &se) || se.Code != 403 {
			t.Errorf("somebody else's credentials: %v", err)
		}
	})
}

// Nonces that the lab has forgotten are stale, not wrong.
func TestForgetNonces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice, bob := l.phone("alice"), l.phone("bob")
		l.ForgetNonces()
		talk(t, alice, bob, "bob")
		if m := l.messages("alice", "SIP/2.0 401", true); !strings.Contains(m[len(m)-1], "stale=true") {
			t.Errorf("the challenge:\n%s", m[len(m)-1])
		}
	})
}

// A GRUU reaches the one device it names.
func TestGRUU(t *testing.T) {
	for _, kind := range []string{"public", "temporary"} {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, func(c *siptest.Config) { c.Registrar.GRUU = true })
				alice, b1, b2 := l.phone("alice"), l.phone("bob"), l.phone("bob")
				to := b1.reg.Info().PublicGRUU
				if kind == "temporary" {
					to = b1.reg.Info().TempGRUU
				}
				l.ClearTranscript()
				a, b := talk(t, alice, b1, to)
				if n := len(l.messages("bob#2", "INVITE", true)); n != 0 {
					t.Error("the other device rang")
				}
				a.Hangup(t.Context())
				ended(t, b, sip.Remote)
				_ = b2
				l.idle()
			})
		})
	}
}

// Two reg-ids of one instance are one device (RFC 5626 §5.3); one of them is
// enough to be reached.
func TestTwoFlows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice := l.phone("alice")
		bob := l.phone("bob", func(c *sip.Config) { c.Account.Flows = 2 })
		wait(t, time.Second)
		if n := len(l.Devices("bob")); n != 2 {
			t.Fatalf("%d bindings, want 2", n)
		}
		l.ClearTranscript()
		a, b := talk(t, alice, bob, "bob")
		if n := len(l.messages("bob", "INVITE", true)); n != 1 {
			t.Errorf("%d INVITEs to one device", n)
		}
		a.Hangup(t.Context())
		ended(t, b, sip.Remote)
		l.idle()
	})
}

// Location of the lab by DNS, and its certificate for the domain.
func TestResolver(t *testing.T) {
	for _, transport := range []sip.Transport{sip.TLS, sip.TCP, sip.UDP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice := l.phone("alice", func(c *sip.Config) { c.Account.Proxy, c.Account.Transport = "", transport })
				if got := alice.reg.Info().Flow; got.Remote != l.Addr(got.Transport).String() {
					t.Errorf("registered over %+v", got)
				}
			})
		})
	}
}

func TestTLSConfig(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) {
			c.TLSConfig = func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }
		})
		if v := l.phone("alice").reg.Info().Flow.TLSVersion; v != tls.VersionTLS12 {
			t.Errorf("TLS version %x", v)
		}
		// Who does not know the lab's CA does not talk to it.
		cfg, _ := l.config("bob")
		cfg.TLS.RootCAs = nil
		ua, err := sip.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer ua.Close()
		if _, err := ua.Register(t.Context()); err == nil {
			t.Error("registered without the CA")
		}
	})
}

func TestConfigErrors(t *testing.T) {
	for name, cfg := range map[string]siptest.Config{
		"address":         {Addr: "localhost"},
		"algorithm":       {Auth: siptest.Auth{Algorithms: []string{"CRC-32"}}},
		"session timer":   {Calls: siptest.Calls{SessionExpires: time.Second}},
		"user":            {Users: []siptest.User{{Name: "a b"}}},
		"no name":         {Users: []siptest.User{{}}},
		"number":          {Users: []siptest.User{{Name: "a", Number: "x"}}},
		"twice":           {Users: []siptest.User{{Name: "a"}, {Name: "b", Number: "a"}}},
		"the same number": {Users: []siptest.User{{Name: "a", Number: "1"}, {Name: "b", Number: "1"}}},
		"a service":       {Users: []siptest.User{{Name: "echo"}}},
	} {
		if srv, err := siptest.Start(&cfg); err == nil {
			srv.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// An administrator may remove a registration, and a user added later can
// register.
func TestUnregister(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		if err := l.AddUser(siptest.User{Name: "dave", Number: "1004"}); err != nil {
			t.Fatal(err)
		}
		alice, dave := l.phone("alice"), l.phone("dave")
		a, b := talk(t, alice, dave, "1004")
		a.Hangup(t.Context())
		ended(t, b, sip.Remote)
		l.Unregister("dave")
		var se *sip.StatusError
		if _, err := alice.Dial(t.Context(), "dave", nil); !errors.As(err, &se) || se.Code != 480 {
			t.Errorf("error %v", err)
		}
		l.idle()
	})
}
