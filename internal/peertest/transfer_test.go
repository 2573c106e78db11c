package peertest

import (
	"testing"
	"time"
)

// Linphone, who is bob, transfers carol to dave, whose call with bob is
// replaced (RFC 5589 §7, RFC 3891).
func TestLinphoneTransfersAttended(t *testing.T) {
	t.Parallel()
	k := StartKamailio(t, KamailioConfig{})
	bob := StartLinphone(t, PhoneConfig{User: "bob", Registrar: k, Codecs: []string{"PCMU"}, Source: SpeechFile(t, 1)})
	carol := StartLinphone(t, PhoneConfig{User: "carol", Registrar: k, Codecs: []string{"PCMU"}, Source: SpeechFile(t, 0), AutoAnswer: true})
	dave := StartLinphone(t, PhoneConfig{User: "dave", Registrar: k, Codecs: []string{"PCMU"}, Source: SpeechFile(t, 2), AutoAnswer: true})
	mark := bob.Log.Mark()
	bob.Dial(carol.AOR)
	first := bob.CallID(mark)
	bob.WaitConnected(mark)
	bob.Hold()
	carol.WaitHeld(0)
	mark = bob.Log.Mark()
	bob.Dial(dave.AOR)
	second := bob.CallID(mark)
	bob.WaitConnected(mark)
	mark, carols, daves := bob.Log.Mark(), carol.Log.Mark(), dave.Log.Mark()
	carolHeard, daveHeard := carol.RecordTo("after"), dave.RecordTo("after")
	bob.TransferTo(first, second)
	bob.WaitTransferred(mark, first)
	carol.WaitConnected(carols)
	dave.WaitConnected(daves)
	dave.WaitRecorded(daveHeard, 4*time.Second)
	carol.WaitRecorded(carolHeard, 4*time.Second)
	dave.Hangup()
	carol.WaitEnded(carols)
	carol.Stop()
	dave.Stop()
	CheckVoice(t, "carol", 2, carolHeard)
	CheckVoice(t, "dave", 0, daveHeard)
}

// Both phones transfer blindly (RFC 5589 §6): baresip, who is alice, and
// Linphone, who is bob, refer carol to dave.
func TestTransferBlind(t *testing.T) {
	t.Parallel()
	for _, linphone := range []bool{false, true} {
		t.Run(map[bool]string{false: "baresip", true: "linphone"}[linphone], func(t *testing.T) {
			t.Parallel()
			k := StartKamailio(t, KamailioConfig{})
			carol := StartBaresip(t, PhoneConfig{User: "carol", Registrar: k, Codecs: []string{"PCMU"}, Source: SpeechFile(t, 2), AutoAnswer: true})
			dave := StartLinphone(t, PhoneConfig{User: "dave", Registrar: k, Codecs: []string{"PCMU"}, Source: SpeechFile(t, 1), AutoAnswer: true})
			if linphone {
				bob := StartLinphone(t, PhoneConfig{User: "bob", Registrar: k, Codecs: []string{"PCMU"}})
				mark := bob.Log.Mark()
				bob.Dial(carol.AOR)
				call := bob.CallID(mark)
				bob.WaitConnected(mark)
				bob.Transfer(call, dave.AOR)
				bob.WaitTransferred(mark, call)
			} else {
				alice := StartBaresip(t, PhoneConfig{User: "alice", Registrar: k, Codecs: []string{"PCMU"}, Source: SpeechFile(t, 0)})
				alice.Dial(carol.AOR)
				alice.WaitEvent(0, "CALL_ESTABLISHED")
				alice.Transfer(dave.AOR)
				if e := alice.WaitEvent(0, "CALL_CLOSED"); e.Param != TransferDone {
					t.Errorf("the transfer ended with %q", e.Param)
				}
			}
			dave.WaitConnected(0)
			dave.WaitRecorded(dave.Heard(), 4*time.Second)
			dave.Hangup()
			carol.Stop()
			dave.Stop()
			CheckVoice(t, "carol", 1, carol.Heard()...)
			CheckVoice(t, "dave", 2, dave.Heard())
		})
	}
}

// Linphone mixes a conference. It does so for the others alone: what it plays from a file is not in it.
func TestLinphoneConference(t *testing.T) {
	t.Parallel()
	k := StartKamailio(t, KamailioConfig{})
	alice := StartBaresip(t, PhoneConfig{User: "alice", Registrar: k, Codecs: []string{"PCMU"}, Source: SpeechFile(t, 0), AutoAnswer: true})
	bob := StartLinphone(t, PhoneConfig{User: "bob", Registrar: k, Codecs: []string{"PCMU"}})
	dave := StartLinphone(t, PhoneConfig{User: "dave", Registrar: k, Codecs: []string{"PCMU"}, Source: SpeechFile(t, 2), AutoAnswer: true})
	var calls []int
	for i, aor := range []string{dave.AOR, alice.AOR} {
		if i > 0 {
			mark := bob.Log.Mark()
			bob.Hold()
			bob.WaitPaused(mark)
		}
		mark := bob.Log.Mark()
		bob.Dial(aor)
		calls = append(calls, bob.CallID(mark))
		bob.WaitConnected(mark)
	}
	heard := dave.RecordTo("conference")
	for _, id := range calls {
		bob.Join(id)
	}
	dave.WaitRecorded(heard, 5*time.Second)
	bob.Hangup()
	alice.WaitEvent(0, "CALL_CLOSED")
	dave.WaitEnded(0)
	alice.Stop()
	dave.Stop()
	CheckVoice(t, "alice", 2, alice.Heard()...)
	CheckVoice(t, "dave", 0, heard)
}
