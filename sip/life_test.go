package sip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/locate"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// newUA makes a user agent that the test, or its end, closes.
func newUA(t *testing.T, cfg *Config) *UA {
	t.Helper()
	ua, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		ua.Shutdown(ctx)
	})
	return ua
}

type regOutcome struct {
	reg *Registration
	err error
}

// registering registers in the background.
func registering(ctx context.Context, ua *UA) <-chan regOutcome {
	ch := make(chan regOutcome, 1)
	go func() {
		reg, err := ua.Register(ctx)
		ch <- regOutcome{reg, err}
	}()
	return ch
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// gone fails the test unless the connection is closed.
func (c *conn) gone() {
	c.t.Helper()
	for range cap(c.in) {
		if _, ok := <-c.in; !ok {
			return
		}
	}
	c.t.Error("the connection is still open")
}

func isRemoval(req *sipgo.Request) bool {
	return sipwire.Header(req, "Expires") == "0" || strings.Contains(contactOf(req), "expires=0")
}

func TestRegisterTwice(t *testing.T) {
	bubble(t, "the attempt is one, and ends with the last who waits for it", func(t *testing.T, s *server) {
		ua := newUA(t, s.config())
		ctx, cancel := context.WithCancel(t.Context())
		one, two := registering(ctx, ua), registering(t.Context(), ua)
		c := s.accept()
		req := c.request("REGISTER")
		synctest.Wait() // both wait for it
		cancel()
		if got := <-one; !errors.Is(got.err, context.Canceled) {
			t.Errorf("the first: %v", got.err)
		}
		c.granted(req, 3600)
		got := <-two
		if got.err != nil {
			t.Fatalf("the second: %v", got.err)
		}
		// Whoever comes later gets the same one, and cannot end it.
		for range 10 {
			if reg, err := ua.Register(ctx); err == nil && reg != got.reg || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%v, %v", reg, err)
			}
		}
		if reg, err := ua.Register(t.Context()); reg != got.reg || err != nil {
			t.Errorf("%v, %v", reg, err)
		}
		if !got.reg.Info().Registered || got.reg.Err() != nil {
			t.Error("the registration has ended")
		}
	})
	bubble(t, "given up, and begun anew at once", func(t *testing.T, s *server) {
		ua := newUA(t, s.config())
		for _, dialled := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			one := registering(ctx, ua)
			if dialled {
				s.accept().request("REGISTER")
			}
			cancel()
			if got := <-one; !errors.Is(got.err, context.Canceled) || got.reg != nil {
				t.Fatalf("%v, %v", got.reg, got.err)
			}
		}
		two := registering(t.Context(), ua)
		for {
			c := s.accept()
			if m, ok := <-c.in; ok { // not one of those given up
				c.granted(m.(*sipgo.Request), 3600)
				break
			}
		}
		if got := <-two; got.err != nil {
			t.Error(got.err)
		}
	})
	bubble(t, "while it is being removed: after that", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		reg, err := ua.Register(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		left := make(chan error, 2)
		for range 2 {
			go func() { left <- reg.Unregister(t.Context()) }()
		}
		removal := c.request("REGISTER")
		if !isRemoval(removal) {
			t.Fatalf("sent %v", removal)
		}
		again := registering(t.Context(), ua)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ua.Register(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Register with a deadline: %v", err)
		}
		c.reply(removal, 200)
		for range 2 {
			if err := <-left; err != nil {
				t.Errorf("Unregister: %v", err)
			}
		}
		if err := reg.Wait(t.Context()); err != ErrUnregistered {
			t.Errorf("Wait: %v", err)
		}
		c.gone()
		c2 := s.accept()
		c2.granted(c2.request("REGISTER"), 3600)
		got := <-again
		if got.err != nil || got.reg == reg {
			t.Errorf("%v, %v", got.reg, got.err)
		}
		// The former one is over, and says so.
		if err := reg.Unregister(t.Context()); err != nil {
			t.Errorf("Unregister again: %v", err)
		}
		if got.reg.Err() != nil {
			t.Error("that ended the new one")
		}
	})
	bubble(t, "refused, and tried again", func(t *testing.T, s *server) {
		ua := newUA(t, s.config())
		for range 2 {
			one := registering(t.Context(), ua)
			c := s.accept()
			c.reply(c.request("REGISTER"), 403, "Retry-After: 30")
			var se *StatusError
			if got := <-one; !errors.As(got.err, &se) || se.Code != 403 || se.Method != "REGISTER" || se.RetryAfter != 30*time.Second {
				t.Errorf("%v", got.err)
			}
			c.gone()
		}
	})
}

