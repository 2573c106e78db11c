package jitter

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestSteady: on a network without jitter every packet plays, in order, after
// the start delay, and nothing is invented between them.
func TestSteady(t *testing.T) {
	for _, tt := range []struct {
		rate  int
		ptime time.Duration
		first int // sequence number, near the wrap or not
	}{
		{8000, 20 * ms, 1}, {8000, 10 * ms, 65500}, {8000, 30 * ms, 65535}, {48000, 60 * ms, 65530},
		{48000, 40 * ms, 0}, {8000, 20 * ms, 32767},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			c := newCall(t, Config{ClockRate: tt.rate})
			for i := range 100 {
				c.arrive(time.Duration(i)*tt.ptime, c.packet(tt.first+i, tt.ptime))
			}
			c.run(100*tt.ptime + 20*ms)
			c.wantPlayed(sequenceOf(tt.first, len(c.got)))
			if len(c.got) < 95 || c.count(Lost) != 0 || c.count(Drop) != 0 {
				t.Errorf("%d frames, %d lost, %d dropped", len(c.got), c.count(Lost), c.count(Drop))
			}
			s := c.Stats()
			if s.Received != 100 || s.Expected != 100 || s.Lost+s.Late+s.Duplicates+s.Underruns != 0 || s.Jitter != 0 {
				t.Errorf("%+v", s)
			}
			if s.Delay < 10*ms || s.Delay > 60*ms {
				t.Errorf("held back by %v", s.Delay)
			}
			if want := uint32(tt.first + 99); s.HighestSeq != want {
				t.Errorf("highest %d, want %d", s.HighestSeq, want)
			}
		})
	}
}

func TestTimestampWrap(t *testing.T) {
	c := newCall(t, Config{})
	for i := range 100 {
		p := c.packet(i, 20*ms)
		p.Timestamp += 0xffffffff - 50*160
		c.arrive(time.Duration(i)*20*ms, p)
	}
	c.run(2 * time.Second)
	c.wantPlayed(sequenceOf(0, len(c.got)))
	if s := c.Stats(); s.Jitter != 0 || c.count(Lost) != 0 || len(c.got) < 95 {
		t.Errorf("%d played, %+v", len(c.got), s)
	}
}

func TestReorderAndDuplicates(t *testing.T) {
	c := newCall(t, Config{})
	for i := range 100 {
		at := time.Duration(i) * 20 * ms
		if i%10 == 5 {
			at += 25 * ms // behind its successor
		}
		c.arrive(at, c.packet(i, 20*ms))
		if i%7 == 0 {
			c.arrive(at+5*ms, c.packet(i, 20*ms))
		}
	}
	c.arrive(1900*ms, c.packet(2, 20*ms)) // long gone
	c.run(2 * time.Second)
	c.wantPlayed(sequenceOf(0, len(c.got)))
	s := c.Stats()
	if len(c.got) < 95 || s.Reordered != 10+1 || s.Duplicates != 15 || s.Late != 1 || s.Received != 101 {
		t.Errorf("%d played, %+v", len(c.got), s)
	}
}

// TestLoss: a lost packet is announced when its time comes, for exactly its
// time, with the packet after it for error correction.
func TestLoss(t *testing.T) {
	c := newCall(t, Config{ClockRate: 48000})
	without := []int{20, 40, 41, 42, 60}
	for i := range 100 {
		if !slices.Contains(without, i) {
			c.arrive(time.Duration(i)*20*ms, c.packet(i, 20*ms))
		}
	}
	c.run(2 * time.Second)
	c.wantPlayed(sequenceOf(0, len(c.got)+len(without), without...))
	if c.count(Lost) != 5 || c.Stats().Lost != 5 || c.Stats().Concealed != 5 {
		t.Errorf("%d lost, %+v", c.count(Lost), c.Stats())
	}
	with := 0
	for i, r := range c.out {
		if r.Kind != Lost {
			continue
		}
		if r.Ticks != 960 {
			t.Errorf("%d ticks lost", r.Ticks)
		}
		if r.Next != nil {
			with++
			if after := c.out[i+1]; after.Kind != Frame || !slices.Equal(after.Payload, r.Next) {
				t.Error("Next is not the payload that follows")
			}
		}
	}
	if with != 3 {
		t.Errorf("%d with a packet to repair from, want 3", with)
	}
}

