package broadworks_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/broadworks"
)

// lab runs a test with an account and the user agent that plays its server.
func lab(t *testing.T, fn func(t *testing.T, ua, server *sip.UA)) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		made := func(aor, addr string) *sip.UA {
			h := n.Host(addr)
			ua, err := sip.New(&sip.Config{
				Account: sip.Account{AOR: aor, Direct: true, Transport: sip.UDP},
				Listen:  []string{"udp:" + addr + ":5060"},
				Network: sip.Network{Dial: h.Dial, Listen: h.Listen, ListenPacket: h.ListenPacket},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ua.Close() })
			return ua
		}
		fn(t, made("sip:alice@10.0.0.2", "10.0.0.1"), made("sip:pbx@10.0.0.2", "10.0.0.2"))
	})
}

// dialled answers a call to a code, and tells which that was.
func dialled(t *testing.T, server *sip.UA) (*sip.Call, string) {
	t.Helper()
	c, err := server.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c, c.Local().URI
}

func TestSet(t *testing.T) {
	lab(t, func(t *testing.T, ua, server *sip.UA) {
		s := broadworks.New(ua, map[broadworks.Feature]string{broadworks.ForwardBusyOff: "#91", broadworks.ForwardNoAnswerOn: ""})
		for _, tt := range []struct {
			set  func(ctx context.Context) error
			want string
		}{
			{func(ctx context.Context) error { return s.SetDoNotDisturb(ctx, true) }, "sip:*78@10.0.0.2"},
			{func(ctx context.Context) error { return s.SetDoNotDisturb(ctx, false) }, "sip:*79@10.0.0.2"},
			{func(ctx context.Context) error { return s.SetForward(ctx, broadworks.Always, "1002") }, "sip:*721002@10.0.0.2"},
			{func(ctx context.Context) error { return s.SetForward(ctx, broadworks.Busy, "") }, "sip:%2391@10.0.0.2"},
			{func(ctx context.Context) error { return s.SetForward(ctx, broadworks.NotReachable, "+1") }, "sip:*94+1@10.0.0.2"},
		} {
			result := make(chan error, 1)
			go func() { result <- tt.set(t.Context()) }()
			c, code := dialled(t, server)
			if code != tt.want {
				t.Errorf("dialled %s, want %s", code, tt.want)
			}
			if err := c.Answer(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			_ = c.Hangup(t.Context())
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
		// A server that goes on talking is hung up on after ten seconds.
		result := make(chan error, 1)
		go func() { result <- s.SetDoNotDisturb(t.Context(), true) }()
		c, _ := dialled(t, server)
		_ = c.Answer(t.Context(), nil)
		start := time.Now()
		_ = c.Wait(t.Context())
		if err := <-result; err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		go func() { result <- s.SetDoNotDisturb(t.Context(), true) }()
		c, _ = dialled(t, server)
		_ = c.Reject(t.Context(), 403)
		var fe *broadworks.FeatureError
		var se *sip.StatusError
		if err := <-result; !errors.As(err, &fe) || fe.Feature != broadworks.DoNotDisturbOn || !errors.As(err, &se) || se.Code != 403 {
			t.Error(err)
		}
		if err := s.SetForward(t.Context(), broadworks.NoAnswer, "1"); !errors.Is(err, broadworks.ErrDisabled) {
			t.Error(err)
		}
		if err := s.SetForward(t.Context(), broadworks.Always, "1;x"); !errors.Is(err, broadworks.ErrTarget) {
			t.Error(err)
		}
		if err := s.SetForward(t.Context(), 0, "1"); err == nil {
			t.Error("forwarded never")
		}
	})
}

func TestCalls(t *testing.T) {
	lab(t, func(t *testing.T, ua, server *sip.UA) {
		s := broadworks.New(ua, nil)
		for want, dial := range map[string]func(ctx context.Context) (*sip.Call, error){
			"sip:*88@10.0.0.2":     func(ctx context.Context) (*sip.Call, error) { return s.Retrieve(ctx, "", nil) },
			"sip:*98@10.0.0.2":     func(ctx context.Context) (*sip.Call, error) { return s.PickupGroup(ctx, nil) },
			"sip:*971002@10.0.0.2": func(ctx context.Context) (*sip.Call, error) { return s.PickupDirected(ctx, "1002", nil) },
			"sip:*11@10.0.0.2":     func(ctx context.Context) (*sip.Call, error) { return s.Pull(ctx, nil) },
			"sip:*86@10.0.0.2":     func(ctx context.Context) (*sip.Call, error) { return s.Portal(ctx, nil) },
			"sip:*671003@10.0.0.2": func(ctx context.Context) (*sip.Call, error) { return s.DialHidden(ctx, "1003", nil) },
		} {
			result := make(chan error, 1)
			go func() { _, err := dial(t.Context()); result <- err }()
			c, code := dialled(t, server)
			if code != want {
				t.Errorf("dialled %s, want %s", code, want)
			}
			_ = c.Answer(t.Context(), nil)
			if err := <-result; err != nil {
				t.Error(err)
			}
			_ = c.Hangup(t.Context())
		}
	})
}

func TestPark(t *testing.T) {
	lab(t, func(t *testing.T, ua, server *sip.UA) {
		s := broadworks.New(ua, nil)
		result := make(chan error, 1)
		var call *sip.Call
		go func() { c, err := ua.Dial(t.Context(), "bob", nil); call = c; result <- err }()
		far, _ := dialled(t, server)
		_ = far.Answer(t.Context(), nil)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		// Refused: the call is there, and not on hold.
		go func() { result <- s.Park(t.Context(), call, "1002") }()
		c, code := dialled(t, server)
		if code != "sip:*681002@10.0.0.2" || !call.Held().Local {
			t.Errorf("%s, %v", code, call.Held())
		}
		_ = c.Reject(t.Context(), 404)
		var fe *broadworks.FeatureError
		if err := <-result; !errors.As(err, &fe) || call.State() != sip.CallEstablished || call.Held().Local {
			t.Errorf("%v, %v, %v", err, call.State(), call.Held())
		}
		// What cannot be dialled is no reason to put the call on hold.
		if err := s.Park(t.Context(), call, "bob"); !errors.Is(err, broadworks.ErrTarget) {
			t.Error(err)
		}
		none := broadworks.New(ua, map[broadworks.Feature]string{broadworks.CallPark: ""})
		if err := none.Park(t.Context(), call, ""); !errors.Is(err, broadworks.ErrDisabled) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		holds := 0
		for e := range call.Events(ctx) {
			if e.Kind == sip.HoldChanged {
				holds++
			}
		}
		if holds != 2 { // of the park that was refused
			t.Errorf("put on hold or resumed %d times, want 2", holds)
		}
		go func() { result <- s.TransferToVoicemail(t.Context(), call, "") }()
		c, code = dialled(t, server)
		if code != "sip:*55@10.0.0.2" {
			t.Errorf("%s", code)
		}
		_ = c.Answer(t.Context(), nil)
		_ = far.Hangup(t.Context())
		_ = c.Hangup(t.Context())
		if err := <-result; err != nil || call.State() != sip.CallEnded {
			t.Errorf("%v, %v", err, call.State())
		}
	})
}
