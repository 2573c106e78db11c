package e2e_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// The main job: two phones on TLS talk over SRTP, with every suite.
func TestSuites(t *testing.T) {
	for _, suite := range []string{
		"AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_32",
		"AEAD_AES_128_GCM", "AEAD_AES_256_GCM",
	} {
		t.Run(suite, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				s := settings{media: media.Config{Suites: []string{suite}, Codecs: codecsNamed("PCMU")}}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				a, b := alice.call(bob, "bob")
				converse(t, a, b)
				for _, x := range []*end{a, b} {
					checkStats(t, x, "PCMU/8000", suite)
					if !x.Streams()[0].Secure {
						t.Errorf("%s: %+v", x.p.AOR(), x.Streams())
					}
					if n := w.wire.bare(x.p.addr); n != 0 {
						t.Errorf("%s: %d packets in the clear", x.p.AOR(), n)
					}
				}
				// Whoever listens on the way hears nothing.
				if ok, score := mediatest.Heard(alice.voice, w.wire.tapped(alice.addr), rate); ok || score.Match > 0.3 {
					t.Errorf("alice was overheard: %v", score)
				}
				hangup(t, a, b)
			})
		})
	}
}

// The same with every codec.
func TestCodecs(t *testing.T) {
	for name, format := range map[string]string{"opus": "opus/48000/2", "G722": "G722/8000", "PCMU": "PCMU/8000", "PCMA": "PCMA/8000"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				alice := w.phone("alice", settings{media: media.Config{Codecs: codecsNamed(name)}})
				bob := w.phone("bob", settings{})
				a, b := alice.call(bob, "1002")
				converse(t, a, b)
				checkStats(t, a, format, "AEAD_AES_128_GCM")
				checkStats(t, b, format, "AEAD_AES_128_GCM")
				hangup(t, b, a)
			})
		})
	}
}

// Accounts without TLS talk in the clear, which whoever listens on the way
// understands; and one with TLS does not talk to one without.
func TestTransports(t *testing.T) {
	for _, transport := range []sip.Transport{sip.UDP, sip.TCP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				s := settings{ua: w.over(transport), media: media.Config{Codecs: codecsNamed("PCMU")}}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				a, b := alice.call(bob, "bob")
				converse(t, a, b)
				for _, x := range []*end{a, b} {
					checkStats(t, x, "PCMU/8000", "")
					if ok, score := mediatest.Heard(x.p.voice, w.wire.tapped(x.p.addr), rate); !ok {
						t.Errorf("%s could not be overheard, so that TestSuites shows nothing: %v", x.p.AOR(), score)
					}
				}
				hangup(t, b, a)
			})
		})
	}
	t.Run("mixed", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			alice, bob := w.phone("alice", settings{}), w.phone("bob", settings{ua: w.over(sip.UDP)})
			refused(t, alice, bob, 488, media.ErrSecure)
			refused(t, bob, alice, 488, media.ErrNotSecure)
			pass(time.Second)
			if n := w.wire.total(); n != 0 {
				t.Errorf("%d packets were sent", n)
			}
		})
	})
}

// checkStats checks what a session says of a conversation of one sentence on
// a perfect network.
func checkStats(t *testing.T, x *end, codec, suite string) {
	t.Helper()
	s := x.sess.Stats()
	if s.Codec != codec || s.Suite != suite || s.PTime != 20*time.Millisecond || !s.Mux || s.Legs != 1 {
		t.Errorf("%s: %v", x.p.AOR(), s)
	}
	packets := uint64(sentence / s.PTime)
	if n := s.Sent.Packets; n < packets-5 || n > packets+5 || s.Sent.Failed != 0 {
		t.Errorf("%s: %d packets sent, %d failed; want about %d: %v", x.p.AOR(), n, s.Sent.Failed, packets, s)
	}
	r := s.Received
	if r.Packets < packets-5 || r.Packets > packets+5 || r.Codec != codec {
		t.Errorf("%s: %d packets received in %s, want about %d", x.p.AOR(), r.Packets, r.Codec, packets)
	}
	if r.Lost+r.Late+r.Discarded+r.Broken+r.Unknown+r.BadSRTP+r.BadSRTCP+r.Stray != 0 {
		t.Errorf("%s: on a perfect network: %+v", x.p.AOR(), r)
	}
	if r.PayloadSwitches+r.SourceSwitches+r.AddressMoves != 0 || r.Reports == 0 || s.Sent.Reports == 0 {
		t.Errorf("%s: %+v", x.p.AOR(), r)
	}
	if r.Jitter > 5*time.Millisecond || r.Delay > 60*time.Millisecond || s.RTT > 25*time.Millisecond || s.RemoteLoss != 0 {
		t.Errorf("%s: jitter %v, delay %v, round trip %v, remote loss %v", x.p.AOR(), r.Jitter, r.Delay, s.RTT, s.RemoteLoss)
	}
}

