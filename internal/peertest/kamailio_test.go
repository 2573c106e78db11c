package peertest

import (
	"testing"
)

func TestKamailioStartStop(t *testing.T) {
	t.Parallel()
	k := StartKamailio(t, KamailioConfig{})
	if list := k.Contacts("alice"); len(list) != 0 {
		t.Errorf("a fresh registrar has contacts: %v", list)
	}
	k.Kill()
	k.Start()
	k.Stop()
}
