package e2e_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/conference"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// RFC 4579: merged by the lab's factory, each hears all others; one comes, one
// is put out, and when who has made it leaves the others go on.
func TestMergeOnNetwork(t *testing.T) {
	for _, tr := range []sip.Transport{sip.TLS, sip.UDP} {
		for _, redirect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, redirected: %v", tr, redirect), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					m := newMeetingOver(t, tr, func(c *siptest.Config) { c.Conference.Redirect = redirect })
					conf, err := conference.Merge(t.Context(), &conference.Config{Factory: "conference", FactoryOnly: true}, m.bob.mine.Call, m.carol.mine.Call)
					must(t, err)
					mine := m.alice.end(conf.Call())
					must(t, mine.sess.SetSource(media.NewTone(rate, -24, toneAlice)))
					m.ear = mine.ear
					type f = []float64
					a, b, c, d := toneAlice, m.bob.hz, m.carol.hz, m.dave.hz
					m.heard("two", f{b, c}, f{a, c}, f{a, b}, nil)
					if got := names(conf.Participants()); got != "bob, carol" {
						t.Errorf("two: %q", got)
					}
					for _, p := range []*party{m.bob, m.carol} {
						if p.mine.State() != sip.CallEnded || p.theirs.State() != sip.CallEstablished {
							t.Errorf("%v, %v", p.mine.State(), p.theirs.State())
						}
					}
					must(t, conf.Add(t.Context(), m.dave.mine.Call))
					m.heard("three", f{b, c, d}, f{a, c, d}, f{a, b, d}, f{a, b, c})
					all := conf.Participants()
					if got := names(all); got != "bob, carol, dave" {
						t.Fatalf("three: %q", got)
					}
					must(t, conf.Remove(t.Context(), all[1]))
					ended(t, m.carol.theirs.Call, sip.Remote)
					m.heard("carol dropped", f{b, d}, f{a, d}, nil, f{a, b})
					if got := names(conf.Participants()); got != "bob, dave" {
						t.Errorf("carol dropped: %q", got)
					}
					if err := conf.Remove(t.Context(), all[1]); !errors.Is(err, conference.ErrParticipant) {
						t.Error(err)
					}
					must(t, conf.Leave(t.Context()))
					must(t, conf.Wait(t.Context()))
					m.heard("alice gone", nil, f{d}, nil, f{b})
				})
			})
		}
	}
}

// Where the lab has no factory the device mixes.
func TestMergeWithoutFactory(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMeetingOver(t, sip.TLS, func(c *siptest.Config) { c.Conference.Off = true })
		cfg := *m.cfg
		cfg.Factory = "conference"
		conf, err := conference.Merge(t.Context(), &cfg, m.bob.mine.Call, m.carol.mine.Call)
		must(t, err)
		if conf.Call() != nil {
			t.Error("there is a conference on the network")
		}
		a, b, c := toneAlice, m.bob.hz, m.carol.hz
		m.heard("two", []float64{b, c}, []float64{a, c}, []float64{a, b}, nil)
		must(t, conf.Close(t.Context()))
	})
}

// Leaving a conference on the device: two are connected with each other. If they
// cannot be, as bob and carol have no codec in common, all three go on.
func TestLeaveDevice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMeeting(t)
		conf, err := conference.Merge(t.Context(), m.cfg, m.bob.mine.Call, m.carol.mine.Call)
		must(t, err)
		type f = []float64
		a, b, c, d := toneAlice, m.bob.hz, m.carol.hz, m.dave.hz
		var status *sip.StatusError
		if err := conf.Leave(t.Context()); !errors.As(err, &status) || status.Code != 488 {
			t.Errorf("bob and carol: %v", err)
		}
		m.heard("not left", f{b, c}, f{a, c}, f{a, b}, nil)
		must(t, conf.Add(t.Context(), m.dave.mine.Call))
		must(t, conf.Remove(t.Context(), conf.Participants()[1]))
		must(t, conf.Leave(t.Context()))
		must(t, conf.Wait(t.Context()))
		m.heard("alice gone", nil, f{d}, nil, f{b})
	})
}
