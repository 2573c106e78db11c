package media

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/rtpio"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/opus"
)

// BenchmarkMerge is what a party costs, with all of its call but the sockets:
// SRTP, jitter buffer, decoder and encoder, by itself (apart) and with all
// others in a mixer, where everybody speaks (merged). Time is not the clock's,
// so that it does not matter whether the machine would keep up. One iteration
// is one second of all parties:
//
//	go test -run '^$' -bench Merge -benchtime 3x ./media
func BenchmarkMerge(b *testing.B) {
	for _, c := range []codec.Codec{g711.PCMU(), g722.G722(), opus.Opus()} {
		for _, n := range []int{3, 10, 100, 1000} {
			for _, merged := range []bool{false, true} {
				name := map[bool]string{false: "apart", true: "merged"}[merged]
				b.Run(fmt.Sprintf("%s/%d/%s", c.Format().Name, n, name), func(b *testing.B) { benchMerge(b, c, n, merged) })
			}
		}
	}
}

func benchMerge(b *testing.B, c codec.Codec, n int, merged bool) {
	mixer, speech := new(Mixer), speakers(b, c)
	near, far := make([]*Session, n), make([]*Session, n)
	for i := range near {
		near[i], far[i] = pair(b, Config{Codecs: []codec.Codec{c}, Suites: []string{"AES_CM_128_HMAC_SHA1_80"}})
		if i == 0 && merged {
			m, err := near[i].e.NewMixer()
			if err != nil {
				b.Fatal(err)
			}
			mixer = m.(*Mixer)
		}
		here := &wire{}
		near[i].rewire(here)
		far[i].rewire(&wire{peer: here})
		far[i].send.enc = &replay{payloads: speech[i%len(speech)], at: i}
		near[i].SetSource(NewPCMSource(8000, chord(8000, i), true))
		near[i].SetSink(SinkFunc(8000, func([]int16) {}))
		if merged {
			if err := mixer.Add(near[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	w, now := newWork(), time.Now()
	second := func() (spent time.Duration) {
		for range time.Second / frameTime {
			now = now.Add(frameTime)
			for _, s := range far {
				s.turnAt(w, now, now)
			}
			began := time.Now()
			for _, s := range near {
				s.turnAt(w, now, now)
			}
			spent += time.Since(began)
		}
		return spent
	}
	second() // until the jitter buffers are in step
	var spent time.Duration
	seconds := 0
	for b.Loop() {
		spent += second()
		seconds++
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(n*seconds), "us/party-s")
	b.ReportMetric(0, "ns/op")
	for i, s := range near {
		st := s.Stats()
		if st.Received.BadSRTP > 0 || st.Received.Packets < uint64(50*seconds) || st.Sent.Packets < uint64(50*seconds) || st.Sent.Failed > 0 {
			b.Fatalf("party %d: %+v", i, st)
		}
	}
}

// rewire puts a session on a wire in place of its sockets.
func (s *Session) rewire(rtp *wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rtp.self = s.sockets.rtp.LocalAddr()
	control := &wire{self: s.sockets.rtcp.LocalAddr()}
	s.sockets.close()
	s.sockets.rtp, s.sockets.rtcp = rtp, control
}

// A wire takes what is sent to its peer, or loses it without one. It is used by
// one goroutine.
type wire struct {
	self  netip.AddrPort
	peer  *wire
	from  netip.AddrPort
	queue [][]byte
}

func (w *wire) Drain(_ *rtpio.Batch, now time.Time, handle func(*rtpio.Packet)) error {
	for _, p := range w.queue {
		handle(&rtpio.Packet{Data: p, From: w.from, At: now})
	}
	w.queue = w.queue[:0]
	return nil
}

func (w *wire) WriteTo(p []byte, _ netip.AddrPort) error {
	if w.peer != nil {
		w.peer.from = w.self
		w.peer.queue = append(w.peer.queue, append([]byte(nil), p...))
	}
	return nil
}

func (w *wire) LocalAddr() netip.AddrPort { return w.self }

func (w *wire) Close() error { return nil }

// speakers are seconds of some who speak, encoded: a codec's work at the far end
// is not what is measured.
func speakers(b *testing.B, c codec.Codec) [][][]byte {
	b.Helper()
	all := make([][][]byte, 20)
	for i := range all {
		enc, err := c.NewEncoder(codec.Params{})
		if err != nil {
			b.Fatal(err)
		}
		pcm := chord(c.SampleRate(), i)
		for frame := c.SampleRate() / 50; len(pcm) >= frame; pcm = pcm[frame:] {
			p, err := enc.Encode(nil, pcm[:frame])
			if err != nil {
				b.Fatal(err)
			}
			all[i] = append(all[i], p)
		}
	}
	return all
}

// chord is a second of two tones that not everybody has, and which swell.
func chord(rate, who int) []int16 {
	pcm := make([]int16, rate)
	low, high := float64(200+37*(who%20)), float64(1100+53*(who%20))
	for i := range pcm {
		t := float64(i) / float64(rate)
		swell := 0.2 + 0.8*math.Abs(math.Sin(2*math.Pi*t*float64(1+who%3)))
		pcm[i] = int16(swell * (1500*math.Sin(2*math.Pi*low*t) + 800*math.Sin(2*math.Pi*high*t)))
	}
	return pcm
}

// replay is an encoder that has been there before.
type replay struct {
	payloads [][]byte
	at       int
}

func (r *replay) Encode(dst []byte, _ []int16) ([]byte, error) {
	r.at = (r.at + 1) % len(r.payloads)
	return append(dst, r.payloads[r.at]...), nil
}
