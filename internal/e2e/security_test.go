package e2e_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
)

// downgrades are what a man in the middle does to a description to have it in
// the clear.
var downgrades = []struct {
	name string
	edit func(sdp string) string
}{
	{"without a=crypto", stripKeys},
	{"RTP/AVP without a=crypto", plain},
}

// between makes a call between phones, alice's through a man in the middle who
// changes the descriptions that match.
func between(t *testing.T, matches func(sipgo.Message) bool, change func(string) string) (w *world, alice, bob *phone) {
	t.Helper()
	w = newWorld(t)
	man := newMan(t, w)
	pcmu := media.Config{Codecs: codecsNamed("PCMU")}
	alice, bob = w.phone("alice", settings{ua: man.between, media: pcmu}), w.phone("bob", settings{media: pcmu})
	man.tamper(func(_ bool, m sipgo.Message) {
		if matches(m) {
			edit(m, change)
		}
	})
	return w, alice, bob
}

// An offer that was made insecure on the way: the callee refuses to answer.
func TestOfferStripped(t *testing.T) {
	for _, d := range downgrades {
		t.Run(d.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, alice, bob := between(t, isOffer, d.edit)
				refused(t, alice, bob, 488, media.ErrNotSecure)
				checkIdle(t, w)
				if n := w.wire.total(); n != 0 {
					t.Errorf("%d packets were sent", n)
				}
			})
		})
	}
}

// An answer that was made insecure on the way: the caller ends the call and
// says why. The callee, who does not know, sends at most what was due before
// the BYE, encrypted.
func TestAnswerStripped(t *testing.T) {
	for _, d := range downgrades {
		t.Run(d.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, alice, bob := between(t, isAnswer, d.edit)
				a, b, errA, _ := alice.attempt(bob)
				if end := ended(t, a, sip.Nobody); !errors.Is(errA, media.ErrNotSecure) || !errors.Is(end.Err, media.ErrNotSecure) {
					t.Errorf("alice got %v, %v", errA, end)
				}
				if end := ended(t, b, sip.Remote); len(end.Reasons) != 1 || end.Reasons[0].Cause != 488 {
					t.Errorf("bob: %+v", end)
				}
				checkIdle(t, w)
				if n := w.wire.count(alice.addr); n != 0 {
					t.Errorf("alice sent %d packets", n)
				}
				if n, bare := w.wire.count(bob.addr), w.wire.bare(bob.addr); n > 1 || bare != 0 {
					t.Errorf("bob sent %d packets, %d in the clear", n, bare)
				}
			})
		})
	}
}

// A description whose profile says RTP/AVP while the keys are there: what is
// agreed is encrypted, or nothing is.
func TestProfileChanged(t *testing.T) {
	for name, matches := range map[string]func(sipgo.Message) bool{"offer": isOffer, "answer": isAnswer} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, alice, bob := between(t, matches, plainProfile)
				a, b := alice.call(bob, "bob")
				converse(t, a, b)
				checkStats(t, a, "PCMU/8000", "AEAD_AES_128_GCM")
				checkStats(t, b, "PCMU/8000", "AEAD_AES_128_GCM")
				hangup(t, a, b)
				if n := w.wire.bare(alice.addr) + w.wire.bare(bob.addr); n != 0 {
					t.Errorf("%d packets in the clear", n)
				}
			})
		})
	}
}

// Keys that a man in the middle changed in one direction only: nothing of it
// is heard, and it is counted.
func TestKeyChanged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, alice, bob := between(t, isAnswer, func(sdp string) string {
			return cryptoLines.ReplaceAllStringFunc(sdp, func(line string) string {
				key := strings.Index(line, "inline:") + len("inline:")
				other := "A"
				if line[key] == 'A' {
					other = "B"
				}
				return line[:key] + other + line[key+1:]
			})
		})
		a, b := alice.call(bob, "bob")
		say(t, a)
		say(t, b)
		pass(sentence)
		heard(t, b, a)
		if pcm := a.ear.take(); !math.IsInf(mediatest.Level(pcm), -1) {
			t.Errorf("alice hears %.0f dB", mediatest.Level(pcm))
		}
		if s := a.sess.Stats().Received; s.BadSRTP < 300 || s.Packets != 0 || s.BadSRTCP == 0 {
			t.Errorf("alice: %+v", s)
		}
		hangup(t, a, b)
	})
}

