package g722

// A band is the ADPCM coder of one sub-band (G.722 §3, §4): a quantiser whose
// step adapts, and a predictor of two poles and six zeros. Encoder and decoder
// run the same state forward from the same codewords. Names in comments are
// those of the Recommendation's block diagrams.
type band struct {
	step   int32 // DET, the quantiser's scale factor
	logStp int32 // NB, its logarithm

	estimate int32    // S, the predicted sample
	zeros    int32    // SZ, the part of it from the zeros
	a        [3]int32 // A, pole coefficients 1 and 2
	r        [3]int32 // RLT, reconstructed samples, newest at 1
	p        [3]int32 // PLT, partially reconstructed samples, newest at 1
	b        [6]int32 // B, zero coefficients
	d        [6]int32 // D, quantised differences, newest first
}

const lowStep, highStep = 32, 8 // initial scale factors (table 18)

func (s *band) init(step int32) { *s = band{step: step} }

// encodeLow quantises a low-band sample to six bits (blocks 1L to 4L).
func (s *band) encodeLow(x int32) byte {
	diff := saturate(x - s.estimate)
	code := quantiseLow(diff, s.step)
	s.adaptLow(code)
	return code
}

// decodeLow returns the sample for a six-bit code (blocks 2L to 6L).
func (s *band) decodeLow(code byte) int32 {
	out := s.estimate + s.step*level64[code]>>15
	s.adaptLow(code)
	return limit(out)
}

// adaptLow runs the state forward. Only the four upper bits of a code count:
// the others may have been stolen for data on the way (§1.3).
func (s *band) adaptLow(code byte) {
	code >>= 2
	diff := s.step * level16[code] >> 15
	s.logStp = max(0, min(18432, s.logStp*127>>7+growLow[code]))
	s.step = stepSize(s.logStp, 8)
	s.predict(diff)
}

func (s *band) encodeHigh(x int32) byte {
	diff := saturate(x - s.estimate)
	code := quantiseHigh(diff, s.step)
	s.adaptHigh(code)
	return code
}

func (s *band) decodeHigh(code byte) int32 {
	out := s.estimate + s.step*level4[code]>>15
	s.adaptHigh(code)
	return limit(out)
}

func (s *band) adaptHigh(code byte) {
	diff := s.step * level4[code] >> 15
	s.logStp = max(0, min(22528, s.logStp*127>>7+growHigh[code]))
	s.step = stepSize(s.logStp, 10)
	s.predict(diff)
}

// quantiseLow finds the six-bit code of a difference (block 1L, QUANTL).
func quantiseLow(diff, step int32) byte {
	mag := diff
	if diff < 0 {
		mag = ^diff
	}
	// The decision levels ascend: a binary search over 29 of them.
	lo, hi := 1, 30
	for lo < hi {
		mid := (lo + hi) / 2
		if mag < decision64[mid]*step>>12 {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if diff < 0 {
		return codeNeg[lo]
	}
	return codePos[lo]
}

// quantiseHigh finds the two-bit code of a difference (block 1H, QUANTH).
func quantiseHigh(diff, step int32) byte {
	outer := decision4 * step >> 12
	switch {
	case diff >= outer:
		return 2
	case diff >= 0:
		return 3
	case ^diff >= outer:
		return 0
	default:
		return 1
	}
}

// stepSize turns the logarithm of a scale factor back (blocks SCALEL, SCALEH).
func stepSize(log, shift int32) int32 {
	v := exponent[log>>6&31]
	if n := shift - log>>11; n < 0 {
		v <<= -n
	} else {
		v >>= n
	}
	return v << 2
}

// predict is block 4: it takes the quantised difference of this sample and
// leaves the estimate of the next.
func (s *band) predict(diff int32) {
	// RECONS, PARREC
	recon := saturate(s.estimate + diff)
	part := saturate(s.zeros + diff)
	p1, p2 := s.p[1], s.p[2]

	// UPPOL2: a2 moves with the signs of the three newest partial samples.
	a1 := saturate(s.a[1] << 2)
	if part^p1 >= 0 {
		a1 = -a1 // saturation at 32767 as the Recommendation has it
	}
	a1 = min(a1, 32767)
	a2 := int32(-128)
	if part^p2 >= 0 {
		a2 = 128
	}
	a2 += a1 >> 7
	a2 += s.a[2] * 32512 >> 15
	a2 = max(-12288, min(12288, a2))

	// UPPOL1: a1 moves by 192 and stays where the filter is stable.
	b1 := int32(-192)
	if part^p1 >= 0 {
		b1 = 192
	}
	b1 = saturate(b1 + s.a[1]*32640>>15)
	bound := saturate(15360 - a2)
	b1 = max(-bound, min(bound, b1))

	// UPZERO, DELAYA and FILTEZ, one zero after the other: coefficient i moves
	// with the signs of the newest difference and of the one i samples older,
	// then weighs the one that DELAYA puts in its place.
	up := int32(128)
	if diff == 0 {
		up = 0
	}
	var sz int32
	shifted := diff
	for i, was := range s.d {
		b := s.b[i] * 32640 >> 15
		if was^diff >= 0 {
			b += up
		} else {
			b -= up
		}
		s.b[i] = saturate(b)
		s.d[i] = shifted
		sz += s.b[i] * saturate(shifted<<1) >> 15
		shifted = was
	}
	s.zeros = saturate(sz)

	// DELAYA, FILTEP, PREDIC
	s.a[1], s.a[2] = b1, a2
	s.r[2], s.r[1] = s.r[1], recon
	s.p[2], s.p[1] = p1, part
	sp := b1*saturate(recon<<1)>>15 + a2*saturate(s.r[2]<<1)>>15
	s.estimate = saturate(saturate(sp) + s.zeros)
}
