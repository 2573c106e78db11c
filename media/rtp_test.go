package media_test

import (
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/memnet"
	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/opus"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// RFC 4733 at both clock rates: each digit once, with its duration, whatever
// is lost of it but all.
func TestDTMF(t *testing.T) {
	for _, c := range []codec.Codec{g711.PCMU(), opus.Opus()} {
		for _, loss := range []float64{0, 0.2} {
			synctest.Test(t, func(t *testing.T) {
				cfg := media.Config{Codecs: []codec.Codec{c}}
				w := newWorld(t, cfg, cfg)
				w.net.ImpairAll(memnet.Impairment{Latency: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: loss})
				a, b := w.call(true)
				talk(time.Second)
				const keys = "0123456789*#ABCD"
				sent := make(chan error, 1)
				go func() { sent <- a.sess.SendDTMF(t.Context(), keys, nil) }()
				n := 0
				for d := range b.sess.DTMF(t.Context()) {
					if byte(d.Key) != keys[n] || (d.Duration-120*time.Millisecond).Abs() > 60*time.Millisecond {
						t.Errorf("%v: digit %d is %c of %v", c.Format().Name, n, d.Key, d.Duration)
					}
					if n++; n == len(keys) {
						break
					}
				}
				must(t, <-sent)
				b.ear.take()
				talk(2 * time.Second)
				if sa, sb := a.sess.Stats(), b.sess.Stats(); sa.Sent.Digits != 16 || sb.Received.Digits != 16 || sb.Received.Unknown != 0 {
					t.Errorf("sent %d, received %+v", sa.Sent.Digits, sb.Received)
				}
				if loss == 0 {
					wantTone(t, "b, afterwards", b.ear.take()[8000:], 8000, toneA)
				}
			})
		}
	}
}

func TestDTMFErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		without := pcmu
		without.NoDTMF = true
		w := newWorld(t, pcmu, without)
		a, b := newEnd(t, w.a, addrA, true), newEnd(t, w.b, addrB, true)
		if err := a.sess.SendDTMF(t.Context(), "1", nil); !errors.Is(err, media.ErrNoDTMF) {
			t.Errorf("before anything is agreed: %v", err)
		}
		connect(t, a, b)
		if err := a.sess.SendDTMF(t.Context(), "1", nil); !errors.Is(err, media.ErrNoDTMF) {
			t.Errorf("to a peer without: %v", err)
		}
		if err := a.sess.SendDTMF(t.Context(), "1x", nil); !errors.Is(err, media.ErrDigit) {
			t.Errorf("no digit: %v", err)
		}
		a.sess.Close()
		for range a.sess.DTMF(t.Context()) {
			t.Error("a digit")
		}
		if err := a.sess.SendDTMF(t.Context(), "1", nil); !errors.Is(err, media.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		must(t, a.sess.Wait(t.Context()))
	})
}

