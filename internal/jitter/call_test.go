package jitter

import (
	"encoding/binary"
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
