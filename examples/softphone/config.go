package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The configuration file has one setting per line:
//
//	# comments and empty lines are skipped
//	account       = sip:alice@example.com
//	proxy         = sip:edge.example.com:5061;transport=tls
//	password-file = ~/.config/hoorn/password
//	ca            = ~/.config/hoorn/ca.pem
//	codecs        = opus, pcma
//	auto-answer   = true
//
// The keys are the flags without their dash. What is said on the command line
// wins; a key that the command at hand has no use for is skipped, one that no
// command knows is an error. There is no quoting: a value goes to the end of
// its line, without the white space around it. "~/" at its beginning is the
// home folder.

// maxConfig bounds the file.
const maxConfig = 64 << 10

// setting is a line of the file.
type setting struct {
	key, value string
	line       int
}

// defaultConfig is where the file is looked for; "" if the system does not say
// where such files go.
func defaultConfig() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "hoorn", "softphone.conf")
}

// parseConfig reads a configuration file.
func parseConfig(r io.Reader) ([]setting, error) {
	var list []setting
	seen := map[string]int{}
	limited := &io.LimitedReader{R: r, N: maxConfig + 1}
	lines := bufio.NewScanner(limited)
	n := 0
	for lines.Scan() {
		n++
		text := strings.TrimSpace(lines.Text())
		if n == 1 {
			text = strings.TrimPrefix(text, "\ufeff") // editors of Windows
		}
		if text == "" || text[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || key == "" {
			return nil, fmt.Errorf("line %d: %q is not \"key = value\"", n, text)
		}
		if seen[key] != 0 {
			return nil, fmt.Errorf("line %d: %s was set in line %d already", n, key, seen[key])
		}
		seen[key] = n
		list = append(list, setting{key, value, n})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("longer than %d bytes", maxConfig)
	}
	return list, nil
}

// readConfig sets the flags that the command line did not.
func (s *settings) readConfig(flags *flag.FlagSet) error {
	path := s.config
	if path == "" {
		if path = defaultConfig(); path == "" {
			return nil
		}
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && s.config == "" {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := parseConfig(f)
	if err != nil {
		return usagef("%s: %v", displayPath(path), err)
	}
	if err := applyConfig(flags, list); err != nil {
		return usagef("%s: %v", displayPath(path), err)
	}
	return nil
}

func applyConfig(flags *flag.FlagSet, list []setting) error {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	known := allFlags()
	for _, e := range list {
		switch {
		case e.key == "password":
			return fmt.Errorf("line %d: passwords do not stand here; put it into a file of its own that only you can read, and name that: password-file = FILE", e.line)
		case e.key == "config" || known.Lookup(e.key) == nil:
			return fmt.Errorf("line %d: there is no setting %q", e.line, e.key)
		}
		value := e.value
		if rest, ok := strings.CutPrefix(value, "~/"); ok {
			if home, err := os.UserHomeDir(); err == nil {
				value = filepath.Join(home, rest)
			}
		}
		// Checked also where it is not used, so that mistakes show at once.
		if err := known.Set(e.key, value); err != nil {
			return fmt.Errorf("line %d: %s = %s: %w", e.line, e.key, e.value, err)
		}
		if flags.Lookup(e.key) == nil || given[e.key] {
			continue
		}
		if err := flags.Set(e.key, value); err != nil {
			return fmt.Errorf("line %d: %s = %s: %w", e.line, e.key, e.value, err)
		}
	}
	return nil
}
