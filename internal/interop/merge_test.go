package interop

import (
	"errors"
	"testing"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip/conference"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Linphone, baresip and we are merged on our device: each hears both others at
// once. Then Linphone leaves, and baresip is still there.
func TestMerge(t *testing.T) {
	t.Parallel()
	listening(t, 2)
	k := peertest.StartKamailio(t, peertest.KamailioConfig{})
	alice := newPhone(t, k, "alice", nil)
	bob := peertest.StartLinphone(t, narrowband(t, k, "bob", bobsVoice, true))
	dave := peertest.StartBaresip(t, narrowband(t, k, "dave", thirdVoice, true))

	first, err := alice.Dial(deadline(t, patience), bob.AOR, nil)
	if err != nil {
		t.Fatal(err)
	}
	bob.WaitConnected(0)
	if err := first.Hold(deadline(t, patience)); err != nil {
		t.Fatal(err)
	}
	bob.WaitHeld(0)
	second, err := alice.Dial(deadline(t, patience), dave.AOR, nil)
	if err != nil {
		t.Fatal(err)
	}
	dave.WaitEvent(0, "CALL_ESTABLISHED")

	heard := bob.RecordTo("merged")
	e := newEar()
	conf, err := conference.Merge(deadline(t, patience), &conference.Config{
		NewMixer: func() (offeranswer.Mixer, error) {
			m, err := alice.eng.NewMixer()
			if err != nil {
				return nil, err
			}
			mixer := m.(*media.Mixer)
			return m, errors.Join(
				mixer.SetSource(media.NewPCMSource(earRate, mediatest.Speech(ourSpeaker, earRate), true)),
				mixer.SetSink(media.SinkFunc(earRate, e.hear)),
			)
		},
	}, first, second)
	if err != nil {
		t.Fatalf("merge: %v", err)
	}
	peertest.CheckVoices(t, "alice", e.listen(t, peertest.Talk), earRate, bobsVoice, thirdVoice)
	bob.WaitRecorded(heard, peertest.Talk)

	mark := bob.Log.Mark()
	bob.Hangup()
	bob.WaitEnded(mark)
	ended(t, first)
	for list := range conf.Changes(deadline(t, patience)) {
		if len(list) == 1 {
			break
		}
	}
	if err := conf.Close(deadline(t, patience)); err != nil {
		t.Errorf("close: %v", err)
	}
	ended(t, second)
	dave.WaitEvent(0, "CALL_CLOSED")
	bob.Stop()
	dave.Stop()
	for _, r := range []struct {
		who, file string
		others    []int
	}{
		{"bob", heard, []int{ourSpeaker, thirdVoice}},
		{"dave", dave.Heard()[0], []int{ourSpeaker, bobsVoice}},
	} {
		pcm, rate := peertest.ReadFiles(t, r.file)
		peertest.CheckVoices(t, r.who, pcm, rate, r.others...)
	}
}
