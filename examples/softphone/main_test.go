package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/media/wav"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// childVariable makes the test binary be the program, for tests that send it signals.
const childVariable = "SOFTPHONE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main() // which exits
	}
	// Nothing that the person has who runs the tests may play a part in them.
	home, err := os.MkdirTemp("", "softphone-test-")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "AppData", "USERPROFILE"} {
		os.Setenv(name, home)
	}
	os.Unsetenv(passwordVariable)
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

const (
	password = "correct horse battery staple"

	// patience bounds every wait for something that happens at once on an idle machine.
	patience = 20 * time.Second
)

// newLab starts a lab with three users. Its CA is in the file it returns.
func newLab(t *testing.T, mod ...func(*siptest.Config)) (lab *siptest.Server, ca string) {
	t.Helper()
	cfg := &siptest.Config{Users: []siptest.User{
		{Name: "alice", DisplayName: "Alice", Password: password},
		{Name: "bob", DisplayName: "Bob", Password: password},
		{Name: "carol", DisplayName: "Carol", Password: password},
	}}
	for _, m := range mod {
		m(cfg)
	}
	lab, err := siptest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, lab.CAPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return lab, ca
}

// flags are the arguments for a user of a lab, behind the command.
func flags(lab *siptest.Server, ca, user string, more ...string) []string {
	return append([]string{"-account", "sip:" + user + "@" + lab.Domain(), "-proxy", lab.Proxy(sip.TLS), "-ca", ca}, more...)
}

// output is what a program writes, for somebody to wait for.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed and replaced with each write
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) get() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}

func (o *output) String() string {
	s, _ := o.get()
	return s
}

// await waits until the output has a text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(patience)
	for {
		got, changed := o.get()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no %q in the output:\n%s", text, got)
		}
	}
}

// process is the program, running in this one.
type process struct {
	out, err *output
	keys     *io.PipeWriter // what is typed
	stop     context.CancelCauseFunc
	exited   chan struct{}
	code     int
}

// begin runs the program in the background, with somebody at the keys.
func begin(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	in, keys := io.Pipe()
	p := &process{out: newOutput(), err: newOutput(), keys: keys, stop: cancel, exited: make(chan struct{})}
	c := &console{
		in: in, out: p.out, err: p.err, keys: true,
		password: func(context.Context, string) (string, error) { return password, nil },
	}
	go func() {
		defer close(p.exited)
		p.code = run(ctx, c, args)
	}()
	t.Cleanup(func() {
		cancel(errInterrupted)
		<-p.exited
		keys.Close()
	})
	return p
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.code
	case <-time.After(2 * patience):
		t.Fatalf("still running:\n%s%s", p.out, p.err)
		return 0
	}
}

func (p *process) typ(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(p.keys, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// start runs the program to its end.
func start(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	p := begin(t, args...)
	code = p.wait(t)
	return code, p.out.String(), p.err.String()
}

// toneHz is what calls in tests sound like: it is easier to find again on a
// busy machine, which stretches and drops sound, than speech is.
const toneHz = 440

// enough of the tone says that sound gets through.
const enough = 500 * time.Millisecond

// writeTone makes a WAV file of a tone.
func writeTone(t *testing.T, length time.Duration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tone.wav")
	writeWAV(t, path, mediatest.Tone(toneHz, recordRate, int(length.Seconds()*recordRate), 10000))
	return path
}

// heardTone tells for how long the tone is in a recording.
func heardTone(t *testing.T, path string) time.Duration {
	t.Helper()
	const window = 100 * time.Millisecond
	const n = int(recordRate * window / time.Second)
	var heard time.Duration
	for pcm := readWAV(t, path); len(pcm) >= n; pcm = pcm[n:] {
		if mediatest.Level(pcm[:n]) > -30 && mediatest.ToneShare(pcm[:n], recordRate, toneHz) > 0.8 {
			heard += window
		}
	}
	return heard
}

func writeWAV(t *testing.T, path string, pcm []int16) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := wav.NewWriter(f, wav.Format{SampleRate: recordRate, Channels: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(pcm); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func readWAV(t *testing.T, path string) []int16 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pcm, rate, err := wav.ReadAll(f, 100*recordRate)
	if err != nil || rate != recordRate {
		t.Fatalf("%s: %d Hz, %v", path, rate, err)
	}
	return pcm
}
