package peertest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestXMPPServersStartStop(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *XMPPServer{
		"Prosody":  func(t *testing.T) *XMPPServer { return StartProsody(t, ProsodyConfig{}) },
		"ejabberd": func(t *testing.T) *XMPPServer { return StartEjabberd(t, EjabberdConfig{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.Kill()
			s.Start()
			s.Stop()
			if err := eventually(t.Context(), func() error { return mentioned(s.dir) }); err != nil {
				t.Error(err)
			}
		})
	}
	// ejabberd must not start the port mapper that serves all Erlang of a machine.
	t.Run("no epmd", func(t *testing.T) {
		before := mentioned("epmd")
		s := StartEjabberd(t, EjabberdConfig{})
		if err := mentioned("epmd"); err != nil && before == nil {
			t.Error(err)
		}
		s.Kill()
	})
}

// mentioned is an error if a process has a text in its command line.
func mentioned(text string) error {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, file := range all {
		if b, err := os.ReadFile(file); err == nil && bytes.Contains(b, []byte(text)) {
			return fmt.Errorf("%s: %q", file, b)
		}
	}
	return nil
}
