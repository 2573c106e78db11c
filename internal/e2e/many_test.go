package e2e_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// Two hundred accounts, each on a TLS connection of its own, register at once,
// make a hundred calls at once, all of them with sound both ways, and leave at
// once.
func TestMany(t *testing.T) {
	const accounts = 200
	name := func(i int) string { return fmt.Sprintf("user%03d", i) }
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *siptest.Config) {
			c.TranscriptSize = -1
			for i := range accounts {
				c.Users = append(c.Users, siptest.User{Name: name(i)})
			}
		})
		phones := make([]*phone, accounts)
		for i := range phones {
			phones[i] = w.newPhone(name(i), settings{media: media.Config{Codecs: codecsNamed("PCMU")}})
		}
		each := func(n int, do func(i int) error) {
			t.Helper()
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					if err := do(i); err != nil {
						t.Errorf("%s: %v", name(i), err)
					}
				})
			}
			wg.Wait()
			if t.Failed() {
				t.FailNow()
			}
		}
		each(accounts, func(i int) error {
			_, err := phones[i].Register(t.Context())
			return err
		})

		// The first half calls the second.
		calls := make([]*sip.Call, accounts)
		each(accounts, func(i int) (err error) {
			if i < accounts/2 {
				calls[i], err = phones[i].Dial(t.Context(), name(i+accounts/2), nil)
				return err
			}
			if calls[i], err = phones[i].Accept(t.Context()); err != nil {
				return err
			}
			return calls[i].Answer(t.Context(), nil)
		})
		if n := w.Calls(); n != accounts/2 {
			t.Errorf("%d calls in the lab", n)
		}
		hz := func(i int) float64 { return 400 + 10*float64(i) }
		ends := make([]*end, accounts)
		for i, c := range calls {
			ends[i] = phones[i].end(c)
			must(t, ends[i].sess.SetSource(media.NewTone(rate, -12, hz(i))))
		}
		pass(time.Second)
		for _, x := range ends {
			x.ear.take()
		}
		pass(time.Second)
		for i, x := range ends {
			other := (i + accounts/2) % accounts
			pcm := x.ear.take()
			if n := gaps(pcm, hz(other)); n != 0 || len(pcm) < rate*9/10 {
				t.Errorf("%s missed %d frames of %s in %d", name(i), n, name(other), len(pcm))
			}
			if s := x.sess.Stats(); s.Suite == "" || s.Received.Lost+s.Received.BadSRTP != 0 {
				t.Errorf("%s: %v", name(i), s)
			}
		}

		// Every other call is ended by its callee.
		each(accounts, func(i int) error {
			hangs := i%2 == 0
			if i >= accounts/2 {
				hangs = i%2 == 1
			}
			if hangs {
				return calls[i].Hangup(t.Context())
			}
			return nil
		})
		for _, c := range calls {
			if err := c.Wait(t.Context()); err != nil {
				t.Errorf("a call ended with %v", err)
			}
		}
		pass(time.Second)
		sent := w.wire.total()
		checkIdle(t, w)
		if n := w.wire.total() - sent; n != 0 {
			t.Errorf("%d packets after the calls", n)
		}
		each(accounts, func(i int) error { return phones[i].Close() })
		for i := range accounts {
			if n := len(w.Devices(name(i))); n != 0 {
				t.Errorf("%s is still registered", name(i))
			}
		}
	})
}
