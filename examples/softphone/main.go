// Softphone is a telephone for the terminal, and a demo that needs nothing
// but Go:
//
//	go run ./examples/softphone demo
//
// See `softphone help` for its commands, and config.go for the file they can
// take their settings from.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1   // see the message
	exitUsage       = 2   // the command line or the configuration file is wrong
	exitRefused     = 3   // call: busy, declined, no answer, no such number
	exitInterrupted = 130 // Ctrl-C before there was a call or registration, or a second Ctrl-C
)

// errInterrupted is the cause of the context that Ctrl-C ends.
var errInterrupted = errors.New("interrupted")

// interruptedNotice answers the first Ctrl-C.
const interruptedNotice = "softphone: ending; Ctrl-C again quits at once"

// usageError is a mistake in the command line or the configuration file.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// console is what the program talks to.
type console struct {
	in       io.Reader
	out, err io.Writer
	// keys says that somebody sits there to type commands; live that out can
	// rewrite a line; width is its width in columns, 0 if unknown.
	keys, live bool
	width      func() int
	// size and raw are for drawing on all of a terminal: its columns and
	// lines, and keys that come one by one until restore is called.
	size func() (width, height int)
	raw  func() (restore func(), err error)
	// password asks for one without showing it; nil where nobody can be asked.
	password func(ctx context.Context, prompt string) (string, error)
}

// command is one thing that the program does.
type command struct {
	name, args, brief string
	run               func(ctx context.Context, c *console, args []string) error
}

// commands is a function because help, which is one, lists them.
func commands() []command {
	return []command{
		{"demo", "", "two phones and an exchange in this process, one secure call", runDemo},
		{"register", "", "register the account and stay registered", runRegister},
		{"call", "URI", "call somebody: a SIP or tel URI, a user or a number", runCall},
		{"phone", "", "a telephone on the whole terminal: several calls, hold, transfer, merge, pull, push", runPanel},
		{"listen", "", "register and take calls", runListen},
		{"help", "[COMMAND]", "this text, or the flags of a command", runHelp},
	}
}

func find(name string) *command {
	for _, cmd := range commands() {
		if cmd.name == name {
			return &cmd
		}
	}
	return nil
}

func main() {
	ctx, cancel := interruptible()
	code := run(ctx, newConsole(), os.Args[1:])
	cancel()
	os.Exit(code)
}

// interruptible returns a context that the first Ctrl-C ends. The second one
// ends the program at once.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		fmt.Fprintln(os.Stderr, interruptedNotice)
		cancel(errInterrupted)
		<-signals
		os.Exit(exitInterrupted)
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

func newConsole() *console {
	c := &console{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	c.keys = term.IsTerminal(int(os.Stdin.Fd()))
	c.live = term.IsTerminal(int(os.Stdout.Fd()))
	c.size = func() (width, height int) {
		width, height, _ = term.GetSize(int(os.Stdout.Fd()))
		return width, height
	}
	c.width = func() int {
		w, _ := c.size()
		return w
	}
	c.raw = rawTerminal
	if c.keys {
		c.password = promptPassword
	}
	return c
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, c *console, args []string) int {
	if len(args) == 0 {
		usage(c.err)
		return exitUsage
	}
	name := args[0]
	if name == "-h" || name == "-help" || name == "--help" {
		name = "help"
	}
	cmd := find(name)
	if cmd == nil {
		fmt.Fprintf(c.err, "softphone: there is no command %q\n\n", name)
		usage(c.err)
		return exitUsage
	}
	err := cmd.run(ctx, c, args[1:])
	code := exitCode(err)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case code == exitUsage:
		fmt.Fprintf(c.err, "softphone %s: %v\nsee: softphone help %s\n", name, err, name)
	default:
		fmt.Fprintf(c.err, "softphone: %s\n", explain(err))
	}
	return code
}

func usage(w io.Writer) {
	fmt.Fprint(w, "softphone is a SIP telephone for the terminal.\n\n")
	for _, cmd := range commands() {
		fmt.Fprintf(w, "  softphone %-18s %s\n", cmd.name+" "+cmd.args, cmd.brief)
	}
	fmt.Fprintf(w, `
The password is never an argument: it comes from the environment variable
HOORN_PASSWORD, from -password-file, or from a prompt. Other settings can stand
in a file of lines "flag = value", by default
%s

The first Ctrl-C hangs up and unregisters, the second quits at once.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the callee was busy, declined or
did not answer, 130 interrupted before a call or registration stood.
`, displayPath(defaultConfig()))
}

func runHelp(ctx context.Context, c *console, args []string) error {
	if len(args) == 0 {
		usage(c.out)
		return nil
	}
	cmd := find(args[0])
	if cmd == nil {
		return usagef("there is no command %q", args[0])
	}
	if cmd.name == "help" {
		usage(c.out)
		return nil
	}
	return cmd.run(ctx, c, []string{"-h"})
}
