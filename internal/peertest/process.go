package peertest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a peer may take for anything it does at once when the
// machine is idle. It is generous: CI machines have two cores and run other
// packages at the same time.
const patience = 30 * time.Second

// grace is how long a peer may take to end after it was asked to.
const grace = 5 * time.Second

// process is a running peer. It leads a process group of its own, so that
// its children end with it.
type process struct {
	name  string
	out   *Output
	stdin io.WriteCloser
	cmd   *exec.Cmd
	ended chan struct{} // closed once the process was waited for
	err   error         // why it ended; valid after ended
	twice bool          // needs two SIGTERM: the first one only starts a polite goodbye

	mu     sync.Mutex
	reaped bool // the process number may be another's by now
}

// spec is how to start a process.
type spec struct {
	program string
	args    []string
	dir     string
	env     []string // added to the environment
	stdin   bool     // give it a pipe to read from
	twice   bool
	filter  func(line string) string // rewrites each line of output; nil keeps it
}

// start runs a peer and ends it when the test does. The last of its output
// goes to the test's log if the test failed.
func start(t testing.TB, s spec) *process {
	t.Helper()
	path, err := lookPath(s.program)
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	p := &process{name: s.program, out: newOutput(s.filter), ended: make(chan struct{}), twice: s.twice}
	p.cmd = exec.Command(path, s.args...)
	p.cmd.Dir = s.dir
	p.cmd.Env = append(os.Environ(), s.env...)
	p.cmd.Stdout = p.out
	p.cmd.Stderr = p.out
	p.cmd.SysProcAttr = childAttr()
	// A grandchild that keeps the pipes open must not keep Wait from returning.
	p.cmd.WaitDelay = grace
	if s.stdin {
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			t.Fatalf("peertest: %v", err)
		}
	}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that started it ends
		// (see childAttr), so that thread stays until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.reap()
		p.out.close()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		t.Fatalf("peertest: start %s: %v", s.program, err)
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("last output of %s (pid %d, %v):\n%s", p.name, p.cmd.Process.Pid, p.err, p.out.Tail(60))
		}
	})
	return p
}

// stop asks the process to end and makes it end if it does not. It may be
// called more than once.
func (p *process) stop() {
	p.signal(syscall.SIGTERM)
	if p.twice {
		// Two at once could count as one.
		select {
		case <-p.ended:
		case <-time.After(grace / 5):
		}
		p.signal(syscall.SIGTERM)
	}
	select {
	case <-p.ended:
	case <-time.After(grace):
	}
	p.kill()
}

// kill ends the process and its children without a chance to say goodbye:
// connections are reset or closed by the kernel, registrations stay as they were.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// wait waits until the process ends by itself and tells its exit status.
func (p *process) wait(timeout time.Duration) (int, error) {
	select {
	case <-p.ended:
	case <-time.After(timeout):
		return -1, fmt.Errorf("%s still runs after %v", p.name, timeout)
	}
	if exit := (*exec.ExitError)(nil); p.err != nil && !errors.As(p.err, &exit) {
		return -1, p.err
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// running reports whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// tempDir makes a folder with a short name: the path of a Unix socket in it
// must stay below 108 bytes, which testing's own folders often exceed.
func tempDir(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hoorn-"+name+"-")
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("PEERTEST_KEEP") != "" {
			t.Logf("kept %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return dir
}
