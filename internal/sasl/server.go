package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// ServerConfig is what a server knows about one connection and about its users.
type ServerConfig struct {
	// Offer is what the client was shown; its TLS is the server's end of the connection. Required.
	Offer *Offer
	// Lookup returns what is stored of a user's password for a hash. An error refuses him, with not-authorized unless it is a [*Failure]. PLAIN asks for
	// the hashes in turn, the strongest first. Required but for EXTERNAL.
	Lookup func(username string, h Hash) (Stored, error)
	// Authorize says whether a user may act as someone else: nil error is yes. The zero value allows nobody to ask.
	Authorize func(username, authzid string) error
	// External is whom the client's certificate names. Empty: EXTERNAL fails.
	External string
	// Binding returns the data of a channel binding. The zero value has none, so that all -PLUS mechanisms fail; see [ServerBinding].
	Binding func(Binding) ([]byte, error)
	// Token returns the token that a user has for one of the mechanisms of [Policy.Tokens]. The zero value has none.
	Token func(username, mechanism string) (string, error)
	// Protect sends the hash of the offer (XEP-0474) and the version of TLS (XEP-0515).
	Protect bool
	// Rand is where nonces come from. nil: crypto/rand.
	Rand io.Reader
}

// ServerBinding gives the channel bindings of the server's end of a connection. certificate is the one that the server showed.
func ServerBinding(cs *tls.ConnectionState, certificate *x509.Certificate) func(Binding) ([]byte, error) {
	return func(b Binding) ([]byte, error) {
		if b == TLSServerEndPoint && certificate == nil {
			return nil, &BindingError{Type: b, Reason: "no certificate of the server"}
		}
		return b.Data(cs, certificate)
	}
}

// Server is the server's side of one attempt to sign in. It is not safe for concurrent use.
//
// It tells unknown users from wrong passwords by the moment at which it refuses, which is fine for tests but not on the Internet.
type Server struct {
	name  string
	cfg   *ServerConfig
	hash  Hash
	bound bool

	tokened bool
	state   state
	asked   bool // for the initial response

	username string
	authzID  string

	stored Stored
	nonce  string
	input  []byte // what the c attribute has to be
	heard  string // client-first-message-bare and server-first-message
}

// NewServer begins an attempt with the mechanism that the client chose. The error is a [*Failure].
func NewServer(mechanism string, cfg *ServerConfig) (*Server, error) {
	offered := false
	for _, m := range cfg.Offer.Mechanisms {
		offered = offered || m == mechanism
	}
	s := &Server{name: mechanism, cfg: cfg}
	known := mechanism == plain || mechanism == external
	if !known {
		s.hash, s.bound, known = parseMechanism(mechanism)
	}
	if !known {
		_, known = parseToken(mechanism)
		s.tokened = known
	}
	if !offered || !known {
		return nil, &Failure{Condition: InvalidMechanism}
	}
	return s, nil
}

// Name is the mechanism.
func (s *Server) Name() string { return s.name }

// Username is who signed in. It is empty until Next has said done; after EXTERNAL it is [ServerConfig].External.
func (s *Server) Username() string {
	if s.state != verified {
		return ""
	}
	return s.username
}

// AuthzID is whom he acts as, if that is not himself.
func (s *Server) AuthzID() string {
	if s.state != verified {
		return ""
	}
	return s.authzID
}

// Next takes the initial response (nil: there is none) or a response, and returns the next challenge or, when done, the additional data with success. The error is a
// [*Failure], and ends the attempt.
func (s *Server) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && s.state == begun && !s.asked {
		s.asked = true
		return []byte{}, false, nil // all mechanisms here start with the client: RFC 4422 §3 has the empty challenge for that
	}
	message := string(response)
	switch {
	case s.state == begun && s.name == plain:
		err, done = s.plain(message), true
	case s.state == begun && s.name == external:
		err, done = s.external(message), true
	case s.state == begun && s.tokened:
		challenge, err = s.hashedToken(message)
		done = true
	case s.state == begun:
		challenge, err = s.first(message)
		s.state = sent
	case s.state == sent:
		challenge, err = s.final(message)
		done = true
	default:
		err = &Failure{Condition: MalformedRequest, Err: ErrOrder}
	}
	if err != nil {
		s.state = ended
		return nil, false, err
	}
	if done {
		s.state = verified
	}
	return challenge, done, nil
}

func malformed(err error) *Failure { return &Failure{Condition: MalformedRequest, Err: err} }

// refused is not-authorized, with the value that RFC 5802 §7 has for the reason.
func refused(value string) *Failure {
	return &Failure{Condition: NotAuthorized, Err: &ServerError{Value: value}}
}

