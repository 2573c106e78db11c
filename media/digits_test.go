package media_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// A call that asks its media to send digits is told where it has to do so itself.
func TestSendDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(true)
		talk(time.Second)
		sent := make(chan error, 1)
		go func() { sent <- a.sess.SendDigits(t.Context(), "7", 200*time.Millisecond, 100*time.Millisecond) }()
		for d := range b.sess.DTMF(t.Context()) {
			if d.Key != '7' || d.Duration != 200*time.Millisecond {
				t.Errorf("%c of %v", d.Key, d.Duration)
			}
			break
		}
		must(t, <-sent)
	})
	synctest.Test(t, func(t *testing.T) {
		without := pcmu
		without.NoDTMF = true
		w := newWorld(t, pcmu, without)
		a, _ := w.call(true)
		var sender offeranswer.DigitSender = a.sess
		err := sender.SendDigits(t.Context(), "7", 0, 0)
		if !errors.Is(err, offeranswer.ErrNoDigits) || !errors.Is(err, media.ErrNoDTMF) {
			t.Error(err)
		}
	})
}
