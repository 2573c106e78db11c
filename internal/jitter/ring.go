package jitter

// A ring holds packets by sequence number. It starts small and doubles when
// the numbers in it span more than it has slots. Payloads are copied into
// buffers that go back to a free list, so that a stream takes as many as it
// holds at a time and, once it runs, allocates nothing.
type ring struct {
	slots    []slot // a power of two; nil until the first packet
	held     int    // slots in use
	last     int64  // highest sequence number put
	bytes    int    // of payloads held
	spare    [][]byte
	lent     []byte // given out with the last Result
	maxSlots int
	maxBytes int
	dropped  uint64 // packets thrown away to keep the limits
}

type slot struct {
	seq         int64 // 0 = free
	ts          int64 // extended timestamp
	payload     []byte
	timestamp   uint32
	ticks       uint32
	marker      bool
	payloadType uint8
}

const (
	firstSlots = 32
	maxSpare   = 16 // payload buffers kept for reuse
)

func (r *ring) reset(maxSlots, maxBytes int) {
	r.clear()
	n := firstSlots
	for n < maxSlots {
		n *= 2
	}
	r.last, r.dropped = 0, 0
	r.maxSlots, r.maxBytes = n, maxBytes
}

// clear frees every slot.
func (r *ring) clear() {
	for i := range r.slots {
		if r.slots[i].seq != 0 {
			r.free(r.slots[i].seq)
		}
	}
}

func (r *ring) slot(seq int64) *slot { return &r.slots[seq&int64(len(r.slots)-1)] }

// at returns the packet with this number, or nil.
func (r *ring) at(seq int64) *slot {
	if len(r.slots) == 0 {
		return nil
	}
	if s := r.slot(seq); s.seq == seq {
		return s
	}
	return nil
}

// first returns the packet with the lowest number not below from.
func (r *ring) first(from int64) (int64, *slot) {
	if r.held == 0 {
		return 0, nil
	}
	for seq := from; seq <= r.last; seq++ {
		if s := r.slot(seq); s.seq == seq {
			return seq, s
		}
	}
	return 0, nil
}

// put stores a packet whose number is not below from, the lowest still wanted.
// It returns the new from: what had to go to keep the limits went from the
// front.
func (r *ring) put(seq, from int64, s slot, payload []byte) int64 {
	if r.slots == nil {
		r.slots = make([]slot, firstSlots)
	}
	high := max(r.last, seq)
	for high-from >= int64(len(r.slots)) && len(r.slots) < r.maxSlots {
		r.grow()
	}
	if over := high - from - int64(len(r.slots)) + 1; over > 0 {
		from = r.discard(from, from+over)
	}
	for r.held > 0 && r.bytes+len(payload) > r.maxBytes {
		first, _ := r.first(from)
		from = r.discard(from, first+1)
	}
	if seq < from {
		r.dropped++
		return from
	}
	r.last = high
	s.seq = seq
	if len(payload) > 0 {
		s.payload = append(r.buffer(len(payload)), payload...)
	}
	*r.slot(seq) = s
	r.held++
	r.bytes += len(payload)
	return from
}

// discard frees the packets from from to before to.
func (r *ring) discard(from, to int64) int64 {
	for seq := from; seq < to && r.held > 0 && seq <= r.last; seq++ {
		if r.at(seq) != nil {
			r.free(seq)
			r.dropped++
		}
	}
	return to
}

func (r *ring) grow() {
	old := r.slots
	r.slots = make([]slot, 2*len(old))
	for i := range old {
		if old[i].seq != 0 {
			*r.slot(old[i].seq) = old[i]
		}
	}
}

// buffer returns an empty slice with room for n bytes.
func (r *ring) buffer(n int) []byte {
	if last := len(r.spare) - 1; last >= 0 {
		b := r.spare[last]
		r.spare = r.spare[:last]
		if cap(b) >= n {
			return b[:0]
		}
	}
	return make([]byte, 0, (n+31)&^31)
}

func (r *ring) keep(b []byte) {
	if cap(b) > 0 && len(r.spare) < maxSpare {
		r.spare = append(r.spare, b)
	}
}

// free empties a slot.
func (r *ring) free(seq int64) {
	s := r.slot(seq)
	r.held--
	r.bytes -= len(s.payload)
	r.keep(s.payload)
	*s = slot{}
}

// lend empties a slot but leaves its payload alone until release.
func (r *ring) lend(seq int64) {
	s := r.slot(seq)
	r.lent = s.payload
	r.held--
	r.bytes -= len(s.payload)
	*s = slot{}
}

func (r *ring) release() {
	r.keep(r.lent)
	r.lent = nil
}
