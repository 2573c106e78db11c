package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hoorn-phone/hoorn/sip/siptest"
)

// child is the program as a process of its own, which can be sent signals.
type child struct {
	cmd  *exec.Cmd
	out  *output
	done chan error
}

func spawn(t *testing.T, args ...string) *child {
	t.Helper()
	if onWindows {
		t.Skip("a process cannot send Ctrl-C to another on Windows")
	}
	c := &child{cmd: exec.Command(os.Args[0], args...), out: newOutput(), done: make(chan error, 1)}
	c.cmd.Env = append(os.Environ(), childVariable+"=1", passwordVariable+"="+password)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() { c.cmd.Process.Kill() })
	return c
}

func (c *child) interrupt(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
}

func (c *child) wait(t *testing.T) int {
	t.Helper()
	select {
	case err := <-c.done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return c.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("still running:\n%s", c.out)
		return 0
	}
}

// TestInterrupt: Ctrl-C hangs up and unregisters.
func TestInterrupt(t *testing.T) {
	lab, ca := newLab(t)
	c := spawn(t, append([]string{"call", "echo"}, flags(lab, ca, "alice")...)...)
	c.out.await(t, "in call with")
	if lab.Calls() != 1 || len(lab.Devices("alice")) != 1 {
		t.Fatalf("%d calls, devices %v", lab.Calls(), lab.Devices("alice"))
	}
	c.interrupt(t)
	if code := c.wait(t); code != exitOK || !strings.Contains(c.out.String(), "hung up after") || !strings.Contains(c.out.String(), "unregistered") {
		t.Errorf("exit %d\n%s", code, c.out)
	}
	if lab.Calls() != 0 || len(lab.Devices("alice")) != 0 {
		t.Errorf("%d calls, devices %v", lab.Calls(), lab.Devices("alice"))
	}
}

// TestInterruptRinging: Ctrl-C gives up a call that is not answered.
func TestInterruptRinging(t *testing.T) {
	lab, ca := newLab(t)
	c := spawn(t, append([]string{"call", "noanswer"}, flags(lab, ca, "alice")...)...)
	c.out.await(t, "180 Ringing")
	c.interrupt(t)
	if code := c.wait(t); code != exitInterrupted || !strings.Contains(c.out.String(), "unregistered") {
		t.Errorf("exit %d\n%s", code, c.out)
	}
	if lab.Calls() != 0 || len(lab.Devices("alice")) != 0 {
		t.Errorf("%d calls, devices %v", lab.Calls(), lab.Devices("alice"))
	}
}

// TestInterruptTwice: the second Ctrl-C does not wait for a server that is silent.
func TestInterruptTwice(t *testing.T) {
	lab, ca := newLab(t)
	c := spawn(t, append([]string{"call", "echo"}, flags(lab, ca, "alice")...)...)
	c.out.await(t, "in call with")
	lab.Inject(siptest.Fault{Match: siptest.Match{Direction: siptest.FromDevice}, Count: -1, Drop: true})
	c.interrupt(t)
	c.out.await(t, interruptedNotice)
	c.interrupt(t)
	if code := c.wait(t); code != exitInterrupted {
		t.Errorf("exit %d\n%s", code, c.out)
	}
	if out := c.out.String(); strings.Contains(out, "unregister") {
		t.Errorf("it went on to unregister:\n%s", out)
	}
}

// TestTerminated: the signal by which systems end programs is as good as Ctrl-C.
func TestTerminated(t *testing.T) {
	lab, ca := newLab(t)
	c := spawn(t, append([]string{"register"}, flags(lab, ca, "alice")...)...)
	c.out.await(t, "registered sip:alice@pbx.example")
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := c.wait(t); code != exitOK || len(lab.Devices("alice")) != 0 {
		t.Errorf("exit %d, devices %v\n%s", code, lab.Devices("alice"), c.out)
	}
}
