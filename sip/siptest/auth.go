package siptest

import (
	"errors"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/internal/transaction"
)

// login is who sent a request.
type login struct {
	user *User
	info []sipgo.Header // Authentication-Info for the answer
}

// authenticate finds out who sent a request. If that is not proven it answers
// with a challenge, and returns false.
func (l *life) authenticate(now time.Time, s *transaction.Server) (login, bool) {
	req := s.Request()
	auth := l.srv.auth
	var values []string
	for _, h := range req.GetHeaders("Authorization") {
		values = append(values, h.Value())
	}
	who, err := auth.Verify(now, digest.Request{
		Method: string(req.Method), URI: sipwire.FormatURI(&req.Recipient), Body: req.Body(), Values: values,
	})
	var syntax *digest.SyntaxError
	switch {
	case err == nil:
	case errors.As(err, &syntax):
		l.respond(now, s, sipgo.StatusBadRequest)
		return login{}, false
	default:
		stale := errors.Is(err, digest.ErrStale) || errors.Is(err, digest.ErrReplay)
		l.challenge(now, s, stale)
		return login{}, false
	}
	in := login{user: l.srv.users.authenticated(who.Username)}
	if l.cfg.Auth.Info {
		if v, err := auth.Info(now, who, nil); err == nil && v != "" {
			in.info = []sipgo.Header{sipgo.NewHeader("Authentication-Info", v)}
		}
	}
	return in, true
}

// challenge asks for credentials: with 401, since the lab is the user agent
// server of all it gets (RFC 3261 §22.2).
func (l *life) challenge(now time.Time, s *transaction.Server, stale bool) {
	values, err := l.srv.auth.Challenges(now, stale)
	if err != nil {
		l.cfg.Logger.Error("no challenge", "error", err)
		l.respond(now, s, sipgo.StatusInternalServerError)
		return
	}
	headers := make([]sipgo.Header, 0, len(values))
	for _, v := range values {
		headers = append(headers, sipgo.NewHeader("WWW-Authenticate", v))
	}
	l.respond(now, s, sipgo.StatusUnauthorized, headers...)
}

// ForgetNonces makes all nonces stale that were given so far.
func (s *Server) ForgetNonces() { s.auth.Forget() }
