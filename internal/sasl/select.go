package sasl

import (
	"cmp"
	"errors"
	"io"
	"slices"
)

// Policy is what an account allows. The zero value allows SCRAM with any hash.
type Policy struct {
	// AllowPlain allows PLAIN, over TLS and where the server has no SCRAM that is known here. It never is what a failed SCRAM falls back to.
	AllowPlain bool
	// Certificate says that the TLS connection has shown a certificate of the client. Then EXTERNAL comes first, if it is offered.
	Certificate bool
	// RequireBinding allows SCRAM with channel binding alone (and EXTERNAL).
	RequireBinding bool
	// MinHash is the weakest hash of SCRAM that is allowed. Zero: SHA-1.
	MinHash Hash
	// MinIterations and MaxIterations bound what a server may ask for; beyond them is an [*IterationsError]. Zero: [DefaultMinIterations] and
	// [DefaultMaxIterations].
	MinIterations, MaxIterations int
	// Memory is what the server was able to do before. nil: nothing is known, and nothing is remembered.
	Memory *Memory
	// Rand is where nonces come from. nil: crypto/rand.
	Rand io.Reader
}

func (p *Policy) checkIterations(n int) error {
	least, most := cmp.Or(p.MinIterations, DefaultMinIterations), cmp.Or(p.MaxIterations, DefaultMaxIterations)
	if n < least || n > most {
		return &IterationsError{Got: n, Min: least, Max: most}
	}
	return nil
}

// Bounds of what is tried in one go. Servers count failures, and close the stream after a few (RFC 6120 §6.4.5).
const (
	maxBound   = 2 // bindings
	maxUnbound = 2 // hashes
)

// Choice is one way to sign in.
type Choice struct {
	Mechanism string
	Binding   Binding // empty: without channel binding

	hash     Hash // of SCRAM, else 0
	flag     byte // gs2-cbind-flag
	wantHash string
	offer    *Offer
	policy   *Policy
}

// Select returns the ways to sign in that both sides have and the policy allows, the best first, five at most. Try them in turn, each on the same stream, as long as
// [Choice.Failed] says so. The error is a [*NoMechanismError], or [ErrDowngrade] if there are only ways that are worse than what Memory knows.
//
// SCRAM with channel binding comes before SCRAM without, even with a weaker hash: it shuts out whoever pretends to be the server, which no hash does.
// Within each the strongest hash is first. Bindings that the server lists (XEP-0440) are tried by their strength; if it lists none, only the one that its
// version of TLS implies (RFC 9266 §3, RFC 5802 §6.1). A binding that fails is followed by SCRAM without: with the flag n, as y would say that the server
// has no channel binding, for which it would have to refuse us (RFC 5802 §6). y is sent where the server offers none and the connection has some.
//
// offer and policy are kept by the choices and not changed.
func Select(offer *Offer, policy *Policy) ([]Choice, error) {
	s := selection{offer: offer, policy: policy, missing: &NoMechanismError{Offered: offer.Mechanisms}}
	policy.Memory.begin()
	if policy.Certificate && offer.TLS != nil && slices.Contains(offer.Mechanisms, external) {
		s.add(Choice{Mechanism: external})
	}
	s.scram()
	s.plain()
	list, err := policy.Memory.filter(s.list)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, s.missing
	}
	return list, nil
}

type selection struct {
	offer   *Offer
	policy  *Policy
	list    []Choice
	missing *NoMechanismError
}

func (s *selection) add(c Choice) {
	c.offer, c.policy = s.offer, s.policy
	s.list = append(s.list, c)
}

