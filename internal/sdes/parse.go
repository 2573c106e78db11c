package sdes

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Limits of [Parse].
const (
	maxLine   = 4096 // bytes; a line with one key has about 100
	maxKeys   = 8
	maxMKILen = 128 // RFC 4568 §6.1
	maxTag    = 999_999_999
	maxParams = 16
)

// ErrSyntax is wrapped by the error of [Parse] for a line that is not what
// RFC 4568 §9 allows.
var ErrSyntax = errors.New("sdes: malformed a=crypto")

// ErrUnsupported is wrapped by the error of [Parse] for a line that is well
// formed but cannot be used: an unknown suite or key method, or a session
// parameter that this package does not do. RFC 4568 §5.1.2 and §6.3 want such
// a line to be passed over.
var ErrUnsupported = errors.New("sdes: unsupported a=crypto")

func syntax(what string) error      { return fmt.Errorf("%w: %s", ErrSyntax, what) }
func unsupported(what string) error { return fmt.Errorf("%w: %s", ErrUnsupported, what) }

// Parse reads the value of an a=crypto attribute, the part after "crypto:".
// The error never contains any of the text, which may hold a key. With an
// ErrUnsupported the Crypto is nil too.
//
// Session parameters that weaken or change SRTP refuse the line:
// UNENCRYPTED_SRTP, UNENCRYPTED_SRTCP, UNAUTHENTICATED_SRTP, KDR, FEC
// parameters, and unknown ones unless marked as optional by a leading "-"
// (RFC 4568 §6.3.7).
func Parse(value string) (*Crypto, error) {
	if len(value) > maxLine {
		return nil, syntax("too long")
	}
	f := strings.Fields(value)
	if len(f) < 3 {
		return nil, syntax("fewer than three fields")
	}
	c := new(Crypto)
	var err error
	if c.Tag, err = parseTag(f[0]); err != nil {
		return nil, err
	}
	var ok bool
	if c.Suite, ok = ParseSuite(f[1]); !ok {
		return nil, unsupported("suite")
	}
	for part := range strings.SplitSeq(f[2], ";") {
		if len(c.Keys) == maxKeys {
			return nil, syntax("too many keys")
		}
		k, err := parseKey(part, c.Suite)
		if err != nil {
			return nil, err
		}
		c.Keys = append(c.Keys, k)
	}
	if err := checkKeys(c.Keys); err != nil {
		return nil, err
	}
	if c.WSH, err = parseParams(f[3:]); err != nil {
		return nil, err
	}
	return c, nil
}

// parseTag reads a tag: 1 to 9 digits without leading zeros (RFC 4568 §9.1).
// Leading zeros are let pass: the number is the same.
func parseTag(s string) (int, error) {
	if len(s) > 9 || !digits(s) {
		return 0, syntax("tag")
	}
	return strconv.Atoi(s)
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// parseKey reads "inline:" base64(key || salt) ["|" lifetime] ["|" MKI ":" length]
// (RFC 4568 §6.1).
func parseKey(s string, suite Suite) (Key, error) {
	method, info, ok := strings.Cut(s, ":")
	if !ok {
		return Key{}, syntax("key without method")
	}
	if !strings.EqualFold(method, "inline") {
		return Key{}, unsupported("key method")
	}
	parts := strings.Split(info, "|")
	if len(parts) > 3 {
		return Key{}, syntax("key with too many fields")
	}
	// Padding is in RFC 4568's grammar; peers that leave it out mean the same.
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(parts[0], "="))
	if err != nil {
		return Key{}, syntax("key is not base64")
	}
	n := suite.KeyLen()
	if len(b) != n+suite.SaltLen() {
		return Key{}, syntax("key of the wrong length") // RFC 4568 §6.1: MUST be discarded
	}
	k := Key{Master: b[:n:n], Salt: b[n:]}
	for i, p := range parts[1:] {
		switch {
		case strings.Contains(p, ":"):
			if k.MKI, err = parseMKI(p); err != nil {
				return Key{}, err
			}
			if i != len(parts)-2 {
				return Key{}, syntax("MKI before lifetime")
			}
		case i == 0:
			if k.Lifetime, err = parseLifetime(p); err != nil {
				return Key{}, err
			}
		default:
			return Key{}, syntax("two lifetimes")
		}
	}
	return k, nil
}

