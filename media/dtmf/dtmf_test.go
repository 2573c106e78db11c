package dtmf_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/dtmf"
)

const ms = time.Millisecond

var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	// RFC 4733 §2.3: event, E, R, volume, duration.
	got, err := dtmf.Parse([]byte{9, 0x8a, 0x03, 0x20})
	if want := (dtmf.Event{Code: 9, End: true, Volume: 10, Duration: 800}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	// The R bit MUST be ignored, and some peers pad.
	got, err = dtmf.Parse([]byte{11, 0x4a, 0xff, 0xff, 0, 0})
	if want := (dtmf.Event{Code: 11, Volume: 10, Duration: 0xffff}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, b := range [][]byte{nil, {1}, {1, 2, 3}} {
		if _, err := dtmf.Parse(b); !errors.Is(err, dtmf.ErrPayload) {
			t.Errorf("% x: %v", b, err)
		}
	}
}

func TestKeys(t *testing.T) {
	// RFC 4733 §3.2 table 3.
	for i, key := range []byte("0123456789*#ABCD") {
		if got := dtmf.KeyOf(uint8(i)); got != key {
			t.Errorf("event %d is %q", i, got)
		}
		if got, ok := dtmf.CodeOf(key); int(got) != i || !ok {
			t.Errorf("%q is event %d, %v", key, got, ok)
		}
	}
	if got, ok := dtmf.CodeOf('d'); got != 15 || !ok {
		t.Errorf("d is event %d", got)
	}
	for _, key := range []byte("eE!\x00\xff ") {
		if _, ok := dtmf.CodeOf(key); ok {
			t.Errorf("%q is a key", key)
		}
	}
	if dtmf.KeyOf(dtmf.Flash) != 0 {
		t.Error("a flash is a key")
	}
}

func TestEvents(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "0-15",
		"0-15":                 "0-15",
		"0-15,66,70":           "0-15,66,70", // RFC 4733 §2.4.1
		" 0 - 3 , 5,4,254-255": "0-5,254-255",
		"events=0-11":          "0-11",
		"16":                   "16",
	} {
		e, err := dtmf.ParseEvents(in)
		if err != nil || e.String() != want {
			t.Errorf("%q: %q, %v", in, e, err)
		}
	}
	for _, in := range []string{"x", "3-1", "0-256", "-1", "1,,2", "0-15,", "\x01"} {
		if e, err := dtmf.ParseEvents(in); !errors.Is(err, dtmf.ErrEvents) {
			t.Errorf("%q: %v, %v", in, e, err)
		}
	}
	e, _ := dtmf.ParseEvents("10-20")
	if got := e.And(dtmf.Keys).String(); got != "10-15" || !e.Has(20) || e.Has(21) {
		t.Errorf("And = %q", got)
	}
}

// A sent packet, as it would stand on the wire.
type sent struct {
	tick   int
	ts     uint32
	marker bool
	dtmf.Event
}

// drive calls Next n times, a packet time apart.
func drive(t testing.TB, s *dtmf.Sender, ts, ticks uint32, n int) (all []sent) {
	t.Helper()
	for i := range n {
		if p, ok := s.Next(ts, ticks); ok {
			e, err := dtmf.Parse(p.Payload[:])
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, sent{i, p.Timestamp, p.Marker, e})
		}
		ts += ticks
	}
	return all
}

// TestSenderOneKey: RFC 4733 §2.5.1: one timestamp, the marker on the first,
// a growing duration, three final packets.
func TestSenderOneKey(t *testing.T) {
	for _, tt := range []struct {
		rate  int
		ticks uint32
	}{{8000, 160}, {48000, 960}} {
		s := dtmf.NewSender(dtmf.SenderConfig{ClockRate: tt.rate})
		if err := s.Queue("5", 100*ms); err != nil {
			t.Fatal(err)
		}
		const from = 0xffffff00 // the timestamp wraps within the event
		var want []sent
		for i := range 7 {
			n := min(i+1, 5)
			want = append(want, sent{i, from, i == 0, dtmf.Event{Code: 5, End: n == 5, Volume: 10, Duration: uint16(n) * uint16(tt.ticks)}})
		}
		if got := drive(t, s, from, tt.ticks, 50); !slices.Equal(got, want) {
			t.Errorf("%d Hz:\n%+v, want\n%+v", tt.rate, got, want)
		}
		if s.Active() {
			t.Error("still active")
		}
	}
}

