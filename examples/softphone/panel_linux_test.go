package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/media"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/media/g711"
	"github.com/hoorn-phone/hoorn/media/mediatest"
	"github.com/hoorn-phone/hoorn/sip"
	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// seat is a panel on a pseudo-terminal, with somebody in front of it.
type seat struct {
	t    *testing.T
	pty  *os.File
	see  *emulator
	cmd  *exec.Cmd
	done chan error
}

// sit starts the panel as a process of its own. more are variables of its
// environment, and flags, which begin with a dash.
func sit(t *testing.T, lab *siptest.Server, ca, user string, width, height int, more ...string) *seat {
	t.Helper()
	ours, theirs := openPTY(t, width, height)
	s := &seat{t: t, pty: ours, see: newEmulator(), done: make(chan error, 1)}
	args := append([]string{"phone"}, flags(lab, ca, user)...)
	s.cmd = exec.Command(os.Args[0], args...)
	s.cmd.Env = append(os.Environ(), childVariable+"=1", passwordVariable+"="+password, "TERM=xterm")
	for _, m := range more {
		if strings.HasPrefix(m, "-") {
			s.cmd.Args = append(s.cmd.Args, m)
		} else {
			s.cmd.Env = append(s.cmd.Env, m)
		}
	}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirs, theirs, theirs
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill() })
	go func() { _, _ = io.Copy(s.see, ours) }() // until the pseudo-terminal is closed
	go func() { s.done <- s.cmd.Wait() }()
	s.see.await(t, "sip:"+user+"@", "TLS 1.3")
	return s
}

func (s *seat) press(keys string) {
	s.t.Helper()
	if _, err := s.pty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// leave presses q and waits for the end.
func (s *seat) leave() {
	s.t.Helper()
	s.press("q")
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Errorf("the panel ended with %v\n%s", err, s.see)
		}
	case <-time.After(patience):
		s.t.Fatalf("q does not leave:\n%s", s.see)
	}
	s.see.left(s.t) // what it wrote last may still be on its way
	s.see.mu.Lock()
	defer s.see.mu.Unlock()
	if s.see.strange != "" {
		s.t.Errorf("strange sequences: %q", s.see.strange)
	}
}

// friend is somebody else: a user agent that does what the test says.
type friend struct {
	*sip.UA
	t *testing.T
}

func newFriend(t *testing.T, lab *siptest.Server, user string, mod ...func(*sip.Config)) *friend {
	t.Helper()
	// Not Opus, which takes a busy machine too long in as many places at once.
	eng, err := media.NewEngine(&media.Config{Codecs: []codec.Codec{g711.PCMU()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { eng.Close() })
	cfg := lab.Config(user)
	cfg.NewMedia = eng.NewSession
	for _, m := range mod {
		m(cfg)
	}
	ua, err := sip.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ua.Close() })
	if _, err := ua.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &friend{ua, t}
}

func (f *friend) accept() *sip.Call {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	c, err := f.Accept(ctx)
	if err != nil {
		f.t.Fatalf("%s is not called: %v", f.AOR(), err)
	}
	return c
}

