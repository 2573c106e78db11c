package peertest

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttr puts a child in a process group of its own and has the kernel end it if
// the test process dies without running its cleanups (a panic, -timeout).
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// signal sends a signal to the process and all its children.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		syscall.Kill(-p.cmd.Process.Pid, sig)
	}
}

// reap waits for the process. Children it left behind are ended while the
// dead process still holds the number of their group, so that no other
// process can be meant.
func (p *process) reap() error {
	pid := p.cmd.Process.Pid
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	syscall.Kill(-pid, syscall.SIGKILL)
	p.reaped = true
	p.mu.Unlock()
	return p.cmd.Wait()
}
