package wav_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/wav"
)

func ramp(n int) []int16 {
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(i * 37)
	}
	return pcm
}

// file builds a WAV file by hand from chunks.
func file(chunks ...string) []byte {
	var body string
	for _, c := range chunks {
		body += c
	}
	return []byte("RIFF" + u32(len(body)+4) + "WAVE" + body)
}

func chunk(name, body string) string {
	s := name + u32(len(body)) + body
	if len(body)%2 == 1 {
		s += "\x00"
	}
	return s
}

func u16(v int) string { return string(binary.LittleEndian.AppendUint16(nil, uint16(v))) }
func u32(v int) string { return string(binary.LittleEndian.AppendUint32(nil, uint32(v))) }

func format(tag, channels, rate, bits int, extra string) string {
	align := channels * bits / 8
	return chunk("fmt ", u16(tag)+u16(channels)+u32(rate)+u32(rate*align)+u16(align)+u16(bits)+extra)
}

func TestRead(t *testing.T) {
	guid := "\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
	extensible := func(tag, bits int) string {
		return format(0xfffe, 1, 8000, bits, u16(22)+u16(bits)+u32(4)+u16(tag)+guid)
	}
	for _, tt := range []struct {
		name string
		file []byte
		want wav.Format
		pcm  []int16
	}{
		{"16 bits", file(format(1, 1, 16000, 16, ""), chunk("data", u16(1)+u16(0xffff)+u16(0x8000))), wav.Format{16000, 1}, []int16{1, -1, -32768}},
		{"8 bits", file(format(1, 1, 11025, 8, ""), chunk("data", "\x80\x00\xff")), wav.Format{11025, 1}, []int16{0, -32768, 127 << 8}},
		{"24 bits", file(format(1, 1, 48000, 24, ""), chunk("data", "\xff\x34\x12\x00\x00\x80")), wav.Format{48000, 1}, []int16{0x1234, -32768}},
		{"32 bits", file(format(1, 1, 48000, 32, ""), chunk("data", "\xff\xff\x34\x12")), wav.Format{48000, 1}, []int16{0x1234}},
		{"mu-law", file(format(7, 1, 8000, 8, u16(0)), chunk("fact", u32(2)), chunk("data", "\xff\x00")), wav.Format{8000, 1}, g711.DecodeULaw(nil, []byte{0xff, 0})},
		{"A-law", file(format(6, 1, 8000, 8, u16(0)), chunk("data", "\xd5\x2a")), wav.Format{8000, 1}, g711.DecodeALaw(nil, []byte{0xd5, 0x2a})},
		{"stereo", file(format(1, 2, 44100, 16, ""), chunk("data", u16(1)+u16(2)+u16(3)+u16(4))), wav.Format{44100, 2}, []int16{1, 2, 3, 4}},
		{"extensible", file(extensible(1, 16), chunk("data", u16(5))), wav.Format{8000, 1}, []int16{5}},
		{"other chunks", file(chunk("LIST", "odd"), format(1, 1, 8000, 16, ""), chunk("bext", "x"), chunk("data", u16(9)), chunk("id3 ", "junk")), wav.Format{8000, 1}, []int16{9}},
		{"length unknown", file(format(1, 1, 8000, 16, ""), "data\xff\xff\xff\xff"+u16(7)+u16(8)), wav.Format{8000, 1}, []int16{7, 8}},
		{"length zero", file(format(1, 1, 8000, 16, ""), "data"+u32(0)+u16(7)), wav.Format{8000, 1}, []int16{7}},
		{"cut short", file(format(1, 2, 8000, 16, ""), "data"+u32(1000)+u16(1)+u16(2)+u16(3)), wav.Format{8000, 2}, []int16{1, 2}},
	} {
		for _, size := range []int{8, 64} {
			t.Run(fmt.Sprint(tt.name, size), func(t *testing.T) {
				r, err := wav.NewReader(iotest.OneByteReader(bytes.NewReader(tt.file)))
				if err != nil {
					t.Fatal(err)
				}
				if r.Format() != tt.want {
					t.Errorf("%+v", r.Format())
				}
				var got []int16
				buf := make([]int16, size)
				for {
					n, err := r.Read(buf)
					got = append(got, buf[:n]...)
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(got, tt.pcm) {
					t.Errorf("%v, want %v", got, tt.pcm)
				}
				if n, err := r.Read(buf); n != 0 || err != io.EOF {
					t.Errorf("after the end: %d, %v", n, err)
				}
			})
		}
	}
}

func TestReadRefuses(t *testing.T) {
	good := format(1, 1, 8000, 16, "")
	var many string
	for range 70 {
		many += chunk("junk", "")
	}
	for name, b := range map[string][]byte{
		"nothing":              nil,
		"another file":         []byte("OggS this is no WAV file at all, is it"),
		"no samples":           file(good),
		"samples first":        file(chunk("data", "xx"), good),
		"ends in a chunk":      file(good, "LIST"+u32(100)+"x"),
		"a short format":       file(chunk("fmt ", "short")),
		"a huge format":        file("fmt " + u32(1<<30)),
		"no channels":          file(format(1, 0, 8000, 16, ""), chunk("data", "xx")),
		"a hundred channels":   file(format(1, 100, 8000, 16, ""), chunk("data", "xx")),
		"no rate":              file(format(1, 1, 0, 16, ""), chunk("data", "xx")),
		"a rate beyond sense":  file(format(1, 1, 1<<31, 16, ""), chunk("data", "xx")),
		"floating point":       file(format(3, 1, 8000, 32, ""), chunk("data", "xxxx")),
		"12 bits":              file(format(1, 1, 8000, 12, ""), chunk("data", "xxxx")),
		"too many chunks":      file(many, good, chunk("data", "xx")),
		"too much before them": file("LIST" + u32(17<<20)),
	} {
		if _, err := wav.NewReader(bytes.NewReader(b)); !errors.Is(err, wav.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := errors.New("disk on fire")
	if _, err := wav.NewReader(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("the reader's own error: %v", err)
	}
}

func TestWriteAndRead(t *testing.T) {
	for _, f := range []wav.Format{{8000, 1}, {48000, 2}} {
		name := filepath.Join(t.TempDir(), "x.wav")
		w, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		wr, err := wav.NewWriter(w, f)
		if err != nil {
			t.Fatal(err)
		}
		pcm := ramp(10000)
		for i := 0; i < len(pcm); i += 400 {
			if err := wr.Write(pcm[i : i+400]); err != nil {
				t.Fatal(err)
			}
		}
		// What a crash would leave must be readable as far as it is there.
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := wav.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		early := make([]int16, len(pcm))
		if n, err := r.Read(early); err != nil || n < 8000 || !slices.Equal(early[:n], pcm[:n]) {
			t.Errorf("before Close: %d samples, %v", n, err)
		}

		if err := wr.Close(); err != nil {
			t.Fatal(err)
		}
		if err := wr.Write(pcm); err == nil {
			t.Error("written after Close")
		}
		if b, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		if len(b) != 44+20000 || binary.LittleEndian.Uint32(b[4:]) != uint32(len(b)-8) || binary.LittleEndian.Uint32(b[40:]) != 20000 {
			t.Errorf("%d bytes, header % x", len(b), b[:44])
		}
		if r, err = wav.NewReader(bytes.NewReader(b)); err != nil || r.Format() != f {
			t.Fatalf("%+v, %v", r.Format(), err)
		}
		got := make([]int16, len(pcm)+5)
		if n, err := r.Read(got); err != nil || !slices.Equal(got[:n], pcm) {
			t.Errorf("%d samples, %v", n, err)
		}
	}
}

// failing is a file on a disk that is full after some bytes.
type failing struct{ left int }

var errDisk = errors.New("disk full")

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errDisk
	}
	return len(b), nil
}
func (f *failing) Seek(int64, int) (int64, error) { return 0, nil }

func TestWriteErrors(t *testing.T) {
	w, err := wav.NewWriter(&failing{5000}, wav.Format{SampleRate: 8000, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		err = w.Write(ramp(160))
		if err != nil {
			break
		}
	}
	if err == nil {
		err = w.Write(ramp(8000))
	}
	if !errors.Is(err, errDisk) || !errors.Is(w.Write(ramp(1)), errDisk) || !errors.Is(w.Close(), errDisk) {
		t.Errorf("%v", err)
	}
	if _, err := wav.NewWriter(&failing{}, wav.Format{SampleRate: 8000, Channels: 1}); !errors.Is(err, errDisk) {
		t.Errorf("%v", err)
	}
	for _, f := range []wav.Format{{}, {8000, 0}, {0, 1}, {8000, 9}} {
		if _, err := wav.NewWriter(&failing{1 << 20}, f); !errors.Is(err, wav.ErrFormat) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestReadAll(t *testing.T) {
	b := file(format(1, 2, 8000, 16, ""), chunk("data", u16(10)+u16(20)+u16(0x8000)+u16(0x8000)+u16(7)+u16(7)))
	pcm, rate, err := wav.ReadAll(bytes.NewReader(b), 100)
	if err != nil || rate != 8000 || !slices.Equal(pcm, []int16{15, -32768, 7}) {
		t.Errorf("%v at %d Hz, %v", pcm, rate, err)
	}
	if pcm, _, _ = wav.ReadAll(bytes.NewReader(b), 2); len(pcm) != 2 {
		t.Errorf("%d samples, at most 2 wanted", len(pcm))
	}
	r, err := wav.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]int16, 1)); !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("room for half a sample: %v", err)
	}
	if _, _, err := wav.ReadAll(bytes.NewReader(nil), 2); !errors.Is(err, wav.ErrFormat) {
		t.Error(err)
	}
}

