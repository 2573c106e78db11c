package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// begin runs a bot at a lab until the test ends.
func begin(t *testing.T, b *bot) (context.Context, *siptest.Server) {
	t.Helper()
	lab, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "bot"}, {Name: "alice"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	b.log = slog.New(slog.DiscardHandler)
	serving, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- b.serve(serving, lab.Config("bot")) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the bot ended with %v", err)
		}
		if n := lab.Calls(); n != 0 {
			t.Errorf("%d calls are left", n)
		}
	})
	for len(lab.Devices("bot")) == 0 {
		select {
		case <-ctx.Done():
			t.Fatal("the bot did not register")
		case <-time.After(time.Millisecond):
		}
	}
	return ctx, lab
}

// newCaller returns a registered user agent that plays nothing yet.
func newCaller(t *testing.T, ctx context.Context, lab *siptest.Server) *sip.UA {
	t.Helper()
	// A codec that the race detector does not slow down too much.
	engine, err := media.NewEngine(&media.Config{Codecs: []codec.Codec{g711.PCMU()}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := lab.Config("alice")
	cfg.NewMedia = engine.NewSession
	ua, err := sip.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ua.Close()
		engine.Close()
	})
	if _, err := ua.Register(ctx); err != nil {
		t.Fatal(err)
	}
	return ua
}

// hears waits until a call has heard a quarter of a second of a tone.
func hears(ctx context.Context, session *media.Session, hz float64) error {
	heard := make(chan struct{})
	frames := 0
	sink := media.SinkFunc(8000, func(pcm []int16) {
		if mediatest.Level(pcm) > -30 && mediatest.ToneShare(pcm, 8000, hz) > 0.8 {
			if frames++; frames == 13 {
				close(heard)
			}
		}
	})
	if err := session.SetSink(sink); err != nil {
		return err
	}
	select {
	case <-heard:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestEchoToMany has several callers at once, each with a tone of its own, and no one hears another's.
func TestEchoToMany(t *testing.T) {
	ctx, lab := begin(t, &bot{most: 5})
	ua := newCaller(t, ctx, lab)
	var wg sync.WaitGroup
	calls := make([]*sip.Call, 5)
	for i := range calls {
		wg.Go(func() {
			call, err := ua.Dial(ctx, "bot", nil)
			if err != nil {
				t.Error(err)
				return
			}
			calls[i] = call
			session, _ := media.FromCall(call)
			hz := float64(400 + 150*i)
			if err := session.SetSource(media.NewTone(16000, -10, hz)); err != nil {
				t.Error(err)
			}
			if err := hears(ctx, session, hz); err != nil {
				t.Errorf("call %d, %v Hz: %v", i, hz, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	// All lines are taken.
	var refused *sip.StatusError
	if _, err := ua.Dial(ctx, "bot", nil); !errors.As(err, &refused) || refused.Code != 486 {
		t.Errorf("a call too many: %v", err)
	}
	for _, call := range calls {
		if err := call.Hangup(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestPlay plays the file and hangs up.
func TestPlay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tone.wav")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := wav.NewWriter(f, wav.Format{SampleRate: 8000, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(mediatest.Tone(440, 8000, 8000, 10000)), w.Close()); err != nil {
		t.Fatal(err)
	}
	b := &bot{most: 1}
	if err := b.load(path); err != nil {
		t.Fatal(err)
	}
	ctx, lab := begin(t, b)
	call, err := newCaller(t, ctx, lab).Dial(ctx, "bot", nil)
	if err != nil {
		t.Fatal(err)
	}
	session, _ := media.FromCall(call)
	if err := hears(ctx, session, 440); err != nil {
		t.Error(err)
	}
	if err := call.Wait(ctx); err != nil || call.End().By != sip.Remote {
		t.Errorf("the call ended by %v: %v", call.End().By, err)
	}
}

func TestLoad(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text.wav")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, text + ".missing"} {
		if err := new(bot).load(path); err == nil {
			t.Errorf("%s is no error", path)
		}
	}
}

// The echo keeps the newest quarter of a second, in order.
func TestEchoIsBounded(t *testing.T) {
	e := newEcho()
	next := int16(0)
	for range 100 {
		frame := make([]int16, echoRate/50)
		for i := range frame {
			frame[i] = next
			next++
		}
		if err := e.WriteFrame(frame); err != nil {
			t.Fatal(err)
		}
	}
	out := make([]int16, 2*echoLimit)
	n, err := e.ReadFrame(out)
	if err != nil || n != echoLimit {
		t.Fatalf("%d samples, %v", n, err)
	}
	if !slices.IsSorted(out[:n]) || out[n-1] != next-1 || out[0] != next-int16(echoLimit) {
		t.Errorf("from %d to %d, last written %d", out[0], out[n-1], next-1)
	}
	if n, err := e.ReadFrame(out); n != 0 || err != nil {
		t.Errorf("%d samples more, %v", n, err)
	}
	if err := e.WriteFrame(make([]int16, 3*echoLimit)); err != nil || len(e.wait) != echoLimit {
		t.Errorf("%d samples wait, %v", len(e.wait), err)
	}
}
