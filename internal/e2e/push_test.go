package e2e_test

import (
	"context"
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
				if end := ended(t, a.Call, sip.Remote); end.Cause != sip.CauseReplaced {
					t.Errorf("on the desk phone: %+v", end)
				}
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
				if end := ended(t, c.Call, sip.Remote); end.Cause != sip.CauseReplaced {
					t.Errorf("on the mobile: %+v", end)
				}
				hum(t, desk.end(back), b)
				must(t, back.Hangup(t.Context()))
				ended(t, b.Call, sip.Remote)
				must(t, here.Close(t.Context()))
			})
		})
	}
}

// A push that comes to nothing says why, and the call is heard where it was.
func TestPushFails(t *testing.T) {
	gruu := func(p *phone) string { return p.reg.Info().PublicGRUU }
	refer := func(d sip.ReferDecision) func(*sip.Config) {
		return func(c *sip.Config) { c.Refer = func(*sip.ReferRequest) sip.ReferDecision { return d } }
	}
	for _, c := range []struct {
		name   string
		lab    func(*siptest.Config)
		mobile func(*sip.Config)
		before func(w *world, mobile *phone) // the desk phone is there
		device func(mobile *phone) string
		status int
		want   error
	}{
		{"the device declines", nil, refer(sip.ReferRefuse), nil, gruu, 603, callpull.ErrDeclined},
		{"there is no such device", nil, nil, nil, func(p *phone) string {
			return "sip:alice@" + p.w.Domain() + ";gr=urn:uuid:00000000-0000-4000-8000-000000000000"
		}, 404, callpull.ErrNoDevice},
		{"the device has left", nil, nil, func(_ *world, p *phone) { must(t, p.UA.Close()) }, gruu, 404, callpull.ErrNoDevice},
		{"the device does not answer", nil, nil, func(w *world, _ *phone) { w.Cut("alice") }, gruu, 0, callpull.ErrNoDevice},
		{"its user declines", nil, refer(sip.ReferAsk), func(_ *world, p *phone) {
			go func() {
				if r, err := p.AcceptRefer(p.t.Context()); err == nil {
					_ = r.Refuse(p.t.Context(), 0)
				}
			}()
		}, gruu, 603, callpull.ErrDeclined},
		{"nobody is there to decide", nil, refer(sip.ReferAsk), nil, gruu, 0, context.DeadlineExceeded},
		{"the server does not let it take the call's place", func(c *siptest.Config) { c.Users[0].NoReplaces = true }, nil, nil, gruu, 403, callpull.ErrForbidden},
	} {
		for _, on := range []sip.Transport{sip.TLS, sip.UDP} {
			t.Run(c.name+", "+string(on), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t, func(cfg *siptest.Config) {
						cfg.Registrar.GRUU = true
						if c.lab != nil {
							c.lab(cfg)
						}
					})
					s := settings{ua: w.over(on)}
					mobile := w.phone("alice", settings{ua: func(cfg *sip.Config) {
						w.over(on)(cfg)
						if c.mobile != nil {
							c.mobile(cfg)
						}
					}})
					if c.before != nil {
						c.before(w, mobile)
					}
					desk, bob := w.phone("alice", s), w.phone("bob", s)
					here, err := callpull.Watch(t.Context(), desk.UA, nil)
					must(t, err)
					a, b := desk.call(bob, "bob")
					ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
					defer cancel()
					err = here.Push(ctx, a.Call, c.device(mobile))
					var refused *sip.StatusError
					if errors.As(err, &refused) != (c.status != 0) || refused != nil && refused.Code != c.status || c.want != nil && !errors.Is(err, c.want) {
						t.Errorf("%v, want %d, %v", err, c.status, c.want)
					}
					hum(t, a, b)
					must(t, a.Hangup(t.Context()))
					ended(t, b.Call, sip.Remote)
					if err := here.Push(t.Context(), a.Call, c.device(mobile)); !errors.Is(err, sip.ErrState) {
						t.Errorf("a call that has ended: %v", err)
					}
					must(t, here.Close(t.Context()))
				})
			})
		}
	}
}
