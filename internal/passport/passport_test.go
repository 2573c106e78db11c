package passport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

// RFC 8225 Appendix A. The signature there is not one of the key pair there, so
// only what is signed, and the keys, are vectors.
const (
	rfcHeader     = "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9jZXJ0LmV4YW1wbGUub3JnL3Bhc3Nwb3J0LmNlciJ9"
	rfcPayload    = "eyJkZXN0Ijp7InVyaSI6WyJzaXA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI6MTQ3MTM3NTQxOCwib3JpZyI6eyJ0biI6IjEyMTU1NTUxMjEyIn19"
	rfcSignature  = "VLBCIVDCaeK6M4hLJb6SHQvacAQVvoiiEOWQ_iUkqk79UD81fHQ0E1b3_GluIkba7UWYRM47ZbNFdOJquE35cw"
	rfcKey        = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8HNbQd/TmvCKwPKHkMF9fScavGeH78YTU8qLS8I5HLHSSmlATLcslQMhNC/OhlWBYC626nIlo7XeebYS7Sb37g=="
	rfcPrivateKey = "MHcCAQEEIFeZ1R208QCvcu5GuYyMfG4W7sH4m99/7eHSDLpdYllFoAoGCCqGSM49AwEHoUQDQgAE8HNbQd/TmvCKwPKHkMF9fScavGeH78YTU8qLS8I5HLHSSmlATLcslQMhNC/OhlWBYC626nIlo7XeebYS7Sb37g=="
	rfcX5U        = "https://cert.example.org/passport.cer"
)

var rfcIssued = time.Unix(1471375418, 0).UTC()

func publicKey(t *testing.T, spki string) *ecdsa.PublicKey {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(spki)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ecdsa.PublicKey)
}

