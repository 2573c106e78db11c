package media_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

var pcmu = media.Config{Codecs: []codec.Codec{g711.PCMU()}}

// tap keeps copies of the datagrams to an address.
type tap struct {
	mu   sync.Mutex
	to   netip.Addr
	seen [][]byte
}

func (p *tap) drop(_, to netip.AddrPort, b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to.Addr() == p.to {
		p.seen = append(p.seen, bytes.Clone(b))
	}
	return false
}

// sender is a socket of a third host.
func (w *world) sender(addr string) net.PacketConn {
	w.t.Helper()
	c, err := w.net.Host(addr).ListenPacket(w.t.Context(), "udp4", addr+":4000")
	must(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	return c
}

func TestForgedAndReplayedPacketsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		p := &tap{to: addrA}
		w.net.ImpairAll(memnet.Impairment{Drop: p.drop})
		a, _ := w.call(true)
		talk(time.Second)
		before := a.sess.Stats()
		evil := w.sender("10.0.0.66")
		to := net.UDPAddrFromAddrPort(before.Local)
		p.mu.Lock()
		seen := p.seen[:40]
		p.mu.Unlock()
		for i, b := range seen {
			if i%2 == 0 {
				b = bytes.Clone(b)
				b[len(b)-1-i/2] ^= 0x10
			} // else replayed as it was
			_, err := evil.WriteTo(b, to)
			must(t, err)
		}
		_, err := evil.WriteTo([]byte("x"), to)
		must(t, err)
		talk(time.Second)
		st := a.sess.Stats()
		if got := st.Received.BadSRTP + st.Received.BadSRTCP - before.Received.BadSRTP; got != 40 || st.Received.Stray != 1 {
			t.Errorf("%+v", st.Received)
		}
		if st.Remote != before.Remote || st.Received.Lost != 0 || st.Received.Concealed != 0 {
			t.Errorf("the call suffered: %v", st)
		}
		wantTone(t, "a", a.ear.take()[8000:], 8000, toneB)
	})
}

// RFC 4568 §6.1 and §7.1.4: new keys in a re-offer, while sound goes on in
// both directions. Where the answer takes longer than the packets under its
// key, these wait for it: none is refused, but they come late.
func TestRekeyWithoutALostFrame(t *testing.T) {
	for _, tt := range []struct {
		suite     string
		answer    time.Duration // how long it takes; packets take 30 ms
		concealed uint64
	}{
		{"AEAD_AES_128_GCM", 20 * time.Millisecond, 0},
		{"AES_CM_128_HMAC_SHA1_80", 20 * time.Millisecond, 0},
		{"AEAD_AES_128_GCM", 70 * time.Millisecond, 3},
	} {
		suite := tt.suite
		t.Run(suite+" "+tt.answer.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := pcmu
				cfg.Suites = []string{suite}
				w := newWorld(t, cfg, cfg)
				w.net.ImpairAll(memnet.Impairment{Latency: 30 * time.Millisecond})
				a, b := w.call(true)
				talk(time.Second)
				a.ear.take()
				b.ear.take()
				for i := range 4 {
					x, y := a, b
					if i%2 == 1 {
						x, y = b, a
					}
					was := string(x.leg.Local())
					offer, err := x.leg.Offer(t.Context(), offeranswer.Options{NewKeys: true})
					must(t, err)
					talk(55 * time.Millisecond) // the signalling has its latency too
					answer, err := y.leg.Answer(t.Context(), offer, offeranswer.Options{})
					must(t, err)
					talk(5 * time.Millisecond)
					must(t, y.leg.Commit())
					talk(tt.answer)
					must(t, x.leg.SetAnswer(t.Context(), answer, false))
					if string(x.leg.Local()) == was {
						t.Error("the keys are the same")
					}
					talk(500 * time.Millisecond)
				}
				for _, x := range []*end{a, b} {
					st := x.sess.Stats()
					if st.Received.BadSRTP != 0 || st.Received.Lost != 0 || st.Received.Concealed > tt.concealed || st.Received.Discarded != 0 || st.Received.SourceSwitches != 0 {
						t.Errorf("%+v", st.Received)
					}
				}
				wantTone(t, "a", a.ear.take(), 8000, toneB)
				wantTone(t, "b", b.ear.take(), 8000, toneA)
			})
		})
	}
}

// A refused re-offer changes nothing (RFC 3261 §14.1).
func TestRekeyRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(true)
		talk(time.Second)
		for _, x := range []*end{a, b} {
			offer, err := x.leg.Offer(t.Context(), offeranswer.Options{NewKeys: true})
			must(t, err)
			y := a
			if x == a {
				y = b
			}
			_, err = y.leg.Answer(t.Context(), offer, offeranswer.Options{})
			must(t, err)
			talk(100 * time.Millisecond)
			must(t, x.leg.Rollback())
			must(t, y.leg.Rollback())
			talk(500 * time.Millisecond)
		}
		for _, x := range []*end{a, b} {
			if st := x.sess.Stats(); st.Received.BadSRTP != 0 || st.Received.Lost != 0 {
				t.Errorf("%+v", st.Received)
			}
		}
	})
}

func TestRequiredNeverFallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		strip := func(sdp []byte, profile bool) []byte {
			var out []string
			for _, line := range strings.SplitAfter(string(sdp), "\r\n") {
				if strings.HasPrefix(line, "a=crypto") {
					continue
				}
				if profile {
					line = strings.Replace(line, "RTP/SAVP", "RTP/AVP", 1)
				}
				out = append(out, line)
			}
			return []byte(strings.Join(out, ""))
		}
		for _, profile := range []bool{false, true} {
			a, b := newEnd(t, w.a, addrA, true), newEnd(t, w.b, addrB, true)
			offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
			must(t, err)
			_, err = b.legOf("x").Answer(t.Context(), strip(offer, profile), offeranswer.Options{})
			var coded offeranswer.StatusCoder
			if !errors.Is(err, media.ErrNotSecure) || !errors.As(err, &coded) || coded.SIPStatus() != 488 {
				t.Errorf("an offer without keys: %v", err)
			}
			answer, err := b.legOf("y").Answer(t.Context(), offer, offeranswer.Options{})
			must(t, err)
			err = a.legOf("d").SetAnswer(t.Context(), strip(answer, profile), false)
			if !errors.Is(err, media.ErrNotSecure) {
				t.Errorf("an answer without keys: %v", err)
			}
			talk(time.Second)
			if st := a.sess.Stats(); st.Sent.Packets != 0 {
				t.Errorf("%d packets were sent", st.Sent.Packets)
			}
			a.sess.Close()
			b.sess.Close()
		}
	})
}

// RFC 8643: keys with RTP/AVP are taken when both know of it, and a peer
// without is talked to in the clear.
func TestOptional(t *testing.T) {
	for _, tt := range []struct {
		a, b   media.SRTPPolicy
		secure bool
		err    error
	}{
		{media.SRTPOptional, media.SRTPOptional, true, nil},
		{media.SRTPOptional, media.SRTPRequired, true, nil},
		{media.SRTPRequired, media.SRTPOptional, true, nil},
		{media.SRTPOptional, media.SRTPOff, false, nil},
		{media.SRTPOff, media.SRTPOptional, false, nil},
		{media.SRTPOff, media.SRTPRequired, false, media.ErrNotSecure},
		{media.SRTPRequired, media.SRTPOff, false, media.ErrSecure},
	} {
		t.Run(tt.a.String()+" "+tt.b.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca, cb := pcmu, pcmu
				ca.SRTP, cb.SRTP = tt.a, tt.b
				w := newWorld(t, ca, cb)
				a, b := newEnd(t, w.a, addrA, false), newEnd(t, w.b, addrB, false)
				must(t, a.sess.SetSource(media.NewTone(8000, -12, toneA)))
				offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
				must(t, err)
				answer, err := b.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
				if !errors.Is(err, tt.err) {
					t.Fatalf("%v, want %v", err, tt.err)
				}
				if err != nil {
					return
				}
				must(t, b.leg.Commit())
				must(t, a.legOf("d").SetAnswer(t.Context(), answer, false))
				talk(time.Second)
				if got := a.sess.Stats().Suite != ""; got != tt.secure || a.leg.Streams()[0].Secure != tt.secure {
					t.Errorf("secure: %v", got)
				}
				wantTone(t, "b", b.ear.take()[1600:], 8000, toneA)
			})
		})
	}
}

// Packets that overtake the answer wait for its key (RFC 3264 §5.1).
func TestPacketsBeforeTheAnswer(t *testing.T) {
	for _, secure := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, pcmu, pcmu)
			a, b := newEnd(t, w.a, addrA, secure), newEnd(t, w.b, addrB, secure)
			must(t, b.sess.SetSource(media.NewTone(8000, -12, toneB)))
			offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
			must(t, err)
			answer, err := b.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
			must(t, err)
			must(t, b.leg.Commit())
			talk(400 * time.Millisecond)
			must(t, a.legOf("d").SetAnswer(t.Context(), answer, false))
			talk(600 * time.Millisecond)
			st := a.sess.Stats()
			if st.Received.Packets < 48 || st.Received.BadSRTP+st.Received.Stray > 0 || st.Received.Lost > 0 {
				t.Errorf("secure %v: %+v", secure, st.Received)
			}
		})
	}
}

// A lifetime in the peer's key is watched (RFC 4568 §6.1).
func TestKeyLifetimeAsksForAnOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pcmu
		cfg.Suites = []string{"AEAD_AES_256_GCM"}
		w := newWorld(t, cfg, cfg)
		a, b := newEnd(t, w.a, addrA, true), newEnd(t, w.b, addrB, true)
		offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
		must(t, err)
		answer, err := b.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
		must(t, err)
		must(t, b.leg.Commit())
		i := strings.Index(string(answer), "inline:")
		j := i + strings.IndexAny(string(answer[i:]), "|\r")
		answer = append(answer[:j:j], append([]byte("|2^6"), answer[j:]...)...)
		must(t, a.legOf("d").SetAnswer(t.Context(), answer, false))
		talk(1100 * time.Millisecond)
		if a.got(offeranswer.NeedOffer) != 0 {
			t.Error("too early")
		}
		talk(time.Second)
		if n := a.got(offeranswer.NeedOffer); n != 1 {
			t.Errorf("%d requests for an offer", n)
		}
	})
}
