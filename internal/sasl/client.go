package sasl

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of iteration counts, unless the [Policy] has others.
const (
	// DefaultMinIterations is what RFC 5802 §5.1 and RFC 7677 §4 ask of servers.
	DefaultMinIterations = 4096
	// DefaultMaxIterations keeps a server from burning the client's time (RFC 5802 §9): some seconds of one processor.
	DefaultMaxIterations = 2_000_000
)

// nonceSize is the entropy of a nonce, in bytes.
const nonceSize = 24

// newNonce returns one in characters that an attribute can hold.
func newNonce(r io.Reader) (string, error) {
	if r == nil {
		r = rand.Reader
	}
	var b [nonceSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", fmt.Errorf("sasl: no randomness for a nonce: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b[:]), nil
}

// scramClient is the client of RFC 5802 §3.
type scramClient struct {
	Choice
	cred  *Credentials
	keys  *Keys
	state state

	data      []byte // of the channel binding
	prepared  string // password
	first     clientFirst
	set       keySet
	signature []byte // that the server has to show
	checked   bool   // the offer, by XEP-0474
}

func newSCRAMClient(c Choice, cred *Credentials, keys *Keys) (*scramClient, error) {
	m := &scramClient{Choice: c, cred: cred, keys: keys}
	if cred.Password == "" {
		return nil, ErrNoPassword
	}
	var err error
	if m.prepared, err = prep("password", cred.Password); err != nil {
		return nil, err
	}
	m.first = clientFirst{flag: c.flag, binding: c.Binding, authzID: cred.AuthzID}
	if m.first.username, err = prep("user name", cred.Username); err != nil {
		return nil, err
	}
	if _, err = cred.externalMessage(); err != nil { // for its authzid
		return nil, err
	}
	if c.Binding != "" {
		if m.data, err = c.Binding.Data(c.offer.TLS, nil); err != nil {
			return nil, err
		}
	}
	if m.first.nonce, err = newNonce(c.policy.Rand); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *scramClient) Name() string { return m.Mechanism }

func (m *scramClient) Start() ([]byte, error) {
	if m.state != begun {
		return nil, ErrOrder
	}
	m.state = sent
	return []byte(m.first.format()), nil
}

func (m *scramClient) Next(challenge []byte) ([]byte, error) {
	switch m.state {
	case sent:
		response, err := m.answer(string(challenge))
		if err != nil {
			m.state = ended
			return nil, err
		}
		m.state = answered
		return []byte(response), nil
	case answered:
		// A server may show its signature before success, and wants an empty response to it (RFC 6120 §6.3.10 has both).
		if err := m.verify(challenge); err != nil {
			return nil, err
		}
		m.state = verified
		return []byte{}, nil
	}
	m.state = ended
	return nil, ErrOrder
}

func (m *scramClient) Done(additional []byte) error {
	was := m.state
	m.state = ended
	switch {
	case was == answered:
		if err := m.verify(additional); err != nil {
			return err
		}
	case was == verified && len(additional) == 0:
	case was == sent:
		return ErrServerSignature // it did not even ask
	default:
		return ErrOrder
	}
	m.keys.put(m.hash, m.prepared, m.set)
	m.succeeded(m.checked)
	return nil
}

// answer makes the client-final-message.
func (m *scramClient) answer(challenge string) (string, error) {
	first, err := parseServerFirst(challenge)
	if err != nil {
		// Some servers have their say early.
		var e *ServerError
		if _, final := parseServerFinal(challenge); errors.As(final, &e) {
			return "", e
		}
		return "", err
	}
	if len(first.nonce) <= len(m.first.nonce) || !strings.HasPrefix(first.nonce, m.first.nonce) {
		return "", ErrNonce
	}
	if err := m.policy.checkIterations(first.iterations); err != nil {
		return "", err
	}
	if err := m.checkOffer(first); err != nil {
		return "", err
	}
	if m.set, err = m.keys.get(m.hash, m.prepared, first.salt, first.iterations); err != nil {
		return "", err
	}
	final := clientFinal{binding: append([]byte(m.first.header), m.data...), nonce: first.nonce}
	final.start()
	authMessage := m.first.bare + "," + challenge + "," + final.withoutProof
	final.proof = m.hash.proof(m.set.clientKey, m.hash.sum(m.set.clientKey), authMessage)
	m.signature = m.hash.hmac(m.set.serverKey, authMessage)
	return final.format(), nil
}

// checkOffer holds what the server says it offered, and which TLS it speaks, against what was seen. Neither can be forged without the password, as both are
// part of what the proof is about.
func (m *scramClient) checkOffer(first *serverFirst) error {
	switch {
	case first.offerHash == "" && m.wantHash != "":
		return &DowngradeError{Reason: m.wantHash}
	case first.offerHash != "" && first.offerHash != m.offer.hash(m.hash):
		return &DowngradeError{Reason: "the server offered other mechanisms or channel bindings than arrived (XEP-0474)"}
	case first.tlsVersion != "" && m.offer.TLS != nil && first.tlsVersion != tlsVersion(m.offer.TLS.Version):
		return &DowngradeError{Reason: "the server speaks another version of TLS than arrived (XEP-0515)"}
	}
	m.checked = first.offerHash != ""
	return nil
}

// verify takes the server-final-message.
func (m *scramClient) verify(message []byte) error {
	m.state = ended
	if len(message) == 0 {
		return ErrServerSignature
	}
	signature, err := parseServerFinal(string(message))
	if err != nil {
		return err
	}
	if !hmac.Equal(signature, m.signature) {
		return ErrServerSignature
	}
	return nil
}
