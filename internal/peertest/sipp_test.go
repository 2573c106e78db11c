package peertest

import (
	"testing"
	"time"
)

func TestSippCallsSipp(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"udp", "tcp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			const calls = 200
			uas := StartSipp(t, SippConfig{Scenario: "uas", Transport: transport, Calls: calls})
			uac := StartSipp(t, SippConfig{Scenario: "uac", Target: uas.Addr, Transport: transport, Calls: calls, Rate: 200, Hold: 50 * time.Millisecond})
			for name, p := range map[string]*Sipp{"caller": uac, "callee": uas} {
				if s := p.Wait(patience); s.Successful != calls || s.Created != calls {
					t.Errorf("%s: %+v, want %d calls", name, s, calls)
				}
			}
		})
	}
}
