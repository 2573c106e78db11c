package sasl

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

func TestKeys(t *testing.T) {
	k := new(Keys)
	mark := keySet{salt: []byte("salt"), iterations: 4096, clientKey: []byte("kept")}
	k.put(SHA256, "pencil", mark)
	for _, c := range []struct {
		name       string
		hash       Hash
		password   string
		salt       string
		iterations int
		kept       bool
	}{
		{"the same", SHA256, "pencil", "salt", 4096, true},
		{"another hash", SHA512, "pencil", "salt", 4096, false},
		{"another password", SHA256, "pen", "salt", 4096, false},
		{"another salt", SHA256, "pencil", "tlas", 4096, false},
		{"another count", SHA256, "pencil", "salt", 4097, false},
	} {
		got, err := k.get(c.hash, c.password, []byte(c.salt), c.iterations)
		if err != nil || string(got.clientKey) == "kept" != c.kept {
			t.Errorf("%s: %q, %v", c.name, got.clientKey, err)
		}
	}
	k.put(SHA1, "pen", mark)
	if got, _ := k.get(SHA256, "pencil", []byte("salt"), 4096); string(got.clientKey) == "kept" {
		t.Error("keys of an old password")
	}
	k.Forget()
	if got, _ := k.get(SHA1, "pen", []byte("salt"), 4096); string(got.clientKey) == "kept" {
		t.Error("keys that were to be forgotten")
	}
	var none *Keys
	none.put(SHA1, "pen", mark)
	if got, err := none.get(SHA1, "pen", []byte("salt"), 4096); err != nil || len(got.clientKey) != SHA1.size() {
		t.Errorf("%x, %v", got.clientKey, err)
	}
}

// The second time nothing is derived, and several connections may share the keys.
func TestSignInWithKeys(t *testing.T) {
	offer := &Offer{Mechanisms: allMechanisms}
	cfg := &ServerConfig{Offer: offer, Lookup: users(t)}
	keys := new(Keys)
	var wait sync.WaitGroup
	for _, h := range hashes {
		wait.Go(func() {
			for range 2 {
				if _, err := signIn(t, choice(h.Mechanism(false), "", 'n', offer), pencil, keys, cfg); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	stored, _ := users(t)("user", SHA256)
	set, err := keys.get(SHA256, "pencil", stored.Salt, stored.Iterations)
	if err != nil || !bytes.Equal(SHA256.sum(set.clientKey), stored.StoredKey) || !bytes.Equal(keys.sets[SHA256-1].clientKey, set.clientKey) {
		t.Errorf("not kept: %v", err)
	}
}

func TestNewStored(t *testing.T) {
	for _, c := range []struct {
		hash       Hash
		password   string
		salt       string
		iterations int
	}{
		{0, "x", "salt", 4096}, {SHA512 + 1, "x", "salt", 4096}, {SHA1, "", "salt", 4096}, {SHA1, "\x01", "salt", 4096}, {SHA1, "x", "", 4096},
		{SHA1, "x", strings.Repeat("x", maxSalt+1), 4096}, {SHA1, "x", "salt", 0},
	} {
		if _, err := NewStored(c.hash, c.password, []byte(c.salt), c.iterations); err == nil {
			t.Errorf("%v", c)
		}
	}
}

// Secrets stay out of logs, whatever the verb and however deep they lie.
func TestSecretsHidden(t *testing.T) {
	const secret = "pencil-secret"
	cred := Credentials{Username: "user", Password: secret}
	keys := new(Keys)
	keys.put(SHA1, secret, keySet{salt: []byte(secret), clientKey: []byte(secret)})
	stored := Stored{StoredKey: []byte(secret), ServerKey: []byte(secret)}
	var out strings.Builder
	for _, v := range []any{cred, &cred, keys, stored, &stored, struct{ C Credentials }{cred}, []Stored{stored}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "value", v)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "cred", cred, "keys", keys, "stored", stored)
	for _, s := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([]byte(secret))} {
		if strings.Contains(out.String(), s) {
			t.Errorf("%q is in\n%s", s, out.String())
		}
	}
	if !strings.Contains(out.String(), `\"user\"`) {
		t.Error("not even the user name")
	}
	for _, err := range []error{&PrepError{What: "password", Reason: "x"}, &SyntaxError{Message: "x", Reason: "y"}} {
		if strings.Contains(err.Error(), secret) {
			t.Error(err)
		}
	}
}