// TestPause: silence that the peer does not send is no loss, however long, and
// the speech after it starts at the target delay (RFC 3551 §4.1).
func TestPause(t *testing.T) {
	for _, pause := range []time.Duration{60 * ms, 400 * ms, 5 * time.Second, 90 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			c := newCall(t, Config{})
			for i := range 50 {
				p := c.packet(i, 20*ms)
				at := time.Duration(i) * 20 * ms
				if i >= 25 {
					p.Timestamp += uint32(pause / ms * 8)
					p.Marker = i == 25
					at += pause
				}
				c.arrive(at, p)
			}
			c.run(time.Second + pause)
			c.wantPlayed(sequenceOf(0, len(c.got)))
			s := c.Stats()
			if len(c.got) < 45 || s.Lost+s.Late+s.Dropped != 0 {
				t.Errorf("%d played, %+v", len(c.got), s)
			}
			if n := c.count(Lost); n > 6 {
				t.Errorf("%d frames concealed in a pause", n)
			}
			i := slices.IndexFunc(c.out, func(r Result) bool { return r.Marker })
			if i < 0 || c.out[i].Surplus < -11*ms || c.out[i].Surplus > 31*ms {
				t.Errorf("speech began %v off the target", c.out[max(i, 0)].Surplus)
			}
		})
	}
}

// TestPauseWithLoss: the last packets before a pause are lost.
func TestPauseWithLoss(t *testing.T) {
	c := newCall(t, Config{})
	for i := range 50 {
		p := c.packet(i, 20*ms)
		at := time.Duration(i) * 20 * ms
		if i >= 25 {
			p.Timestamp += 8000
			at += time.Second
		}
		if i != 23 && i != 24 {
			c.arrive(at, p)
		}
	}
	c.run(2 * time.Second)
	c.wantPlayed(sequenceOf(0, len(c.got)+2, 23, 24))
	if s := c.Stats(); s.Lost != 2 || len(c.got) < 43 {
		t.Errorf("%d played, %+v", len(c.got), s)
	}
}

// TestSkip: events take sequence numbers but no sound (RFC 4733 §2.5.1.1).
func TestSkip(t *testing.T) {
	c := newCall(t, Config{})
	for i := range 60 {
		p := c.packet(i, 20*ms)
		if i >= 20 && i < 30 { // a digit of 200 ms: ten packets, one timestamp
			p.Timestamp, p.Payload = 20*160, nil
		}
		c.arrive(time.Duration(i)*20*ms, p)
	}
	c.run(1200 * ms)
	c.wantPlayed(sequenceOf(0, len(c.got)+10, sequenceOf(20, 10)...))
	if s := c.Stats(); s.Lost != 0 || s.Received != 60 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
	if got := c.Skip(start.Add(c.now), 60, 20*160); got != Queued {
		t.Errorf("Skip = %v", got)
	}
}

// TestTimestampJump: a peer that changes its time line without saying so is
// heard on.
func TestTimestampJump(t *testing.T) {
	for _, jump := range []int32{-8000, -100, -1 << 30, 300 * 8, 8000, 80000000, 1 << 30} {
		t.Run(fmt.Sprint(jump), func(t *testing.T) {
			c := newCall(t, Config{})
			for i := range 200 {
				p := c.packet(i, 20*ms)
				if i >= 100 {
					p.Timestamp += uint32(jump)
				}
				c.arrive(time.Duration(i)*20*ms, p)
			}
			c.run(4 * time.Second)
			if s := c.Stats(); len(c.got) < 190 || s.Lost != 0 || s.Late > 5 {
				t.Errorf("%d played, %+v", len(c.got), s)
			}
			if !slices.IsSorted(c.got) {
				t.Error("out of order")
			}
		})
	}
}

// TestRestart: two packets in a row far from the old numbers are a new
// sequence (RFC 3550 A.1); one alone is noise.
func TestRestart(t *testing.T) {
	c := newCall(t, Config{})
	for i := range 200 {
		p := c.packet(i, 20*ms)
		if i >= 100 {
			p.Seq += 30000
			p.Timestamp += 123456789
		}
		c.arrive(time.Duration(i)*20*ms, p)
	}
	stray := c.packet(7, 20*ms)
	stray.Seq = 20000
	c.arrive(500*ms, stray)
	c.run(4 * time.Second)
	s := c.Stats()
	if len(c.got) < 190 || s.Rejected != 2 || slices.Contains(c.got[20:], 7) || s.Lost > 1 {
		t.Errorf("%d played, %+v", len(c.got), s)
	}
	if s.Expected != s.Received {
		t.Errorf("%d expected, %d received", s.Expected, s.Received)
	}
}

func TestReset(t *testing.T) {
	c := newCall(t, Config{})
	for i := range 50 {
		c.arrive(time.Duration(i)*20*ms, c.packet(i, 20*ms))
	}
	c.run(time.Second)
	c.Reset()
	if s := c.Stats(); s.Received != 0 || s.Expected != 0 || c.Buffered() != 0 {
		t.Errorf("%+v", s)
	}
	c.got = nil
	for i := range 50 {
		c.arrive(time.Second+time.Duration(i)*20*ms, c.packet(40000+i, 20*ms))
	}
	c.run(2 * time.Second)
	c.wantPlayed(sequenceOf(40000, len(c.got)))
	if len(c.got) < 45 {
		t.Errorf("%d played", len(c.got))
	}
}