// RFC 3550 §6.4.1: round trip, loss and jitter from the reports.
func TestReports(t *testing.T) {
	for _, tt := range []struct {
		name        string
		secure, mux bool
	}{{"SRTCP on the port of RTP", true, true}, {"SRTCP on its own port", true, false}, {"RTCP on its own port", false, false}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := pcmu
				cfg.NoRTCPMux = !tt.mux
				w := newWorld(t, cfg, cfg)
				w.net.ImpairOneWay(w.hostA, w.hostB, memnet.Impairment{Latency: 40 * time.Millisecond, Loss: 0.1})
				w.net.ImpairOneWay(w.hostB, w.hostA, memnet.Impairment{Latency: 60 * time.Millisecond, Jitter: 10 * time.Millisecond})
				a, b := w.call(tt.secure)
				talk(80 * time.Second)
				sa, sb := a.sess.Stats(), b.sess.Stats()
				for _, st := range []media.Stats{sa, sb} {
					if st.Mux != tt.mux || st.Sent.Reports < 11 || st.Sent.Reports > 27 || st.Received.BadSRTCP > 0 {
						t.Errorf("%+v", st)
					}
				}
				// 100 ms, 0 to 10 ms of jitter, and where a socket is not
				// stamped by a kernel up to the time until it is looked at.
				if sa.RTT < 100*time.Millisecond || sa.RTT > 112*time.Millisecond || sb.RTT < 100*time.Millisecond || sb.RTT > 112*time.Millisecond {
					t.Errorf("round trips of %v and %v", sa.RTT, sb.RTT)
				}
				rate := float64(sb.Received.Lost) / float64(sb.Received.Lost+sb.Received.Packets)
				if rate < 0.07 || rate > 0.13 || math.Abs(float64(sa.RemoteLost)-float64(sb.Received.Lost)) > 60 || sa.RemoteLoss == 0 || sb.RemoteLoss != 0 {
					t.Errorf("loss %.3f, and as reported %d of %d, %.3f", rate, sa.RemoteLost, sb.Received.Lost, sa.RemoteLoss)
				}
				if j := sa.Received.Jitter; j < 2*time.Millisecond || j > 6*time.Millisecond {
					t.Errorf("jitter %v of uniform 0 to 10 ms", j)
				}
				if sa.Received.Lost != 0 || sb.Received.Concealed == 0 {
					t.Errorf("%+v, %+v", sa.Received, sb.Received)
				}
				if s := sa.String(); !strings.Contains(s, "round trip 10") || !strings.Contains(s, "PCMU/8000") {
					t.Error(s)
				}
			})
		})
	}
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pcmu
		cfg.RTPTimeout = 10 * time.Second
		w := newWorld(t, cfg, cfg)
		a, b := w.call(true)
		talk(time.Minute)
		if a.got(offeranswer.Timeout)+b.got(offeranswer.Timeout) != 0 {
			t.Fatal("a timeout while all is well")
		}
		w.net.CutSilently(w.hostA, w.hostB)
		talk(9500 * time.Millisecond)
		if a.got(offeranswer.Timeout) != 0 {
			t.Error("too early")
		}
		talk(time.Second)
		if a.got(offeranswer.Timeout) != 1 || b.got(offeranswer.Timeout) != 1 {
			t.Errorf("%v, %v", a.events, b.events)
		}
		var timeout net.Error
		if err := a.events[len(a.events)-1].Err; !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v", err)
		}
		w.net.Heal(w.hostA, w.hostB)
		talk(5 * time.Second)
		w.net.CutSilently(w.hostA, w.hostB)
		talk(30 * time.Second)
		if n := a.got(offeranswer.Timeout); n != 2 {
			t.Errorf("%d timeouts after two cuts", n)
		}
	})
}

func TestPacketTimes(t *testing.T) {
	for _, ptime := range []time.Duration{10, 20, 30, 40, 60} {
		ptime *= time.Millisecond
		synctest.Test(t, func(t *testing.T) {
			cfg := pcmu
			cfg.PTime = ptime
			w := newWorld(t, pcmu, cfg) // what b wishes to receive is what a sends
			a, b := w.call(true)
			talk(time.Second)
			b.ear.take()
			n := a.sess.Stats().Sent.Packets
			talk(3 * time.Second)
			want := int64(3 * time.Second / ptime)
			if got := int64(a.sess.Stats().Sent.Packets - n); got < want-2 || got > want+2 {
				t.Errorf("%v: %d packets, want %d", ptime, got, want)
			}
			wantTone(t, ptime.String(), b.ear.take(), 8000, toneA)
			if st := b.sess.Stats(); st.Received.Concealed > 0 || st.Received.Discarded > 0 {
				t.Errorf("%v: %+v", ptime, st.Received)
			}
		})
	}
}

