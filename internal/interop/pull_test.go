package interop

import (
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/callpull"
	"github.com/hoorn-phone/hoorn/sip/dialoginfo"
)

// Two devices of ours play the same noise by the same clock, so that a
// recording of both tells what was lost between them.
type clock struct {
	once  sync.Once
	start time.Time
	noise []int16
}

const noiseRate = 8000

func newClock() *clock { return &clock{noise: peertest.Noise(noiseRate, 40*time.Second)} }

// source is a device's place in the noise: where the clock is when it begins to speak.
func (c *clock) source() media.Source { return &ticking{clock: c, at: -1} }

type ticking struct {
	clock *clock
	at    int
}

func (s *ticking) SampleRate() int { return noiseRate }

func (s *ticking) ReadFrame(pcm []int16) (int, error) {
	if s.at < 0 {
		s.clock.once.Do(func() { s.clock.start = time.Now() })
		s.at = int(time.Since(s.clock.start) * noiseRate / time.Second)
	}
	n := copy(pcm, s.clock.noise[min(s.at, len(s.clock.noise)):])
	clear(pcm[n:])
	s.at += len(pcm)
	return len(pcm), nil
}

// Our second device sees the call of the first with Linphone in Kamailio's
// dialog events, and takes its place by Replaces (RFC 3891 §5). What Linphone
// misses is measured in its recording.
func TestPullFromLinphone(t *testing.T) {
	t.Parallel()
	listening(t, 2)
	k := peertest.StartKamailio(t, peertest.KamailioConfig{DialogEvents: true})
	desk, mobile := newPhone(t, k, "alice", nil), newPhone(t, k, "alice", nil)
	clock := newClock()
	desk.speak, mobile.speak = clock.source, clock.source
	bob := peertest.StartLinphone(t, narrowband(t, k, "bob", bobsVoice, true))
	w, err := callpull.Watch(deadline(t, patience), mobile.UA, &callpull.Config{Method: callpull.Replaces})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	defer w.Close(deadline(t, patience))
	first, err := desk.Dial(deadline(t, patience), bob.AOR, nil)
	if err != nil {
		t.Fatal(err)
	}
	bob.WaitConnected(0)
	desk.hears(t, first, "the desk phone", bobsVoice)

	call := listed(t, w, first.Dialog().CallID)
	if call.Remote.URI != bob.AOR || call.Direction != sip.Outgoing {
		t.Errorf("listed is %+v", call)
	}
	// This Kamailio tells the tags as long as the call rings, and no more.
	if call.Dialog != first.Dialog() {
		t.Errorf("the dialog is listed as %+v, want %+v", call.Dialog, first.Dialog())
	}
	second, err := w.Pull(deadline(t, patience), call, nil)
	if err != nil {
		t.Fatalf("pull: %v", err)
	}
	// Linphone says nothing: for it the call with alice goes on.
	ended(t, first)
	if end := first.End(); end.By != sip.Remote {
		t.Errorf("the desk phone's call ended with %+v, want a BYE", end)
	}
	mobile.hears(t, second, "the mobile", bobsVoice)
	if err := second.Hangup(deadline(t, patience)); err != nil {
		t.Error(err)
	}
	ended(t, second)
	bob.WaitEnded(0)
	bob.Stop()
	checkGap(t, bob.Heard(), clock)
}

// listed waits until a call is in the list of those to pull, and established.
func listed(t *testing.T, w *callpull.Watcher, callID string) callpull.Call {
	t.Helper()
	var last []callpull.Call
	for last = range w.Changes(deadline(t, patience)) {
		for _, c := range last {
			if c.Dialog.CallID == callID && c.State == dialoginfo.Confirmed {
				return c
			}
		}
	}
	t.Fatalf("the call is not listed: %+v", last)
	return callpull.Call{}
}

// longestGap is what the far end may miss at once. On an idle machine it is
// about 10 ms; a busy one makes Linphone's jitter buffer change its mind as
// well. What it conceals is no gap: nothing is missed.
const longestGap = 300 * time.Millisecond

// checkGap fails the test if a recording misses more of the noise at once, or
// does not hold enough of it.
func checkGap(t *testing.T, file string, clock *clock) {
	t.Helper()
	pcm, rate := peertest.ReadFiles(t, file)
	if rate != noiseRate {
		t.Fatalf("recorded at %d Hz", rate)
	}
	stretches := peertest.Track(pcm, clock.noise)
	var heard time.Duration
	for _, s := range stretches {
		heard += s.Length
	}
	if heard < 2*peertest.Talk-2*time.Second {
		t.Errorf("only %v were heard: %v", heard, stretches)
	}
	for _, g := range peertest.Gaps(stretches) {
		t.Logf("a gap %v", g)
		if g.Lost > longestGap {
			t.Errorf("a gap %v; want %v at most", g, longestGap)
		}
	}
}
