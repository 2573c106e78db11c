package peertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// EjabberdConfig says what kind of ejabberd a test wants.
type EjabberdConfig struct {
	// Domain it serves; "" is beta.test.
	Domain string
	// Hash of the passwords it stores, and so of the SCRAM that it offers: "SHA-1", "SHA-256" (what "" means) or "SHA-512".
	Hash string
	// MaxTLS is the newest version of TLS that it speaks: "1.2", or "" for what it has.
	MaxTLS string

	federated *federated
}

// ejabberdHash are its own names of hashes.
var ejabberdHash = map[string]string{"SHA-1": "sha", "": "sha256", "SHA-256": "sha256", "SHA-512": "sha512"}

var starting sync.Mutex

// StartEjabberd starts an ejabberd and returns when it answers. It ends with the test.
//
// It is run by erl itself: ejabberdctl insists on files in /etc and on a user of its own. The node has no name, and so no port mapper
// (epmd) is started that would outlive the test.
func StartEjabberd(t testing.TB, c EjabberdConfig) *XMPPServer {
	t.Helper()
	Need(t, "ejabberdctl")
	if c.Domain == "" {
		c.Domain = "beta.test"
	}
	s := &XMPPServer{Software: "ejabberd", Domain: c.Domain, t: t, dir: tempDir(t, "ejabberd"), ports: reserveXMPP(t), path: "/ws"}
	data := struct {
		xmppPorts
		Dir, Domain, Hash, MaxTLS string
		Certs, UntrustedCerts     certs
		DNS                       int
		Untrusted                 string
	}{xmppPorts: s.ports, Dir: s.dir, Domain: c.Domain, Hash: ejabberdHash[c.Hash], MaxTLS: c.MaxTLS}
	s.CA, data.DNS, data.Untrusted, data.UntrustedCerts = c.federated.apply(t, s.dir)
	data.Certs = mint(t, s.CA, s.dir, c.Domain, xmppNames(c.Domain)...)
	config := filepath.Join(s.dir, "ejabberd.yml")
	render(t, config, "ejabberd.yml.tmpl", data)
	inetrc := filepath.Join(s.dir, "inetrc")
	render(t, inetrc, "ejabberd-inetrc.tmpl", data)

	// Debian keeps its libraries where those of an architecture are, which erl does not look through.
	apps, err := filepath.Glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.app")
	if err != nil || len(apps) == 0 {
		t.Fatalf("peertest: ejabberd's libraries are not found: %v", err)
	}
	libs := filepath.Join(filepath.Dir(apps[0]), "..", "..")
	spool := filepath.Join(s.dir, "spool")
	// What is not on disk yet would be lost with Kill.
	ready := fmt.Sprintf(`[ejabberd_auth:try_register(U, <<"%s">>, <<"secret-", U/binary>>) || U <- [<<"%s">>]], mnesia:sync_log(), io:format("~nhoorn: ready~n").`,
		c.Domain, strings.Join(xmppUsers, `">>, <<"`))
	s.run = func() *process {
		// One at a time: starting takes several seconds of processor time.
		starting.Lock()
		defer starting.Unlock()
		p := start(t, spec{program: "erl", dir: s.dir, env: []string{
			"EJABBERD_CONFIG_PATH=" + config, "EJABBERD_LOG_PATH=" + filepath.Join(s.dir, "ejabberd.log"), "SPOOL_DIR=" + spool,
			"HOME=" + s.dir, "ERL_LIBS=" + libs, "ERL_CRASH_DUMP=" + os.DevNull, "ERL_INETRC=" + inetrc,
		}, args: []string{
			"-noinput", "+sbwt", "none", // no busy waiting: others need the processor
			"-mnesia", "dir", `"` + spool + `"`, "-s", "ejabberd", "-eval", ready,
		}})
		p.out.Wait(t, 0, `^hoorn: ready$`)
		return p
	}
	s.Start()
	return s
}
