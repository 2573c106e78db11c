package media_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g722"
	"github.com/hoorn-phone/hoorn/media/opus"
	"github.com/hoorn-phone/hoorn/media/wav"
)

// Sources and sinks have the rate they want, whatever the codec's.
func TestRates(t *testing.T) {
	for _, c := range []codec.Codec{g722.G722(), opus.Opus()} {
		for _, rate := range []int{8000, 11025, 16000, 22050, 24000, 44100, 48000} {
			synctest.Test(t, func(t *testing.T) {
				cfg := media.Config{Codecs: []codec.Codec{c}}
				w := newWorld(t, cfg, cfg)
				a, b := newEnd(t, w.a, addrA, true), newEnd(t, w.b, addrB, true)
				sink := &ear{rate: rate}
				must(t, b.sess.SetSink(sink))
				must(t, a.sess.SetSource(media.NewTone(rate, -12, toneA)))
				connect(t, a, b)
				talk(time.Second)
				sink.take()
				talk(2 * time.Second)
				pcm := sink.take()
				if n := len(pcm); n < 2*rate-2 || n > 2*rate+2 {
					t.Errorf("%d Hz: %d samples in 2 s", rate, n)
				}
				wantTone(t, c.Format().Name, pcm, rate, toneA)
			})
		}
	}
}

func TestRatesRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a := newEnd(t, w.a, addrA, true)
		for _, rate := range []int{0, -1, 7999, 8001, 48025, 1 << 30} {
			if err := a.sess.SetSource(media.NewSilence(rate)); !errors.Is(err, media.ErrRate) {
				t.Errorf("source of %d Hz: %v", rate, err)
			}
			if err := a.sess.SetSink(media.SinkFunc(rate, func([]int16) {})); !errors.Is(err, media.ErrRate) {
				t.Errorf("sink of %d Hz: %v", rate, err)
			}
			if err := a.sess.Play(t.Context(), media.NewSilence(rate)); !errors.Is(err, media.ErrRate) {
				t.Errorf("Play of %d Hz: %v", rate, err)
			}
		}
	})
}

func TestMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(true)
		talk(time.Second)
		a.sess.Mute(true)
		if !a.sess.Muted() {
			t.Error("not muted")
		}
		talk(200 * time.Millisecond)
		b.ear.take()
		n := a.sess.Stats().Sent.Packets
		talk(time.Second)
		wantSilence(t, "b", b.ear.take())
		if a.sess.Stats().Sent.Packets == n {
			t.Error("nothing is sent")
		}
		a.sess.Mute(false)
		talk(200 * time.Millisecond)
		b.ear.take()
		talk(time.Second)
		wantTone(t, "b", b.ear.take(), 8000, toneA)
	})
}

// closer is a source or sink that tells when it was closed.
type closer struct {
	media.Source
	ear
	closed int
	err    error
}

func (c *closer) SampleRate() int { return 8000 }
func (c *closer) Close() error    { c.closed++; return nil }
func (c *closer) WriteFrame(pcm []int16) error {
	if c.closed > 0 {
		panic("written to when closed")
	}
	c.n++
	return c.err
}