func (f *friend) answer() *sip.Call {
	f.t.Helper()
	c := f.accept()
	if err := c.Answer(f.t.Context(), nil); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func session(t *testing.T, c *sip.Call) *media.Session {
	t.Helper()
	s, ok := media.FromCall(c)
	if !ok {
		t.Fatal("a call without media")
	}
	return s
}

// hears waits until a session has heard enough of a tone.
func hears(t *testing.T, s *media.Session, hz float64) {
	t.Helper()
	const rate = 8000
	heard := make(chan struct{}, 1)
	frames := 0
	err := s.SetSink(media.SinkFunc(rate, func(pcm []int16) {
		if mediatest.Level(pcm) > -30 && mediatest.ToneShare(pcm, rate, hz) > 0.8 {
			if frames++; frames == int(enough/(20*time.Millisecond)) {
				heard <- struct{}{}
			}
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-heard:
	case <-time.After(patience):
		t.Errorf("no tone of %v Hz is heard", hz)
	}
	if err := s.SetSink(nil); err != nil {
		t.Error(err)
	}
}

// TestPanel is an evening at the telephone: a call, a second one that waits,
// swap, mute, digits, merge, and what goes wrong.
func TestPanel(t *testing.T) {
	lab, ca := newLab(t)
	bob, carol := newFriend(t, lab, "bob"), newFriend(t, lab, "carol")
	s := sit(t, lab, ca, "alice", 100, 24)

	s.press("cnobody\r")
	s.see.await(t, "sip:nobody@", "404")

	s.press("cbob\r")
	toBob := bob.accept()
	if err := toBob.Ring(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.see.await(t, "Bob", "rings there")
	if err := toBob.Answer(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.see.await(t, "> 2 Bob", "talking")
	if err := session(t, toBob).SetSource(media.NewTone(8000, -12, toneHz)); err != nil {
		t.Fatal(err)
	}
	s.see.await(t, "Bob", "in #####")

	digits := make(chan rune, 1)
	go func() {
		for d := range session(t, toBob).DTMF(t.Context()) {
			digits <- rune(d.Key)
			return
		}
	}()
	s.press("7")
	select {
	case d := <-digits:
		if d != '7' {
			t.Errorf("bob hears %c", d)
		}
	case <-time.After(patience):
		t.Errorf("bob hears no digit\n%s", s.see)
	}
	s.press("m")
	s.see.await(t, "Bob", "muted")
	s.press("m")
	s.see.gone(t, "Bob", "muted")

	// Call waiting: the first is held when the second is answered.
	fromCarol, err := carol.Start(t.Context(), "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.see.await(t, "Carol", "calls you")
	s.press("a")
	if err := fromCarol.Answered(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.see.await(t, "Carol", "talking")
	s.see.await(t, "Bob", "held")
	if h := toBob.Held(); !h.Remote {
		t.Errorf("bob's side: %+v", h)
	}
	s.press("s")
	s.see.await(t, "Bob", "talking")
	s.see.await(t, "Carol", "held")
	s.press("h ") // Bob goes; space resumes Carol, or says that there is nothing to hold
	s.see.gone(t, "Bob", "talking")
	if err := toBob.Wait(t.Context()); err != nil {
		t.Errorf("bob's call ended with %v", err)
	}

	// The first again, and all merged.
	s.press("cbob\r")
	toBob = bob.answer()
	s.see.await(t, "Bob", "talking")
	s.press("g")
	s.see.await(t, "Bob", "merged")
	s.see.await(t, "Carol", "merged")
	if err := session(t, toBob).SetSource(media.NewTone(8000, -12, toneHz)); err != nil {
		t.Fatal(err)
	}
	hears(t, session(t, fromCarol), toneHz) // through alice
	s.press("u")
	s.see.gone(t, "merged]")

	// The other two go on without us.
	s.press("jt#2\r") // there is no call 2 any more
	s.see.await(t, "there is no other call 2")

	s.press("?")
	s.see.await(t, "transfer to somebody")
	s.press("x")
	resize(t, s.pty, 40, 10)
	s.press("\f")
	s.see.await(t, "sip:alice@")
	for limit := time.After(patience); s.see.widest() > 40; {
		_, changed := s.see.get()
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("wider than the terminal:\n%s", s.see)
		}
	}
	s.leave()
	for _, c := range []*sip.Call{toBob, fromCarol} {
		if err := c.Wait(t.Context()); err != nil {
			t.Errorf("a call ended with %v", err)
		}
	}
	if n := len(lab.Devices("alice")); n != 0 {
		t.Errorf("alice is registered with %d devices", n)
	}
}

// TestPanelTransfer lets the other two go on without us.
func TestPanelTransfer(t *testing.T) {
	lab, ca := newLab(t)
	bob, carol := newFriend(t, lab, "bob"), newFriend(t, lab, "carol")
	s := sit(t, lab, ca, "alice", 80, 24, "NO_COLOR=1")
	s.press("cbob\r")
	toBob := bob.answer()
	s.see.await(t, "Bob", "talking")
	s.press("ccarol\r")
	toCarol := carol.answer()
	s.see.await(t, "Carol", "talking")
	s.press("t#1\r")
	s.see.await(t, "1: ", "transferred")
	if err := session(t, toBob).SetSource(media.NewTone(8000, -12, toneHz)); err != nil {
		t.Fatal(err)
	}
	hears(t, session(t, toCarol), toneHz)
	s.leave()
	if toBob.State() != sip.CallEstablished || toCarol.State() != sip.CallEstablished {
		t.Error("the transferred call ended with us")
	}
	if s.see.colours != 0 {
		t.Errorf("%d colours though NO_COLOR is set", s.see.colours)
	}
}

// TestPanelPull brings a call from another device, and back.
func TestPanelPull(t *testing.T) {
	lab, ca := newLab(t)
	bob, desk := newFriend(t, lab, "bob"), newFriend(t, lab, "alice")
	s := sit(t, lab, ca, "alice", 80, 24)
	c, err := desk.Start(t.Context(), "bob", nil)
	if err != nil {
		t.Fatal(err)
	}
	toBob := bob.answer()
	s.see.await(t, "Bob", "elsewhere")
	s.press("p")
	s.see.await(t, "Bob", "talking")
	if err := c.Wait(t.Context()); err != nil {
		t.Errorf("the desk's call ended with %v", err)
	}
	if toBob.State() != sip.CallEstablished {
		t.Errorf("bob's call: %v", toBob.End())
	}
	s.see.gone(t, "Bob", "elsewhere")
	s.press("p")
	s.see.await(t, "none of your other devices has a call")
	s.leave()
}

// TestPanelPush gives a call to another device: none is there, the only one, one
// of two, and one that declines.
func TestPanelPush(t *testing.T) {
	lab, ca := newLab(t, func(c *siptest.Config) { c.Registrar.GRUU = true })
	bob := newFriend(t, lab, "bob")
	s := sit(t, lab, ca, "alice", 110, 24)
	s.press("P")
	s.see.await(t, "push", "there is no call to do that with")
	s.press("cbob\r")
	toBob := bob.answer()
	s.see.await(t, "Bob", "talking")
	s.press("P")
	s.see.await(t, "none of your other devices is registered")

	desk := newFriend(t, lab, "alice")
	s.press("P")
	onDesk := desk.accept()
	s.see.gone(t, "Bob", "talking")
	s.see.await(t, "Bob", "elsewhere")
	if toBob.State() != sip.CallEstablished || onDesk.State() != sip.CallEstablished {
		t.Errorf("bob's call %v, on the desk %v", toBob.State(), onDesk.State())
	}
	s.press("p") // back again
	s.see.await(t, "Bob", "talking")
	s.press(" ")
	s.see.await(t, "Bob", "held")
	s.press(" ") // the telephone knows the call that was pulled
	s.see.await(t, "Bob", "talking")

	newFriend(t, lab, "alice", func(c *sip.Config) {
		c.Refer = func(*sip.ReferRequest) sip.ReferDecision { return sip.ReferRefuse }
	})
	s.press("P")
	s.see.await(t, "push to 1 ", ", 2 ")
	s.press("3\r")
	s.see.await(t, "there is no 3")
	s.press("P")
	s.see.await(t, "push to 1 ", ", 2 ")
	s.press("2\r")
	s.see.await(t, "push to ", "603")
	s.see.await(t, "Bob", "talking")
	if toBob.State() != sip.CallEstablished {
		t.Errorf("bob's call: %v", toBob.State())
	}
	s.leave()
}

// TestPanelConference merges on the network, drops somebody, and leaves; where
// there is no factory the calls are merged on the device.
func TestPanelConference(t *testing.T) {
	lab, ca := newLab(t)
	bob, carol := newFriend(t, lab, "bob"), newFriend(t, lab, "carol")
	both := func(s *seat) (toBob, toCarol *sip.Call) {
		t.Helper()
		s.press("cbob\r")
		toBob = bob.answer()
		s.see.await(t, "Bob", "talking")
		s.press("ccarol\r")
		toCarol = carol.answer()
		s.see.await(t, "Carol", "talking")
		s.press("g")
		return toBob, toCarol
	}
	s := sit(t, lab, ca, "alice", 100, 24, "-conference=conference", "-codecs=pcmu")
	toBob, toCarol := both(s)
	s.see.await(t, "> 3 Bob, Carol", "talking", "conference")
	s.see.gone(t, " 1 Bob", "held")
	if n := len(lab.Conferences()); n != 1 {
		t.Errorf("%d conferences", n)
	}
	if err := session(t, toBob).SetSource(media.NewTone(8000, -12, toneHz)); err != nil {
		t.Fatal(err)
	}
	hears(t, session(t, toCarol), toneHz)
	s.see.await(t, "Bob, Carol", "in #####")
	s.press("u")
	s.see.await(t, "not possible in a conference on the network")
	s.press("x")
	s.see.await(t, "drop 1 Bob, 2 Carol:")
	s.press("2\r")
	s.see.await(t, "> 3 Bob ", "conference")
	if err := toCarol.Wait(t.Context()); err != nil {
		t.Errorf("carol's call ended with %v", err)
	}
	s.leave()

	s = sit(t, lab, ca, "alice", 100, 24, "-conference=nobody")
	both(s)
	s.see.await(t, "no conference at nobody", "404")
	s.see.await(t, "The calls are merged here")
	s.see.await(t, "Bob", "merged")
	s.see.await(t, "Carol", "merged")
	s.leave()
}

// A panel needs a terminal, and says so.
func TestPanelNeedsTerminal(t *testing.T) {
	lab, ca := newLab(t)
	code, _, errs := start(t, append([]string{"phone"}, flags(lab, ca, "alice")...)...)
	if code != exitFailed || !containsAll(errs, []string{"terminal", "softphone call"}) {
		t.Errorf("exit %d: %s", code, errs)
	}
	if n := len(lab.Devices("alice")); n != 0 {
		t.Errorf("alice is registered with %d devices", n)
	}
}
