package peertest

import (
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strings"
	"testing"
)

// debian names, for each program a test can need, the Debian packages that
// bring it. `make peers` installs all of them; TestMakefileInstallsAll keeps the two
// lists the same.
var debian = map[string][]string{
	"kamailio":    {"kamailio", "kamailio-tls-modules", "kamailio-outbound-modules", "kamailio-websocket-modules", "kamailio-presence-modules"},
	"baresip":     {"baresip-core"},
	"linphonec":   {"linphone-cli"},
	"sipp":        {"sip-tester"},
	"rtpengine":   {"rtpengine-daemon"},
	"prosody":     {"prosody", "lua-unbound"},
	"slixmpp":     {"python3-slixmpp"},
	"ejabberdctl": {"ejabberd"},
}

// Need skips the test unless all the programs are installed. With the
// environment variable CI set, it fails the test instead.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		if runtime.GOOS != "linux" {
			missing = append(missing, p)
			continue
		}
		if _, err := lookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return
	}
	sort.Strings(missing)
	var pkgs []string
	for _, p := range missing {
		pkgs = append(pkgs, debian[p]...)
	}
	const format = "needs %s: run `make peers` on Debian, or apt-get install %s"
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set and this test "+format, strings.Join(missing, ", "), strings.Join(pkgs, " "))
	}
	t.Skipf(format, strings.Join(missing, ", "), strings.Join(pkgs, " "))
}

// lookPath finds a program, also where Debian puts daemons that an ordinary
// user's PATH leaves out.
func lookPath(program string) (string, error) {
	if program == "slixmpp" {
		_, err := os.Stat(slixmpp)
		return slixmpp, err
	}
	p, err := exec.LookPath(program)
	if err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/"} {
		if p, err := exec.LookPath(dir + program); err == nil {
			return p, nil
		}
	}
	return "", err
}
