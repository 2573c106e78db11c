package jitter

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestAdapts: the target follows the jitter up and down, and what is concealed
// stays near the 5 % that the quantile leaves over.
func TestAdapts(t *testing.T) {
	for _, tt := range []struct {
		jitter   time.Duration // packets are up to this late
		min, max time.Duration // where the target should come to be
	}{
		{0, 20 * ms, 20 * ms}, {10 * ms, 20 * ms, 20 * ms}, {60 * ms, 50 * ms, 65 * ms}, {120 * ms, 105 * ms, 125 * ms}, {1000 * ms, 200 * ms, 200 * ms},
	} {
		t.Run(tt.jitter.String(), func(t *testing.T) {
			c := newCall(t, Config{})
			rng := rand.New(rand.NewPCG(3, 4))
			for i := range 3000 {
				late := time.Duration(rng.Int64N(int64(tt.jitter) + 1))
				c.arrive(time.Duration(i)*20*ms+late, c.packet(i, 20*ms))
			}
			c.run(60 * time.Second)
			s := c.Stats()
			if s.Target < tt.min || s.Target > tt.max {
				t.Errorf("target %v, want %v to %v", s.Target, tt.min, tt.max)
			}
			if tt.jitter <= 120*ms && (len(c.got) < 2800 || s.Concealed > 200) {
				t.Errorf("%d played, %+v", len(c.got), s)
			}
			if !slices.IsSorted(c.got) {
				t.Error("out of order")
			}
		})
	}
}

// TestRecoversFromStall: after the network held packets back for a while, the
// delay is short again at once and soon what it was.
func TestRecoversFromStall(t *testing.T) {
	for _, stall := range []time.Duration{100 * ms, 300 * ms, time.Second, 10 * time.Second} {
		t.Run(stall.String(), func(t *testing.T) {
			c := newCall(t, Config{})
			end := 5*time.Second + stall
			for i := range 1500 {
				at := time.Duration(i) * 20 * ms
				if at > 5*time.Second && at < end {
					at = end
				}
				c.arrive(at, c.packet(i, 20*ms))
			}
			c.run(end + 200*ms)
			if d := c.Stats().Delay; d > 250*ms {
				t.Errorf("held back by %v just after", d)
			}
			c.run(30 * time.Second)
			s := c.Stats()
			if s.Delay > 90*ms {
				t.Errorf("held back by %v at the end", s.Delay)
			}
			if lost := 1500 - len(c.got); time.Duration(lost)*20*ms > stall+200*ms {
				t.Errorf("%d packets not played", lost)
			}
		})
	}
}

// TestRecoversFromHold: nobody called Get for a while, and the backlog is not
// played.
func TestRecoversFromHold(t *testing.T) {
	c := newCall(t, Config{})
	for i := range 50 {
		c.arrive(time.Duration(i)*20*ms, c.packet(i, 20*ms))
	}
	c.run(time.Second)
	for i := range 500 {
		c.Put(start.Add(time.Second+time.Duration(i)*20*ms), c.packet(50+i, 20*ms))
	}
	if n := c.Buffered(); n > 256 {
		t.Errorf("%d packets held", n)
	}
	c.now = 11 * time.Second
	for i := range 100 {
		c.arrive(11*time.Second+time.Duration(i)*20*ms, c.packet(550+i, 20*ms))
	}
	c.got = nil
	c.run(13 * time.Second)
	if s := c.Stats(); len(c.got) < 95 || c.got[0] < 530 || s.Delay > 250*ms {
		t.Errorf("%d played from %d, %+v", len(c.got), c.got[0], s)
	}
}

// TestClockDrift: half an hour with a peer whose clock is off by 300 ppm.
func TestClockDrift(t *testing.T) {
	for _, ppm := range []int64{-300, 300} {
		c := newCall(t, Config{})
		const n = 30 * 60 * 50
		for i := range n {
			at := time.Duration(i) * 20 * ms
			c.arrive(at+at/1e6*time.Duration(ppm), c.packet(i, 20*ms))
		}
		c.run(n * 20 * ms)
		s := c.Stats()
		// 300 ppm of half an hour is 540 ms: 27 packets too many or too few.
		if s.Delay > 120*ms || s.Dropped > 40 || s.Concealed > 60 || s.Late > 40 || len(c.got) < n-60 {
			t.Errorf("%d ppm: %d of %d played, %+v", ppm, len(c.got), n, s)
		}
	}
}

// TestVaryingPTime: the peer changes the time in a packet as it likes.
func TestVaryingPTime(t *testing.T) {
	for _, told := range []bool{false, true} {
		c := newCall(t, Config{ClockRate: 48000})
		at := time.Duration(0)
		ticks := uint32(0)
		rng := rand.New(rand.NewPCG(5, 6))
		ptime := 20 * ms
		for i := range 400 {
			if i%20 == 0 {
				ptime = []time.Duration{10 * ms, 20 * ms, 40 * ms, 60 * ms}[rng.IntN(4)]
			}
			p := c.packet(i, ptime)
			p.Timestamp = ticks
			d := uint32(ptime / ms * 48)
			if told {
				p.Ticks = d
			}
			at += ptime // a packet is sent when its last sample has been spoken
			ticks += d
			c.arrive(at, p)
		}
		c.run(at)
		if s := c.Stats(); len(c.got) < 390 || s.Lost+s.Late != 0 {
			t.Errorf("told %v: %d played, %+v", told, len(c.got), s)
		}
		if !slices.IsSorted(c.got) {
			t.Error("out of order")
		}
	}
}