// A peer behind a NAT describes an address that nobody can reach, and is found
// by its packets; strictly, it is not.
func TestPeerBehindNAT(t *testing.T) {
	for _, tt := range []struct{ secure, strict, found bool }{{true, false, true}, {true, true, true}, {false, false, true}, {false, true, false}} {
		synctest.Test(t, func(t *testing.T) {
			cfg := pcmu
			cfg.StrictSource = tt.strict
			w := newWorld(t, cfg, pcmu)
			a, b := newEnd(t, w.a, addrA, tt.secure), newEnd(t, w.b, addrB, tt.secure)
			must(t, a.sess.SetSource(media.NewTone(8000, -12, toneA)))
			must(t, b.sess.SetSource(media.NewTone(8000, -12, toneB)))
			offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
			must(t, err)
			answer, err := b.legOf("d").Answer(t.Context(), offer, offeranswer.Options{})
			must(t, err)
			must(t, b.leg.Commit())
			answer = []byte(strings.ReplaceAll(string(answer), "10.0.0.2", "192.168.1.2"))
			must(t, a.legOf("d").SetAnswer(t.Context(), answer, false))
			talk(time.Second)
			a.ear.take()
			b.ear.take()
			talk(time.Second)
			st := a.sess.Stats()
			if found := st.Remote.Addr() == addrB; found != tt.found {
				t.Errorf("%+v: %v", tt, st.Remote)
			}
			if tt.found {
				wantTone(t, "a", a.ear.take(), 8000, toneB)
				wantTone(t, "b", b.ear.take(), 8000, toneA)
			} else {
				wantSilence(t, "a", a.ear.take())
				if st.Received.Stray < 90 {
					t.Errorf("%+v", st.Received)
				}
			}
		})
	}
}

// plainPacket is a PCMU packet of silence.
func plainPacket(ssrc uint32, seq uint16) []byte {
	p := make([]byte, 172)
	p[0] = 0x80
	binary.BigEndian.PutUint16(p[2:], seq)
	binary.BigEndian.PutUint32(p[4:], uint32(seq)*160)
	binary.BigEndian.PutUint32(p[8:], ssrc)
	for i := range p[12:] {
		p[12+i] = 0xff
	}
	return p
}

// In the clear, somebody else cannot take over a call that has begun.
func TestStrangerDoesNotTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(false)
		talk(time.Second)
		evil := w.sender("10.0.0.66")
		to := net.UDPAddrFromAddrPort(a.sess.Stats().Local)
		peer := b.sess.Stats().Sent.SSRC
		for seq := range uint16(50) {
			_, err := evil.WriteTo(plainPacket(0x66666666, seq), to)
			must(t, err)
			_, err = evil.WriteTo(plainPacket(peer, seq*977), to) // who guesses the source
			must(t, err)
			talk(20 * time.Millisecond)
		}
		st := a.sess.Stats()
		if st.Remote.Addr() != addrB || st.Received.Stray != 100 || st.Received.SourceSwitches > 0 {
			t.Errorf("%v: %+v", st.Remote, st.Received)
		}
		wantTone(t, "a", a.ear.take()[8000:], 8000, toneB)

		// The peer's own stream from elsewhere is followed: its NAT has
		// forgotten the binding.
		must(t, b.sess.Rebind(t.Context(), addrB))
		talk(time.Second)
		if got := a.sess.Stats(); got.Remote != b.sess.Stats().Local || got.Remote == st.Remote {
			t.Errorf("%v, want %v", got.Remote, b.sess.Stats().Local)
		}
	})
}

func TestSourceAndPayloadChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := media.Config{Codecs: []codec.Codec{g711.PCMU(), g711.PCMA()}, SRTP: media.SRTPOff}
		w := newWorld(t, cfg, cfg)
		a, b := w.call(false)
		b.sess.SetSource(nil)
		talk(500 * time.Millisecond)
		sa := a.sess.Stats()
		b.sess.Close()
		c, err := w.hostB.ListenPacket(t.Context(), "udp4", sa.Remote.String())
		must(t, err)
		defer c.Close()
		to := net.UDPAddrFromAddrPort(sa.Local)
		for seq := range uint16(150) {
			p := plainPacket(7, seq)
			switch {
			case seq >= 100: // a payload type that nobody agreed
				p[1] = 77
			case seq >= 50:
				p[1] = 8
				for i := range p[12:] {
					p[12+i] = 0xd5
				}
			}
			_, err := c.WriteTo(p, to)
			must(t, err)
			talk(20 * time.Millisecond)
		}
		st := a.sess.Stats().Received
		if st.SourceSwitches != 1 || st.PayloadSwitches != 1 || st.Unknown != 50 || st.Codec != "PCMA/8000" || st.Lost != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// RFC 3389: what a peer says about the noise around it is heard while it is
