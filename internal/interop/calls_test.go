package interop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/peertest"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// phone is somebody else's phone.
type phone interface {
	Dial(uri string)
	Answer()
	Hangup()
	Hold()
	Resume()
	SendDigits(digits string)
	Stop()
	aor() string
	waitIncoming()
	waitConnected()
	waitEnded()
	waitDigits(n int) string
	heard() string       // WAV file of its first call
	transfer(uri string) // refers the peer of its first call, blindly
	listenAgain()        // a call begins that is listened to apart
	waitAfter(d time.Duration)
	after() string // WAV file of the call since listenAgain
}

type baresip struct{ *peertest.Baresip }

func (b baresip) aor() string               { return b.AOR }
func (b baresip) waitIncoming()             { b.WaitEvent(0, "CALL_INCOMING") }
func (b baresip) waitConnected()            { b.WaitEvent(0, "CALL_ESTABLISHED") }
func (b baresip) waitEnded()                { b.WaitEvent(0, "CALL_CLOSED") }
func (b baresip) waitDigits(n int) string   { return b.WaitDigits(0, n) }
func (b baresip) heard() string             { return b.Heard()[0] }
func (b baresip) transfer(uri string)       { b.Transfer(uri) }
func (b baresip) listenAgain()              {} // it has a file for each call
func (b baresip) waitAfter(d time.Duration) { b.WaitHeard(d) }
func (b baresip) after() string             { return b.Heard()[len(b.Heard())-1] }

type linphone struct{ *peertest.Linphone }

func (l linphone) aor() string               { return l.AOR }
func (l linphone) waitIncoming()             { l.WaitIncoming(0) }
func (l linphone) waitConnected()            { l.WaitConnected(0) }
func (l linphone) waitEnded()                { l.WaitEnded(0) }
func (l linphone) waitDigits(n int) string   { return l.WaitDigits(0, n) }
func (l linphone) heard() string             { return l.Heard() }
func (l linphone) transfer(uri string)       { l.Transfer(l.CallID(0), uri) }
func (l linphone) listenAgain()              { l.RecordTo("after") }
func (l linphone) waitAfter(d time.Duration) { l.WaitRecorded(l.after(), d) }
func (l linphone) after() string             { return l.File("after") }

// chosen is the suite that a phone picks from our offer, the first that it knows.
var chosen = map[string]string{"baresip": "AEAD_AES_128_GCM", "linphone": "AES_256_CM_HMAC_SHA1_80"}

// phones start the phones that are called and call.
var phones = map[string]func(t *testing.T, c peertest.PhoneConfig) phone{
	"baresip":  func(t *testing.T, c peertest.PhoneConfig) phone { return baresip{peertest.StartBaresip(t, c)} },
	"linphone": func(t *testing.T, c peertest.PhoneConfig) phone { return linphone{peertest.StartLinphone(t, c)} },
}

// connect makes a call between our phone and another one, in either direction.
func connect(t *testing.T, ua *ourPhone, peer phone, weCall bool) *sip.Call {
	t.Helper()
	if weCall {
		out, err := ua.Start(deadline(t, patience), peer.aor(), nil)
		if err != nil {
			t.Fatal(err)
		}
		peer.waitIncoming()
		peer.Answer()
		if err := out.Answered(deadline(t, patience)); err != nil {
			t.Fatal(err)
		}
		return out
	}
	peer.Dial(ua.AOR())
	in := accept(t, ua.UA)
	if err := in.Ring(deadline(t, patience)); err != nil {
		t.Error(err)
	}
	if err := in.Answer(deadline(t, patience), nil); err != nil {
		t.Fatal(err)
	}
	return in
}

