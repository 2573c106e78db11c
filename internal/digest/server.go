package digest

import (
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Defaults and bounds of a server.
const (
	defaultLifetime  = 5 * time.Minute
	defaultMaxNonces = 1 << 16
	maxCredentials   = 8 // header field values looked at in one request
)

// ServerConfig says how a server authenticates its users.
type ServerConfig struct {
	Realm string

	// Algorithms is what to offer, one challenge for each, in this order (RFC 8760 §2.3 wants the preferred one on top). Nil means MD5 alone.
	Algorithms []Algorithm

	// QOP is what to offer. The zero value is the legacy form without qop.
	QOP QOP

	// Opaque is sent along if not empty.
	Opaque string

	// Nonce shapes a nonce from 32 random hexadecimal digits, so that a server can look like another make. It must keep the digits, as nonces
	// have to differ. Nil takes the digits as they are.
	Nonce func(random string) string

	// Lifetime is how long a nonce can be used. Zero means 5 minutes.
	Lifetime time.Duration

	// MaxNonces bounds the nonces remembered; above it the oldest becomes stale. Zero means 65,536.
	MaxNonces int

	// NextNonceAfter makes [Server.Info] offer a new nonce once a nonce was used this many times. Zero means never.
	NextNonceAfter uint32

	// Lookup gives the credential of a user; alg is never a -sess variant. An error means that there is no such user. Required.
	// It must not block.
	Lookup func(username string, alg Algorithm) (Credential, error)

	// Rand is where nonces come from: crypto/rand.Reader outside of tests. Required.
	Rand io.Reader
}

// Server issues challenges for one realm and verifies what comes back. It is safe for concurrent use.
type Server struct {
	cfg ServerConfig

	mu     sync.Mutex
	nonces map[string]*nonceState
	order  []string // a ring of the keys of nonces, the oldest at next
	next   int
}

type nonceState struct {
	issued time.Time
	nc     uint32 // the highest count seen
	uses   uint32
}

// NewServer returns a server without any nonces.
func NewServer(cfg ServerConfig) *Server {
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = []Algorithm{MD5}
	}
	if cfg.Lifetime <= 0 {
		cfg.Lifetime = defaultLifetime
	}
	if cfg.MaxNonces <= 0 {
		cfg.MaxNonces = defaultMaxNonces
	}
	return &Server{cfg: cfg, nonces: make(map[string]*nonceState)}
}

// Challenges returns the values of the WWW-Authenticate (or Proxy-Authenticate) header fields of a 401 (407) response, with one new nonce. Set stale
// after [ErrStale] or [ErrReplay]: it tells the client that its password is right. The error is that of the random source.
func (s *Server) Challenges(now time.Time, stale bool) ([]string, error) {
	nonce, err := s.issue(now)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(s.cfg.Algorithms))
	for i, alg := range s.cfg.Algorithms {
		values[i] = Challenge{
			Realm: s.cfg.Realm, Nonce: nonce, Opaque: s.cfg.Opaque,
			Algorithm: alg, QOP: s.cfg.QOP, Stale: stale,
		}.String()
	}
	return values, nil
}

// issue makes and remembers a nonce.
func (s *Server) issue(now time.Time) (string, error) {
	var random [16]byte
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := io.ReadFull(s.cfg.Rand, random[:]); err != nil {
		return "", fmt.Errorf("digest: no randomness for a nonce: %w", err)
	}
	nonce := hex.EncodeToString(random[:])
	if s.cfg.Nonce != nil {
		nonce = s.cfg.Nonce(nonce)
	}
	if len(s.order) < s.cfg.MaxNonces {
		s.order = append(s.order, nonce)
	} else {
		delete(s.nonces, s.order[s.next])
		s.order[s.next] = nonce
		s.next = (s.next + 1) % len(s.order)
	}
	s.nonces[nonce] = &nonceState{issued: now}
	return nonce, nil
}

// Forget makes all nonces stale, as a restart does.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.nonces)
	s.order, s.next = nil, 0
}

// Request is what the server verifies.
type Request struct {
	Method string
	URI    string // the Request-URI
	Body   []byte
	Values []string // of all Authorization (or Proxy-Authorization) header fields
}

// Login is a verified request.
type Login struct {
	Credentials // what was presented; Username is who it is

	key string // H(A1)
}

// Verify checks the credentials of a request. The errors, for errors.Is and As:
//
//   - [ErrNoCredentials]: nothing for this realm; challenge.
//   - [ErrDenied]: unknown user, wrong password, or an answer to something that was not asked (a weaker algorithm, another URI); challenge or refuse.
//   - [ErrStale], [ErrReplay]: the password is right; challenge with stale set.
//   - [*SyntaxError]: no value could be read.
func (s *Server) Verify(now time.Time, r Request) (*Login, error) {
	var err error = ErrNoCredentials
	for i, v := range r.Values {
		if i == maxCredentials {
			break
		}
		c, perr := ParseCredentials(v)
		if perr != nil {
			if errors.Is(err, ErrNoCredentials) {
				if errors.Is(perr, ErrUnsupported) {
					perr = fmt.Errorf("%w: %w", ErrNoCredentials, perr)
				}
				err = perr
			}
			continue
		}
		if c.Realm != s.cfg.Realm {
			continue
		}
		login, verr := s.verify(now, r, c)
		if verr == nil {
			return login, nil
		}
		err = verr
	}
	return nil, err
}

