package e2e_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
)

// crossing runs a test over a network with 20 ms of latency, with delays from
// which each order of two events on their way comes about.
func crossing(t *testing.T, fn func(t *testing.T, w *world, s settings, after time.Duration)) {
	for _, transport := range []sip.Transport{sip.TLS, sip.UDP} {
		for after := time.Duration(0); after <= 100*ms; after += 10 * ms {
			t.Run(fmt.Sprint(transport, " ", after), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t)
					w.net.ImpairAll(w.path(memnet.Impairment{Latency: 20 * ms}))
					s := settings{ua: w.over(transport), media: media.Config{Codecs: codecsNamed("PCMU")}}
					fn(t, w, s, after)
					checkIdle(t, w)
					sent := w.wire.total()
					pass(time.Second)
					if n := w.wire.total() - sent; n != 0 {
						t.Errorf("%d packets after the call", n)
					}
				})
			})
		}
	}
}

// The caller gives up while the callee answers (RFC 3261 §9.1, §15): whoever
// is first, the call is over on both sides.
func TestCancelCrossesAnswer(t *testing.T) {
	crossing(t, func(t *testing.T, w *world, s settings, after time.Duration) {
		alice, bob := w.phone("alice", s), w.phone("bob", s)
		ca := alice.start("bob")
		cb := bob.accept()
		must(t, cb.Ring(t.Context()))
		pass(200 * ms)
		answered := make(chan error, 1)
		go func() { answered <- cb.Answer(t.Context(), nil) }()
		pass(after)
		must(t, ca.Hangup(t.Context()))
		<-answered // it may have been too late
		ended(t, ca, sip.Local)
		ended(t, cb, sip.Remote)
	})
}

// Both sides hang up.
func TestBothHangUp(t *testing.T) {
	crossing(t, func(t *testing.T, w *world, s settings, after time.Duration) {
		alice, bob := w.phone("alice", s), w.phone("bob", s)
		a, b := alice.call(bob, "bob")
		pass(time.Second)
		must(t, a.Hangup(t.Context()))
		pass(after)
		must(t, b.Hangup(t.Context()))
		ended(t, a.Call, sip.Local)
		must(t, b.Wait(t.Context()))
		if by := b.End().By; by == sip.Nobody || by == 0 {
			t.Errorf("bob: %+v", b.End())
		}
	})
}

// Two devices of the callee answer: one of them has the call, the other is
// told that it was too late.
func TestTwoAnswer(t *testing.T) {
	crossing(t, func(t *testing.T, w *world, s settings, after time.Duration) {
		alice := w.phone("alice", s)
		bobs := []*phone{w.phone("bob", s), w.phone("bob", s)}
		ca := alice.start("bob")
		calls := []*sip.Call{bobs[0].accept(), bobs[1].accept()}
		pass(200 * ms)
		answered := make(chan struct{}, 2)
		for i, c := range calls {
			if i == 1 {
				pass(after)
			}
			go func() {
				_ = c.Answer(t.Context(), nil) // one of them may have been too late
				answered <- struct{}{}
			}()
		}
		must(t, ca.Answered(t.Context()))
		<-answered
		<-answered
		pass(time.Second)
		i := slices.IndexFunc(calls, func(c *sip.Call) bool { return c.State() == sip.CallEstablished })
		if i < 0 {
			t.Fatal("nobody has the call")
		}
		end := ended(t, calls[1-i], sip.Remote)
		if !slices.ContainsFunc(end.Reasons, func(r sip.Reason) bool { return r.Cause == 200 }) {
			t.Errorf("the loser: %+v", end)
		}
		a, b := alice.end(ca), bobs[i].end(calls[i])
		hum(t, a, b)
		hangup(t, a, b)
	})
}

// The callee hangs up as soon as he has answered, and the caller makes an
// offer at that moment.
func TestHangupCrossesReoffer(t *testing.T) {
	crossing(t, func(t *testing.T, w *world, s settings, after time.Duration) {
		alice, bob := w.phone("alice", s), w.phone("bob", s)
		a, b := alice.call(bob, "bob")
		done := make(chan error, 1)
		go func() { done <- a.Renegotiate(t.Context(), options{NewKeys: true}) }()
		pass(after)
		must(t, b.Hangup(t.Context()))
		<-done // it may have been too late
		ended(t, b.Call, sip.Local)
		ended(t, a.Call, sip.Remote)
	})
}
