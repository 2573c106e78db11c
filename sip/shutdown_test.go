package sip

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// shut shuts the user agent down in the background.
func shut(ctx context.Context, ua *UA) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- ua.Shutdown(ctx) }()
	return ch
}

// after fails the test unless Shutdown took so long.
func after(t *testing.T, begin time.Time, want time.Duration) {
	t.Helper()
	if took := time.Since(begin); took != want {
		t.Errorf("took %v, want %v", took, want)
	}
}

// A shutdown says its farewells in whatever state there is, and waits for what
// is answered to them.
func TestShutdown(t *testing.T) {
	bubble(t, "with nothing to do", func(t *testing.T, s *server) {
		ua, err := New(s.config())
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := ua.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := errors.Join(ua.Close(), ua.Close(), ua.Shutdown(t.Context())); err != nil {
			t.Error(err)
		}
		after(t, begin, 0)
	})
	bubble(t, "while registering", func(t *testing.T, s *server) {
		ua, err := New(s.config())
		if err != nil {
			t.Fatal(err)
		}
		reg := registering(t.Context(), ua)
		c := s.accept()
		req := c.request("REGISTER")
		closed := shut(t.Context(), ua)
		synctest.Wait()
		c.granted(req, 3600)
		removal := c.request("REGISTER") // RFC 3261 §10.2: not before the first is answered
		if !isRemoval(removal) {
			t.Errorf("sent %v", removal)
		}
		c.reply(removal, 200)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if got := <-reg; got.err != ErrUnregistered {
			t.Errorf("Register: %v", got.err)
		}
		c.gone()
	})
	bubble(t, "while connecting", func(t *testing.T, s *server) {
		s.net.BlackHole("10.0.0.2", true)
		ua, err := New(s.config())
		if err != nil {
			t.Fatal(err)
		}
		reg := registering(t.Context(), ua)
		call, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		begin := time.Now()
		if err := ua.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		after(t, begin, 0)
		if got := <-reg; got.err != ErrUnregistered {
			t.Errorf("Register: %v", got.err)
		}
		if end := call.End(); call.State() != CallEnded || end.By != Local {
			t.Errorf("%v, %+v", call.State(), end)
		}
	})
	bubble(t, "registered", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		closed := shut(t.Context(), ua)
		c.reply(c.request("REGISTER"), 200)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		c.gone()
	})
	bubble(t, "a registrar that says nothing", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := ua.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		after(t, begin, 5*time.Second)
		c.request("REGISTER")
		c.gone()
	})
	bubble(t, "calling, nothing heard yet", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		call, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.request("INVITE")
		closed := shut(t.Context(), ua)
		c.reply(c.request("REGISTER"), 200)
		pass(20 * time.Second)
		select {
		case err := <-closed:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		if err := <-closed; err != nil { // Timer B
			t.Error(err)
		}
		if end := call.End(); end.By != Local || end.Err != nil {
			t.Errorf("end %+v", end)
		}
	})
	bubble(t, "ringing there", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		call, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		invite := c.request("INVITE")
		c.reply(invite, 180)
		synctest.Wait()
		closed := shut(t.Context(), ua)
		var cancelled bool
		for range 2 {
			m := <-c.in
			switch req := m.(*sipRequest); req.Method {
			case "REGISTER":
				c.reply(req, 200)
			case "CANCEL":
				c.reply(req, 200)
				c.reply(invite, 487)
				cancelled = true
			}
		}
		c.request("ACK")
		if err := <-closed; err != nil || !cancelled {
			t.Error(err, cancelled)
		}
		if end := call.End(); end.By != Local || end.Status != 487 {
			t.Errorf("end %+v", end)
		}
	})
	bubble(t, "ringing here: other devices ring on", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := called(t, ua, c, "x")
		in.Ring(t.Context())
		c.response(180)
		closed := shut(t.Context(), ua)
		c.response(480)
		c.reply(c.request("REGISTER"), 200)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if end := in.End(); end.By != Local || end.Status != 480 || in.Wait(t.Context()) != nil {
			t.Errorf("end %+v", end)
		}
	})
	bubble(t, "answered, not acknowledged", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := called(t, ua, c, "x")
		go in.Answer(t.Context(), nil)
		ok := c.response(200)
		closed := shut(t.Context(), ua)
		c.reply(c.request("REGISTER"), 200)
		// RFC 3261 §15: no BYE before the ACK.
		c.ask("ACK", "x", "b2", 1, sipwire.ToTag(ok), "")
		c.reply(c.request("BYE"), 200)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
	bubble(t, "in a call: the BYE is answered, after a challenge", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		closed := shut(t.Context(), ua)
		bye := c.request("BYE")
		c.reply(c.request("REGISTER"), 200) // the connection is still needed
		pass(time.Second)
		c.reply(bye, 401, `WWW-Authenticate: Digest realm="r",nonce="n",algorithm=SHA-256,qop="auth"`)
		c.reply(c.request("BYE"), 200)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if end := in.End(); end.By != Local {
			t.Errorf("end %+v", end)
		}
	})
	bubble(t, "Close waits two seconds", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		begin := time.Now()
		if err := ua.Close(); err != nil {
			t.Error(err)
		}
		after(t, begin, 2*time.Second)
		if in.State() != CallEnded {
			t.Error(in.State())
		}
	})
	bubble(t, "Close ends a Shutdown that is too patient", func(t *testing.T, s *server) {
		ua, _ := registered(t, s, s.config(), 3600)
		closed := shut(t.Context(), ua)
		synctest.Wait()
		begin := time.Now()
		if err := ua.Close(); err != nil {
			t.Error(err)
		}
		<-closed
		after(t, begin, 2*time.Second)
	})
	bubble(t, "with a context that has ended", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := ua.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if in.State() != CallEnded {
			t.Error(in.State())
		}
		c.request("BYE") // said all the same
	})
}

