package e2e_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// events are the changes of a registration so far, the latest 64.
func events(t *testing.T, r *sip.Registration) []sip.RegistrationEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	return slices.Collect(r.Events(ctx))
}

// The registrar dies in the middle of a call and comes back: the call goes on
// all the time, both register again by themselves, and the call can be ended
// and others made.
func TestRegistrarRestarted(t *testing.T) {
	for _, keep := range []bool{true, false} {
		for _, transport := range []sip.Transport{sip.TLS, sip.TCP, sip.UDP} {
			name := string(transport) + " without registrations"
			if keep {
				name = string(transport) + " with registrations"
			}
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t, func(c *siptest.Config) { c.Registrar.MaxExpires = 2 * time.Minute })
					s := settings{ua: w.over(transport), media: media.Config{Codecs: codecsNamed("PCMU")}}
					alice, bob := w.phone("alice", s), w.phone("bob", s)
					a, b := alice.call(bob, "bob")
					w.Kill()
					converse(t, a, b)
					if a.State() != sip.CallEstablished || b.State() != sip.CallEstablished {
						t.Errorf("alice %v, bob %v", a.State(), b.State())
					}
					_, err := alice.Dial(t.Context(), "bob", nil)
					var netErr net.Error
					if !errors.As(err, &netErr) && !errors.Is(err, sip.ErrNoFlow) {
						t.Errorf("a call without a registrar: %v", err)
					}
					restarted := time.Now()
					must(t, w.Restart(keep))
					for _, p := range []*phone{alice, bob} {
						p.back(restarted)
					}
					if n := len(w.Devices("bob")); n != 1 {
						t.Errorf("bob has %d devices: %v", n, w.Devices("bob"))
					}
					hum(t, a, b)
					// The lab knows nothing of this call any more, so that neither
					// BYE finds the other side.
					for _, x := range []*end{a, b} {
						must(t, x.Hangup(t.Context()))
						ended(t, x.Call, sip.Local)
					}
					c, d := bob.call(alice, "alice")
					hum(t, c, d)
					hangup(t, c, d)
					checkIdle(t, w)
				})
			})
		}
	}
}

// A connection falls silent without a FIN, as behind a NAT that forgets: it is
// noticed by the keep-alive and replaced, and the call lives on.
func TestConnectionCut(t *testing.T) {
	for _, transport := range []sip.Transport{sip.TLS, sip.TCP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, func(c *siptest.Config) { c.Registrar.FlowTimer = 30 * time.Second })
				s := settings{ua: w.over(transport), media: media.Config{Codecs: codecsNamed("PCMU")}}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				a, b := alice.call(bob, "bob")
				pass(time.Second) // the ACK has arrived
				before := alice.reg.Info().Flow
				cut := time.Now()
				if n := w.Cut("alice"); n != 1 {
					t.Fatalf("%d connections", n)
				}
				hum(t, a, b)
				pass(time.Minute - time.Since(cut))
				var noticed, back time.Time
				for _, e := range events(t, alice.reg) {
					switch {
					case e.Time.Before(cut):
					case e.State == sip.Reconnecting && noticed.IsZero():
						noticed = e.Time
					case e.State == sip.Registered && back.IsZero():
						back = e.Time
					}
				}
				// The flow timer, and 10 s for the pong (RFC 5626 §4.4.1).
				if d := noticed.Sub(cut); noticed.IsZero() || d > 40*time.Second {
					t.Errorf("noticed after %v", d)
				}
				if d := back.Sub(noticed); back.IsZero() || d > 5*time.Second {
					t.Errorf("back %v later", d)
				}
				if after := alice.reg.Info().Flow; after == before {
					t.Errorf("still on %v", after)
				}
				if ds := w.Devices("alice"); len(ds) != 1 || !ds[0].Reachable {
					t.Errorf("devices %v", ds)
				}
				hum(t, a, b)
				// The dialog has moved to the new connection, both ways.
				must(t, b.Renegotiate(t.Context(), options{}))
				must(t, a.Renegotiate(t.Context(), options{}))
				hangup(t, b, a)
				c, d := bob.call(alice, "alice")
				hangup(t, c, d)
				checkIdle(t, w)
			})
		})
	}
}

// A callee whose connection is silent is not reached; when he is back he is.
func TestCalleeCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *siptest.Config) { c.Registrar.FlowTimer = time.Minute })
		alice, bob := w.phone("alice", settings{}), w.phone("bob", settings{})
		w.Cut("bob")
		start := time.Now()
		_, err := alice.Dial(t.Context(), "bob", nil)
		var se *sip.StatusError
		if !errors.As(err, &se) || se.Code != 408 && se.Code != 480 {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		pass(2 * time.Minute)
		a, b := alice.call(bob, "bob")
		hum(t, a, b)
		hangup(t, a, b)
		checkIdle(t, w)
	})
}

// An INVITE into a black hole fails after exactly 64*T1 (RFC 3261 §17.1.1.2).
func TestBlackHole(t *testing.T) {
	for _, transport := range []sip.Transport{sip.UDP, sip.TCP, sip.TLS} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				// An INVITE that fits into a datagram: for a larger one a stream
				// would be tried first (§18.1.1).
				alice := w.phone("alice", settings{ua: w.over(transport), media: media.Config{Codecs: codecsNamed("PCMU")}})
				pass(time.Second)
				w.net.BlackHole(labAddr, true)
				start := time.Now()
				_, err := alice.Dial(t.Context(), "bob", nil)
				took := time.Since(start)
				var timeout *sip.TimeoutError
				var netErr net.Error
				if !errors.As(err, &timeout) || !errors.As(err, &netErr) || !netErr.Timeout() {
					t.Errorf("got %v", err)
				}
				if took != 32*time.Second {
					t.Errorf("took %v, want 32s", took)
				}
				w.net.BlackHole(labAddr, false)
				pass(5 * time.Minute)
				if e := lastEvent(t, alice.reg); e.State != sip.Registered {
					t.Errorf("alice: %+v", e)
				}
				_, err = alice.Dial(t.Context(), "9003", nil)
				var se *sip.StatusError
				if !errors.As(err, &se) || se.Code != 486 {
					t.Errorf("after it: %v", err)
				}
			})
		})
	}
}

// The lab is overloaded: what it says is told, with when to try again.
func TestUnavailable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		alice, bob := w.phone("alice", settings{}), w.phone("bob", settings{})
		w.Inject(siptest.Fault{Match: siptest.Match{Method: "INVITE", User: "alice", Direction: siptest.FromDevice}, Answer: 503, RetryAfter: 7 * time.Second})
		_, err := alice.Dial(t.Context(), "bob", nil)
		var se *sip.StatusError
		if !errors.As(err, &se) || se.Code != 503 || se.RetryAfter != 7*time.Second {
			t.Errorf("got %v, %+v", err, se)
		}
		a, b := alice.call(bob, "bob")
		hangup(t, a, b)

		// A refresh that is refused is made again when the server says.
		inj := w.Inject(siptest.Fault{Match: siptest.Match{Method: "REGISTER", User: "alice"}, Count: 3, Answer: 503, RetryAfter: 40 * time.Second})
		pass(time.Hour)
		if inj.Hits() != 3 {
			t.Errorf("%d refreshes refused", inj.Hits())
		}
		if e := lastEvent(t, alice.reg); e.State != sip.Registered {
			t.Errorf("alice: %+v", e)
		}
		a, b = bob.call(alice, "alice")
		hangup(t, a, b)
	})
}
