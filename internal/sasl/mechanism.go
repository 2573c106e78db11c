package sasl

import (
	"strings"
	"unicode/utf8"
)

// Mechanism is the client's side of one attempt to sign in. Its methods are called in the order of the messages: Start, then Next for each challenge,
// then Done if the server reports success. Every error ends the attempt, and whoever gets one tells the server (in XMPP by <abort/>).
// It is not safe for concurrent use.
type Mechanism interface {
	// Name is the name of the mechanism on the wire.
	Name() string
	// Start returns the initial response. Each mechanism of this package has one; it may be empty (which XMPP writes as "=", RFC 6120 §6.4.2).
	Start() ([]byte, error)
	// Next takes a challenge and returns the response, which may be empty. In SCRAM it derives keys from the password, for up to
	// [Policy].MaxIterations, unless [Keys] has them.
	Next(challenge []byte) ([]byte, error)
	// Done takes the additional data with success; nil is none. Only when it has returned nil is the account signed in, and at the right server.
	Done(additional []byte) error
}

// oneMessage is a client that says all it has to say at the start: PLAIN and EXTERNAL.
type oneMessage struct {
	name    string
	initial func() ([]byte, error)
	success func()
	state   state
}

// state is how far an attempt has come.
type state uint8

const (
	begun    state = iota
	sent           // the first message
	answered       // the first challenge
	verified       // the server has proved itself
	ended          // by success or an error
)

func (m *oneMessage) Name() string { return m.name }

func (m *oneMessage) Start() ([]byte, error) {
	if m.state != begun {
		return nil, ErrOrder
	}
	b, err := m.initial()
	if err != nil {
		m.state = ended
		return nil, err
	}
	m.state = sent
	return b, nil
}

func (m *oneMessage) Next([]byte) ([]byte, error) {
	m.state = ended
	return nil, ErrOrder
}

func (m *oneMessage) Done([]byte) error {
	if m.state != sent {
		m.state = ended
		return ErrOrder
	}
	m.state = ended
	m.success()
	return nil
}

// plainMessage is the message of RFC 4616 §2. Its strings are sent as they are: it is the server who prepares them.
func (c *Credentials) plainMessage() ([]byte, error) {
	if c.Password == "" {
		return nil, ErrNoPassword
	}
	s := c.AuthzID + "\x00" + c.Username + "\x00" + c.Password
	if strings.Count(s, "\x00") != 2 || c.Username == "" || !utf8.ValidString(s) || len(s) > maxMessage {
		return nil, &PrepError{What: "user name or password", Reason: "empty, too long, not UTF-8 or with NUL"}
	}
	return []byte(s), nil
}

// externalMessage is the message of RFC 4422 appendix A: whom to act as, or nothing for whom the certificate names.
func (c *Credentials) externalMessage() ([]byte, error) {
	if strings.Contains(c.AuthzID, "\x00") || !utf8.ValidString(c.AuthzID) || len(c.AuthzID) > maxMessage {
		return nil, &PrepError{What: "authzid", Reason: "too long, not UTF-8 or with NUL"}
	}
	return []byte(c.AuthzID), nil
}
