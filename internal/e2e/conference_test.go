package e2e_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/conference"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// party is somebody whom alice has a call with.
type party struct {
	mine, theirs *end
	hz           float64
}

// meeting is alice with calls to bob, carol and dave, the first two of which
// she holds.
type meeting struct {
	t                *testing.T
	alice            *phone
	bob, carol, dave *party
	cfg              *conference.Config
	ear              *ear // hers, in the mixer
}

const toneAlice = 440.0

func newMeeting(t *testing.T) *meeting {
	t.Helper()
	return newMeetingOver(t, sip.TLS, func(*siptest.Config) {})
}

func newMeetingOver(t *testing.T, tr sip.Transport, mod func(*siptest.Config)) *meeting {
	t.Helper()
	w := newWorld(t, mod, func(c *siptest.Config) {
		c.Users = append(c.Users, siptest.User{Name: "dave", Number: "1004"})
	})
	over := w.over(tr)
	m := &meeting{t: t, alice: w.phone("alice", settings{ua: over}), ear: new(ear)}
	for i, who := range []struct {
		name, codec string
		hz          float64
		to          **party
	}{{"bob", "PCMU", 650, &m.bob}, {"carol", "G722", 975, &m.carol}, {"dave", "PCMU", 1350, &m.dave}} {
		p := w.phone(who.name, settings{ua: over, media: media.Config{Codecs: codecsNamed(who.codec)}})
		mine, theirs := m.alice.call(p, who.name)
		must(t, theirs.sess.SetSource(media.NewTone(rate, -24, who.hz)))
		must(t, mine.sess.SetSource(media.NewTone(rate, -24, toneAlice)))
		*who.to = &party{mine, theirs, who.hz}
		if i < 2 {
			must(t, mine.Hold(t.Context()))
		}
	}
	m.cfg = &conference.Config{NewMixer: func() (offeranswer.Mixer, error) {
		mixer, err := m.alice.eng.NewMixer()
		if err != nil {
			return nil, err
		}
		return mixer, errors.Join(
			mixer.(*media.Mixer).SetSource(media.NewTone(rate, -24, toneAlice)),
			mixer.(*media.Mixer).SetSink(m.ear))
	}}
	return m
}

// hears checks which of all the tones somebody hears.
func hears(t *testing.T, who string, pcm []int16, want ...float64) {
	t.Helper()
	if len(pcm) < rate/2 {
		t.Errorf("%s: %d samples", who, len(pcm))
		return
	}
	for _, hz := range []float64{toneAlice, 650, 975, 1350} {
		share := mediatest.ToneShare(pcm, rate, hz)
		if is, should := share > 0.1, slices.Contains(want, hz); is != should {
			t.Errorf("%s: %v Hz has a share of %.3f, wanted %v", who, hz, share, should)
		}
	}
}

// heard lets a second pass and checks what everyone hears: alice in the mixer,
// then bob, carol and dave.
func (m *meeting) heard(step string, want ...[]float64) {
	m.t.Helper()
	ears := []*ear{m.ear, m.bob.theirs.ear, m.carol.theirs.ear, m.dave.theirs.ear}
	pass(500 * ms)
	for _, e := range ears {
		e.take()
	}
	pass(time.Second)
	for i, e := range ears {
		if want[i] != nil {
			hears(m.t, step+": "+[]string{"alice", "bob", "carol", "dave"}[i], e.take(), want[i]...)
		}
	}
}

// names are those of the participants.
func names(all []conference.Participant) string {
	var out []string
	for _, p := range all {
		user, _, _ := strings.Cut(strings.TrimPrefix(p.Party.URI, "sip:"), "@")
		if p.Muted {
			user += " (muted)"
		}
		if p.Held.Remote {
			user += " (holds)"
		}
		out = append(out, user)
	}
	return strings.Join(out, ", ")
}

