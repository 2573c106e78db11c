package media

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
)

func TestLimit(t *testing.T) {
	for v := int32(-24576); v <= 24576; v += 64 {
		if limit(v) != int16(v) {
			t.Fatalf("%d becomes %d", v, limit(v))
		}
	}
	before := limit(24576)
	for v := int32(24576); v < 1<<30; v += 1 + v/100 {
		if l := limit(v); l < before || limit(-v) != -l {
			t.Fatalf("%d becomes %d, and %d becomes %d", v, l, -v, limit(-v))
		} else {
			before = l
		}
	}
}

// talker is a party whose frames all have a value of its own, and a number.
type talker struct {
	at         place
	phase      time.Duration
	bus        int
	said       int16
	gaps, seen int
}

// A thousand parties: each hears the sum of all others exactly.
func TestMixIsSumLessOwn(t *testing.T) {
	const parties = 1000
	var m mix
	now := time.Unix(1000, 0)
	m.advance(now)
	all := make([]talker, parties)
	pcm := make([]int16, 160)
	sum := 0
	for i := range all {
		all[i].said, all[i].phase = int16(i%41-20), time.Duration(i)*frameTime/parties
		sum += i%41 - 20
	}
	for frame := range 20 {
		for i := range all {
			at := now.Add(time.Duration(frame)*frameTime + all[i].phase)
			m.advance(at)
			for k := range pcm {
				pcm[k] = all[i].said
			}
			m.say(&all[i].at, 0, pcm, at)
			m.hear(&all[i].at, 0, pcm, at)
			if want := int16(sum) - all[i].said; frame > 4 && (pcm[0] != want || pcm[159] != want) {
				t.Fatalf("frame %d: party %d hears %d, want %d", frame, i, pcm[0], want)
			}
		}
	}
}

// Whatever the moments of the parties are, and however late they come now and
// then, what each says is heard by the others frame by frame, but for a few
// frames until everyone has found his place.
func TestMixAtAnyTime(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var m mix
		start := time.Unix(1000, 0)
		m.advance(start)
		parties := make([]talker, 2+rnd.IntN(4))
		for i := range parties {
			parties[i].phase = time.Duration(rnd.Int64N(int64(frameTime)))
			parties[i].bus = 0
		}
		type turn struct {
			at    time.Time
			party int
		}
		// Each turn is up to 2 ms late, one in a hundred up to 15 ms, which is
		// caught up with.
		next := make([]turn, len(parties))
		due := make([]time.Time, len(parties))
		for i := range parties {
			due[i] = start.Add(parties[i].phase)
			next[i] = turn{due[i], i}
		}
		last := make([]int16, len(parties)) // number of the frame heard last from party 0
		pcm := make([]int16, 160)
		end := start.Add(20 * time.Second)
		for {
			k := 0
			for i := range next {
				if next[i].at.Before(next[k].at) {
					k = i
				}
			}
			now := next[k].at
			if now.After(end) {
				break
			}
			p := &parties[k]
			m.advance(now)
			clear(pcm)
			if k == 0 {
				p.said = p.said%20000 + 1
				for i := range pcm {
					pcm[i] = p.said
				}
			}
			m.say(&p.at, p.bus, pcm, now)
			m.hear(&p.at, p.bus, pcm, now)
			if k == 0 && pcm[0] != 0 {
				t.Fatalf("seed %d: an echo", seed)
			}
			if k != 0 {
				p.seen++
				if got := pcm[0]; got != last[k]+1 && last[k] != 0 {
					p.gaps++
					if got != 0 && got <= last[k] {
						t.Errorf("seed %d: frame %d twice", seed, got)
					}
				}
				if pcm[0] != 0 {
					last[k] = pcm[0]
				}
			}
			due[k] = due[k].Add(frameTime)
			late := time.Duration(rnd.Int64N(int64(2 * time.Millisecond)))
			if rnd.IntN(100) == 0 {
				late = time.Duration(rnd.Int64N(int64(15 * time.Millisecond)))
			}
			next[k].at = due[k].Add(late)
			if next[k].at.Before(now) {
				next[k].at = now
			}
		}
		for i, p := range parties[1:] {
			if p.seen < 990 || p.gaps > 6 {
				t.Errorf("seed %d: party %d of %d missed %d of %d frames", seed, i+1, len(parties), p.gaps, p.seen)
			}
		}
	}
}

// A party at one rate is heard at the others, at its own level.
func TestMixRates(t *testing.T) {
	var m mix
	now := time.Unix(1000, 0)
	m.advance(now)
	tone := NewTone(48000, -12, 440)
	var speaker place
	var listeners [len(mixRates)]place
	for frame := range 100 {
		now = now.Add(frameTime)
		m.advance(now)
		pcm := make([]int16, 960)
		tone.ReadFrame(pcm)
		m.say(&speaker, 2, pcm, now)
		for i, rate := range mixRates {
			heard := make([]int16, rate/50)
			m.hear(&listeners[i], i, heard, now)
			if l := measure(heard); frame > 10 && (l.peak < 8000 || l.peak > 8400) {
				t.Errorf("frame %d at %d Hz: peak %d", frame, rate, l.peak)
			}
		}
	}
}

// Mixing is part of the packet path and allocates nothing.
func TestMixedTurnAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	a, b := pair(t, Config{Codecs: []codec.Codec{g711.PCMU()}})
	c, d := pair(t, Config{Codecs: []codec.Codec{g711.PCMU()}})
	mixer, err := a.e.NewMixer()
	if err != nil {
		t.Fatal(err)
	}
	m := mixer.(*Mixer)
	for _, s := range []*Session{a, c} {
		if err := m.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	var heard int
	m.SetSource(NewTone(16000, -12, 440))
	m.SetSink(SinkFunc(16000, func(pcm []int16) { heard += len(pcm) }))
	for _, s := range []*Session{b, d} {
		s.SetSource(NewTone(8000, -12, 697))
	}
	for _, s := range []*Session{a, b, c, d} {
		s.mu.Lock()
		s.rtcp.next = time.Now().Add(time.Hour)
		s.mu.Unlock()
	}
	w := newWork()
	due := time.Now()
	turns := func() {
		due = due.Add(frameTime)
		m.mu.Lock()
		m.mix.base = m.mix.base.Add(-frameTime) // time flies
		m.mu.Unlock()
		for _, s := range []*Session{a, b, c, d} {
			s.turn(w, due)
		}
	}
	a.turn(w, due)
	for range 100 {
		turns()
	}
	if n := testing.AllocsPerRun(200, turns); n != 0 {
		t.Errorf("%v allocations for four turns", n)
	}
	if heard < 200*320 {
		t.Errorf("the user heard %d samples", heard)
	}
}

// BenchmarkMix is a frame of one party in a mixer alone, without its call.
func BenchmarkMix(b *testing.B) {
	for _, n := range []int{3, 10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchMix(b, n) })
	}
}

func benchMix(b *testing.B, parties int) {
	var m mix
	now := time.Unix(1000, 0)
	m.advance(now)
	places := make([]place, parties)
	said, heard := make([]int16, 160), make([]int16, 160)
	NewTone(8000, -30, 440).ReadFrame(said)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p := &places[i%parties]
		if i%parties == 0 {
			now = now.Add(frameTime)
			m.advance(now)
		}
		m.say(p, 0, said, now)
		m.hear(p, 0, heard, now)
	}
}