func TestDTMF(t *testing.T) {
	for _, name := range []string{"opus", "PCMU"} { // clocks of 48 and 8 kHz
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				s := settings{media: media.Config{Codecs: codecsNamed(name)}}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				a, b := alice.call(bob, "bob")
				const keys = "0123456789*#ABCD"
				done := make(chan error, 2)
				go func() { done <- a.sess.SendDTMF(t.Context(), keys, nil) }()
				go func() {
					done <- b.sess.SendDTMF(t.Context(), "1#", &media.DTMFOptions{Duration: 400 * time.Millisecond})
				}()
				must(t, <-done)
				must(t, <-done)
				pass(time.Second)
				must(t, a.Hangup(t.Context()))
				digits := slices.Collect(b.sess.DTMF(t.Context()))
				var got strings.Builder
				for _, d := range digits {
					got.WriteRune(d.Key)
					if d.Duration < 110*time.Millisecond || d.Duration > 140*time.Millisecond {
						t.Errorf("%c lasted %v", d.Key, d.Duration)
					}
				}
				if got.String() != keys {
					t.Errorf("bob got %q", got.String())
				}
				digits = slices.Collect(a.sess.DTMF(t.Context()))
				if len(digits) != 2 || digits[0].Key != '1' || digits[1].Key != '#' ||
					digits[0].Duration < 380*time.Millisecond || digits[0].Duration > 440*time.Millisecond {
					t.Errorf("alice got %v", digits)
				}
				if s := b.sess.Stats(); s.Received.Lost+s.Received.Unknown+s.Received.Broken != 0 {
					t.Errorf("bob: %v", s)
				}
			})
		})
	}
}

// The callee is heard before he answers, and the call goes on from there.
func TestEarlyMedia(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		alice, bob := w.phone("alice", settings{}), w.phone("bob", settings{})
		ca := alice.start("bob")
		cb := bob.accept()
		must(t, cb.Progress(t.Context()))
		pass(100 * time.Millisecond)
		a, b := alice.end(ca), bob.end(cb)
		say(t, b)
		pass(sentence)
		heard(t, a, b)
		if s := ca.State(); s != sip.CallRinging {
			t.Errorf("alice is %v", s)
		}
		must(t, cb.Answer(t.Context(), nil))
		must(t, ca.Answered(t.Context()))
		converse(t, a, b)
		if s := a.sess.Stats(); s.Received.SourceSwitches != 0 || s.Received.Lost != 0 {
			t.Errorf("answering interrupted: %v", s)
		}
		hangup(t, a, b)
	})
}

func TestReject(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		alice, bob := w.phone("alice", settings{}), w.phone("bob", settings{})
		for _, status := range []int{486, 603, 404} {
			ca := alice.start("bob")
			cb := bob.accept()
			must(t, cb.Ring(t.Context()))
			must(t, cb.Reject(t.Context(), status))
			var se *sip.StatusError
			if err := ca.Answered(t.Context()); !errors.As(err, &se) || se.Code != status {
				t.Errorf("%d: alice got %v", status, err)
			}
			ended(t, ca, sip.Remote)
			ended(t, cb, sip.Local)
		}
		if n := w.wire.total(); n != 0 {
			t.Errorf("%d packets were sent", n)
		}
		pass(time.Second)
		if n := w.Calls(); n != 0 {
			t.Errorf("%d calls left", n)
		}
	})
}

