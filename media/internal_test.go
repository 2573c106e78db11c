package media

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/internal/rtpio"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// pair is two sessions in a call on loopback whose turns the test gives.
func pair(tb testing.TB, cfg Config) (a, b *Session) {
	tb.Helper()
	e, err := NewEngine(&cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { e.Close() })
	env := offeranswer.Env{Local: netip.MustParseAddr("127.0.0.1"), Secure: true, Notify: func(offeranswer.Event) {}}
	var legs [2]offeranswer.Leg
	var s [2]*Session
	for i := range s {
		m, err := e.NewSession(context.Background(), env)
		if err != nil {
			tb.Fatal(err)
		}
		s[i] = m.(*Session)
	}
	offer, err := s[0].Offer(context.Background(), offeranswer.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range s {
		if legs[i], err = s[i].Leg("d"); err != nil {
			tb.Fatal(err)
		}
	}
	answer, err := legs[1].Answer(context.Background(), offer, offeranswer.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	if err := legs[1].Commit(); err != nil {
		tb.Fatal(err)
	}
	if err := legs[0].SetAnswer(context.Background(), answer, false); err != nil {
		tb.Fatal(err)
	}
	for _, s := range s {
		s.pacer.remove(s)
	}
	e.wg.Wait()
	return s[0], s[1]
}

// The packet path allocates nothing: read, decrypt, jitter buffer, decode,
// sink, source, encode, encrypt, send.
func TestTurnAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, suite := range []string{"AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"} {
		a, b := pair(t, Config{Codecs: []codec.Codec{g711.PCMU()}, Suites: []string{suite}})
		var heard int
		for _, s := range []*Session{a, b} {
			if err := s.SetSource(NewTone(16000, -12, 440)); err != nil {
				t.Fatal(err)
			}
			if err := s.SetSink(SinkFunc(16000, func(pcm []int16) { heard += len(pcm) })); err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			s.rtcp.next = time.Now().Add(time.Hour)
			s.mu.Unlock()
		}
		w := newWork()
		due := time.Now()
		turns := func() {
			due = due.Add(frameTime)
			a.turn(w, due)
			b.turn(w, due)
		}
		for range 100 {
			turns()
		}
		if n := testing.AllocsPerRun(200, turns); n != 0 {
			t.Errorf("%s: %v allocations per turn", suite, n)
		}
		if st := b.Stats(); st.Received.Packets < 290 || st.Received.BadSRTP > 0 || heard < 300*2*320 {
			t.Errorf("%+v, heard %d", st, heard)
		}
	}
}

// Who has not seen our sequence numbers gets a new source once they have gone
// so far that the roll-over counter cannot be known (RFC 3711 §3.3.1), also who
// saw them long ago; and no key protects two packets with one index.
func TestWhoJoinsLateGetsANewSource(t *testing.T) {
	a, b := pair(t, Config{Codecs: []codec.Codec{g711.PCMU()}})
	m, err := a.e.NewSession(t.Context(), a.env)
	if err != nil {
		t.Fatal(err)
	}
	c := m.(*Session)
	offer, err := a.Offer(t.Context(), offeranswer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	theirs, _ := c.Leg("d")
	answer, err := theirs.Answer(t.Context(), offer, offeranswer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Commit(); err != nil {
		t.Fatal(err)
	}
	ours, _ := a.Leg("c")
	if err := ours.SetAnswer(t.Context(), answer, false); err != nil {
		t.Fatal(err)
	}
	c.pacer.remove(c)
	a.e.wg.Wait()
	w, due := newWork(), time.Now()
	turns := func() {
		for range 20 {
			due = due.Add(frameTime)
			a.turn(w, due)
			b.turn(w, due)
			c.turn(w, due)
		}
	}
	far := func() {
		a.mu.Lock()
		a.send.index += joinLimit
		a.mu.Unlock()
	}
	turns()
	source := a.send.ssrc
	far()
	if err := a.Select(ours); err != nil {
		t.Fatal(err)
	}
	turns()
	joined := a.send.ssrc
	if st := c.Stats().Received; joined == source || st.BadSRTP > 0 || st.Packets == 0 {
		t.Errorf("the new peer: source %x, %+v", joined, st)
	}
	far()
	if err := ours.Close(); err != nil { // back to b, who knows nothing of this source
		t.Fatal(err)
	}
	before := b.Stats().Received.Packets
	turns()
	if st := b.Stats().Received; a.send.ssrc == joined || st.BadSRTP > 0 || st.Packets == before {
		t.Errorf("the former peer: source %x, %+v", a.send.ssrc, st)
	}
	if n := a.Stats().Sent.Failed; n > 0 {
		t.Errorf("%d packets that could not be protected", n)
	}
}

// A pacer that comes back from a suspended machine skips what has passed, and
// its sessions' timestamps with it.
func TestTimestampsTellTheTime(t *testing.T) {
	a, _ := pair(t, Config{Codecs: []codec.Codec{g711.PCMU()}})
	w := newWork()
	due := time.Now()
	a.turn(w, due)
	ts := a.send.ts
	a.turn(w, due.Add(time.Second))
	if got := a.send.ts - ts; got != 8000 {
		t.Errorf("%d ticks in a second", got)
	}
	if a.send.packets != 2 {
		t.Errorf("%d packets", a.send.packets)
	}
}

func TestPacerSpreads(t *testing.T) {
	p := &pacer{wg: new(sync.WaitGroup)}
	var all []*Session
	for range 5 * slotFull {
		s := &Session{closed: true}
		all = append(all, s)
		p.add(s)
	}
	for i := range p.slots {
		if n := len(p.slots[i]); n < slotFull || n > slotFull+slotFull/slots {
			t.Errorf("slot %d has %d", i, n)
		}
	}
	for _, s := range all {
		p.remove(s)
	}
	p.remove(all[0])
	p.wg.Wait()
	if p.len() != 0 || p.running {
		t.Errorf("%d left", p.len())
	}
}

func TestHeader(t *testing.T) {
	ok := []byte{0x80, 0x80, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 2}
	for _, tt := range []struct {
		name    string
		p       []byte
		payload int // -1: refused
	}{
		{"no payload", ok, 0},
		{"payload", append(ok[:12:12], 1, 2, 3), 3},
		{"short", ok[:11], -1},
		{"version 1", append([]byte{0x40}, ok[1:]...), -1},
		{"CSRC", append(append([]byte{0x82}, ok[1:]...), 0, 0, 0, 1, 0, 0, 0, 2, 9), 1},
		{"CSRC missing", append(append([]byte{0x82}, ok[1:]...), 0, 0, 0, 1), -1},
		{"extension", append(append([]byte{0x90}, ok[1:]...), 0xbe, 0xde, 0, 1, 0, 0, 0, 0, 9), 1},
		{"extension cut", append(append([]byte{0x90}, ok[1:]...), 0xbe, 0xde, 0, 2, 0, 0, 0, 0), -1},
		{"padding", append(append([]byte{0xa0}, ok[1:]...), 9, 9, 0, 2), 2},
		{"padding 0", append(append([]byte{0xa0}, ok[1:]...), 9, 0), -1},
		{"padding too long", append(append([]byte{0xa0}, ok[1:]...), 9, 3), -1},
	} {
		h, got := parseHeader(tt.p)
		if got != (tt.payload >= 0) || got && (len(h.payload) != tt.payload || h.seq != 0x1234 || !h.marker || h.ssrc != 2) {
			t.Errorf("%s: %+v, %v", tt.name, h, got)
		}
	}
}

// RFC 3550 appendix A.3: loss, over a roll-over and with duplicates.
func TestAccounting(t *testing.T) {
	var a accounting
	at := time.Unix(0, 0)
	h := header{seq: 65530}
	a.begin(h.seq)
	for i := range uint16(20) {
		h.seq, h.ts = 65530+i, uint32(i)*160
		if i == 3 || i == 10 {
			continue
		}
		a.packet(&h, at.Add(time.Duration(i)*20*time.Millisecond), 8000)
	}
	if a.lost() != 2 || a.expected() != 20 || a.highest != 65549 || a.jitter != 0 {
		t.Errorf("%+v", a)
	}
	if f := a.interval(); f != 2*256/20 {
		t.Errorf("fraction %d", f)
	}
	a.packet(&h, at, 0) // a duplicate
	if f := a.interval(); f != 0 || a.lost() != 1 {
		t.Errorf("fraction %d, lost %d", f, a.lost())
	}
	h.seq += 20000 // another beginning
	a.packet(&h, at, 0)
	if a.lost() != 0 || a.expected() != 1 {
		t.Errorf("%+v", a)
	}
}

// Whatever comes from the network, a session goes on.
func FuzzPacket(f *testing.F) {
	a, _ := pair(f, Config{Codecs: []codec.Codec{g711.PCMU()}, SRTP: SRTPOff})
	sec, _ := pair(f, Config{Codecs: []codec.Codec{g711.PCMU()}})
	w := newWork()
	f.Add([]byte{0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff})
	f.Add([]byte{0x80, 101, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0x8a, 3, 0xc0})
	f.Add([]byte{0x80, 13, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 40, 1, 2})
	f.Add([]byte{0x81, 200, 0, 12, 0, 0, 0, 1})
	f.Add([]byte{0x81, 203, 0, 1, 0, 0, 0, 1})
	f.Add([]byte{0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	due := time.Now()
	f.Fuzz(func(t *testing.T, data []byte) {
		due = due.Add(frameTime)
		for _, s := range []*Session{a, sec} {
			s.mu.Lock()
			from := s.selected.route.target
			s.packet(w, &rtpio.Packet{Data: append([]byte(nil), data...), From: from, At: due}, due, false)
			pcm, rate := s.play(w, due)
			s.mu.Unlock()
			if len(pcm) != rate/50 {
				t.Errorf("%d samples at %d Hz", len(pcm), rate)
			}
		}
		if n := sec.Stats().Received.Packets; n != 0 {
			t.Errorf("%d packets verified", n)
		}
	})
}
