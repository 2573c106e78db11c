package digest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// Bounds of a client. No real account meets more than three realms or four challenges in one response.
const (
	maxSpaces     = 8
	maxChallenges = 16 // in one response
	maxRounds     = 8  // challenged responses to one request
	maxStale      = 3  // of these, stale ones for one realm
)

// Credential is what an account knows for a realm: a user name, and either the password or HA1.
type Credential struct {
	Username string
	Password string
	// HA1 is H(username:realm:password) in hexadecimal, made with the algorithm that was asked for. If it is not empty, Password is not looked at.
	HA1 string
}

// String leaves out the secrets.
func (c Credential) String() string { return fmt.Sprintf("%q (secret not shown)", c.Username) }

// GoString leaves out the secrets.
func (c Credential) GoString() string { return c.String() }

// LogValue leaves out the secrets.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// secret is H(username:realm:password), in lower case.
func (c Credential) secret(realm string, alg Algorithm) (string, error) {
	if c.HA1 == "" {
		return secret(alg, c.Username, realm, c.Password), nil
	}
	if _, err := hex.DecodeString(c.HA1); err != nil || len(c.HA1) != alg.size() {
		return "", fmt.Errorf("digest: HA1 of the account is not a %v digest", alg)
	}
	return strings.ToLower(c.HA1), nil
}

// ClientConfig says how an account authenticates.
type ClientConfig struct {
	// Credentials gives user name and secret for a realm; alg is never a -sess variant. It is asked once per realm and algorithm, and again after
	// they were refused. Its error ends up in a [*ChallengeError]. Required. It must not block.
	Credentials func(realm string, alg Algorithm) (Credential, error)

	// MinAlgorithm is the weakest algorithm that is answered. The zero value allows MD5, which is all that many servers have.
	MinAlgorithm Algorithm

	// RequireAuthInt refuses challenges that do not offer auth-int. The zero value takes auth where it is offered, since a proxy
	// that rewrites a body breaks auth-int.
	RequireAuthInt bool

	// Rand is where cnonces come from: crypto/rand.Reader outside of tests. Required.
	Rand io.Reader
}

// Header is a header field to add to a request.
type Header struct{ Name, Value string }

// Client authenticates the requests of one account. It remembers what it was challenged with, so that later requests carry their credentials
// from the start (RFC 3261 §22.2, RFC 7616 §3.4.5). It is not safe for concurrent use.
type Client struct {
	cfg    ClientConfig
	spaces []*space // the one challenged longest ago first
}

// NewClient returns a client that has not been challenged yet.
func NewClient(cfg ClientConfig) *Client { return &Client{cfg: cfg} }

// space is a protection space: a realm, at proxies or at the server itself.
type space struct {
	proxy    bool
	realm    string
	username string
	alg      Algorithm // of the secret
	secret   string    // empty: ask
	cur      *session
}

// session is the use of one nonce. All but nc stays as it was made, since requests on their way refer to it. One cnonce serves a session: a -sess
// algorithm wants the first one kept (RFC 7616 §3.4.2), and the counter makes each response differ anyway.
type session struct {
	space  *space
	alg    Algorithm
	qop    QOP
	nonce  string
	cnonce string
	opaque string
	key    string // H(A1)
	nc     uint32
}

// Attempt is what one request has been through. The zero value is a request that was never sent. The caller keeps it beside the request, from the
// first [Client.Authorize] to the final response, and passes it to every method of the client that is about this request.
type Attempt struct {
	rounds int
	tries  []try
}

// try is the state of one protection space within an attempt.
type try struct {
	proxy    bool
	realm    string
	sent     *session // what the last transmission carried; nil if none
	nc       string
	uri      string
	answered bool // a challenge to this very request has been answered
	stale    int
}

func (a *Attempt) try(proxy bool, realm string) *try {
	for i := range a.tries {
		if t := &a.tries[i]; t.proxy == proxy && t.realm == realm {
			return t
		}
	}
	a.tries = append(a.tries, try{proxy: proxy, realm: realm})
	return &a.tries[len(a.tries)-1]
}

// Authorize returns the header fields for the next transmission of a request: one for every realm that has challenged this account, so nothing
// for an account never challenged. uri is the Request-URI as it will be sent. Call it anew for every transmission (not for a retransmission by
// the transaction): each counts the nonce up. ACK is not authorized but carries the header fields of its INVITE (RFC 3261 §22.1).
func (c *Client) Authorize(at *Attempt, method, uri string, body []byte) []Header {
	if len(c.spaces) == 0 {
		return nil
	}
	headers := make([]Header, 0, len(c.spaces))
	for _, sp := range c.spaces {
		if sp.cur == nil {
			continue
		}
		name := "Authorization"
		if sp.proxy {
			name = "Proxy-Authorization"
		}
		cred := sp.cur.authorize(method, uri, body)
		t := at.try(sp.proxy, sp.realm)
		t.sent, t.nc, t.uri = sp.cur, cred.NC, uri
		headers = append(headers, Header{Name: name, Value: cred.String()})
	}
	return headers
}

