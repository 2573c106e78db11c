package sip

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/passport"
	"github.com/hoorn-phone/hoorn/internal/testca"
)

const (
	certURI  = "https://cert.example.org/passport.cer"
	certInfo = ";info=<" + certURI + ">"
)

// tnAuthList is a certificate's list of the one number that it covers (RFC 8226
// §9).
func tnAuthList(t *testing.T, number string) []pkix.Extension {
	t.Helper()
	inner, err := asn1.MarshalWithParams(number, "ia5")
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 2, IsCompound: true, Bytes: inner}})
	if err != nil {
		t.Fatal(err)
	}
	return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 26}, Value: der}}
}

// stir is a telephone company, and the authority that says which numbers are
// its own.
type stir struct {
	t    *testing.T
	ca   *testca.CA
	cert tls.Certificate
	// fetch stands in for the web server; nil gives cert.
	fetch   func(ctx context.Context) ([]*x509.Certificate, error)
	fetched atomic.Int32
}

func newSTIR(t *testing.T, tmpl testca.Template) *stir {
	t.Helper()
	ca, err := testca.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &stir{t: t, ca: ca}
	if tmpl.Extensions == nil {
		tmpl.Extensions = tnAuthList(t, "12155551212")
	}
	if s.cert, err = ca.Issue(tmpl); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stir) config() IdentityConfig {
	return IdentityConfig{Roots: s.ca.Pool(), Certificates: func(ctx context.Context, x5u string) ([]*x509.Certificate, error) {
		s.fetched.Add(1)
		if x5u != certURI {
			return nil, fmt.Errorf("no %s", x5u)
		}
		if s.fetch != nil {
			return s.fetch(ctx)
		}
		return []*x509.Certificate{s.cert.Leaf}, nil
	}}
}