// parseLifetime reads "2^" exponent or a decimal number of packets. RFC 4568
// §6.1 forbids lifetimes over the default; some peers write one, and what they
// mean is "as long as possible".
func parseLifetime(s string) (uint64, error) {
	if exp, ok := strings.CutPrefix(s, "2^"); ok {
		n, err := strconv.ParseUint(exp, 10, 8)
		if err != nil || !digits(exp) {
			return 0, syntax("lifetime")
		}
		return uint64(1) << min(n, 48), nil
	}
	if !digits(s) || len(s) > 20 {
		return 0, syntax("lifetime")
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, syntax("lifetime")
	}
	return min(n, DefaultLifetime), nil
}

// parseMKI reads value ":" length, a decimal number and how many bytes it
// takes in a packet, in network byte order (RFC 4568 §6.1).
func parseMKI(s string) ([]byte, error) {
	value, length, _ := strings.Cut(s, ":")
	if !digits(value) || !digits(length) || len(length) > 3 || len(value) > 400 {
		return nil, syntax("MKI")
	}
	n, err := strconv.Atoi(length)
	if err != nil || n < 1 || n > maxMKILen {
		return nil, syntax("MKI length")
	}
	v, ok := new(big.Int).SetString(value, 10)
	if !ok || v.BitLen() > 8*n {
		return nil, syntax("MKI does not fit its length")
	}
	return v.FillBytes(make([]byte, n)), nil
}

// checkKeys holds several keys to RFC 4568 §6.1: each with an MKI, all of one
// length and different, because nothing else tells them apart.
func checkKeys(keys []Key) error {
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if len(keys) > 1 && k.MKI == nil {
			return syntax("several keys without MKI")
		}
		if len(k.MKI) != len(keys[0].MKI) {
			return syntax("MKI lengths differ")
		}
		if seen[string(k.MKI)] {
			return syntax("MKI twice")
		}
		seen[string(k.MKI)] = true
	}
	return nil
}

// parseParams reads session parameters (RFC 4568 §6.3). The window size hint is
// the only one that is understood; KDR, even KDR=0, asks for derived keys to
// change under way (§6.3.1).
func parseParams(params []string) (wsh int, err error) {
	if len(params) > maxParams {
		return 0, syntax("too many session parameters")
	}
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		switch {
		case strings.HasPrefix(name, "-"): // §6.3.7: may be ignored
		case strings.EqualFold(name, "WSH"): // §6.3.6
			n, err := strconv.Atoi(value)
			if !digits(value) || len(value) > 9 || err != nil || n < 64 {
				return 0, syntax("WSH")
			}
			wsh = n
		default:
			return 0, unsupported("session parameter")
		}
	}
	return wsh, nil
}

// Append appends the value of the a=crypto attribute, the part after
// "crypto:", to dst. It holds the keys in clear. The MKI is written as the
// decimal number that its bytes are.
func (c *Crypto) Append(dst []byte) []byte {
	dst = strconv.AppendInt(dst, int64(c.Tag), 10)
	dst = append(dst, ' ')
	dst = append(dst, c.Suite.String()...)
	dst = append(dst, ' ')
	for i, k := range c.Keys {
		if i > 0 {
			dst = append(dst, ';')
		}
		dst = append(dst, "inline:"...)
		dst = base64.StdEncoding.AppendEncode(dst, append(k.Master[:len(k.Master):len(k.Master)], k.Salt...))
		switch {
		case k.Lifetime == 0:
		case k.Lifetime&(k.Lifetime-1) == 0:
			dst = append(dst, "|2^"...)
			dst = strconv.AppendInt(dst, int64(bits.TrailingZeros64(k.Lifetime)), 10)
		default:
			dst = append(dst, '|')
			dst = strconv.AppendUint(dst, k.Lifetime, 10)
		}
		if k.MKI != nil {
			dst = append(dst, '|')
			dst = new(big.Int).SetBytes(k.MKI).Append(dst, 10)
			dst = append(dst, ':')
			dst = strconv.AppendInt(dst, int64(len(k.MKI)), 10)
		}
	}
	if c.WSH > 0 {
		dst = append(dst, " WSH="...)
		dst = strconv.AppendInt(dst, int64(c.WSH), 10)
	}
	return dst
}