func (s *session) authorize(method, uri string, body []byte) Credentials {
	cred := Credentials{
		Username: s.space.username, Realm: s.space.realm, Nonce: s.nonce, URI: uri,
		Opaque: s.opaque, Algorithm: s.alg, QOP: s.qop,
	}
	if s.qop != QOPNone {
		s.nc++
		cred.NC = fmt.Sprintf("%08x", s.nc)
	}
	if s.qop != QOPNone || s.alg.Sess() {
		cred.CNonce = s.cnonce
	}
	cred.Response = response(s.alg, s.key, s.nonce, cred.NC, s.cnonce, s.qop, method, uri, body)
	return cred
}

// Challenge takes the values of all WWW-Authenticate and all Proxy-Authenticate header fields of one 401 or 407 response; either may be empty, and
// a response of a forking proxy may well have several of both (RFC 3261 §16.7). If it returns nil, the request is to be sent once more, with what
// [Client.Authorize] says now.
//
// Of several challenges of one realm the strongest is answered. RFC 8760 §2.4 lets the topmost be preferred only where local policy says nothing;
// this is the policy. A realm that cannot be answered does not stop the others: the error, a [*ChallengeError], comes when nothing
// is left to try. [*AuthError] says that the credentials were refused; [ErrTooManyChallenges] and [ErrNoChallenge] end the request as well.
func (c *Client) Challenge(at *Attempt, www, proxy []string) error {
	if at.rounds++; at.rounds > maxRounds {
		return ErrTooManyChallenges
	}
	offers, first := c.read(nil, www, false)
	offers, err := c.read(offers, proxy, true)
	if first == nil {
		first = err
	}
	answered := false
	for _, o := range offers {
		err := c.answer(at, o)
		var refused *AuthError
		switch {
		case err == nil:
			answered = true
		case errors.As(err, &refused):
			return err
		case first == nil:
			first = &ChallengeError{Realm: o.Realm, Proxy: o.proxy, Err: err}
		}
	}
	switch {
	case answered:
		return nil
	case first == nil:
		return ErrNoChallenge
	}
	return first
}

// offer is the best challenge of a realm, or the reason why none will do.
type offer struct {
	Challenge
	proxy bool
	weak  bool
}

// read parses challenges into the best one for each realm. The error is the first one met.
func (c *Client) read(offers []offer, values []string, proxy bool) ([]offer, error) {
	var first error
	for i, v := range values {
		if i == maxChallenges {
			break
		}
		ch, err := ParseChallenge(v)
		if err != nil {
			if first == nil {
				first = &ChallengeError{Proxy: proxy, Err: err}
			}
			continue
		}
		o := offer{Challenge: ch, proxy: proxy}
		o.weak = ch.Algorithm.Base() < c.cfg.MinAlgorithm.Base() || c.cfg.RequireAuthInt && !ch.QOP.Has(QOPAuthInt)
		j := slices.IndexFunc(offers, func(other offer) bool { return other.proxy == proxy && other.Realm == ch.Realm })
		switch {
		case j < 0:
			offers = append(offers, o)
		case offers[j].weak && !o.weak,
			offers[j].weak == o.weak && o.Algorithm.Base() > offers[j].Algorithm.Base():
			offers[j] = o
		}
	}
	return offers, first
}