// token signs that +12155551212 calls alice, now.
func (s *stir) token(ppt string, change func(*passport.Claims)) string {
	s.t.Helper()
	c := passport.Claims{Orig: passport.Party{TN: "12155551212"}, Dest: []passport.Party{{URI: "sip:alice@example.com"}}, IssuedAt: time.Now()}
	if change != nil {
		change(&c)
	}
	origID := ""
	if ppt != "" {
		origID = "c1375035-add9-48d3-8052-c48c2977bc60"
	}
	token, err := passport.Sign(certURI, ppt, origID, c, func(d []byte) (*big.Int, *big.Int, error) {
		return ecdsa.Sign(rand.Reader, s.cert.PrivateKey.(*ecdsa.PrivateKey), d)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// full is an Identity header field in the full form, compact one in the other.
func (s *stir) full(change func(*passport.Claims)) string {
	return "Identity: " + s.token("", change) + certInfo
}

func (s *stir) compact(change func(*passport.Claims)) string {
	token := s.token("", change)
	return "Identity: .." + token[strings.LastIndexByte(token, '.')+1:] + certInfo
}

func (s *stir) shaken(attestation string) string {
	return "Identity: " + s.token("shaken", func(c *passport.Claims) { c.Attestation = attestation }) + certInfo + `;alg=ES256;ppt="shaken"`
}

// signedAt is when, and Date says so.
func signedAt(age time.Duration) func(*passport.Claims) {
	return func(c *passport.Claims) { c.IssuedAt = time.Now().Add(-age) }
}

func date(age time.Duration) string {
	return "Date: " + time.Now().Add(-age).UTC().Format(sipDate)
}

const number = "+12155551212"

// Who calls is shown as verified, not verified, or as one of whom nothing is
// known (RFC 8224 §6.2).
func TestVerifyIdentity_RFC8224_6_2(t *testing.T) {
	errGone := errors.New("410 Gone")
	for _, tt := range []struct {
		name   string
		from   string // number if ""
		lines  func(s *stir) []string
		stir   testca.Template
		cfg    func(t *testing.T, c *IdentityConfig, s *stir)
		want   Verification
		reason IdentityReason // 0: no error
		// unread: no certificate is asked for.
		unread bool
		is     error // what VerifyErr wraps
	}{
		{name: "signed", lines: func(s *stir) []string { return []string{s.full(nil)} }, want: VerificationPassed},
		{name: "no Identity", lines: func(*stir) []string { return nil }, unread: true},
		{
			name:  "no Certificates in the config",
			lines: func(s *stir) []string { return []string{s.full(nil)} },
			cfg:   func(_ *testing.T, c *IdentityConfig, _ *stir) { *c = IdentityConfig{} }, unread: true,
		},
		{name: "RFC 8588 §4: full attestation", lines: func(s *stir) []string { return []string{s.shaken("A")} }, want: VerificationPassed},
		{name: "RFC 8588 §4: partial attestation", lines: func(s *stir) []string { return []string{s.shaken("B")} }, reason: IdentityPartial},
		{name: "RFC 8588 §4: gateway attestation", lines: func(s *stir) []string { return []string{s.shaken("C")} }, reason: IdentityPartial},
		{
			name: "a partial attestation that is forged", want: VerificationFailed, reason: IdentitySignature,
			lines: func(s *stir) []string { return []string{newSTIR(s.t, testca.Template{}).shaken("B")} },
		},
		{
			name: "step 5: another's signature", want: VerificationFailed, reason: IdentitySignature,
			lines: func(s *stir) []string { return []string{newSTIR(s.t, testca.Template{}).full(nil)} },
		},

		// Step 4: "sixty seconds is RECOMMENDED".
		{name: "step 4: a minute old", lines: func(s *stir) []string { return []string{s.full(signedAt(time.Minute))} }, want: VerificationPassed},
		{
			name: "step 4: stale", want: VerificationFailed, reason: IdentityStale, unread: true,
			lines: func(s *stir) []string { return []string{s.full(signedAt(61 * time.Second))} },
		},
		{
			name: "step 4: from the future", want: VerificationFailed, reason: IdentityStale, unread: true,
			lines: func(s *stir) []string { return []string{s.full(signedAt(-61 * time.Second))} },
		},
		{
			name: "step 4: iat rules where Date differs", want: VerificationPassed,
			lines: func(s *stir) []string { return []string{s.full(nil), date(time.Hour)} },
		},
		{
			name: "step 4: a fresh Date does not make iat fresh", want: VerificationFailed, reason: IdentityStale, unread: true,
			lines: func(s *stir) []string { return []string{s.full(signedAt(time.Hour)), date(0)} },
		},

		// The compact form (RFC 8225 §7) stands for what the request says.
		{
			name: "compact", want: VerificationPassed,
			lines: func(s *stir) []string { return []string{s.compact(signedAt(5 * time.Second)), date(5 * time.Second)} },
		},
		{
			name: "compact, P-Asserted-Identity with two", from: "bob", want: VerificationPassed,
			lines: func(s *stir) []string {
				return []string{s.compact(nil), date(0), "P-Asserted-Identity: <sip:bob@example.com>, <tel:+1-215-555-1212>"}
			},
		},
		{
			name: "compact without Date", want: VerificationFailed, reason: IdentityMalformed, unread: true,
			lines: func(s *stir) []string { return []string{s.compact(nil)} },
		},
		{
			name: "compact with a Date that is none", want: VerificationFailed, reason: IdentityMalformed, unread: true,
			lines: func(s *stir) []string { return []string{s.compact(nil), "Date: yesterday"} },
		},
		{
			name: "compact, stale", want: VerificationFailed, reason: IdentityStale, unread: true,
			lines: func(s *stir) []string { return []string{s.compact(signedAt(time.Hour)), date(time.Hour)} },
		},
		{
			name: "compact with the Date of another", want: VerificationFailed, reason: IdentitySignature,
			lines: func(s *stir) []string { return []string{s.compact(signedAt(time.Hour)), date(0)} },
		},
		{
			name: "compact of another caller", from: "+12155551213", want: VerificationFailed, reason: IdentitySignature,
			lines: func(s *stir) []string { return []string{s.compact(nil), date(0)} },
		},

		// Whom it is about.
		{
			name: "another caller", from: "+12155551213", want: VerificationFailed, reason: IdentityCaller, unread: true,
			lines: func(s *stir) []string { return []string{s.full(nil)} },
		},
		{
			name: "what the server asserts counts, not From", from: "+12155551213", want: VerificationPassed,
			lines: func(s *stir) []string {
				return []string{s.full(nil), "P-Asserted-Identity: <sip:+12155551212;verstat=No-TN-Validation@example.com;user=phone>"}
			},
		},
		{
			name: "asserted is another than in From", want: VerificationFailed, reason: IdentityCaller, unread: true,
			lines: func(s *stir) []string {
				return []string{s.full(nil), "P-Asserted-Identity: <tel:+12155551213>"}
			},
		},
		{
			name: "From is shown for the sake of privacy, so From counts", from: "+12155551213", want: VerificationFailed, reason: IdentityCaller, unread: true,
			lines: func(s *stir) []string {
				return []string{s.full(nil), "P-Asserted-Identity: <tel:+12155551212>", "Privacy: id"}
			},
		},
		{
			name: "anonymous, the provider knows him", from: "anonymous", want: VerificationPassed,
			lines: func(s *stir) []string {
				return []string{s.full(nil), "P-Asserted-Identity: <tel:+12155551212>", "Privacy: id"}
			},
		},
		{name: "anonymous", from: "anonymous", lines: func(s *stir) []string { return []string{s.full(nil)} }, unread: true},
		{
			name: "another callee", want: VerificationFailed, reason: IdentityCallee, unread: true,
			lines: func(s *stir) []string {
				return []string{s.full(func(c *passport.Claims) { c.Dest = []passport.Party{{TN: "12155551213"}} })}
			},
		},
		{
			name: "one of several callees", want: VerificationPassed,
			lines: func(s *stir) []string {
				return []string{s.full(func(c *passport.Claims) {
					c.Dest = []passport.Party{{TN: "12155551213"}, {URI: "sip:bob@example.com"}, {URI: "sip:alice@example.com"}}
				})}
			},
		},
		{
			name: "callee by the Request-URI", want: VerificationPassed,
			lines: func(s *stir) []string {
				return []string{s.full(func(c *passport.Claims) { c.Dest = []passport.Party{{URI: "sip:alice@10.0.0.1"}} })}
			},
		},
		{
			name: "callee by another name of the account", want: VerificationPassed,
			lines: func(s *stir) []string {
				return []string{s.full(func(c *passport.Claims) { c.Dest = []passport.Party{{TN: "12155550000"}} })}
			},
			cfg: func(_ *testing.T, c *IdentityConfig, _ *stir) { c.Called = []string{"+1 (215) 555-0000"} },
		},
		{
			name: "§8.3: a number without country code", from: "2155551212", want: VerificationPassed,
			lines: func(s *stir) []string { return []string{s.full(nil)} },
			cfg:   func(_ *testing.T, c *IdentityConfig, _ *stir) { c.E164 = func(n string) string { return "1" + n } },
		},
		{
			name: "§8.5: URIs are compared without case and escapes", from: "%62ob", want: VerificationPassed,
			stir: testca.Template{DNS: []string{"example.com"}},
			lines: func(s *stir) []string {
				return []string{s.full(func(c *passport.Claims) { c.Orig = passport.Party{URI: "sip:Bob@Example.COM"} })}
			},
		},

		// The certificate.
		{
			name: "step 3: it cannot be fetched", reason: IdentityUnreachable, is: errGone,
			lines: func(s *stir) []string {
				s.fetch = func(context.Context) ([]*x509.Certificate, error) { return nil, errGone }
				return []string{s.full(nil)}
			},
		},
		{
			name: "step 3: no certificate came", want: VerificationFailed, reason: IdentityCertificate,
			lines: func(s *stir) []string {
				s.fetch = func(context.Context) ([]*x509.Certificate, error) { return nil, nil }
				return []string{s.full(nil)}
			},
		},
		{
			name: "step 3: not of https", reason: IdentityUnreachable, unread: true,
			lines: func(s *stir) []string {
				return []string{strings.Replace(s.compact(nil), "https", "http", 1), date(0)}
			},
		},
		{
			name: "unknown root", want: VerificationFailed, reason: IdentityCertificate,
			lines: func(s *stir) []string { return []string{s.full(nil)} },
			cfg:   func(t *testing.T, c *IdentityConfig, _ *stir) { c.Roots = newSTIR(t, testca.Template{}).ca.Pool() },
		},
		{
			name: "expired certificate", want: VerificationFailed, reason: IdentityCertificate,
			stir:  testca.Template{NotAfter: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}, // when time begins in a bubble
			lines: func(s *stir) []string { pass(time.Second); return []string{s.full(nil)} },
		},
		{
			name: "RFC 8226 §9: a certificate for another number", want: VerificationFailed, reason: IdentityAuthority,
			stir:  testca.Template{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}},
			lines: func(s *stir) []string { return []string{s.full(nil)} },
		},
		{
			name: "§8.4: a certificate for another domain", from: "bob", want: VerificationFailed, reason: IdentityAuthority,
			stir: testca.Template{DNS: []string{"example.net"}},
			lines: func(s *stir) []string {
				return []string{s.full(func(c *passport.Claims) { c.Orig = passport.Party{URI: "sip:bob@example.com"} })}
			},
		},

		// What cannot be read, and what is not known.
		{
			name: "nonsense", want: VerificationFailed, reason: IdentityMalformed, unread: true,
			lines: func(*stir) []string { return []string{"Identity: a.b.c" + certInfo} },
		},
		{
			name: "too large", want: VerificationFailed, reason: IdentityMalformed, unread: true,
			lines: func(*stir) []string { return []string{"Identity: " + strings.Repeat("a", 12<<10) + certInfo} },
		},
		{
			name: "info names another certificate than x5u", want: VerificationFailed, reason: IdentityMalformed, unread: true,
			lines: func(s *stir) []string { return []string{strings.Replace(s.full(nil), "<https://", "<https://x.", 1)} },
		},
		{
			name: "step 1: an extension that is not known", reason: IdentityUnsupported, unread: true,
			lines: func(s *stir) []string { return []string{s.compact(nil) + ";ppt=div", date(0)} },
		},
		{
			name: "another algorithm", reason: IdentityUnsupported, unread: true,
			lines: func(s *stir) []string { return []string{s.full(nil) + ";alg=RS256"} },
		},

		// Several: one that is valid and supported is enough (§6.2.2).
		{
			name: "one of several passes", want: VerificationPassed,
			lines: func(s *stir) []string {
				return []string{"Identity: a.b.c" + certInfo, s.full(signedAt(time.Hour)), s.full(nil) + ", " + strings.TrimPrefix(s.shaken("B"), "Identity: ")}
			},
		},
		{
			name: "a failure weighs more than what is not known", want: VerificationFailed, reason: IdentityUnsupported, unread: true,
			lines: func(s *stir) []string {
				return []string{s.compact(nil) + ";ppt=div", date(0), s.full(signedAt(time.Hour))}
			},
		},
		{
			name: "the fifth is not looked at", want: VerificationFailed, reason: IdentityMalformed, unread: true,
			lines: func(s *stir) []string {
				return append(strings.Split(strings.Repeat("Identity: a.b.c"+certInfo+"\n", maxIdentities), "\n")[:maxIdentities], s.full(nil))
			},
		},

		// With what the account's server says (3GPP TS 24.229 §7.2A.20).
		{
			name: "verstat says no", from: "+12155551212;verstat=TN-Validation-Failed", want: VerificationFailed,
			lines: func(s *stir) []string { return []string{s.full(nil)} },
		},
		{
			name: "verstat says yes, Identity no", from: "+12155551212;verstat=TN-Validation-Passed", want: VerificationFailed, reason: IdentityStale, unread: true,
			lines: func(s *stir) []string { return []string{s.full(signedAt(time.Hour))} },
		},
		{
			name: "verstat says yes, Identity nothing", from: "+12155551212;verstat=TN-Validation-Passed", want: VerificationPassed, reason: IdentityPartial,
			lines: func(s *stir) []string { return []string{s.shaken("C")} },
		},
		{
			name: "verstat alone", from: "+12155551212;verstat=TN-Validation-Passed", want: VerificationPassed, unread: true,
			lines: func(s *stir) []string { return nil },
		},
	} {
		var sg *stir
		onStage(t, tt.name, func(c *Config) {
			sg = newSTIR(t, tt.stir)
			c.Identity = sg.config()
			if tt.cfg != nil {
				tt.cfg(t, &c.Identity, sg)
			}
		}, func(t *testing.T, s *stage) {
			from := tt.from
			if from == "" {
				from = number
			}
			lines := tt.lines(sg)
			begin := time.Now()
			s.actor(from).invite(lines...)
			c, err := s.ua.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			after(t, begin, 0)
			id := c.Identity()
			var why *IdentityError
			errors.As(id.VerifyErr, &why)
			if id.Verified != tt.want || (id.VerifyErr != nil) != (tt.reason != 0) || why != nil && why.Reason != tt.reason {
				t.Errorf("%v, %v", id.Verified, id.VerifyErr)
			}
			if tt.is != nil && !errors.Is(id.VerifyErr, tt.is) {
				t.Errorf("%v does not wrap %v", id.VerifyErr, tt.is)
			}
			if got := sg.fetched.Load() == 0; got != tt.unread {
				t.Errorf("certificates were fetched %d times", sg.fetched.Load())
			}
		})
	}
}

// hanging is a server of certificates that says nothing; why is told how the
// waiting for it has ended.
func hanging(s *stir) (why <-chan error) {
	ch := make(chan error, 8)
	s.fetch = func(ctx context.Context) ([]*x509.Certificate, error) {
		<-ctx.Done()
		ch <- context.Cause(ctx)
		return nil, ctx.Err()
	}
	return ch
}

// A call waits for a certificate for three seconds and no longer, and meanwhile
// is one like any other.
func TestVerifyIdentityWaits(t *testing.T) {
	var sg *stir
	var why <-chan error
	var asked atomic.Int32 // AutoAnswer
	cfg := func(c *Config) {
		asked.Store(0)
		sg = newSTIR(t, testca.Template{})
		why = hanging(sg)
		c.Identity, c.AcceptQueue = sg.config(), 1
		c.AutoAnswer = func(c *Call) bool {
			asked.Add(1)
			return c.Identity().Verified == VerificationPassed
		}
	}
	// unreachable checks that a call is handed over now, and not verified.
	unreachable := func(t *testing.T, s *stage, want error) *Call {
		t.Helper()
		now := time.Now()
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after(t, now, 0)
		id := c.Identity()
		if id.Verified != VerificationAbsent || !errors.Is(id.VerifyErr, want) {
			t.Errorf("%v, %v", id.Verified, id.VerifyErr)
		}
		return c
	}
	onStage(t, "for three seconds", cfg, func(t *testing.T, s *stage) {
		a := s.actor(number)
		a.invite(sg.full(nil))
		s.quiet(3*time.Second - 1)
		if n := len(s.ua.incoming); n != 0 {
			t.Error("the call was handed over before")
		}
		pass(1)
		c := unreachable(t, s, context.DeadlineExceeded)
		if err := <-why; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		go c.Answer(t.Context(), nil)
		a.taken()
	})
	onStage(t, "for a server that does not let go either", cfg, func(t *testing.T, s *stage) {
		release := make(chan struct{})
		sg.fetch = func(context.Context) ([]*x509.Certificate, error) {
			<-release
			return []*x509.Certificate{sg.cert.Leaf}, nil
		}
		s.actor(number).invite(sg.full(nil))
		pass(3 * time.Second)
		c := unreachable(t, s, context.DeadlineExceeded)
		close(release)
		synctest.Wait()
		if id := c.Identity(); id.Verified != VerificationAbsent {
			t.Errorf("changed to %v when the app had it", id.Verified)
		}
	})
	onStage(t, "not when the caller gives up", cfg, func(t *testing.T, s *stage) {
		a := s.actor(number)
		a.invite(sg.full(nil), "Call-Info: <sip:h>;answer-after=0")
		pass(time.Second)
		a.say("CANCEL")
		s.response(200)
		s.response(487)
		a.say("ACK")
		synctest.Wait()
		// It is missed, as one is that its caller gives up before Accept.
		c := unreachable(t, s, context.Canceled)
		if c.State() != CallEnded || c.End().Cause != CauseMissed {
			t.Errorf("%v, %+v", c.State(), c.End())
		}
		if asked.Load() != 0 {
			t.Error("asked whether to answer a call that is over")
		}
		if err := <-why; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		s.quiet(10 * time.Second)
	})
	onStage(t, "not when another statement passes", cfg, func(t *testing.T, s *stage) {
		hang := make(chan struct{}, 1)
		sg.fetch = func(ctx context.Context) ([]*x509.Certificate, error) {
			select {
			case hang <- struct{}{}:
				<-ctx.Done()
				return nil, ctx.Err()
			default:
				return []*x509.Certificate{sg.cert.Leaf}, nil
			}
		}
		begin := time.Now()
		s.actor(number).invite(sg.full(nil), sg.shaken("A"))
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after(t, begin, 0)
		if id := c.Identity(); id.Verified != VerificationPassed || id.VerifyErr != nil {
			t.Errorf("%v, %v", id.Verified, id.VerifyErr)
		}
	})
	onStage(t, "in a place of AcceptQueue", cfg, func(t *testing.T, s *stage) {
		s.actor(number).invite(sg.full(nil))
		synctest.Wait()
		b := s.actor("bob")
		b.invite()
		s.response(486)
		b.say("ACK")
		pass(3 * time.Second)
		unreachable(t, s, context.DeadlineExceeded)
		b.invite()
		if c, err := s.ua.Accept(t.Context()); err != nil || c.Identity().VerifyErr != nil {
			t.Error(err)
		}
	})
	onStage(t, "not for a shutdown", cfg, func(t *testing.T, s *stage) {
		s.actor(number).invite(sg.full(nil))
		synctest.Wait()
		closed := shut(t.Context(), s.ua)
		if r := s.response(480); r.CSeq().MethodName != "INVITE" {
			t.Errorf("%v", r)
		}
		s.request("REGISTER").reply(200)
		if err := <-why; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		// Over UDP the 480 is repeated until its ACK comes, which never does.
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
	onStage(t, "before it is answered by itself", cfg, func(t *testing.T, s *stage) {
		sg.fetch = func(ctx context.Context) ([]*x509.Certificate, error) {
			<-time.After(time.Second)
			return []*x509.Certificate{sg.cert.Leaf}, nil
		}
		begin := time.Now()
		a := s.actor(number)
		a.invite(sg.full(nil), "Call-Info: <sip:h>;answer-after=0")
		a.taken()
		after(t, begin, time.Second)
	})
}

func TestIdentityConfigRefused(t *testing.T) {
	account := Account{AOR: "sip:alice@example.com"}
	certificates := func(context.Context, string) ([]*x509.Certificate, error) { return nil, nil }
	for name, cfg := range map[string]IdentityConfig{
		"no roots":      {Certificates: certificates},
		"a bad number":  {Called: []string{"one"}},
		"a bad URI":     {Called: []string{"sip:"}},
		"nobody's name": {Called: []string{"sip:example.com"}},
	} {
		ua, err := New(&Config{Account: account, Identity: cfg})
		if err == nil {
			ua.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
