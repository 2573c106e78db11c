// Package timerqtest turns the clock of machines that have none by hand.
package timerqtest

import (
	"time"

	"github.com/hoorn-phone/hoorn/internal/timerq"
)

// Run lets time pass from *now until end: every timer runs at its exact time,
// also those that are set meanwhile. One that was overdue runs at once.
func Run(q *timerq.Queue, now *time.Time, end time.Time) {
	for {
		next, ok := q.Next()
		if !ok || next.After(end) {
			*now = end
			return
		}
		if next.After(*now) {
			*now = next
		}
		q.Advance(*now)
	}
}