func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(true)
		talk(time.Second)
		tone := make([]int16, 16000)
		media.NewTone(16000, -12, toneC).ReadFrame(tone)

		began := time.Now()
		src := &closer{Source: media.NewPCMSource(8000, tone[:8000], false)}
		must(t, a.sess.Play(t.Context(), src))
		if d := time.Since(began); d < 980*time.Millisecond || d > 1040*time.Millisecond || src.closed != 1 {
			t.Errorf("a second took %v, closed %d times", d, src.closed)
		}
		talk(200 * time.Millisecond)
		b.ear.take()
		talk(time.Second)
		wantTone(t, "the source before goes on", b.ear.take(), 8000, toneA)

		first := make(chan error, 1)
		go func() { first <- a.sess.Play(t.Context(), media.NewTone(8000, -12, toneC)) }()
		talk(500 * time.Millisecond)
		b.ear.take()
		talk(time.Second)
		wantTone(t, "b", b.ear.take(), 8000, toneC)
		must(t, a.sess.Play(t.Context(), media.NewPCMSource(8000, tone[:800], false)))
		if err := <-first; !errors.Is(err, media.ErrReplaced) {
			t.Errorf("replaced: %v", err)
		}

		wrong := errors.New("wrong")
		if err := a.sess.Play(t.Context(), media.NewReaderSource(io.MultiReader(bytes.NewReader(make([]byte, 999)), failing{wrong}), 8000)); !errors.Is(err, wrong) {
			t.Errorf("a failing source: %v", err)
		}
		go func() { first <- a.sess.Play(t.Context(), media.NewSilence(8000)) }()
		talk(time.Second)
		a.sess.Close()
		if err := <-first; !errors.Is(err, media.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if err := a.sess.Play(t.Context(), media.NewSilence(8000)); !errors.Is(err, media.ErrClosed) {
			t.Errorf("after closing: %v", err)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestSinksAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, _ := w.call(true)
		one, two, bad := &closer{}, &closer{}, &closer{err: errors.New("full")}
		must(t, a.sess.SetSink(one))
		talk(time.Second)
		must(t, a.sess.SetSink(bad))
		talk(time.Second)
		if one.closed != 1 || one.n < 48 || bad.closed != 1 || bad.n != 1 {
			t.Errorf("replaced: %+v, failing: %+v", one, bad)
		}
		must(t, a.sess.SetSink(two))
		talk(time.Second)
		a.sess.Close()
		a.sess.Close()
		if two.closed != 1 || two.n < 48 {
			t.Errorf("%+v", two)
		}
		if err := a.sess.SetSink(two); !errors.Is(err, media.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

// 16-bit PCM through pipes, as a bot that is another program has it.
func TestReaderAndWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := newEnd(t, w.a, addrA, true), newEnd(t, w.b, addrB, true)
		tone := make([]int16, 16000)
		media.NewTone(16000, -12, toneA).ReadFrame(tone)
		var raw bytes.Buffer
		binary.Write(&raw, binary.LittleEndian, tone)
		pr, pw := io.Pipe()
		src := media.NewReaderSource(pr, 16000)
		go func() {
			// Odd pieces, and then nothing for a while.
			for raw.Len() > 0 {
				pw.Write(raw.Next(777))
			}
		}()
		must(t, a.sess.SetSource(src))
		out := &closingBuffer{}
		sink := media.NewWriterSink(out, 16000)
		must(t, b.sess.SetSink(sink))
		connect(t, a, b)
		talk(2 * time.Second)
		if src.Underruns() < 40 {
			t.Errorf("%d underruns", src.Underruns())
		}
		a.sess.Close()
		b.sess.Close()
		if !out.closed || sink.Dropped() != 0 {
			t.Errorf("closed %v, dropped %d", out.closed, sink.Dropped())
		}
		pcm := make([]int16, out.Len()/2)
		binary.Read(&out.Buffer, binary.LittleEndian, pcm)
		wantTone(t, "b", pcm[4000:14000], 16000, toneA)
		if _, err := pw.Write([]byte("x")); err == nil {
			t.Error("the pipe is still open")
		}
	})
}

type closingBuffer struct {
	bytes.Buffer
	closed bool
}

func (c *closingBuffer) Close() error { c.closed = true; return nil }

// A writer that does not take what it is given costs frames, not the call.
func TestSlowWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := w.call(true)
		pr, pw := io.Pipe()
		sink := media.NewWriterSink(struct{ io.Writer }{pw}, 8000)
		must(t, a.sess.SetSink(sink))
		talk(5 * time.Second)
		if n := sink.Dropped(); n < 100 || n > 160 {
			t.Errorf("dropped %d of 250, with 2 s of room", n)
		}
		if st := b.sess.Stats(); st.Received.Lost+st.Received.Concealed > 0 {
			t.Errorf("%+v", st.Received)
		}
		began := time.Now()
		a.sess.Close()
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("closing took %v", d)
		}
		pr.Close()
	})
}

