package sasl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"testing"
)

// world is a server that can be told to change, and an account with a memory.
type world struct {
	t      *testing.T
	pair   pair
	memory Memory
	policy Policy
	server ServerConfig
	tried  []string // in the last run
}

func newWorld(t *testing.T) *world {
	cert := certificate(t, x509.ECDSAWithSHA256)
	w := &world{t: t, pair: connect(t, tls.VersionTLS13, cert, nil, nil)}
	w.policy = Policy{Memory: &w.memory, AllowPlain: true}
	w.server = ServerConfig{Lookup: users(t), Binding: ServerBinding(&w.pair.server, cert.Leaf), External: "user"}
	return w
}

// signIn does what a client does: one choice after the other.
func (w *world) signIn(password string, mechanisms []string, bindings []string) error {
	w.t.Helper()
	w.tried = nil
	w.server.Offer = &Offer{Mechanisms: mechanisms, Bindings: bindings, TLS: &w.pair.server}
	choices, err := Select(&Offer{Mechanisms: mechanisms, Bindings: bindings, TLS: &w.pair.client}, &w.policy)
	if err != nil {
		return err
	}
	for _, c := range choices {
		w.tried = append(w.tried, list([]Choice{c})[0])
		if _, err = signIn(w.t, c, &Credentials{Username: "user", Password: password}, nil, &w.server); err == nil || !c.Failed(err) {
			return err
		}
	}
	return err
}

func (w *world) expect(err error, tried ...string) {
	w.t.Helper()
	if err != nil || !slices.Equal(w.tried, tried) {
		w.t.Errorf("tried %q, %v, want %q", w.tried, err, tried)
	}
}

func (w *world) expectDowngrade(err error) {
	w.t.Helper()
	if !errors.Is(err, ErrDowngrade) {
		w.t.Errorf("%v, want a downgrade; tried %q", err, w.tried)
	}
}

var (
	offersSHA1   = []string{"SCRAM-SHA-1"}
	offersSHA256 = []string{"SCRAM-SHA-1", "SCRAM-SHA-256"}
	offersPlus   = []string{"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"}
)

func TestMemoryHash(t *testing.T) {
	w := newWorld(t)
	w.expect(w.signIn("pencil", offersSHA256, nil), "SCRAM-SHA-256 y")
	w.expectDowngrade(w.signIn("pencil", offersSHA1, nil))
	w.expectDowngrade(w.signIn("pencil", []string{"PLAIN"}, nil))
	w.expect(w.signIn("pencil", offersSHA256, nil), "SCRAM-SHA-256 y")
	w.memory.Forget()
	w.expect(w.signIn("pencil", offersSHA1, nil), "SCRAM-SHA-1 y")
	w.expect(w.signIn("pencil", offersSHA256, nil), "SCRAM-SHA-256 y")
}

// Where a binding once worked there is no way back, neither by the offer nor by failures.
func TestMemoryBinding(t *testing.T) {
	w := newWorld(t)
	w.expect(w.signIn("pencil", offersPlus, nil), "SCRAM-SHA-256-PLUS p=tls-exporter")
	w.expectDowngrade(w.signIn("pencil", offersSHA256, nil))
	w.server.Binding = nil
	err := w.signIn("pencil", offersPlus, nil)
	if want := []string{"SCRAM-SHA-256-PLUS p=tls-exporter"}; err == nil || !slices.Equal(w.tried, want) {
		t.Errorf("tried %q, %v, want %q", w.tried, err, want)
	}
}

// A server that offers a binding and cannot do it: signed in without, and with one attempt the next time.
func TestMemoryOfBrokenBinding(t *testing.T) {
	w := newWorld(t)
	works := w.server.Binding
	w.server.Binding = nil
	w.expect(w.signIn("pencil", offersPlus, nil), "SCRAM-SHA-256-PLUS p=tls-exporter", "SCRAM-SHA-256 n")
	w.expect(w.signIn("pencil", offersPlus, nil), "SCRAM-SHA-256 n")

	// It knows this of one binding alone.
	types := []string{"tls-exporter", "tls-server-end-point"}
	w.server.Binding = works
	w.expect(w.signIn("pencil", offersPlus, types), "SCRAM-SHA-256-PLUS p=tls-server-end-point")
}

