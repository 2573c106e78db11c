package g722_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g722"
)

// material returns five seconds that go through all the coder's states: a
// sweep, bursts of noise at full scale, silence, and tones. Integer arithmetic
// and a fixed generator make it the same on every machine.
func material() []int16 {
	rng := rand.New(rand.NewPCG(7, 22))
	pcm := make([]int16, 5*16000)
	phase := 0
	for i := range pcm {
		switch second := i / 16000; second {
		case 0, 4: // a square-ish sweep
			phase += 20 + i%16000/8
			pcm[i] = int16((phase%4096 - 2048) * (second + 1) * 3)
		case 1: // noise, louder and louder until it clips
			pcm[i] = int16(rng.IntN(2*i-31999+2000) - (i - 16000) - 1000)
		case 2: // bursts and silence
			if i/800%2 == 0 {
				pcm[i] = int16(rng.Uint32())
			}
		case 3: // the extremes
			pcm[i] = math.MaxInt16
			if i/(1+i%48000/1000)%2 == 0 {
				pcm[i] = math.MinInt16
			}
		}
	}
	return pcm
}

func encode(t testing.TB, pcm []int16) []byte {
	enc, err := g722.G722().NewEncoder(codec.Params{})
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for i := 0; i < len(pcm); i += 320 {
		if out, err = enc.Encode(out, pcm[i:i+320]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func decode(t testing.TB, b []byte) []int16 {
	dec, err := g722.G722().NewDecoder(codec.Params{})
	if err != nil {
		t.Fatal(err)
	}
	var out []int16
	for i := 0; i < len(b); i += 160 {
		if out, err = dec.Decode(out, b[i:i+160]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func bytesOf(pcm []int16) []byte {
	b := make([]byte, 0, 2*len(pcm))
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}

// randomCode is a bit stream that no encoder makes: all codes in any order.
func randomCode() []byte {
	rng := rand.New(rand.NewPCG(1, 9))
	b := make([]byte, 5*8000)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestBitExactWithFFmpeg compares with another implementation of the
// Recommendation, which is known to pass the ITU's own test sequences.
func TestBitExactWithFFmpeg(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("ffmpeg is not installed")
		}
		t.Skip("ffmpeg is not installed: apt-get install ffmpeg")
	}
	run := func(in []byte, args ...string) []byte {
		cmd := exec.CommandContext(t.Context(), ffmpeg, append([]string{"-v", "error", "-nostdin"}, args...)...)
		cmd.Stdin = bytes.NewReader(in)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	pcm := material()
	ours := encode(t, pcm)
	theirs := run(bytesOf(pcm), "-f", "s16le", "-ar", "16000", "-ac", "1", "-i", "pipe:0", "-c:a", "g722", "-f", "g722", "pipe:1")
	same(t, "encoded", ours, theirs)
	for name, code := range map[string][]byte{"decoded": ours, "decoded from random bits": randomCode()} {
		theirs := run(code, "-f", "g722", "-i", "pipe:0", "-f", "s16le", "pipe:1")
		same(t, name, bytesOf(decode(t, code)), theirs)
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: byte %d is %#x, want %#x", what, i, got[i], want[i])
		}
	}
}

// TestBitExact holds what TestBitExactWithFFmpeg showed on machines without
// ffmpeg.
func TestBitExact(t *testing.T) {
	code := encode(t, material())
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"encoded":                  {code, "29921a788f4476c9"},
		"decoded":                  {bytesOf(decode(t, code)), "cda9e0c5cb93657a"},
		"decoded from random bits": {bytesOf(decode(t, randomCode())), "24a62a7406d8dedc"},
	} {
		if sum := sha256.Sum256(tt.b); hex.EncodeToString(sum[:8]) != tt.want {
			t.Errorf("%s: hash %x", name, sum[:8])
		}
	}
}

func TestFormat(t *testing.T) {
	c := g722.G722()
	f := c.Format()
	// RFC 3551 §4.5.2: the clock rate is 8000 and so is the rtpmap's.
	if f.Rtpmap() != "G722/8000" || f.PayloadType != 9 || c.SampleRate() != 16000 {
		t.Errorf("%+v", f)
	}
	if got := codec.SamplesToTicks(c, 320); got != 160 {
		t.Errorf("a frame of 20 ms is %d ticks", got)
	}
	for remote, want := range map[string]bool{"": true, "bitrate=64000": true, "bitrate=48000": false, "=": true} {
		if fmtp, ok := c.Negotiate(remote); fmtp != "" || ok != want {
			t.Errorf("Negotiate(%q) = %q, %v", remote, fmtp, ok)
		}
	}
}

func tone(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(9000*math.Sin(float64(i)*2*math.Pi*440/16000) + 3000*math.Sin(float64(i)*2*math.Pi*5000/16000))
	}
	return pcm
}

func TestRoundTrip(t *testing.T) {
	pcm := tone(16000)
	got := decode(t, encode(t, pcm))
	const delay = 22 // of the two filters together
	var s, e float64
	for i := 1000; i < len(pcm); i++ {
		d := float64(pcm[i-delay]) - float64(got[i])
		s += float64(pcm[i]) * float64(pcm[i])
		e += d * d
	}
	if snr := 10 * math.Log10(s/e); snr < 15 {
		t.Errorf("%.1f dB", snr)
	}
}

func TestCodec(t *testing.T) {
	c := g722.G722()
	for _, ptime := range []time.Duration{0, 10 * time.Millisecond, 60 * time.Millisecond} {
		p := codec.Params{PTime: ptime}
		enc, err := c.NewEncoder(p)
		if err != nil {
			t.Fatal(err)
		}
		dec, err := c.NewDecoder(p)
		if err != nil {
			t.Fatal(err)
		}
		n := codec.Samples(c, p.FrameTime())
		var payload []byte
		var got []int16
		for range 5 {
			payload, err = enc.Encode([]byte("head"), tone(n))
			if err != nil || len(payload) != 4+n/2 {
				t.Fatalf("%d bytes, %v", len(payload), err)
			}
			got, err = dec.Decode([]int16{1}, payload[4:])
			if err != nil || len(got) != 1+n {
				t.Fatalf("%d samples, %v", len(got), err)
			}
		}
		if got := c.(codec.Sizer).PayloadSamples(payload[4:]); got != n {
			t.Errorf("PayloadSamples = %d, want %d", got, n)
		}
		if got := dec.Conceal(nil, 320); len(got) != 320 || slices.Max(got) < 6000 {
			t.Errorf("a lost frame became %d samples, %d the largest", len(got), slices.Max(got))
		}
		if dst, err := enc.Encode(payload[:2], make([]int16, n+2)); !errors.Is(err, codec.ErrFrameSize) || len(dst) != 2 {
			t.Errorf("a long frame: %v", err)
		}
		for _, bad := range [][]byte{nil, make([]byte, 961)} {
			if dst, err := dec.Decode(got[:3], bad); !errors.Is(err, codec.ErrPayload) || len(dst) != 3 {
				t.Errorf("%d bytes: %v", len(bad), err)
			}
		}
	}
	if _, err := c.NewEncoder(codec.Params{PTime: time.Second}); !errors.Is(err, codec.ErrParams) {
		t.Errorf("packets of a second: %v", err)
	}
}

func TestNoAllocations(t *testing.T) {
	enc, _ := g722.G722().NewEncoder(codec.Params{})
	dec, _ := g722.G722().NewDecoder(codec.Params{})
	pcm, payload, out := tone(320), make([]byte, 0, 160), make([]int16, 0, 320)
	dec.Conceal(out, 320)
	if n := testing.AllocsPerRun(100, func() {
		payload, _ = enc.Encode(payload[:0], pcm)
		out, _ = dec.Decode(out[:0], payload)
		out = dec.Conceal(out[:0], 320)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	enc, _ := g722.G722().NewEncoder(codec.Params{})
	pcm, payload := tone(320), make([]byte, 0, 160)
	b.ReportAllocs()
	for b.Loop() {
		payload, _ = enc.Encode(payload[:0], pcm)
	}
}

func BenchmarkDecode(b *testing.B) {
	enc, _ := g722.G722().NewEncoder(codec.Params{})
	dec, _ := g722.G722().NewDecoder(codec.Params{})
	payload, _ := enc.Encode(nil, tone(320))
	out := make([]int16, 0, 320)
	b.ReportAllocs()
	for b.Loop() {
		out, _ = dec.Decode(out[:0], payload)
	}
}
