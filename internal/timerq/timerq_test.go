package timerq

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestOrder(t *testing.T) {
	var q Queue
	var got []int
	timers := make([]Timer, 5)
	for i, ms := range []int{30, 10, 20, 10, 40} {
		timers[i].F = func(time.Time) { got = append(got, i) }
		q.Set(&timers[i], epoch.Add(time.Duration(ms)*time.Millisecond))
	}
	if next, ok := q.Next(); !ok || !next.Equal(epoch.Add(10*time.Millisecond)) {
		t.Fatalf("Next = %v, %v", next, ok)
	}
	q.Advance(epoch.Add(30 * time.Millisecond))
	if want := []int{1, 3, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("ran %v, want %v", got, want)
	}
	if !timers[4].Active() || timers[0].Active() || q.Len() != 1 {
		t.Errorf("active: %v %v, len %d", timers[4].Active(), timers[0].Active(), q.Len())
	}
}

func TestSetInsideCallback(t *testing.T) {
	var q Queue
	n := 0
	var tm Timer
	tm.F = func(now time.Time) {
		if n++; n < 3 {
			q.Set(&tm, now) // due at once: runs in the same Advance
		}
	}
	q.Set(&tm, epoch)
	q.Advance(epoch)
	if n != 3 || tm.Active() {
		t.Errorf("ran %d times, active %v", n, tm.Active())
	}
}

// The queue agrees with a sorted list under random settings, changes and stops.
func TestRandomAgainstList(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q Queue
	timers := make([]Timer, 200)
	due := map[int]time.Time{}
	var ran []int
	for i := range timers {
		timers[i].F = func(time.Time) { ran = append(ran, i) }
	}
	now := epoch
	for range 20000 {
		i := r.IntN(len(timers))
		switch r.IntN(4) {
		case 0:
			_, want := due[i]
			if q.Stop(&timers[i]) != want {
				t.Fatal("Stop disagrees")
			}
			delete(due, i)
		case 1:
			now = now.Add(time.Duration(r.IntN(50)) * time.Millisecond)
			ran = ran[:0]
			q.Advance(now)
			for j, i := range ran {
				if due[i].After(now) || j > 0 && due[ran[j-1]].After(due[i]) {
					t.Fatalf("timer %d ran out of order", i)
				}
			}
			for _, i := range ran {
				delete(due, i)
			}
			for i, at := range due {
				if !at.After(now) {
					t.Fatalf("timer %d did not run", i)
				}
			}
		default:
			at := now.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
			q.Set(&timers[i], at)
			due[i] = at
		}
		if q.Len() != len(due) {
			t.Fatalf("Len = %d, want %d", q.Len(), len(due))
		}
	}
}

func TestSetAllocatesNothing(t *testing.T) {
	var q Queue
	tm := Timer{F: func(time.Time) {}}
	q.Set(&tm, epoch)
	if n := testing.AllocsPerRun(100, func() { q.Set(&tm, epoch); q.Stop(&tm) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
