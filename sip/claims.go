package sip

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/passport"
	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

const (
	// maxIdentities bounds the Identity header fields that are looked at.
	maxIdentities = 4
	// identityFresh is how old a signature may be, and how far ahead of our
	// clock: "sixty seconds is RECOMMENDED" (RFC 8224 §6.2).
	identityFresh = 60 * time.Second
	// sipDate is how Date is written (RFC 3261 §25.1, SIP-date).
	sipDate = "Mon, 02 Jan 2006 15:04:05 GMT"
)

// statement is an Identity header field that was read. It is worth a look at
// its certificate if err is nil.
type statement struct {
	info string
	// passports has one in the full form; of the compact form one for each way
	// to read the request, of which the signature fits one at the most.
	passports []*passport.Passport
	err       *IdentityError
}

// statements reads Identity, as far as that goes without a certificate.
func (ua *UA) statements(now time.Time, req *sipgo.Request, id *Identity) []statement {
	if ua.cfg.Identity.Certificates == nil || sipwire.Find(req, "Identity") == nil {
		return nil
	}
	callers := ua.cfg.Identity.callers(req, id)
	if len(callers) == 0 {
		return nil // an anonymous caller says nothing that could be wrong
	}
	var to []passport.Party
	if h := req.To(); h != nil {
		to = ua.cfg.Identity.parties(&h.Address)
	}
	callees := slices.Concat(to, ua.cfg.Identity.parties(&req.Recipient), ua.called)
	var out []statement
	for v := range sipwire.Values(req, "Identity") {
		if len(out) == maxIdentities {
			break
		}
		field, err := passport.ParseIdentity(v)
		if err != nil {
			out = append(out, statement{err: refusedIdentity("", err)})
			continue
		}
		st := statement{info: field.Info}
		if field.Compact() {
			st.passports, err = compactPassports(req, field, callers, to)
		} else {
			var p *passport.Passport
			p, err = field.Passport(passport.Party{}, passport.Party{}, time.Time{})
			st.passports = []*passport.Passport{p}
		}
		if err != nil {
			st.err = refusedIdentity(field.Info, err)
		} else {
			st.err = judge(now, st.passports[0], callers, callees, st.info)
		}
		out = append(out, st)
	}
	return out
}

