package siptest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

func TestCall(t *testing.T) {
	for _, transport := range []sip.Transport{sip.TLS, sip.TCP, sip.UDP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice, bob := l.phone("alice", over(l, transport)), l.phone("bob", over(l, transport))
				l.ClearTranscript()
				a, b := talk(t, alice, bob, "bob")
				if r := b.Remote(); r.URI != "sip:1001@pbx.example;user=phone" || r.Name != "Alice" {
					t.Errorf("bob sees %+v", r)
				}
				if err := a.Hangup(t.Context()); err != nil {
					t.Fatal(err)
				}
				ended(t, b, sip.Remote)
				l.idle()
				checkLines(t, l.lines("alice"), "alice> INVITE", "alice< 180 INVITE", "alice< 200 INVITE", "alice> ACK", "alice> BYE", "alice< 200 BYE")
				checkLines(t, l.lines("bob"), "bob< INVITE", "bob> 180 INVITE", "bob> 200 INVITE", "bob< ACK", "bob< BYE", "bob> 200 BYE")
			})
		})
	}
}

func TestIPv6(t *testing.T) {
	for _, transport := range []sip.Transport{sip.TLS, sip.UDP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, func(c *siptest.Config) { c.Addr = "2001:db8::1" })
				alice, bob := l.phone("alice", over(l, transport)), l.phone("bob", over(l, transport))
				a, b := talk(t, alice, bob, "bob")
				invite := l.messages("bob", "INVITE", true)[0]
				for _, want := range []string{"\r\nCall-Info:<sip:[2001:db8::1]>;", "@[2001:db8::1]\r\n", "\r\nContact:<sip:[2001:db8::1]:"} {
					if !strings.Contains(invite, want) {
						t.Errorf("the INVITE lacks %q:\n%s", want, invite)
					}
				}
				b.Hangup(t.Context())
				ended(t, a, sip.Remote)
				l.idle()
			})
		})
	}
}

// BYE from either side, with its Reason.
func TestHangup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice, bob := l.phone("alice"), l.phone("bob")
		why := sip.Reason{Protocol: "Q.850", Cause: 16, Text: "done"}
		for i, from := range []int{0, 1} {
			a, b := talk(t, alice, bob, "1002")
			calls := []*sip.Call{a, b}
			if err := calls[from].Hangup(t.Context(), why); err != nil {
				t.Fatal(err)
			}
			end := ended(t, calls[1-from], sip.Remote)
			if len(end.Reasons) != 1 || end.Reasons[0] != why {
				t.Errorf("call %d: reasons %v", i, end.Reasons)
			}
		}
		l.idle()
	})
}

// The lab writes as BroadWorks does.
func TestWire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice := l.phone("alice")
		bob := l.phone("bob", over(l, sip.UDP), func(c *sip.Config) { c.Account.ContactParams = [][2]string{{"q", "0.5"}} })
		a, _ := talk(t, alice, bob, "bob")
		a.Hangup(t.Context())
		l.idle()
		invite := l.messages("bob", "INVITE", true)[0]
		for _, want := range []string{
			"\r\nVia:SIP/2.0/UDP 10.0.0.1:", ";branch=z9hG4bKBroadWorks.", "\r\nCall-ID:BW", "@10.0.0.1\r\n",
			"\r\nFrom:\"Alice\" <sip:1001@pbx.example;user=phone>;tag=",
			"\r\nTo:\"Bob\" <sip:bob@pbx.example>\r\n",
			"\r\nP-Asserted-Identity:\"Alice\" <sip:1001@pbx.example;user=phone>\r\n",
			"\r\nPrivacy:none\r\n", "\r\nCall-Info:<sip:10.0.0.1>;appearance-index=1\r\n",
			"\r\nX-BroadWorks-Correlation-Info:", "\r\nSupported:100rel,norefersub,replaces,timer\r\n", "\r\nMax-Forwards:69\r\n",
			"\r\nAllow:ACK,BYE,CANCEL,INFO,INVITE,MESSAGE,NOTIFY,OPTIONS,PRACK,REFER,REGISTER,SUBSCRIBE,UPDATE\r\n", "\r\nContact:<sip:10.0.0.1:",
		} {
			if !strings.Contains(invite, want) {
				t.Errorf("the INVITE lacks %q:\n%s", want, invite)
			}
		}
		ringing := l.messages("alice", "SIP/2.0 180", true)[0]
		for _, want := range []string{"\r\nSupported:\r\n", "\r\nP-Asserted-Identity:\"Bob\" <sip:1002@", "\r\nX-BroadWorks-Correlation-Info:"} {
			if !strings.Contains(ringing, want) {
				t.Errorf("the 180 lacks %q:\n%s", want, ringing)
			}
		}
	})
}

