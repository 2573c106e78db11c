package peertest

import "testing"

func TestRTPEngine(t *testing.T) {
	t.Parallel()
	r := StartRTPEngine(t)
	if r.Relays(r.firstPort-1) || !r.Relays(r.firstPort) {
		t.Error("Relays is wrong about its range")
	}
}
