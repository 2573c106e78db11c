// Package passport reads and checks PASSporTs (RFC 8225): signed statements of
// who calls whom and when, as SIP carries them in Identity (RFC 8224). It
// fetches nothing: certificates and the time are given.
package passport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Why a PASSporT cannot be read.
var (
	// ErrMalformed: it is not what RFC 8225 describes.
	ErrMalformed = errors.New("passport: malformed")
	// ErrUnsupported: it has an algorithm, an extension or a kind of reference
	// to its certificate that is not known here.
	ErrUnsupported = errors.New("passport: not supported")
	// ErrInfo: the Identity header field and the PASSporT name different
	// certificates, or none.
	ErrInfo = errors.New("passport: no certificate named")
)

const (
	maxToken = 8 << 10 // octets of a PASSporT
	maxInfo  = 2 << 10 // octets of the URI of a certificate
	maxDest  = 64      // destinations
)

// Party is an identity in a PASSporT: one of the two is set.
type Party struct {
	TN  string // canonical telephone number (RFC 8224 §8.3)
	URI string
}

// Claims are what a PASSporT says (RFC 8225 §5).
type Claims struct {
	Orig     Party
	Dest     []Party
	IssuedAt time.Time
	// Attestation is A, B or C in a PASSporT of the kind "shaken" (RFC 8588);
	// "" in others.
	Attestation string
}

// Passport is a PASSporT that was read. Nothing of it is to be believed before
// its signature was checked.
type Passport struct {
	Claims
	X5U string // where the certificate is
	PPT string // the extension: "" or "shaken"

	signed    string // header and payload as they were signed
	signature []byte
}

// Parse reads the full form of a PASSporT: a JWS in compact serialization (RFC
// 7515 §7.1).
func Parse(token string) (*Passport, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("%w: longer than %d octets", ErrMalformed, maxToken)
	}
	dot := strings.LastIndexByte(token, '.')
	if dot < 0 {
		return nil, ErrMalformed
	}
	p := &Passport{signed: token[:dot]}
	header, payload, ok := strings.Cut(p.signed, ".")
	if !ok || strings.Contains(payload, ".") {
		return nil, ErrMalformed
	}
	if err := p.parseHeader(header); err != nil {
		return nil, err
	}
	if err := p.parsePayload(payload); err != nil {
		return nil, err
	}
	return p, p.parseSignature(token[dot+1:])
}

// decode reads base64url without padding (RFC 7515 §2).
func decode(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, ErrMalformed
	}
	return b, nil
}

// parseHeader reads the JOSE header (RFC 8225 §4).
func (p *Passport) parseHeader(s string) error {
	b, err := decode(s)
	if err != nil {
		return err
	}
	var h struct {
		Typ  string          `json:"typ"`
		Alg  string          `json:"alg"`
		X5U  string          `json:"x5u"`
		PPT  string          `json:"ppt"`
		Crit json.RawMessage `json:"crit"`
	}
	if json.Unmarshal(b, &h) != nil || !strings.EqualFold(h.Typ, "passport") {
		return fmt.Errorf("%w: header", ErrMalformed)
	}
	switch {
	case h.Alg != "ES256": // RFC 8225 §4.2
		return fmt.Errorf("%w: algorithm %.20q", ErrUnsupported, h.Alg)
	case h.PPT != "" && h.PPT != "shaken":
		return fmt.Errorf("%w: extension %.20q", ErrUnsupported, h.PPT)
	case h.Crit != nil: // RFC 7515 §4.1.11
		return fmt.Errorf("%w: critical header parameters", ErrUnsupported)
	case h.X5U == "" || len(h.X5U) > maxInfo:
		return fmt.Errorf("%w: x5u", ErrInfo)
	}
	p.X5U, p.PPT = h.X5U, h.PPT
	return nil
}