// Session descriptions pass through unchanged: first offer and answer, holds
// both ways, offers refused, and a re-INVITE while another is under way.
func TestPassThrough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		pa, pb := &paper{name: "alice"}, &paper{name: "bob"}
		alice, bob := l.phone("alice", paperwork(pa)), l.phone("bob", paperwork(pb))
		a, b := talk(t, alice, bob, "bob")
		ctx := t.Context()
		if err := a.Renegotiate(ctx, offeranswer.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := b.Renegotiate(ctx, offeranswer.Options{}); err != nil {
			t.Fatal(err)
		}
		pa.refuse = status(606)
		var se *sip.StatusError
		if err := b.Renegotiate(ctx, offeranswer.Options{}); !errors.As(err, &se) || se.Code != 606 {
			t.Errorf("a refused offer: %v", err)
		}
		pa.refuse = nil
		// Both at once: 491, and each comes through in the end.
		l.net.ImpairAll(memnetLatency(20 * time.Millisecond))
		results := make(chan error, 2)
		for _, c := range []*sip.Call{a, b} {
			go func() { results <- c.Renegotiate(ctx, offeranswer.Options{}) }()
		}
		for range 2 {
			if err := <-results; err != nil {
				t.Errorf("glare: %v", err)
			}
		}
		if n := l.count("alice< 491 INVITE") + l.count("bob< 491 INVITE"); n == 0 {
			t.Error("no 491 was sent: the offers did not cross")
		}
		a.Hangup(ctx)
		ended(t, b, sip.Remote)
		l.idle()
		// Who comes first after the glare is a matter of chance.
		pb.mu.Lock()
		defer pb.mu.Unlock()
		heard := strings.Join(pb.heard, ", ")
		if !strings.HasPrefix(heard, "alice offers 1, alice offers 2, alice answers 3, alice ") || len(pb.heard) != 5 ||
			strings.Count(heard, "offers") != 3 {
			t.Errorf("bob heard %q", heard)
		}
	})
}

// An INVITE without an offer: the callee offers in its 2xx, the caller answers
// in his ACK. The same in mid-call.
func TestLateOffer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		pa, pb := &paper{name: "alice"}, &paper{name: "bob"}
		late := func(c *sip.Config) {
			c.NewMedia = func(context.Context, offeranswer.Env) (offeranswer.Media, error) { return latePaper{pa}, nil }
		}
		alice, bob := l.phone("alice", late), l.phone("bob", paperwork(pb))
		a, b := talk(t, alice, bob, "bob")
		pa.check(t, "bob offers 1")
		pb.check(t, "alice answers 1")
		if err := a.Renegotiate(t.Context(), offeranswer.Options{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		pa.check(t, "bob offers 1", "bob offers 2")
		pb.check(t, "alice answers 1", "alice answers 2")
		b.Hangup(t.Context())
		ended(t, a, sip.Remote)
		l.idle()
		for _, m := range append(l.messages("bob", "INVITE", true), l.messages("alice", "INVITE", false)...) {
			if !strings.HasSuffix(m, "\r\n\r\n") {
				t.Errorf("an INVITE with a body:\n%s", m)
			}
		}
	})
}

type latePaper struct{ *paper }

func (latePaper) Offer(context.Context, offeranswer.Options) ([]byte, error) { return nil, nil }
func (p latePaper) Leg(string) (offeranswer.Leg, error)                      { return lateLeg{paperLeg(p)}, nil }

type lateLeg struct{ paperLeg }

func (lateLeg) Offer(context.Context, offeranswer.Options) ([]byte, error) { return nil, nil }

