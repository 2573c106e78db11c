package mediatest

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Impairment is what a link does to packets. The zero value does nothing.
type Impairment struct {
	Delay  time.Duration // of every packet
	Jitter time.Duration // more delay, evenly spread from 0 to this; packets do not overtake for it

	Loss  float64 // share of packets lost, 0 to 1
	Burst float64 // mean number of packets lost in a row; up to 1 = each for itself

	Reorder   float64 // share of packets that the next one overtakes
	Duplicate float64 // share of packets that arrive twice

	Seed uint64 // the same seed does the same to the same packets
}

// maxHeld bounds what a link holds; what is sent beyond it is lost.
const maxHeld = 4096

// A Link is one direction of an impaired network, as a machine without a
// clock: packets go in with the time, and come out when it is due. Two links
// with the same impairment and the same packets do the same. It is not safe
// for concurrent use. Make it with [NewLink].
type Link struct {
	im   Impairment
	rng  *rand.Rand
	held []packet // sorted by due
	last time.Time
	late *packet // waits to be overtaken
	bad  bool    // in a burst of losses

	stats LinkStats
}

// LinkStats counts the packets given to a [Link] and what became of them.
type LinkStats struct{ Sent, Lost, Duplicated, Reordered int }

// Stats returns the counts so far.
func (l *Link) Stats() LinkStats { return l.stats }

type packet struct {
	due  time.Time
	data []byte
}

// NewLink returns an empty link.
func NewLink(im Impairment) *Link {
	return &Link{im: im, rng: rand.New(rand.NewPCG(im.Seed, 1))}
}

// Send takes a copy of a packet that is sent at now.
func (l *Link) Send(now time.Time, data []byte) {
	l.stats.Sent++
	// Every packet draws the same numbers, whatever happens to it, so that a
	// change of one impairment leaves the others as they were.
	lose, jitter, swap, twice := l.rng.Float64(), l.rng.Float64(), l.rng.Float64(), l.rng.Float64()
	if l.lost(lose) || len(l.held) >= maxHeld {
		l.stats.Lost++
		return
	}
	due := now.Add(l.im.Delay + time.Duration(jitter*float64(l.im.Jitter)))
	if due.Before(l.last) {
		due = l.last
	}
	l.last = due
	p := packet{due, slices.Clone(data)}
	if l.late != nil {
		// The one before goes out just behind this one.
		l.hold(p)
		l.late.due = due
		l.hold(*l.late)
		l.late = nil
	} else if swap < l.im.Reorder {
		l.stats.Reordered++
		l.late = &p
	} else {
		l.hold(p)
	}
	if twice < l.im.Duplicate {
		l.stats.Duplicated++
		l.hold(packet{due, slices.Clone(data)})
	}
}

// lost is Gilbert's model: in the bad state everything is lost, and it lasts
// Burst packets on average.
func (l *Link) lost(draw float64) bool {
	if l.im.Burst <= 1 || l.im.Loss >= 1 {
		return draw < l.im.Loss
	}
	leave := 1 / l.im.Burst
	if l.bad {
		l.bad = draw >= leave
	} else {
		l.bad = draw < leave*l.im.Loss/(1-l.im.Loss)
	}
	return l.bad
}

func (l *Link) hold(p packet) {
	i := len(l.held)
	for i > 0 && l.held[i-1].due.After(p.due) {
		i--
	}
	l.held = slices.Insert(l.held, i, p)
}

// Deadline returns when the next packet is due.
func (l *Link) Deadline() (at time.Time, ok bool) {
	if l.late != nil && (len(l.held) == 0 || l.late.due.Add(overtakeWait).Before(l.held[0].due)) {
		return l.late.due.Add(overtakeWait), true
	}
	if len(l.held) == 0 {
		return time.Time{}, false
	}
	return l.held[0].due, true
}

// overtakeWait is how long a packet waits to be overtaken by one that may
// never come.
const overtakeWait = 100 * time.Millisecond

// Receive returns the next packet that is due at now, or nil.
func (l *Link) Receive(now time.Time) []byte {
	if l.late != nil && !l.late.due.Add(overtakeWait).After(now) {
		l.hold(*l.late)
		l.late = nil
	}
	if len(l.held) == 0 || l.held[0].due.After(now) {
		return nil
	}
	data := l.held[0].data
	l.held = slices.Delete(l.held, 0, 1)
	return data
}
