package sasl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// certificate makes one that signs itself with the given algorithm.
func certificate(t testing.TB, alg x509.SignatureAlgorithm) tls.Certificate {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case x509.ECDSAWithSHA1, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case x509.PureEd25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsaKey()
	}
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.org"}, SignatureAlgorithm: alg,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// rsaKey is made once: that takes long.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// pair is both ends of a TLS connection in memory.
type pair struct{ client, server tls.ConnectionState }

// connect makes one. cache may be nil.
func connect(t testing.TB, version uint16, cert tls.Certificate, cache tls.ClientSessionCache, tickets *tls.Config) pair {
	t.Helper()
	serverConfig := tickets
	if serverConfig == nil {
		// Tickets of TLS 1.3 would block a pipe that nobody reads.
		serverConfig = &tls.Config{SessionTicketsDisabled: true}
	}
	serverConfig.Certificates = []tls.Certificate{cert}
	serverConfig.MinVersion, serverConfig.MaxVersion = version, version
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	server := tls.Server(b, serverConfig)
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	client := tls.Client(a, &tls.Config{
		ServerName: "example.org", InsecureSkipVerify: true, ClientSessionCache: cache, MinVersion: version, MaxVersion: version,
	})
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return pair{client: client.ConnectionState(), server: server.ConnectionState()}
}

// storedPencil is made once, as the race detector makes that slow.
var storedPencil = sync.OnceValues(func() (map[Hash]Stored, error) {
	all := map[Hash]Stored{}
	for _, h := range hashes {
		s, err := NewStored(h, "pencil", []byte("salt of "+h.String()), DefaultMinIterations)
		if err != nil {
			return nil, err
		}
		all[h] = s
	}
	return all, nil
})

// users are what a server of the tests has stored: for user, with the password pencil.
func users(t testing.TB) func(string, Hash) (Stored, error) {
	t.Helper()
	all, err := storedPencil()
	if err != nil {
		t.Fatal(err)
	}
	return func(name string, h Hash) (Stored, error) {
		if name != "user" {
			return Stored{}, errors.New("nobody")
		}
		return all[h], nil
	}
}

var pencil = &Credentials{Username: "user", Password: "pencil"}

// choice makes one without Select.
func choice(mechanism string, b Binding, flag byte, o *Offer) Choice {
	h, _, _ := parseMechanism(mechanism)
	return Choice{Mechanism: mechanism, Binding: b, hash: h, flag: flag, offer: o, policy: &Policy{}}
}

// signIn lets both halves talk. It returns what the client thinks of it; what the server thinks goes to the client as a Failure.
func signIn(t testing.TB, c Choice, cred *Credentials, keys *Keys, cfg *ServerConfig) (*Server, error) {
	t.Helper()
	client, err := c.Client(cred, keys)
	if err != nil {
		return nil, err
	}
	server, err := NewServer(client.Name(), cfg)
	if err != nil {
		return nil, err
	}
	response, err := client.Start()
	if err != nil {
		return server, err
	}
	for range 5 {
		challenge, done, err := server.Next(response)
		switch {
		case err != nil:
			return server, err
		case done:
			return server, client.Done(challenge)
		}
		if response, err = client.Next(bytes.Clone(challenge)); err != nil {
			return server, err
		}
	}
	t.Fatal("no end of it")
	return nil, nil
}
