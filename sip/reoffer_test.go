package sip

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// pensiveMedia take their time to answer a new offer in a call.
type pensiveMedia struct{ noMedia }

const slow = 5 * time.Second

func (m *pensiveMedia) Leg(string) (offeranswer.Leg, error) {
	return &pensiveLeg{noLeg: noLeg{local: m.local}}, nil
}

type pensiveLeg struct {
	noLeg
	again bool
}

func (l *pensiveLeg) Answer(ctx context.Context, offer []byte, o offeranswer.Options) ([]byte, error) {
	if l.again {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	l.again = true
	return l.noLeg.Answer(ctx, offer, o)
}

func slowly(c *Config) {
	c.NewMedia = func(_ context.Context, env offeranswer.Env) (offeranswer.Media, error) {
		return &pensiveMedia{noMedia{local: env.Local}}, nil
	}
}

// update sends an UPDATE with an offer.
func (a *actor) update() { a.say("UPDATE", offer(sdpBody)...) }

// refusedFor checks how a request of the peer's was refused as untimely.
func refusedFor(t *testing.T, r *sipgo.Response, method string) {
	t.Helper()
	if string(r.CSeq().MethodName) != method {
		t.Errorf("%d to %s, want %s", r.StatusCode, r.CSeq().MethodName, method)
	}
	after := sipwire.Header(r, "Retry-After")
	if n, err := strconv.Atoi(after); (err != nil || n < 0 || n > 10) != (r.StatusCode != 500) {
		t.Errorf("%d with Retry-After %q", r.StatusCode, after)
	}
}

// RFC 3261 §15.1.2: a BYE ends the dialog whatever is under way in it. "The UAS
// MUST still respond to any pending requests received for that dialog. It is
// RECOMMENDED that a 487 (Request Terminated) response be generated to those
// pending requests."
func TestByeDuringReinvite_RFC3261_15_1_2(t *testing.T) {
	for _, rings := range []bool{false, true} {
		name := "of ours"
		if rings {
			name += ", that is being thought about"
		}
		onStage(t, name, nil, func(t *testing.T, s *stage) {
			bob := s.actor("bob")
			c := bob.calls()
			result := renegotiating(t, c)
			invite := s.request("INVITE")
			if rings {
				invite.reply(180, "Contact: <sip:bob@10.0.0.2:5070>")
				synctest.Wait()
			}
			bob.say("BYE")
			s.response(200)
			if err := <-result; !errors.Is(err, ErrEnded) {
				t.Errorf("got %v", err)
			}
			if err := c.Wait(t.Context()); err != nil || c.End().By != Remote {
				t.Errorf("%v, %+v", err, c.End())
			}
			if rings {
				// Who has forgotten the dialog may have forgotten that too.
				s.request("CANCEL").reply(200)
			}
			invite.reply(487)
			s.request("ACK")
			s.quiet(time.Minute)
			if n := s.kept(); n != 0 {
				t.Errorf("%d dialog sets are left", n)
			}
		})
	}
	onStage(t, "of ours, that was accepted meanwhile", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c := bob.calls()
		result := renegotiating(t, c)
		invite := s.request("INVITE")
		bob.say("BYE")
		s.response(200)
		if err := <-result; !errors.Is(err, ErrEnded) {
			t.Errorf("got %v", err)
		}
		invite.reply(200, "Contact: <sip:bob@10.0.0.2:5070>", sdpBody)
		s.request("ACK") // RFC 3261 §13.2.2.4, and there is nothing more to end
		s.quiet(time.Minute)
	})
	for _, method := range []string{"INVITE", "UPDATE"} {
		onStage(t, method+" of the peer's", slowly, func(t *testing.T, s *stage) {
			bob := s.actor("bob")
			c := bob.calls()
			bob.say(method, offer(sdpBody)...)
			pass(time.Second)
			bob.say("BYE")
			if r := s.response(200); r.CSeq().MethodName != sipgo.BYE {
				t.Errorf("%v", r)
			}
			if r := s.response(487); string(r.CSeq().MethodName) != method {
				t.Errorf("%v", r)
			}
			if err := c.Wait(t.Context()); err != nil || c.End().By != Remote || c.End().Cause != CauseAnswered {
				t.Errorf("%v, %+v", err, c.End())
			}
			bob.say("ACK")
			s.quiet(time.Minute)
		})
		// And we hang up while we are asked.
		onStage(t, "of ours, during "+method+" of the peer's", slowly, func(t *testing.T, s *stage) {
			bob := s.actor("bob")
			c := bob.calls()
			bob.say(method, offer(sdpBody)...)
			pass(time.Second)
			go c.Hangup(t.Context())
			bye := s.request("BYE")
			if r := s.response(487); string(r.CSeq().MethodName) != method {
				t.Errorf("%v", r)
			}
			bye.reply(200)
			s.quiet(time.Minute)
		})
	}
}

