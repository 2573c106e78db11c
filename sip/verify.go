package sip

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hoorn-phone/hoorn/internal/passport"
	"github.com/hoorn-phone/hoorn/internal/timerq"
)

// IdentityConfig says how Identity is checked (RFC 8224): signed statements of
// who calls whom, as telephone companies make them (SHAKEN, RFC 8588). The zero
// value checks nothing.
//
// A statement counts if it was signed within a minute, for whom [Call.Remote]
// shows and for whom To or the request names, by a certificate that leads to a
// root and covers the number (TNAuthList, RFC 8226 §9) or names the domain. Of
// several statements one that counts is enough; the first four are looked at. No
// call is refused: see [Identity].Verified. The call of a caller who shows
// nobody, and an INVITE that replaces another (RFC 3891), are not checked.
type IdentityConfig struct {
	// Certificates fetches the certificate that x5u names, the first of the
	// result, and those that lead to a root, eight at the most. x5u is an https
	// URI that whoever calls has chosen, so an app may want to look at the host.
	// It is for the app to keep what it has fetched, and to leave out what was
	// revoked. Nil: Identity is not checked.
	//
	// It is called from goroutines of its own, and may be for several calls at once. It
	// must return when ctx ends: when the caller gives up, or after three
	// seconds, for which the call has waited for Accept then. A call that waits
	// so is one of Config.AcceptQueue.
	Certificates func(ctx context.Context, x5u string) ([]*x509.Certificate, error)
	// Roots are the authorities that certify who has which numbers. There is no
	// default: New refuses Certificates without them.
	Roots *x509.CertPool
	// Called are further numbers and URIs of the account, such as
	// "+12155551212": for servers that call it by another name than the caller
	// has dialled. Nil: only To and the request say who is called.
	Called []string
	// E164 completes a number that has no "+", as the server writes it: digits
	// in, digits with the country code out. It must not block. Nil: numbers are
	// taken as they are.
	E164 func(number string) string
}

// identityTimeout bounds how long certificates are waited for.
const identityTimeout = 3 * time.Second

// IdentityError says why a statement in Identity does not show who calls.
type IdentityError struct {
	Reason IdentityReason
	// Info is where the certificate is, by the caller's word; "" where that
	// could not be read.
	Info string
	// Err says more: of Certificates, of crypto/x509, …. Nil: there is no more.
	Err error
}

func (e *IdentityError) Error() string {
	s := "sip: Identity: " + e.Reason.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *IdentityError) Unwrap() error { return e.Err }

// IdentityReason is why a statement in Identity does not show who calls. RFC
// 8224 §6.2.2 has the response for most of them.
type IdentityReason int

// The reasons. After the first three nothing is known, which is
// VerificationAbsent; after the others it is VerificationFailed.
const (
	IdentityUnsupported IdentityReason = iota + 1 // an extension, algorithm or constraint that is not known here
	IdentityUnreachable                           // no certificate came, or not in time (436)
	IdentityPartial                               // genuine, but the signer does not know whether the number is the caller's: attestation B or C (RFC 8588 §4)
	IdentityMalformed                             // it cannot be read, or is too large (438)
	IdentityStale                                 // it was signed more than a minute ago, or ahead (403)
	IdentityCaller                                // it is about another caller (438)
	IdentityCallee                                // it is about another callee (438)
	IdentityCertificate                           // the certificate is not valid, or leads to no root (437)
	IdentitySignature                             // the certificate's key has not signed it (438)
	IdentityAuthority                             // the certificate is not one for this number or domain (437)
)

func (r IdentityReason) String() string {
	switch r {
	case IdentityUnsupported:
		return "not supported"
	case IdentityUnreachable:
		return "no certificate could be fetched"
	case IdentityPartial:
		return "no full attestation"
	case IdentityMalformed:
		return "malformed"
	case IdentityStale:
		return "stale"
	case IdentityCaller:
		return "of another caller"
	case IdentityCallee:
		return "for another callee"
	case IdentityCertificate:
		return "certificate not valid"
	case IdentitySignature:
		return "wrong signature"
	case IdentityAuthority:
		return "certificate of somebody else"
	}
	return "IdentityReason(" + strconv.Itoa(int(r)) + ")"
}

// verification is what the reason means for the caller. What hinders us, or what
// he could have had by leaving Identity out, is not held against him.
func (r IdentityReason) verification() Verification {
	switch r {
	case IdentityUnsupported, IdentityUnreachable, IdentityPartial:
		return VerificationAbsent
	}
	return VerificationFailed
}

// refusedIdentity turns what package passport says into an error of this one.
func refusedIdentity(info string, err error) *IdentityError {
	e := &IdentityError{Reason: IdentityMalformed, Info: info, Err: err}
	switch {
	case errors.Is(err, passport.ErrUnsupported):
		e.Reason = IdentityUnsupported
	case errors.Is(err, passport.ErrCertificate):
		e.Reason = IdentityCertificate
	case errors.Is(err, passport.ErrSignature):
		e.Reason = IdentitySignature
	case errors.Is(err, passport.ErrAuthority):
		e.Reason = IdentityAuthority
	}
	return e
}

