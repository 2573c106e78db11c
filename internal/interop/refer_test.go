package interop

import (
	"fmt"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/sip"
)

// Linphone refers us to another Linphone whom he talks with: we follow with an
// INVITE that replaces their call (RFC 5589 §7.1).
func TestFollowAttended(t *testing.T) {
	t.Parallel()
	listening(t, 1)
	k := peertest.StartKamailio(t, peertest.KamailioConfig{})
	alice := newPhone(t, k, "alice", nil)
	bob := peertest.StartLinphone(t, narrowband(t, k, "bob", bobsVoice, false))
	dave := peertest.StartLinphone(t, narrowband(t, k, "dave", thirdVoice, true))

	mark := bob.Log.Mark()
	bob.Dial(alice.AOR())
	first := bob.CallID(mark)
	c := accept(t, alice.UA)
	if err := c.Answer(deadline(t, patience), nil); err != nil {
		t.Fatal(err)
	}
	bob.WaitConnected(mark)
	bob.Hold()
	bob.WaitPaused(mark)
	waitHeld(t, c, sip.Hold{Remote: true})
	mark = bob.Log.Mark()
	bob.Dial(dave.AOR)
	second := bob.CallID(mark)
	bob.WaitConnected(mark)

	mark, daves := bob.Log.Mark(), dave.Log.Mark()
	heard := dave.RecordTo("after")
	bob.TransferTo(first, second)
	bob.WaitTransferred(mark, first)
	partyChanged(t, c, dave.AOR)
	dave.WaitConnected(daves)
	alice.hears(t, c, "alice", thirdVoice)
	if held := c.Held(); held != (sip.Hold{}) {
		t.Errorf("after the transfer the call is on hold: %+v", held)
	}
	dave.Hangup()
	ended(t, c)
	dave.Stop()
	peertest.CheckVoice(t, "dave", ourSpeaker, heard)
}

// Each phone refers us to the other one (RFC 5589 §6): baresip to Linphone and the other way round.
func TestFollowBlind(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"baresip", "linphone"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listening(t, 1)
			k := peertest.StartKamailio(t, peertest.KamailioConfig{})
			alice := newPhone(t, k, "alice", nil)
			bob := phones[name](t, narrowband(t, k, "bob", bobsVoice, false))
			target := phones[map[string]string{"baresip": "linphone", "linphone": "baresip"}[name]](t, narrowband(t, k, "dave", thirdVoice, true))
			c := connect(t, alice, bob, false)
			bob.waitConnected()
			bob.transfer(target.aor())
			partyChanged(t, c, target.aor())
			bob.waitEnded()
			alice.hears(t, c, "alice", thirdVoice)
			if err := c.Hangup(deadline(t, patience)); err != nil {
				t.Error(err)
			}
			ended(t, c)
			target.waitEnded()
			target.Stop()
			peertest.CheckVoice(t, "dave", ourSpeaker, target.heard())
		})
	}
}

// We transfer one phone to the other, blindly and after we have asked; then
// they hear each other. baresip knows no Replaces.
func TestTransfer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to string
		attended bool
	}{
		{"linphone", "baresip", false},
		{"baresip", "linphone", false},
		{"linphone", "baresip", true},
		{"linphone", "linphone", true},
	} {
		t.Run(fmt.Sprintf("%s to %s, attended %v", c.from, c.to, c.attended), func(t *testing.T) {
			t.Parallel()
			listening(t, 1)
			k := peertest.StartKamailio(t, peertest.KamailioConfig{})
			alice := newPhone(t, k, "alice", nil)
			bob := phones[c.from](t, narrowband(t, k, "bob", bobsVoice, true))
			dave := phones[c.to](t, narrowband(t, k, "dave", thirdVoice, true))
			first, err := alice.Dial(deadline(t, patience), bob.aor(), nil)
			if err != nil {
				t.Fatal(err)
			}
			bob.waitConnected()
			bob.listenAgain()
			var second *sip.Call
			if c.attended {
				if err := first.Hold(deadline(t, patience)); err != nil {
					t.Fatal(err)
				}
				if second, err = alice.Dial(deadline(t, patience), dave.aor(), nil); err != nil {
					t.Fatal(err)
				}
				dave.waitConnected()
			}
			dave.listenAgain()
			if c.attended {
				err = first.TransferTo(deadline(t, patience), second, nil)
			} else {
				err = first.Transfer(deadline(t, patience), dave.aor(), nil)
			}
			if err != nil {
				t.Fatalf("transfer: %v", err)
			}
			ended(t, first)
			if second != nil {
				ended(t, second)
			}
			if cause := first.End().Cause; cause != sip.CauseTransferred {
				t.Errorf("the call's end is %v, want one for a transfer", cause)
			}
			// Only now does anybody listen who is not us.
			bob.waitAfter(peertest.Talk)
			dave.Hangup()
			bob.Stop()
			dave.Stop()
			peertest.CheckVoice(t, "bob", thirdVoice, bob.after())
			peertest.CheckVoice(t, "dave", bobsVoice, dave.after())
		})
	}
}
