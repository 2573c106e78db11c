package wav

import (
	"errors"
	"io"
	"testing"
)

type nowhere struct{}

func (nowhere) Write(b []byte) (int, error)                  { return len(b), nil }
func (nowhere) Seek(offset int64, whence int) (int64, error) { return 0, nil }

var _ io.WriteSeeker = nowhere{}

// TestWriteFull: a WAV file ends at 4 GiB. The test does not write them all.
func TestWriteFull(t *testing.T) {
	w, err := NewWriter(nowhere{}, Format{SampleRate: 48000, Channels: 2})
	if err != nil {
		t.Fatal(err)
	}
	w.size = maxData - 1001
	if err := w.Write(make([]int16, 500)); err != nil {
		t.Errorf("it still fits: %v", err)
	}
	if err := w.Write(make([]int16, 1)); !errors.Is(err, ErrFull) {
		t.Errorf("too much: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
