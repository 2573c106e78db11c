package peertest

import (
	"context"
	"errors"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func needShell(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the harness runs on Linux alone")
	}
}

// gone reports whether no process has this number any more.
func gone(pid string) error {
	if _, err := os.Stat("/proc/" + pid); err == nil {
		return errors.New(pid + " is still there")
	}
	return nil
}

func TestProcessEndsWithItsChildren(t *testing.T) {
	t.Parallel()
	needShell(t)
	p := start(t, spec{program: "sh", args: []string{"-c", `sleep 600 & echo child $!; wait`}})
	child := p.out.Wait(t, 0, `child ([0-9]+)`)[1]
	p.stop()
	if err := eventually(t.Context(), func() error { return gone(child) }); err != nil {
		t.Error(err)
	}
}

func TestProcessThatWillNotEnd(t *testing.T) {
	t.Parallel()
	needShell(t)
	p := start(t, spec{program: "sh", args: []string{"-c", `trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done`}})
	p.out.Wait(t, 0, `ready`)
	p.stop()
	p.out.Wait(t, 0, `asked`)
	if p.running() {
		t.Error("it runs after stop")
	}
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v, want a kill", p.cmd.ProcessState)
	}
}

func TestProcessThatLeavesChildren(t *testing.T) {
	t.Parallel()
	needShell(t)
	p := start(t, spec{program: "sh", args: []string{"-c", `sleep 600 & echo child $!; exit 3`}})
	child := p.out.Wait(t, 0, `child ([0-9]+)`)[1]
	if code, err := p.wait(patience); code != 3 || err != nil {
		t.Errorf("exit status %d, %v; want 3", code, err)
	}
	if err := eventually(t.Context(), func() error { return gone(child) }); err != nil {
		t.Error(err)
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	o := newOutput(strings.ToUpper)
	o.Write([]byte("one\r\ntw"))
	mark := o.Mark()
	o.Write([]byte("o\nthree"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := o.Await(ctx, 0, regexp.MustCompile("^THREE$")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("half a line was taken for one: %v", err)
	}
	o.close()
	if m := o.Wait(t, mark, "^(T.)"); m[1] != "TW" {
		t.Errorf("first line after the mark: %q", m)
	}
	if got := o.Since(0); !slices.Equal(got, []string{"ONE", "TWO", "THREE"}) {
		t.Errorf("lines %q", got)
	}
	if _, _, err := o.Await(t.Context(), 0, regexp.MustCompile("FOUR")); err == nil {
		t.Error("a line that never came was found")
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	o := newOutput(nil)
	for range maxLines {
		o.Write([]byte("old\n"))
	}
	mark := o.Mark()
	o.Write([]byte("new\n"))
	if n := len(o.Since(0)); n != maxLines {
		t.Errorf("holds %d lines, want %d", n, maxLines)
	}
	if got := o.Since(mark); !slices.Equal(got, []string{"new"}) {
		t.Errorf("after the mark: %q", got)
	}
}

func TestPorts(t *testing.T) {
	t.Parallel()
	needShell(t)
	seen := map[int]bool{}
	for range 20 {
		b := reserve(t, blockPorts+1)
		for range 2 * blockPorts {
			port := b.take(1)
			if seen[port] {
				t.Fatalf("port %d was given away twice", port)
			}
			seen[port] = true
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if up, err := listening("tcp", port); !up || err != nil {
		t.Errorf("listening is %v, %v", up, err)
	}
	l.Close()
	if up, err := listening("tcp", port); up || err != nil {
		t.Errorf("after Close listening is %v, %v", up, err)
	}
}

func TestMakefileInstallsAll(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^PEERS := ((?:.*\\\n)*.*)$`).FindSubmatch(b)
	if m == nil {
		t.Fatal("the Makefile names no PEERS")
	}
	installs := strings.Fields(strings.ReplaceAll(string(m[1]), "\\", ""))
	for program, packages := range debian {
		for _, p := range packages {
			if !slices.Contains(installs, p) {
				t.Errorf("tests need %s for %s, and `make peers` does not install it", p, program)
			}
		}
	}
}

// fakeTB notes how a test would have ended.
type fakeTB struct {
	testing.TB
	fatal, skipped string
}

func (f *fakeTB) Helper()                        {}
func (f *fakeTB) Fatalf(format string, _ ...any) { f.fatal = format; runtime.Goexit() }
func (f *fakeTB) Skipf(format string, _ ...any)  { f.skipped = format; runtime.Goexit() }

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		ci          string
		skip, fatal bool
	}{{"", true, false}, {"true", false, true}} {
		t.Setenv("CI", c.ci)
		f := &fakeTB{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Need(f, "no-such-program")
		}()
		<-done
		if (f.skipped != "") != c.skip || (f.fatal != "") != c.fatal {
			t.Errorf("CI=%q: skipped %q, failed %q", c.ci, f.skipped, f.fatal)
		}
	}
}
