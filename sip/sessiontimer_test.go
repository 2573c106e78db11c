package sip

import (
	"errors"
	"fmt"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// timed checks what a message says of session timers.
func timed(t *testing.T, m sipgo.Message, expires, minSE string) {
	t.Helper()
	if got := sipwire.Header(m, "Session-Expires"); got != expires {
		t.Errorf("Session-Expires %q, want %q", got, expires)
	}
	if got := sipwire.Header(m, "Min-SE"); got != minSE {
		t.Errorf("Min-SE %q, want %q", got, minSE)
	}
}

// intervals are the session timer of alice's.
func intervals(timer SessionTimer) func(*Config) {
	return func(c *Config) { c.SessionTimer = timer }
}

// The example of RFC 4028 §12: an INVITE is refused with 422, as its interval is
// too small, by one server after the other. Each time it is said again in the same
// call with one that is large enough (§7.3), and in the end it counts.
func TestIntervalTooSmall_RFC4028_7_3(t *testing.T) {
	onStage(t, "asked again", intervals(SessionTimer{Expires: 90 * time.Second}), func(t *testing.T, s *stage) {
		c, bob := s.begins()
		first := bob.incoming.req
		timed(t, first, "90", "")
		if !sipwire.HasToken(first, "Supported", "timer") {
			t.Errorf("%v", first)
		}
		for i, least := range []string{"120", "3600"} {
			bob.answer(422, "Min-SE: "+least)
			s.request("ACK")
			again := bob.called()
			timed(t, again, least, least)
			if *again.CallID() != *first.CallID() || sipwire.FromTag(again) != sipwire.FromTag(first) || sipwire.ToTag(again) != "" ||
				again.CSeq().SeqNo != first.CSeq().SeqNo+1+uint32(i) || string(again.Body()) != string(first.Body()) || sipwire.TopBranch(again) == sipwire.TopBranch(first) {
				t.Errorf("got %v after %v", again, first)
			}
		}
		bob.answer(200, "Session-Expires: 3600;refresher=uac", "Require: timer", "Allow: INVITE, ACK, BYE, CANCEL, UPDATE")
		s.request("ACK")
		at := time.Now()
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
		update := s.request("UPDATE")
		after(t, at, 30*time.Minute)
		timed(t, update.req, "3600;refresher=uac", "3600")
		update.reply(200, "Session-Expires: 3600;refresher=uac")
	})
	// One that has asked for no more than it got would be asked the same for ever.
	for name, line := range map[string]string{"less": "Min-SE: 90", "nothing": "X: y", "nonsense": "Min-SE: soon"} {
		onStage(t, "names "+name, intervals(SessionTimer{Expires: 100 * time.Second}), func(t *testing.T, s *stage) {
			c, bob := s.begins()
			bob.answer(422, line)
			s.request("ACK")
			var se *StatusError
			if err := c.Answered(t.Context()); !errors.As(err, &se) || se.Code != 422 {
				t.Errorf("got %v", err)
			}
			s.quiet(time.Minute)
		})
	}
}

// RFC 4028 §9: "If an incoming request contains a Supported header field with a
// value 'timer' and a Session-Expires header field, the UAS MAY reject the INVITE
// request with a 422", whose Min-SE says what would do.
func TestIntervalRefused_RFC4028_9(t *testing.T) {
	onStage(t, "and comes again", intervals(SessionTimer{MinSE: 120 * time.Second, Expires: 300 * time.Second}), func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		bob.invite("Supported: timer", "Session-Expires: 119")
		timed(t, s.response(422), "", "120")
		bob.say("ACK")
		bob.invite("Supported: timer", "Session-Expires: 120", "Min-SE: 120")
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go c.Answer(t.Context(), nil)
		r := s.response(200)
		timed(t, r, "120;refresher=uac", "")
		if !sipwire.HasToken(r, "Require", "timer") {
			t.Errorf("%v", r)
		}
		at := time.Now()
		bob.remote = sipwire.ToTag(r)
		bob.say("ACK")
		// A refresh that asks for too little changes nothing, by UPDATE and by re-INVITE.
		bob.say("UPDATE", "Supported: timer", "Session-Expires: 100;refresher=uac")
		timed(t, s.response(422), "", "120")
		bob.invite("Supported: timer", "Session-Expires: 100;refresher=uac")
		timed(t, s.response(422), "", "120")
		bob.say("ACK")
		// §10: "the minimum of 32 seconds and one third of the session interval".
		bye := bob.bye()
		after(t, at, 88*time.Second)
		if err := c.Wait(t.Context()); !errors.Is(err, ErrSessionExpired) || sipwire.Header(bye, "Reason") == "" {
			t.Errorf("%v, %v", err, bye)
		}
	})
	// Who has no timers cannot do anything about a 422: a proxy of his asks, and
	// we refresh (§9, table 2).
	onStage(t, "but not where the caller has no timers", intervals(SessionTimer{MinSE: 120 * time.Second}), func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		bob.invite("Session-Expires: 100")
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go c.Answer(t.Context(), nil)
		r := s.response(200)
		timed(t, r, "100;refresher=uas", "")
		if sipwire.HasToken(r, "Require", "timer") {
			t.Errorf("%v", r)
		}
		at := time.Now()
		bob.remote = sipwire.ToTag(r)
		bob.say("ACK")
		// He has not said that he takes UPDATE.
		s.request("INVITE").reply(200, "Contact: <sip:bob@10.0.0.2:5070>", sdpBody)
		after(t, at, 50*time.Second)
		s.request("ACK")
		s.quiet(20 * time.Minute) // "there is no session expiration" any more (§7.2)
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
	})
}

