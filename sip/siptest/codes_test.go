package siptest_test

import (
	"testing"

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
			cfg.Codes = map[siptest.Feature]string{siptest.Flash: "*500", siptest.PushToTalk: "#5", siptest.CallBridge: ""}
		})
		r := l.raw()
		r.register("alice")
		for number, status := range map[string]int{
			"*500": 403, "*5001": 403, "*22": 404, "%235": 403, "*50": 404, "*15": 404,
		} {
			r.request("INVITE sip:"+number+"@pbx.example", offerText, "Call-ID: "+number)
			if res := r.response(status); res.StatusCode != status {
				t.Errorf("%s: %d", number, res.StatusCode)
			}
		}
	})
}