// silent.
func TestComfortNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pcmu
		cfg.SRTP = media.SRTPOff
		w := newWorld(t, cfg, cfg)
		a, b := w.call(false)
		b.sess.SetSource(nil)
		talk(500 * time.Millisecond)
		st := a.sess.Stats()
		b.sess.Close()
		c, err := w.hostB.ListenPacket(t.Context(), "udp4", st.Remote.String())
		must(t, err)
		defer c.Close()
		to := net.UDPAddrFromAddrPort(st.Local)
		for seq := range uint16(25) {
			_, err := c.WriteTo(plainPacket(7, seq), to)
			must(t, err)
			talk(20 * time.Millisecond)
		}
		noise := append(plainPacket(7, 25)[:12], 40) // -40 dBov
		noise[1] = 13
		_, err = c.WriteTo(noise, to)
		must(t, err)
		talk(500 * time.Millisecond)
		a.ear.take()
		talk(time.Second)
		if p := power(a.ear.take()); p < -43 || p > -33 {
			t.Errorf("%.1f dBFS", p)
		}
		if st := a.sess.Stats().Received; st.Concealed > 0 || st.Unknown > 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a := newEnd(t, w.a, netip.MustParseAddr("2001:db8::1"), true)
		b := newEnd(t, w.b, netip.MustParseAddr("2001:db8::2"), true)
		must(t, a.sess.SetSource(media.NewTone(8000, -12, toneA)))
		connect(t, a, b)
		talk(time.Second)
		if l := string(b.leg.Local()); !strings.Contains(l, "c=IN IP6 2001:db8::2") {
			t.Error(l)
		}
		wantTone(t, "b", b.ear.take()[1600:], 8000, toneA)
	})
}

func TestPortRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := pcmu
		cfg.MinPort, cfg.MaxPort = 30001, 30008 // three pairs
		w := newWorld(t, cfg, pcmu)
		seen := map[uint16]bool{}
		var last *end
		for range 3 {
			last = newEnd(t, w.a, addrA, true)
			_, err := last.sess.Offer(t.Context(), offeranswer.Options{})
			must(t, err)
			p := last.sess.Stats().Local.Port()
			if p%2 != 0 || p < 30002 || p > 30006 || seen[p] {
				t.Errorf("port %d", p)
			}
			seen[p] = true
		}
		x := newEnd(t, w.a, addrA, true)
		if _, err := x.sess.Offer(t.Context(), offeranswer.Options{}); !errors.Is(err, media.ErrPorts) {
			t.Errorf("a fourth: %v", err)
		}
		last.sess.Close()
		_, err := x.sess.Offer(t.Context(), offeranswer.Options{})
		must(t, err)
	})
}

func TestStreamsBeyondAudio(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := newEnd(t, w.a, addrA, true), newEnd(t, w.b, addrB, true)
		must(t, a.sess.SetSource(media.NewTone(8000, -12, toneA)))
		if _, err := a.sess.Offer(t.Context(), offeranswer.Options{Add: []offeranswer.Kind{offeranswer.Video}}); !errors.Is(err, media.ErrStreams) {
			t.Errorf("%v", err)
		}
		offer, err := a.sess.Offer(t.Context(), offeranswer.Options{})
		must(t, err)
		// Video before audio: refused with port 0, in its place.
		i := strings.Index(string(offer), "m=audio")
		video := "m=video 5000 RTP/SAVP 96\r\na=rtpmap:96 H264/90000\r\n"
		both := string(offer[:i]) + video + string(offer[i:])
		answer, err := b.legOf("d").Answer(t.Context(), []byte(both), offeranswer.Options{})
		must(t, err)
		must(t, b.leg.Commit())
		if !strings.Contains(string(answer), "m=video 0 ") {
			t.Errorf("%s", answer)
		}
		i, j := strings.Index(string(answer), "m=video"), strings.Index(string(answer), "m=audio")
		must(t, a.legOf("d").SetAnswer(t.Context(), []byte(string(answer[:i])+string(answer[j:])), false))
		talk(time.Second)
		wantTone(t, "b", b.ear.take()[1600:], 8000, toneA)
	})
}
