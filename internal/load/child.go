//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// hello is the first line of a child process: how it is reached.
type hello struct {
	Addr string // address:port
	CA   []byte // PEM, where it speaks TLS
}

// child is a process that plays the other side.
type child struct {
	hello
	cmd *exec.Cmd
	in  io.Closer
}

// spawn starts this program in another role.
func spawn(ctx context.Context, log io.Writer, role string, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, append([]string{role}, args...)...)}
	c.cmd.Stderr = log
	c.cmd.WaitDelay = 5 * time.Second
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	c.in = in
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c.hello)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("%s does not start: %w", role, err)
	}
	return c, nil
}

// close ends the child, which it is told by the end of its input.
func (c *child) close() error {
	c.in.Close()
	return c.cmd.Wait()
}

// ready tells the parent how we are reached.
func ready(out io.Writer, h hello) error { return json.NewEncoder(out).Encode(h) }
