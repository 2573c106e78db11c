package media

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/media/wav"
)

// NewSilence returns a Source of silence without end. A session without a
// source sends the same; this is for a [Session.Play] that pauses.
func NewSilence(rate int) Source { return silence(rate) }

type silence int

func (s silence) SampleRate() int { return int(s) }

func (s silence) ReadFrame(pcm []int16) (int, error) {
	clear(pcm)
	return len(pcm), nil
}

// NewTone returns a Source of one or more sine waves without end, at rate Hz.
// level is the peak of their sum in dBFS, 0 or below. Frequencies of half the
// rate and above are left out.
func NewTone(rate int, level float64, hz ...float64) Source {
	t := &tone{rate: rate}
	for _, f := range hz {
		if f > 0 && 2*f < float64(rate) {
			t.step = append(t.step, 2*math.Pi*f/float64(rate))
		}
	}
	t.phase = make([]float64, len(t.step))
	t.amplitude = 32767 * math.Pow(10, min(level, 0)/20) / float64(max(1, len(t.step)))
	return t
}

type tone struct {
	rate        int
	amplitude   float64
	step, phase []float64
}

func (t *tone) SampleRate() int { return t.rate }

func (t *tone) ReadFrame(pcm []int16) (int, error) {
	for i := range pcm {
		var v float64
		for k, p := range t.phase {
			v += math.Sin(p)
			if p += t.step[k]; p >= 2*math.Pi {
				p -= 2 * math.Pi
			}
			t.phase[k] = p
		}
		pcm[i] = int16(math.Round(v * t.amplitude))
	}
	return len(pcm), nil
}

// NewPCMSource returns a Source of sound in memory, which is not copied. With
// loop it begins again at its end.
func NewPCMSource(rate int, pcm []int16, loop bool) Source {
	return &memory{rate: rate, pcm: pcm, loop: loop && len(pcm) > 0}
}

type memory struct {
	rate int
	pcm  []int16
	at   int
	loop bool
}

func (m *memory) SampleRate() int { return m.rate }

func (m *memory) ReadFrame(pcm []int16) (n int, err error) {
	for {
		k := copy(pcm[n:], m.pcm[m.at:])
		n += k
		if m.at += k; m.at < len(m.pcm) {
			return n, nil
		}
		if !m.loop {
			return n, io.EOF
		}
		if m.at = 0; n == len(pcm) {
			return n, nil
		}
	}
}

// readAhead is how much a [ReaderSource] reads ahead.
const readAhead = 500 * time.Millisecond

// A ReaderSource is a [Source] that reads from something that may block, half
// a second ahead, by a goroutine of its own. When it is slower than the call,
// silence is sent.
type ReaderSource struct {
	rate  int
	close func() error
	stop  chan struct{}
	space chan struct{} // signals that there may be room

	mu        sync.Mutex
	ring      []int16
	first, n  int
	err       error
	stopped   bool
	started   bool
	underruns uint64
}

// NewReaderSource returns a source of 16-bit little-endian mono PCM from r, at
// rate Hz. It must be closed, which a session it is given to does; if r is an
// io.Closer it is closed then. A Read of r that does not return keeps the
// goroutine. An odd byte at the end is left out.
func NewReaderSource(r io.Reader, rate int) *ReaderSource {
	closer, _ := r.(io.Closer)
	d := &pcmReader{r: r, buf: make([]byte, max(2, rate/50*2))}
	return newReaderSource(d.read, rate, closer)
}

// NewWAVSource returns a source of the sound of a WAV file, mixed down to mono.
// The error wraps wav.ErrFormat, [ErrRate], or is r's. r is closed as by
// [NewReaderSource]. A program that plays one file in many calls reads it once,
// by wav.ReadAll, and makes a [NewPCMSource] for each.
func NewWAVSource(r io.Reader) (*ReaderSource, error) {
	w, err := wav.NewReader(r)
	if err != nil {
		return nil, err
	}
	f := w.Format()
	if err := checkRate(f.SampleRate); err != nil {
		return nil, err
	}
	closer, _ := r.(io.Closer)
	d := &wavReader{r: w, channels: f.Channels, buf: make([]int16, f.SampleRate/50*f.Channels)}
	return newReaderSource(d.read, f.SampleRate, closer), nil
}

