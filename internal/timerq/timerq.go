// Package timerq keeps the deadlines of state machines that have no clock.
//
// A loop owns a [Queue]: it sleeps until Next, calls Advance with the time it
// has become, and the callbacks of what is due run in order of their
// deadlines. Machines set and stop their timers on the queue they were given;
// time is always an argument.
package timerq

import "time"

// Queue is a heap of timers. The zero value is ready. It is not safe for
// concurrent use: one loop owns it.
type Queue struct {
	heap []*Timer
	seq  uint64
}

// Timer is one deadline. The zero value with F set is a stopped timer. A
// Timer is embedded in what it wakes, so setting one allocates nothing.
type Timer struct {
	// F is called by Advance when the timer is due, with the time that was
	// given to Advance.
	F func(now time.Time)

	at  time.Time
	seq uint64 // keeps timers of equal deadline in the order they were set
	pos int    // index in the heap plus one; 0 when stopped
}

// Active tells whether the timer is set.
func (t *Timer) Active() bool { return t.pos != 0 }

// At is the deadline of an active timer.
func (t *Timer) At() time.Time { return t.at }

// Set makes t due at the given time, in place of an earlier setting.
func (q *Queue) Set(t *Timer, at time.Time) {
	q.seq++
	t.at, t.seq = at, q.seq
	if t.pos == 0 {
		q.heap = append(q.heap, t)
		t.pos = len(q.heap)
		q.up(t.pos - 1)
		return
	}
	if i := t.pos - 1; !q.up(i) {
		q.down(i)
	}
}

// Stop makes t inactive and tells whether it was active.
func (q *Queue) Stop(t *Timer) bool {
	if t.pos == 0 {
		return false
	}
	i, last := t.pos-1, len(q.heap)-1
	q.swap(i, last)
	q.heap[last] = nil
	q.heap = q.heap[:last]
	t.pos = 0
	if i < last && !q.up(i) {
		q.down(i)
	}
	return true
}

// Next is the earliest deadline, and whether there is one.
func (q *Queue) Next() (time.Time, bool) {
	if len(q.heap) == 0 {
		return time.Time{}, false
	}
	return q.heap[0].at, true
}

// Advance runs every timer due at now, earliest first. A callback may set and
// stop timers, this one included; what it sets for now or earlier runs too.
func (q *Queue) Advance(now time.Time) {
	for len(q.heap) > 0 && !q.heap[0].at.After(now) {
		t := q.heap[0]
		q.Stop(t)
		t.F(now)
	}
}

// Len is the number of active timers.
func (q *Queue) Len() int { return len(q.heap) }

func (q *Queue) less(i, j int) bool {
	a, b := q.heap[i], q.heap[j]
	if c := a.at.Compare(b.at); c != 0 {
		return c < 0
	}
	return a.seq < b.seq
}

func (q *Queue) swap(i, j int) {
	h := q.heap
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (q *Queue) up(i int) (moved bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !q.less(i, parent) {
			break
		}
		q.swap(i, parent)
		i, moved = parent, true
	}
	return moved
}

func (q *Queue) down(i int) {
	for {
		least := 2*i + 1
		if least >= len(q.heap) {
			return
		}
		if r := least + 1; r < len(q.heap) && q.less(r, least) {
			least = r
		}
		if !q.less(least, i) {
			return
		}
		q.swap(i, least)
		i = least
	}
}
