package peertest

import (
	"testing"
	"time"
)

func TestSippCallsSipp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, caller, callee, transport string }{
		{"UDP", "uac", "uas", "udp"},
		{"TCP", "uac", "uas", "tcp"},
		{"cancelled, UDP", "uac_cancel", "uas_cancel", "udp"},
		{"cancelled, TCP", "uac_cancel", "uas_cancel", "tcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const calls = 200
			uas := StartSipp(t, SippConfig{Scenario: c.callee, Transport: c.transport, Calls: calls})
			uac := StartSipp(t, SippConfig{
				Scenario: c.caller, Target: uas.Addr, Transport: c.transport, Calls: calls, Rate: 200, Hold: 50 * time.Millisecond,
			})
			for name, p := range map[string]*Sipp{"caller": uac, "callee": uas} {
				if s := p.Wait(patience); s.Successful != calls || s.Created != calls {
					t.Errorf("%s: %+v, want %d calls", name, s, calls)
				}
			}
		})
	}
}