func TestVector_RFC8225_AppendixA(t *testing.T) {
	key := publicKey(t, rfcKey)
	p, err := Parse(rfcHeader + "." + rfcPayload + "." + rfcSignature)
	if err != nil {
		t.Fatal(err)
	}
	if p.X5U != rfcX5U || p.Orig != (Party{TN: "12155551212"}) || len(p.Dest) != 1 || p.Dest[0] != (Party{URI: "sip:alice@example.com"}) ||
		!p.IssuedAt.Equal(rfcIssued) || p.PPT != "" {
		t.Errorf("%+v", p)
	}
	// What the compact form (§7) stands for shows that serialize writes what §9
	// says.
	id, err := ParseIdentity(".." + rfcSignature + ";info=<" + rfcX5U + ">")
	if err != nil || !id.Compact() {
		t.Fatal(err)
	}
	orig, dest := Party{TN: "12155551212"}, Party{URI: "sip:alice@example.com"}
	p, err = id.Passport(orig, dest, rfcIssued)
	if err != nil || p.signed != rfcHeader+"."+rfcPayload {
		t.Errorf("%v: %+v", err, p)
	}
	if _, err = id.Passport(orig, dest, time.Time{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("without Date: %v", err)
	}

	// A signature of ours with the RFC's key pair.
	der, err := base64.StdEncoding.DecodeString(rfcPrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParseECPrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	token, err := Sign(rfcX5U, "", "", p.Claims, func(d []byte) (*big.Int, *big.Int, error) { return ecdsa.Sign(rand.Reader, private, d) })
	if err != nil {
		t.Fatal(err)
	}
	if p, err = Parse(token); err != nil || !p.SignedBy(key) {
		t.Fatalf("%v: our own signature does not pass", err)
	}
	p.signature[5] ^= 1
	if p.SignedBy(key) {
		t.Error("a changed signature passes")
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestParseRefuses(t *testing.T) {
	const (
		header  = `{"alg":"ES256","typ":"passport","x5u":"https://h/c"}`
		payload = `{"dest":{"tn":["1"]},"iat":1,"orig":{"tn":"2"}}`
	)
	token := func(h, p string) string { return b64(h) + "." + b64(p) + "." + rfcSignature }
	if _, err := Parse(token(header, payload)); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		token string
		want  error
	}{
		"nothing":                  {"", ErrMalformed},
		"two parts":                {"a.b", ErrMalformed},
		"four parts":               {token(header, payload) + ".", ErrMalformed},
		"too long":                 {strings.Repeat("a", maxToken+1), ErrMalformed},
		"not base64url":            {token(header, payload)[1:], ErrMalformed},
		"padding":                  {token(header, payload) + "==", ErrMalformed},
		"a short signature":        {b64(header) + "." + b64(payload) + ".AAAA", ErrMalformed},
		"no typ":                   {token(`{"alg":"ES256","x5u":"https://h/c"}`, payload), ErrMalformed},
		"alg none":                 {token(strings.Replace(header, "ES256", "none", 1), payload), ErrUnsupported},
		"alg HS256":                {token(strings.Replace(header, "ES256", "HS256", 1), payload), ErrUnsupported},
		"div (RFC 8946)":           {token(strings.Replace(header, "{", `{"ppt":"div",`, 1), payload), ErrUnsupported},
		"crit":                     {token(strings.Replace(header, "{", `{"crit":["x"],`, 1), payload), ErrUnsupported},
		"no x5u":                   {token(`{"alg":"ES256","typ":"passport"}`, payload), ErrInfo},
		"no iat":                   {token(header, `{"dest":{"tn":["1"]},"orig":{"tn":"2"}}`), ErrMalformed},
		"iat beyond all years":     {token(header, `{"dest":{"tn":["1"]},"iat":1e300,"orig":{"tn":"2"}}`), ErrMalformed},
		"no orig":                  {token(header, `{"dest":{"tn":["1"]},"iat":1}`), ErrMalformed},
		"two of orig":              {token(header, `{"dest":{"tn":["1"]},"iat":1,"orig":{"tn":"2","uri":"sip:a@h"}}`), ErrMalformed},
		"no dest":                  {token(header, `{"dest":{},"iat":1,"orig":{"tn":"2"}}`), ErrMalformed},
		"too many of dest":         {token(header, `{"dest":{"tn":["1"`+strings.Repeat(`,"1"`, maxDest)+`]},"iat":1,"orig":{"tn":"2"}}`), ErrMalformed},
		"shaken without its claim": {token(strings.Replace(header, "{", `{"ppt":"shaken",`, 1), payload), ErrMalformed},
	} {
		if p, err := Parse(tt.token); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

// RFC 8224 §4.
func TestParseIdentity(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  Identity
		err   error
	}{
		{"a.b.c;info=<https://h/c>", Identity{Token: "a.b.c", Info: "https://h/c"}, nil},
		{"a.b.c ; info = <https://h/c;x=1,2> ; alg = ES256;ppt=\"shaken\"", Identity{"a.b.c", "https://h/c;x=1,2", "ES256", "shaken"}, nil},
		{"..c;PPT=shaken;x=y;info=<https://h/c>", Identity{Token: "..c", Info: "https://h/c", PPT: "shaken"}, nil},
		{"a.b.c;info=<https://h/c>;alg=RS256", Identity{}, ErrUnsupported},
		{"a.b.c", Identity{}, ErrInfo},
		{"a.b.c;info=<" + strings.Repeat("x", maxInfo+1) + ">", Identity{}, ErrInfo},
		{"", Identity{}, ErrMalformed},
		{";info=<https://h/c>", Identity{}, ErrMalformed},
		{"a.b.c;info=<https://h/c", Identity{}, ErrMalformed},
		{"a.b.c;info=<https://h/c> x", Identity{}, ErrMalformed},
		{"a.b.c;info", Identity{}, ErrMalformed},
		{strings.Repeat("x", 1<<14), Identity{}, ErrMalformed},
	} {
		id, err := ParseIdentity(tt.value)
		if !errors.Is(err, tt.err) || err == nil && *id != tt.want {
			t.Errorf("%.60s: %+v, %v", tt.value, id, err)
		}
	}
	full := rfcHeader + "." + rfcPayload + "." + rfcSignature
	id := &Identity{Token: full, Info: "https://elsewhere/c"}
	if _, err := id.Passport(Party{}, Party{}, time.Time{}); !errors.Is(err, ErrInfo) {
		t.Errorf("another info than x5u: %v", err)
	}
	id = &Identity{Token: full, Info: rfcX5U, PPT: "shaken"}
	if _, err := id.Passport(Party{}, Party{}, time.Time{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("another ppt than within: %v", err)
	}
}

// RFC 8224 §8.3.
func TestCanonicalNumber(t *testing.T) {
	for s, want := range map[string]string{
		"+1-215-555-1212":       "12155551212",
		"1 (215) 555.1212":      "12155551212",
		"+12155551212;isub=1":   "12155551212",
		"*67":                   "*67",
		"%2321":                 "#21",
		"alice":                 "",
		"":                      "",
		"+":                     "",
		"1+2":                   "",
		strings.Repeat("1", 33): "",
	} {
		if got, ok := CanonicalNumber(s); got != want && ok || ok != (want != "") {
			t.Errorf("%q: %q, %v", s, got, ok)
		}
	}
}

// entry is a TNEntry with its explicit tag.
func entry(t testing.TB, tag int, v any, params string) []byte {
	inner, err := asn1.MarshalWithParams(v, params)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: true, Bytes: inner})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func list(t testing.TB, entries ...[]byte) []byte {
	var all []byte
	for _, e := range entries {
		all = append(all, e...)
	}
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: all})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// RFC 8226 §9.
func TestTNAuthList(t *testing.T) {
	type span struct {
		Start string `asn1:"ia5"`
		Count int
	}
	one := list(t, entry(t, 2, "12155551212", "ia5"))
	hundred := list(t, entry(t, 2, "1", "ia5"), entry(t, 1, span{"12155551200", 100}, ""))
	for _, tt := range []struct {
		name   string
		der    []byte
		number string
		want   bool
	}{
		{"one", one, "12155551212", true},
		{"another", one, "12155551213", false},
		{"first of a range", hundred, "12155551200", true},
		{"last of a range", hundred, "12155551299", true},
		{"behind a range", hundred, "12155551300", false},
		{"more digits than a range", hundred, "121555512000", false},
		{"no digits", hundred, "1215555120*", false},
		// 30 08 A0 06 16 04 "709J" is how certificates of providers look.
		{"a provider", []byte{0x30, 8, 0xa0, 6, 0x16, 4, '7', '0', '9', 'J'}, "12155551212", true},
		{"empty", list(t), "1", false},
		{"cut short", one[:8], "12155551212", false},
		{"nothing", nil, "1", false},
	} {
		if got := covers(tt.der, tt.number); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestVerify(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	issue := func(tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	rootKey, key, other := newKey(), newKey(), newKey()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	root = issue(root, root, &rootKey.PublicKey, rootKey)
	roots := x509.NewCertPool()
	roots.AddCert(root)
	leaf := func(change func(*x509.Certificate)) *x509.Certificate {
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "SHAKEN"},
			NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtraExtensions: []pkix.Extension{{Id: tnAuthList, Value: list(t, entry(t, 2, "12155551212", "ia5"))}},
		}
		if change != nil {
			change(tmpl)
		}
		return issue(tmpl, root, &key.PublicKey, rootKey)
	}
	signed := func(key *ecdsa.PrivateKey, c Claims) *Passport {
		token, err := Sign("https://h/c", "", "", c, func(d []byte) (*big.Int, *big.Int, error) { return ecdsa.Sign(rand.Reader, key, d) })
		if err != nil {
			t.Fatal(err)
		}
		p, err := Parse(token)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	stranger := &x509.Certificate{SerialNumber: big.NewInt(3), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	claims := Claims{Orig: Party{TN: "12155551212"}, Dest: []Party{{TN: "1"}}, IssuedAt: now}
	with := func(change func(*Claims)) *Passport { c := claims; change(&c); return signed(key, c) }
	for _, tt := range []struct {
		name  string
		p     *Passport
		chain []*x509.Certificate
		want  error
	}{
		{"good", signed(key, claims), []*x509.Certificate{leaf(nil)}, nil},
		{"a critical list", signed(key, claims), []*x509.Certificate{leaf(func(c *x509.Certificate) { c.ExtraExtensions[0].Critical = true })}, nil},
		{"somebody else's key", signed(other, claims), []*x509.Certificate{leaf(nil)}, ErrSignature},
		{"none", signed(key, claims), nil, ErrCertificate},
		{"nil", signed(key, claims), []*x509.Certificate{nil}, ErrCertificate},
		{"expired", signed(key, claims), []*x509.Certificate{leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })}, ErrCertificate},
		{"not valid when signed", with(func(c *Claims) { c.IssuedAt = now.Add(-2 * time.Minute) }), []*x509.Certificate{leaf(nil)}, ErrCertificate},
		{"not for signatures", signed(key, claims), []*x509.Certificate{leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })}, ErrCertificate},
		{"unknown root", signed(key, claims), []*x509.Certificate{issue(stranger, stranger, &key.PublicKey, key)}, ErrCertificate},
		{"another number", with(func(c *Claims) { c.Orig.TN = "12155551213" }), []*x509.Certificate{leaf(nil)}, ErrAuthority},
		{"no list", signed(key, claims), []*x509.Certificate{leaf(func(c *x509.Certificate) { c.ExtraExtensions = nil })}, ErrAuthority},
		{"constraints of claims (RFC 8226 §8)", signed(key, claims), []*x509.Certificate{leaf(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: claimConstraints, Value: []byte{0x30, 0}})
		})}, ErrUnsupported},
		{"a domain", with(func(c *Claims) { c.Orig = Party{URI: "sip:a@Example.com"} }), []*x509.Certificate{leaf(func(c *x509.Certificate) { c.DNSNames = []string{"example.com"} })}, nil},
		{"another domain", with(func(c *Claims) { c.Orig = Party{URI: "sip:a@example.net"} }), []*x509.Certificate{leaf(func(c *x509.Certificate) { c.DNSNames = []string{"example.com"} })}, ErrAuthority},
	} {
		if err := tt.p.Verify(now, tt.chain, roots); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	full := rfcHeader + "." + rfcPayload + "." + rfcSignature
	f.Add(full+";info=<"+rfcX5U+">", []byte{0x30, 8, 0xa0, 6, 0x16, 4, '7', '0', '9', 'J'})
	f.Add(".."+rfcSignature+";info=<"+rfcX5U+">;alg=ES256;ppt=\"shaken\"", list(f, entry(f, 2, "1", "ia5")))
	f.Fuzz(func(t *testing.T, value string, der []byte) {
		covers(der, "12155551212")
		CanonicalNumber(value)
		id, err := ParseIdentity(value)
		if err != nil {
			return
		}
		p, err := id.Passport(Party{TN: "1"}, Party{TN: "2"}, rfcIssued)
		if err != nil {
			return
		}
		if p.X5U == "" || p.Orig == (Party{}) || len(p.Dest) == 0 || len(p.signature) != 64 {
			t.Errorf("%+v", p)
		}
	})
}
