package media_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/opus"
	"github.com/hoorn-phone/hoorn/media/wav"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// tones of the parties of a merge, and of the user.
var partyTones = []float64{600, 941, 1336, 1750}

const toneUser = 2100.0

// merge is a device that has calls with several peers.
type merge struct {
	t     *testing.T
	w     *world
	mixer *media.Mixer
	calls []*end // ours
	peers []*end
}

// newMerge makes calls in those codecs, of sessions of several engines, which
// have their turns at different times.
func newMerge(t *testing.T, secure bool, codecs ...codec.Codec) *merge {
	t.Helper()
	all := media.Config{Codecs: []codec.Codec{g711.PCMU(), g722.G722(), opus.Opus()}}
	m := &merge{t: t, w: newWorld(t, all, all)}
	mixer, err := m.w.a.NewMixer()
	must(t, err)
	t.Cleanup(func() { mixer.Close() })
	m.mixer = mixer.(*media.Mixer)
	for i, c := range codecs {
		one := media.Config{Codecs: []codec.Codec{c}}
		addr := fmt.Sprintf("10.0.1.%d", i+1)
		ours := m.w.a
		if i%2 == 1 {
			talk(7 * time.Millisecond)
			ours = m.w.engine(all, m.w.hostA)
		}
		a := newEnd(t, ours, addrA, secure)
		b := newEnd(t, m.w.engine(one, m.w.net.Host(addr)), netip.MustParseAddr(addr), secure)
		must(t, b.sess.SetSource(media.NewTone(8000, -24, partyTones[i])))
		connect(t, a, b)
		m.calls, m.peers = append(m.calls, a), append(m.peers, b)
	}
	m.w.net.ImpairAll(memnet.Impairment{Latency: 5 * time.Millisecond, Jitter: 5 * time.Millisecond})
	return m
}

// hears checks which tones there are in what somebody heard, and at -24 dBFS.
func hears(t *testing.T, who string, pcm []int16, rate int, tones ...float64) {
	t.Helper()
	for _, hz := range append([]float64{toneUser}, partyTones...) {
		want := false
		for _, x := range tones {
			want = want || x == hz
		}
		if l := level(pcm, rate, hz); want && (l < -25.5 || l > -22.5) || !want && l > -55 {
			t.Errorf("%s: %v Hz at %.1f dBFS, wanted %v", who, hz, l, want)
		}
	}
}

func (m *merge) settle() {
	talk(500 * time.Millisecond)
	for _, x := range append(m.calls, m.peers...) {
		x.ear.take()
	}
}

// Everyone hears all others and not himself, whatever the codecs are.
func TestMixer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		secure bool
		codecs []codec.Codec
	}{
		{"PCMU", true, []codec.Codec{g711.PCMU(), g711.PCMU(), g711.PCMU()}},
		{"two rates", true, []codec.Codec{g711.PCMU(), g722.G722(), g711.PCMU(), opus.Opus()}},
		{"in the clear", false, []codec.Codec{g722.G722(), g711.PCMU()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMerge(t, tt.secure, tt.codecs...)
				user := &ear{rate: 16000}
				must(t, m.mixer.SetSink(user))
				must(t, m.mixer.SetSource(media.NewTone(44100, -24, toneUser)))
				for _, c := range m.calls {
					must(t, m.mixer.Add(c.sess))
					must(t, m.mixer.Add(c.sess))
				}
				m.settle()
				user.take()
				talk(time.Second)
				tones := partyTones[:len(m.peers)]
				hears(t, "the user", user.take(), 16000, tones...)
				for i, p := range m.peers {
					others := []float64{toneUser}
					for k, hz := range tones {
						if k != i {
							others = append(others, hz)
						}
					}
					hears(t, tt.codecs[i].Format().Name, p.ear.take(), 8000, others...)
				}
				for i, c := range m.calls {
					if n := len(c.ear.take()); n != 0 {
						t.Errorf("the sink of call %d heard %d samples in the mixer", i, n)
					}
				}
			})
		})
	}
}

// Parties come and go, are muted and held, and get back what they had.
func TestMixerComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMerge(t, true, g711.PCMU(), g722.G722(), g711.PCMU())
		user := &ear{rate: 8000}
		must(t, m.mixer.SetSink(user))
		for _, c := range m.calls {
			must(t, c.sess.SetSource(media.NewTone(8000, -24, toneUser)))
			must(t, m.mixer.Add(c.sess))
		}
		heard := func(step string, want ...[]float64) {
			t.Helper()
			m.settle()
			user.take()
			talk(time.Second)
			hears(t, step+": the user", user.take(), 8000, want[0]...)
			for i, p := range m.peers {
				hears(t, fmt.Sprintf("%s: peer %d", step, i), p.ear.take(), 8000, want[i+1]...)
			}
		}
		a, b, c := partyTones[0], partyTones[1], partyTones[2]
		type f = []float64
		heard("all", f{a, b, c}, f{b, c}, f{a, c}, f{a, b})

		must(t, m.mixer.Mute(m.calls[0].sess, true))
		m.mixer.Level(m.calls[0].sess)
		heard("one muted", f{b, c}, f{b, c}, f{c}, f{b})
		if l, err := m.mixer.Level(m.calls[0].sess); err != nil || l.Peak < -25.5 || l.Peak > -22.5 {
			t.Errorf("the muted one has %+v, %v", l, err)
		}
		must(t, m.mixer.Mute(m.calls[0].sess, false))

		hold := map[int]offeranswer.Direction{0: offeranswer.SendOnly}
		reoffer(t, m.calls[1], m.peers[1], offeranswer.Options{Direction: hold}, offeranswer.Options{})
		heard("one held", f{a, c}, f{c}, f{}, f{a})
		hold[0] = offeranswer.SendRecv
		reoffer(t, m.calls[1], m.peers[1], offeranswer.Options{Direction: hold}, offeranswer.Options{})
		heard("resumed", f{a, b, c}, f{b, c}, f{a, c}, f{a, b})

		must(t, m.mixer.Remove(m.calls[2].sess))
		must(t, m.mixer.Remove(m.calls[2].sess))
		heard("one removed", f{a, b}, f{b}, f{a}, f{toneUser})
		m.settle()
		talk(time.Second)
		hears(t, "its own sink", m.calls[2].ear.take(), 8000, c)

		must(t, m.calls[0].sess.Close())
		heard("one gone", f{b}, f{}, f{}, f{toneUser})

		must(t, m.mixer.Close())
		must(t, m.mixer.Close())
		heard("closed", f{}, f{}, f{toneUser}, f{toneUser})
	})
}

