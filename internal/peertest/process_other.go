//go:build !linux

package peertest

import "syscall"

// The peers run on Linux alone: Need skips their tests everywhere else. What
// is here lets the package build.

func childAttr() *syscall.SysProcAttr { return nil }

func (p *process) signal(syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		p.cmd.Process.Kill()
	}
}

func (p *process) reap() error {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	return err
}
