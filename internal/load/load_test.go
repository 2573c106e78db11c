//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary be the child processes, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == registrarRole || os.Args[1] == calleeRole || os.Args[1] == xmppRole) {
		main()
		return
	}
	os.Exit(m.Run())
}

// measure runs a command and returns what it found, by name and unit.
func measure(t *testing.T, args ...string) map[string]float64 {
	t.Helper()
	var out, log bytes.Buffer
	if err := run(append([]string{"-json"}, args...), strings.NewReader(""), &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	var figures []figure
	if err := json.Unmarshal(out.Bytes(), &figures); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range figures {
		got[f.Name] = f.Value
	}
	return got
}

// The figures themselves are for BENCHMARKS.md, but for what is not a matter
// of speed.
func TestAccounts(t *testing.T) {
	got := measure(t, "accounts", "-n", "20", "-parallel", "4")
	if g := got["goroutines"]; g != 2 {
		t.Errorf("%v goroutines for each account, want 2", g)
	}
	if kb := got["heap and stacks"]; kb <= 0 || kb > 64 {
		t.Errorf("%v KB for each account", kb)
	}
}

func TestClients(t *testing.T) {
	got := measure(t, "clients", "-n", "20", "-parallel", "4")
	if g := got["goroutines"]; g != 1 {
		t.Errorf("%v goroutines for each client, want 1", g)
	}
	if kb := got["heap and stacks"]; kb <= 0 || kb > 64 {
		t.Errorf("%v KB for each client", kb)
	}
}

func TestCalls(t *testing.T) {
	for _, tr := range []string{"udp", "tcp", "tls"} {
		t.Run(tr, func(t *testing.T) {
			got := measure(t, "calls", "-transport", tr, "-n", "50", "-parallel", "4")
			if got["calls"] <= 0 || got["processor time"] <= 0 {
				t.Errorf("figures: %v", got)
			}
		})
	}
}

func TestRate(t *testing.T) {
	got := measure(t, "rate", "-rate", "50", "-for", "1s")
	if got["failed"] != 0 {
		t.Errorf("%v calls failed", got["failed"])
	}
	if got["setup, median"] <= 0 {
		t.Errorf("figures: %v", got)
	}
}

func TestMedia(t *testing.T) {
	got := measure(t, "media", "-calls", "3", "-for", "1s", "-settle", "1s")
	if got["frames of PCM"] <= 0 || got["packets received"] <= 0 {
		t.Errorf("figures: %v", got)
	}
}

func TestMerge(t *testing.T) {
	for _, codec := range []string{"PCMU", "G722"} {
		got := measure(t, "merge", "-parties", "3", "-codec", codec, "-for", "1s", "-settle", "500ms")
		if got["merged"] <= 0 || got["apart"] <= 0 || got["packets received"] <= 0 {
			t.Errorf("%s: figures: %v", codec, got)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, args := range [][]string{nil, {"nothing"}, {"-runs", "x"}, {"accounts", "-n", "x"}} {
		var out, log bytes.Buffer
		if run(args, strings.NewReader(""), &out, &log) == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