func TestWAVAndRecorder(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.wav")
	f, err := os.Create(in)
	must(t, err)
	ww, err := wav.NewWriter(f, wav.Format{SampleRate: 22050, Channels: 2})
	must(t, err)
	tone := make([]int16, 22050)
	media.NewTone(22050, -12, toneA).ReadFrame(tone)
	for _, v := range tone {
		must(t, ww.Write([]int16{v, v}))
	}
	must(t, ww.Close())
	must(t, f.Close())

	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pcmu, pcmu)
		a, b := newEnd(t, w.a, addrA, true), newEnd(t, w.b, addrB, true)
		must(t, b.sess.SetSource(media.NewTone(8000, -12, toneB)))
		out, err := media.CreateWAV(filepath.Join(dir, "out.wav"), 16000)
		must(t, err)
		must(t, b.sess.SetSink(out))
		stereo, err := media.CreateRecorder(filepath.Join(dir, "stereo.wav"), &media.RecorderOptions{Rate: 8000, Stereo: true})
		must(t, err)
		must(t, b.sess.SetRecorder(stereo))
		mono, err := media.CreateRecorder(filepath.Join(dir, "mono.wav"), &media.RecorderOptions{Rate: 11025})
		must(t, err)
		must(t, a.sess.SetRecorder(mono))
		connect(t, a, b)
		src, err := media.OpenWAV(in)
		must(t, err)
		must(t, a.sess.Play(t.Context(), src))
		talk(200 * time.Millisecond)
		a.sess.Close()
		b.sess.Close()

		pcm, rate := readWAV(t, filepath.Join(dir, "out.wav"), 1)
		wantTone(t, "the sink", pcm[rate/5:rate], 16000, toneA)
		pcm, rate = readWAV(t, filepath.Join(dir, "stereo.wav"), 2)
		var left, right []int16
		for i := 0; i+1 < len(pcm); i += 2 {
			left, right = append(left, pcm[i]), append(right, pcm[i+1])
		}
		wantTone(t, "left is ours", left[:8000], rate, toneB)
		wantTone(t, "right is the peer's", right[1600:8000], rate, toneA)
		pcm, rate = readWAV(t, filepath.Join(dir, "mono.wav"), 1)
		pcm = pcm[rate/5 : rate]
		for _, hz := range []float64{toneA, toneB} {
			if l := level(pcm, rate, hz); l < -13.5 || l > -10.5 {
				t.Errorf("mixed: %v Hz at %.1f dBFS", hz, l)
			}
		}
	})
	if _, err := media.OpenWAV(filepath.Join(dir, "none.wav")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := media.NewWAVSource(bytes.NewReader([]byte("RIFFnothing"))); !errors.Is(err, wav.ErrFormat) {
		t.Errorf("%v", err)
	}
}

func readWAV(t *testing.T, path string, channels int) ([]int16, int) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	r, err := wav.NewReader(f)
	must(t, err)
	if r.Format().Channels != channels {
		t.Fatalf("%s: %+v", path, r.Format())
	}
	pcm := make([]int16, 1<<20)
	n, err := r.Read(pcm)
	must(t, err)
	return pcm[:n], r.Format().SampleRate
}

func TestPCMSourceLoops(t *testing.T) {
	s := media.NewPCMSource(8000, []int16{1, 2, 3}, true)
	got := make([]int16, 7)
	if n, err := s.ReadFrame(got); n != 7 || err != nil || got[6] != 1 || got[5] != 3 {
		t.Errorf("%v, %d, %v", got, n, err)
	}
	s = media.NewPCMSource(8000, nil, true)
	if n, err := s.ReadFrame(got); n != 0 || err != io.EOF {
		t.Errorf("nothing: %d, %v", n, err)
	}
}