// compactPassports are those that a compact form may stand for: what the
// signer has left out is in From or P-Asserted-Identity, To and Date (RFC 8224
// §4.1).
func compactPassports(req *sipgo.Request, field *passport.Identity, callers, to []passport.Party) (out []*passport.Passport, err error) {
	var date time.Time
	if v := sipwire.Header(req, "Date"); v != "" {
		if date, err = time.Parse(sipDate, v); err != nil {
			return nil, fmt.Errorf("%w: Date", passport.ErrMalformed)
		}
	}
	for _, orig := range callers {
		for _, dest := range to {
			p, err := field.Passport(orig, dest, date)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: compact form without a callee", passport.ErrMalformed)
	}
	return out, nil
}

// judge compares a PASSporT with the request and the clock. Of the full form
// "iat" rules, whatever Date says (RFC 8224 §6.2, step 4).
func judge(now time.Time, p *passport.Passport, callers, callees []passport.Party, info string) *IdentityError {
	among := func(parties []passport.Party) func(passport.Party) bool {
		return func(p passport.Party) bool { return slices.Contains(parties, canonicalParty(p)) }
	}
	uri, err := url.Parse(info)
	switch {
	case now.Sub(p.IssuedAt).Abs() > identityFresh:
		return &IdentityError{Reason: IdentityStale, Info: info, Err: fmt.Errorf("signed at %v", p.IssuedAt)}
	case !among(callers)(p.Orig):
		return &IdentityError{Reason: IdentityCaller, Info: info}
	case !slices.ContainsFunc(p.Dest, among(callees)):
		return &IdentityError{Reason: IdentityCallee, Info: info}
	case err != nil || uri.Scheme != "https" || uri.Host == "":
		return &IdentityError{Reason: IdentityUnreachable, Info: info, Err: &URIError{URI: info, Reason: "not of https"}}
	}
	return nil
}

// callers are the names of who is shown to call, as a PASSporT may have them:
// what the account's server asserts, else From. Where From shows nobody, what
// is asserted can do no harm.
func (cfg *IdentityConfig) callers(req *sipgo.Request, id *Identity) (out []passport.Party) {
	from := req.From()
	hidden := from == nil || isHidden(&from.Address)
	if len(id.Asserted) > 0 && (hidden || !id.Anonymous) {
		for _, p := range id.Asserted {
			if uri, err := sipwire.ParseURI(p.URI); err == nil {
				out = append(out, cfg.parties(&uri)...)
			}
		}
		return out
	}
	if hidden {
		return nil
	}
	uri, _ := takeVerstat(&from.Address)
	return cfg.parties(&uri)
}

// parties are the names that a URI may have in a PASSporT (RFC 8224 §8.1): a
// telephone number if it is of tel, has user=phone or begins with "+"; else its
// canonical form, and for digits alone the number too, since it does not say
// how they are meant.
func (cfg *IdentityConfig) parties(uri *sipgo.Uri) (out []passport.Party) {
	user, scheme := uri.User, strings.ToLower(uri.Scheme)
	if scheme == "tel" {
		user = uri.Raw()
	} else if plain, err := url.PathUnescape(user); err == nil {
		user = plain
	}
	phone, _ := sipwire.Param(uri.UriParams, "user")
	number, ok := cfg.number(user)
	switch {
	case scheme == "tel" && !ok:
		return nil
	case ok && (scheme == "tel" || strings.EqualFold(phone, "phone") || strings.HasPrefix(user, "+")):
		return []passport.Party{{TN: number}}
	}
	if s, ok := canonicalURI(uri); ok {
		out = append(out, passport.Party{URI: s})
	}
	if ok {
		out = append(out, passport.Party{TN: number})
	}
	return out
}

// number is the canonical form of a telephone number (RFC 8224 §8.3).
func (cfg *IdentityConfig) number(s string) (string, bool) {
	number, ok := passport.CanonicalNumber(s)
	if ok && cfg.E164 != nil && !strings.HasPrefix(s, "+") {
		number, ok = passport.CanonicalNumber(cfg.E164(number))
	}
	return number, ok
}

// calledParties reads Called.
func (cfg *IdentityConfig) calledParties() (out []passport.Party, err error) {
	for _, s := range cfg.Called {
		if number, ok := cfg.number(s); ok {
			out = append(out, passport.Party{TN: number})
			continue
		}
		uri, err := sipwire.ParseURI(s)
		if err != nil {
			return nil, &URIError{URI: s, Reason: err.Error()}
		}
		parties := cfg.parties(&uri)
		if len(parties) == 0 {
			return nil, &URIError{URI: s, Reason: "neither a number nor somebody's SIP URI"}
		}
		out = append(out, parties...)
	}
	return out, nil
}

// canonicalParty brings what a PASSporT says into the form to compare: signers
// should have done that.
func canonicalParty(p passport.Party) passport.Party {
	if p.TN != "" {
		p.TN, _ = passport.CanonicalNumber(p.TN)
		return p
	}
	uri, err := sipwire.ParseURI(p.URI)
	if err != nil {
		return passport.Party{}
	}
	p.URI, _ = canonicalURI(&uri)
	return p
}

// canonicalURI is a SIP or SIPS URI in the form for PASSporTs (RFC 8224 §8.5):
// scheme, user and host, in lower case, with no more escapes than it needs.
func canonicalURI(uri *sipgo.Uri) (string, bool) {
	if uri.Scheme != "sip" && uri.Scheme != "sips" || uri.User == "" || uri.Host == "" {
		return "", false
	}
	return strings.ToLower(uri.Scheme + ":" + unescapeUnreserved(uri.User) + "@" + uri.Host), true
}

// unescapeUnreserved takes away the escapes of characters that need none (RFC
// 3986 §2.3, §6.2.2.2).
func unescapeUnreserved(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil && isUnreserved(c[0]) {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
