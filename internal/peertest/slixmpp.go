package peertest

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slixmpp is where Debian has it: it is no program.
const slixmpp = "/usr/lib/python3/dist-packages/slixmpp/__init__.py"

// Slixmpp runs a script with slixmpp to its end and returns the lines that it printed. If it fails, the test does.
func Slixmpp(t testing.TB, script string, args ...string) []string {
	t.Helper()
	Need(t, "slixmpp")
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", append([]string{"-B", script}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = childAttr()
	cmd.WaitDelay = grace
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("peertest: %s: %v after %v and %q\n%s", filepath.Base(script), err, time.Since(begun), out.String(), errs.String())
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

// CAFile is the certificate of the server's authority, for clients that read files.
func (s *XMPPServer) CAFile() string { return filepath.Join(s.dir, "ca.pem") }
