package media

import (
	"time"

	"github.com/hoorn-phone/hoorn/internal/resample"
)

// The sum of a mixer is kept in slots of 20 ms. What a party says in one slot is
// added to the next, which is complete when it is heard: by then everyone has
// had a turn. What a party hears is the sum less its own. Parties come at times
// of their own, from several pacers, and go from slot to slot by themselves. One
// that was late goes on with a slot in reserve, so that it costs a frame once and
// not over and over.
//
// There is a sum for each of the rates 8, 16 and 48 kHz. Parties add to and hear
// that of their codec, so that nothing is resampled for a party. What was said
// at the other rates is converted once for all.

const (
	// depth is how many slots are kept: from two behind the present one to
	// three ahead, and a power of two.
	depth = 8

	maxLead = 3 // slots that may be written before their time
	maxLag  = 2 // slots that may be read after it

	// edge is how near to the end of a slot a party's turns are when it begins
	// with a slot in reserve.
	edge = 3 * time.Millisecond
)

var mixRates = [...]int{8000, 16000, 48000}

// busFor is the index of the rate at which a party of another one takes part.
func busFor(rate int) int {
	for i, r := range mixRates {
		if rate <= r {
			return i
		}
	}
	return len(mixRates) - 1
}

// A bus is the sums at one rate.
type bus struct {
	rate  int
	slots [depth]busSlot
	heard int64                              // the slot that somebody heard last
	from  [len(mixRates)]*resample.Resampler // of what was said at other rates; made when needed
}

type busSlot struct {
	number  int64
	spoken  bool // sum is not silent
	sum     []int32
	crossed bool // others is not silent
	others  []int32
}

// at returns a slot, empty if its place was another's.
func (b *bus) at(n int64) *busSlot {
	s := &b.slots[n%depth]
	if s.number != n {
		s.number, s.spoken, s.crossed = n, false, false
	}
	return s
}

// spoken tells whether somebody spoke in a slot.
func (b *bus) spoken(n int64) bool {
	s := &b.slots[n%depth]
	return s.number == n && s.spoken
}

// add adds a frame to a slot.
func (b *bus) add(n int64, pcm []int16) {
	s := b.at(n)
	if !s.spoken {
		s.spoken = true
		if s.sum == nil {
			s.sum = make([]int32, b.rate/50)
		}
		sum := s.sum[:len(pcm)]
		for i, v := range pcm {
			sum[i] = int32(v)
		}
		return
	}
	sum := s.sum[:len(pcm)]
	for i, v := range pcm {
		sum[i] += int32(v)
	}
}

// A mix is the sums of a mixer and where time stands.
type mix struct {
	base  time.Time // of slot 0
	slot  int64     // the present one: heard, and no longer added to
	buses [len(mixRates)]*bus

	narrow, wide []int16 // scratch
}

// advance makes the slot of now the present one and returns by how many it
// went on.
func (m *mix) advance(now time.Time) int {
	if m.base.IsZero() {
		m.base, m.slot = now.Add(-depth*frameTime), depth // so that there are slots before the first
		return 1
	}
	to := int64(now.Sub(m.base) / frameTime)
	steps := to - m.slot
	if steps <= 0 {
		return 0
	}
	for n := max(m.slot+1, to-maxLag); n <= to; n++ {
		m.complete(n)
	}
	m.slot = to
	return int(min(steps, maxLead))
}

// complete converts what was said in a slot for those who take part at another
// rate.
func (m *mix) complete(n int64) {
	for i, from := range m.buses {
		// A filter has an end, which comes with the slot after.
		if from == nil || !from.spoken(n) && !from.spoken(n-1) {
			continue
		}
		limited := false
		for k, to := range m.buses {
			if k == i || to == nil || to.heard < n-50 {
				continue // nobody has listened for a second
			}
			if !limited {
				limited = true
				m.narrow = m.narrow[:0]
				for k := range from.rate / 50 {
					var v int32
					if from.spoken(n) {
						v = from.slots[n%depth].sum[k]
					}
					m.narrow = append(m.narrow, limit(v))
				}
			}
			if to.from[i] == nil {
				to.from[i], _ = resample.New(from.rate, to.rate) // there is a way between these rates
			}
			m.wide = to.from[i].Process(m.wide[:0], m.narrow)
			s := to.at(n)
			if !s.crossed {
				s.crossed = true
				s.others = zeros(s.others, to.rate/50)
			}
			others := s.others[:min(len(s.others), len(m.wide))]
			for k := range others {
				others[k] += int32(m.wide[k])
			}
		}
	}
}