// Calls both ways through Kamailio, signalled over TLS, with SRTP: each side's recording is searched
// for the other's words, and digits are pressed on both.
func TestCalls(t *testing.T) {
	t.Parallel()
	for name, start := range phones {
		for _, codec := range []string{"opus", "G722", "PCMU"} {
			for _, weCall := range []bool{true, false} {
				way := map[bool]string{true: "to", false: "from"}[weCall]
				t.Run(fmt.Sprintf("%s %s, %s", way, name, codec), func(t *testing.T) {
					t.Parallel()
					listening(t, map[bool]int{true: 2, false: 1}[codec == "opus"])
					k := peertest.StartKamailio(t, peertest.KamailioConfig{})
					ua := newPhone(t, k, "alice", nil)
					// PCMU brings telephone-event/8000; see TestBaresipAndLinphone.
					peer := start(t, peertest.PhoneConfig{
						User: "bob", Registrar: k, Codecs: slices.Compact([]string{codec, "PCMU"}), Source: peertest.SpeechFile(t, theirSpeaker),
					})
					c := connect(t, ua, peer, weCall)
					sess, ear := ua.session(t, c)
					peer.waitConnected()
					for _, s := range c.Streams() {
						if !s.Secure {
							t.Errorf("a stream is in the clear: %+v", s)
						}
					}
					ear.understand(t, "hoorn", theirSpeaker)
					suite := "AES_CM_128_HMAC_SHA1_80" // what both offer first
					if weCall {
						suite = chosen[name]
					}
					checkStats(t, sess, codec, suite)
					if err := sess.SendDTMF(deadline(t, patience), "19#", nil); err != nil {
						t.Errorf("DTMF: %v", err)
					}
					if got := peer.waitDigits(3); got != "19#" {
						t.Errorf("%s received digits %q", name, got)
					}
					peer.SendDigits("73")
					if got := digits(deadline(t, patience), sess, 2); got != "73" {
						t.Errorf("received digits %q", got)
					}
					if weCall {
						peer.Hangup()
					} else if err := c.Hangup(deadline(t, patience)); err != nil {
						t.Error(err)
					}
					ended(t, c)
					peer.waitEnded()
					peer.Stop()
					peertest.CheckFile(t, name, peer.heard(), ourSpeaker)
				})
			}
		}
	}
}

// Either side puts the call on hold with a re-INVITE and takes it back, and
// both do at once (RFC 3264 §8.4, RFC 6337 §5.3).
func TestHold(t *testing.T) {
	t.Parallel()
	for name, start := range phones {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listening(t, 1)
			k := peertest.StartKamailio(t, peertest.KamailioConfig{})
			ua := newPhone(t, k, "alice", nil)
			peer := start(t, peertest.PhoneConfig{User: "bob", Registrar: k, Codecs: []string{"PCMU"}, Source: peertest.SpeechFile(t, theirSpeaker)})
			c := connect(t, ua, peer, true)
			peer.waitConnected()

			for i, step := range []struct {
				do   func()
				held sip.Hold
				want offeranswer.Direction // what we said of our stream: in offers what we want (RFC 6337 §5.3)
			}{
				{peer.Hold, sip.Hold{Remote: true}, offeranswer.RecvOnly},
				{ours(t, c.Hold), sip.Hold{Local: true, Remote: true}, offeranswer.SendOnly},
				{ours(t, c.Resume), sip.Hold{Remote: true}, offeranswer.SendRecv},
				{peer.Resume, sip.Hold{}, offeranswer.SendRecv},
				{ours(t, c.Hold), sip.Hold{Local: true}, offeranswer.SendOnly},
				{ours(t, c.Resume), sip.Hold{}, offeranswer.SendRecv},
			} {
				step.do()
				waitHeld(t, c, step.held)
				if s := c.Streams(); len(s) != 1 || s[0].Local != step.want {
					t.Errorf("step %d: streams %+v, want %v", i, s, step.want)
				}
			}
			// Afterwards both are heard again, under new keys too. This baresip
			// takes no new keys for what it receives.
			if name != "baresip" {
				if err := c.Renegotiate(deadline(t, patience), offeranswer.Options{NewKeys: true}); err != nil {
					t.Fatalf("new keys: %v", err)
				}
			}
			sess, _ := media.FromCall(c)
			again := newEar()
			if err := sess.SetSink(media.SinkFunc(earRate, again.hear)); err != nil {
				t.Fatal(err)
			}
			peertest.CheckVoices(t, "hoorn", again.listen(t, peertest.Talk), earRate, theirSpeaker)
			if s := sess.Stats(); s.Received.BadSRTP > 5 {
				t.Errorf("%d packets could not be decrypted", s.Received.BadSRTP)
			}
			if err := c.Hangup(deadline(t, patience)); err != nil {
				t.Error(err)
			}
			ended(t, c)
			peer.waitEnded()
			peer.Stop()
			if l, ok := peer.(linphone); ok { // baresip's recording ends with the first hold
				peertest.CheckVoice(t, name, ourSpeaker, l.heard())
			}
		})
	}
}

