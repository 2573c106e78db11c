package peertest

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/hoorn-phone/hoorn/internal/testca"
)

//go:embed config/*.tmpl
var configs embed.FS

// render writes a configuration file from its template.
func render(t testing.TB, to, name string, data any) {
	t.Helper()
	tmpl, err := template.ParseFS(configs, "config/"+name)
	if err != nil {
		t.Fatalf("peertest: %v", err)
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, data); err != nil {
		t.Fatalf("peertest: %v", err)
	}
	if err := os.WriteFile(to, b.Bytes(), 0o600); err != nil {
		t.Fatalf("peertest: %v", err)
	}
}

// KamailioConfig says what kind of Kamailio a test wants. The zero value is a
// registrar with MD5 digests.
type KamailioConfig struct {
	// Algorithm of its digest challenges: "MD5" (the default) or "SHA-256".
	Algorithm string
	// FlowTimer is the Flow-Timer it announces (RFC 5626 §4.4.1), in whole
	// seconds. Zero means 30 s.
	FlowTimer time.Duration
	// NonceLife is how long a nonce is good for; later it is stale. Zero means 300 s.
	NonceLife time.Duration
	// MinExpires and MaxExpires bound the lifetime of a registration: it
	// answers 423 below the one and shortens to the other. Zero means 10 s and 3600 s.
	MinExpires, MaxExpires time.Duration
	// DialogEvents makes it a notifier of the dialog event package (RFC 4235):
	// it tells each user's calls to whoever subscribes to that user.
	DialogEvents bool
	// RTPEngine, if not nil, relays the media of every call whose INVITE has
	// an offer. OfferFlags are what Kamailio asks of it for what the callee
	// gets (the parameter of rtpengine_offer), besides replacing the
	// addresses: "RTP/SAVP", say.
	RTPEngine  *RTPEngine
	OfferFlags string
}

// Kamailio is a running registrar and proxy for one domain. It knows the
// users alice, bob, carol and dave and any loadN (load1, load2, ...); each
// user's password is "secret-" and the name.
type Kamailio struct {
	Domain string     // the SIP domain and digest realm
	CA     *testca.CA // who signed its certificate
	Log    *Output    // of the latest start

	t     testing.TB
	dir   string
	certs certs
	ports kamailioPorts
	proc  *process
}

type kamailioPorts struct{ SIP, TLS, WS, WSS, RPC int }

// StartKamailio starts a Kamailio and returns when it answers. It ends with the test.
func StartKamailio(t testing.TB, c KamailioConfig) *Kamailio {
	t.Helper()
	Need(t, "kamailio")
	dir := tempDir(t, "kamailio")
	b := reserve(t, 5)
	k := &Kamailio{
		Domain: "hoorn.test", CA: newCA(t), t: t, dir: dir,
		ports: kamailioPorts{SIP: b.take(1), TLS: b.take(1), WS: b.take(1), WSS: b.take(1), RPC: b.take(1)},
	}
	k.certs = mint(t, k.CA, dir, k.Domain)

	seconds := func(d, otherwise time.Duration) int {
		if d == 0 {
			d = otherwise
		}
		return int(d / time.Second)
	}
	algorithm := c.Algorithm
	if algorithm == "" {
		algorithm = "MD5"
	}
	data := struct {
		kamailioPorts
		Dir, Domain, Algorithm string
		FlowTimer, NonceExpire int
		MinExpires, MaxExpires int
		Users                  []string
		DialogEvents           bool
		RTPEngine              string
		OfferFlags             string
		AnswerFlags            string
	}{
		kamailioPorts: k.ports, Dir: dir, Domain: k.Domain, Algorithm: algorithm,
		FlowTimer: seconds(c.FlowTimer, 30*time.Second), NonceExpire: seconds(c.NonceLife, 300*time.Second),
		MinExpires: seconds(c.MinExpires, 10*time.Second), MaxExpires: seconds(c.MaxExpires, time.Hour),
		Users: []string{"alice", "bob", "carol", "dave"}, DialogEvents: c.DialogEvents,
	}
	if c.DialogEvents {
		copyTables(t, filepath.Join(dir, "tables"))
	}
	if c.RTPEngine != nil {
		data.RTPEngine = c.RTPEngine.Addr
		data.AnswerFlags = "replace-origin replace-session-connection ICE=remove"
		data.OfferFlags = strings.TrimSpace(data.AnswerFlags + " " + c.OfferFlags)
	}
	render(t, filepath.Join(dir, "kamailio.cfg"), "kamailio.cfg.tmpl", data)
	render(t, filepath.Join(dir, "tls.cfg"), "kamailio-tls.cfg.tmpl", k.certs)
	k.Start()
	return k
}

// copyTables makes the empty database that the modules presence and pua do not start without.
func copyTables(t testing.TB, to string) {
	t.Helper()
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatalf("peertest: %v", err)
	}
	for _, table := range []string{"version", "presentity", "active_watchers", "watchers", "pua"} {
		b, err := os.ReadFile(filepath.Join("/usr/share/kamailio/dbtext/kamailio", table))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, table), b, 0o600)
		}
		if err != nil {
			t.Fatalf("peertest: %v", err)
		}
	}
}