func TestNoAllocations(t *testing.T) {
	w, err := wav.NewWriter(&failing{math.MaxInt64}, wav.Format{SampleRate: 8000, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	pcm := ramp(160)
	if n := testing.AllocsPerRun(100, func() {
		if err := w.Write(pcm); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Write: %v allocations", n)
	}
	r, err := wav.NewReader(bytes.NewReader(file(format(1, 1, 8000, 16, ""), chunk("data", string(make([]byte, 100000))))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(pcm); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Read(pcm); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Read: %v allocations", n)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(file(format(1, 1, 16000, 16, ""), chunk("data", "abcdef")))
	f.Add(file(format(7, 2, 8000, 8, u16(0)), chunk("fact", u32(2)), chunk("data", "abc")))
	f.Add(file(chunk("LIST", "x"), format(0xfffe, 1, 8000, 24, u16(22)+u16(24)+u32(4)+u16(1)+"\x00\x00")))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wav.NewReader(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, wav.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		total, buf := 0, make([]int16, 64)
		for {
			n, err := r.Read(buf)
			total += n
			if n%r.Format().Channels != 0 {
				t.Fatalf("%d samples of %d channels", n, r.Format().Channels)
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if total > len(b) {
			t.Fatalf("%d samples in %d bytes", total, len(b))
		}
	})
}
