package sip

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/call"
	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/endpoint"
	"github.com/hoorn-phone/hoorn/internal/register"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Requests within a dialog (RFC 3261 §12.2.2).
func TestInDialog(t *testing.T) {
	bubbles(t, "OPTIONS, unknown extensions and methods, numbers out of order", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		tag := in.m.LocalTag()
		c.ask("OPTIONS", "in", "o1", 5, tag, "")
		if r := c.response(200); sipwire.Header(r, "Allow") != allow {
			t.Errorf("%v", r)
		}
		c.ask("OPTIONS", "in", "o2", 4, tag, "")
		c.response(500)
		c.ask("INVITE", "in", "o3", 6, tag, sdpBody, "Require: nothing")
		c.response(420)
		c.ask("PUBLISH", "in", "o4", 7, tag, "")
		c.response(405)
		c.ask("UPDATE", "in", "o5", 8, tag, sdpBody)
		if r := c.response(200); len(r.Body()) == 0 || r.Contact() == nil {
			t.Errorf("%v", r)
		}
		if in.State() != CallEstablished {
			t.Error(in.State())
		}
	})
}

func TestRenegotiate(t *testing.T) {
	bubbles(t, "accepted, refused, ended", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		result := make(chan error, 1)
		again := func() { result <- in.Renegotiate(t.Context(), offeranswer.Options{}) }
		go again()
		invite := c.request("INVITE")
		c.write(withLines(sipwire.ResponseTo(invite, 200, "", ""), sdpBody, []string{"Contact: <sip:10.0.0.2>", "Content-Type: application/sdp"}))
		c.request("ACK")
		if err := <-result; err != nil {
			t.Error(err)
		}
		go again()
		c.reply(c.request("INVITE"), 488)
		c.request("ACK")
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Code != 488 || se.Error() != "sip: INVITE refused: 488 Not Acceptable Here" {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := in.Renegotiate(ctx, offeranswer.Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		c.request("INVITE")
		go again()
		synctest.Wait()
		c.ask("BYE", "in", "bye", 9, in.m.LocalTag(), "")
		c.response(200)
		if err := <-result; !errors.Is(err, ErrEnded) {
			t.Errorf("%v", err)
		}
		if err := in.Renegotiate(t.Context(), offeranswer.Options{}); !errors.Is(err, ErrEnded) {
			t.Errorf("%v", err)
		}
	})
}

// What the app may ask of a call too early, too late or twice.
func TestCallStates(t *testing.T) {
	bubbles(t, "outgoing", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, fn := range map[string]func() error{
			"Ring":     func() error { return out.Ring(t.Context()) },
			"Progress": func() error { return out.Progress(t.Context()) },
			"Answer":   func() error { return out.Answer(t.Context(), nil) },
			"Reject":   func() error { return out.Reject(t.Context(), 486) },
			"Hold":     func() error { return out.Hold(t.Context()) },
			"Resume":   func() error { return out.Resume(t.Context()) },
		} {
			if err := fn(); !errors.Is(err, ErrState) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if out.State() != CallCalling || out.End().By != 0 || out.Header("From") != nil || out.Remote().URI != "sip:bob@example.com" {
			t.Errorf("%v, %+v, %v", out.State(), out.End(), out.Remote())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := out.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		c.reply(c.request("INVITE"), 603, "Reason: Q.850;cause=21", "Retry-After: 7")
		c.request("ACK")
		var se *StatusError
		if err := out.Answered(t.Context()); !errors.As(err, &se) || se.RetryAfter != 7*time.Second || !slices.Equal(se.Reasons, []Reason{{Protocol: "Q.850", Cause: 21}}) {
			t.Errorf("%v", err)
		}
		if err := errors.Join(out.Hangup(t.Context()), out.Hangup(t.Context())); err != nil {
			t.Error(err)
		}
	})
	bubbles(t, "incoming, given up while it is answered", func(t *testing.T, s *server) {
		cfg := s.config()
		proceed := make(chan struct{})
		cfg.NewMedia = func(ctx context.Context, env offeranswer.Env) (offeranswer.Media, error) {
			<-proceed
			return NoMedia(ctx, env)
		}
		ua, c := registered(t, s, cfg, 3600)
		in := called(t, ua, c, "x")
		answer := make(chan error, 1)
		go func() { answer <- in.Answer(t.Context(), nil) }()
		c.response(100)
		c.ask("CANCEL", "x", "b", 1, "", "")
		c.response(200)
		c.response(487)
		if err := <-answer; !errors.Is(err, ErrEnded) {
			t.Errorf("Answer: %v", err)
		}
		close(proceed)
	})
	bubbles(t, "early media, then the answer", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := called(t, ua, c, "x")
		if err := in.Progress(t.Context()); err != nil {
			t.Fatal(err)
		}
		early := c.response(183)
		if in.Media() == nil || len(in.Streams()) != 1 || in.Streams()[0].Kind != offeranswer.Audio {
			t.Errorf("media %v, streams %v", in.Media(), in.Streams())
		}
		go in.Answer(t.Context(), nil)
		ok := c.response(200)
		if string(early.Body()) != string(ok.Body()) {
			t.Error("RFC 3261 §13.2.1: 183 and 200 differ")
		}
		c.ask("ACK", "x", "b2", 1, sipwire.ToTag(ok), "")
		if err := in.Answered(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestOptions(t *testing.T) {
	bubbles(t, "answers and errors", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		type result struct {
			allow []string
			err   error
		}
		ask := func(ctx context.Context, uri string) <-chan result {
			ch := make(chan result, 1)
			go func() { a, err := ua.Options(ctx, uri); ch <- result{a, err} }()
			return ch
		}
		r := ask(t.Context(), "")
		req := c.request("OPTIONS")
		if got := req.Recipient.String(); got != "sip:example.com" {
			t.Errorf("asked %s", got)
		}
		c.reply(req, 100)
		c.reply(req, 200, "Allow: INVITE, ACK", "Allow: BYE")
		if got := <-r; got.err != nil || !slices.Equal(got.allow, []string{"INVITE", "ACK", "BYE"}) {
			t.Errorf("%+v", got)
		}
		r = ask(t.Context(), "bob")
		c.reply(c.request("OPTIONS"), 404, "Retry-After: 9")
		var se *StatusError
		if got := <-r; !errors.As(got.err, &se) || se.Method != "OPTIONS" || se.Code != 404 || se.RetryAfter != 9*time.Second {
			t.Errorf("%+v", got)
		}
		if got := <-ask(t.Context(), "sip:"); got.err == nil {
			t.Error("a bad URI was asked")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := <-ask(ctx, ""); !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("%+v", got)
		}
		c.request("OPTIONS")
		var te *TimeoutError
		if got := <-ask(t.Context(), ""); !errors.As(got.err, &te) {
			t.Errorf("%+v", got)
		}
	})
	bubbles(t, "a direct account has no registrar", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.Account.Direct = true
		ua := newUA(t, cfg)
		if _, err := ua.Register(t.Context()); err != ErrDirect {
			t.Errorf("Register: %v", err)
		}
		if !strings.HasPrefix(ua.Instance(), "urn:uuid:") || ua.AOR() != "sip:alice@example.com" {
			t.Errorf("%s, %s", ua.Instance(), ua.AOR())
		}
	})
}

// Each error says what it is, and lets through what it is made of.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
		is   error
	}{
		{publicError("INVITE", transaction.ErrTimeout), "sip: INVITE: timed out", nil},
		{publicError("REGISTER", register.ErrTimeout), "sip: REGISTER: timed out", nil},
		{publicError("INVITE", &digest.AuthError{Realm: "r"}), `sip: authentication at realm "r": digest: credentials refused for realm "r"`, nil},
		{publicError("INVITE", &digest.ChallengeError{Realm: "r", Err: digest.ErrWeakChallenge}), "", ErrWeakDigest},
		{publicError("INVITE", digest.ErrRspAuth), "", ErrServerUnproved},
		{publicError("INVITE", digest.ErrTooManyChallenges), "", digest.ErrTooManyChallenges},
		{publicError("INVITE", &endpoint.FlowError{Err: io.EOF}), "sip: no connection to the server: EOF", io.EOF},
		{publicError("INVITE", &endpoint.FlowError{Err: io.EOF}), "", ErrNoFlow},
		{publicError("INVITE", endpoint.ErrClosed), "sip: user agent closed", ErrClosed},
		{publicError("INVITE", call.ErrMedia), "", ErrMedia},
		{publicError("INVITE", call.ErrOffer), "", ErrNoDescription},
		{&CertificateError{Reason: CertificateExpired, Domain: "example.com", Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "", nil},
		{&DialError{}, "sip: there is no server to connect to", nil},
		{&DialError{Attempts: []DialAttempt{{Transport: TLS, Err: io.EOF}}}, "sip: no connection to a server; tls invalid AddrPort: EOF", io.EOF},
		{&URIError{"x", "is none"}, `sip: URI "x": is none`, nil},
	} {
		if tt.want != "" && tt.err.Error() != tt.want || tt.err.Error() == "" {
			t.Errorf("%q, want %q", tt.err, tt.want)
		}
		if tt.is != nil && !errors.Is(tt.err, tt.is) {
			t.Errorf("%v is not %v", tt.err, tt.is)
		}
	}
	if publicError("x", nil) != nil {
		t.Error("an error out of nothing")
	}
	slow := &TimeoutError{Op: "x"}
	for _, tt := range []struct {
		e    *DialError
		want bool
	}{
		{&DialError{}, false},
		{&DialError{Attempts: []DialAttempt{{Err: slow}, {Err: slow}}}, true},
		{&DialError{Attempts: []DialAttempt{{Err: slow}, {Err: io.EOF}}}, false},
	} {
		if tt.e.Timeout() != tt.want || tt.e.Temporary() != tt.want {
			t.Errorf("%v: timeout %v", tt.e, tt.e.Timeout())
		}
	}
}

// What cannot be an account is refused by New, with a reason.
func TestBadConfig(t *testing.T) {
	good := Account{AOR: "sip:alice@example.com"}
	for name, mod := range map[string]func(*Account){
		"registrar":         func(a *Account) { a.Registrar = "sip:exa mple.com" },
		"registrar name":    func(a *Account) { a.Registrar = "exa mple" },
		"proxy":             func(a *Account) { a.Proxy = "example.com" },
		"transport":         func(a *Account) { a.Transport = "smoke" },
		"sips over UDP":     func(a *Account) { a.AOR, a.Transport = "sips:alice@example.com", UDP },
		"flows":             func(a *Account) { a.Flows = 3 },
		"expires":           func(a *Account) { a.Expires = -1 },
		"digest":            func(a *Account) { a.MinDigest = "ROT13" },
		"proxy's transport": func(a *Account) { a.Proxy = "sip:example.com;transport=smoke" },
	} {
		a := good
		mod(&a)
		if ua, err := New(&Config{Account: a}); err == nil {
			ua.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(nil); err == nil {
		t.Error("no Config: accepted")
	}
	if _, err := New(&Config{Account: good, Rand: strings.NewReader("")}); err == nil {
		t.Error("no randomness: accepted")
	}
	// Registrars may be domains or URIs; sips wants TLS.
	for _, r := range []string{"example.org", "sip:example.org", "sips:example.org"} {
		a := good
		a.Registrar = r
		ua, err := New(&Config{Account: a})
		if err != nil {
			t.Errorf("%s: %v", r, err)
			continue
		}
		if ua.acct.registrar.Host != "example.org" || ua.acct.transport != TLS {
			t.Errorf("%s: %+v", r, ua.acct)
		}
		ua.Close()
	}
}