// A wrong password says nothing about bindings.
func TestMemoryOfWrongPassword(t *testing.T) {
	w := newWorld(t)
	types := []string{"tls-exporter", "tls-server-end-point"}
	if err := w.signIn("pen", offersPlus, types); err == nil {
		t.Fatal("signed in")
	}
	if want := []string{"SCRAM-SHA-256-PLUS p=tls-exporter", "SCRAM-SHA-256-PLUS p=tls-server-end-point", "SCRAM-SHA-256 n"}; !slices.Equal(w.tried, want) {
		t.Errorf("tried %q, want %q", w.tried, want)
	}
	w.expect(w.signIn("pencil", offersPlus, types), "SCRAM-SHA-256-PLUS p=tls-exporter")
	if len(w.memory.broken) != 0 {
		t.Errorf("broken: %v", w.memory.broken)
	}
}

// XEP-0474: a server that vouches for its offer may come to offer less. PLAIN cannot be vouched for.
func TestMemoryOfProtectedServer(t *testing.T) {
	w := newWorld(t)
	w.server.Protect = true
	w.expect(w.signIn("pencil", offersPlus, nil), "SCRAM-SHA-256-PLUS p=tls-exporter")
	w.expectDowngrade(w.signIn("pencil", []string{"PLAIN"}, nil))
	w.expect(w.signIn("pencil", offersSHA1, nil), "SCRAM-SHA-1 y!")
	w.expect(w.signIn("pencil", offersSHA1, nil), "SCRAM-SHA-1 y")

	w.expect(w.signIn("pencil", offersSHA256, nil), "SCRAM-SHA-256 y")
	w.server.Protect = false
	w.expectDowngrade(w.signIn("pencil", offersSHA1, nil))
	if len(w.tried) == 0 {
		t.Error("not tried: it is the server's word that was missing")
	}
}

func TestMemoryOfPlainAndExternal(t *testing.T) {
	w := newWorld(t)
	w.expect(w.signIn("pencil", []string{"PLAIN"}, nil), "PLAIN")
	w.expect(w.signIn("pencil", []string{"PLAIN"}, nil), "PLAIN")
	w.policy.Certificate = true
	w.expect(w.signIn("pencil", []string{"PLAIN", "EXTERNAL"}, nil), "EXTERNAL")
	w.policy.Certificate = false
	w.expectDowngrade(w.signIn("pencil", []string{"PLAIN"}, nil))
	w.expect(w.signIn("pencil", offersSHA256, nil), "SCRAM-SHA-256 y")
	w.policy.Certificate = true
	w.expect(w.signIn("pencil", append(offersSHA1, "EXTERNAL"), nil), "EXTERNAL")
	// The certificate does not open the way for a weaker hash.
	w.server.External = ""
	if err := w.signIn("pencil", append(offersSHA1, "EXTERNAL"), nil); err == nil || !slices.Equal(w.tried, []string{"EXTERNAL"}) {
		t.Errorf("tried %q, %v", w.tried, err)
	}
	w.expect(w.signIn("pencil", append(offersSHA256, "EXTERNAL"), nil), "EXTERNAL", "SCRAM-SHA-256 y")
}

// XEP-0474, rule 6: with strange bindings on the list the server has to vouch for it.
func TestStrangeBindings(t *testing.T) {
	w := newWorld(t)
	w.policy.Memory = nil
	w.expectDowngrade(w.signIn("pencil", offersPlus, []string{"tls-strange"}))
	w.server.Protect = true
	w.expect(w.signIn("pencil", offersPlus, []string{"tls-strange"}), "SCRAM-SHA-256 n!")
}