// TestSenderOddLengths: the final duration is what was asked, also when it is
// no multiple of the packet time.
func TestSenderOddLengths(t *testing.T) {
	s := dtmf.NewSender(dtmf.SenderConfig{Volume: 7})
	if err := s.Queue("#", 95*ms); err != nil {
		t.Fatal(err)
	}
	got := drive(t, s, 1000, 160, 20)
	last := got[len(got)-1]
	if want := (dtmf.Event{Code: 11, End: true, Volume: 7, Duration: 760}); last.Event != want || len(got) != 7 {
		t.Errorf("%d packets, the last is %+v", len(got), last)
	}
}

func TestSenderSequenceAndGap(t *testing.T) {
	s := dtmf.NewSender(dtmf.SenderConfig{Tone: 60 * ms, Gap: 100 * ms})
	if err := s.Queue("1A*", 0); err != nil {
		t.Fatal(err)
	}
	var starts []int
	var codes []uint8
	for _, p := range drive(t, s, 0, 160, 60) {
		if p.marker {
			starts = append(starts, p.tick)
			codes = append(codes, p.Code)
		}
	}
	// A key of three packet times and a gap of five.
	if !slices.Equal(starts, []int{0, 8, 16}) || !slices.Equal(codes, []uint8{1, 12, 10}) {
		t.Errorf("keys %v at %v", codes, starts)
	}
}

func TestSenderPause(t *testing.T) {
	s := dtmf.NewSender(dtmf.SenderConfig{Tone: 40 * ms, Gap: 40 * ms})
	if err := s.Queue("1,2", 0); err != nil {
		t.Fatal(err)
	}
	var starts []int
	for _, p := range drive(t, s, 0, 160, 200) {
		if p.marker {
			starts = append(starts, p.tick)
		}
	}
	if len(starts) != 2 || starts[1] < 100 || starts[1] > 106 {
		t.Errorf("keys at %v", starts)
	}
}

// TestSenderLongEvent: RFC 4733 §2.5.1.3.
func TestSenderLongEvent(t *testing.T) {
	s := dtmf.NewSender(dtmf.SenderConfig{ClockRate: 48000})
	if err := s.Queue("0", 3*time.Second); err != nil {
		t.Fatal(err)
	}
	got := drive(t, s, 5, 960, 200)
	var segments []uint32
	markers, ends := 0, 0
	for i, p := range got {
		if len(segments) == 0 || p.ts != segments[len(segments)-1] {
			if i > 0 {
				if was := got[i-1]; was.Duration != 0xffff || was.End {
					t.Errorf("a segment ended with %+v", was)
				}
			}
			segments = append(segments, p.ts)
		} else if p.Duration < got[i-1].Duration {
			t.Errorf("packet %d went back to %d", i, p.Duration)
		}
		if p.marker {
			markers++
		}
		if p.End {
			ends++
		}
	}
	if !slices.Equal(segments, []uint32{5, 5 + 0xffff, 5 + 2*0xffff}) || markers != 1 || ends != 3 {
		t.Errorf("segments %v, %d markers, %d final packets", segments, markers, ends)
	}
	if last := got[len(got)-1]; int(last.Duration)+2*0xffff != 3*48000 {
		t.Errorf("in all %d ticks", int(last.Duration)+2*0xffff)
	}
}

func TestSenderPressAndRelease(t *testing.T) {
	s := dtmf.NewSender(dtmf.SenderConfig{})
	if err := s.Press(dtmf.Flash); err != nil {
		t.Fatal(err)
	}
	held := drive(t, s, 0, 160, 30)
	if len(held) != 30 || slices.ContainsFunc(held, func(p sent) bool { return p.End }) {
		t.Fatalf("%d packets of a key held", len(held))
	}
	s.Release()
	rest := drive(t, s, 30*160, 160, 10)
	if len(rest) != 3 || !rest[0].End || rest[0].Duration != 30*160 || rest[0].Code != 16 {
		t.Errorf("%+v", rest)
	}

	// Released before it sounded at all: the least a receiver must notice.
	if err := s.Press(1); err != nil {
		t.Fatal(err)
	}
	s.Release()
	rest = drive(t, s, 40*160, 160, 20)
	if len(rest) != 4 || rest[3].Duration != 320 {
		t.Errorf("%+v", rest)
	}

	// Nobody holds a key for ever.
	if err := s.Press(2); err != nil {
		t.Fatal(err)
	}
	if rest = drive(t, s, 0, 160, 4000); !rest[len(rest)-1].End || s.Active() {
		t.Errorf("still there after 80 seconds: %+v", rest[len(rest)-1])
	}
	if err := s.Press(255); !errors.Is(err, dtmf.ErrDigit) {
		t.Errorf("event 255: %v", err)
	}
}

