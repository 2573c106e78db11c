package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const onWindows = runtime.GOOS == "windows"

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return path
}

// TestBadInput has what people get wrong: each gets its exit code and a sentence that helps.
func TestBadInput(t *testing.T) {
	account := []string{"-account", "sip:alice@pbx.example"}
	with := func(more ...string) []string { return append(append([]string{"register"}, account...), more...) }
	text := write(t, "text", "hello", 0o600)
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing", nil, exitUsage, "softphone demo"},
		{"nonsense", []string{"frobnicate"}, exitUsage, `no command "frobnicate"`},
		{"nonsense flag", []string{"demo", "-frobnicate"}, exitUsage, "frobnicate"},
		{"argument too many", []string{"demo", "please"}, exitUsage, `unexpected argument "please"`},
		{"demo too short", []string{"demo", "-seconds", "1"}, exitUsage, "3 to 600"},
		{"demo too long", []string{"demo", "-seconds", "601"}, exitUsage, "3 to 600"},
		{"seconds in words", []string{"demo", "-seconds", "ten"}, exitUsage, "ten"},
		{"help about nonsense", []string{"help", "frobnicate"}, exitUsage, `no command "frobnicate"`},
		{"no account", []string{"register"}, exitUsage, "-account sip:you@example.com"},
		{"account without user", []string{"register", "-account", "sip:example.com"}, exitUsage, "no user"},
		{"account that is none", []string{"register", "-account", "sip:al ice@:x:"}, exitUsage, "Account.AOR"},
		{"nobody to call", append([]string{"call"}, account...), exitUsage, "softphone call URI"},
		{"two to call", append([]string{"call", "bob", "carol"}, account...), exitUsage, `"carol"`},
		{"unknown transport", with("-transport", "pigeon"), exitUsage, "pigeon"},
		{"unknown codec", append([]string{"call", "bob", "-codecs", "opus,speex"}, account...), exitUsage, `no "speex"`},
		{"codec twice", append([]string{"call", "bob", "-codecs", "pcmu,PCMU"}, account...), exitUsage, "twice"},
		{"unknown policy", append([]string{"call", "bob", "-srtp", "maybe"}, account...), exitUsage, "required, optional, off or auto"},
		{"password as a flag", with("-password", "secret"), exitUsage, "password"},
		{"negative time", with("-for", "-1s"), exitUsage, "-for"},
		{"no lifetime", with("-expires", "0s"), exitUsage, "-expires"},
		{"negative calls", append([]string{"listen", "-calls", "-1"}, account...), exitUsage, "-calls"},
		{"loop of nothing", append([]string{"call", "bob", "-loop"}, account...), exitUsage, "-loop without -play"},
		{"missing authority", with("-ca", missing), exitFailed, "missing"},
		{"authority that is none", with("-ca", text), exitFailed, "no certificate in it"},
		{"missing configuration", with("-config", missing), exitFailed, "missing"},
		{"missing password", with("-password-file", missing), exitFailed, "missing"},
		{"missing sound", append([]string{"call", "bob", "-play", missing}, account...), exitFailed, "-play"},
		{"sound that is none", append([]string{"call", "bob", "-play", text}, account...), exitFailed, "-play"},
		{"loop that is none", append([]string{"call", "bob", "-loop", "-play", text}, account...), exitFailed, "-play"},
		{"record nowhere", append([]string{"call", "bob", "-record", filepath.Join(missing, "x.wav")}, account...), exitFailed, "-record"},
		{"record into a file", append([]string{"call", "bob", "-record", filepath.Join(text, "x.wav")}, account...), exitFailed, "-record"},
		{"capture nowhere", with("-pcap", filepath.Join(missing, "x.pcap")), exitFailed, "x.pcap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := start(t, c.args...)
			if code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("exit %d, want %d with %q:\n%s%s", code, c.code, c.want, out, errs)
			}
			if c.code == exitUsage && !strings.Contains(errs, "softphone help") {
				t.Errorf("does not say where help is:\n%s", errs)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}, {"help", "help"}} {
		code, out, errs := start(t, args...)
		if code != exitOK || errs != "" || !strings.Contains(out, "HOORN_PASSWORD") || !strings.Contains(out, "Exit codes") {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, errs)
		}
	}
	for _, cmd := range commands() {
		if cmd.name == "help" {
			continue
		}
		for _, args := range [][]string{{"help", cmd.name}, {cmd.name, "-h"}, {cmd.name, "--help"}} {
			code, out, errs := start(t, args...)
			if code != exitOK || errs != "" || !strings.Contains(out, "-pcap FILE") || !strings.Contains(out, cmd.brief) {
				t.Errorf("%v: exit %d\n%s%s", args, code, out, errs)
			}
		}
	}
}

func TestPassword(t *testing.T) {
	set := &settings{account: "sip:alice@pbx.example"}
	nobody := &console{}
	if _, err := set.readPassword(t.Context(), nobody); exitCode(err) != exitUsage || !strings.Contains(err.Error(), passwordVariable) {
		t.Errorf("with nobody to ask: error %v", err)
	}
	t.Setenv(passwordVariable, "from the environment")
	if got, err := set.readPassword(t.Context(), nobody); err != nil || got != "from the environment" {
		t.Errorf("%q, %v", got, err)
	}
	t.Setenv(passwordVariable, "") // for servers that ask for none
	if got, err := set.readPassword(t.Context(), nobody); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	for _, c := range []struct {
		text, want string
		mode       os.FileMode
		err        string
	}{
		{"secret\n", "secret", 0o600, ""},
		{"with spaces \r\nand a second line\n", "with spaces ", 0o400, ""},
		{"no newline", "no newline", 0o600, ""},
		{"hush-hush\n", "", 0o644, "chmod 600"},
		{"hush-hush\n", "", 0o640, "chmod 600"},
		{"\nhush-hush\n", "", 0o600, "first line is empty"},
		{"", "", 0o600, "first line is empty"},
		{strings.Repeat("x", 10000), "", 0o600, "longer than"},
	} {
		if onWindows && c.mode&0o077 != 0 {
			continue // there are no such permissions
		}
		set.passwordFile = write(t, "password", c.text, c.mode)
		got, err := set.readPassword(t.Context(), nobody)
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%.20q, mode %o: %q, %v", c.text, c.mode, got, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%.20q, mode %o: %q, %v; want an error with %q", c.text, c.mode, got, err, c.err)
		case err != nil && strings.Contains(err.Error(), "hush"):
			t.Errorf("the error tells the password: %v", err)
		}
	}
}
