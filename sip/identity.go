package sip

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// Identity is what a call's INVITE says about who calls and how the call came
// here, and what is to be thought of it.
type Identity struct {
	// From is what the caller says of himself.
	From Party
	// Asserted is what the account's server says of the peer
	// (P-Asserted-Identity, RFC 3325): at most a SIP and a tel URI. It counts
	// over the account's own flow alone, and is empty otherwise. For an
	// outgoing call it is of whom the server has reached.
	Asserted []Party
	// Privacy are the wishes of the caller in Privacy (RFC 3323 §4.2, RFC 3325
	// §9.3), such as "id" and "header", in lower case.
	Privacy []string
	// Anonymous says that the caller does not want to be shown. What Asserted
	// says is then for the callee's provider, not for his screen, and
	// Call.Remote is what From says.
	Anonymous bool
	// Diversions are those who have sent the call on, the latest first
	// (RFC 5806); History is the same story by RFC 7044, the earliest first.
	// Of each the first 20.
	Diversions []Diversion
	History    []HistoryEntry
	// Verified is whether the caller's number is his: by the word of the
	// account's server (verstat, 3GPP TS 24.229), which counts over the account's
	// own flow alone, and by Identity (RFC 8224), where Config.Identity checks it.
	// If one of the two says that it is not, it is not.
	Verified Verification
	// VerifyErr is why Identity does not show who calls: an *IdentityError, or
	// several joined if there were several statements. Nil: it does, or there was
	// nothing to check.
	VerifyErr error
	// SessionID names the call from end to end (RFC 7989).
	SessionID SessionID
	// AutoAnswer says that the caller asks for the call to be answered by
	// itself, and AnswerAfter how long it is to ring before.
	AutoAnswer  bool
	AnswerAfter time.Duration
}

// Diversion is one who has sent a call on (RFC 5806).
type Diversion struct {
	Party
	Reason  string // "unconditional", "user-busy", "no-answer", …
	Counter int    // how often he did; 1 where it says nothing
}

// HistoryEntry is a target that a request has had (RFC 7044).
type HistoryEntry struct {
	Party
	Index   string   // "1", "1.1", …: where in the tree of targets
	Reasons []Reason // why it was left for the next: SIP;cause=302, …
	Mapped  bool     // this is somebody else than the target before (mp)
}

// Verification is what is known of a caller's right to his number.
type Verification int

// The outcomes.
const (
	VerificationAbsent Verification = iota // nobody has said anything that could be checked
	VerificationPassed                     // it is his
	VerificationFailed                     // it was checked, and is not shown to be his
)

func (v Verification) String() string {
	switch v {
	case VerificationAbsent:
		return "absent"
	case VerificationPassed:
		return "passed"
	case VerificationFailed:
		return "failed"
	}
	return "Verification(" + strconv.Itoa(int(v)) + ")"
}

// maxDiversions bounds the entries of Diversion and History-Info that are read.
const maxDiversions = 20

// Identity is who calls, as far as is known.
func (c *Call) Identity() Identity {
	c.mu.Lock()
	id := c.identity
	c.mu.Unlock()
	id.SessionID = c.sessionID()
	return id
}

// identityOf reads who calls from an INVITE. own: it came over the account's
// own flow, so that its server vouches for what it says about others.
func identityOf(req *sipgo.Request, own bool) Identity {
	var id Identity
	if from := req.From(); from != nil {
		uri, _ := takeVerstat(&from.Address)
		id.From = Party{URI: sipwire.FormatURI(&uri), Name: from.DisplayName}
	}
	id.Privacy = privacyOf(req)
	id.Anonymous = isAnonymous(req, id.Privacy)
	if own {
		id.Asserted = assertedBy(req)
		id.Verified = verstatOf(req)
	}
	id.Diversions = diversionsOf(req)
	id.History = historyOf(req)
	id.AnswerAfter, id.AutoAnswer = autoAnswerOf(req, own)
	return id
}