// A program and the user take part beside the calls, and a recorder has the two
// sides apart.
func TestMixerPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMerge(t, true, g711.PCMU(), g711.PCMU())
		for _, c := range m.calls {
			must(t, m.mixer.Add(c.sess))
		}
		path := filepath.Join(t.TempDir(), "merge.wav")
		rec, err := media.CreateRecorder(path, &media.RecorderOptions{Rate: 8000, Stereo: true})
		must(t, err)
		must(t, m.mixer.SetRecorder(rec))
		must(t, m.mixer.SetSource(media.NewTone(8000, -24, toneUser)))
		// A bot hears and speaks through a call of its own with a port, at a rate
		// that is nobody else's.
		port, err := m.mixer.NewPort(24000)
		must(t, err)
		tone := media.NewTone(24000, -24, partyTones[3])
		var bot []int16
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			pcm := make([]int16, 480)
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				tone.ReadFrame(pcm)
				if err := port.WriteFrame(pcm); err != nil {
					t.Error(err)
				}
				if _, err := port.ReadFrame(pcm); err != nil {
					t.Error(err)
				}
				bot = append(bot, pcm...)
			}
		}()
		m.settle()
		talk(time.Second)
		hears(t, "peer 0", m.peers[0].ear.take(), 8000, partyTones[1], partyTones[3], toneUser)
		hears(t, "peer 1", m.peers[1].ear.take(), 8000, partyTones[0], partyTones[3], toneUser)
		m.mixer.MuteUser(true)
		m.settle()
		talk(time.Second)
		hears(t, "peer 0, the user muted", m.peers[0].ear.take(), 8000, partyTones[1], partyTones[3])
		close(stop)
		<-done
		hears(t, "the bot", bot[len(bot)-24000:], 24000, partyTones[0], partyTones[1])
		must(t, port.Close())
		must(t, port.Close())
		if _, err := port.ReadFrame(make([]int16, 480)); err != io.EOF {
			t.Errorf("reading a closed port: %v", err)
		}
		if err := port.WriteFrame(make([]int16, 480)); !errors.Is(err, media.ErrClosed) {
			t.Errorf("writing to a closed port: %v", err)
		}
		must(t, m.mixer.Close())
		f, err := os.Open(path)
		must(t, err)
		defer f.Close()
		r, err := wav.NewReader(f)
		must(t, err)
		pcm := make([]int16, 32000)
		for n := 0; n < len(pcm); {
			k, err := r.Read(pcm[n:])
			must(t, err)
			n += k
		}
		var ours, theirs []int16
		for i := 8000; i < 24000; i += 2 {
			ours, theirs = append(ours, pcm[i]), append(theirs, pcm[i+1])
		}
		hears(t, "recorded here", ours, 8000, toneUser)
		hears(t, "recorded there", theirs, 8000, partyTones[0], partyTones[1], partyTones[3])
	})
}

func TestMixerErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMerge(t, true, g711.PCMU())
		other, err := m.w.a.NewMixer()
		must(t, err)
		s := m.calls[0].sess
		for what, err := range map[string]error{
			"muting a stranger": m.mixer.Mute(s, true),
			"media of others":   m.mixer.Add(stranger{}),
			"none":              m.mixer.Add(nil),
			"removing those":    m.mixer.Remove(stranger{}),
		} {
			if !errors.Is(err, media.ErrParty) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := m.mixer.Level(s); !errors.Is(err, media.ErrParty) {
			t.Errorf("the level of a stranger: %v", err)
		}
		must(t, m.mixer.Add(s))
		if err := other.Add(s); !errors.Is(err, media.ErrMixed) {
			t.Errorf("in two mixers: %v", err)
		}
		if _, err := m.mixer.NewPort(11025); !errors.Is(err, media.ErrRate) {
			t.Errorf("a port of 11025 Hz: %v", err)
		}
		if err := m.mixer.SetSink(media.SinkFunc(1, nil)); !errors.Is(err, media.ErrRate) {
			t.Errorf("a sink of 1 Hz: %v", err)
		}
		must(t, s.Close())
		if err := m.mixer.Add(s); !errors.Is(err, media.ErrClosed) {
			t.Errorf("a closed session: %v", err)
		}
		closed := false
		must(t, m.mixer.SetSource(&closing{media.NewSilence(8000), &closed}))
		must(t, m.w.a.Close())
		if !closed {
			t.Error("the user's source was not closed")
		}
		for what, err := range map[string]error{"a source": m.mixer.SetSource(nil), "a call": m.mixer.Add(s)} {
			if !errors.Is(err, media.ErrClosed) {
				t.Errorf("%s after Close: %v", what, err)
			}
		}
		if _, err := m.w.a.NewMixer(); !errors.Is(err, media.ErrClosed) {
			t.Errorf("a mixer of a closed engine: %v", err)
		}
	})
}

type stranger struct{ offeranswer.Media }
