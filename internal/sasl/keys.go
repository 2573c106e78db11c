package sasl

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
)

const hidden = "(secret not shown)"

// Credentials are what an account signs in with.
type Credentials struct {
	// Username is who signs in: for a server of XMPP the localpart of the address (RFC 6120 §6.3.7). EXTERNAL does not send it; PLAIN and SCRAM need it.
	Username string
	// Password is in the clear. Empty: only EXTERNAL works.
	Password string
	// AuthzID is whom to act as. Empty: the user himself, which is what RFC 6120 §6.3.8 wants unless it is someone else.
	AuthzID string
}

// String leaves out the password.
func (c Credentials) String() string { return fmt.Sprintf("%q %s", c.Username, hidden) }

// Format leaves out the password, whatever the verb.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.String())) }

// LogValue leaves out the password.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Keys remembers what SCRAM derived from the password of one account, so that it signs in again without deriving it anew: one set for each hash, of the salt
// and iteration count that the server used last. A set is kept only when the server has proved that it knows it too. Another password makes all of them
// void, as it holds the password too. The zero value is empty; a nil *Keys remembers nothing. It is safe for concurrent use.
type Keys struct {
	mu       sync.Mutex
	password string // as SASLprep left it
	sets     [len(hashes)]keySet
}

type keySet struct {
	salt                 []byte
	iterations           int
	clientKey, serverKey []byte
}

// get returns a set with those parameters, derived now if it is not there.
func (k *Keys) get(h Hash, prepared string, salt []byte, iterations int) (keySet, error) {
	if k != nil {
		k.mu.Lock()
		s := k.sets[h-1]
		same := k.password == prepared
		k.mu.Unlock()
		if same && s.iterations == iterations && bytes.Equal(s.salt, salt) {
			return s, nil
		}
	}
	c, s, err := h.derive(prepared, salt, iterations)
	return keySet{salt: salt, iterations: iterations, clientKey: c, serverKey: s}, err
}

func (k *Keys) put(h Hash, prepared string, s keySet) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.password != prepared {
		k.password, k.sets = prepared, [len(hashes)]keySet{}
	}
	k.sets[h-1] = s
}

// Forget empties it.
func (k *Keys) Forget() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.password, k.sets = "", [len(hashes)]keySet{}
}

// String shows nothing.
func (k *Keys) String() string { return "keys " + hidden }

// Format shows nothing, whatever the verb.
func (k *Keys) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue shows nothing.
func (k *Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Stored is what a server keeps of a password (RFC 5802 §3): enough to check a proof, not enough to sign in with.
type Stored struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}

// NewStored makes what a server keeps for one hash. An empty password, one that SASLprep prohibits (a [*PrepError]), and iterations or a salt beyond the
// bounds of this package are errors.
func NewStored(h Hash, password string, salt []byte, iterations int) (Stored, error) {
	if password == "" {
		return Stored{}, ErrNoPassword
	}
	if h < SHA1 || h > SHA512 {
		return Stored{}, fmt.Errorf("sasl: unknown %v", h)
	}
	if len(salt) == 0 || len(salt) > maxSalt || iterations < 1 {
		return Stored{}, errors.New("sasl: salt or iterations out of range")
	}
	prepared, err := prep("password", password)
	if err != nil {
		return Stored{}, err
	}
	c, s, err := h.derive(prepared, salt, iterations)
	if err != nil {
		return Stored{}, err
	}
	return Stored{Salt: slices.Clone(salt), Iterations: iterations, StoredKey: h.sum(c), ServerKey: s}, nil
}

// String shows nothing.
func (s Stored) String() string { return "stored keys " + hidden }

// Format shows nothing, whatever the verb.
func (s Stored) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue shows nothing.
func (s Stored) LogValue() slog.Value { return slog.StringValue(s.String()) }