func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		alice, bob := w.phone("alice", settings{}), w.phone("bob", settings{})
		ca := alice.start("bob")
		cb := bob.accept()
		must(t, cb.Ring(t.Context()))
		pass(3 * time.Second)
		must(t, ca.Hangup(t.Context()))
		ended(t, ca, sip.Local)
		ended(t, cb, sip.Remote)
		if err := cb.Answer(t.Context(), nil); !errors.Is(err, sip.ErrEnded) && !errors.Is(err, sip.ErrState) {
			t.Errorf("answering a cancelled call: %v", err)
		}
		// And before anything was heard of the callee.
		ca = alice.start("bob")
		must(t, ca.Hangup(t.Context()))
		ended(t, ca, sip.Local)
		pass(time.Minute)
		if n := w.wire.total(); n != 0 {
			t.Errorf("%d packets were sent", n)
		}
		if n := w.Calls(); n != 0 {
			t.Errorf("%d calls left", n)
		}
	})
}

// All of bob's devices ring; one answers, and the others are told.
func TestFork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		alice := w.phone("alice", settings{})
		bobs := []*phone{w.phone("bob", settings{}), w.phone("bob", settings{}), w.phone("bob", settings{})}
		ca := alice.start("1002")
		calls := make([]*sip.Call, len(bobs))
		for i, p := range bobs {
			calls[i] = p.accept()
			must(t, calls[i].Ring(t.Context()))
		}
		pass(2 * time.Second)
		must(t, calls[1].Answer(t.Context(), nil))
		must(t, ca.Answered(t.Context()))
		for _, i := range []int{0, 2} {
			end := ended(t, calls[i], sip.Remote)
			if !slices.ContainsFunc(end.Reasons, func(r sip.Reason) bool { return r.Protocol == "SIP" && r.Cause == 200 }) {
				t.Errorf("device %d: %+v", i, end)
			}
		}
		a, b := alice.end(ca), bobs[1].end(calls[1])
		converse(t, a, b)
		if n := w.wire.count(bobs[0].addr) + w.wire.count(bobs[2].addr); n != 0 {
			t.Errorf("the losers sent %d packets", n)
		}
		hangup(t, b, a)
	})
}

// The lab's echo, with encryption and without.
func TestEcho(t *testing.T) {
	for _, transport := range []sip.Transport{sip.TLS, sip.UDP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				alice := w.phone("alice", settings{ua: w.over(transport)})
				c, err := alice.Dial(t.Context(), "9001", nil)
				must(t, err)
				a := alice.end(c)
				say(t, a)
				pass(sentence)
				heard(t, a, a)
				if secure := a.sess.Stats().Suite != ""; secure != (transport == sip.TLS) {
					t.Errorf("%v", a.sess.Stats())
				}
				must(t, c.Hangup(t.Context()))
				checkIdle(t, w)
			})
		})
	}
}

// Everything over IPv6.
func TestIPv6(t *testing.T) {
	for _, transport := range []sip.Transport{sip.TLS, sip.TCP, sip.UDP} {
		t.Run(string(transport), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, func(c *siptest.Config) { c.Addr = labAddr6 })
				s := settings{ua: w.over(transport), media: media.Config{Codecs: codecsNamed("PCMU")}}
				alice, bob := w.phone("alice", s), w.phone("bob", s)
				a, b := alice.call(bob, "bob")
				hum(t, a, b)
				if s := a.sess.Stats(); !s.Local.Addr().Is6() || !s.Remote.Addr().Is6() {
					t.Errorf("%v to %v", s.Local, s.Remote)
				}
				must(t, a.Hangup(t.Context()))
				ended(t, b.Call, sip.Remote)
				checkIdle(t, w)
			})
		})
	}
}
