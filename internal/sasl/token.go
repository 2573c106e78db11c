package sasl

import (
	"crypto/hmac"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// Mechanisms of hashed tokens (draft-schmaus-kitten-sasl-ht), which sign in again with what the server gave out: one message each way. The hash is SHA-256,
// which all servers have.
const hashedToken = "HT-SHA-256-"

// tokenBindings are the ends of the names of these mechanisms, the best first.
var tokenBindings = [...]struct {
	suffix  string
	binding Binding // empty: none, as XEP-0484 adds
}{{"EXPR", TLSExporter}, {"UNIQ", TLSUnique}, {"ENDP", TLSServerEndPoint}, {"NONE", ""}}

// parseToken takes the name of such a mechanism apart.
func parseToken(name string) (b Binding, ok bool) {
	suffix, ok := strings.CutPrefix(name, hashedToken)
	if !ok {
		return "", false
	}
	for _, t := range tokenBindings {
		if t.suffix == suffix {
			return t.binding, true
		}
	}
	return "", false
}

// Tokens returns which of the mechanisms on offer can use tokens on a connection, the best first. Bindings that Memory knows to fail are passed over, and a mechanism without
// a binding where one is required or has worked.
func (p *Policy) Tokens(offered []string, cs *tls.ConnectionState) []string {
	if cs == nil {
		return nil
	}
	ours := p.Memory.working(available(cs))
	var list []string
	for _, t := range tokenBindings {
		name := hashedToken + t.suffix
		switch {
		case !slices.Contains(offered, name):
		case t.binding == "" && (p.RequireBinding || p.Memory.bound()):
		case t.binding == "" || slices.Contains(ours, t.binding):
			list = append(list, name)
		}
	}
	return list
}

// ErrToken says that a token is none, or that the connection lacks the channel binding that it is for.
var ErrToken = errors.New("sasl: token cannot be used")

// NewToken starts an attempt with a token instead of a password. The error is an [ErrToken].
func NewToken(mechanism, username, token string, cs *tls.ConnectionState) (Mechanism, error) {
	b, ok := parseToken(mechanism)
	if !ok || token == "" || username == "" || len(username) > 255 || strings.Contains(username, "\x00") || !utf8.ValidString(username) || cs == nil {
		return nil, ErrToken
	}
	m := &tokenClient{name: mechanism, username: username, token: token}
	if b != "" {
		var err error
		if m.data, err = b.Data(cs, nil); err != nil {
			return nil, errors.Join(ErrToken, err)
		}
	}
	return m, nil
}

type tokenClient struct {
	name, username, token string
	data                  []byte // of the channel binding
	state                 state
}

func (m *tokenClient) Name() string { return m.name }

func (m *tokenClient) Start() ([]byte, error) {
	if m.state != begun {
		return nil, ErrOrder
	}
	m.state = sent
	return append([]byte(m.username+"\x00"), hashToken(m.token, "Initiator", m.data)...), nil
}

func (m *tokenClient) Next([]byte) ([]byte, error) {
	m.state = ended
	return nil, ErrOrder
}

func (m *tokenClient) Done(additional []byte) error {
	was := m.state
	m.state = ended
	switch {
	case was != sent:
		return ErrOrder
	case !hmac.Equal(additional, hashToken(m.token, "Responder", m.data)):
		return ErrServerSignature
	}
	return nil
}

// hashToken proves that a side has a token (§3.1, §3.3 of the draft).
func hashToken(token, side string, binding []byte) []byte {
	return SHA256.hmac([]byte(token), side+string(binding))
}

// hashedToken takes the one message of the client.
func (s *Server) hashedToken(message string) ([]byte, error) {
	username, proof, ok := strings.Cut(message, "\x00")
	if !ok || username == "" || len(username) > 255 || !utf8.ValidString(username) {
		return nil, malformed(&SyntaxError{Message: "initiator-msg", Reason: "not a user name and a hash"})
	}
	binding, _ := parseToken(s.name)
	var data []byte
	if binding != "" {
		if s.cfg.Binding == nil {
			return nil, refused(bindingTypeUnknown)
		}
		var err error
		if data, err = s.cfg.Binding(binding); err != nil {
			return nil, refused(bindingTypeUnknown)
		}
	}
	if s.cfg.Token == nil {
		return nil, &Failure{Condition: NotAuthorized}
	}
	token, err := s.cfg.Token(username, s.name)
	if err != nil {
		return nil, lookupFailure(err)
	}
	if token == "" || !hmac.Equal([]byte(proof), hashToken(token, "Initiator", data)) {
		return nil, &Failure{Condition: NotAuthorized}
	}
	s.username = username
	return hashToken(token, "Responder", data), nil
}
