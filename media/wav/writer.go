package wav

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFull is returned by Write when the file would pass the 4 GiB that a WAV
// file can hold.
var ErrFull = errors.New("wav: file is full")

const (
	headerSize = 44
	maxData    = 1<<32 - 1 - headerSize
	flushAt    = 4096
)

// A Writer writes a WAV file of 16-bit PCM. It buffers a little; [Writer.Close]
// must be called. It is not safe for concurrent use.
type Writer struct {
	w      io.WriteSeeker
	format Format
	size   int64 // bytes of samples, buffered ones too
	buf    []byte
	err    error
}

// NewWriter writes a header to w, from where w stands. Until Close the header
// says that the length is unknown, which readers take for "to the end": a
// recording is usable after a crash.
func NewWriter(w io.WriteSeeker, f Format) (*Writer, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	wr := &Writer{w: w, format: f, buf: make([]byte, 0, flushAt+2048)}
	wr.header(0xffffffff)
	return wr, wr.flush()
}

func (w *Writer) header(data uint32) {
	le := binary.LittleEndian
	b := append(w.buf, "RIFF"...)
	riff := uint32(0xffffffff)
	if data <= maxData {
		riff = data + headerSize - 8
	}
	b = le.AppendUint32(b, riff)
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, tagPCM)
	b = le.AppendUint16(b, uint16(w.format.Channels))
	b = le.AppendUint32(b, uint32(w.format.SampleRate))
	b = le.AppendUint32(b, uint32(w.format.SampleRate*w.format.Channels*2))
	b = le.AppendUint16(b, uint16(w.format.Channels*2))
	b = le.AppendUint16(b, 16)
	b = append(b, "data"...)
	w.buf = le.AppendUint32(b, data)
}

// Write writes samples, those of the channels in turn. After an error, which
// is ErrFull or that of the underlying writer, the file takes no more.
func (w *Writer) Write(pcm []int16) error {
	if w.err == nil && w.size+int64(2*len(pcm)) > maxData {
		w.err = ErrFull
	}
	if w.err != nil {
		return w.err
	}
	w.size += int64(2 * len(pcm))
	for len(pcm) > 0 {
		n := min(len(pcm), flushAt/2)
		for _, v := range pcm[:n] {
			w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(v))
		}
		pcm = pcm[n:]
		if len(w.buf) >= flushAt {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) flush() error {
	if w.err != nil {
		return w.err
	}
	n, err := w.w.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("wav: %w", err)
	}
	w.buf = w.buf[:0]
	return w.err
}

// Close writes what is buffered and puts the length into the header. It does
// not close the underlying writer. Also after [ErrFull] the file is whole.
func (w *Writer) Close() error {
	if errors.Is(w.err, ErrFull) {
		w.err = nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.header(uint32(w.size))
	header := w.buf
	w.buf = nil
	w.err = errors.New("wav: file is closed")
	if _, err := w.w.Seek(-w.size-headerSize, io.SeekCurrent); err != nil {
		return fmt.Errorf("wav: %w", err)
	}
	if _, err := w.w.Write(header); err != nil {
		return fmt.Errorf("wav: %w", err)
	}
	if _, err := w.w.Seek(w.size, io.SeekCurrent); err != nil {
		return fmt.Errorf("wav: %w", err)
	}
	return nil
}