// Merged on the device, each hears all others; a third comes, one is muted, one
// hangs up, one is dropped, and with the last one the conference is over.
func TestMerge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMeeting(t)
		conf, err := conference.Merge(t.Context(), m.cfg, m.bob.mine.Call, m.carol.mine.Call)
		must(t, err)
		var told []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for all := range conf.Changes(t.Context()) {
				told = append(told, names(all))
			}
		}()
		type f = []float64
		a, b, c, d := toneAlice, m.bob.hz, m.carol.hz, m.dave.hz
		m.heard("two", f{b, c}, f{a, c}, f{a, b}, nil)
		must(t, conf.Add(t.Context(), m.dave.mine.Call))
		m.heard("three", f{b, c, d}, f{a, c, d}, f{a, b, d}, f{a, b, c})
		if err := conf.Add(t.Context(), m.dave.mine.Call); !errors.Is(err, conference.ErrCall) {
			t.Errorf("adding one twice: %v", err)
		}
		all := conf.Participants()
		must(t, conf.Mute(t.Context(), all[0], true))
		m.heard("bob muted", f{c, d}, f{a, c, d}, f{a, d}, f{a, c})
		must(t, conf.Mute(t.Context(), all[0], false))
		must(t, m.dave.theirs.Hold(t.Context()))
		m.heard("dave holds", f{b, c}, f{a, c}, f{a, b}, nil)
		must(t, m.dave.theirs.Resume(t.Context()))
		m.heard("dave resumed", f{b, c, d}, f{a, c, d}, f{a, b, d}, f{a, b, c})

		must(t, m.dave.theirs.Hangup(t.Context()))
		m.heard("dave gone", f{b, c}, f{a, c}, f{a, b}, nil)
		must(t, conf.Remove(t.Context(), all[1]))
		ended(t, m.carol.theirs.Call, sip.Remote)
		m.heard("carol dropped", f{b}, f{a}, nil, nil)
		if err := conf.Remove(t.Context(), all[1]); !errors.Is(err, conference.ErrParticipant) {
			t.Errorf("dropping one twice: %v", err)
		}
		must(t, m.bob.theirs.Hangup(t.Context()))
		must(t, conf.Wait(t.Context()))
		<-done
		for _, want := range []string{"bob, carol, dave", "bob (muted), carol, dave", "bob, carol, dave (holds)", "bob, carol", "bob"} {
			if !slices.Contains(told, want) {
				t.Errorf("nobody was told of %q: %q", want, told)
			}
		}
		if last := told[len(told)-1]; last != "" {
			t.Errorf("at the end: %q", last)
		}
		if err := conf.Add(t.Context(), m.bob.mine.Call); !errors.Is(err, conference.ErrClosed) {
			t.Errorf("afterwards: %v", err)
		}
		must(t, conf.Close(t.Context()))
	})
}

// Split makes single calls again, of which the first goes on and has its own
// sound back; Close hangs up on all.
func TestMergeSplitAndClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMeeting(t)
		calls := []*sip.Call{m.bob.mine.Call, m.carol.mine.Call, m.dave.mine.Call}
		conf, err := conference.Merge(t.Context(), m.cfg, calls...)
		must(t, err)
		pass(time.Second)
		got, err := conf.Split(t.Context())
		must(t, err)
		if !slices.Equal(got, calls) {
			t.Errorf("%d calls", len(got))
		}
		for i, c := range calls {
			if held := c.Held().Local; held != (i > 0) {
				t.Errorf("call %d: on hold: %v", i, held)
			}
		}
		m.bob.mine.ear.take()
		m.heard("split", nil, []float64{toneAlice}, []float64{}, []float64{})
		hears(t, "alice", m.bob.mine.ear.take(), m.bob.hz)
		must(t, conf.Wait(t.Context()))
		if _, err := conf.Split(t.Context()); !errors.Is(err, conference.ErrClosed) {
			t.Errorf("twice: %v", err)
		}

		conf, err = conference.Merge(t.Context(), m.cfg, calls...)
		must(t, err)
		pass(time.Second)
		must(t, conf.Close(t.Context()))
		for _, p := range []*party{m.bob, m.carol, m.dave} {
			ended(t, p.theirs.Call, sip.Remote)
		}
		must(t, conf.Close(t.Context()))
	})
}

// A merge that fails leaves every call as it was.
func TestMergeFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMeeting(t)
		must(t, m.dave.theirs.Hangup(t.Context()))
		must(t, m.dave.mine.Wait(t.Context()))
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		full := *m.cfg
		full.MaxParticipants = 1
		bob, carol, dave := m.bob.mine.Call, m.carol.mine.Call, m.dave.mine.Call
		for _, tt := range []struct {
			name  string
			ctx   context.Context
			cfg   *conference.Config
			calls []*sip.Call
			want  error
		}{
			{"a call that has ended", t.Context(), m.cfg, []*sip.Call{bob, carol, dave}, conference.ErrCall},
			{"one twice", t.Context(), m.cfg, []*sip.Call{bob, bob}, conference.ErrCall},
			{"none", t.Context(), m.cfg, nil, conference.ErrCall},
			{"too many", t.Context(), &full, []*sip.Call{bob, carol}, conference.ErrFull},
			{"no time", cancelled, m.cfg, []*sip.Call{bob, carol}, context.Canceled},
		} {
			if _, err := conference.Merge(tt.ctx, tt.cfg, tt.calls...); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", tt.name, err)
			}
			for _, c := range []*sip.Call{bob, carol} {
				if c.Held() != (sip.Hold{Local: true}) {
					t.Errorf("%s: the call with %s is held: %+v", tt.name, c.Remote().URI, c.Held())
				}
			}
		}
		if _, err := conference.Merge(t.Context(), nil, bob, carol); err == nil {
			t.Error("merged without a mixer")
		}
		must(t, bob.Resume(t.Context()))
		pass(500 * ms)
		m.bob.theirs.ear.take()
		pass(time.Second)
		hears(t, "bob, afterwards", m.bob.theirs.ear.take(), toneAlice)
	})
}
