package e2e_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/callpull"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// A call is pushed from alice's first device to her second by its GRUU, and
// pulled back: bob hears her all the time, and each device ends what it gave
// away.
func TestPushAndPull(t *testing.T) {
	for _, on := range []sip.Transport{sip.TLS, sip.UDP} {
		t.Run(string(on), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, func(c *siptest.Config) { c.Registrar.GRUU = true })
				s := settings{ua: w.over(on)}
				desk, mobile, bob := w.phone("alice", s), w.phone("alice", s), w.phone("bob", s)
				here, err := callpull.Watch(t.Context(), desk.UA, nil)
				must(t, err)
				a, b := desk.call(bob, "bob")
				hum(t, a, b)

				must(t, here.Push(t.Context(), a.Call, mobile.reg.Info().PublicGRUU))
				ended(t, a.Call, sip.Remote)
				c := mobile.end(mobile.accept())
				if c.Direction() != sip.Outgoing || c.State() != sip.CallEstablished {
					t.Errorf("on the mobile: %v, %v", c.Direction(), c.State())
				}
				hum(t, c, b)

				var calls []callpull.Call
				for calls = range here.Changes(t.Context()) {
					if len(calls) == 1 && calls[0].State == "confirmed" {
						break
					}
				}
				back, err := here.Pull(t.Context(), calls[0], nil)
				must(t, err)
				ended(t, c.Call, sip.Remote)
				hum(t, desk.end(back), b)
				must(t, back.Hangup(t.Context()))
				ended(t, b.Call, sip.Remote)
				must(t, here.Close(t.Context()))
			})
		})
	}
}

// A push that comes to nothing leaves the call as it is.
func TestPushFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *siptest.Config) { c.Registrar.GRUU = true })
		desk, mobile, bob := w.phone("alice", settings{}), w.phone("alice", settings{ua: func(c *sip.Config) {
			c.Refer = func(*sip.ReferRequest) sip.ReferDecision { return sip.ReferRefuse }
		}}), w.phone("bob", settings{})
		here, err := callpull.Watch(t.Context(), desk.UA, nil)
		must(t, err)
		a, b := desk.call(bob, "bob")
		var refused *sip.StatusError
		for _, c := range []struct {
			device string
			status int
		}{
			{mobile.reg.Info().PublicGRUU, 603},
			{"sip:alice@" + w.Domain() + ";gr=urn:uuid:00000000-0000-4000-8000-000000000000", 404},
		} {
			err := here.Push(t.Context(), a.Call, c.device)
			if !errors.As(err, &refused) || refused.Code != c.status {
				t.Errorf("%s: %v, want %d", c.device, err, c.status)
			}
			hum(t, a, b)
		}
		must(t, a.Hangup(t.Context()))
		ended(t, b.Call, sip.Remote)
		pass(time.Second)
		if err := here.Push(t.Context(), a.Call, mobile.reg.Info().PublicGRUU); !errors.Is(err, sip.ErrState) {
			t.Errorf("a call that has ended: %v", err)
		}
		must(t, here.Close(t.Context()))
	})
}
