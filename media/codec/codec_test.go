package codec_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/codec"
)

// fake is a codec with chosen rates, as a user would write one.
type fake struct{ clock, rate int }

func (f fake) Format() codec.Format {
	return codec.Format{Name: "fake", ClockRate: f.clock, PayloadType: codec.Dynamic}
}
func (f fake) SampleRate() int                              { return f.rate }
func (fake) Negotiate(string) (string, bool)                { return "", true }
func (fake) NewEncoder(codec.Params) (codec.Encoder, error) { return nil, codec.ErrParams }
func (fake) NewDecoder(codec.Params) (codec.Decoder, error) { return nil, codec.ErrParams }

type only20 struct{ fake }

func (only20) PTime(time.Duration) time.Duration { return 20 * time.Millisecond }

func TestFormat(t *testing.T) {
	pcmu := codec.Format{Name: "PCMU", ClockRate: 8000}
	opus := codec.Format{Name: "opus", ClockRate: 48000, Channels: 2}
	if got := pcmu.Rtpmap(); got != "PCMU/8000" {
		t.Errorf("Rtpmap = %q", got)
	}
	if got := opus.Rtpmap(); got != "opus/48000/2" {
		t.Errorf("Rtpmap = %q", got)
	}
	for _, tt := range []struct {
		f        codec.Format
		name     string
		rate, ch int
		want     bool
	}{
		{pcmu, "pcmu", 8000, 0, true},
		{pcmu, "PCMU", 8000, 1, true},
		{pcmu, "PCMU", 16000, 0, false},
		{pcmu, "PCMU", 8000, 2, false},
		{opus, "OPUS", 48000, 2, true},
		{opus, "opus", 48000, 0, false},
	} {
		if got := tt.f.Is(tt.name, tt.rate, tt.ch); got != tt.want {
			t.Errorf("%v.Is(%q, %d, %d) = %v", tt.f, tt.name, tt.rate, tt.ch, got)
		}
	}
}

func TestTicks(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name        string
		clock, rate int
		d           time.Duration
		ticks       uint32
		samples     int
	}{
		{"PCMU", 8000, 8000, 20 * ms, 160, 160},
		{"G.722, RFC 3551 §4.5.2", 8000, 16000, 20 * ms, 160, 320},
		{"opus at 16 kHz", 48000, 16000, 60 * ms, 2880, 960},
		{"none", 8000, 8000, 0, 0, 0},
		{"negative", 8000, 8000, -ms, 0, 0},
		{"an hour", 48000, 48000, time.Hour, 172800000, 172800000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fake{tt.clock, tt.rate}
			if got := c.Format().Ticks(tt.d); got != tt.ticks {
				t.Errorf("Ticks = %d, want %d", got, tt.ticks)
			}
			if got := codec.Samples(c, tt.d); got != tt.samples {
				t.Errorf("Samples = %d, want %d", got, tt.samples)
			}
			if got := codec.SamplesToTicks(c, tt.samples); got != tt.ticks {
				t.Errorf("SamplesToTicks = %d, want %d", got, tt.ticks)
			}
			if got := codec.TicksToSamples(c, tt.ticks); got != tt.samples {
				t.Errorf("TicksToSamples = %d, want %d", got, tt.samples)
			}
			if got := c.Format().Duration(tt.ticks); got != max(tt.d, 0) {
				t.Errorf("Duration = %v, want %v", got, tt.d)
			}
		})
	}
	if got := (codec.Format{ClockRate: 8000}).Duration(math.MaxUint32); got != 536870911875*time.Microsecond {
		t.Errorf("Duration of the largest tick count = %v", got)
	}
	if got := (codec.Format{}).Duration(5); got != 0 {
		t.Errorf("Duration without a clock rate = %v", got)
	}
}

func TestPTime(t *testing.T) {
	const ms = time.Millisecond
	c := fake{8000, 8000}
	for asked, want := range map[time.Duration]time.Duration{
		0: 20 * ms, -ms: 20 * ms, ms: 10 * ms, 20 * ms: 20 * ms, 30 * ms: 30 * ms, 35 * ms: 30 * ms, time.Second: 60 * ms,
	} {
		if got := codec.PTime(c, asked); got != want {
			t.Errorf("PTime(%v) = %v, want %v", asked, got, want)
		}
	}
	if got := codec.PTime(only20{}, 60*ms); got != 20*ms {
		t.Errorf("PTimer ignored: %v", got)
	}
	if got := (codec.Params{}).FrameTime(); got != 20*ms {
		t.Errorf("FrameTime = %v", got)
	}
	if got := (codec.Params{PTime: 40 * ms}).FrameTime(); got != 40*ms {
		t.Errorf("FrameTime = %v", got)
	}
}

func TestParseFmtp(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want codec.Fmtp
	}{
		{"", nil},
		{" ; ;", nil},
		{"0-15", codec.Fmtp{{Value: "0-15"}}},
		// RFC 7587 §7.1, one of the examples.
		{"maxplaybackrate=16000; sprop-maxcapturerate=16000; maxaveragebitrate=20000; stereo=1; useinbandfec=1; usedtx=0", codec.Fmtp{
			{"maxplaybackrate", "16000"}, {"sprop-maxcapturerate", "16000"}, {"maxaveragebitrate", "20000"},
			{"stereo", "1"}, {"useinbandfec", "1"}, {"usedtx", "0"}}},
		{"mode = 20 ;x=", codec.Fmtp{{"mode", "20"}, {"x", ""}}},
		{"config=a=b==", codec.Fmtp{{"config", "a=b=="}}},
	} {
		got, err := codec.ParseFmtp(tt.in)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("ParseFmtp(%q) = %v, %v", tt.in, got, err)
		}
	}
	for _, in := range []string{"=1", "a=1;\x00", strings.Repeat("x", 2049), strings.Repeat("a=1;", 65)} {
		if _, err := codec.ParseFmtp(in); !errors.Is(err, codec.ErrFmtp) {
			t.Errorf("ParseFmtp(%.20q): %v", in, err)
		}
	}
}

func TestFmtpValues(t *testing.T) {
	f, err := codec.ParseFmtp("A=1; b=x; c=-4; A=2")
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := f.Get("a"); v != "1" || !ok {
		t.Errorf("Get = %q, %v", v, ok)
	}
	if _, ok := f.Get(""); ok {
		t.Error("the empty name was found")
	}
	if !f.Bool("a") || f.Bool("b") || f.Bool("none") {
		t.Error("Bool")
	}
	if n, err := f.Int("c", 9, -5, 5); n != -4 || err != nil {
		t.Errorf("Int = %d, %v", n, err)
	}
	if n, err := f.Int("none", 9, 0, 5); n != 9 || err != nil {
		t.Errorf("Int of an absent one = %d, %v", n, err)
	}
	for _, name := range []string{"b", "c"} {
		if n, err := f.Int(name, 9, 0, 5); n != 9 || !errors.Is(err, codec.ErrFmtp) {
			t.Errorf("Int(%s) = %d, %v", name, n, err)
		}
	}
	if got := f.String(); got != "A=1;b=x;c=-4;A=2" {
		t.Errorf("String = %q", got)
	}
}

func FuzzParseFmtp(f *testing.F) {
	for _, s := range []string{"", "0-15", "a=1;b=2", " ; x = y ;", "=", ";;;=;", "minptime=10;useinbandfec=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := codec.ParseFmtp(s)
		if err != nil {
			return
		}
		again, err := codec.ParseFmtp(p.String())
		if err != nil || !slices.Equal(p, again) {
			t.Fatalf("%q read again from %q: %v, %v", p, p.String(), again, err)
		}
	})
}