// While it shuts down nothing begins; after it everything is ErrClosed.
func TestClosed(t *testing.T) {
	bubble(t, "draining", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		closed := shut(t.Context(), ua)
		removal := c.request("REGISTER")
		if _, err := ua.Dial(t.Context(), "bob", nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Dial: %v", err)
		}
		if _, err := ua.Register(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Register: %v", err)
		}
		c.ask("INVITE", "x", "b", 1, "", sdpBody)
		c.response(480)
		c.ask("OPTIONS", "y", "b2", 1, "", "")
		c.response(480)
		c.reply(removal, 200)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
	bubble(t, "closed", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		reg := ua.reg
		c.ask("INVITE", "z", "b9", 1, "", sdpBody) // waits to be accepted
		c.response(100)
		waiting := make(chan error, 1)
		ua.Accept(t.Context())
		go func() { _, err := ua.Accept(t.Context()); waiting <- err }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ua.Shutdown(ctx)
		if err := <-waiting; err != ErrClosed {
			t.Errorf("the waiting Accept: %v", err)
		}
		for name, fn := range map[string]func() error{
			"Accept":      func() error { _, err := ua.Accept(t.Context()); return err },
			"Dial":        func() error { _, err := ua.Dial(t.Context(), "bob", nil); return err },
			"Register":    func() error { _, err := ua.Register(t.Context()); return err },
			"Options":     func() error { _, err := ua.Options(t.Context(), ""); return err },
			"Ring":        func() error { return in.Ring(t.Context()) },
			"Answer":      func() error { return in.Answer(t.Context(), nil) },
			"Progress":    func() error { return in.Progress(t.Context()) },
			"Reject":      func() error { return in.Reject(t.Context(), 486) },
			"Renegotiate": func() error { return in.Renegotiate(t.Context(), offeranswer.Options{}) },
			"Unregister":  func() error { return reg.Unregister(t.Context()) },
		} {
			if err := fn(); !errors.Is(err, ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := in.Hangup(t.Context()); err != nil {
			t.Errorf("Hangup of a call that is over: %v", err)
		}
		for range in.Events(t.Context()) { // ends
		}
		for range reg.Events(t.Context()) {
		}
		if err := reg.Wait(t.Context()); err != ErrUnregistered {
			t.Errorf("Wait: %v", err)
		}
	})
	bubble(t, "calls that nobody accepted", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		c.ask("INVITE", "z", "b9", 1, "", sdpBody)
		c.response(100)
		closed := shut(t.Context(), ua)
		c.response(480)
		c.reply(c.request("REGISTER"), 200)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if _, err := ua.Accept(t.Context()); err != ErrClosed {
			t.Errorf("Accept: %v", err)
		}
	})
}

// A call that its starter does not wait for is not left behind.
func TestStartGivenUp(t *testing.T) {
	bubble(t, "the loop is busy", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		busy := make(chan struct{})
		ua.ep.Post(func(time.Time) { <-busy })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ua.Start(ctx, "bob", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Start: %v", err)
		}
		close(busy)
		c.quiet(time.Minute)
		ua.ep.Run(t.Context(), func(time.Time) {
			if len(ua.calls) != 0 {
				t.Error("there is a call")
			}
		})
	})
	bubble(t, "Hangup with a context that has ended", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		busy := make(chan struct{})
		ua.ep.Post(func(time.Time) { <-busy })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := in.Hangup(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Hangup: %v", err)
		}
		close(busy)
		c.reply(c.request("BYE"), 200)
		if err := in.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