// bus returns the sums at one rate.
func (m *mix) bus(i int) *bus {
	if m.buses[i] == nil {
		m.buses[i] = &bus{rate: mixRates[i], heard: -1 << 32}
	}
	return m.buses[i]
}

// atEdge tells whether who comes now may come in the slot before or after
// another time.
func (m *mix) atEdge(now time.Time) bool {
	phase := now.Sub(m.base) % frameTime
	return phase < edge || phase > frameTime-edge
}

// Beyond knee a sum is bent, so that it never reaches what is beyond a sample.
const knee, room = 24576, 32767 - 24576

// limit keeps a sum within what a sample can be: beyond three quarters of it,
// gently.
func limit(v int32) int16 {
	if v > knee || v < -knee {
		return bend(v)
	}
	return int16(v)
}

func bend(v int32) int16 {
	if v < 0 {
		return -bend(-v)
	}
	d := int64(v) - knee
	return int16(knee + d*room/(d+room))
}

// A place is one party's place in a mix. It is guarded as the mix is.
type place struct {
	wrote, read int64 // slots
	muted       bool
	own         [depth]ownFrame
}

// ownFrame is what a party said in a slot.
type ownFrame struct {
	number int64
	bus    int
	pcm    []int16
}

// say adds a frame at the rate of a bus.
func (m *mix) say(p *place, bus int, pcm []int16, now time.Time) {
	n := p.wrote + 1
	if n <= m.slot {
		n = m.slot + 1
		if p.wrote != 0 || m.atEdge(now) {
			n++
		}
	}
	if n > m.slot+maxLead {
		return // more than there is time for: a pacer that catches up
	}
	p.wrote = n
	if p.muted || silent(pcm) {
		return
	}
	m.bus(bus).add(n, pcm)
	o := &p.own[n%depth]
	o.number, o.bus, o.pcm = n, bus, append(o.pcm[:0], pcm...)
}

func silent(pcm []int16) bool {
	for _, v := range pcm {
		if v != 0 {
			return false
		}
	}
	return true
}

// hear fills pcm with the next frame at the rate of a bus.
func (m *mix) hear(p *place, bus int, pcm []int16, now time.Time) {
	n := p.read + 1
	if n < m.slot-maxLag {
		n = m.slot
		if p.read != 0 || m.atEdge(now) {
			n--
		}
	}
	b := m.bus(bus)
	b.heard = m.slot
	if n > m.slot {
		clear(pcm) // before its time; from now on there is a slot in reserve
		return
	}
	p.read = n
	s, o := b.at(n), &p.own[n%depth]
	own := o.number == n
	if own && o.bus != bus {
		clear(pcm) // its codec has another rate since: silence rather than its own echo
		return
	}
	switch {
	case !s.spoken && !s.crossed:
		clear(pcm)
	case !s.spoken:
		for i, v := range s.others[:len(pcm)] {
			pcm[i] = limit(v)
		}
	case own && !s.crossed:
		sum, o := s.sum[:len(pcm)], o.pcm[:len(pcm)]
		for i := range pcm {
			pcm[i] = limit(sum[i] - int32(o[i]))
		}
	case own:
		sum, o, others := s.sum[:len(pcm)], o.pcm[:len(pcm)], s.others[:len(pcm)]
		for i := range pcm {
			pcm[i] = limit(sum[i] - int32(o[i]) + others[i])
		}
	case s.crossed:
		sum, others := s.sum[:len(pcm)], s.others[:len(pcm)]
		for i := range pcm {
			pcm[i] = limit(sum[i] + others[i])
		}
	default:
		for i, v := range s.sum[:len(pcm)] {
			pcm[i] = limit(v)
		}
	}
}

// zeros returns n of them in buf's memory.
func zeros(buf []int32, n int) []int32 {
	if cap(buf) < n {
		return make([]int32, n)
	}
	buf = buf[:n]
	clear(buf)
	return buf
}
