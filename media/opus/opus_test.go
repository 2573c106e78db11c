package opus_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/thesyncim/gopus"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/opus"
)

const ms = time.Millisecond

// vowel is n samples of a voice that glides, loud enough to be speech to the
// encoder's detector.
func vowel(rate, at, n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		t := float64(at+i) / float64(rate)
		phase := 2 * math.Pi * (120*t + 6*math.Sin(2*math.Pi*0.7*t))
		var v float64
		for h := 1.0; h < 20; h++ {
			v += math.Cos(phase*h+h*h) * math.Exp(-math.Abs(h-5)/3)
		}
		pcm[i] = int16(2500 * v * (1.2 + math.Sin(2*math.Pi*3*t)))
	}
	return pcm
}

func codecFor(t testing.TB, cfg *opus.Config) codec.Codec {
	t.Helper()
	c, err := opus.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func coders(t testing.TB, c codec.Codec, p codec.Params) (codec.Encoder, codec.Decoder) {
	t.Helper()
	enc, err := c.NewEncoder(p)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := c.NewDecoder(p)
	if err != nil {
		t.Fatal(err)
	}
	return enc, dec
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		cfg  *opus.Config
		rate int
		fmtp string
	}{
		{nil, 16000, "maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1"},
		{&opus.Config{SampleRate: 48000}, 48000, "useinbandfec=1"},
		{&opus.Config{SampleRate: 48000, NoFEC: true}, 48000, ""},
		{&opus.Config{SampleRate: 8000, DTX: true, CBR: true, MaxAverageBitrate: 20000}, 8000,
			"maxplaybackrate=8000;sprop-maxcapturerate=8000;maxaveragebitrate=20000;cbr=1;useinbandfec=1;usedtx=1"},
	} {
		c := codecFor(t, tt.cfg)
		f := c.Format()
		// RFC 7587 §7: the rtpmap is always opus/48000/2.
		if f.Rtpmap() != "opus/48000/2" || f.PayloadType != codec.Dynamic || f.Fmtp != tt.fmtp || c.SampleRate() != tt.rate {
			t.Errorf("%+v at %d Hz", f, c.SampleRate())
		}
		if got, ok := c.Negotiate("stereo=1; whatever"); got != tt.fmtp || !ok {
			t.Errorf("Negotiate = %q, %v", got, ok)
		}
	}
	for _, cfg := range []opus.Config{{SampleRate: 44100}, {SampleRate: 12000}, {MaxAverageBitrate: 5999}, {MaxAverageBitrate: 510001}} {
		if _, err := opus.New(&cfg); !errors.Is(err, codec.ErrParams) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestPTime(t *testing.T) {
	c := opus.Opus()
	for asked, want := range map[time.Duration]time.Duration{
		0: 20 * ms, 5 * ms: 10 * ms, 10 * ms: 10 * ms, 20 * ms: 20 * ms, 30 * ms: 20 * ms, 40 * ms: 40 * ms, 60 * ms: 60 * ms, 120 * ms: 60 * ms,
	} {
		if got := codec.PTime(c, asked); got != want {
			t.Errorf("PTime(%v) = %v, want %v", asked, got, want)
		}
	}
	if _, err := c.NewEncoder(codec.Params{PTime: 30 * ms}); !errors.Is(err, codec.ErrParams) {
		t.Errorf("packets of 30 ms: %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, rate := range []int{8000, 16000, 24000, 48000} {
		for _, ptime := range []time.Duration{10 * ms, 20 * ms, 40 * ms, 60 * ms} {
			c := codecFor(t, &opus.Config{SampleRate: rate})
			enc, dec := coders(t, c, codec.Params{PTime: ptime})
			n := codec.Samples(c, ptime)
			var in, out []int16
			for len(in) < rate {
				pcm := vowel(rate, len(in), n)
				payload, err := enc.Encode([]byte{1}, pcm)
				if err != nil || len(payload) < 4 {
					t.Fatalf("%d bytes, %v", len(payload), err)
				}
				if got := c.(codec.Sizer).PayloadSamples(payload[1:]); got != n {
					t.Fatalf("PayloadSamples = %d, want %d", got, n)
				}
				in = append(in, pcm...)
				if out, err = dec.Decode(out, payload[1:]); err != nil {
					t.Fatal(err)
				}
			}
			if got := correlation(in, out, rate); len(out) != len(in) || got < 0.9 {
				t.Errorf("%d Hz, %v: %d of %d samples, correlation %.2f", rate, ptime, len(out), len(in), got)
			}
			if _, err := enc.Encode(nil, in[:n-1]); !errors.Is(err, codec.ErrFrameSize) {
				t.Errorf("a short frame: %v", err)
			}
		}
	}
}

// correlation returns the best normalised correlation of got with ref delayed
// by up to 15 ms.
func correlation(ref, got []int16, rate int) float64 {
	best := 0.0
	for lag := range rate * 15 / 1000 {
		var ab, aa, bb float64
		for i := rate / 10; i < min(len(got), len(ref)); i++ {
			a, b := float64(ref[i-lag]), float64(got[i])
			ab, aa, bb = ab+a*b, aa+a*a, bb+b*b
		}
		best = max(best, ab/math.Sqrt(aa*bb+1))
	}
	return best
}

// send runs two seconds of voice through enc and returns the packets.
func send(t testing.TB, enc codec.Encoder, rate, n int) [][]byte {
	t.Helper()
	var packets [][]byte
	for at := 0; at < 2*rate; at += n {
		p, err := enc.Encode(nil, vowel(rate, at, n))
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, p)
	}
	return packets
}

func size(packets [][]byte) (n int) {
	for _, p := range packets {
		n += len(p)
	}
	return n
}

// TestPeersWishes: what RFC 7587 §6.1 says about a receiver's parameters is
// what our encoder does.
func TestPeersWishes(t *testing.T) {
	c := codecFor(t, &opus.Config{SampleRate: 48000})
	packets := func(fmtp string, p codec.Params) [][]byte {
		p.RemoteFmtp = fmtp
		enc, err := c.NewEncoder(p)
		if err != nil {
			t.Fatal(err)
		}
		return send(t, enc, 48000, 960)
	}
	kbps := func(p [][]byte) float64 { return float64(size(p)) * 8 / 2 / 1000 }
	plain := packets("", codec.Params{})

	t.Run("maxaveragebitrate", func(t *testing.T) {
		if got := kbps(packets("maxaveragebitrate=12000", codec.Params{})); got > 14 || got < 7 {
			t.Errorf("%.1f kbit/s", got)
		}
		for _, odd := range []string{"maxaveragebitrate=5", "maxaveragebitrate=x", "maxaveragebitrate=900000", "=;", "maxplaybackrate=-1"} {
			if got := packets(odd, codec.Params{}); size(got) != size(plain) {
				t.Errorf("%q made %.1f kbit/s of %.1f", odd, kbps(got), kbps(plain))
			}
		}
		if a, b := kbps(packets("", codec.Params{Bitrate: 16000})), kbps(packets("", codec.Params{Bitrate: 64000})); a > 20 || b < 40 {
			t.Errorf("Bitrate: %.1f and %.1f kbit/s", a, b)
		}
	})
	t.Run("cbr", func(t *testing.T) {
		for i, p := range packets("cbr=1", codec.Params{}) {
			if len(p) != 40000/8/50 {
				t.Fatalf("packet %d has %d bytes", i, len(p))
			}
		}
		if !slices.ContainsFunc(plain, func(p []byte) bool { return len(p) != len(plain[0]) }) {
			t.Error("constant without being asked")
		}
	})
	t.Run("maxplaybackrate", func(t *testing.T) {
		for fmtp, widest := range map[string]gopus.Bandwidth{
			"maxplaybackrate=8000": gopus.BandwidthNarrowband, "maxplaybackrate=12000": gopus.BandwidthMediumband,
			"maxplaybackrate=16000": gopus.BandwidthWideband, "maxplaybackrate=24000": gopus.BandwidthSuperwideband,
			"": gopus.BandwidthFullband,
		} {
			got := gopus.BandwidthNarrowband
			for _, p := range packets(fmtp, codec.Params{}) {
				got = max(got, gopus.ParseTOC(p[0]).Bandwidth)
			}
			if got != widest {
				t.Errorf("%q: widest packet has bandwidth %v, want %v", fmtp, got, widest)
			}
		}
	})
	t.Run("stereo is a wish", func(t *testing.T) {
		for _, p := range packets("stereo=1", codec.Params{}) {
			if gopus.ParseTOC(p[0]).Stereo {
				t.Fatal("a stereo packet")
			}
		}
	})
	t.Run("useinbandfec", func(t *testing.T) {
		count := func(p [][]byte) (n int) {
			for _, p := range p {
				if gopus.PacketHasLBRR(p) {
					n++
				}
			}
			return n
		}
		lossy := codec.Params{LossPercent: 20, Bitrate: 24000}
		if n := count(packets("maxplaybackrate=16000", lossy)); n != 0 {
			t.Errorf("%d packets with error correction for a peer that did not ask", n)
		}
		if n := count(packets("maxplaybackrate=16000;useinbandfec=1", lossy)); n < 50 {
			t.Errorf("%d packets with error correction", n)
		}
	})
}

func TestDTX(t *testing.T) {
	c := opus.Opus()
	for fmtp, sparse := range map[string]bool{"usedtx=1": true, "": false} {
		enc, dec := coders(t, c, codec.Params{RemoteFmtp: fmtp})
		quiet := make([]int16, 320)
		rng := rand.New(rand.NewPCG(1, 1))
		sent := 0
		for i := range 200 {
			for j := range quiet {
				quiet[j] = int16(rng.IntN(5) - 2)
			}
			payload, err := enc.Encode(make([]byte, 3), quiet)
			if err != nil {
				t.Fatal(err)
			}
			if len(payload) == 3 { // nothing to send
				if got := dec.Conceal(nil, 320); len(got) != 320 {
					t.Fatalf("%d samples", len(got))
				}
				continue
			}
			if _, err := dec.Decode(nil, payload[3:]); err != nil {
				t.Fatal(err)
			}
			if i >= 100 {
				sent++
			}
		}
		// Silence is refreshed every 400 ms: five times in two seconds.
		if sparse != (sent < 15) || sent == 0 {
			t.Errorf("fmtp %q: %d packets in two silent seconds", fmtp, sent)
		}
	}
}

// TestFECRepairs loses every tenth packet and repairs it from the next. The
// repair must come closer to the undamaged sound than concealment does.
func TestFECRepairs(t *testing.T) {
	c := opus.Opus()
	enc, err := c.NewEncoder(codec.Params{RemoteFmtp: "useinbandfec=1"})
	if err != nil {
		t.Fatal(err)
	}
	enc.(codec.LossAdapter).SetLoss(20)
	packets := send(t, enc, 16000, 320)

	play := func(lost func(int) bool, useFEC bool) (pcm []int16, repaired int) {
		dec, err := c.NewDecoder(codec.Params{})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range packets {
			if !lost(i) {
				if pcm, err = dec.Decode(pcm, p); err != nil {
					t.Fatal(err)
				}
				continue
			}
			ok := false
			if useFEC {
				pcm, ok = dec.(codec.FECDecoder).DecodeFEC(pcm, packets[i+1], 320)
			}
			if ok {
				repaired++
			} else {
				pcm = dec.Conceal(pcm, 320)
			}
		}
		return pcm, repaired
	}
	lost := func(i int) bool { return i > 20 && i%10 == 5 }
	whole, _ := play(func(int) bool { return false }, false)
	concealed, _ := play(lost, false)
	fixed, n := play(lost, true)
	if len(fixed) != len(whole) || n < 5 {
		t.Fatalf("%d samples of %d, %d packets repaired", len(fixed), len(whole), n)
	}
	damage := func(got []int16) (e float64) {
		for i := range whole {
			if lost(i / 320) {
				d := float64(whole[i]) - float64(got[i])
				e += d * d
			}
		}
		return e
	}
	if a, b := damage(fixed), damage(concealed); a > b/2 {
		t.Errorf("the repair is off by %.2g, concealment by %.2g", a, b)
	}
}

func TestDecodeFECRefuses(t *testing.T) {
	c := opus.Opus()
	enc, dec := coders(t, c, codec.Params{})
	plain := send(t, enc, 16000, 320)
	fec := dec.(codec.FECDecoder)
	for _, tt := range []struct {
		name string
		next []byte
		n    int
	}{
		{"no redundancy", plain[50], 320}, {"empty", nil, 320}, {"half a step", plain[50], 321},
		{"nothing", plain[50], 0}, {"too long", plain[50], 16000},
	} {
		if got, ok := fec.DecodeFEC(make([]int16, 1), tt.next, tt.n); ok || len(got) != 1 {
			t.Errorf("%s: %d samples, %v", tt.name, len(got), ok)
		}
	}
}

func TestConcealAnyLength(t *testing.T) {
	c := opus.Opus()
	enc, dec := coders(t, c, codec.Params{})
	if got := dec.Conceal(nil, 320); len(got) != 320 || slices.Max(got) != 0 {
		t.Error("sound before any packet")
	}
	for _, p := range send(t, enc, 16000, 320)[:50] {
		if _, err := dec.Decode(nil, p); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, 39, 320, 960, 1920, 1921, 5000} {
		if got := dec.Conceal(make([]int16, 2), n); len(got) != 2+n {
			t.Errorf("%d samples for %d", len(got)-2, n)
		}
	}
}

// TestPacketDurations goes through every first byte of RFC 6716 §3.1 and all
// frame counts, against the parser of the Opus library.
func TestPacketDurations(t *testing.T) {
	c := codecFor(t, &opus.Config{SampleRate: 48000})
	samples := c.(codec.Sizer).PayloadSamples
	for toc := range 256 {
		for count := range 64 {
			p := []byte{byte(toc), byte(count)}
			frames := []int{1, 2, 2, count}[toc&3]
			want := frames * gopus.ParseTOC(byte(toc)).FrameSize
			if want > 5760 {
				want = 0
			}
			if got := samples(p); got != want {
				t.Fatalf("% x: %d samples, want %d", p, got, want)
			}
		}
	}
	if samples(nil) != 0 || samples([]byte{3}) != 0 {
		t.Error("samples in no packet")
	}
}

func FuzzDecode(f *testing.F) {
	c := opus.Opus()
	enc, err := c.NewEncoder(codec.Params{RemoteFmtp: "useinbandfec=1", LossPercent: 20})
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range send(f, enc, 16000, 320)[:20] {
		f.Add(p)
	}
	f.Add([]byte{})
	f.Add([]byte{0xff, 0x3f})
	dec, err := c.NewDecoder(codec.Params{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		pcm, err := dec.Decode(nil, b)
		switch n := c.(codec.Sizer).PayloadSamples(b); {
		case err != nil && (!errors.Is(err, codec.ErrPayload) || len(pcm) != 0):
			t.Fatalf("%d samples, %v", len(pcm), err)
		case err == nil && len(pcm) != n:
			t.Fatalf("%d samples, PayloadSamples says %d", len(pcm), n)
		}
		if pcm, ok := dec.(codec.FECDecoder).DecodeFEC(nil, b, 320); ok != (len(pcm) == 320) {
			t.Fatalf("%d samples, %v", len(pcm), ok)
		}
		if got := dec.Conceal(nil, 320); len(got) != 320 {
			t.Fatalf("%d samples", len(got))
		}
	})
}

// TestAllocations: ours are none. The Opus library makes two for a packet with
// error correction and three for a concealed frame, which are rare.
func TestAllocations(t *testing.T) {
	c := opus.Opus()
	for fmtp, encoding := range map[string]float64{"": 0, "useinbandfec=1": 2} {
		enc, dec := coders(t, c, codec.Params{RemoteFmtp: fmtp, LossPercent: 10})
		pcm, payload, out := vowel(16000, 0, 320), make([]byte, 0, 1500), make([]int16, 0, 1920)
		for range 10 {
			payload, _ = enc.Encode(payload[:0], pcm)
			out, _ = dec.Decode(out[:0], payload)
			out = dec.Conceal(out[:0], 320)
		}
		for _, tt := range []struct {
			what string
			max  float64
			do   func()
		}{
			{"Encode", encoding, func() { payload, _ = enc.Encode(payload[:0], pcm) }},
			{"Decode", 0, func() { out, _ = dec.Decode(out[:0], payload) }},
			{"Conceal", 3, func() { out = dec.Conceal(out[:0], 320) }},
		} {
			if n := testing.AllocsPerRun(100, tt.do); n > tt.max {
				t.Errorf("%s, fmtp %q: %v allocations", tt.what, fmtp, n)
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	enc, _ := coders(b, opus.Opus(), codec.Params{})
	var frames [50][]int16
	for i := range frames {
		frames[i] = vowel(16000, i*320, 320)
	}
	payload, i := make([]byte, 0, 1500), 0
	b.ReportAllocs()
	for b.Loop() {
		payload, _ = enc.Encode(payload[:0], frames[i%50])
		i++
	}
}

func BenchmarkDecode(b *testing.B) {
	enc, dec := coders(b, opus.Opus(), codec.Params{})
	packets, i := send(b, enc, 16000, 320), 0
	out := make([]int16, 0, 320)
	b.ReportAllocs()
	for b.Loop() {
		out, _ = dec.Decode(out[:0], packets[i%100])
		i++
	}
}
