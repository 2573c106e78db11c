package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/hoorn-phone/hoorn/internal/resample"
)

// A Source gives the PCM that a session sends.
//
// A Source that is an io.Closer belongs to the session it is given to, and is
// closed when it has ended, is replaced, or the session is closed.
type Source interface {
	// SampleRate is the rate of the PCM in Hz, 8000 to 48000 and a multiple
	// of 25, whatever the codec's. It must not change.
	SampleRate() int

	// ReadFrame fills pcm, mono, with the next 20 ms and returns how many
	// samples it had. It is called once every 20 ms while the session sends,
	// by a goroutine that serves other sessions too: it must not block. What
	// is missing becomes silence. [io.EOF] and any other error end the
	// source; the samples returned with it still count.
	ReadFrame(pcm []int16) (n int, err error)
}

// A Sink takes the PCM that a session receives.
//
// A Sink that is an io.Closer belongs to the session it is given to, and is
// closed when it is replaced or the session is closed.
type Sink interface {
	// SampleRate is the rate of the PCM that the sink wants in Hz, 8000 to
	// 48000 and a multiple of 25, whatever the codec's. It must not change.
	SampleRate() int

	// WriteFrame takes the next 20 ms, mono. It is called once every 20 ms
	// from when something is agreed, with silence when nothing is heard. It
	// must not block, and keeps nothing of pcm. An error removes the sink.
	WriteFrame(pcm []int16) error
}

func checkRate(rate int) error {
	if rate < 8000 || rate > 48000 || rate%25 != 0 {
		return fmt.Errorf("%w: %d Hz", ErrRate, rate)
	}
	return nil
}

// attached is a source, sink or recorder of a session.
type attached[T any] struct {
	it    T
	ended chan struct{} // closed when a source has ended; nil if nobody waits
	err   error         // why, if not io.EOF
}

// SetSource makes src what the session sends, from the next frame on. Nil is
// silence, which is also what is sent before a source is set. It may be called
// at any time, by a Source or Sink too. The error wraps [ErrRate], or is
// [ErrClosed]; src is then not taken.
func (s *Session) SetSource(src Source) error {
	var a *attached[Source]
	if src != nil {
		if err := checkRate(src.SampleRate()); err != nil {
			return err
		}
		a = &attached[Source]{it: src}
	}
	return attach(s, &s.source, a)
}

// SetHoldSource makes src what the peer hears while we hold him, that is while
// we offer sendonly (RFC 6337 §5.3), in place of what [Session.SetSource] and
// [Session.Play] set, which wait. Nil, and the default, is silence. A peer that
// by its own wish sends nothing is not held and hears the source. The terms are
// those of SetSource; [NewMusic] is made for this.
func (s *Session) SetHoldSource(src Source) error {
	var a *attached[Source]
	if src != nil {
		if err := checkRate(src.SampleRate()); err != nil {
			return err
		}
		a = &attached[Source]{it: src}
	}
	return attach(s, &s.holdSource, a)
}

// SetSink makes sink what hears the session, from the next frame on. Nil is
// nobody. It may be called at any time, by a Source or Sink too. The error
// wraps [ErrRate], or is [ErrClosed]; the sink is then not taken.
func (s *Session) SetSink(sink Sink) error {
	var a *attached[Sink]
	if sink != nil {
		if err := checkRate(sink.SampleRate()); err != nil {
			return err
		}
		a = &attached[Sink]{it: sink}
	}
	return attach(s, &s.sink, a)
}

// SetRecorder records both sides of the session from the next frame on. Nil
// ends the recording. The recorder is closed when it is replaced or the
// session is closed. The only error is [ErrClosed].
func (s *Session) SetRecorder(r *Recorder) error {
	var a *attached[*Recorder]
	if r != nil {
		a = &attached[*Recorder]{it: r}
	}
	return attach(s, &s.recorder, a)
}

// Play sends src until it ends, in place of what [Session.SetSource] set,
// which goes on afterwards. It returns nil at io.EOF, and otherwise src's
// error, the context's, or [ErrClosed]. A second Play replaces the first,
// which then returns [ErrReplaced]. Nothing plays while the session does not
// send, such as on hold.
func (s *Session) Play(ctx context.Context, src Source) error {
	if err := checkRate(src.SampleRate()); err != nil {
		return err
	}
	a := &attached[Source]{it: src, ended: make(chan struct{}), err: ErrReplaced}
	if err := attach(s, &s.playing, a); err != nil {
		return err
	}
	select {
	case <-a.ended:
		return a.err
	case <-ctx.Done():
		s.finish(a, ctx.Err())
		<-a.ended
		return a.err
	}
}

// ErrReplaced is returned by [Session.Play] when something else was played.
var ErrReplaced = errors.New("media: replaced by another source")

// attach puts a in a slot and disposes of what was there.
func attach[T any](s *Session, slot **attached[T], a *attached[T]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	old := *slot
	*slot = a
	dispose(s, old)
	return nil
}

// dispose closes what was detached, once no turn uses it any more. The caller
// holds mu.
func dispose[T any](s *Session, a *attached[T]) {
	if a == nil {
		return
	}
	s.wg.Go(func() {
		s.afterTurn()
		a.close(s.log)
	})
}

