package peertest

import (
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

//go:embed scenarios/*.xml
var scenarios embed.FS

// SippConfig is one run of SIPp.
type SippConfig struct {
	// Scenario is the name of a file in scenarios/, without its extension.
	Scenario string
	// Target is where a caller sends its requests, host:port. Empty for a scenario that waits to be called.
	Target string
	// Transport is "udp" or "tcp" (one connection for all calls). Empty means "udp".
	Transport string
	// Calls is how many calls it makes or takes before it ends. Zero means 1.
	Calls int
	// Rate is how many calls a second a caller begins. Zero means 10.
	Rate int
	// Limit is how many calls a caller has open at a time. Zero means 1000.
	Limit int
	// Hold is how long a call stays up (pauses without a length of their own in the scenario).
	Hold time.Duration
	// Service is the user part of the URI a caller calls. Empty means "service".
	Service string
	// Keys are further words of the scenario: [name] becomes the value.
	Keys map[string]string
	// Args are further arguments.
	Args []string
}

// Sipp is a running SIPp.
type Sipp struct {
	Addr string // where it listens and sends from
	Log  *Output

	t    testing.TB
	dir  string
	proc *process
	stat string
}

// SippStats is what SIPp counted in a run.
type SippStats struct {
	Created, Successful, Failed int
	Retransmissions             int
	Unexpected                  int // messages that the scenario did not expect
}

// StartSipp starts SIPp and returns when it listens. It ends with the test if it did not end before.
func StartSipp(t testing.TB, c SippConfig) *Sipp {
	t.Helper()
	Need(t, "sipp")
	dir := tempDir(t, "sipp")
	xml, err := fs.ReadFile(scenarios, "scenarios/"+c.Scenario+".xml")
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	file := filepath.Join(dir, c.Scenario+".xml")
	if err := os.WriteFile(file, xml, 0o600); err != nil {
		t.Fatal(err)
	}
	or := func(n, otherwise int) string {
		if n == 0 {
			n = otherwise
		}
		return strconv.Itoa(n)
	}
	network, mode := c.Transport, map[string]string{"udp": "u1", "tcp": "t1"}[c.Transport]
	if network == "" {
		network, mode = "udp", "u1"
	}
	ports := reserve(t, 4)
	port := ports.take(1)
	p := &Sipp{Addr: loopback(port), t: t, dir: dir, stat: filepath.Join(dir, "stat.csv")}
	args := []string{
		"-sf", file, "-i", "127.0.0.1", "-p", strconv.Itoa(port), "-t", mode, "-m", or(c.Calls, 1),
		"-d", strconv.FormatInt(c.Hold.Milliseconds(), 10), "-mi", "127.0.0.1", "-mp", strconv.Itoa(ports.take(3)),
		"-nostdin", "-trace_stat", "-stf", p.stat, "-fd", "1", "-trace_err", "-error_file", filepath.Join(dir, "errors.log"),
	}
	if c.Target != "" {
		args = append(args, "-r", or(c.Rate, 10), "-l", or(c.Limit, 1000))
	}
	if c.Service != "" {
		args = append(args, "-s", c.Service)
	}
	for name, value := range c.Keys {
		args = append(args, "-key", name, value)
	}
	args = append(args, c.Args...)
	if c.Target != "" {
		args = append(args, c.Target)
	}
	p.proc = start(t, spec{program: "sipp", args: args, dir: dir, env: []string{"TERM=dumb"}})
	p.Log = p.proc.out
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("errors of sipp %s:\n%s", c.Scenario, p.errors())
		}
	})
	if c.Target == "" {
		err = eventually(t.Context(), func() error {
			up, err := listening(network, port)
			if err == nil && !up && p.proc.running() {
				err = fmt.Errorf("sipp does not listen at %s/%d", network, port)
			}
			return err
		})
		if err != nil {
			t.Fatalf("peertest: %v", err)
		}
	}
	return p
}

// Wait waits until SIPp has done all its calls and returns what it counted.
// It fails the test if SIPp is not done in time or a call failed.
func (p *Sipp) Wait(timeout time.Duration) SippStats {
	p.t.Helper()
	code, err := p.proc.wait(timeout)
	if err != nil {
		p.t.Fatalf("peertest: %v", err)
	}
	stats, err := p.stats()
	if err != nil {
		p.t.Fatalf("peertest: sipp ended with %d, and %v", code, err)
	}
	if code != 0 || stats.Failed != 0 {
		p.t.Fatalf("peertest: sipp ended with %d: %+v", code, stats)
	}
	return stats
}

// errors returns what it wrote about calls that went wrong, at most 4 KB of it.
func (p *Sipp) errors() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "errors.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[:min(len(b), 4096)])
}

// stats reads the last line of its statistics file.
func (p *Sipp) stats() (SippStats, error) {
	f, err := os.Open(p.stat)
	if err != nil {
		return SippStats{}, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma = ';'
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return SippStats{}, err
	}
	if len(rows) < 2 {
		return SippStats{}, errors.New("statistics without figures")
	}
	column := map[string]string{}
	for i, name := range rows[0] {
		if last := rows[len(rows)-1]; i < len(last) {
			column[name] = last[i]
		}
	}
	var s SippStats
	for name, to := range map[string]*int{
		"TotalCallCreated": &s.Created, "SuccessfulCall(C)": &s.Successful, "FailedCall(C)": &s.Failed,
		"Retransmissions(C)": &s.Retransmissions, "FailedUnexpectedMessage(C)": &s.Unexpected,
	} {
		if *to, err = strconv.Atoi(column[name]); err != nil {
			return SippStats{}, fmt.Errorf("statistics: %s: %w", name, err)
		}
	}
	return s, nil
}
