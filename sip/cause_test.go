package sip

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// ended waits for the end of a call and checks what became of it.
func ended(t *testing.T, c *Call, want Cause) {
	t.Helper()
	_ = c.Wait(t.Context())
	if got := c.End().Cause; got != want {
		t.Errorf("cause %v, want %v; %+v", got, want, c.End())
	}
}

// What became of calls to us: missed exactly when nobody took them.
func TestCauseIncoming(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reason string // of the CANCEL
		want   Cause
	}{
		{"the caller gives up", "", CauseMissed},
		{"RFC 3326 §2: call completed elsewhere", `Reason: SIP ;cause=200 ;text="Call completed elsewhere"`, CauseAnsweredElsewhere},
		{"accepted elsewhere", "Reason: sip;cause=202", CauseAnsweredElsewhere},
		{"Q.850: non-selected user clearing", "Reason: Q.850;cause=26", CauseAnsweredElsewhere},
		{"declined everywhere", `Reason: SIP;cause=603;text="Decline"`, CauseDeclinedElsewhere},
		{"busy everywhere", "Reason: SIP;cause=600", CauseDeclinedElsewhere},
		{"normal clearing", "Reason: Q.850;cause=16", CauseMissed},
		{"one reason of two", "Reason: Q.850;cause=16, SIP;cause=200", CauseAnsweredElsewhere},
		{"another device was busy, and so nobody took it", "Reason: SIP;cause=486", CauseMissed},
		{"it rang for too long", `Reason: SIP;cause=408;text="Request Timeout"`, CauseMissed},
		{"another protocol's 200", "Reason: Q.850;cause=200", CauseMissed},
		{"without a cause", `Reason: SIP;text="200"`, CauseMissed},
	} {
		bubbles(t, tt.name, func(t *testing.T, s *server) {
			ua, c := registered(t, s, s.config(), 3600)
			in := called(t, ua, c, "x")
			c.response(100)
			if err := in.Ring(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.response(180)
			if in.End().Cause != CauseNone {
				t.Error("a cause before the end")
			}
			var lines []string
			if tt.reason != "" {
				lines = []string{tt.reason}
			}
			c.ask("CANCEL", "x", "b", 1, "", "", lines...)
			c.response(200)
			c.response(487)
			ended(t, in, tt.want)
		})
	}
	for _, tt := range []struct {
		name   string
		refuse func(ctx context.Context, c *Call) error
		status int
		want   Cause
	}{
		{"busy here", func(ctx context.Context, c *Call) error { return c.Reject(ctx, 486) }, 486, CauseBusy},
		{"not now", func(ctx context.Context, c *Call) error { return c.Reject(ctx, 480) }, 480, CauseDeclined},
		{"declined", func(ctx context.Context, c *Call) error { return c.Hangup(ctx) }, 603, CauseDeclined},
		{"sent on", func(ctx context.Context, c *Call) error { return c.Reject(ctx, 302) }, 302, CauseTransferred},
	} {
		bubbles(t, "refused by us: "+tt.name, func(t *testing.T, s *server) {
			ua, c := registered(t, s, s.config(), 3600)
			in := called(t, ua, c, "x")
			if err := tt.refuse(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			c.response(tt.status)
			ended(t, in, tt.want)
		})
	}
	for _, tt := range []struct {
		reason string // of the BYE
		want   Cause
	}{
		{"", CauseAnswered},
		{"Reason: Q.850;cause=16", CauseAnswered},
		{"Reason: SIP;cause=480", CauseAnswered},
		{`Reason: SIP;cause=200;text="Call completed elsewhere"`, CauseReplaced}, // RFC 3891 §3
	} {
		bubbles(t, "answered, and ended by the caller: "+tt.want.String()+" "+tt.reason, func(t *testing.T, s *server) {
			ua, c := registered(t, s, s.config(), 3600)
			in := answered(t, ua, c)
			var lines []string
			if tt.reason != "" {
				lines = []string{tt.reason}
			}
			c.ask("BYE", "in", "bye", 2, in.m.LocalTag(), "", lines...)
			c.response(200)
			ended(t, in, tt.want)
		})
	}
	bubbles(t, "answered, and hung up by us", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		_ = in.Hangup(t.Context())
		c.reply(c.request("BYE"), 200)
		ended(t, in, CauseAnswered)
	})
	bubbles(t, "hung up before the ACK came", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := called(t, ua, c, "x")
		go in.Answer(t.Context(), nil)
		ok := c.response(200)
		c.ask("BYE", "x", "b2", 2, sipwire.ToTag(ok), "")
		c.response(200)
		ended(t, in, CauseAnswered)
	})
	bubbles(t, "RFC 3261 §13.3.1.4: no ACK comes", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := called(t, ua, c, "x")
		if err := in.Answer(t.Context(), nil); !errors.Is(err, ErrNoAck) {
			t.Errorf("%v", err)
		}
		ended(t, in, CauseFailed)
	})
	bubbles(t, "the caller gives up just as the user answers", func(t *testing.T, s *server) {
		cfg := s.config()
		slow := make(chan struct{})
		cfg.NewMedia = slowMedia(slow)
		ua, c := registered(t, s, cfg, 3600)
		in := called(t, ua, c, "x")
		c.response(100)
		go in.Answer(t.Context(), nil)
		synctest.Wait()
		c.ask("CANCEL", "x", "b", 1, "", "")
		c.response(200)
		c.response(487)
		ended(t, in, CauseCancelled)
		close(slow)
	})
	bubbles(t, "BYE in the early dialog (RFC 3261 §15.1.2)", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := called(t, ua, c, "x")
		_ = in.Ring(t.Context())
		ringing := c.response(180)
		c.ask("BYE", "x", "b2", 2, sipwire.ToTag(ringing), "")
		c.response(200)
		c.response(487)
		ended(t, in, CauseMissed)
	})
}