// Start starts it again, on the same ports and with no memory of earlier
// registrations, after Stop or Kill.
func (k *Kamailio) Start() {
	k.t.Helper()
	k.proc = start(k.t, spec{
		program: "kamailio", dir: k.dir,
		args: []string{"-DD", "-E", "-f", filepath.Join(k.dir, "kamailio.cfg"), "-w", k.dir, "-Y", k.dir, "-m", "64", "-M", "8"},
	})
	k.Log = k.proc.out
	err := eventually(k.t.Context(), func() error {
		if !k.proc.running() {
			return nil // found out below
		}
		_, err := k.RPC(k.t.Context(), "core.version")
		return err
	})
	if err != nil {
		k.t.Fatalf("peertest: kamailio does not answer: %v", err)
	}
	if !k.proc.running() {
		k.t.Fatalf("peertest: kamailio ended: %v", k.proc.err)
	}
}

// Stop ends it as an administrator would; its connections are closed.
func (k *Kamailio) Stop() { k.proc.stop() }

// Kill ends it at once, as a crash would.
func (k *Kamailio) Kill() { k.proc.kill() }

// Addr returns the address that listens for a transport, "udp", "tcp",
// "tls", "ws" or "wss", as host:port.
func (k *Kamailio) Addr(transport string) string {
	switch transport {
	case "udp", "tcp":
		return loopback(k.ports.SIP)
	case "tls":
		return loopback(k.ports.TLS)
	case "ws":
		return loopback(k.ports.WS)
	case "wss":
		return loopback(k.ports.WSS)
	}
	k.t.Fatalf("peertest: no transport %q", transport)
	return ""
}

// Proxy returns the URI of an outbound proxy for a transport, as phones are
// configured with: sip:127.0.0.1:5061;transport=tls.
func (k *Kamailio) Proxy(transport string) string {
	return "sip:" + k.Addr(transport) + ";transport=" + transport
}

// Password returns the password of a user.
func (k *Kamailio) Password(user string) string { return "secret-" + user }

// AOR returns the address of record of a user.
func (k *Kamailio) AOR(user string) string { return "sip:" + user + "@" + k.Domain }

// RPC calls a method of its control interface (JSON-RPC 2.0).
func (k *Kamailio) RPC(ctx context.Context, method string, params ...any) (json.RawMessage, error) {
	if params == nil {
		params = []any{} // not null: that is no list
	}
	req, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", "http://"+loopback(k.ports.RPC)+"/rpc", bytes.NewReader(req))
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", method, resp.Status, err)
	}
	if answer.Error != nil {
		return nil, &RPCError{Method: method, Code: answer.Error.Code, Message: answer.Error.Message}
	}
	return answer.Result, nil
}

// RPCError is Kamailio's refusal of a control command.
type RPCError struct {
	Method  string
	Code    int
	Message string
}

func (e *RPCError) Error() string {
	return fmt.Sprintf("kamailio: %s: %d %s", e.Method, e.Code, e.Message)
}

// Contact is one binding in the registrar's location table.
type Contact struct {
	Address   string `json:"Address"`
	Expires   int    `json:"Expires"` // seconds left
	CallID    string `json:"Call-ID"`
	UserAgent string `json:"User-Agent"`
	Received  string `json:"Received"` // where it really came from
	Path      string `json:"Path"`
	Instance  string `json:"Instance"` // +sip.instance
	RegID     int    `json:"Reg-Id"`
	Socket    string `json:"Socket"`
}

// Contacts returns what the registrar holds for a user now; none is no error.
func (k *Kamailio) Contacts(user string) []Contact {
	k.t.Helper()
	list, err := k.contacts(k.t.Context(), user)
	if err != nil {
		k.t.Fatalf("peertest: %v", err)
	}
	return list
}

func (k *Kamailio) contacts(ctx context.Context, user string) ([]Contact, error) {
	raw, err := k.RPC(ctx, "ul.lookup", "location", user+"@"+k.Domain)
	if rpc := (*RPCError)(nil); errors.As(err, &rpc) && rpc.Code == 500 {
		// It has one answer for "nobody here" and names no other.
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var record struct {
		Contacts []struct {
			Contact Contact `json:"Contact"`
		} `json:"Contacts"`
	}
	if err := json.Unmarshal(raw, &record); err != nil {
		return nil, err
	}
	var list []Contact
	for _, c := range record.Contacts {
		list = append(list, c.Contact)
	}
	return list, nil
}

// WaitContacts waits until the registrar holds exactly n contacts for a user, and returns them.
func (k *Kamailio) WaitContacts(user string, n int) []Contact {
	k.t.Helper()
	var list []Contact
	err := eventually(k.t.Context(), func() (err error) {
		list, err = k.contacts(k.t.Context(), user)
		if err == nil && len(list) != n {
			err = fmt.Errorf("%s has %d contacts, want %d", user, len(list), n)
		}
		return err
	})
	if err != nil {
		k.t.Fatalf("peertest: %v", err)
	}
	return list
}
