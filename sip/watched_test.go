package sip

import (
	"bytes"
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// watched are media that note what is asked of them, and whether two
// operations ever ran at once.
type watched struct {
	noMedia
	env offeranswer.Env

	busy       atomic.Bool
	overlapped bool
	mu         sync.Mutex
	selected   string
	newKeys    map[string]bool // by leg; "" is the media's own offer
	open       []string
	closed     bool
}

// use takes a moment, in which nothing else may run.
func (w *watched) use() func() {
	if w.busy.Swap(true) {
		w.overlapped = true
	}
	<-time.After(time.Microsecond)
	w.mu.Lock()
	return func() {
		w.mu.Unlock()
		w.busy.Store(false)
	}
}

func (w *watched) keys(name string, o offeranswer.Options) {
	if w.newKeys == nil {
		w.newKeys = make(map[string]bool)
	}
	w.newKeys[name] = o.NewKeys
}

func (w *watched) Offer(ctx context.Context, o offeranswer.Options) ([]byte, error) {
	defer w.use()()
	w.keys("", o)
	return w.noMedia.Offer(ctx, o)
}

func (w *watched) Leg(name string) (offeranswer.Leg, error) {
	defer w.use()()
	w.open = append(w.open, name)
	return &watchedLeg{w: w, name: name, noLeg: noLeg{local: netip.MustParseAddr("10.0.0.1")}}, nil
}

func (w *watched) Select(l offeranswer.Leg) error {
	defer w.use()()
	w.selected = l.(*watchedLeg).name
	return nil
}

func (w *watched) Close() error {
	defer w.use()()
	w.closed = true
	return nil
}

type watchedLeg struct {
	noLeg
	w    *watched
	name string
}

func (l *watchedLeg) Answer(ctx context.Context, offer []byte, o offeranswer.Options) ([]byte, error) {
	defer l.w.use()()
	l.w.keys(l.name, o)
	return l.noLeg.Answer(ctx, offer, o)
}

func (l *watchedLeg) SetAnswer(ctx context.Context, sdp []byte, provisional bool) error {
	defer l.w.use()()
	err := l.noLeg.SetAnswer(ctx, sdp, provisional)
	l.streams[0].Disabled = bytes.Contains(sdp, []byte("m=audio 0 "))
	return err
}

func (l *watchedLeg) Close() error {
	defer l.w.use()()
	for i, name := range l.w.open {
		if name == l.name {
			l.w.open = append(l.w.open[:i], l.w.open[i+1:]...)
			break
		}
	}
	return nil
}