func (a *attached[T]) close(log *slog.Logger) {
	if c, ok := any(a.it).(io.Closer); ok {
		if err := c.Close(); err != nil {
			log.Warn("media: closing what sound came from or went to", "err", err)
		}
	}
	if a.ended != nil {
		close(a.ended)
	}
}

// finish takes a source out that has ended. It may be called by a turn.
func (s *Session) finish(a *attached[Source], err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch a {
	case s.playing:
		s.playing = nil
	case s.source:
		s.source = nil
	case s.holdSource:
		s.holdSource = nil
	default:
		return // replaced meanwhile
	}
	if err == io.EOF {
		err = nil
	}
	a.err = err
	dispose(s, a)
}

// detachAll closes everything attached. The session is closed and no turn is
// under way.
func (s *Session) detachAll() {
	s.mu.Lock()
	playing, source, hold, sink, rec := s.playing, s.source, s.holdSource, s.sink, s.recorder
	s.playing, s.source, s.holdSource, s.sink, s.recorder = nil, nil, nil, nil, nil
	s.mu.Unlock()
	if playing != nil {
		playing.err = ErrClosed
		playing.close(s.log)
	}
	if source != nil {
		source.close(s.log)
	}
	if hold != nil {
		hold.close(s.log)
	}
	if sink != nil {
		sink.close(s.log)
	}
	if rec != nil {
		rec.close(s.log)
	}
}

// input reads a source at the rate of the codec. One goroutine at a time.
type input struct {
	from *attached[Source]
	rs   *resample.Resampler // nil: the rates are equal
	rate int                 // of the codec
	ask  int                 // samples asked for so far, modulo 50 seconds
	left []int16             // resampled beyond the frame
	turn int
}

// finisher is who a source is attached to.
type finisher interface {
	// finish takes a source out that has ended.
	finish(a *attached[Source], err error)
}

// read returns 20 ms at rate. The result is scratch space.
func (in *input) read(f finisher, pcm *scratch, a *attached[Source], rate int) []int16 {
	need := rate / 50
	out := pcm[1][:0]
	if a != nil {
		if a != in.from || rate != in.rate {
			in.begin(a, rate)
		}
		out = in.pull(f, pcm, out)
	} else {
		in.from = nil
	}
	for len(out) < need {
		out = append(out, 0)
	}
	if len(out) > need {
		in.left = append(in.left[:0], out[need:]...)
	}
	return out[:need]
}

func (in *input) begin(a *attached[Source], rate int) {
	in.from, in.rate, in.rs = a, rate, nil
	in.ask, in.turn, in.left = 0, 0, in.left[:0]
	if from := a.it.SampleRate(); from != rate {
		in.rs, _ = resample.New(from, rate) // nil where there is no way: silence
	}
}

// pull asks the source for 20 ms.
func (in *input) pull(f finisher, pcm *scratch, out []int16) []int16 {
	from := in.from.it.SampleRate()
	// Rates that are no multiple of 50 alternate between two sizes, rounded up
	// so that there is always enough.
	if in.turn++; in.turn == 50 {
		in.turn, in.ask = 0, in.ask-from
	}
	n := (in.turn*from+49)/50 - in.ask
	in.ask += n
	buf := pcm[2][:n]
	got, err := in.from.it.ReadFrame(buf)
	clear(buf[max(0, min(got, n)):])
	out = append(out, in.left...)
	in.left = in.left[:0]
	switch {
	case in.rs != nil:
		out = in.rs.Process(out, buf)
	case from == in.rate:
		out = append(out, buf...)
	}
	if err != nil {
		f.finish(in.from, err)
		in.from = nil
	}
	return out
}

// output writes to a sink at its rate. One goroutine at a time.
type output struct {
	rs       *resample.Resampler
	from, to int
}

// write gives 20 ms at rate to sink.
func (o *output) write(buf *scratch, sink Sink, pcm []int16, rate int) error {
	pcm, err := o.convert(buf, pcm, rate, sink.SampleRate())
	if err != nil {
		return err
	}
	return sink.WriteFrame(pcm)
}

// convert returns pcm at another rate, in scratch space if they differ.
func (o *output) convert(buf *scratch, pcm []int16, rate, to int) ([]int16, error) {
	if to == rate {
		return pcm, nil
	}
	if o.rs == nil || o.from != rate || o.to != to {
		rs, err := resample.New(rate, to)
		if err != nil {
			return nil, err
		}
		o.rs, o.from, o.to = rs, rate, to
	}
	return o.rs.Process(buf[3][:0], pcm), nil
}

// dropSink takes a sink out that failed.
func (s *Session) dropSink(a *attached[Sink], err error) { drop(s, &s.sink, a, err) }

// dropRecorder takes a recorder out that failed.
func (s *Session) dropRecorder(a *attached[*Recorder], err error) { drop(s, &s.recorder, a, err) }

func drop[T any](s *Session, slot **attached[T], a *attached[T], err error) {
	s.log.Warn("media: writing sound failed, nothing more is written", "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if *slot == a {
		*slot = nil
		dispose(s, a)
	}
}
