package jitter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// A call is a peer, a network and an engine around one buffer. The engine
// fetches 20 ms of sound every 20 ms, as the real one does.
type call struct {
	*Buffer
	t     testing.TB
	now   time.Duration
	queue []arrival // sorted by time
	out   []Result  // everything Get returned; payloads copied
	got   []int     // numbers of the packets played
	fifo  int64     // ticks fetched and not yet played
	rate  int
	poll  time.Duration
}

type arrival struct {
	at time.Duration
	p  Packet
}

func newCall(t testing.TB, cfg Config) *call {
	if cfg.ClockRate == 0 {
		cfg.ClockRate = 8000
	}
	return &call{Buffer: New(cfg), t: t, rate: cfg.ClockRate, poll: 20 * ms}
}

// packet is the n-th of a stream of ptime packets. Its payload says n and how
// much sound it holds.
func (c *call) packet(n int, ptime time.Duration) Packet {
	ticks := int64(ptime) * int64(c.rate) / int64(time.Second)
	p := Packet{Seq: uint16(n), Timestamp: uint32(int64(n) * ticks), Payload: make([]byte, 160)}
	binary.BigEndian.PutUint32(p.Payload, uint32(n))
	binary.BigEndian.PutUint32(p.Payload[4:], uint32(ticks))
	return p
}

func (c *call) arrive(at time.Duration, p Packet) {
	c.queue = append(c.queue, arrival{at, p})
}

// run plays until the given time.
func (c *call) run(until time.Duration) {
	c.t.Helper()
	slices.SortStableFunc(c.queue, func(a, b arrival) int { return int(a.at - b.at) })
	// The engine's ticks fall between arrivals, as with two real clocks.
	for ; c.now < until; c.now += c.poll {
		tick := c.now + 3*ms
		for len(c.queue) > 0 && c.queue[0].at <= tick {
			c.Put(start.Add(c.queue[0].at), c.queue[0].p)
			c.queue = c.queue[1:]
		}
		c.fifo -= int64(c.poll) * int64(c.rate) / int64(time.Second)
		for drops := 0; c.fifo < 0; {
			r := c.Get(start.Add(tick))
			r.Payload, r.Next = slices.Clone(r.Payload), slices.Clone(r.Next)
			c.out = append(c.out, r)
			if r.Kind == Drop {
				if drops++; drops > 3 {
					c.t.Fatal("Get drops without end")
				}
				continue
			}
			if r.Ticks == 0 {
				c.t.Fatalf("%v moves nothing on", r.Kind)
			}
			if r.Kind != Frame {
				c.fifo += int64(r.Ticks)
				continue
			}
			// As a decoder does, go by what the payload holds.
			c.fifo += int64(binary.BigEndian.Uint32(r.Payload[4:]))
			c.got = append(c.got, int(binary.BigEndian.Uint32(r.Payload)))
		}
	}
}

func (c *call) count(k Kind) (n int) {
	for _, r := range c.out {
		if r.Kind == k {
			n++
		}
	}
	return n
}

// sequenceOf returns from, from+1 ... without the given ones.
func sequenceOf(from, n int, without ...int) (s []int) {
	for i := range n {
		if !slices.Contains(without, from+i) {
			s = append(s, from+i)
		}
	}
	return s
}

func (c *call) wantPlayed(want []int) {
	c.t.Helper()
	if !slices.Equal(c.got, want) {
		for i := range want {
			if i >= len(c.got) || c.got[i] != want[i] {
				c.t.Fatalf("played %d packets, want %d; first difference at %d: %v, want %v; %+v", len(c.got), len(want), i,
					c.got[min(i, len(c.got)):min(i+8, len(c.got))], want[i:min(i+8, len(want))], c.Stats())
			}
		}
		c.t.Fatalf("played %d packets, want %d", len(c.got), len(want))
	}
}

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

// TestLimits: a flood costs no more than the limits, and what is kept is the
// newest.
func TestLimits(t *testing.T) {
	c := newCall(t, Config{MaxPackets: 50, MaxBytes: 5000})
	for i := range 1000 {
		c.Put(start, c.packet(i, 20*ms))
		if c.Buffered() > 64 || c.ring.bytes > 5000 {
			t.Fatalf("%d packets, %d bytes", c.Buffered(), c.ring.bytes)
		}
	}
	if s := c.Stats(); s.Dropped < 900 {
		t.Errorf("%+v", s)
	}
	if got := c.Put(start, Packet{Seq: 1000, Payload: make([]byte, 1501)}); got != Rejected {
		t.Errorf("a giant packet: %v", got)
	}
	c.run(300 * ms)
	if len(c.got) == 0 || c.got[0] < 960 {
		t.Errorf("played %v", c.got)
	}
}

