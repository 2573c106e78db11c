// Package cn is comfort noise in RTP (RFC 3389): what a peer that stops
// sending in silence says about the noise to play meanwhile, and a generator
// of such noise.
package cn

import (
	"errors"
	"fmt"
	"math"
)

// PayloadType is the static payload type of CN at 8000 Hz (RFC 3551 table 4).
// At other clock rates the type is dynamic and the rtpmap "CN/16000".
const PayloadType = 13

// MaxOrder is the most reflection coefficients that are read. RFC 3389 leaves
// the number open; encoders use ten or less.
const MaxOrder = 32

// ErrPayload is wrapped by errors for payloads that are no comfort noise.
var ErrPayload = errors.New("cn: malformed comfort noise")

// Noise describes a background noise.
type Noise struct {
	// Level in -dBov, 0 (as loud as can be) to 127 (RFC 3389 §3.1).
	Level uint8

	// Order is the number of reflection coefficients in Reflection. None is
	// white noise.
	Order      int
	Reflection [MaxOrder]float32 // each between -1 and 1
}

// Parse reads a payload. Coefficients after [MaxOrder] are ignored, and index
// 255, which is reserved, ends the list.
func Parse(payload []byte) (Noise, error) {
	if len(payload) == 0 {
		return Noise{}, fmt.Errorf("%w: empty", ErrPayload)
	}
	n := Noise{Level: payload[0] & 0x7f}
	for _, index := range payload[1:] {
		if n.Order == MaxOrder || index == 255 {
			break
		}
		// RFC 3389 §3.2
		n.Reflection[n.Order] = float32(258*(int(index)-127)) / 32768
		n.Order++
	}
	return n, nil
}

// Append appends the payload to dst.
func (n Noise) Append(dst []byte) []byte {
	dst = append(dst, min(n.Level, 127))
	for _, k := range n.Reflection[:min(max(n.Order, 0), MaxOrder)] {
		index := 127 + math.Round(float64(k)*32768/258)
		dst = append(dst, byte(max(0, min(254, index))))
	}
	return dst
}

// A Generator makes noise. The zero value makes silence until Update. It is
// not safe for concurrent use.
type Generator struct {
	noise Noise
	rms   float32 // of the output, moving towards the noise's
	aim   float32
	gain  float32 // from white noise of variance 1 to output of variance 1
	state [MaxOrder + 1]float32
	seed  uint32
}

// Update sets the noise. A change of level takes a few frames, so that it is
// not heard as a step.
func (g *Generator) Update(n Noise) {
	n.Order = min(max(n.Order, 0), MaxOrder)
	first := g.gain == 0
	gain := float32(1)
	for i, k := range n.Reflection[:n.Order] {
		k = max(-0.99, min(0.99, k)) // keeps the filter stable
		n.Reflection[i] = k
		gain *= 1 - k*k
	}
	g.noise = n
	g.gain = float32(math.Sqrt(float64(gain)))
	// 0 dBov is a square wave at full scale (RFC 3389 §3.1).
	g.aim = float32(32767 * math.Pow(10, -float64(min(n.Level, 127))/20))
	if first {
		g.rms = g.aim
		g.seed = 1
	}
}

// Generate appends n samples to dst, at any sample rate: the coefficients are
// relative to it.
func (g *Generator) Generate(dst []int16, n int) []int16 {
	if g.gain == 0 {
		for range n {
			dst = append(dst, 0)
		}
		return dst
	}
	k := g.noise.Reflection[:g.noise.Order]
	state := g.state[:g.noise.Order+1]
	for range n {
		g.rms += (g.aim - g.rms) / 512
		// The synthesis lattice: from the last stage down, f is the signal
		// and state[i] what stage i kept of the sample before.
		f := g.white() * g.gain
		for i := len(k) - 1; i >= 0; i-- {
			f -= k[i] * state[i]
			state[i+1] = state[i] + k[i]*f
		}
		state[0] = f
		dst = append(dst, int16(max(-32768, min(32767, f*g.rms))))
	}
	return dst
}

// white returns noise of variance 1: the sum of four uniform parts is near
// enough to a bell curve.
func (g *Generator) white() float32 {
	g.seed = g.seed*1664525 + 1013904223
	a := g.seed
	g.seed = g.seed*1664525 + 1013904223
	b := g.seed
	sum := int32(a>>16&0xffff) + int32(a&0xffff) + int32(b>>16&0xffff) + int32(b&0xffff)
	return float32(sum-2*65535) * (1 / 37837.2) // 65536 * sqrt(4/12)
}
