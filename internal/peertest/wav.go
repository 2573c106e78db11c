package peertest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

// Recording is sound from a WAV file: all channels made one, from -1 to 1.
type Recording struct {
	Rate    int
	Samples []float64
}

// Duration returns how long it lasts.
func (r Recording) Duration() time.Duration {
	return time.Duration(len(r.Samples)) * time.Second / time.Duration(r.Rate)
}

// wavHeader is the start of a WAV file of 16-bit PCM.
type wavHeader struct {
	rate, channels int
	data           int // where the samples begin
}

// parseWAV looks for the format and the samples in the first bytes of a file.
func parseWAV(b []byte) (wavHeader, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return wavHeader{}, errors.New("not a WAV file")
	}
	var h wavHeader
	for at := 12; at+8 <= len(b); {
		size := int(binary.LittleEndian.Uint32(b[at+4:]))
		body := at + 8
		switch string(b[at : at+4]) {
		case "fmt ":
			if body+16 > len(b) {
				return h, errors.New("truncated format")
			}
			h.channels = int(binary.LittleEndian.Uint16(b[body+2:]))
			h.rate = int(binary.LittleEndian.Uint32(b[body+4:]))
			if bits := binary.LittleEndian.Uint16(b[body+14:]); bits != 16 || h.channels == 0 || h.rate == 0 {
				return h, fmt.Errorf("WAV with %d bits, %d channels, %d Hz", bits, h.channels, h.rate)
			}
		case "data":
			if h.channels == 0 {
				return h, errors.New("samples before the format")
			}
			// Its size is not looked at: a file that is still written does not know it.
			h.data = body
			return h, nil
		}
		at = body + size + size&1
	}
	return h, errors.New("WAV without samples")
}

// readWAV reads a recording of 16-bit PCM.
func readWAV(file string) (Recording, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Recording{}, err
	}
	h, err := parseWAV(b)
	if err != nil {
		return Recording{}, fmt.Errorf("%s: %w", file, err)
	}
	frame := 2 * h.channels
	r := Recording{Rate: h.rate, Samples: make([]float64, 0, len(b)/frame)}
	for at := h.data; at+frame <= len(b); at += frame {
		var sum float64
		for c := range h.channels {
			sum += float64(int16(binary.LittleEndian.Uint16(b[at+2*c:])))
		}
		r.Samples = append(r.Samples, sum/float64(h.channels)/32768)
	}
	return r, nil
}

// ReadWAV reads a recording of 16-bit PCM and fails the test if it cannot.
func ReadWAV(t testing.TB, file string) Recording {
	t.Helper()
	r, err := readWAV(file)
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	return r
}

// WriteWAV writes sound as 16-bit mono PCM.
func WriteWAV(t testing.TB, file string, r Recording) {
	t.Helper()
	size := 2 * len(r.Samples)
	b := make([]byte, 44, 44+size)
	copy(b, "RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00")
	binary.LittleEndian.PutUint32(b[4:], uint32(36+size))
	binary.LittleEndian.PutUint32(b[24:], uint32(r.Rate))
	binary.LittleEndian.PutUint32(b[28:], uint32(2*r.Rate))
	copy(b[32:], "\x02\x00\x10\x00data")
	binary.LittleEndian.PutUint32(b[40:], uint32(size))
	for _, s := range r.Samples {
		b = binary.LittleEndian.AppendUint16(b, uint16(int16(max(-1, min(1, s))*32767)))
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatalf("peertest: %v", err)
	}
}

// recorded tells how much sound a WAV file holds by now, while a peer is still writing it.
func recorded(file string) (time.Duration, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, 512)
	n, _ := f.Read(b) // an empty file is found out by parseWAV
	h, err := parseWAV(b[:n])
	if err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	frames := (info.Size() - int64(h.data)) / int64(2*h.channels)
	return time.Duration(frames) * time.Second / time.Duration(h.rate), nil
}

// waitRecorded waits until a file holds so much sound.
func waitRecorded(t testing.TB, file func() (string, error), d time.Duration) {
	t.Helper()
	err := eventually(t.Context(), func() error {
		name, err := file()
		if err != nil {
			return err
		}
		got, err := recorded(name)
		if err == nil && got < d {
			err = fmt.Errorf("%s holds %v, want %v", name, got, d)
		}
		return err
	})
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
}