// RFC 3261 §14.2: "A UAS that receives a second INVITE before it sends the final
// response to a first INVITE with a lower CSeq sequence number on the same dialog
// MUST return a 500 (Server Internal Error) response to the second INVITE and MUST
// include a Retry-After header field with a randomly chosen value of between 0 and
// 10 seconds." RFC 3311 §5.2 says it of UPDATE, and of one in the other.
func TestOverlap_RFC3261_14_2(t *testing.T) {
	for _, first := range []string{"INVITE", "UPDATE"} {
		for _, second := range []string{"INVITE", "UPDATE"} {
			onStage(t, second+" in "+first, slowly, func(t *testing.T, s *stage) {
				bob := s.actor("bob")
				c := bob.calls()
				begin := time.Now()
				bob.say(first, offer(sdpBody)...)
				number := bob.invited
				pass(time.Second)
				for range 3 {
					bob.say(second, offer(sdpBody)...)
					refusedFor(t, s.response(500), second)
					if second == "INVITE" {
						bob.say("ACK")
					}
				}
				r := s.response(200)
				after(t, begin, slow)
				if string(r.CSeq().MethodName) != first || len(r.Body()) == 0 {
					t.Errorf("%v", r)
				}
				if first == "INVITE" {
					bob.invited = number
					bob.say("ACK")
				}
				// Now it is taken.
				bob.update()
				if r := s.response(200); r.CSeq().MethodName != "UPDATE" || len(r.Body()) == 0 {
					t.Errorf("%v", r)
				}
				if c.State() != CallEstablished {
					t.Error(c.State())
				}
				s.quiet(time.Minute)
			})
		}
	}
	// One without an offer only says that the caller is still there (RFC 4028).
	onStage(t, "UPDATE without an offer", slowly, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		bob.calls()
		bob.invite()
		pass(time.Second)
		bob.say("UPDATE")
		if r := s.response(200); r.CSeq().MethodName != "UPDATE" || len(r.Body()) != 0 {
			t.Errorf("%v", r)
		}
		if r := s.response(200); r.CSeq().MethodName != "INVITE" {
			t.Errorf("%v", r)
		}
		bob.say("ACK")
	})
}

// RFC 3261 §14.1 and §14.2, RFC 3311 §5.2: an offer that crosses ours is refused
// with 491, and so is ours, which we make again: "If the UAC is the owner of the
// Call-ID of the dialog ID (meaning it generated the value), T has a randomly
// chosen value between 2.1 and 4 seconds in units of 10 ms", else "between 0 and 2
// seconds in units of 10 ms".
func TestGlare_RFC3261_14_1(t *testing.T) {
	for _, tt := range []struct {
		name        string
		out         bool
		least, most time.Duration
	}{
		{"we called", true, 2100 * time.Millisecond, 4 * time.Second},
		{"we were called", false, 0, 2 * time.Second},
	} {
		for _, method := range []string{"INVITE", "UPDATE"} {
			onStage(t, tt.name+", crossed by "+method, nil, func(t *testing.T, s *stage) {
				var c *Call
				var bob *actor
				if tt.out {
					c, bob = s.begins()
					bob.pickUp()
				} else {
					bob = s.actor("bob")
					c = bob.calls()
				}
				result := renegotiating(t, c)
				waits := make(map[time.Duration]bool)
				ours := s.request("INVITE")
				for range 5 {
					bob.say(method, offer(sdpBody)...)
					refusedFor(t, s.response(491), method)
					if method == "INVITE" {
						bob.say("ACK")
					}
					ours.reply(491)
					at := time.Now()
					s.request("ACK")
					former := ours.req
					ours = s.request("INVITE")
					wait := time.Since(at)
					waits[wait] = true
					if wait < tt.least || wait > tt.most || wait%(10*time.Millisecond) != 0 {
						t.Errorf("again after %v", wait)
					}
					if ours.req.CSeq().SeqNo != former.CSeq().SeqNo+1 || string(ours.req.Body()) != string(former.Body()) {
						t.Errorf("got %v after %v", ours.req, former)
					}
				}
				if len(waits) < 2 {
					t.Errorf("waited %v each time", waits)
				}
				ours.reply(200, "Contact: <sip:bob@10.0.0.2:5070>", sdpBody)
				s.request("ACK")
				if err := <-result; err != nil {
					t.Error(err)
				}
			})
		}
	}
	// While we wait the peer's offer is welcome.
	onStage(t, "the peer is first", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		bob.pickUp()
		result := renegotiating(t, c)
		s.request("INVITE").reply(491)
		s.request("ACK")
		pass(time.Second)
		bob.invite()
		s.response(200)
		bob.say("ACK")
		s.request("INVITE").reply(200, "Contact: <sip:bob@10.0.0.2:5070>", sdpBody)
		s.request("ACK")
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
	// It does not go on for ever.
	onStage(t, "without end", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		bob.pickUp()
		result := renegotiating(t, c)
		for range 7 {
			s.request("INVITE").reply(491)
			s.request("ACK")
		}
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Code != 491 {
			t.Errorf("got %v", err)
		}
		s.quiet(time.Minute)
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
	})
}