// OpenWAV returns a source of the sound of a WAV file, mixed down to mono, on
// the terms of [NewWAVSource].
func OpenWAV(path string) (*ReaderSource, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s, err := NewWAVSource(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func newReaderSource(next func() ([]int16, error), rate int, closer io.Closer) *ReaderSource {
	s := &ReaderSource{
		rate: rate, stop: make(chan struct{}), space: make(chan struct{}, 1),
		ring: make([]int16, max(1, rate*int(readAhead/time.Millisecond)/1000)),
	}
	if closer != nil {
		s.close = closer.Close
	}
	go s.read(next)
	return s
}

// SampleRate is the rate of the sound in Hz.
func (s *ReaderSource) SampleRate() int { return s.rate }

// Underruns is how many frames were silent because the reader was late.
func (s *ReaderSource) Underruns() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.underruns
}

// ReadFrame implements [Source].
func (s *ReaderSource) ReadFrame(pcm []int16) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n < len(pcm) && s.err == nil {
		// A whole frame or nothing: pieces with gaps sound worse than a pause.
		if s.started {
			s.underruns++
		}
		return 0, nil
	}
	s.started = true
	n := min(len(pcm), s.n)
	k := copy(pcm[:n], s.ring[s.first:])
	copy(pcm[k:n], s.ring)
	s.first = (s.first + n) % len(s.ring)
	s.n -= n
	select {
	case s.space <- struct{}{}:
	default:
	}
	if s.n == 0 && s.err != nil {
		return n, s.err
	}
	return n, nil
}

// Close stops reading. It is idempotent.
func (s *ReaderSource) Close() error {
	s.mu.Lock()
	stopped := s.stopped
	s.stopped = true
	s.mu.Unlock()
	if stopped {
		return nil
	}
	close(s.stop)
	if s.close != nil {
		return s.close()
	}
	return nil
}

func (s *ReaderSource) read(next func() ([]int16, error)) {
	for {
		pcm, err := next()
		for len(pcm) > 0 {
			k := s.push(pcm)
			if pcm = pcm[k:]; k > 0 {
				continue
			}
			select {
			case <-s.space:
			case <-s.stop:
				return
			}
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			return
		}
		select {
		case <-s.stop:
			return
		default:
		}
	}
}

// push appends samples while there is room and returns how many.
func (s *ReaderSource) push(pcm []int16) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(pcm), len(s.ring)-s.n)
	at := (s.first + s.n) % len(s.ring)
	k := copy(s.ring[at:], pcm[:n])
	copy(s.ring, pcm[k:n])
	s.n += n
	return n
}

// pcmReader makes samples of little-endian bytes.
type pcmReader struct {
	r    io.Reader
	buf  []byte
	have int // bytes in buf: the first half of a sample, or none
	pcm  []int16
}

func (d *pcmReader) read() ([]int16, error) {
	n, err := d.r.Read(d.buf[d.have:])
	d.have += n
	d.pcm = d.pcm[:0]
	for i := 0; i+1 < d.have; i += 2 {
		d.pcm = append(d.pcm, int16(binary.LittleEndian.Uint16(d.buf[i:])))
	}
	d.have = copy(d.buf, d.buf[d.have&^1:d.have])
	return d.pcm, err
}

// wavReader makes mono of the channels of a file.
type wavReader struct {
	r        *wav.Reader
	channels int
	buf      []int16
}

func (d *wavReader) read() ([]int16, error) {
	n, err := d.r.Read(d.buf)
	if d.channels == 1 {
		return d.buf[:n], err
	}
	frames := n / d.channels
	for i := range frames {
		sum := 0
		for _, v := range d.buf[i*d.channels : (i+1)*d.channels] {
			sum += int(v)
		}
		d.buf[i] = int16(sum / d.channels)
	}
	return d.buf[:frames], err
}