// In the middle of a call a re-offer is made insecure on the way: it is
// refused, and the call goes on as it was, encrypted.
func TestReofferStripped(t *testing.T) {
	for _, policy := range []media.SRTPPolicy{media.SRTPRequired, media.SRTPOptional} {
		for _, d := range downgrades {
			t.Run(policy.String()+" "+d.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld(t)
					man := newMan(t, w)
					s := media.Config{Codecs: codecsNamed("PCMU"), SRTP: policy}
					alice, bob := w.phone("alice", settings{ua: man.between, media: s}), w.phone("bob", settings{media: s})
					a, b := alice.call(bob, "bob")
					pass(time.Second)
					man.tamper(func(_ bool, m sipgo.Message) {
						if isOffer(m) {
							edit(m, d.edit)
						}
					})
					for _, x := range []*end{a, b} {
						err := x.Renegotiate(t.Context(), options{NewKeys: true})
						var se *sip.StatusError
						if !errors.As(err, &se) || se.Code != 488 {
							t.Errorf("%s got %v", x.p.AOR(), err)
						}
					}
					hum(t, a, b)
					if n := w.wire.bare(alice.addr) + w.wire.bare(bob.addr); n != 0 {
						t.Errorf("%d packets in the clear", n)
					}
					if s := a.sess.Stats().Received.BadSRTP + b.sess.Stats().Received.BadSRTP; s != 0 {
						t.Errorf("%d packets not understood", s)
					}
					hangup(t, a, b)
				})
			})
		}
	}
}

// The answer to a re-offer is made insecure on the way. Whoever offered cannot
// know what the other now does, and ends the call.
func TestReofferAnswerStripped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		man := newMan(t, w)
		s := media.Config{Codecs: codecsNamed("PCMU")}
		alice, bob := w.phone("alice", settings{ua: man.between, media: s}), w.phone("bob", settings{media: s})
		a, b := alice.call(bob, "bob")
		pass(time.Second)
		man.tamper(func(_ bool, m sipgo.Message) {
			if isAnswer(m) {
				edit(m, plain)
			}
		})
		err := a.Renegotiate(t.Context(), options{NewKeys: true})
		if end := ended(t, a.Call, sip.Nobody); !errors.Is(err, media.ErrNotSecure) || !errors.Is(end.Err, media.ErrNotSecure) {
			t.Errorf("alice got %v, %v", err, end)
		}
		ended(t, b.Call, sip.Remote)
		checkIdle(t, w)
		if n := w.wire.bare(alice.addr) + w.wire.bare(bob.addr); n != 0 {
			t.Errorf("%d packets in the clear", n)
		}
	})
}

// checkIdle checks that no call is left.
func checkIdle(t *testing.T, w *world) {
	t.Helper()
	pass(time.Minute)
	if n := w.Calls(); n != 0 {
		t.Errorf("%d calls are left in the lab", n)
	}
}

// What two phones on TLS agree on by their policies.
func TestPolicies(t *testing.T) {
	const (
		required = media.SRTPRequired
		optional = media.SRTPOptional
		off      = media.SRTPOff
	)
	for _, c := range []struct {
		from, to media.SRTPPolicy
		secure   bool
		err      error // at the callee
	}{
		{from: required, to: required, secure: true},
		{from: required, to: optional, secure: true},
		{from: required, to: off, err: media.ErrSecure},
		{from: optional, to: required, secure: true},
		{from: optional, to: optional, secure: true},
		{from: optional, to: off},
		{from: off, to: required, err: media.ErrNotSecure},
		{from: off, to: optional},
		{from: off, to: off},
	} {
		t.Run(c.from.String()+" to "+c.to.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				pcmu := codecsNamed("PCMU")
				alice := w.phone("alice", settings{media: media.Config{SRTP: c.from, Codecs: pcmu}})
				bob := w.phone("bob", settings{media: media.Config{SRTP: c.to, Codecs: pcmu}})
				if c.err != nil {
					refused(t, alice, bob, 488, c.err)
					checkIdle(t, w)
					return
				}
				a, b := alice.call(bob, "bob")
				hum(t, a, b)
				for _, x := range []*end{a, b} {
					if secure := x.sess.Stats().Suite != ""; secure != c.secure || x.Streams()[0].Secure != secure {
						t.Errorf("%s: encrypted %v, want %v; %v", x.p.AOR(), secure, c.secure, x.Streams())
					}
					n, bare := w.wire.count(x.p.addr), w.wire.bare(x.p.addr)
					if c.secure && bare != 0 || !c.secure && bare != n {
						t.Errorf("%s: %d packets of %d in the clear", x.p.AOR(), bare, n)
					}
				}
				hangup(t, a, b)
			})
		})
	}
}

func TestWrongPassword(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.newPhone("alice", settings{ua: func(c *sip.Config) { c.Account.Password = "guess" }})
		_, err := p.Register(t.Context())
		var auth *sip.AuthError
		if !errors.As(err, &auth) || auth.Realm != "BroadWorks" {
			t.Errorf("registering: %v", err)
		}
		if n := len(w.Devices("alice")); n != 0 {
			t.Errorf("alice has %d devices", n)
		}
		// And a call cannot be made.
		if _, err = p.Dial(t.Context(), "9001", nil); !errors.As(err, &auth) {
			t.Errorf("calling: %v", err)
		}
		checkIdle(t, w)
	})
}