// answer decides whether to answer a challenge, and makes its nonce the current one of the realm.
func (c *Client) answer(at *Attempt, o offer) error {
	if o.weak {
		return ErrWeakChallenge
	}
	t := at.try(o.proxy, o.Realm)
	if t.sent != nil {
		switch {
		case o.Stale: // RFC 7616 §3.3: the password was right, the nonce was not
			if t.stale++; t.stale > maxStale {
				c.forget(o.proxy, o.Realm)
				return &AuthError{Realm: o.Realm, Proxy: o.proxy, Stale: true}
			}
		case t.answered || o.Nonce == t.sent.nonce:
			// Refused although it was made for a challenge to this very request, or for the nonce offered again. A fresh nonce after
			// credentials kept from an earlier request is another matter: servers that restarted do not always say stale.
			c.forget(o.proxy, o.Realm)
			return &AuthError{Realm: o.Realm, Proxy: o.proxy}
		}
	}
	sp := c.space(o.proxy, o.Realm)
	if base := o.Algorithm.Base(); sp.secret == "" || sp.alg != base {
		cred, err := c.cfg.Credentials(sp.realm, base)
		if err != nil {
			return err
		}
		secret, err := cred.secret(sp.realm, base)
		if err != nil {
			return err
		}
		sp.username, sp.alg, sp.secret = cred.Username, base, secret
	}
	qop := QOPNone
	switch {
	case o.QOP.Has(QOPAuthInt) && (c.cfg.RequireAuthInt || !o.QOP.Has(QOPAuth)):
		qop = QOPAuthInt
	case o.QOP.Has(QOPAuth):
		qop = QOPAuth
	}
	next := &session{space: sp, alg: o.Algorithm, qop: qop, opaque: strings.Clone(o.Opaque)}
	if err := c.start(next, o.Nonce); err != nil {
		return err
	}
	t.answered = true
	return nil
}

// start makes s, which has all but nonce, cnonce and key, the session of its space.
func (c *Client) start(s *session, nonce string) error {
	var random [12]byte
	if _, err := io.ReadFull(c.cfg.Rand, random[:]); err != nil {
		return fmt.Errorf("digest: no randomness for a cnonce: %w", err)
	}
	s.cnonce = hex.EncodeToString(random[:])
	s.nonce = strings.Clone(nonce) // it outlives the message it points into
	s.key = sessionKey(s.alg, s.space.secret, s.nonce, s.cnonce)
	s.space.cur = s
	return nil
}

// space finds or makes the protection space. Above the bound the one made first goes.
func (c *Client) space(proxy bool, realm string) *space {
	for _, sp := range c.spaces {
		if sp.proxy == proxy && sp.realm == realm {
			return sp
		}
	}
	if len(c.spaces) == maxSpaces {
		c.spaces = slices.Delete(c.spaces, 0, 1)
	}
	sp := &space{proxy: proxy, realm: strings.Clone(realm)}
	c.spaces = append(c.spaces, sp)
	return sp
}

func (c *Client) forget(proxy bool, realm string) {
	c.spaces = slices.DeleteFunc(c.spaces, func(sp *space) bool { return sp.proxy == proxy && sp.realm == realm })
}

// Reset forgets all realms, nonces and secrets, as when the password of the account was changed.
func (c *Client) Reset() { c.spaces = nil }

// Info takes the value of an Authentication-Info or, with proxy set, Proxy-Authentication-Info header field of the response to the last
// transmission of a request; body is the body of that response. A nextnonce is used from now on. An rspauth is verified: [ErrRspAuth] means
// that whoever answered does not know the password, and the response is not to be trusted. Malformed values give a [*SyntaxError].
// A value that belongs to nothing that was sent is passed over.
func (c *Client) Info(at *Attempt, proxy bool, value string, body []byte) error {
	in, err := ParseInfo(value)
	if err != nil {
		return err
	}
	t := at.sentFor(proxy, in)
	if t == nil {
		return nil
	}
	s := t.sent
	if in.RspAuth != "" {
		if s.qop != QOPNone && (in.CNonce != "" && in.CNonce != s.cnonce || in.NC != "" && !sameNC(in.NC, t.nc)) {
			return ErrRspAuth // RFC 7616 §3.5: both must be those of the request
		}
		qop := in.QOP
		if qop == QOPNone || s.qop == QOPNone {
			qop = s.qop
		}
		want := response(s.alg, s.key, s.nonce, t.nc, s.cnonce, qop, "", t.uri, body)
		if !equalDigest(want, in.RspAuth) {
			return ErrRspAuth
		}
	}
	// A later response may have brought a newer nonce already.
	if in.NextNonce != "" && s.space.cur == s && in.NextNonce != s.nonce {
		return c.start(&session{space: s.space, alg: s.alg, qop: s.qop, opaque: s.opaque}, in.NextNonce)
	}
	return nil
}

// sentFor finds the transmission that an Info is about. It names no realm, so with several realms only the cnonce tells.
func (a *Attempt) sentFor(proxy bool, in Info) *try {
	var found *try
	for i := range a.tries {
		t := &a.tries[i]
		if t.proxy != proxy || t.sent == nil {
			continue
		}
		if in.CNonce != "" && in.CNonce == t.sent.cnonce {
			return t
		}
		if found != nil {
			return nil
		}
		found = t
	}
	return found
}

func sameNC(a, b string) bool {
	x, okX := parseNC(a)
	y, okY := parseNC(b)
	return okX && okY && x == y
}
