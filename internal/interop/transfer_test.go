package interop

import (
	"strings"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/sip"
)

// Who says what where three take part: we are alice and speak with the voice ourSpeaker.
const (
	bobsVoice  = 1
	thirdVoice = 2
)

// partyChanged waits until a call is with somebody else.
func partyChanged(t *testing.T, c *sip.Call, aor string) {
	t.Helper()
	for range c.Events(deadline(t, patience)) {
		// With or without what follows the address of record.
		if strings.HasPrefix(c.Remote().URI, aor) {
			return
		}
	}
	t.Fatalf("the call is with %v, want %s", c.Remote(), aor)
}

// narrowband is how all phones of these tests are configured.
func narrowband(t *testing.T, k *peertest.Kamailio, user string, speaker int, answers bool) peertest.PhoneConfig {
	t.Helper()
	return peertest.PhoneConfig{
		User: user, Registrar: k, Codecs: []string{"PCMU"}, Source: peertest.SpeechFile(t, speaker), AutoAnswer: answers,
	}
}

// Linphone, who talks with us and with another Linphone, transfers that one to
// us: an INVITE with Replaces takes the place of his call (RFC 5589 §7.1, RFC 3891).
func TestTransferredToUs(t *testing.T) {
	t.Parallel()
	listening(t, 1)
	k := peertest.StartKamailio(t, peertest.KamailioConfig{})
	alice := newPhone(t, k, "alice", nil)
	bob := peertest.StartLinphone(t, narrowband(t, k, "bob", bobsVoice, false))
	dave := peertest.StartLinphone(t, narrowband(t, k, "dave", thirdVoice, true))

	mark := bob.Log.Mark()
	bob.Dial(dave.AOR)
	first := bob.CallID(mark)
	bob.WaitConnected(mark)
	bob.Hold()
	bob.WaitPaused(mark)
	mark = bob.Log.Mark()
	bob.Dial(alice.AOR())
	second := bob.CallID(mark)
	c := accept(t, alice.UA)
	if err := c.Answer(deadline(t, patience), nil); err != nil {
		t.Fatal(err)
	}
	bob.WaitConnected(mark)

	mark, daves := bob.Log.Mark(), dave.Log.Mark()
	heard := dave.RecordTo("after")
	bob.TransferTo(first, second)
	partyChanged(t, c, dave.AOR)
	bob.WaitTransferred(mark, first)
	dave.WaitConnected(daves)
	alice.hears(t, c, "alice", thirdVoice)
	if err := c.Hangup(deadline(t, patience)); err != nil {
		t.Error(err)
	}
	ended(t, c)
	dave.WaitEnded(daves)
	dave.Stop()
	peertest.CheckVoice(t, "dave", ourSpeaker, heard)
}