// Unregister says whether the registrar has heard of it.
func TestUnregister(t *testing.T) {
	bubble(t, "refused", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		reg := ua.reg
		left := make(chan error, 1)
		go func() { left <- reg.Unregister(t.Context()) }()
		c.reply(c.request("REGISTER"), 500)
		var se *StatusError
		if err := <-left; !errors.As(err, &se) || se.Code != 500 {
			t.Errorf("%v", err)
		}
		if reg.Err() != ErrUnregistered || reg.Info().Registered {
			t.Errorf("%v, %+v", reg.Err(), reg.Info())
		}
	})
	bubble(t, "unanswered", func(t *testing.T, s *server) {
		ua, _ := registered(t, s, s.config(), 3600)
		begin := time.Now()
		err := ua.reg.Unregister(t.Context())
		var te *TimeoutError
		if !errors.As(err, &te) || time.Since(begin) != 32*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
	bubble(t, "no connection", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		s.stop()
		c.c.Close()
		pass(time.Second)
		if err := ua.reg.Unregister(t.Context()); !errors.Is(err, ErrNoFlow) {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "the connection is lost meanwhile", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		pass(time.Minute)
		left := make(chan error, 1)
		reg := ua.reg
		go func() { left <- reg.Unregister(t.Context()) }()
		c.request("REGISTER")
		c.c.Close()
		if err := <-left; !errors.Is(err, ErrNoFlow) || !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
	bubble(t, "calls go on", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		reg := ua.reg
		left := make(chan error, 1)
		go func() { left <- reg.Unregister(t.Context()) }()
		c.reply(c.request("REGISTER"), 200)
		if err := <-left; err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if in.State() != CallEstablished {
			t.Fatalf("the call is %v", in.State())
		}
		go in.Hangup(t.Context())
		c.reply(c.request("BYE"), 200)
		c.gone() // nobody needs it any more
	})
}

// called is a call that comes, on branch "b", with further header fields.
func called(t *testing.T, ua *UA, c *conn, id string, lines ...string) *Call {
	t.Helper()
	c.ask("INVITE", id, "b", 1, "", sdpBody, lines...)
	in, err := ua.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// answered brings up a call that the server made.
func answered(t *testing.T, ua *UA, c *conn) *Call {
	t.Helper()
	in := called(t, ua, c, "in")
	go in.Answer(t.Context(), nil)
	ok := c.response(200)
	c.ask("ACK", "in", "in2", 1, sipwire.ToTag(ok), "")
	if err := in.Answered(t.Context()); err != nil {
		t.Fatal(err)
	}
	return in
}

// twoFlows brings up an account with two flows to two servers. The flow of
// reg-id 1 comes first.
func twoFlows(t *testing.T, s *server) (ua *UA, one, two *conn) {
	t.Helper()
	cfg := twoServers(s)
	ua, outcome := start(t, cfg)
	for range 2 {
		c := s.accept()
		req := c.request("REGISTER")
		if strings.Contains(contactOf(req), "reg-id=1") {
			one = c
		} else {
			two = c
		}
		c.granted(req, 3600, "Require: outbound")
	}
	if err := <-outcome; err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return ua, one, two
}

func twoServers(s *server) *Config {
	s.listen("10.0.0.3:5061", true)
	cfg := s.config()
	cfg.Account.Flows = 2
	cfg.Network.Resolver.(*locate.Static).IP["example.com"] = []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")}
	return cfg
}

func TestTwoFlows(t *testing.T) {
	bubble(t, "one is lost: the account stays registered, and its calls move", func(t *testing.T, s *server) {
		stop := s.stop
		ua, one, two := twoFlows(t, s)
		if one.c.LocalAddr().String() != "10.0.0.2:5061" {
			one, two = two, one
		}
		in := answered(t, ua, one)
		pass(time.Minute)
		stop()
		s.stop()
		one.c.Close()
		synctest.Wait()
		if info := ua.reg.Info(); !info.Registered {
			t.Error("not registered any more")
		}
		var states []string
		for _, e := range ua.reg.log.events {
			states = append(states, fmt.Sprint(e.State, " ", e.RegID))
		}
		if got := states[len(states)-1]; !strings.HasPrefix(got, "reconnecting ") {
			t.Errorf("events %q", states)
		}
		// The call has something to say before that flow is back.
		hung := make(chan error, 1)
		go func() { hung <- in.Hangup(t.Context()) }()
		bye := two.request("BYE")
		two.reply(bye, 200)
		if err := <-hung; err != nil {
			t.Error(err)
		}
		s.listen("10.0.0.2:5061", true)
		c := s.accept()
		c.granted(c.request("REGISTER"), 3600)
		synctest.Wait()
		if len(ua.reg.up) != 2 {
			t.Errorf("registered on %v", ua.reg.up)
		}
	})
	bubble(t, "an account that is refused is refused on both", func(t *testing.T, s *server) {
		ua, outcome := start(t, twoServers(s))
		one, two := s.accept(), s.accept()
		req := two.request("REGISTER")
		one.reply(one.request("REGISTER"), 403)
		var se *StatusError
		if err := <-outcome; !errors.As(err, &se) || se.Code != 403 {
			t.Errorf("%v", err)
		}
		two.granted(req, 60, "Require: outbound") // too late
		two.gone()
		ua.ep.Run(t.Context(), func(time.Time) {
			for _, f := range ua.flows {
				if f.reg != nil || f.flow != nil || f.dialing != nil || f.retry.Active() {
					t.Errorf("flow %d lives on", f.regID)
				}
			}
		})
	})
}

// Redirections of a registration are bounded, and not for ever.
func TestRedirects(t *testing.T) {
	bubble(t, "round and round", func(t *testing.T, s *server) {
		_, outcome := start(t, s.config())
		for range maxRedirects + 1 {
			c := s.accept()
			c.reply(c.request("REGISTER"), 302, "Contact: <sip:example.com:5061;transport=tls>")
		}
		var se *StatusError
		if err := <-outcome; !errors.As(err, &se) || se.Code != 302 {
			t.Errorf("%v", err)
		}
	})
	bubble(t, "305 to a server that dies", func(t *testing.T, s *server) {
		cfg := s.config()
		cfg.Network.Resolver.(*locate.Static).IP["other.example.com"] = []netip.Addr{netip.MustParseAddr("10.0.0.3")}
		_, outcome := start(t, cfg)
		first := s.stop
		s.listen("10.0.0.3:5061", true)
		c := s.accept()
		c.reply(c.request("REGISTER"), 305, "Contact: <sip:other.example.com:5061;transport=tls>")
		other := s.accept()
		if other.c.LocalAddr().String() != "10.0.0.3:5061" {
			t.Fatalf("went to %s", other.c.LocalAddr())
		}
		other.granted(other.request("REGISTER"), 3600)
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		s.stop()
		other.c.Close()
		back := s.accept()
		if back.c.LocalAddr().String() != "10.0.0.2:5061" {
			t.Errorf("came back to %s", back.c.LocalAddr())
		}
		back.granted(back.request("REGISTER"), 3600)
		_ = first
	})
	bubble(t, "to where it would not be encrypted", func(t *testing.T, s *server) {
		_, outcome := start(t, s.config())
		c := s.accept()
		c.reply(c.request("REGISTER"), 302, "Contact: <sip:example.com:5060;transport=tcp>")
		var de *DialError
		if err := <-outcome; !errors.As(err, &de) || de.Attempts[0].Transport != TLS {
			t.Errorf("%v", err)
		}
	})
}

// A connection is lost while a call rings here: the answer goes over the next
// one.
func TestAnswerMoves(t *testing.T) {
	bubble(t, "200 over the new flow", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		pass(time.Minute)
		in := called(t, ua, c, "x")
		in.Ring(t.Context())
		c.response(180)
		c.c.Close()
		c2 := s.accept()
		c2.granted(c2.request("REGISTER"), 3600)
		done := make(chan error, 1)
		go func() { done <- in.Answer(t.Context(), nil) }()
		ok := c2.response(200)
		c2.ask("ACK", "x", "b2", 1, sipwire.ToTag(ok), "")
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
