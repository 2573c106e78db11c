package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func parseSettings(t *testing.T, args ...string) (*settings, error) {
	t.Helper()
	set := new(settings)
	_, err := set.parse(&console{out: io.Discard, err: io.Discard}, find("listen"), func(fs *flag.FlagSet) {
		set.accountFlags(fs)
		set.soundFlags(fs)
		set.limitFlag(fs, "")
		set.listenFlags(fs)
	}, args, 0)
	return set, err
}

func TestConfig(t *testing.T) {
	file := write(t, "softphone.conf", strings.Join([]string{
		"\ufeff# of Alice",
		"",
		"account = sip:alice@example.com",
		"  proxy=sip:edge.example.com:5061;transport=tls  ",
		"codecs = pcma, pcmu",
		"expires = 10m",
		"auto-answer = true",
		"name = Alice = the first",
		"ca = ~/ca.pem",
		"dtmf = 123", // of another command
	}, "\r\n"), 0o600)
	set, err := parseSettings(t, "-config", file, "-expires", "5m")
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	if set.account != "sip:alice@example.com" || set.proxy != "sip:edge.example.com:5061;transport=tls" || set.codecs != "pcma, pcmu" ||
		!set.autoAnswer || set.name != "Alice = the first" || set.ca != filepath.Join(home, "ca.pem") || set.dtmf != "" {
		t.Errorf("%+v", set)
	}
	if set.expires != 5*time.Minute {
		t.Errorf("the file overrode the command line: expires %v", set.expires)
	}
	if cfg, err := set.media(); err != nil || len(cfg.Codecs) != 2 || cfg.Codecs[0].Format().Name != "PCMA" {
		t.Errorf("codecs %v, %v", cfg, err)
	}
}

// The file in its usual place is read without being named, and may be missing.
func TestDefaultConfig(t *testing.T) {
	if set, err := parseSettings(t); err != nil || set.account != "" {
		t.Fatalf("%+v, %v", set, err)
	}
	path := defaultConfig()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("account = sip:carol@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	if set, err := parseSettings(t); err != nil || set.account != "sip:carol@example.com" {
		t.Errorf("%+v, %v", set, err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"account", `line 1: "account" is not "key = value"`},
		{"\n= x", "line 2"},
		{"account = a\naccount = b", "line 2: account was set in line 1"},
		{"frobnicate = 1", `line 1: there is no setting "frobnicate"`},
		{"config = other", `there is no setting "config"`},
		{"password = secret", "password-file = FILE"},
		{"expires = soon", "line 1: expires = soon"},
		{"auto-answer = perhaps", "line 1: auto-answer = perhaps"},
		{strings.Repeat("# long\n", 10000), "longer than"},
		{"# " + strings.Repeat("x", 80000), "line 1"},
	} {
		file := write(t, "softphone.conf", c.text, 0o600)
		_, err := parseSettings(t, "-config", file)
		if exitCode(err) != exitUsage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.30q: error %v, want one with %q", c.text, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{"", "a = b", "# x\n\na=b\r\nc = d = e", "=", "\ufeffa=1", "a", "a=1\na=2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseConfig(strings.NewReader(text))
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, e := range list {
			if e.key == "" || e.line < 1 || seen[e.key] || e.key != strings.TrimSpace(e.key) || e.value != strings.TrimSpace(e.value) || strings.ContainsAny(e.key+e.value, "\n") {
				t.Errorf("%q gives %+v", text, e)
			}
			seen[e.key] = true
		}
	})
}
