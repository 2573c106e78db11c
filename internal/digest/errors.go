package digest

import (
	"errors"
	"fmt"
)

// Errors of both ends, to be tested for with errors.Is.
var (
	// ErrUnsupported: an authentication scheme, an algorithm or a quality of protection that is not known here.
	ErrUnsupported = errors.New("digest: not supported")

	// ErrNoChallenge: a 401 or 407 without any challenge in it.
	ErrNoChallenge = errors.New("digest: no challenge in the response")

	// ErrWeakChallenge: the server asks for less than the account allows ([ClientConfig.MinAlgorithm], [ClientConfig.RequireAuthInt]).
	// Nothing was sent that could be attacked.
	ErrWeakChallenge = errors.New("digest: challenge weaker than the account allows")

	// ErrTooManyChallenges: one request was challenged over and over, each time with something new.
	ErrTooManyChallenges = errors.New("digest: too many challenges for one request")

	// ErrRspAuth: the server answered our credentials, but could not prove that it knows the password itself (RFC 7616 §3.5).
	ErrRspAuth = errors.New("digest: server failed to authenticate itself")

	// ErrNoCredentials: the request carries nothing for the realm of the server.
	ErrNoCredentials = errors.New("digest: no credentials for this realm")

	// ErrDenied: unknown user or wrong password.
	ErrDenied = errors.New("digest: credentials refused")

	// ErrStale: right password, but a nonce that has expired or is not known. The server challenges again with stale=true.
	ErrStale = errors.New("digest: stale nonce")

	// ErrReplay: right password, but a nonce count that has been used already. The server challenges again with stale=true.
	ErrReplay = errors.New("digest: nonce count used before")
)

// SyntaxError is a header field value that does not follow the grammar or passes a bound of this package.
type SyntaxError struct {
	What   string // "challenge", "credentials" or "info"
	Reason string
}

func (e *SyntaxError) Error() string { return "digest: malformed " + e.What + ": " + e.Reason }

// AuthError says that the server has refused the credentials of the account for a realm: mostly a wrong password.
type AuthError struct {
	Realm string
	Proxy bool // challenged by 407, not 401
	Stale bool // not the password: the server called one nonce after the other stale
}

func (e *AuthError) Error() string {
	if e.Stale {
		return fmt.Sprintf("digest: realm %q calls every nonce stale", e.Realm)
	}
	return fmt.Sprintf("digest: credentials refused for realm %q", e.Realm)
}

// ChallengeError says why a challenge is not answered. Err is [ErrWeakChallenge], [ErrUnsupported], a [*SyntaxError], or what the credentials
// function of the account returned.
type ChallengeError struct {
	Realm string // empty if the challenge could not be read
	Proxy bool
	Err   error
}

func (e *ChallengeError) Error() string {
	return fmt.Sprintf("digest: cannot answer challenge of realm %q: %v", e.Realm, e.Err)
}

func (e *ChallengeError) Unwrap() error { return e.Err }
