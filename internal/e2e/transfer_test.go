package e2e_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/testca"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/broadworks"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

const toneC = 1100.0

// trio are three phones that each send a tone of their own.
type trio struct {
	w                 *world
	alice, bob, carol *phone
	uri               func(*phone) string
}

// inTrios runs a test through the lab over TLS, and with user agents that call
// each other without a server, so that all of a transfer is their own doing:
// over UDP, TCP and TLS, always with SRTP.
func inTrios(t *testing.T, fn func(t *testing.T, x *trio)) {
	t.Run("lab", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			w := newWorld(t)
			x := &trio{w, w.hummer("alice", sip.TLS, toneA), w.hummer("bob", sip.TLS, toneB), w.hummer("carol", sip.TLS, toneC),
				func(p *phone) string { return p.AOR() }}
			fn(t, x)
			checkIdle(t, w)
		})
	})
	for _, tr := range []sip.Transport{sip.UDP, sip.TCP, sip.TLS} {
		t.Run("direct, "+string(tr), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t)
				ca, err := testca.NewCA(time.Now())
				must(t, err)
				x := &trio{w: w, uri: func(p *phone) string { return "sip:" + p.addr.String() + ":5060;transport=" + string(tr) }}
				x.alice, x.bob, x.carol = w.direct("alice", tr, ca, toneA), w.direct("bob", tr, ca, toneB), w.direct("carol", tr, ca, toneC)
				fn(t, x)
			})
		})
	}
}

// direct makes a phone without a server, which has a certificate for its address.
// Whoever calls it may replace and refer.
func (w *world) direct(user string, tr sip.Transport, ca *testca.CA, hz float64) *phone {
	s := settings{wrap: humming(hz), media: media.Config{Codecs: codecsNamed("PCMU"), SRTP: media.SRTPRequired}}
	addr := fmt.Sprintf("10.0.1.%d", w.hosts+2) // that newPhone gives to the next
	cert, err := ca.Issue(testca.Template{IPs: []netip.Addr{netip.MustParseAddr(addr)}})
	must(w.t, err)
	s.ua = func(c *sip.Config) {
		c.Account = sip.Account{AOR: "sip:" + user + "@" + addr, Direct: true, Transport: tr}
		c.Listen = []string{string(tr) + ":" + addr + ":5060"}
		c.TLS = &sip.TLSConfig{RootCAs: ca.Pool(), Certificates: []tls.Certificate{cert}}
		c.Replace = func(*sip.ReplaceRequest) bool { return true }
	}
	return w.newPhone(user, s)
}

// Bob is transferred to carol without a word to her (RFC 5589 §6.1): by who
// called him, and by whom he called.
func TestBlindTransfer(t *testing.T) {
	for _, caller := range []bool{true, false} {
		inTrios(t, func(t *testing.T, x *trio) {
			var a, b *end
			if caller {
				a, b = x.alice.call(x.bob, x.uri(x.bob))
			} else {
				b, a = x.bob.call(x.alice, x.uri(x.alice))
			}
			done := make(chan error, 1)
			go func() { done <- a.Transfer(t.Context(), x.uri(x.carol), nil) }()
			cc := x.carol.accept()
			must(t, cc.Answer(t.Context(), nil))
			must(t, <-done)
			if err := a.Wait(t.Context()); err != nil {
				t.Errorf("alice's call: %v", err)
			}
			c := x.carol.end(cc)
			sounds(t, "transferred", b, c, toneB, toneC)
			hangup(t, c, b)
		})
	}
}

// Alice asks carol first (RFC 5589 §7.3).
func TestAttendedTransfer(t *testing.T) {
	for _, caller := range []bool{true, false} {
		inTrios(t, func(t *testing.T, x *trio) {
			var a, b *end
			if caller {
				a, b = x.alice.call(x.bob, x.uri(x.bob))
			} else {
				b, a = x.bob.call(x.alice, x.uri(x.alice))
			}
			must(t, a.Hold(t.Context()))
			asks, c := x.alice.call(x.carol, x.uri(x.carol))
			sounds(t, "asking", asks, c, toneA, toneC)
			must(t, a.TransferTo(t.Context(), asks.Call, nil))
			for _, mine := range []*sip.Call{a.Call, asks.Call} {
				if err := mine.Wait(t.Context()); err != nil {
					t.Errorf("alice's call: %v", err)
				}
			}
			sounds(t, "transferred", b, c, toneB, toneC)
			hangup(t, b, c)
		})
	}
}

// Carol does not want to: alice has her call with bob back.
func TestTransferFails(t *testing.T) {
	inTrios(t, func(t *testing.T, x *trio) {
		a, b := x.alice.call(x.bob, x.uri(x.bob))
		done := make(chan error, 1)
		go func() { done <- a.Transfer(t.Context(), x.uri(x.carol), nil) }()
		must(t, x.carol.accept().Reject(t.Context(), 486))
		var status *sip.StatusError
		if err := <-done; !errors.As(err, &status) || status.Code != 486 {
			t.Errorf("got %v, want 486", err)
		}
		if a.Held() != (sip.Hold{Local: true}) {
			t.Errorf("held: %+v", a.Held())
		}
		must(t, a.Resume(t.Context()))
		sounds(t, "resumed", a, b, toneA, toneB)
		hangup(t, a, b)
	})
}

// Carol takes the call that rings at alice's.
func TestDirectedPickup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, func(c *siptest.Config) {
			for i := range c.Users {
				c.Users[i].Group = "sales" // pickup is for one's own group
			}
		})
		alice, bob, carol := w.hummer("alice", sip.TLS, toneA), w.hummer("bob", sip.TLS, toneB), w.hummer("carol", sip.TLS, toneC)
		cb := bob.start("alice")
		must(t, alice.accept().Ring(t.Context()))
		cc, err := broadworks.New(carol.UA, nil).PickupDirected(t.Context(), "1001", nil)
		must(t, err)
		must(t, cb.Answered(t.Context()))
		c, b := carol.end(cc), bob.end(cb)
		sounds(t, "picked up", c, b, toneC, toneB)
		hangup(t, c, b)
		checkIdle(t, w)
	})
}

// Alice parks bob, who hears music until carol takes him.
func TestParkAndRetrieve(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t)
		alice, bob, carol := w.hummer("alice", sip.TLS, toneA), w.hummer("bob", sip.TLS, toneB), w.hummer("carol", sip.TLS, toneC)
		a, b := alice.call(bob, "bob")
		must(t, broadworks.New(alice.UA, nil).Park(t.Context(), a.Call, "1001"))
		pass(time.Second)
		b.ear.take()
		pass(2 * time.Second)
		var loud int
		for _, v := range b.ear.take() {
			if v > 300 || v < -300 {
				loud++
			}
		}
		if loud < rate/4 {
			t.Errorf("bob hears no music: %d samples", loud)
		}
		cc, err := broadworks.New(carol.UA, nil).Retrieve(t.Context(), "1001", nil)
		must(t, err)
		c := carol.end(cc)
		sounds(t, "retrieved", c, b, toneC, toneB)
		hangup(t, b, c)
		checkIdle(t, w)
	})
}
