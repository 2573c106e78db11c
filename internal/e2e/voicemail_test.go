package e2e_test

import (
	"context"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/broadworks"
	"github.com/hoorn-phone/hoorn/sip/mwi"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

func withMailbox(c *siptest.Config) { c.Users[1].Voicemail = &siptest.Voicemail{} }

// lamp checks what the next notification says of the messages that wait
// (RFC 3842 §5.2: Messages-Waiting, and new and old voice messages).
func lamp(t *testing.T, sub *sip.Subscription, fresh, old int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for n := range sub.Notifications(ctx) {
		s, err := mwi.Parse(n.Body)
		must(t, err)
		if c := s.Count(mwi.Voice); s.Waiting != (fresh > 0) || c.New != fresh || c.Old != old {
			t.Errorf("waiting: %v, %d/%d, want %d/%d", s.Waiting, c.New, c.Old, fresh, old)
		}
		return
	}
	t.Errorf("no notification of %d/%d", fresh, old)
}

// collect lets a phone hear its first new message, and press a key then.
func collect(t *testing.T, p, from *phone, key string) {
	t.Helper()
	c, err := broadworks.New(p.UA, nil).Portal(t.Context(), nil)
	must(t, err)
	e := p.end(c)
	pass(sentence + time.Second)
	if ok, score := mediatest.Heard(from.voice, e.ear.take(), rate); !ok {
		t.Errorf("%s's message: %v", from.AOR(), score)
	}
	must(t, e.sess.SendDTMF(t.Context(), key, nil))
	ended(t, c, sip.Remote) // that was all
}

// Carol calls bob, who does not answer, and leaves a message. His lamp is lit,
// he hears her, deletes or keeps the message, and the lamp goes out.
func TestMessageWaiting(t *testing.T) {
	for _, on := range []sip.Transport{sip.TLS, sip.UDP} {
		t.Run(string(on), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, withMailbox)
				bob, carol := w.phone("bob", settings{ua: w.over(on)}), w.phone("carol", settings{ua: w.over(on)})
				sub, err := bob.Subscribe(t.Context(), "", &sip.SubscribeOptions{Event: mwi.Package, Accept: []string{mwi.ContentType}})
				must(t, err)
				lamp(t, sub, 0, 0)
				for _, x := range []struct {
					key string
					old int
				}{{"7", 0}, {"9", 1}} {
					began := time.Now()
					call := carol.start("bob")
					rung := bob.accept()
					must(t, rung.Ring(t.Context()))
					must(t, call.Answered(t.Context()))
					if took := time.Since(began).Round(time.Second); took != 18*time.Second {
						t.Errorf("the mailbox answered after %v", took)
					}
					if end := ended(t, rung, sip.Remote); end.Cause != sip.CauseMissed {
						t.Errorf("bob's call ended as %v", end.Cause)
					}
					pass(2 * time.Second) // greeting and beep
					say(t, carol.end(call))
					pass(sentence)
					must(t, call.Hangup(t.Context()))
					lamp(t, sub, 1, 0)
					collect(t, bob, carol, x.key)
					lamp(t, sub, 0, x.old)
				}
				must(t, sub.Close(t.Context()))
				checkIdle(t, w)
			})
		})
	}
}

// Carol sends alice, who has called her, to bob's mailbox: alice speaks there,
// bob hears it.
func TestTransferToVoicemail(t *testing.T) {
	for _, on := range []sip.Transport{sip.TLS, sip.UDP} {
		t.Run(string(on), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, withMailbox)
				s := settings{ua: w.over(on), media: media.Config{Codecs: codecsNamed("PCMU")}}
				alice, bob, carol := w.phone("alice", s), w.phone("bob", s), w.phone("carol", s)
				sub, err := bob.Subscribe(t.Context(), "", &sip.SubscribeOptions{Event: mwi.Package})
				must(t, err)
				lamp(t, sub, 0, 0)
				a, c := alice.call(carol, "carol")
				hum(t, a, c)
				must(t, broadworks.New(carol.UA, nil).TransferToVoicemail(t.Context(), c.Call, "1002"))
				if c.State() != sip.CallEnded || a.State() != sip.CallEstablished {
					t.Errorf("carol's call is %v, alice's %v", c.State(), a.State())
				}
				pass(2 * time.Second)
				say(t, a)
				pass(sentence)
				ended(t, a.Call, sip.Remote) // after five seconds of silence
				lamp(t, sub, 1, 0)
				if box := w.Mailbox("bob"); len(box) != 1 || box[0].From != "1001" {
					t.Errorf("%d messages", len(box))
				}
				collect(t, bob, alice, "7")
				lamp(t, sub, 0, 0)
				must(t, sub.Close(t.Context()))
				checkIdle(t, w)
			})
		})
	}
}
