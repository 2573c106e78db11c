package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// machines are the packages that hold protocol state without doing anything:
// messages, packets and the time go in, messages and deadlines come out.
var machines = []string{
	"./internal/timerq",      // timers of all machines
	"./internal/transaction", // RFC 3261 §17
	"./internal/call",        // dialogs, forks, offer/answer of one call
	"./internal/register",    // one binding at a registrar
	"./internal/subscribe",   // event subscriptions, both sides
	"./internal/flow",        // keep-alive and backoff, RFC 5626
	"./internal/negotiate",   // RFC 3264
	"./internal/sdes",        // RFC 4568
	"./internal/sipwire",     // SIP messages in bytes
	"./internal/passport",    // RFC 8225
	"./internal/jitter",      // the jitter buffer
}

// Whoever keeps these out can be tested at any speed, in any order of events, and replayed.
const machineWhy = "a machine is given the time and the bytes and starts nothing: so its tests run in no time and every timer in them is exact"

// clocks are the functions of package time that read or wait for the real clock.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}

// outside are the packages by which a program reaches the world.
var outside = []string{"net", "net/http/...", "crypto/tls", "os", "os/...", "syscall", "golang.org/x/sys/...", "golang.org/x/net/..."}

func TestMachines(t *testing.T) {
	all := load(t)
	// A machine may use other packages of ours; these are then held to the same.
	seen := map[string]bool{}
	var visit func(name, machine string)
	visit = func(name, machine string) {
		p := all[name]
		if p == nil || seen[name] {
			return
		}
		seen[name] = true
		for _, to := range p.Imports {
			if matchAny(outside, to) {
				t.Errorf("%s imports %s (machine %s): %s", name, to, machine, machineWhy)
			}
			visit(to, machine)
		}
		parseFiles(t, p, p.GoFiles, func(fset *token.FileSet, f *ast.File) {
			for _, bad := range activities(f) {
				t.Errorf("%v: %s (machine %s): %s", fset.Position(bad.pos), bad.what, machine, machineWhy)
			}
		})
	}
	for _, m := range machines {
		if all[m] == nil {
			t.Errorf("there is no package %s: was it renamed?", m)
		}
		visit(m, m)
	}
}

type activity struct {
	pos  token.Pos
	what string
}

// activities finds what a machine must not do in a file: look at a clock, start a goroutine.
func activities(f *ast.File) []activity {
	var list []activity
	uses(f, "time", clocks, func(n ast.Node, name string) {
		list = append(list, activity{n.Pos(), "uses " + name})
	})
	ast.Inspect(f, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			list = append(list, activity{g.Pos(), "starts a goroutine"})
		}
		return true
	})
	return list
}

func TestActivities(t *testing.T) {
	const src = `package p
import tm "time"
func f(d tm.Duration) tm.Time {
	go f(d)
	tm.AfterFunc(d, nil)
	return tm.Now()
}`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range activities(f) {
		got = append(got, a.what)
	}
	want := []string{"uses time.AfterFunc", "uses time.Now", "starts a goroutine"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// TestNoSleepInTests: a test that waits for time to pass is slow, and fails on
// a slow machine. In a bubble of testing/synctest sleeping is how time goes on.
func TestNoSleepInTests(t *testing.T) {
	for _, p := range load(t) {
		parseFiles(t, p, slices.Concat(p.TestGoFiles, p.XTestGoFiles), func(fset *token.FileSet, f *ast.File) {
			if importName(f, "testing/synctest") != "" {
				return
			}
			uses(f, "time", []string{"Sleep"}, func(n ast.Node, _ string) {
				t.Errorf("%v: time.Sleep in a test: wait for the event instead, or use testing/synctest", fset.Position(n.Pos()))
			})
		})
	}
}