func (s *selection) scram() {
	ours := available(s.offer.TLS)
	flag, wantHash := byte('n'), ""
	if h := s.offer.best(true, s.policy.MinHash); h != 0 && len(ours) > 0 {
		common := s.common(ours)
		for _, b := range s.policy.Memory.working(common) {
			s.add(Choice{Mechanism: h.Mechanism(true), Binding: b, hash: h, flag: 'p'})
		}
		// A server that lists its bindings has tls-server-end-point (XEP-0440). If all that it lists is strange somebody may have changed the
		// list: only the server's own word for it counts (XEP-0474, rule 6).
		if len(common) == 0 && s.offer.Bindings != nil && !slices.Contains(s.offer.Bindings, string(TLSServerEndPoint)) {
			wantHash = "the server lists none of the channel bindings of this connection, and does not vouch for the list"
		}
	} else if len(ours) > 0 {
		flag = 'y'
	}
	if s.policy.RequireBinding {
		if s.offer.best(false, 0) != 0 {
			s.missing.Reason = "channel binding is required"
		}
		return
	}
	n := 0
	for _, h := range hashes {
		if n == maxUnbound || !slices.Contains(s.offer.Mechanisms, h.Mechanism(false)) {
			continue
		}
		if h < s.policy.MinHash {
			s.missing.Reason = h.String() + " is not allowed"
			continue
		}
		s.add(Choice{Mechanism: h.Mechanism(false), hash: h, flag: flag, wantHash: wantHash})
		n++
	}
}

// common are the bindings to try.
func (s *selection) common(ours []Binding) []Binding {
	if s.offer.Bindings == nil {
		if s.offer.TLS.Version < tls13 && slices.Contains(ours, TLSUnique) {
			return []Binding{TLSUnique}
		}
		return ours[:1]
	}
	var list []Binding
	for _, b := range ours {
		if len(list) < maxBound && slices.Contains(s.offer.Bindings, string(b)) {
			list = append(list, b)
		}
	}
	return list
}

func (s *selection) plain() {
	if !slices.Contains(s.offer.Mechanisms, plain) || s.policy.RequireBinding || s.offer.best(false, 0) != 0 || s.offer.best(true, 0) != 0 {
		return
	}
	switch {
	case !s.policy.AllowPlain:
		s.missing.Reason = "PLAIN is not allowed"
	case s.offer.TLS == nil:
		s.missing.Reason = "PLAIN needs TLS"
	default:
		s.add(Choice{Mechanism: plain})
	}
}

// Client starts an attempt. keys may be nil. The error says what the credentials lack: [ErrNoPassword] or a [*PrepError].
func (c Choice) Client(cred *Credentials, keys *Keys) (Mechanism, error) {
	success := func() { c.succeeded(false) }
	switch c.Mechanism {
	case plain:
		if cred.Password == "" {
			return nil, ErrNoPassword
		}
		return &oneMessage{name: plain, initial: cred.plainMessage, success: success}, nil
	case external:
		return &oneMessage{name: external, initial: cred.externalMessage, success: success}, nil
	}
	return newSCRAMClient(c, cred, keys)
}

// Failed is told why an attempt failed, and says whether the next choice is worth trying. It is if the server refused ([*Failure], [*ServerError]) for a reason that may
// lie in the mechanism: for EXTERNAL and channel binding that is nearly any, as servers do not tell a binding that they cannot do from a wrong
// password. An error of our own, such as [ErrServerSignature], ends it: there is somebody else at the other end.
func (c Choice) Failed(err error) bool {
	var (
		failure *Failure
		server  *ServerError
		again   bool
	)
	switch {
	case errors.As(err, &failure):
		switch failure.Condition {
		case InvalidMechanism, MechanismTooWeak, MalformedRequest, IncorrectEncoding:
			again = true
		case AccountDisabled, CredentialsExpired, EncryptionRequired, InvalidAuthzID, TemporaryAuthFailure:
		default:
			again = c.Binding != "" || c.Mechanism == external
		}
	case errors.As(err, &server):
		switch server.Value {
		case invalidProof, unknownUser, invalidUsername, noResources:
		default:
			again = c.Binding != ""
		}
	}
	if again && c.Binding != "" {
		c.policy.Memory.suspect(c.Binding)
	}
	return again
}

func (c Choice) succeeded(checked bool) { c.policy.Memory.succeeded(c, checked) }