// RFC 3261 §12.2.1.2: "If the response for a request within a dialog is a 481
// (Call/Transaction Does Not Exist) or a 408 (Request Timeout), the UAC SHOULD
// terminate the dialog. A UAC SHOULD also terminate a dialog if no response at all
// is received for the request". What else refuses a request leaves it as it was; so
// does all that is said to a REFER, which is a usage of the dialog by itself
// (RFC 5057 §4.2, §5.1): the call goes on without the transfer.
func TestDialogGone_RFC3261_12_2_1_2(t *testing.T) {
	asks := map[string]func(ctx context.Context, c *Call) error{
		"INVITE": func(ctx context.Context, c *Call) error { return c.Renegotiate(ctx, offeranswer.Options{}) },
		"INFO":   func(ctx context.Context, c *Call) error { return c.SendDigits(ctx, "1", nil) },
		"REFER": func(ctx context.Context, c *Call) error {
			return c.Transfer(ctx, "carol", &TransferOptions{NoHold: true})
		},
	}
	for method, ask := range asks {
		for _, status := range []int{481, 408, 488, 500, 503, 603} {
			onStage(t, method+" answered "+strconv.Itoa(status), nil, func(t *testing.T, s *stage) {
				bob := s.actor("bob")
				c := bob.calls()
				result := make(chan error, 1)
				go func() { result <- ask(t.Context(), c) }()
				s.request(method).reply(status)
				if method == "INVITE" {
					s.request("ACK")
				}
				gone := (status == 481 || status == 408) && method != "REFER"
				if gone {
					bob.bye()
				}
				var se *StatusError
				if err := <-result; !errors.As(err, &se) || se.Code != status || se.Method != method {
					t.Errorf("got %v", err)
				}
				if gone {
					if err := c.Wait(t.Context()); !errors.As(err, &se) || se.Code != status || c.End().By != Nobody {
						t.Errorf("%v, %+v", err, c.End())
					}
				} else if c.State() != CallEstablished {
					t.Error(c.State())
				}
				s.quiet(time.Minute)
			})
		}
		onStage(t, method+" not answered", nil, func(t *testing.T, s *stage) {
			bob := s.actor("bob")
			c := bob.calls()
			result := make(chan error, 1)
			at := time.Now()
			go func() { result <- ask(t.Context(), c) }()
			s.request(method)
			if method != "REFER" {
				bob.bye()
			}
			var te *TimeoutError
			if err := <-result; !errors.As(err, &te) {
				t.Errorf("got %v", err)
			}
			after(t, at, 32*time.Second) // 64*T1
			if method == "REFER" {
				if c.State() != CallEstablished {
					t.Error(c.State())
				}
				return
			}
			if err := c.Wait(t.Context()); !errors.As(err, &te) {
				t.Error(err)
			}
		})
	}
}

// RFC 3261 §12.2.2: "If the remote sequence number is not empty, but the sequence
// number of the request is lower than the remote sequence number, the request is
// out of order and MUST be rejected with a 500 (Server Internal Error) response."
func TestNumbersBackwards_RFC3261_12_2_2(t *testing.T) {
	for _, out := range []bool{false, true} {
		name := "called"
		if out {
			name = "calling"
		}
		onStage(t, name, nil, func(t *testing.T, s *stage) {
			var c *Call
			var bob *actor
			if out {
				c, bob = s.begins()
				bob.pickUp()
				if err := c.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				// "If the remote sequence number is empty, it MUST be set to the value of
				// the sequence number": whatever that is.
			} else {
				bob = s.actor("bob")
				c = bob.calls()
			}
			bob.cseq = 2000
			bob.say("OPTIONS")
			s.response(200)
			for _, method := range []string{"INVITE", "UPDATE", "INFO", "MESSAGE", "REFER", "NOTIFY", "OPTIONS", "BYE"} {
				bob.cseq = 1990
				bob.say(method, offer(sdpBody)...)
				if r := s.response(500); string(r.CSeq().MethodName) != method {
					t.Errorf("%v", r)
				}
			}
			if c.State() != CallEstablished {
				t.Error(c.State())
			}
			// Nothing of it counts, and a gap is no error: "it is possible for the CSeq
			// to be higher by more than one".
			bob.cseq = 3000
			bob.update()
			s.response(200)
			bob.say("BYE")
			s.response(200)
			if err := c.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