// With one device early media pass through; with several they do not.
func TestEarlyMedia(t *testing.T) {
	for _, devices := range []int{1, 2} {
		t.Run(fmt.Sprint(devices), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				pa := &paper{name: "alice"}
				alice := l.phone("alice", paperwork(pa))
				var bobs []*phone
				for i := range devices {
					bobs = append(bobs, l.phone("bob", paperwork(&paper{name: fmt.Sprint("bob", i)})))
				}
				l.ClearTranscript()
				a := alice.call("bob")
				b := bobs[0].accept()
				if err := b.Progress(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				early := 0
				if devices == 1 {
					early = 1
					pa.check(t, "bob0 answers 1")
				} else {
					pa.check(t)
				}
				if err := b.Answer(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				if err := a.Answered(t.Context()); err != nil {
					t.Fatal(err)
				}
				withSDP := 0
				for _, m := range l.messages("alice", "SIP/2.0 183", true) {
					if strings.Contains(m, "bob0 answers 1") {
						withSDP++
					}
				}
				if withSDP != early {
					t.Errorf("%d 183 with a description, want %d", withSDP, early)
				}
				a.Hangup(t.Context())
				l.idle()
			})
		})
	}
}

// All devices of a user ring; one answers, the others hear that.
func TestFork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice := l.phone("alice")
		bobs := []*phone{l.phone("bob"), l.phone("bob", over(l, sip.UDP)), l.phone("bob", over(l, sip.TCP))}
		l.ClearTranscript()
		a := alice.call("1002")
		var ringing []*sip.Call
		for _, b := range bobs {
			c := b.accept()
			if err := c.Ring(t.Context()); err != nil {
				t.Fatal(err)
			}
			ringing = append(ringing, c)
		}
		if err := ringing[1].Answer(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := a.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, i := range []int{0, 2} {
			end := ended(t, ringing[i], sip.Remote)
			if want := (sip.Reason{Protocol: "SIP", Cause: 200, Text: "Call completed elsewhere"}); len(end.Reasons) != 1 || end.Reasons[0] != want {
				t.Errorf("device %d: reasons %v", i, end.Reasons)
			}
		}
		for _, m := range l.messages("bob", "CANCEL", true) {
			if !strings.Contains(m, "\r\nReason:SIP;cause=200;text=\"Call completed elsewhere\"\r\n") {
				t.Errorf("the loser's CANCEL:\n%s", m)
			}
		}
		if n := l.count("alice< 180 INVITE"); n != 1 {
			t.Errorf("the caller got %d times 180", n)
		}
		ringing[1].Hangup(t.Context())
		ended(t, a, sip.Remote)
		l.idle()
	})
}

// Two devices answer at once: one has the call, the other gets BYE.
func TestForkBothAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		l.net.ImpairAll(memnetLatency(50 * time.Millisecond))
		alice := l.phone("alice")
		b1, b2 := l.phone("bob"), l.phone("bob")
		l.ClearTranscript()
		a := alice.call("bob")
		c1, c2 := b1.accept(), b2.accept()
		for _, c := range []*sip.Call{c1, c2} {
			go c.Answer(t.Context(), nil)
		}
		if err := a.Answered(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(t, time.Second)
		if (c1.State() == sip.CallEnded) == (c2.State() == sip.CallEnded) {
			t.Errorf("states %v and %v: one has the call", c1.State(), c2.State())
		}
		if n := l.count("bob< BYE") + l.count("bob#2< BYE"); n != 1 {
			t.Errorf("%d BYEs to the loser, want 1", n)
		}
		a.Hangup(t.Context())
		l.idle()
	})
}

// What the caller hears when nobody takes the call.
func TestAllRefuse(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []int
		want    int
	}{
		{"one busy", []int{486}, 486},
		{"all busy", []int{486, 486, 486}, 486},
		{"the lowest class", []int{500, 486}, 486},
		{"6xx before all", []int{486, 603}, 603},
		{"503 of one device is not the lab's", []int{503}, 500},
		{"a redirection", []int{302, 486}, 302},
		{"480 before 5xx", []int{502, 480}, 480},
		{"415 before 486", []int{486, 415}, 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				alice := l.phone("alice")
				for _, status := range c.answers {
					b := l.phone("bob")
					go func() {
						if in, err := b.Accept(t.Context()); err == nil {
							in.Reject(t.Context(), status)
						}
					}()
				}
				_, err := alice.Dial(t.Context(), "bob", nil)
				var se *sip.StatusError
				if !errors.As(err, &se) || se.Code != c.want {
					t.Errorf("error %v, want %d", err, c.want)
				}
				l.idle()
			})
		})
	}
}

