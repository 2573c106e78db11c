package media

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/media/dtmf"
)

const (
	// maxDigits is how many received digits wait for a reader of
	// [Session.DTMF]; beyond it the oldest are lost.
	maxDigits = 64

	// maxPresses is how many calls of [Session.SendDTMF] may wait.
	maxPresses = 16
)

// A Digit is a key that the peer pressed and released.
type Digit struct {
	Key      rune          // 0 to 9, *, #, A to D
	Duration time.Duration // how long it was held
	At       time.Time     // when its end was received
}

// DTMFOptions says how digits are sent. The zero value of a field is its
// default.
type DTMFOptions struct {
	Duration time.Duration // of each digit, 40 ms to a minute; 0 = 120 ms
	Gap      time.Duration // between digits; 0 = 80 ms
}

// digits are received keys that wait for a reader.
type digits struct {
	mu     sync.Mutex
	list   []Digit
	closed bool
	wake   chan struct{} // has a token when there is something to see
}

func (d *digits) put(g Digit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) == maxDigits {
		d.list = append(d.list[:0], d.list[1:]...)
	}
	d.list = append(d.list, g)
	d.signal()
}

func (d *digits) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.signal()
}

// signal is called with mu held.
func (d *digits) signal() {
	if d.wake == nil {
		d.wake = make(chan struct{}, 1)
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest digit, or what to wait for.
func (d *digits) take() (g Digit, ok, closed bool, wake <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.list) > 0 {
		g, ok = d.list[0], true
		d.list = append(d.list[:0], d.list[1:]...)
	}
	if len(d.list) > 0 || d.closed {
		d.signal() // for other readers
	}
	if d.wake == nil {
		d.wake = make(chan struct{}, 1)
	}
	return g, ok, d.closed && !ok, d.wake
}

// DTMF yields the digits that the peer sends as telephone-events (RFC 4733),
// from the beginning of the session, until ctx ends or the session is closed.
// Up to 64 wait while nobody reads; then the oldest are lost. A digit goes to
// one reader, if there are several.
func (s *Session) DTMF(ctx context.Context) iter.Seq[Digit] {
	return func(yield func(Digit) bool) {
		for ctx.Err() == nil {
			g, ok, closed, wake := s.dtmf.take()
			switch {
			case ok:
				if !yield(g) {
					return
				}
				continue
			case closed:
				return
			}
			select {
			case <-wake:
			case <-ctx.Done():
			}
		}
	}
}

// press is one call of SendDTMF.
type press struct {
	keys string
	opts DTMFOptions
	done chan error // has room for the result
	left bool       // the caller has gone
}

// presser sends digits in place of the source.
type presser struct {
	queue  []*press
	now    *press // nil: idle
	sender *dtmf.Sender
	rate   int
	gap    time.Duration
	count  uint64
}

// SendDTMF sends digits (0 to 9, *, #, A to D; a comma is a pause of two
// seconds) as telephone-events (RFC 4733) in place of the source, and returns
// when the last one has been sent. It returns [ErrNoDTMF] when the peer takes
// no such events or nothing is agreed, an error that wraps [ErrDigit] for
// another character, ctx's error, or [ErrClosed]. Calls are served one after
// the other; while the session does not send, such as on hold, they wait.
// Nil options are the defaults.
func (s *Session) SendDTMF(ctx context.Context, keys string, o *DTMFOptions) error {
	p := &press{keys: keys, done: make(chan error, 1)}
	if o != nil {
		p.opts = *o
	}
	// What cannot be sent is refused now, not when its turn comes.
	if err := dtmf.NewSender(dtmf.SenderConfig{}).Queue(p.keys, 0); err != nil {
		return err
	}
	s.mu.Lock()
	switch l := s.selected; {
	case s.closed:
		s.mu.Unlock()
		return ErrClosed
	case l == nil || !l.agreed || l.media.Disabled || l.media.DTMFSend.Rate == 0:
		s.mu.Unlock()
		return ErrNoDTMF
	case len(s.press.queue) >= maxPresses:
		s.mu.Unlock()
		return dtmf.ErrFull
	}
	if p.keys == "" {
		s.mu.Unlock()
		return nil
	}
	s.press.queue = append(s.press.queue, p)
	s.mu.Unlock()

	select {
	case err := <-p.done:
		return err
	case <-s.done:
		return ErrClosed
	case <-ctx.Done():
		s.mu.Lock()
		p.left = true
		s.mu.Unlock()
		return ctx.Err()
	}
}

// sendDTMF sends a telephone-event if one is due, and tells whether it did.
// The caller holds mu.
func (s *Session) sendDTMF(w *work) bool {
	d, l := &s.press, s.selected
	if d.now == nil && len(d.queue) == 0 {
		return false
	}
	ev := l.media.DTMFSend
	if ev.Rate == 0 {
		// What was agreed has changed.
		for _, p := range append(d.queue, d.now) {
			if p != nil {
				p.done <- ErrNoDTMF
			}
		}
		d.queue, d.now, d.sender = nil, nil, nil
		return false
	}
	for d.now == nil && len(d.queue) > 0 {
		p := d.queue[0]
		if d.queue = d.queue[1:]; p.left {
			continue
		}
		d.start(p, ev.Rate)
	}
	if d.now == nil {
		return false
	}
	if d.now.left {
		d.sender.Clear()
	}
	n := &s.send
	step := uint32(int64(n.clock) / 50)
	// Events count at their own rate, which is the sound's wherever the peer
	// allows it (RFC 4733 §2.4.1 with RFC 7160).
	ts, ticks := n.ts, step
	if ev.Rate != n.clock {
		ts = uint32(uint64(ts) * uint64(ev.Rate) / uint64(n.clock))
		ticks = uint32(ev.Rate / 50)
	}
	p, ok := d.sender.Next(ts, ticks)
	if ok {
		s.transmit(w, append(w.packet[:rtpHeader], p.Payload[:]...), ev.PT, p.Marker, p.Timestamp)
		n.ts += step
		n.wait = n.wait[:0]
		n.marker = true // of the sound after it
	}
	if !d.sender.Active() {
		d.count += uint64(len(d.now.keys))
		d.now.done <- nil
		d.now = nil
	}
	return ok
}

func (d *presser) start(p *press, rate int) {
	if d.sender == nil || d.rate != rate || d.gap != p.opts.Gap {
		d.sender = dtmf.NewSender(dtmf.SenderConfig{ClockRate: rate, Gap: p.opts.Gap})
		d.rate, d.gap = rate, p.opts.Gap
	}
	if err := d.sender.Queue(p.keys, p.opts.Duration); err != nil {
		p.done <- err
		return
	}
	d.now = p
}

// eventReceiver receives telephone-events of one source.
type eventReceiver struct {
	r       *dtmf.Receiver
	rate    int
	reports [3]dtmf.Report
}

func (e *eventReceiver) reset() {
	if e.r != nil {
		e.r.Reset()
	}
}

// packet takes a packet and returns a key that came up with it.
func (e *eventReceiver) packet(h *header, at time.Time, rate int) *Digit {
	if e.r == nil || e.rate != rate {
		e.r, e.rate = dtmf.NewReceiver(dtmf.ReceiverConfig{ClockRate: rate}), rate
	}
	got, err := e.r.Packet(e.reports[:0], at, h.ts, h.payload)
	if err != nil {
		return nil
	}
	return digit(got, at)
}

// advance ends a key whose last packets were all lost.
func (e *eventReceiver) advance(now time.Time) *Digit {
	if e.r == nil {
		return nil
	}
	return digit(e.r.Advance(e.reports[:0], now), now)
}

func digit(reports []dtmf.Report, at time.Time) *Digit {
	for _, r := range reports {
		if key := dtmf.KeyOf(r.Code); !r.Down && key != 0 {
			return &Digit{Key: rune(key), Duration: r.Duration, At: at}
		}
	}
	return nil
}