func (s *Server) plain(message string) error {
	parts := strings.Split(message, "\x00")
	if len(parts) != 3 || parts[1] == "" || parts[2] == "" || len(message) > maxMessage || !utf8.ValidString(message) {
		return malformed(&SyntaxError{Message: "PLAIN message", Reason: "not authzid, user name and password"})
	}
	s.authzID = parts[0]
	// RFC 4616 §2: it is the server who prepares both.
	var err error
	if s.username, err = prep("user name", parts[1]); err != nil {
		return &Failure{Condition: NotAuthorized, Err: err}
	}
	for _, h := range hashes {
		stored, lookupErr := s.cfg.Lookup(s.username, h)
		if lookupErr != nil {
			err = lookupErr
			continue
		}
		got, keyErr := NewStored(h, parts[2], stored.Salt, stored.Iterations)
		if keyErr != nil || !hmac.Equal(got.StoredKey, stored.StoredKey) {
			return &Failure{Condition: NotAuthorized, Err: keyErr}
		}
		return s.authorize()
	}
	return lookupFailure(err)
}

func (s *Server) external(message string) error {
	if strings.Contains(message, "\x00") || len(message) > maxMessage || !utf8.ValidString(message) {
		return malformed(&SyntaxError{Message: "EXTERNAL message", Reason: "not an authzid"})
	}
	if s.cfg.External == "" {
		return &Failure{Condition: NotAuthorized, Text: "no certificate that names a user"}
	}
	s.username = s.cfg.External
	if message == s.username {
		return nil
	}
	s.authzID = message
	return s.authorize()
}

func (s *Server) authorize() error {
	if s.authzID == "" {
		return nil
	}
	if s.cfg.Authorize == nil {
		return &Failure{Condition: InvalidAuthzID}
	}
	if err := s.cfg.Authorize(s.username, s.authzID); err != nil {
		return &Failure{Condition: InvalidAuthzID, Err: err}
	}
	return nil
}

func lookupFailure(err error) error {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Condition: NotAuthorized, Err: err}
}

// first takes the client-first-message and makes the server-first-message.
func (s *Server) first(message string) ([]byte, error) {
	m, err := parseClientFirst(message)
	if err != nil {
		return nil, malformed(err)
	}
	s.input = []byte(m.header)
	if err := s.bind(m); err != nil {
		return nil, err
	}
	if s.username, err = prep("user name", m.username); err != nil {
		return nil, refused(invalidUsername)
	}
	s.authzID = m.authzID
	if s.stored, err = s.cfg.Lookup(s.username, s.hash); err != nil {
		return nil, lookupFailure(err)
	}
	nonce, err := newNonce(s.cfg.Rand)
	if err != nil {
		return nil, &Failure{Condition: TemporaryAuthFailure, Err: err}
	}
	s.nonce = m.nonce + nonce
	first := serverFirst{nonce: s.nonce, salt: s.stored.Salt, iterations: s.stored.Iterations}
	if s.cfg.Protect {
		first.offerHash = s.cfg.Offer.hash(s.hash)
		if s.cfg.Offer.TLS != nil {
			first.tlsVersion = tlsVersion(s.cfg.Offer.TLS.Version)
		}
	}
	challenge := first.format()
	s.heard = m.bare + "," + challenge + ","
	return []byte(challenge), nil
}

// bind checks what the client says about channel binding (RFC 5802 §6).
func (s *Server) bind(m *clientFirst) error {
	switch {
	case m.flag == 'y' && s.cfg.Offer.best(true, 0) != 0:
		return refused(bindingSupported)
	case s.bound != (m.flag == 'p'):
		return refused(bindingUnsupported)
	case !s.bound:
		return nil
	}
	listed := s.cfg.Offer.Bindings == nil
	for _, b := range s.cfg.Offer.Bindings {
		listed = listed || b == string(m.binding)
	}
	if !listed || s.cfg.Binding == nil {
		return refused(bindingTypeUnknown)
	}
	data, err := s.cfg.Binding(m.binding)
	if err != nil {
		return refused(bindingTypeUnknown)
	}
	s.input = append(s.input, data...)
	return nil
}

// final takes the client-final-message and makes the server-final-message.
func (s *Server) final(message string) ([]byte, error) {
	m, err := parseClientFinal(message)
	switch {
	case err != nil:
		return nil, malformed(err)
	case m.nonce != s.nonce:
		return nil, refused(otherError)
	case !bytes.Equal(m.binding, s.input):
		return nil, refused(bindingsDontMatch)
	case len(m.proof) != s.hash.size():
		return nil, refused(invalidProof)
	}
	authMessage := s.heard + m.withoutProof
	clientKey := s.hash.proof(m.proof, s.stored.StoredKey, authMessage)
	if !hmac.Equal(s.hash.sum(clientKey), s.stored.StoredKey) {
		return nil, refused(invalidProof)
	}
	if err := s.authorize(); err != nil {
		return nil, err
	}
	return []byte(formatServerFinal(s.hash.hmac(s.stored.ServerKey, authMessage))), nil
}
