package xmpplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sasl"
	"github.com/hoorn-phone/hoorn/xmpp/xmltree"
)

const nsFast = "urn:xmpp:fast:0" // XEP-0484

// Token signs in instead of a password (XEP-0484). It is as secret as one, and good for one account on one client.
type Token struct {
	Mechanism string    // that it is for, such as "HT-SHA-256-EXPR"
	Secret    string    // as the server gave it
	Expires   time.Time // the zero value: the server did not say
}

// String leaves out the secret.
func (t Token) String() string {
	return fmt.Sprintf("token for %s until %v (secret not shown)", t.Mechanism, t.Expires)
}

// Format leaves out the secret, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue leaves out the secret.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// TokenStore keeps the token of one account and client. Its methods are called while the client connects, one at a time,
// and have to return when ctx ends. An error is logged; the client then goes on as without a token.
type TokenStore interface {
	// LoadToken returns the token; nil is none.
	LoadToken(ctx context.Context) (*Token, error)
	// SaveToken keeps a token instead of the one before; nil forgets it.
	SaveToken(ctx context.Context, token *Token) error
}

// MemoryTokens is a TokenStore that ends with the process. The zero value has no token.
type MemoryTokens struct {
	mu    sync.Mutex
	token *Token
}

// LoadToken returns the token; nil is none.
func (s *MemoryTokens) LoadToken(context.Context) (*Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, nil
}

// SaveToken keeps a token; nil forgets it.
func (s *MemoryTokens) SaveToken(_ context.Context, token *Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
	return nil
}

// Memory is what is remembered of a server from one stream to the next. Keep one for each account and kind of transport. It serves one Open at a time.
type Memory struct {
	SASL sasl.Memory

	inline *xmltree.Element // what can be done with a login, as it was when we got or used a token
	fresh  string           // the mechanism of a token that was not used yet
	broken []string         // mechanisms of which a token has failed the first time
}

func (m *Memory) known() *xmltree.Element {
	if m == nil {
		return nil
	}
	return m.inline
}

func (m *Memory) learn(inline *xmltree.Element) {
	if m != nil {
		m.inline = inline
	}
}

// offeredTokens are the mechanisms for tokens that both sides have, the best first.
func (n *negotiation) offeredTokens(inline *xmltree.Element) []string {
	if n.cfg.Tokens == nil || n.cfg.Agent.ID == "" { // XEP-0484: no token without a user agent's id
		return nil
	}
	return n.policy().Tokens(texts(inline.Child(nsFast, "fast"), nsFast, "mechanism"), n.t.tls())
}

// wantToken is the mechanism for which to ask for a token; "" is none.
func (n *negotiation) wantToken(inline *xmltree.Element) string {
	for _, m := range n.offeredTokens(inline) {
		if n.cfg.Memory == nil || !slices.Contains(n.cfg.Memory.broken, m) {
			return m
		}
	}
	return ""
}

// tokenLogin returns the mechanism that uses our token, and keeps that in n.token. It is nil if there is none, or none that is good here.
func (n *negotiation) tokenLogin(ctx context.Context, inline *xmltree.Element) sasl.Mechanism {
	offered := n.offeredTokens(inline)
	if len(offered) == 0 || n.spent {
		return nil
	}
	token, err := n.cfg.Tokens.LoadToken(ctx)
	if err != nil {
		n.cfg.logger().Warn("xmpp: the token could not be read", "err", err)
	}
	switch {
	case token == nil || !slices.Contains(offered, token.Mechanism):
		return nil
	case !token.Expires.IsZero() && !time.Now().Before(token.Expires):
		n.dropToken(ctx)
		return nil
	}
	m, err := sasl.NewToken(token.Mechanism, n.cfg.Credentials.Username, token.Secret, n.t.tls())
	if err != nil {
		n.dropToken(ctx)
		return nil
	}
	n.token = token
	return m
}

// withToken hears what became of a login with a token. A token that is refused is forgotten, and the login goes on without (XEP-0484).
func (n *negotiation) withToken(ctx context.Context, m sasl.Mechanism, inline *xmltree.Element) (*Stream, error) {
	n.spent = true
	success, err := n.converse(m, nsSASL2)
	if err != nil {
		n.cfg.Memory.learn(nil)
		var failure *sasl.Failure
		var ours *abortError
		if errors.As(err, &failure) || errors.As(err, &ours) {
			n.dropToken(ctx)
		}
		if failure == nil {
			return nil, at(StageAuth, n.refused(m.Name(), err))
		}
		n.cfg.logger().Info("xmpp: the token is refused", "mechanism", m.Name(), "condition", failure.Condition)
		if mem := n.cfg.Memory; mem != nil && mem.fresh == m.Name() && failure.Condition != sasl.CredentialsExpired {
			mem.broken = append(mem.broken, m.Name()) // as servers offer channel bindings that they cannot do
		}
		return nil, nil
	}
	if mem := n.cfg.Memory; mem != nil {
		mem.fresh = ""
	}
	n.keepToken(ctx, success, m.Name(), inline)
	return n.welcome(success)
}

// keepToken takes a new token, whether we asked for it or the server wants to change the one before.
func (n *negotiation) keepToken(ctx context.Context, success *xmltree.Element, mechanism string, inline *xmltree.Element) {
	if mechanism == "" {
		return
	}
	n.cfg.Memory.learn(inline)
	e := success.Child(nsFast, "token")
	if e == nil || e.Get("token") == "" {
		return
	}
	token := &Token{Mechanism: mechanism, Secret: e.Get("token")}
	if t, err := time.Parse(time.RFC3339, e.Get("expiry")); err == nil { // XEP-0082
		token.Expires = t
	}
	if n.cfg.Memory != nil {
		n.cfg.Memory.fresh = mechanism
	}
	n.saveToken(ctx, token)
}

func (n *negotiation) dropToken(ctx context.Context) { n.saveToken(ctx, nil) }

func (n *negotiation) saveToken(ctx context.Context, token *Token) {
	if err := n.cfg.Tokens.SaveToken(ctx, token); err != nil {
		n.cfg.logger().Warn("xmpp: the token could not be kept", "err", err)
	}
}