// TestAllocations: none per packet once the stream runs, and a stream takes
// less than 8 KB.
func TestAllocations(t *testing.T) {
	c := newCall(t, Config{})
	n, now := 0, start
	p := c.packet(0, 20*ms)
	step := func() {
		p.Seq, p.Timestamp = uint16(n), uint32(n*160)
		c.Put(now, p)
		c.Get(now)
		n++
		now = now.Add(20 * ms)
	}
	for range 100 {
		step()
	}
	if a := testing.AllocsPerRun(1000, step); a != 0 {
		t.Errorf("%v allocations a packet", a)
	}

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	streams := make([]*Buffer, 500)
	for i := range streams {
		b := New(Config{ClockRate: 8000})
		for j := range 100 {
			at := start.Add(time.Duration(j) * 20 * ms)
			b.Put(at, c.packet(j, 20*ms))
			b.Get(at)
		}
		streams[i] = b
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int(after.HeapAlloc-before.HeapAlloc) / len(streams); each > 8<<10 {
		t.Errorf("%d bytes a stream", each)
	} else {
		t.Logf("%d bytes a stream", each)
	}
	runtime.KeepAlive(streams)
}

func TestStrings(t *testing.T) {
	for k, want := range map[Kind]string{Empty: "empty", Frame: "frame", Lost: "lost", Drop: "drop"} {
		if k.String() != want {
			t.Errorf("%d is %q", k, k)
		}
	}
}

// FuzzBuffer drives the buffer with any order of packets and calls. Whatever
// happens, packets play in the order of their numbers, each once, with their
// own payload; Get moves on; the limits and the counts hold.
func FuzzBuffer(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add([]byte{0x10, 0x83, 0x22, 0xff, 0x41, 0x00, 0x99, 0xc0, 0xe5, 0x13, 0x77})
	rng := rand.New(rand.NewPCG(8, 9))
	for range 8 {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, ops []byte) {
		c := New(Config{ClockRate: 8000, MaxPackets: 64, MaxBytes: 8 << 10})
		now := start
		sent := 65000 // the peer's packet counter; the payload holds it whole
		ts := uint32(0xfffff000)
		last, played := -1, uint64(0)
		drops := 0
		epoch := 0
		for i := 0; i+1 < len(ops); i += 2 {
			op, arg := ops[i], int(ops[i+1])
			switch op % 8 {
			case 0, 1, 2: // the next packet, or one a little off
				n := sent
				if op%8 == 2 {
					n += arg%16 - 8
				} else {
					sent++
				}
				ts += 160
				p := Packet{Seq: uint16(n), Timestamp: ts + uint32(n-sent)*160, Payload: make([]byte, 8+arg)}
				if op&0x80 != 0 {
					p.Ticks = uint32(arg) * 10
				}
				binary.BigEndian.PutUint64(p.Payload, uint64(epoch)<<32|uint64(uint32(n)))
				c.Put(now, p)
			case 3:
				now = now.Add(time.Duration(arg) * ms)
				drops = 0 // one in a while is what it may do
			case 4, 5:
				r := c.Get(now)
				if op&0x80 != 0 {
					now = now.Add(time.Duration(r.Ticks) * time.Second / 8000)
				}
				switch r.Kind {
				case Frame, Drop:
					v := binary.BigEndian.Uint64(r.Payload)
					n := int(int32(uint32(v)))
					if int(v>>32) == epoch {
						if n <= last || uint16(n) != r.Seq {
							t.Fatalf("packet %d (%d) after %d", n, r.Seq, last)
						}
						last = n
					}
					played++
				}
				if r.Kind == Drop {
					if drops++; drops > 1 {
						t.Fatal("two drops in a row")
					}
				} else {
					drops = 0
					if r.Ticks == 0 || r.Ticks > 8000 {
						t.Fatalf("%v of %d ticks", r.Kind, r.Ticks)
					}
				}
			case 6: // a gap in numbers, time, or both
				sent += arg
				ts += uint32(arg) * 160 * uint32(op>>6)
			case 7:
				switch arg % 4 {
				case 0:
					c.Skip(now, uint16(sent), ts)
					sent++
				case 1: // a new sequence; what it means for order is another test's
					sent += 20000
					epoch, last = epoch+1, -1<<40
				case 2:
					ts -= uint32(arg) << 12
				case 3: // a stray number, which may make what follows a new sequence
					c.Put(now, Packet{Seq: uint16(arg) << 8, Timestamp: ts})
					epoch, last = epoch+1, -1<<40
				}
			}
			if c.Buffered() > 64 || c.ring.bytes > 8<<10 || len(c.ring.slots) > 64 {
				t.Fatalf("%d packets, %d bytes", c.Buffered(), c.ring.bytes)
			}
			held, bytes := 0, 0
			for _, s := range c.ring.slots {
				if s.seq != 0 {
					held++
					bytes += len(s.payload)
					if s.seq < c.next {
						t.Fatalf("packet %d held, %d is next", s.seq, c.next)
					}
				}
			}
			if held != c.ring.held || bytes != c.ring.bytes {
				t.Fatalf("%d packets of %d bytes, counted %d and %d", held, bytes, c.ring.held, c.ring.bytes)
			}
		}
		s := c.Stats()
		if s.Played > played || s.Received < s.Played+s.Late {
			t.Fatalf("%+v, %d played", s, played)
		}
		if s.Target < 20*ms || s.Target > 200*ms {
			t.Fatalf("target %v", s.Target)
		}
	})
}

func BenchmarkPutGet(b *testing.B) {
	c := newCall(b, Config{})
	p := c.packet(0, 20*ms)
	now, n := start, 0
	b.ReportAllocs()
	for b.Loop() {
		p.Seq, p.Timestamp = uint16(n), uint32(n*160)
		c.Put(now, p)
		c.Get(now)
		n++
		now = now.Add(20 * ms)
	}
}
