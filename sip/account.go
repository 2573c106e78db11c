package sip

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/digest"
	"github.com/hoorn-phone/hoorn/internal/register"
)

// account is an Account that was understood.
type account struct {
	aor       sipgo.Uri
	name      string
	registrar sipgo.Uri
	proxy     *sipgo.Uri
	transport Transport
	secure    bool // never to be sent unencrypted
	direct    bool
	instance  string
	flows     int
	expires   time.Duration
	params    []register.Param
	outbound  bool
	gruu      bool
	minDigest digest.Algorithm

	username    string
	credentials func(realm, algorithm string) (Credential, error)
}

// URIError says what is wrong with a URI that was given.
type URIError struct{ URI, Reason string }

func (e *URIError) Error() string { return fmt.Sprintf("sip: URI %q: %s", e.URI, e.Reason) }

func parseURI(s string) (sipgo.Uri, error) {
	var uri sipgo.Uri
	s = strings.TrimSpace(s)
	if scheme, _, ok := strings.Cut(s, ":"); !ok || scheme != "sip" && scheme != "sips" {
		return uri, &URIError{URI: s, Reason: `does not begin with "sip:" or "sips:"`}
	}
	if strings.ContainsAny(s, " \t\r\n<>\"") {
		return uri, &URIError{URI: s, Reason: "white space, quotes or brackets"}
	}
	if err := sipgo.ParseUri(s, &uri); err != nil {
		return uri, &URIError{URI: s, Reason: err.Error()}
	}
	if uri.Host == "" {
		return uri, &URIError{URI: s, Reason: "no host"}
	}
	return uri, nil
}

func parseAccount(a *Account) (account, error) {
	acct := account{
		name: a.DisplayName, direct: a.Direct, instance: a.Instance,
		flows: a.Flows, expires: a.Expires,
		outbound: !a.NoOutbound, gruu: !a.NoGRUU,
		username: a.Username, credentials: a.Credentials,
		transport: a.Transport,
	}
	var err error
	if acct.aor, err = parseURI(a.AOR); err != nil {
		return acct, fmt.Errorf("Account.AOR: %w", err)
	}
	if acct.aor.User == "" {
		return acct, fmt.Errorf("Account.AOR: %w", &URIError{URI: a.AOR, Reason: "no user"})
	}
	// The address of record is an identity: what says how to get there stays
	// out of it (RFC 3261 §10.3).
	acct.aor.UriParams, acct.aor.Headers, acct.aor.Port = nil, nil, 0

	switch {
	case a.Registrar == "":
		acct.registrar = sipgo.Uri{Scheme: acct.aor.Scheme, Host: acct.aor.Host}
	case strings.HasPrefix(a.Registrar, "sip:") || strings.HasPrefix(a.Registrar, "sips:"):
		if acct.registrar, err = parseURI(a.Registrar); err != nil {
			return acct, fmt.Errorf("Account.Registrar: %w", err)
		}
	default:
		if acct.registrar, err = parseURI(acct.aor.Scheme + ":" + a.Registrar); err != nil {
			return acct, fmt.Errorf("Account.Registrar: %w", err)
		}
	}
	acct.registrar.User, acct.registrar.Password = "", ""

	hop := acct.registrar
	if a.Proxy != "" {
		proxy, err := parseURI(a.Proxy)
		if err != nil {
			return acct, fmt.Errorf("Account.Proxy: %w", err)
		}
		acct.proxy, hop = &proxy, proxy
	}
	if t, ok := hop.UriParams.Get("transport"); ok {
		acct.transport = Transport(strings.ToLower(t))
	}
	if hop.Scheme == "sips" && acct.transport == TCP {
		acct.transport = TLS // RFC 3261 §26.2.2
	}
	switch acct.transport {
	case "":
		acct.transport = TLS
	case UDP, TCP, TLS, WS, WSS:
	default:
		return acct, fmt.Errorf("sip: transport %q is not udp, tcp, tls, ws or wss", acct.transport)
	}
	acct.secure = acct.transport.Secure() || acct.aor.Scheme == "sips" || hop.Scheme == "sips"
	if acct.secure && !acct.transport.Secure() {
		return acct, fmt.Errorf("sip: a sips account cannot use %s", acct.transport)
	}

	if acct.flows == 0 {
		acct.flows = 1
	}
	if acct.flows < 1 || acct.flows > 2 {
		return acct, fmt.Errorf("sip: Account.Flows is %d; it can be 1 or 2", a.Flows)
	}
	if a.Expires < 0 {
		return acct, fmt.Errorf("sip: Account.Expires is negative")
	}
	for _, p := range a.ContactParams {
		acct.params = append(acct.params, register.Param{Name: p[0], Value: p[1]})
	}
	if a.MinDigest != "" {
		alg, ok := digest.ParseAlgorithm(a.MinDigest)
		if !ok {
			return acct, fmt.Errorf("sip: Account.MinDigest: unknown algorithm %q", a.MinDigest)
		}
		acct.minDigest = alg
	}
	if acct.username == "" {
		acct.username = acct.aor.User
	}
	if acct.credentials == nil {
		secret := Credential{Username: acct.username, Password: a.Password}
		acct.credentials = func(string, string) (Credential, error) { return secret, nil }
	}
	a.Password = ""
	return acct, nil
}

// domain is who a server of the account has to be (RFC 5922 §4): the proxy
// where it is named, else the registrar.
func (a *account) domain() string {
	if a.proxy != nil {
		if _, err := netip.ParseAddr(strings.Trim(a.proxy.Host, "[]")); err != nil {
			return a.proxy.Host
		}
	}
	return a.registrar.Host
}

func (a *account) credential(realm string, alg digest.Algorithm) (digest.Credential, error) {
	c, err := a.credentials(realm, alg.String())
	if err != nil {
		return digest.Credential{}, err
	}
	if c.Username == "" {
		c.Username = a.username
	}
	return digest.Credential(c), nil
}

// numberless tells whether nobody can be asked for a telephone number: without
// a registrar the domain of the address of record is at best a name with a
// server; an address is our own.
func (a *account) numberless() bool {
	_, err := netip.ParseAddr(strings.Trim(a.aor.Host, "[]"))
	return a.direct && err == nil
}
