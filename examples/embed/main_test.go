package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// TestCallAndPlay runs the program's one function against the lab.
func TestCallAndPlay(t *testing.T) {
	lab, err := siptest.Start(&siptest.Config{Users: []siptest.User{{Name: "alice"}, {Name: "bob"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	file := filepath.Join(t.TempDir(), "hello.wav")
	writeTone(t, file)
	heard := make(chan time.Duration, 1)
	go func() { heard <- listen(ctx, t, lab.Config("bob")) }()

	for len(lab.Devices("bob")) == 0 { // a call before that would find nobody
		select {
		case <-ctx.Done():
			t.Fatal("bob did not register")
		case <-time.After(time.Millisecond):
		}
	}
	if err := callAndPlay(ctx, lab.Config("alice"), "bob", file); err != nil {
		t.Fatal(err)
	}
	if d := <-heard; d < 500*time.Millisecond {
		t.Errorf("bob heard %v of the tone", d)
	}

	var refused *sip.StatusError
	if err := callAndPlay(ctx, lab.Config("alice"), "busy", file); !errors.As(err, &refused) || refused.Code != 486 {
		t.Errorf("a callee who is busy: %v", err)
	}
}

func writeTone(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := wav.NewWriter(f, wav.Format{SampleRate: 16000, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(mediatest.Tone(440, 16000, 16000, 10000)), w.Close()); err != nil {
		t.Fatal(err)
	}
}

// listen answers one call and tells for how long the tone was heard.
func listen(ctx context.Context, t *testing.T, cfg *sip.Config) time.Duration {
	engine, err := media.NewEngine(nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer engine.Close()
	cfg.NewMedia = engine.NewSession
	ua, err := sip.New(cfg)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer ua.Close()
	if _, err := ua.Register(ctx); err != nil {
		t.Error(err)
		return 0
	}
	call, err := ua.Accept(ctx)
	if err != nil {
		t.Error(err)
		return 0
	}
	if err := call.Answer(ctx, nil); err != nil {
		t.Error(err)
		return 0
	}
	var heard time.Duration
	sink := media.SinkFunc(16000, func(pcm []int16) {
		if mediatest.Level(pcm) > -30 && mediatest.ToneShare(pcm, 16000, 440) > 0.8 {
			heard += 20 * time.Millisecond
		}
	})
	session, _ := media.FromCall(call)
	if err := errors.Join(session.SetSink(sink), call.Wait(ctx), session.Wait(ctx)); err != nil {
		t.Error(err)
	}
	engine.Close() // after which nobody writes to the sink
	return heard
}
