package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/mediatest"
)

// TestDemo is the whole demo as a newcomer runs it, with less to say.
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	code, out, errs := start(t, "demo", "-seconds", "5", "-dir", dir, "-v")
	if code != exitOK {
		t.Fatalf("exit %d\n%s…%s", code, out, errs[max(0, len(errs)-500):]) // the rest are messages
	}
	for _, want := range []string{"alice to bob", "bob to alice", "AEAD_AES_128_GCM", "opus/48000/2", "0 (0.0 %)", "round trip", "setup time", "TLS 1.3", dir,
		"alice's mobile sees her call with Bob", "call pull", "bob missed", "merge", "alice heard bob and carol", "bob heard alice and carol", "carol heard alice and bob"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in the output", want)
		}
	}
	if strings.Contains(out, "not measured") || strings.Count(out, "yes (intelligibility") != 2 {
		t.Error("the table is incomplete")
	}
	if t.Failed() {
		t.Log(out)
	}
	// The recordings once more, without the demo's own verdict.
	for speaker, file := range []string{"alice-heard.wav", "bob-heard.wav"} { // alice hears bob, who is speaker 0
		said := mediatest.Speech(speaker, recordRate)[:5*recordRate]
		if ok, score := mediatest.Heard(said, readWAV(t, filepath.Join(dir, file)), recordRate); !ok {
			t.Errorf("%s: %v", file, score)
		}
	}
	page, err := os.ReadFile(filepath.Join(dir, "ladder.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<html", "REGISTER", "INVITE", "BYE", "alice", "bob"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("no %q in the ladder page", want)
		}
	}
	capture, err := os.ReadFile(filepath.Join(dir, "call.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"REGISTER sip:", "INVITE sip:bob@", "a=crypto:", "BYE sip:"} {
		if !strings.Contains(string(capture), want) {
			t.Errorf("no %q in the capture", want)
		}
	}
	if n := len(capture); n < 2*5*40*150 { // 2 directions, 5 s, most of 50 packets a second, with their headers
		t.Errorf("the capture has %d octets: no media in it?", n)
	}
	if info, err := os.Stat(filepath.Join(dir, "call.pcap")); err != nil || info.Mode().Perm()&0o077 != 0 && !onWindows {
		t.Errorf("others can read the capture, with the keys in it: %v, %v", info.Mode(), err)
	}
	// -v shows messages, and no keys.
	if !strings.Contains(errs, "--> tls") || !strings.Contains(errs, "INVITE sip:bob@") || !strings.Contains(errs, "inline:…") {
		t.Error("-v did not show the messages")
	}
	for _, line := range strings.Split(errs, "\n") {
		if _, k, ok := strings.Cut(line, "inline:"); ok && !strings.HasPrefix(k, "…") {
			t.Errorf("a key is shown: %q", line)
		}
	}
}

// TestDemoNotHeard lets bob move his lips without a sound: the demo has to notice on the recording.
func TestDemoNotHeard(t *testing.T) {
	c := &console{out: newOutput(), err: newOutput()}
	d, err := newDemo(c, &settings{seconds: 5, dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	said := d.bob.speech
	d.bob.speech = make([]int16, len(said))
	if err := d.run(t.Context()); !errors.Is(err, errNotHeard) || !strings.Contains(err.Error(), "alice did not hear bob") || strings.Contains(err.Error(), "bob did not hear alice") {
		t.Errorf("error %v", err)
	}
	if code := exitCode(errNotHeard); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}

// What bob missed is measured on his recording, and a merge in which somebody
// is not heard, or hears himself, is none.
func TestSecondAct(t *testing.T) {
	const hz = 440
	tone := func(d time.Duration, hz float64) []int16 {
		return mediatest.Tone(hz, recordRate, int(d.Seconds()*recordRate), 5000)
	}
	for _, c := range []struct {
		name   string
		pcm    []int16
		want   time.Duration
		missed bool
	}{
		{"no gap", tone(2*time.Second, hz), 0, false},
		{"a gap", slices.Concat(tone(time.Second, hz), make([]int16, recordRate/10), tone(time.Second, hz)), 100 * time.Millisecond, false},
		{"another tone in between", slices.Concat(tone(time.Second, hz), tone(200*time.Millisecond, 700), tone(time.Second, hz)), 200 * time.Millisecond, false},
		{"nothing after the pull", slices.Concat(tone(time.Second, hz), make([]int16, recordRate)), 0, true},
		{"silence", make([]int16, 2*recordRate), 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := gap(c.pcm, hz)
			if (err != nil) != c.missed || (got-c.want).Abs() > 25*time.Millisecond {
				t.Errorf("%v, %v; want about %v", got, err, c.want)
			}
		})
	}
	dir := t.TempDir()
	d := &demo{dir: dir}
	a, b, carol := tone(2*time.Second, pitches["alice"]), tone(2*time.Second, pitches["bob"]), tone(2*time.Second, pitches["carol"])
	writeWAV(t, filepath.Join(dir, "bob-pull.wav"), a)
	writeWAV(t, filepath.Join(dir, "alice-merge.wav"), mediatest.Mix(b, carol))
	writeWAV(t, filepath.Join(dir, "bob-merge.wav"), mediatest.Mix(a, carol))
	for _, c := range []struct {
		name  string
		carol []int16
		good  bool
	}{
		{"all is well", mediatest.Mix(a, b), true},
		{"carol does not hear bob", a, false},
		{"carol hears herself", mediatest.Mix(mediatest.Mix(a, b), carol), false},
	} {
		writeWAV(t, filepath.Join(dir, "carol-merge.wav"), c.carol)
		if err := d.judge(); (err == nil) != c.good || err != nil && !errors.Is(err, errNotHeard) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The verdict is about the file and what should be in it.
func TestVerdict(t *testing.T) {
	said := mediatest.Speech(0, recordRate)
	for _, c := range []struct {
		name  string
		file  []int16
		heard bool
	}{
		{"the speech", append(make([]int16, recordRate/5), said...), true},
		{"another speaker", mediatest.Speech(1, recordRate), false},
		{"silence", make([]int16, len(said)), false},
		{"half of it", said[:len(said)/2], false},
		{"nothing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "heard.wav")
			writeWAV(t, path, c.file)
			d, err := listen(&talker{name: "bob", speech: said}, &talker{name: "alice", heard: path})
			if err != nil {
				t.Fatal(err)
			}
			if d.heard != c.heard || (d.verdict() == nil) != c.heard {
				t.Errorf("heard %v: %v", d.heard, d.score)
			}
		})
	}
	if _, err := listen(&talker{speech: said}, &talker{heard: filepath.Join(t.TempDir(), "missing.wav")}); err == nil {
		t.Error("a missing recording is no error")
	}
}
