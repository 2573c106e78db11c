package opus

// frameSamples returns the samples of one frame from a packet's first byte
// (RFC 6716 §3.1 table 2), at a rate that is a multiple of 400.
func frameSamples(toc byte, rate int) int {
	config := toc >> 3
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		return rate / 100 * [4]int{1, 2, 4, 6}[config&3]
	case config < 16: // hybrid: 10, 20 ms
		return rate / 100 << (config & 1)
	default: // CELT: 2.5, 5, 10, 20 ms
		return rate / 400 << (config & 3)
	}
}

// packetSamples returns the samples of a packet, or 0 if it is none: it has no
// frames, or more than 120 ms of them (RFC 6716 §3.2, rules 1, 5 and 6).
func packetSamples(packet []byte, rate int) int {
	if len(packet) == 0 {
		return 0
	}
	frames := 2
	switch packet[0] & 3 {
	case 0:
		frames = 1
	case 3:
		if len(packet) < 2 {
			return 0
		}
		frames = int(packet[1] & 0x3f)
	}
	n := frames * frameSamples(packet[0], rate)
	if n > rate*120/1000 {
		return 0
	}
	return n
}