// assertedBy reads P-Asserted-Identity (RFC 3325 §9.1): one SIP URI, one tel
// URI, or one of each, the SIP URI first.
func assertedBy(m sipgo.Message) []Party {
	var sip, tel []Party
	for v := range sipwire.Values(m, "P-Asserted-Identity") {
		name, uri, _, err := sipwire.ParseNameAddr(v)
		if err != nil {
			continue
		}
		uri, _ = takeVerstat(&uri)
		p := Party{URI: sipwire.FormatURI(&uri), Name: name}
		switch {
		case uri.Scheme == "tel" && tel == nil:
			tel = []Party{p}
		case uri.Scheme != "tel" && sip == nil:
			sip = []Party{p}
		}
	}
	return append(sip, tel...)
}

// privacyOf reads Privacy (RFC 3323 §4.2): values with semicolons between them.
func privacyOf(m sipgo.Message) []string {
	var out []string
	for v := range sipwire.Values(m, "Privacy") {
		for p := range strings.SplitSeq(v, ";") {
			if p = strings.ToLower(strings.TrimSpace(p)); p != "" && len(out) < 8 {
				out = append(out, p)
			}
		}
	}
	return out
}

// isAnonymous tells whether a caller does not want to be shown: by Privacy, or
// by a From without a name (RFC 3323 §4.1.1.3).
func isAnonymous(req *sipgo.Request, privacy []string) bool {
	for _, p := range privacy {
		if p == "id" || p == "user" || p == "header" {
			return true
		}
	}
	from := req.From()
	return from != nil && isHidden(&from.Address)
}

// isHidden tells whether a URI in From names nobody.
func isHidden(uri *sipgo.Uri) bool {
	return strings.EqualFold(uri.Host, "anonymous.invalid") || strings.EqualFold(uri.User, "anonymous")
}

// callerOf is whom an app shows as the caller: what the server asserts of him,
// where it does and he does not mind, with the name that From gives where the
// server has none.
func (id *Identity) callerOf() Party {
	if len(id.Asserted) == 0 || id.Anonymous {
		return id.From
	}
	p := id.Asserted[0]
	if p.Name == "" {
		p.Name = id.From.Name
	}
	return p
}

// diversionsOf reads Diversion, topmost first: the latest (RFC 5806 §4.1).
func diversionsOf(req *sipgo.Request) []Diversion {
	var out []Diversion
	for v := range sipwire.Values(req, "Diversion") {
		name, uri, params, err := sipwire.ParseNameAddr(v)
		if err != nil || len(out) == maxDiversions {
			continue
		}
		d := Diversion{Party: Party{URI: sipwire.FormatURI(&uri), Name: name}, Counter: 1}
		if reason, ok := sipwire.Param(params, "reason"); ok {
			d.Reason = strings.ToLower(reason)
		}
		if counter, ok := sipwire.Param(params, "counter"); ok {
			if n, err := strconv.ParseUint(counter, 10, 16); err == nil && n > 0 {
				d.Counter = int(n)
			}
		}
		out = append(out, d)
	}
	return out
}

// historyOf reads History-Info (RFC 7044 §5). Reasons stand in the URI, as a
// header field to be (§5.1).
func historyOf(req *sipgo.Request) []HistoryEntry {
	var out []HistoryEntry
	for v := range sipwire.Values(req, "History-Info") {
		name, uri, params, err := sipwire.ParseNameAddr(v)
		if err != nil || len(out) == maxDiversions {
			continue
		}
		e := HistoryEntry{}
		for _, h := range uri.Headers {
			if value, err := url.PathUnescape(h.V); err == nil && strings.EqualFold(h.K, "Reason") {
				e.Reasons = append(e.Reasons, reasons(sipwire.Reasons(headerOnly("Reason", value)))...)
			}
		}
		uri.Headers = nil
		e.Party = Party{URI: sipwire.FormatURI(&uri), Name: name}
		e.Index, _ = sipwire.Param(params, "index")
		_, e.Mapped = sipwire.Param(params, "mp")
		out = append(out, e)
	}
	return out
}

