// Package wav reads and writes WAV files as streams: 16-bit samples, whatever
// the file holds.
package wav

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hoorn-phone/hoorn/media/g711"
)

// ErrFormat is wrapped by errors for input that is no WAV file, or one of a
// kind that is not read here.
var ErrFormat = errors.New("wav: unusable file")

// Limits of what is read before the samples.
const (
	maxChunks = 64
	maxSkip   = 16 << 20
)

// Format is what the samples are.
type Format struct {
	SampleRate int // Hz, 1 to 384000
	Channels   int // 1 to 8, interleaved
}

func (f Format) check() error {
	if f.SampleRate < 1 || f.SampleRate > 384000 || f.Channels < 1 || f.Channels > 8 {
		return fmt.Errorf("%w: %d Hz, %d channels", ErrFormat, f.SampleRate, f.Channels)
	}
	return nil
}

// Format tags of a "fmt " chunk.
const (
	tagPCM        = 1
	tagALaw       = 6
	tagULaw       = 7
	tagExtensible = 0xfffe
)

// A Reader reads the samples of a WAV file: linear PCM of 8, 16, 24 or 32
// bits, mu-law or A-law.
type Reader struct {
	r      *bufio.Reader
	format Format
	tag    uint16
	width  int   // bytes of one sample
	left   int64 // bytes of samples to come; <0: until the file ends
	buf    []byte
}

// NewReader reads the header. It reads ahead of what it returns. Errors are
// those of r, or wrap [ErrFormat].
func NewReader(r io.Reader) (*Reader, error) {
	w := &Reader{r: bufio.NewReader(r)}
	var head [12]byte
	if err := w.full(head[:]); err != nil {
		return nil, err
	}
	if string(head[:4]) != "RIFF" || string(head[8:]) != "WAVE" {
		return nil, fmt.Errorf("%w: not a RIFF WAVE", ErrFormat)
	}
	skipped := int64(0)
	for range maxChunks {
		if err := w.full(head[:8]); err != nil {
			return nil, err
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		switch string(head[:4]) {
		case "fmt ":
			if err := w.readFormat(size); err != nil {
				return nil, err
			}
			continue
		case "data":
			if w.width == 0 {
				return nil, fmt.Errorf("%w: samples before their format", ErrFormat)
			}
			w.left = size
			if size == 0 || size >= 0xffffff00 {
				w.left = -1 // written by something that could not go back
			}
			return w, nil
		}
		size += size & 1 // chunks are padded to even length
		if skipped += size; skipped > maxSkip {
			break
		}
		if _, err := io.CopyN(io.Discard, w.r, size); err != nil {
			return nil, short(err)
		}
	}
	return nil, fmt.Errorf("%w: no samples near its beginning", ErrFormat)
}

func (w *Reader) full(b []byte) error {
	_, err := io.ReadFull(w.r, b)
	return short(err)
}

// short makes an early end of the file an error of the format.
func short(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends in the header", ErrFormat)
	}
	return err
}

func (w *Reader) readFormat(size int64) error {
	if size < 16 || size > 1024 {
		return fmt.Errorf("%w: a format of %d bytes", ErrFormat, size)
	}
	b := make([]byte, size+size&1)
	if err := w.full(b); err != nil {
		return err
	}
	le := binary.LittleEndian
	w.tag = le.Uint16(b)
	w.format = Format{SampleRate: int(min(le.Uint32(b[4:]), 1<<30)), Channels: int(le.Uint16(b[2:]))}
	bits := le.Uint16(b[14:])
	if w.tag == tagExtensible && len(b) >= 26 {
		w.tag = le.Uint16(b[24:]) // the sub-format begins with the old tag
	}
	switch {
	case w.tag == tagPCM && bits >= 8 && bits <= 32 && bits%8 == 0:
		w.width = int(bits / 8)
	case (w.tag == tagULaw || w.tag == tagALaw) && bits == 8:
		w.width = 1
	default:
		return fmt.Errorf("%w: format %d of %d bits", ErrFormat, w.tag, bits)
	}
	return w.format.check()
}

// Format returns what the samples are.
func (w *Reader) Format() Format { return w.format }

// Read fills pcm with samples, those of the channels in turn, and returns how
// many. It returns fewer than len(pcm), and never a part of a sample, only at
// the end of the samples; after them it returns 0 and [io.EOF]. A file that is
// shorter than it says ends where it ends. pcm must have room for a sample of
// each channel.
func (w *Reader) Read(pcm []int16) (int, error) {
	if len(pcm) < w.format.Channels {
		return 0, io.ErrShortBuffer
	}
	want := int64(len(pcm)) * int64(w.width)
	if w.left >= 0 {
		want = min(want, w.left)
	}
	want -= want % int64(w.width*w.format.Channels)
	if want == 0 {
		return 0, io.EOF
	}
	if int64(cap(w.buf)) < want {
		w.buf = make([]byte, want)
	}
	n, err := io.ReadFull(w.r, w.buf[:want])
	if w.left >= 0 {
		w.left -= int64(n)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		w.left, err = 0, nil
		n -= n % (w.width * w.format.Channels)
	}
	w.decode(pcm, w.buf[:n])
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n / w.width, err
}

func (w *Reader) decode(pcm []int16, b []byte) {
	switch {
	case w.tag == tagULaw:
		g711.DecodeULaw(pcm[:0], b)
	case w.tag == tagALaw:
		g711.DecodeALaw(pcm[:0], b)
	case w.width == 1: // the only unsigned one
		for i, v := range b {
			pcm[i] = (int16(v) - 128) << 8
		}
	default: // the two upper bytes
		for i := w.width; i <= len(b); i += w.width {
			pcm[i/w.width-1] = int16(binary.LittleEndian.Uint16(b[i-2:]))
		}
	}
}

// ReadAll reads a whole file and mixes it down to mono, at most max samples of
// each channel.
func ReadAll(r io.Reader, max int) (pcm []int16, rate int, err error) {
	w, err := NewReader(r)
	if err != nil {
		return nil, 0, err
	}
	channels := w.format.Channels
	buf := make([]int16, 1024*channels)
	for len(pcm) < max {
		n, err := w.Read(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		for i := 0; i < n && len(pcm) < max; i += channels {
			sum := 0
			for _, v := range buf[i : i+channels] {
				sum += int(v)
			}
			pcm = append(pcm, int16(sum/channels))
		}
	}
	return pcm, w.format.SampleRate, nil
}
