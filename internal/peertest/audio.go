package peertest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
)

// Talk is how much of a speaker's words a test waits for and listens to: a
// few seconds of the beginning.
const Talk = 5 * time.Second

// SpeechFile writes a WAV file in which a speaker (see Voice) says his words
// over and over, longer than any test: baresip hangs up where its file ends.
func SpeechFile(t testing.TB, speaker int) string {
	t.Helper()
	const rate = 48000
	file := filepath.Join(t.TempDir(), fmt.Sprintf("speaker%d.wav", speaker))
	f, err := os.Create(file)
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	defer f.Close()
	w, err := wav.NewWriter(f, wav.Format{SampleRate: rate, Channels: 1})
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	if err := errors.Join(w.Write(mediatest.Loop(Voice(speaker, rate), 60*rate)), w.Close()); err != nil {
		t.Fatalf("peertest: %v", err)
	}
	return file
}

// CheckFile fails the test if nobody who listens to a recording understands
// what a speaker said; see Heard.
func CheckFile(t testing.TB, who, file string, speaker int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Errorf("%s recorded nothing: %v", who, err)
		return
	}
	defer f.Close()
	pcm, rate, err := wav.ReadAll(f, math.MaxInt32)
	if err != nil {
		t.Errorf("%s: %v", who, err)
		return
	}
	score, ok := Heard(pcm, rate, speaker)
	if !ok {
		t.Errorf("%s did not hear speaker %d in %.1f s of sound at %d Hz: %v", who, speaker, float64(len(pcm))/float64(rate), rate, score)
		return
	}
	t.Logf("%s heard speaker %d: %v", who, speaker, score)
}

// Heard reports whether sound holds the beginning of a speaker's words, once
// at least. He says them over and over from when the sound begins: what a busy machine
// garbles the first time may be understood the second time.
func Heard(pcm []int16, rate, speaker int) (score mediatest.Score, ok bool) {
	said := mediatest.Speech(speaker, rate)
	period := len(said)
	said = said[:min(period, int(Talk.Seconds()*float64(rate)))]
	slack := rate // a second for delay and what was missed at the beginning
	for at := 0; at+len(said)*4/5 <= len(pcm); at += period {
		ok, score = mediatest.Heard(said, pcm[max(0, at-slack):min(len(pcm), at+len(said)+slack)], rate)
		if ok {
			return score, true
		}
	}
	return score, false
}

// recorded tells how much sound a WAV file of 16-bit PCM holds by now, while
// a peer is still writing it: then its header does not know. Linphone writes
// no header before the end; until then the sound counts as narrow-band.
func recorded(file string) (time.Duration, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	header := make([]byte, 44)
	if _, err := f.ReadAt(header, 0); err != nil {
		return 0, err
	}
	bytesPerSecond := binary.LittleEndian.Uint32(header[28:])
	if [44]byte(header) == [44]byte{} {
		bytesPerSecond = 2 * 8000
	} else if string(header[36:40]) != "data" || bytesPerSecond == 0 {
		return 0, fmt.Errorf("%s is no plain WAV file", file)
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return time.Duration(info.Size()-int64(len(header))) * time.Second / time.Duration(bytesPerSecond), nil
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
