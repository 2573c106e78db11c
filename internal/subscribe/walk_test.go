package subscribe

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// A random walk: a subscriber and a notifier on a bad wire, with whatever
// happens to either. Once the wire is good again the subscriber knows the
// latest state, and after the end nothing is left.
func TestWalk(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { walk(t, seed) })
	}
}

type latest struct {
	observer
	body  string
	lost  bool
	ended bool
}

func (l *latest) Notified(_ time.Time, n Notification) { l.body, l.lost = string(n.Body), false }
func (l *latest) Lost(time.Time, error, time.Duration) { l.lost = true }
func (l *latest) Ended(time.Time, error)               { l.ended = true }

type counter struct {
	source
	n int
}

func (c *counter) State(time.Time, *Watcher, bool) (string, []byte) {
	return "text/plain", fmt.Append(nil, c.n)
}

func walk(t *testing.T, seed uint64) {
	w, alice, bob := newWorld(t, seed%2 == 0)
	src := &counter{source: source{p: bob, status: 200}}
	n := NewNotifier(env{bob}, NotifierConfig{Package: "dialog", Interval: time.Duration(seed%3) * time.Second}, src)
	bob.handler, bob.takes = n.OnSubscribe, n.OnSubscribe
	o := &latest{observer: observer{alice}}
	s := subscriber(alice, func(c *SubscriberConfig) { c.Expires = 2 * time.Minute })
	s.o = o
	alice.takes = s.OnNotify // what belongs to a dialog that is not there any more
	s.Start(w.now)
	w.run(time.Second)
	rng := rand.New(rand.NewPCG(seed, 1))
	w.rng = rng
	cut := 0.0
	w.lose = func(*party, sipgo.Message) bool { return rng.Float64() < cut }
	for range 300 {
		switch rng.IntN(12) {
		case 0, 1, 2, 3:
			src.n++
			n.Changed(w.now)
		case 4:
			s.Refresh(w.now, "", nil, nil)
		case 5:
			s.Moved(w.now, alice.link, alice.link)
		case 6:
			n.Close(w.now, []string{"deactivated", "probation", "timeout", "giveup", ""}[rng.IntN(5)])
		case 7:
			n.Stop() // a restart
		case 8:
			cut = []float64{0, 0.2, 1}[rng.IntN(3)]
		default:
			w.run(time.Duration(rng.IntN(60000)) * time.Millisecond)
		}
		if o.ended {
			t.Fatal("it gave up")
		}
		if len(alice.dialogs) > 1 || len(n.Watchers()) > 200 {
			t.Fatalf("there are %d dialogs, %d watchers", len(alice.dialogs), len(n.Watchers()))
		}
	}
	cut = 0
	w.run(2 * time.Hour) // the longest wait after many failures
	src.n++
	n.Changed(w.now)
	w.run(time.Minute)
	if o.lost || o.body != fmt.Sprint(src.n) || len(n.Watchers()) != 1 {
		t.Fatalf("lost is %v, knows %s, state %d, %d watch", o.lost, o.body, src.n, len(n.Watchers()))
	}
	s.Close(w.now)
	w.run(time.Hour)
	if !o.ended || len(alice.dialogs)+len(bob.dialogs)+len(n.Watchers())+w.q.Len() != 0 {
		t.Errorf("ended is %v; left: %d and %d dialogs, %d watchers, %d timers", o.ended, len(alice.dialogs), len(bob.dialogs), len(n.Watchers()), w.q.Len())
	}
}