func (s *Server) verify(now time.Time, r Request, c Credentials) (*Login, error) {
	if !s.offered(c.Algorithm) || !s.acceptable(c.QOP) {
		return nil, fmt.Errorf("%w: %v with qop %q was not offered", ErrDenied, c.Algorithm, c.QOP)
	}
	if !sameURI(c.URI, r.URI) {
		return nil, fmt.Errorf("%w: made for another URI", ErrDenied)
	}
	cred, err := s.cfg.Lookup(c.Username, c.Algorithm.Base())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	secret, err := cred.secret(c.Realm, c.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	key := sessionKey(c.Algorithm, secret, c.Nonce, c.CNonce)
	want := response(c.Algorithm, key, c.Nonce, c.NC, c.CNonce, c.QOP, r.Method, c.URI, r.Body)
	if !equalDigest(want, c.Response) {
		return nil, ErrDenied
	}
	// Only now the nonce: stale is said to those alone who know the password (RFC 7616 §3.3).
	if err := s.count(now, c); err != nil {
		return nil, err
	}
	return &Login{Credentials: c, key: key}, nil
}

// count takes one use of a nonce. With qop the count has to rise, which is what stops a replay (RFC 7616 §3.4); gaps are allowed, since
// requests get lost. The legacy form has no count, so its nonces serve until they expire.
func (s *Server) count(now time.Time, c Credentials) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.nonces[c.Nonce]
	if st == nil || now.Sub(st.issued) > s.cfg.Lifetime {
		return ErrStale
	}
	if c.QOP != QOPNone {
		nc, _ := parseNC(c.NC)
		if nc <= st.nc {
			return ErrReplay
		}
		st.nc = nc
	}
	st.uses++
	return nil
}

func (s *Server) offered(alg Algorithm) bool {
	for _, a := range s.cfg.Algorithms {
		if a == alg {
			return true
		}
	}
	return false
}

// acceptable tells whether an answer with this quality will do. Clients that know RFC 2069 only leave qop out even where auth is offered
// (RFC 3261 §22.4 item 8 has servers take that); where only auth-int is offered it would be a downgrade.
func (s *Server) acceptable(q QOP) bool {
	if q == QOPNone {
		return s.cfg.QOP == QOPNone || s.cfg.QOP.Has(QOPAuth)
	}
	return s.cfg.QOP.Has(q)
}

// Info returns the value of the Authentication-Info (or Proxy-Authentication-Info) header field for the response to a verified request, whose body is
// given. It proves that the server knows the password (rspauth, RFC 7616 §3.5), and offers a new nonce when
// [ServerConfig.NextNonceAfter] asks for it. It is empty if there is nothing to say, as for most requests of legacy clients.
func (s *Server) Info(now time.Time, l *Login, body []byte) (string, error) {
	var in Info
	if l.QOP != QOPNone {
		in.QOP, in.CNonce, in.NC = l.QOP, l.CNonce, l.NC
		in.RspAuth = response(l.Algorithm, l.key, l.Nonce, l.NC, l.CNonce, l.QOP, "", l.URI, body)
	}
	if s.worn(l.Nonce) {
		nonce, err := s.issue(now)
		if err != nil {
			return "", err
		}
		in.NextNonce = nonce
	}
	return in.String(), nil
}

func (s *Server) worn(nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.nonces[nonce]
	return s.cfg.NextNonceAfter > 0 && (st == nil || st.uses >= s.cfg.NextNonceAfter)
}

// sameURI tells whether credentials made for one URI may stand in a request for the other. Proxies rewrite Request-URIs, and clients disagree on
// what belongs into the parameter, so scheme, parameters, header fields and default ports do not count; user, host and port do.
func sameURI(a, b string) bool {
	return a == b || uriKey(a) == uriKey(b)
}

func uriKey(uri string) string {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok || !strings.EqualFold(scheme, "sip") && !strings.EqualFold(scheme, "sips") {
		return uri
	}
	user := ""
	if i := strings.LastIndexByte(rest, '@'); i >= 0 { // before the parameters: a user part may hold semicolons
		user, rest = rest[:i+1], rest[i+1:]
	}
	if i := strings.IndexAny(rest, ";?"); i >= 0 {
		rest = rest[:i]
	}
	host := strings.ToLower(rest)
	host = strings.TrimSuffix(host, ":5060")
	host = strings.TrimSuffix(host, ":5061")
	return user + host
}

// equalDigest compares digests in hexadecimal in constant time. RFC 7616 wants lower case; upper case says the same.
func equalDigest(want, got string) bool {
	return subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(got))) == 1
}