// check fetches the certificate and says whether the statement holds. It may
// block.
func (st *statement) check(ctx context.Context, now time.Time, cfg *IdentityConfig) *IdentityError {
	chain, err := cfg.Certificates(ctx, st.info)
	if err != nil {
		return &IdentityError{Reason: IdentityUnreachable, Info: st.info, Err: err}
	}
	for _, p := range st.passports {
		err = p.Verify(now, chain, cfg.Roots)
		switch {
		case errors.Is(err, passport.ErrSignature):
			continue // of a compact form that is read in another way, perhaps
		case err != nil:
			return refusedIdentity(st.info, err)
		case p.Attestation == "B" || p.Attestation == "C":
			return &IdentityError{Reason: IdentityPartial, Info: st.info, Err: fmt.Errorf("attestation %s", p.Attestation)}
		}
		return nil
	}
	return refusedIdentity(st.info, err)
}

// verification holds a call back from the app until its Identity is checked. In
// the loop.
type verification struct {
	c          *Call
	set        *dialogSet
	statements []statement
	waiting    int // statements whose certificate is being fetched
	fetching   []bool
	cancel     context.CancelFunc
	timer      timerq.Timer
}

// announce hands a new call to the app, after its Identity was checked where it
// has one.
func (c *Call) announce(now time.Time) {
	ua := c.ua
	statements := ua.statements(now, c.invite, &c.set.identity)
	if len(statements) == 0 {
		c.offer(now)
		return
	}
	ctx, cancel := context.WithCancel(ua.ep.Context())
	v := &verification{c: c, set: c.set, statements: statements, fetching: make([]bool, len(statements)), cancel: cancel}
	c.verification = v
	ua.verifying++
	for i := range statements {
		st := &v.statements[i]
		if st.err != nil {
			continue
		}
		v.fetching[i] = true
		v.waiting++
		var err *IdentityError
		ua.ep.Go(func(context.Context) { err = st.check(ctx, now, &ua.cfg.Identity) }, func(now time.Time) { v.checked(now, i, err) }, nil)
	}
	if v.waiting == 0 {
		v.finish(now, nil)
		return
	}
	v.timer.F = func(now time.Time) { v.finish(now, context.DeadlineExceeded) }
	ua.ep.Q.Set(&v.timer, now.Add(identityTimeout))
}

// offer is the moment at which the app gets a call that came.
func (c *Call) offer(now time.Time) {
	c.ua.incoming <- c // there is room: see full, and only the loop fills it
	if c.state != CallEnded {
		c.autoAnswer(now)
	}
}

// checked takes what was found out about a statement.
func (v *verification) checked(now time.Time, i int, err *IdentityError) {
	if v.c.verification != v {
		return // it came too late
	}
	v.statements[i].err, v.fetching[i] = err, false
	v.waiting--
	if err == nil || v.waiting == 0 {
		v.finish(now, context.Canceled)
	}
}

// finish ends the waiting; certificates that are out did not come, because of
// err.
func (v *verification) finish(now time.Time, err error) {
	c, ua := v.c, v.c.ua
	c.verification = nil
	ua.verifying--
	v.cancel()
	ua.ep.Q.Stop(&v.timer)
	found, why := v.result(err)
	id := &v.set.identity
	id.Verified, id.VerifyErr = stricter(id.Verified, found), why
	c.mu.Lock()
	c.identity.Verified, c.identity.VerifyErr = id.Verified, id.VerifyErr
	c.mu.Unlock()
	ua.log.Debug("Identity was checked", "call", c.id, "verified", id.Verified, "error", why)
	c.offer(now)
}

// result is what the statements show together. One that is valid and supported
// is enough (RFC 8224 §6.2.2, of 438).
func (v *verification) result(late error) (found Verification, why error) {
	var errs []error
	for i, st := range v.statements {
		switch {
		case v.fetching[i]:
			st.err = &IdentityError{Reason: IdentityUnreachable, Info: st.info, Err: late}
		case st.err == nil:
			return VerificationPassed, nil
		}
		errs = append(errs, st.err)
		found = stricter(found, st.err.Reason.verification())
	}
	if len(errs) == 1 {
		return found, errs[0]
	}
	return found, errors.Join(errs...)
}

// stricter joins two opinions: a failure weighs more than a success, and either
// more than none.
func stricter(a, b Verification) Verification {
	switch {
	case a == VerificationFailed || b == VerificationFailed:
		return VerificationFailed
	case a == VerificationPassed || b == VerificationPassed:
		return VerificationPassed
	}
	return VerificationAbsent
}