// headerOnly is a message with one header field, for readers that take messages.
func headerOnly(name, value string) sipgo.Message {
	req := sipgo.NewRequest(sipgo.INVITE, sipgo.Uri{})
	req.AppendHeader(sipgo.NewHeader(name, value))
	return req
}

// The values of the verstat parameter (3GPP TS 24.229 §7.2A.20).
const (
	verstatPassed = "TN-Validation-Passed"
	verstatFailed = "TN-Validation-Failed"
)

// verstatOf reads what the account's server found out about the caller's
// number: the verstat parameter of whom it asserts, else of From.
func verstatOf(req *sipgo.Request) Verification {
	for v := range sipwire.Values(req, "P-Asserted-Identity") {
		_, uri, params, err := sipwire.ParseNameAddr(v)
		if err != nil {
			continue
		}
		if v := verified(&uri, params); v != VerificationAbsent {
			return v
		}
	}
	if from := req.From(); from != nil {
		return verified(&from.Address, from.Params)
	}
	return VerificationAbsent
}

func verified(uri *sipgo.Uri, params sipgo.HeaderParams) Verification {
	_, verstat := takeVerstat(uri)
	if verstat == "" {
		verstat, _ = sipwire.Param(params, "verstat")
	}
	switch {
	case isVerstat(verstat, verstatPassed):
		return VerificationPassed
	case isVerstat(verstat, verstatFailed):
		return VerificationFailed
	}
	return VerificationAbsent // No-TN-Validation too
}

// isVerstat compares a value of verstat, which may name a level of attestation
// behind it (TN-Validation-Passed-A).
func isVerstat(v, want string) bool {
	if len(v) < len(want) || !strings.EqualFold(v[:len(want)], want) {
		return false
	}
	return len(v) == len(want) || v[len(want)] == '-'
}

// takeVerstat is a URI without its verstat parameter, which is no part of
// whom it names, and that parameter's value. It is one of tel URIs, and so
// stands in the user part of a SIP URI (RFC 3261 §19.1.6); some write it
// behind the host.
func takeVerstat(uri *sipgo.Uri) (sipgo.Uri, string) {
	if uri.Scheme == "tel" {
		text, verstat := cutVerstat(sipwire.FormatURI(uri))
		if out, err := sipwire.ParseURI(text); err == nil && verstat != "" {
			return out, verstat
		}
		return *uri, verstat
	}
	out, verstat := *uri, ""
	out.User, verstat = cutVerstat(uri.User)
	isVerstat := func(kv sipgo.HeaderKV) bool { return strings.EqualFold(kv.K, "verstat") }
	if i := slices.IndexFunc(uri.UriParams, isVerstat); i >= 0 {
		verstat = uri.UriParams[i].V
		out.UriParams = slices.DeleteFunc(slices.Clone(uri.UriParams), isVerstat)
	}
	return out, verstat
}

// cutVerstat takes the parameter out of a number with parameters.
func cutVerstat(s string) (without, verstat string) {
	number, params, ok := strings.Cut(s, ";")
	if !ok {
		return s, ""
	}
	kept := []string{number}
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(p, "="); strings.EqualFold(name, "verstat") {
			verstat = value
		} else {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, ";"), verstat
}

// learnIdentity takes what the server says of whom an INVITE of ours has
// reached (RFC 3325 §5: P-Asserted-Identity in responses).
func (s *dialogSet) learnIdentity(r *sipgo.Response) {
	c := s.c
	if s.inv == nil || c.ua.acct.direct || r.StatusCode <= 100 || r.StatusCode >= 300 {
		return
	}
	asserted := assertedBy(r)
	if len(asserted) == 0 {
		return
	}
	s.identity.Asserted = asserted
	if s == c.set {
		c.mu.Lock()
		c.identity.Asserted = asserted
		c.mu.Unlock()
	}
}
