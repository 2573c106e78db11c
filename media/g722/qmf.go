package g722

// A qmf is one of the two quadrature mirror filters (G.722 §3.1, §4.4): it
// splits 16 kHz sound into two bands at 8 kHz, or joins them.
type qmf struct {
	// x is a ring of the last 24 inputs, held twice so that the 24 from at
	// are always contiguous.
	x  [48]int32
	at int
}

// push adds two samples and returns the last 24, oldest first.
func (q *qmf) push(a, b int32) *[24]int32 {
	q.x[q.at], q.x[q.at+24] = a, a
	q.x[q.at+1], q.x[q.at+25] = b, b
	if q.at += 2; q.at == 24 {
		q.at = 0
	}
	return (*[24]int32)(q.x[q.at:])
}

func (q *qmf) filter(a, b int32) (even, odd int32) {
	x := q.push(a, b)
	for i := range qmfTaps {
		even += x[2*i] * qmfTaps[i]
		odd += x[2*i+1] * qmfTaps[11-i]
	}
	return even, odd
}

// split takes two samples and returns one of each band, of 15 bits.
func (q *qmf) split(a, b int16) (low, high int32) {
	even, odd := q.filter(int32(a), int32(b))
	return (odd + even) >> 14, (odd - even) >> 14
}

// join takes one sample of each band and returns two.
func (q *qmf) join(low, high int32) (first, second int16) {
	even, odd := q.filter(low+high, low-high)
	return int16(saturate(odd >> 11)), int16(saturate(even >> 11))
}

func saturate(v int32) int32 { return max(-32768, min(32767, v)) }

// limit keeps a reconstructed sub-band sample in 15 bits (block LIMIT).
func limit(v int32) int32 { return max(-16384, min(16383, v)) }