// Who refreshes does so at half the interval, and each refresh counts from its 2xx
// (RFC 4028 §7.4, §10), as caller and as callee.
func TestRefresher_RFC4028_10(t *testing.T) {
	const allow = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE"
	// up brings up a call of 100 s, which ends 32 s before that; refresher is "uac" or
	// "uas".
	up := func(t *testing.T, s *stage, out bool, refresher string) (*actor, *Call) {
		t.Helper()
		if out {
			c, bob := s.begins()
			bob.answer(200, "Session-Expires: 100;refresher="+refresher, "Require: timer", allow)
			s.request("ACK")
			if err := c.Answered(t.Context()); err != nil {
				t.Fatal(err)
			}
			return bob, c
		}
		bob := s.actor("bob")
		bob.invite("Supported: timer", "Session-Expires: 100;refresher="+refresher, allow)
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go c.Answer(t.Context(), nil)
		r := s.response(200)
		timed(t, r, "100;refresher="+refresher, "")
		bob.remote = sipwire.ToTag(r)
		bob.say("ACK")
		if err := c.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		return bob, c
	}
	for _, out := range []bool{true, false} {
		ours, theirs, role := "uac", "uas", "caller"
		if !out {
			ours, theirs, role = theirs, ours, "callee"
		}
		onStage(t, "we, as "+role, nil, func(t *testing.T, s *stage) {
			bob, c := up(t, s, out, ours)
			for range 3 {
				at := time.Now()
				update := s.request("UPDATE")
				after(t, at, 50*time.Second)
				timed(t, update.req, "100;refresher=uac", "") // of this request
				if len(update.req.Body()) != 0 {
					t.Error("it has an offer") // §7.4 recommends none
				}
				update.reply(200, "Session-Expires: 100;refresher=uac")
			}
			// It is refused, once more halfway to the end, and then that has come.
			at := time.Now()
			s.request("UPDATE").reply(503)
			s.request("UPDATE").reply(503)
			after(t, at, 59*time.Second)
			bob.bye()
			after(t, at, 68*time.Second)
			if err := c.Wait(t.Context()); !errors.Is(err, ErrSessionExpired) {
				t.Error(err)
			}
		})
		onStage(t, "we, as "+role+", and nobody answers", nil, func(t *testing.T, s *stage) {
			bob, c := up(t, s, out, ours)
			at := time.Now()
			s.request("UPDATE")
			bob.bye()
			after(t, at, 68*time.Second) // before 64*T1 are over
			if err := c.Wait(t.Context()); !errors.Is(err, ErrSessionExpired) {
				t.Error(err)
			}
		})
		onStage(t, "we, as "+role+", and the dialog is gone", nil, func(t *testing.T, s *stage) {
			bob, c := up(t, s, out, ours)
			at := time.Now()
			s.request("UPDATE").reply(481) // §10: then a BYE
			bob.bye()
			after(t, at, 50*time.Second)
			var se *StatusError
			if err := c.Wait(t.Context()); !errors.As(err, &se) || se.Code != 481 {
				t.Error(err)
			}
		})
		onStage(t, "the peer of the "+role, nil, func(t *testing.T, s *stage) {
			bob, c := up(t, s, out, theirs)
			for _, method := range []string{"UPDATE", "INVITE"} {
				pass(65 * time.Second)
				if method == "UPDATE" {
					bob.say(method, "Supported: timer", "Session-Expires: 100;refresher=uac")
					timed(t, s.response(200), "100;refresher=uac", "")
				} else {
					bob.invite("Supported: timer", "Session-Expires: 100;refresher=uac")
					timed(t, s.response(200), "100;refresher=uac", "")
					bob.say("ACK")
				}
			}
			at := time.Now()
			bye := bob.bye()
			after(t, at, 68*time.Second)
			if got := sipwire.Header(bye, "Reason"); got != `SIP;cause=408;text="Session timer expired"` {
				t.Errorf("Reason %q", got)
			}
			if err := c.Wait(t.Context()); !errors.Is(err, ErrSessionExpired) || c.End().By != Nobody {
				t.Errorf("%v, %+v", err, c.End())
			}
			s.quiet(time.Minute)
		})
	}
	// A proxy on the way may find a refresh too short that has done so far (§7.3).
	onStage(t, "we, with a longer interval", nil, func(t *testing.T, s *stage) {
		bob, c := up(t, s, true, "uac")
		update := s.request("UPDATE")
		at := time.Now()
		update.reply(422, "Min-SE: 200")
		again := s.request("UPDATE")
		after(t, at, 0)
		timed(t, again.req, "200;refresher=uac", "200")
		if again.req.CSeq().SeqNo != update.req.CSeq().SeqNo+1 {
			t.Errorf("%v", again.req)
		}
		again.reply(200, "Session-Expires: 200;refresher=uac")
		s.request("UPDATE").reply(200) // without: there is no session timer from now on (§7.2)
		after(t, at, 100*time.Second)
		s.quiet(20 * time.Minute)
		go c.Hangup(t.Context())
		bob.bye()
	})
	// The bound: 32 s where a third is more.
	for _, interval := range []int{90, 96, 97, 1800} {
		onStage(t, fmt.Sprint(interval), nil, func(t *testing.T, s *stage) {
			_, bob := s.begins()
			bob.answer(200, fmt.Sprintf("Session-Expires: %d;refresher=uas", interval), "Require: timer")
			s.request("ACK")
			at := time.Now()
			bob.bye()
			d := time.Duration(interval) * time.Second
			after(t, at, d-min(32*time.Second, d/3))
		})
	}
}
