package siptest_test

import (
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// A table that is not clear is refused.
func TestCodesRefused(t *testing.T) {
	for _, codes := range []map[siptest.Feature]string{
		{"make-coffee": "*77"},
		{siptest.Park: "park"},
		{siptest.Park: "*72"},
		{siptest.Park: "*7;"},
	} {
		if srv, err := siptest.Start(&siptest.Config{Codes: codes}); err == nil {
			srv.Close()
			t.Errorf("%v was taken", codes)
		}
	}
}

// Codes can be moved and taken away; a feature that nobody is assigned is
// refused.
func TestCodesReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, func(cfg *siptest.Config) {
			cfg.Auth.OpenCalls = true
			for i := range cfg.Users {
				cfg.Users[i].NoPull = true // so that the code is told from no number at all
			}
			cfg.Codes = map[siptest.Feature]string{siptest.CallPull: "*500", siptest.Redial: "#5", siptest.PickupBarge: ""}
		})
		r := l.raw()
		r.register("alice")
		for number, status := range map[string]int{
			"*500": 403, "*11": 404, "*50": 404, "*66": 404, "*33": 404,
		} {
			r.request("INVITE sip:"+number+"@pbx.example", offerText, "Call-ID: "+number)
			if res := r.response(status); res.StatusCode != status {
				t.Errorf("%s: %d", number, res.StatusCode)
			}
		}
	})
}

// A device that receives no sound does not hear what it is told; that does not
// keep it on the line.
func TestUnheard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := start(t, withVoicemail(siptest.Voicemail{Limit: 10 * time.Second}))
		alice := l.phone("alice") // sip.NoMedia
		for number, want := range map[string]time.Duration{
			"*78": 1500 * time.Millisecond,                   // half a second of tones
			"bob": (1500 + 10_000 + 2000) * time.Millisecond, // the greeting, and the longest message
		} {
			call, err := alice.Dial(t.Context(), number, nil)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			ended(t, call, sip.Remote)
			if took := time.Since(began); took != want {
				t.Errorf("%s: hung up after %v, want %v", number, took, want)
			}
		}
		if n := len(l.Mailbox("bob")); n != 0 {
			t.Errorf("%d messages", n)
		}
		l.idle()
	})
}