// parsePayload reads the claims (RFC 8225 §5).
func (p *Passport) parsePayload(s string) error {
	b, err := decode(s)
	if err != nil {
		return err
	}
	var c struct {
		Orig struct {
			TN  *string `json:"tn"`
			URI *string `json:"uri"`
		} `json:"orig"`
		Dest struct {
			TN  []string `json:"tn"`
			URI []string `json:"uri"`
		} `json:"dest"`
		IAT    *float64 `json:"iat"` // NumericDate: any JSON number (RFC 7519 §2)
		Attest string   `json:"attest"`
		OrigID string   `json:"origid"`
	}
	if json.Unmarshal(b, &c) != nil {
		return fmt.Errorf("%w: claims", ErrMalformed)
	}
	if c.IAT == nil || *c.IAT < 0 || *c.IAT > 1<<40 {
		return fmt.Errorf("%w: iat", ErrMalformed)
	}
	p.IssuedAt = time.Unix(int64(*c.IAT), 0).UTC()
	switch { // §5.2.1: one identity, and one only
	case c.Orig.TN != nil && c.Orig.URI == nil:
		p.Orig.TN = *c.Orig.TN
	case c.Orig.URI != nil && c.Orig.TN == nil:
		p.Orig.URI = *c.Orig.URI
	}
	if n := len(c.Dest.TN) + len(c.Dest.URI); p.Orig == (Party{}) || n == 0 || n > maxDest {
		return fmt.Errorf("%w: orig or dest", ErrMalformed)
	}
	for _, tn := range c.Dest.TN {
		p.Dest = append(p.Dest, Party{TN: tn})
	}
	for _, uri := range c.Dest.URI {
		p.Dest = append(p.Dest, Party{URI: uri})
	}
	if p.PPT == "shaken" { // RFC 8588 §4, §5: both claims have to be there
		if c.Attest != "A" && c.Attest != "B" && c.Attest != "C" || c.OrigID == "" {
			return fmt.Errorf("%w: attest or origid", ErrMalformed)
		}
		p.Attestation = c.Attest
	}
	return nil
}

// parseSignature reads R and S of ES256, 32 octets each (RFC 7518 §3.4).
func (p *Passport) parseSignature(s string) error {
	b, err := decode(s)
	if err != nil || len(b) != 64 {
		return fmt.Errorf("%w: signature", ErrMalformed)
	}
	p.signature = b
	return nil
}

// SignedBy tells whether the signature is that of a key.
func (p *Passport) SignedBy(key *ecdsa.PublicKey) bool {
	if key == nil || key.Curve != elliptic.P256() {
		return false
	}
	digest := sha256.Sum256([]byte(p.signed))
	r, s := new(big.Int).SetBytes(p.signature[:32]), new(big.Int).SetBytes(p.signature[32:])
	return ecdsa.Verify(key, digest[:], r, s)
}

// Sign makes a PASSporT. The order of what is in it is that of RFC 8225 §9.
func Sign(x5u, ppt, origID string, c Claims, sign func(digest []byte) (r, s *big.Int, err error)) (string, error) {
	signed := serialize(x5u, ppt, origID, c)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := sign(digest[:])
	if err != nil {
		return "", fmt.Errorf("passport: %w", err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}

// serialize writes header and payload as they are signed: names in the order of
// the alphabet, no white space (RFC 8225 §9).
func serialize(x5u, ppt, origID string, c Claims) string {
	type dest struct {
		TN  []string `json:"tn,omitempty"`
		URI []string `json:"uri,omitempty"`
	}
	type orig struct {
		TN  string `json:"tn,omitempty"`
		URI string `json:"uri,omitempty"`
	}
	var to dest
	for _, d := range c.Dest {
		if d.TN != "" {
			to.TN = append(to.TN, d.TN)
		} else {
			to.URI = append(to.URI, d.URI)
		}
	}
	header := struct {
		Alg string `json:"alg"`
		PPT string `json:"ppt,omitempty"`
		Typ string `json:"typ"`
		X5U string `json:"x5u"`
	}{"ES256", ppt, "passport", x5u}
	payload := struct {
		Attest string `json:"attest,omitempty"`
		Dest   dest   `json:"dest"`
		IAT    int64  `json:"iat"`
		Orig   orig   `json:"orig"`
		OrigID string `json:"origid,omitempty"`
	}{c.Attestation, to, c.IssuedAt.Unix(), orig(c.Orig), origID}
	return encode(header) + "." + encode(payload)
}

func encode(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // "&" in a URI is signed as it stands
	_ = e.Encode(v)        // strings and a number: it cannot fail
	return base64.RawURLEncoding.EncodeToString([]byte(strings.TrimSuffix(b.String(), "\n")))
}