// ours is a step of our side, which must succeed.
func ours(t *testing.T, do func(context.Context) error) func() {
	return func() {
		t.Helper()
		if err := do(deadline(t, patience)); err != nil {
			t.Fatal(err)
		}
	}
}

// waitHeld waits until a call is on hold as it should be.
func waitHeld(t *testing.T, c *sip.Call, want sip.Hold) {
	t.Helper()
	for range c.Events(deadline(t, patience)) {
		if c.Held() == want {
			return
		}
	}
	t.Fatalf("held %+v, want %+v", c.Held(), want)
}

// Encryption that is required is never given up: a peer without it gets no call, whoever begins (RFC 4568 §7.1.2).
func TestEncryptionRequired(t *testing.T) {
	t.Parallel()
	k := peertest.StartKamailio(t, peertest.KamailioConfig{})
	ua := newPhone(t, k, "alice", nil)
	plain := peertest.StartBaresip(t, peertest.PhoneConfig{
		User: "bob", Registrar: k, Encryption: peertest.Plain, AutoAnswer: true, Source: peertest.SpeechFile(t, theirSpeaker),
	})
	out, err := ua.Dial(deadline(t, patience), plain.AOR, nil)
	var refused *sip.StatusError
	if !errors.Is(err, media.ErrNotSecure) && !(errors.As(err, &refused) && refused.Code == 488) {
		t.Errorf("call to a phone without SRTP: %v, %v", out, err)
	}
	plain.Dial(ua.AOR())
	in := accept(t, ua.UA)
	err = in.Answer(deadline(t, patience), nil)
	if !errors.Is(err, media.ErrNotSecure) {
		t.Errorf("answer to an offer without SRTP: %v", err)
	}
	plain.Log.Wait(t, 0, `session closed: 488`)
}

// Encryption that is optional goes with both (RFC 8643).
func TestEncryptionOptional(t *testing.T) {
	t.Parallel()
	for _, encryption := range []peertest.Encryption{peertest.Plain, peertest.SDESOptional} {
		for _, weCall := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, we call %v", encryption, weCall), func(t *testing.T) {
				t.Parallel()
				listening(t, 1)
				k := peertest.StartKamailio(t, peertest.KamailioConfig{})
				ua := newPhone(t, k, "alice", &media.Config{SRTP: media.SRTPOptional})
				peer := baresip{peertest.StartBaresip(t, peertest.PhoneConfig{
					User: "bob", Registrar: k, Encryption: encryption, Codecs: []string{"PCMU"}, Source: peertest.SpeechFile(t, theirSpeaker),
				})}
				c := connect(t, ua, peer, weCall)
				sess, ear := ua.session(t, c)
				peer.waitConnected()
				ear.understand(t, "hoorn", theirSpeaker)
				if secure := sess.Stats().Suite != ""; secure != (encryption == peertest.SDESOptional) {
					t.Errorf("encrypted: %v", secure)
				}
				if err := c.Hangup(deadline(t, patience)); err != nil {
					t.Error(err)
				}
				ended(t, c)
				peer.waitEnded()
				peer.Stop()
				peertest.CheckFile(t, "baresip", peer.heard(), ourSpeaker)
			})
		}
	}
}
