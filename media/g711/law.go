package g711

import (
	"math/bits"
	"slices"
)

// The encoding tables are indexed by the sample without the bits that do not
// count: mu-law takes 14-bit and A-law 12-bit samples (G.711 tables 1 and 2;
// a 16-bit sample's low bits are cut, not rounded, as G.191 does).
var (
	fromULaw [256]int16
	fromALaw [256]int16
	toULaw   [1 << 14]byte
	toALaw   [1 << 12]byte
)

func init() {
	for i := range 256 {
		fromULaw[i] = expandULaw(byte(i))
		fromALaw[i] = expandALaw(byte(i))
	}
	for i := range toULaw {
		toULaw[i] = compressULaw(int(int16(i<<2)) >> 2)
	}
	for i := range toALaw {
		toALaw[i] = compressALaw(int(int16(i<<4)) >> 4)
	}
}

// expandULaw: sign, three bits of segment, four of mantissa, all inverted. A
// segment is twice as wide as the one below; 33 is the bias in 14-bit steps.
func expandULaw(b byte) int16 {
	b = ^b
	v := (int(b&0x0f)<<1+33)<<(b>>4&7) - 33
	if b&0x80 != 0 {
		v = -v
	}
	return int16(v << 2)
}

func compressULaw(v int) byte {
	sign := byte(0)
	if v < 0 {
		v, sign = ^v, 0x80
	}
	v = min(v+33, 0x1fff)
	segment := bits.Len(uint(v)) - 6
	return ^(sign | byte(segment<<4) | byte(v>>(segment+1)&0x0f))
}

// expandALaw: as mu-law with every other bit inverted, a sign that is 1 for
// positive, and two segments of equal width at the bottom.
func expandALaw(b byte) int16 {
	b ^= 0x55
	v := int(b&0x0f)<<4 + 8
	if segment := b >> 4 & 7; segment > 0 {
		v = (v + 0x100) << (segment - 1)
	}
	if b&0x80 == 0 {
		v = -v
	}
	return int16(v)
}

func compressALaw(v int) byte {
	sign := byte(0x80)
	if v < 0 {
		v, sign = ^v, 0
	}
	b := byte(v)
	if segment := bits.Len(uint(v)) - 4; segment > 0 {
		b = byte(segment<<4) | byte(v>>(segment-1)&0x0f)
	}
	return (sign | b) ^ 0x55
}

// EncodeULaw appends the mu-law bytes of pcm to dst.
func EncodeULaw(dst []byte, pcm []int16) []byte {
	at := len(dst)
	dst = slices.Grow(dst, len(pcm))[:at+len(pcm)]
	out := dst[at:]
	for i, v := range pcm {
		out[i] = toULaw[uint16(v)>>2]
	}
	return dst
}

// DecodeULaw appends the samples of mu-law bytes to dst.
func DecodeULaw(dst []int16, b []byte) []int16 { return expand(dst, b, &fromULaw) }

// EncodeALaw appends the A-law bytes of pcm to dst.
func EncodeALaw(dst []byte, pcm []int16) []byte {
	at := len(dst)
	dst = slices.Grow(dst, len(pcm))[:at+len(pcm)]
	out := dst[at:]
	for i, v := range pcm {
		out[i] = toALaw[uint16(v)>>4]
	}
	return dst
}

// DecodeALaw appends the samples of A-law bytes to dst.
func DecodeALaw(dst []int16, b []byte) []int16 { return expand(dst, b, &fromALaw) }

func expand(dst []int16, b []byte, table *[256]int16) []int16 {
	at := len(dst)
	dst = slices.Grow(dst, len(b))[:at+len(b)]
	out := dst[at:]
	for i, v := range b {
		out[i] = table[v]
	}
	return dst
}