// What became of calls of ours.
func TestCauseOutgoing(t *testing.T) {
	for status, want := range map[int]Cause{
		486: CauseBusy, 600: CauseBusy,
		603: CauseDeclined, 607: CauseDeclined, 608: CauseDeclined,
		404: CauseUnreachable, 410: CauseUnreachable, 480: CauseUnreachable, 484: CauseUnreachable,
		502: CauseUnreachable, 604: CauseUnreachable,
		403: CauseFailed, 487: CauseFailed, 488: CauseFailed, 500: CauseFailed, 606: CauseFailed,
	} {
		bubbles(t, sipwire.ReasonPhrase(status), func(t *testing.T, s *server) {
			ua, c := registered(t, s, s.config(), 3600)
			out, err := ua.Start(t.Context(), "bob", nil)
			if err != nil {
				t.Fatal(err)
			}
			c.reply(c.request("INVITE"), status)
			c.request("ACK")
			ended(t, out, want)
		})
	}
	bubbles(t, "given up", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		invite := c.request("INVITE")
		c.reply(invite, 180)
		synctest.Wait()
		_ = out.Hangup(t.Context())
		c.reply(c.request("CANCEL"), 200)
		c.reply(invite, 487)
		c.request("ACK")
		ended(t, out, CauseCancelled)
	})
	bubbles(t, "nobody answers at all", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.request("INVITE")
		ended(t, out, CauseUnreachable)
	})
	bubbles(t, "accepted without a description", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		out, err := ua.Start(t.Context(), "bob", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.reply(c.request("INVITE"), 200, "Contact: <sip:10.0.0.2>")
		c.request("ACK")
		c.reply(c.request("BYE"), 200)
		ended(t, out, CauseFailed)
	})
	bubbles(t, "the peer forgot the call (RFC 3261 §12.2.1.2)", func(t *testing.T, s *server) {
		ua, c := registered(t, s, s.config(), 3600)
		in := answered(t, ua, c)
		go in.Renegotiate(t.Context(), offerOptions)
		c.reply(c.request("INVITE"), 481)
		c.request("ACK")
		c.reply(c.request("BYE"), 481)
		ended(t, in, CauseFailed)
	})
}

func TestCauseString(t *testing.T) {
	seen := map[string]bool{}
	for c := CauseNone; c <= CauseTransferred; c++ {
		if s := c.String(); s == "" || s[0] == 'C' || seen[s] {
			t.Errorf("%d is %q", c, s)
		} else {
			seen[s] = true
		}
	}
	if s := Cause(99).String(); s != "Cause(99)" {
		t.Error(s)
	}
}

var offerOptions offeranswer.Options

// slowMedia are made once the channel is closed.
func slowMedia(proceed <-chan struct{}) offeranswer.New {
	return func(ctx context.Context, env offeranswer.Env) (offeranswer.Media, error) {
		<-proceed
		return NoMedia(ctx, env)
	}
}
