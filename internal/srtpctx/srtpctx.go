// Package srtpctx is SRTP and SRTCP (RFC 3711, RFC 7714) with keys from SDP
// (RFC 4568): what one key sends, and what one answer's keys receive, over a
// change of keys.
//
// It adds to pion/srtp what a call needs: the sender owns the packet index, so
// that no index is ever used twice on one key; lifetimes are counted; the
// roll-over counter goes on under a new key, as RFC 3711 §3.3.1 demands; and
// the number of sources is bounded.
//
// Nothing here may be used by two goroutines at once.
package srtpctx

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pion/srtp/v3"

	"github.com/hoorn-phone/hoorn/internal/sdes"
)

const (
	// Overhead is how many bytes protection adds at most: a 16-byte tag, the
	// 4-byte SRTCP index and an MKI as long as RFC 4568 allows.
	Overhead = 16 + 4 + 128

	// DefaultWindow is the size of the replay window in packets. RFC 3711
	// §3.3.2 wants at least 64; late packets of a reordering network are worth
	// the other bits.
	DefaultWindow = 128

	// maxSources bounds the sources that one key may have. Only packets that
	// verified count, so it is a peer that misbehaves, not an attacker, that
	// meets it.
	maxSources = 128

	// maxSRTCP is the lifetime of a key in SRTCP packets (RFC 3711 §9.2).
	maxSRTCP = 1 << 31
)

var (
	// ErrPacket is wrapped by the errors for packets that did not verify:
	// forged, damaged, replayed, or under another key.
	ErrPacket = errors.New("srtp: packet refused")

	// ErrIndex is returned for a packet index that was used before.
	ErrIndex = errors.New("srtp: packet index used twice")

	// ErrLifetime is returned once a key has protected as many packets as it may.
	ErrLifetime = errors.New("srtp: the key is used up")

	// ErrSources is returned for a packet from one source too many.
	ErrSources = errors.New("srtp: too many sources")
)

func profile(s sdes.Suite) (srtp.ProtectionProfile, error) {
	switch s {
	case sdes.AESCM128HMACSHA1_80:
		return srtp.ProtectionProfileAes128CmHmacSha1_80, nil
	case sdes.AESCM128HMACSHA1_32:
		return srtp.ProtectionProfileAes128CmHmacSha1_32, nil
	case sdes.AES256CMHMACSHA1_80:
		return srtp.ProtectionProfileAes256CmHmacSha1_80, nil
	case sdes.AES256CMHMACSHA1_32:
		return srtp.ProtectionProfileAes256CmHmacSha1_32, nil
	case sdes.AEADAES128GCM:
		return srtp.ProtectionProfileAeadAes128Gcm, nil
	case sdes.AEADAES256GCM:
		return srtp.ProtectionProfileAeadAes256Gcm, nil
	}
	return 0, fmt.Errorf("srtp: %v cannot be used", s)
}

// newContext makes a context for all keys of c; the first is the one to send
// with.
func newContext(c *sdes.Crypto, opts ...srtp.ContextOption) (*srtp.Context, error) {
	p, err := profile(c.Suite)
	if err != nil {
		return nil, err
	}
	if len(c.Keys) == 0 {
		return nil, errors.New("srtp: no key")
	}
	first := &c.Keys[0]
	if len(first.MKI) > 0 {
		opts = append(opts, srtp.MasterKeyIndicator(first.MKI))
	}
	ctx, err := srtp.CreateContext(first.Master, first.Salt, p, opts...)
	if err != nil {
		return nil, fmt.Errorf("srtp: %w", err)
	}
	for i := range c.Keys[1:] {
		k := &c.Keys[i+1]
		if err := ctx.AddCipherForMKI(k.MKI, k.Master, k.Salt); err != nil {
			return nil, fmt.Errorf("srtp: %w", err)
		}
	}
	return ctx, nil
}

func lifetime(c *sdes.Crypto) uint64 {
	if n := c.Keys[0].Lifetime; n > 0 && n < sdes.DefaultLifetime {
		return n
	}
	return sdes.DefaultLifetime
}

// rtpHeaderLen checks a packet as far as SRTP must know it and returns the
// length of its header (RFC 3550 §5.1, §5.3.1).
func rtpHeaderLen(p []byte) (int, bool) {
	if len(p) < 12 || p[0]>>6 != 2 {
		return 0, false
	}
	n := 12 + 4*int(p[0]&0x0f)
	if p[0]&0x10 != 0 {
		if len(p) < n+4 {
			return 0, false
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(p[n+2:]))
	}
	return n, len(p) >= n
}
