package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/hoorn-phone/hoorn/media/wav"
)

// SinkFunc returns a Sink that calls f with every frame, on the terms of
// [Sink.WriteFrame]: f must not block and keeps nothing of pcm.
func SinkFunc(rate int, f func(pcm []int16)) Sink { return sinkFunc{rate, f} }

type sinkFunc struct {
	rate int
	f    func(pcm []int16)
}

func (s sinkFunc) SampleRate() int { return s.rate }

func (s sinkFunc) WriteFrame(pcm []int16) error {
	s.f(pcm)
	return nil
}

// A WriterSink is a [Sink] that writes to something that may block, by a
// goroutine of its own. Two seconds may wait; frames beyond that are dropped
// and counted.
type WriterSink struct {
	rate  int
	spool *spool
	after func() error // closes what is written to; nil = nothing
	once  sync.Once
	err   error
}

// NewWriterSink returns a sink that writes 16-bit little-endian mono PCM to w,
// at rate Hz. It must be closed, which a session it is given to does; w is
// closed then if it is an io.Closer.
func NewWriterSink(w io.Writer, rate int) *WriterSink {
	var buf []byte
	s := &WriterSink{rate: rate}
	if c, ok := w.(io.Closer); ok {
		s.after = c.Close
	}
	s.spool = newSpool(func(pcm []int16) error {
		buf = buf[:0]
		for _, v := range pcm {
			buf = binary.LittleEndian.AppendUint16(buf, uint16(v))
		}
		_, err := w.Write(buf)
		return err
	}, spoolTime*rate, 0)
	return s
}

// NewWAVSink returns a sink that writes a mono WAV file to w at rate Hz. It
// must be closed, which a session it is given to does; w is closed then if it
// is an io.Closer. The error is w's, or wraps [ErrRate].
func NewWAVSink(w io.WriteSeeker, rate int) (*WriterSink, error) {
	if err := checkRate(rate); err != nil {
		return nil, err
	}
	f, err := wav.NewWriter(w, wav.Format{SampleRate: rate, Channels: 1})
	if err != nil {
		return nil, err
	}
	s := &WriterSink{rate: rate, after: f.Close}
	if c, ok := w.(io.Closer); ok {
		s.after = func() error { return errors.Join(f.Close(), c.Close()) }
	}
	s.spool = newSpool(f.Write, spoolTime*rate, rate/2)
	return s, nil
}

// CreateWAV returns a sink that writes a mono WAV file at rate Hz, on the
// terms of [NewWAVSink]. A file of that name is overwritten.
func CreateWAV(path string, rate int) (*WriterSink, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	s, err := NewWAVSink(f, rate)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// SampleRate is the rate of the sound in Hz.
func (s *WriterSink) SampleRate() int { return s.rate }

// WriteFrame implements [Sink].
func (s *WriterSink) WriteFrame(pcm []int16) error { return s.spool.put(pcm) }

// Dropped is how many frames were lost because the writer was too slow.
func (s *WriterSink) Dropped() uint64 { return s.spool.droppedCount() }

// Close writes what waits, for at most five seconds. It is idempotent. The error is
// the writer's, of this or an earlier write, or says that it did not end in time.
func (s *WriterSink) Close() error {
	s.once.Do(func() { s.err = closeSpool(s.spool, s.after) })
	return s.err
}

// closeSpool ends a spool and then what it wrote to, which is left alone while
// a write to it hangs.
func closeSpool(s *spool, after func() error) error {
	whole, err := s.close()
	if whole && after != nil {
		err = errors.Join(err, after())
	} else if after != nil {
		go func() {
			<-s.done
			after()
		}()
	}
	if err != nil {
		return fmt.Errorf("media: writing sound: %w", err)
	}
	return nil
}
