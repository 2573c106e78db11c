package jitter

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

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
