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
