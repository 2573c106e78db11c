package media

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/hoorn-phone/hoorn/internal/resample"
	"github.com/hoorn-phone/hoorn/media/wav"
)

// RecorderOptions says how a [Recorder] records.
type RecorderOptions struct {
	Rate   int  // in Hz, on the terms of [Source]; 0 = 16000
	Stereo bool // our side on the left, the peer's on the right; else mixed to mono
}

// A Recorder writes both sides of a session to a WAV file, by a goroutine of
// its own. Both are on the time line of what is heard here; a side that is
// silent, held or not yet there is silence. Two seconds may wait for a slow
// disk; beyond that frames are dropped and counted.
type Recorder struct {
	stereo bool
	rate   int
	spool  *spool
	after  func() error
	once   sync.Once
	err    error

	// Turns of one session only.
	ours, theirs converter
	turn         int // modulo 50: rates that are no multiple of it alternate
	buf          []int16
}

// NewRecorder returns a recorder that writes to w, which is closed at the end
// if it is an io.Closer. It must be closed, which a session it is given to
// does. Nil options are the defaults. The error is w's, or wraps [ErrRate].
func NewRecorder(w io.WriteSeeker, o *RecorderOptions) (*Recorder, error) {
	r := &Recorder{rate: 16000}
	if o != nil {
		r.stereo = o.Stereo
		if o.Rate != 0 {
			r.rate = o.Rate
		}
	}
	if err := checkRate(r.rate); err != nil {
		return nil, err
	}
	channels := 1
	if r.stereo {
		channels = 2
	}
	f, err := wav.NewWriter(w, wav.Format{SampleRate: r.rate, Channels: channels})
	if err != nil {
		return nil, err
	}
	r.after = f.Close
	if c, ok := w.(io.Closer); ok {
		r.after = func() error { return errors.Join(f.Close(), c.Close()) }
	}
	r.spool = newSpool(f.Write, spoolTime*r.rate*channels, r.rate*channels/2)
	return r, nil
}

// CreateRecorder returns a recorder that writes a file, on the terms of
// [NewRecorder]. A file of that name is overwritten.
func CreateRecorder(path string, o *RecorderOptions) (*Recorder, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	r, err := NewRecorder(f, o)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Dropped is how many frames were lost because the disk was too slow.
func (r *Recorder) Dropped() uint64 { return r.spool.droppedCount() }

// Close completes the file, waiting at most five seconds. It is idempotent. The
// error is as that of [WriterSink.Close].
func (r *Recorder) Close() error {
	r.once.Do(func() { r.err = closeSpool(r.spool, r.after) })
	return r.err
}

// frame takes 20 ms of both sides; either may be nil.
func (r *Recorder) frame(said []int16, saidRate int, heard []int16, heardRate int) error {
	n := (r.turn+1)*r.rate/50 - r.turn*r.rate/50
	r.turn = (r.turn + 1) % 50
	a, b := r.ours.next(n, said, saidRate, r.rate), r.theirs.next(n, heard, heardRate, r.rate)
	r.buf = r.buf[:0]
	for i := range n {
		if r.stereo {
			r.buf = append(r.buf, a[i], b[i])
		} else {
			r.buf = append(r.buf, int16(max(-32768, min(int(a[i])+int(b[i]), 32767))))
		}
	}
	r.ours.done(n)
	r.theirs.done(n)
	return r.spool.put(r.buf)
}

// converter brings one side to the recorder's rate.
type converter struct {
	rs       *resample.Resampler
	from, to int
	out      []int16 // converted and not yet recorded
}

// next returns at least n samples at rate to.
func (c *converter) next(n int, pcm []int16, from, to int) []int16 {
	if len(pcm) > 0 {
		if from != to && (c.rs == nil || c.from != from || c.to != to) {
			c.rs, _ = resample.New(from, to) // rates of codecs: always possible
		}
		c.from, c.to = from, to
		if from == to {
			c.out = append(c.out, pcm...)
		} else if c.rs != nil {
			c.out = c.rs.Process(c.out, pcm)
		}
	}
	for len(c.out) < n {
		c.out = append(c.out, 0)
	}
	return c.out
}

func (c *converter) done(n int) { c.out = c.out[:copy(c.out, c.out[n:])] }
