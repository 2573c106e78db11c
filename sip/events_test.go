package sip

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The log of events: a reader begins with the oldest event kept, whenever he
// comes; one that is too slow misses the oldest; the end of the log and of the
// context end him.
func TestEventLog(t *testing.T) {
	read := func(l *eventLog[int], ctx context.Context) (got []int) {
		for e := range l.all(ctx) {
			got = append(got, e)
		}
		return got
	}
	upTo := func(from, to int) (s []int) {
		for i := from; i < to; i++ {
			s = append(s, i)
		}
		return s
	}
	t.Run("bounded", func(t *testing.T) {
		var l eventLog[int]
		for i := range 10 * eventsKept {
			l.add(i)
		}
		l.close()
		l.add(-1)
		if got := read(&l, t.Context()); !slices.Equal(got, upTo(9*eventsKept, 10*eventsKept)) {
			t.Errorf("read %v", got)
		}
		if len(l.events) != eventsKept || cap(l.events) > 2*eventsKept {
			t.Errorf("keeps %d of %d", len(l.events), cap(l.events))
		}
		if got := read(&l, t.Context()); len(got) != eventsKept {
			t.Errorf("a second reader got %d", len(got))
		}
	})
	t.Run("late and several readers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l eventLog[int]
			got := make(chan []int)
			for range 2 {
				go func() { got <- read(&l, t.Context()) }()
			}
			l.add(0)
			synctest.Wait()
			l.add(1)
			l.add(2)
			go func() { got <- read(&l, t.Context()) }()
			synctest.Wait()
			l.add(3)
			l.close()
			for range 3 {
				if g := <-got; !slices.Equal(g, upTo(0, 4)) {
					t.Errorf("read %v", g)
				}
			}
		})
	})
	t.Run("a slow reader", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l eventLog[int]
			got := make(chan []int)
			proceed := make(chan struct{})
			go func() {
				var s []int
				for e := range l.all(t.Context()) {
					s = append(s, e)
					<-proceed
				}
				got <- s
			}()
			l.add(0)
			synctest.Wait() // he has it, and thinks about it
			for i := 1; i <= eventsKept+10; i++ {
				l.add(i)
			}
			l.close()
			close(proceed)
			if g, want := <-got, append([]int{0}, upTo(11, eventsKept+11)...); !slices.Equal(g, want) {
				t.Errorf("read %v, want %v", g, want)
			}
		})
	})
	t.Run("contexts, and readers who have enough", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var l eventLog[int]
			l.add(0)
			l.add(1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if got := read(&l, ctx); !slices.Equal(got, upTo(0, 2)) { // returns with the context
				t.Errorf("read %v", got)
			}
			if got := read(&l, ctx); got != nil {
				t.Errorf("with a context that has ended: %v", got)
			}
			for e := range l.all(t.Context()) {
				if e != 0 {
					t.Error("went on")
				}
				break
			}
		})
	})
}

func TestStrings(t *testing.T) {
	for _, s := range []interface {
		String() string
	}{
		CallCalling, CallIncoming, CallRinging, CallAnswering, CallEstablished, CallEnded, CallState(99),
		Outgoing, Incoming, Direction(99), Local, Remote, Nobody, Side(99),
		StateChanged, Progress, MediaChanged, MediaStarted, MediaTimeout, EventKind(99),
		Registering, Registered, Reconnecting, Unregistered, RegistrationState(99),
		Reason{Protocol: "SIP", Cause: 200, Text: "x"},
		Credential{Username: "alice", Password: "secret", HA1: "secret"},
	} {
		if s.String() == "" {
			t.Errorf("%#v has no name", s)
		}
	}
	c := Credential{Username: "alice", Password: "secret"}
	for _, s := range []string{c.String(), c.GoString(), c.LogValue().String()} {
		if s != "credential of alice" {
			t.Errorf("%q", s)
		}
	}
}
