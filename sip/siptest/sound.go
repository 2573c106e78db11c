package siptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
)

// soundRate is the rate at which services handle sound: enough for wide-band
// codecs.
const soundRate = 16000

// Echo is a number that sends back what it hears, decoded and encoded again
// with the caller's codec and the lab's keys.
func Echo() Service { return echo{} }

type echo struct{}

func (echo) begin(now time.Time, c *serviceCall) {
	c.answer(now, func(ctx context.Context, s *media.Session) error {
		l := new(loop)
		if err := errors.Join(s.SetSource(l), s.SetSink(l)); err != nil {
			return err
		}
		return s.Wait(ctx)
	})
}

// loop gives what it was given: a Sink and a Source in one.
type loop struct {
	mu  sync.Mutex
	pcm []int16
}

// maxLoop is how much sound waits at most: more is lost, the oldest first.
const maxLoop = soundRate / 5

func (*loop) SampleRate() int { return soundRate }

func (l *loop) WriteFrame(pcm []int16) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pcm = append(l.pcm, pcm...)
	if over := len(l.pcm) - maxLoop; over > 0 {
		l.pcm = append(l.pcm[:0], l.pcm[over:]...)
	}
	return nil
}

func (l *loop) ReadFrame(pcm []int16) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := copy(pcm, l.pcm)
	l.pcm = append(l.pcm[:0], l.pcm[n:]...)
	return n, nil
}

// maxAnnounce bounds the samples of an announcement: an hour at 48 kHz.
const maxAnnounce = 3600 * 48000

// Announce is a number that plays a WAV file and hangs up. Nil plays built-in
// speech. It panics if the file cannot be read, which is a mistake in the
// program.
func Announce(file []byte) Service {
	if file == nil {
		return &announce{rate: soundRate}
	}
	pcm, rate, err := wav.ReadAll(bytes.NewReader(file), maxAnnounce)
	if err != nil {
		panic(fmt.Sprintf("siptest: Announce: %v", err))
	}
	return &announce{pcm: pcm, rate: rate}
}

type announce struct {
	pcm  []int16 // nil: speech
	rate int
}

// speech is made at first use: it takes a while.
var speech = sync.OnceValue(func() []int16 { return mediatest.Speech(0, soundRate) })

func (a *announce) begin(now time.Time, c *serviceCall) {
	c.answer(now, func(ctx context.Context, s *media.Session) error {
		pcm := a.pcm
		if pcm == nil {
			pcm = speech()
		}
		return s.Play(ctx, media.NewPCMSource(a.rate, pcm, false))
	})
}

// RecordOptions are the bounds of a recording.
type RecordOptions struct {
	// Silence ends it; 0 is ten seconds.
	Silence time.Duration
	// Limit is its greatest length; 0 is a minute.
	Limit time.Duration
}

// RecordAndPlay is a number that beeps, records until the caller presses #,
// is silent or the limit is reached, plays the recording, and hangs up. Nil
// has the bounds of the zero RecordOptions.
func RecordAndPlay(o *RecordOptions) Service {
	r := &record{silence: 10 * time.Second, limit: time.Minute}
	if o != nil && o.Silence > 0 {
		r.silence = o.Silence
	}
	if o != nil && o.Limit > 0 {
		r.limit = o.Limit
	}
	return r
}

type record struct{ silence, limit time.Duration }

func (r *record) begin(now time.Time, c *serviceCall) {
	c.answer(now, func(ctx context.Context, s *media.Session) error {
		if err := s.Play(ctx, beepSource()); err != nil {
			return err
		}
		t := newTaker(r.silence, r.limit)
		if err := s.SetSink(t); err != nil {
			return err
		}
		keys, stop := context.WithCancel(ctx)
		defer stop()
		pressed := make(chan struct{})
		c.l.work.Go(func() {
			for d := range s.DTMF(keys) {
				if d.Key == '#' {
					close(pressed)
					return
				}
			}
		})
		select {
		case <-pressed:
		case <-t.full:
		case <-ctx.Done():
			return ctx.Err()
		}
		stop()
		if err := s.SetSink(nil); err != nil {
			return err
		}
		return s.Play(ctx, media.NewPCMSource(soundRate, t.taken(), false))
	})
}

// taker is a Sink that records, until there was nothing to hear for some time.
type taker struct {
	silence, limit int // in samples
	full           chan struct{}

	mu    sync.Mutex
	pcm   []int16
	quiet int // samples of silence at the end
	over  bool
}

// quietLevel is what counts as silence, in dB of full scale.
const quietLevel = -50

func newTaker(silence, limit time.Duration) *taker {
	samples := func(d time.Duration) int { return int(d.Seconds() * soundRate) }
	return &taker{silence: samples(silence), limit: samples(limit), full: make(chan struct{})}
}

func (*taker) SampleRate() int { return soundRate }

func (t *taker) WriteFrame(pcm []int16) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil
	}
	t.pcm = append(t.pcm, pcm...)
	if t.quiet += len(pcm); mediatest.Level(pcm) > quietLevel {
		t.quiet = 0
	}
	if t.over = t.quiet >= t.silence || len(t.pcm) >= t.limit; t.over {
		close(t.full)
	}
	return nil
}

// taken is the recording without the silence at its end.
func (t *taker) taken() []int16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	return t.pcm[:len(t.pcm)-t.quiet]
}