// A 6xx ends it for all devices at once (RFC 3261 §16.7 step 5).
func TestDeclineEndsFork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice, b1, b2 := l.phone("alice"), l.phone("bob"), l.phone("bob")
		a := alice.call("bob")
		c1, c2 := b1.accept(), b2.accept()
		c1.Ring(t.Context())
		c2.Ring(t.Context())
		c1.Reject(t.Context(), 603)
		if end := ended(t, a, sip.Remote); end.Status != 603 {
			t.Errorf("the caller's end %+v", end)
		}
		ended(t, c2, sip.Remote)
		l.idle()
	})
}

// CANCEL at every moment.
func TestCancel(t *testing.T) {
	for _, c := range []struct {
		name  string
		until func(t *testing.T, b *phone) *sip.Call
	}{
		{"at once", func(*testing.T, *phone) *sip.Call { return nil }},
		{"before it rings", func(t *testing.T, b *phone) *sip.Call { return b.accept() }},
		{"ringing", func(t *testing.T, b *phone) *sip.Call {
			c := b.accept()
			c.Ring(t.Context())
			synctest.Wait()
			return c
		}},
		{"while the callee answers", func(t *testing.T, b *phone) *sip.Call {
			c := b.accept()
			go c.Answer(t.Context(), nil)
			synctest.Wait() // the 200 is on its way: latency
			return c
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				l := start(t, nil)
				l.net.ImpairAll(memnetLatency(20 * time.Millisecond))
				alice, bob := l.phone("alice"), l.phone("bob")
				a := alice.call("bob")
				b := c.until(t, bob)
				if err := a.Hangup(t.Context(), sip.Reason{Protocol: "SIP", Cause: 487, Text: "never mind"}); err != nil {
					t.Fatal(err)
				}
				ended(t, a, sip.Local)
				if b != nil {
					ended(t, b, sip.Remote)
				}
				l.idle()
			})
		})
	}
}

// Nobody answers: 480 after Calls.RingTime, and the device stops ringing.
func TestRingTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(c *siptest.Config) { c.Calls.RingTime = 20 * time.Second })
		alice, bob := l.phone("alice"), l.phone("bob")
		began := time.Now()
		a := alice.call("bob")
		b := bob.accept()
		b.Ring(t.Context())
		if end := ended(t, a, sip.Remote); end.Status != 480 || time.Since(began) != 20*time.Second {
			t.Errorf("end %+v after %v", end, time.Since(began))
		}
		ended(t, b, sip.Remote)
		l.idle()
	})
}

// Calls that lead nowhere.
func TestNowhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice := l.phone("alice")
		for to, want := range map[string]int{
			"nobody": 404, "carol": 480, "sip:bob@elsewhere.example": 404,
			"sip:alice@pbx.example;gr=urn:uuid:00000000-0000-0000-0000-000000000000": 404,
		} {
			_, err := alice.Dial(t.Context(), to, nil)
			var se *sip.StatusError
			if !errors.As(err, &se) || se.Code != want {
				t.Errorf("%s: %v, want %d", to, err, want)
			}
		}
		l.idle()
	})
}

// A caller who wants privacy gets it (RFC 3323).
func TestPrivacy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice, bob := l.phone("alice"), l.phone("bob")
		if _, err := alice.Start(t.Context(), "bob", &sip.DialOptions{Headers: [][2]string{{"Privacy", "id"}}}); err != nil {
			t.Fatal(err)
		}
		b := bob.accept()
		if r := b.Remote(); r.URI != "sip:anonymous@anonymous.invalid" || r.Name != "Anonymous" {
			t.Errorf("bob sees %+v", r)
		}
		if pai := b.Header("P-Asserted-Identity"); len(pai) != 0 {
			t.Errorf("P-Asserted-Identity %q", pai)
		}
		b.Reject(t.Context(), 486)
		l.idle()
	})
}

// The calling device, too, is rung when a user calls himself; a call to it
// while the lab does not reach it is 480.
func TestOneself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, nil)
		alice := l.phone("alice")
		a, b := talk(t, alice, alice, "1001")
		a.Hangup(t.Context())
		ended(t, b, sip.Remote)
		l.idle()
	})
}
