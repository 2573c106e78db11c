//go:build unix

// Command load measures what the library costs: the memory of registered
// accounts, the processor time of calls, the rate of calls that can be
// sustained, and the processor time and memory of media. BENCHMARKS.md holds
// what it said.
//
//	go run ./internal/load [-runs n] accounts [-n 1000]
//	go run ./internal/load [-runs n] clients [-n 1000]
//	go run ./internal/load [-runs n] calls [-transport udp] [-n 20000]
//	go run ./internal/load [-runs n] rate [-transport udp] [-rate 3000] [-for 2m]
//	go run ./internal/load [-runs n] media [-calls 100] [-for 20s]
//	go run ./internal/load [-runs n] merge [-parties 10] [-codec PCMU] [-for 10s]
//
// It uses loopback alone, needs nothing but itself (what is not to be measured
// runs as a child process), and ends by itself. With -runs it does everything
// that often, each time in a new process, and reports medians.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// figure is one result.
type figure struct {
	Name  string
	Value float64
	Unit  string
}

// command is a subcommand. It measures and returns, or serves until in ends.
type command struct {
	name  string
	about string
	run   func(ctx context.Context, args []string, log io.Writer) ([]figure, error)
	serve func(ctx context.Context, args []string, out io.Writer) error
}

// commands is filled by init, since they refer to it through run.
var commands []command

func init() {
	commands = []command{
		{name: "accounts", about: "memory of registered TLS accounts, registrations a second", run: accounts},
		{name: "clients", about: "memory of XMPP clients that are connected and idle", run: clients},
		{name: "calls", about: "processor time of calls without media", run: calls},
		{name: "rate", about: "calls without media at a steady rate", run: rate},
		{name: "media", about: "processor time and memory of calls with SRTP", run: mediaCalls},
		{name: "merge", about: "processor time of calls merged on the device", run: merge},
		{name: registrarRole, serve: serveRegistrar},
		{name: xmppRole, serve: serveXMPP},
		{name: calleeRole, serve: serveCallee},
	}
}

// longest bounds a run, whatever happens.
const longest = 15 * time.Minute

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out, log io.Writer) error {
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	fs.SetOutput(log)
	runs := fs.Int("runs", 1, "how often to measure; medians are reported")
	raw := fs.Bool("json", false, "print figures as JSON")
	fs.Usage = func() {
		fmt.Fprintln(log, "usage: load [flags] command [flags]")
		fs.PrintDefaults()
		for _, c := range commands {
			if c.run != nil {
				fmt.Fprintf(log, "  %-10s %s\n", c.name, c.about)
			}
		}
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	args = fs.Args()
	i := slices.IndexFunc(commands, func(c command) bool { return len(args) > 0 && c.name == args[0] })
	if i < 0 {
		fs.Usage()
		return fmt.Errorf("no such command: %q", args)
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	c := commands[i]
	if c.serve != nil {
		go func() { // ends with the parent, however that ends
			io.Copy(io.Discard, in)
			cancel()
		}()
		return c.serve(ctx, args[1:], out)
	}
	if *runs > 1 {
		return repeat(*runs, args, out, log)
	}
	figures, err := c.run(ctx, args[1:], log)
	if err != nil {
		return err
	}
	if *raw {
		return json.NewEncoder(out).Encode(figures)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range figures {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, number(f.Value), f.Unit)
	}
	return w.Flush()
}

// repeat measures n times, each time in a process of its own, and prints the
// median, the least and the greatest of each figure.
func repeat(n int, args []string, out, log io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var names []figure
	values := make(map[string][]float64)
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), longest)
		cmd := exec.CommandContext(ctx, self, append([]string{"-json"}, args...)...)
		cmd.Stderr = log
		b, err := cmd.Output()
		cancel()
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &names); err != nil {
			return err
		}
		for _, f := range names {
			values[f.Name] = append(values[f.Name], f.Value)
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d runs\tmedian\tleast\tgreatest\t\n", n)
	for _, f := range names {
		v := values[f.Name]
		slices.Sort(v)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Name, number(v[len(v)/2]), number(v[0]), number(v[len(v)-1]), f.Unit)
	}
	return w.Flush()
}

// number prints three significant digits, and whole numbers whole.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