func TestSenderClear(t *testing.T) {
	s := dtmf.NewSender(dtmf.SenderConfig{})
	if err := s.Queue("123", time.Second); err != nil {
		t.Fatal(err)
	}
	drive(t, s, 0, 160, 10)
	s.Clear()
	rest := drive(t, s, 1600, 160, 50)
	if len(rest) != 3 || !rest[0].End || rest[0].Duration != 1600 || s.Active() {
		t.Errorf("%+v", rest)
	}
}

func TestSenderRefuses(t *testing.T) {
	s := dtmf.NewSender(dtmf.SenderConfig{})
	if err := s.Queue("12x", 0); !errors.Is(err, dtmf.ErrDigit) || s.Active() {
		t.Errorf("not a key: %v", err)
	}
	if err := s.Queue(strings.Repeat("1", 129), 0); !errors.Is(err, dtmf.ErrFull) || s.Active() {
		t.Errorf("too many keys: %v", err)
	}
	if err := s.Queue(strings.Repeat("1", 128), 0); err != nil {
		t.Errorf("as many as fit: %v", err)
	}
	if err := s.Press(1); !errors.Is(err, dtmf.ErrFull) {
		t.Errorf("one more: %v", err)
	}
}

// receive plays packets to a receiver, 20 ms apart.
func receive(t testing.TB, r *dtmf.Receiver, packets []sent) (all []dtmf.Report) {
	t.Helper()
	for _, p := range packets {
		var err error
		all, err = r.Packet(all, start.Add(time.Duration(p.tick)*20*ms), p.ts, p.Append(nil))
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func keys(reports []dtmf.Report) (s string) {
	for _, r := range reports {
		if r.Down {
			s += string(dtmf.KeyOf(r.Code))
		} else {
			s += "^"
		}
	}
	return s
}

// TestEndToEnd: whatever is lost, doubled or out of order on the way, as long
// as one packet of each key arrives each key is reported once.
func TestEndToEnd(t *testing.T) {
	const digits = "0123456789*#ABCD"
	for _, tt := range []struct {
		name   string
		damage func([]sent) []sent
	}{
		{"whole", func(p []sent) []sent { return p }},
		{"doubled", func(p []sent) (out []sent) {
			for _, p := range p {
				out = append(out, p, p)
			}
			return out
		}},
		{"no final packets", func(p []sent) []sent { return slices.DeleteFunc(p, func(p sent) bool { return p.End }) }},
		{"only one final packet", func(p []sent) (out []sent) {
			for i, q := range p {
				if q.End && p[i-1].End && (i+1 == len(p) || !p[i+1].End) {
					out = append(out, q)
				}
			}
			return out
		}},
		{"no first packets", func(p []sent) []sent { return slices.DeleteFunc(p, func(p sent) bool { return p.marker }) }},
		{"neighbours swapped", func(p []sent) []sent {
			for i := 1; i < len(p); i += 2 {
				p[i-1].Event, p[i].Event = p[i].Event, p[i-1].Event
				p[i-1].ts, p[i].ts = p[i].ts, p[i-1].ts
			}
			return p
		}},
	} {
		for _, rate := range []int{8000, 48000} {
			t.Run(tt.name, func(t *testing.T) {
				s := dtmf.NewSender(dtmf.SenderConfig{ClockRate: rate})
				r := dtmf.NewReceiver(dtmf.ReceiverConfig{ClockRate: rate})
				if err := s.Queue(digits, 0); err != nil {
					t.Fatal(err)
				}
				got := receive(t, r, tt.damage(drive(t, s, 0xfffff000, uint32(rate/50), 400)))
				at, pending := r.Deadline()
				if pending != (tt.name == "no final packets") {
					t.Errorf("an event pending: %v", pending)
				}
				if pending {
					if early := r.Advance(nil, at.Add(-1)); early != nil {
						t.Errorf("before the deadline: %+v", early)
					}
					got = r.Advance(got, at)
				}
				want := ""
				for _, d := range digits {
					want += string(d) + "^"
				}
				if keys(got) != want {
					t.Errorf("got %s", keys(got))
				}
				for _, rep := range got {
					if !rep.Down && (rep.Lost != pending || rep.Duration < 100*ms || rep.Duration > 120*ms) {
						t.Errorf("%+v", rep)
					}
				}
			})
		}
	}
}

func TestReceiverLongEvent(t *testing.T) {
	s := dtmf.NewSender(dtmf.SenderConfig{ClockRate: 48000})
	if err := s.Queue("9", 4*time.Second); err != nil {
		t.Fatal(err)
	}
	packets := drive(t, s, 0xffff0000, 960, 300)
	// The packets that close a segment may be lost.
	packets = slices.DeleteFunc(packets, func(p sent) bool { return p.Duration == 0xffff })
	got := receive(t, dtmf.NewReceiver(dtmf.ReceiverConfig{ClockRate: 48000}), packets)
	if keys(got) != "9^" || got[1].Duration != 4*time.Second {
		t.Errorf("%+v", got)
	}
}

func TestReceiverMinTone(t *testing.T) {
	glitch := []sent{{0, 0, true, dtmf.Event{Code: 1, Duration: 80}}, {1, 0, false, dtmf.Event{Code: 1, End: true, Duration: 100}}}
	if got := receive(t, dtmf.NewReceiver(dtmf.ReceiverConfig{}), glitch); got != nil {
		t.Errorf("%+v", got)
	}
	if got := receive(t, dtmf.NewReceiver(dtmf.ReceiverConfig{MinTone: -1}), glitch); keys(got) != "1^" {
		t.Errorf("%+v", got)
	}
}

// TestReceiverSameKeyTwice: what tells two presses apart is the timestamp, and
// for peers that never change it, a second of silence.
func TestReceiverSameKeyTwice(t *testing.T) {
	press := func(tick int, ts uint32) []sent {
		return []sent{{tick, ts, true, dtmf.Event{Code: 7, Duration: 320}}, {tick + 1, ts, false, dtmf.Event{Code: 7, End: true, Duration: 480}}}
	}
	if got := receive(t, dtmf.NewReceiver(dtmf.ReceiverConfig{}), slices.Concat(press(0, 0), press(5, 800))); keys(got) != "7^7^" {
		t.Errorf("%s", keys(got))
	}
	// An old packet of the first press, late.
	if got := receive(t, dtmf.NewReceiver(dtmf.ReceiverConfig{}), slices.Concat(press(0, 0), press(5, 800), press(8, 0))); keys(got) != "7^7^" {
		t.Errorf("%s", keys(got))
	}
	// A peer whose clock went back.
	if got := receive(t, dtmf.NewReceiver(dtmf.ReceiverConfig{}), slices.Concat(press(0, 80000), press(100, 0))); keys(got) != "7^7^" {
		t.Errorf("%s", keys(got))
	}
	if got := receive(t, dtmf.NewReceiver(dtmf.ReceiverConfig{}), slices.Concat(press(0, 0), press(100, 0))); keys(got) != "7^7^" {
		t.Errorf("%s", keys(got))
	}
	r := dtmf.NewReceiver(dtmf.ReceiverConfig{})
	receive(t, r, press(0, 0))
	r.Reset()
	if got := receive(t, r, press(1, 0)); keys(got) != "7^" {
		t.Errorf("%s", keys(got))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{9, 0x8a, 3, 0x20})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := dtmf.Parse(b)
		if err != nil {
			return
		}
		again, err := dtmf.Parse(e.Append(nil))
		if err != nil || again != e {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}

func FuzzParseEvents(f *testing.F) {
	for _, s := range []string{"", "0-15,66,70", "events=0", "255", "1-", "a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := dtmf.ParseEvents(s)
		if err != nil {
			return
		}
		if again, err := dtmf.ParseEvents(e.String()); err != nil || again != e {
			t.Fatalf("%q: %v became %v, %v", s, e, again, err)
		}
	})
}

// FuzzReceiver: downs and ups alternate, whatever arrives.
func FuzzReceiver(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 0, 0, 0, 1, 0x80, 2, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := dtmf.NewReceiver(dtmf.ReceiverConfig{})
		now, down := start, -1
		for ; len(b) >= 6; b = b[6:] {
			now = now.Add(time.Duration(b[4]) * ms)
			reports := r.Advance(nil, now)
			reports, _ = r.Packet(reports, now, uint32(b[5])<<12, b[:4])
			for _, rep := range reports {
				if rep.Down == (down >= 0) || !rep.Down && int(rep.Code) != down {
					t.Fatalf("%+v while %d is down", rep, down)
				}
				down = -1
				if rep.Down {
					down = int(rep.Code)
				}
			}
			if _, pending := r.Deadline(); down >= 0 && !pending {
				t.Fatal("a key is down and nothing will end it")
			}
		}
	})
}
