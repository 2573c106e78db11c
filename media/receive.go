package media

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/hoorn-phone/hoorn/internal/rtpio"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

const (
	// The control socket is looked at every so many turns: reports are rare,
	// and the kernel says when they came.
	controlTurns    = 10
	controlTurnsMux = 50 // nothing should come there
)

// counters of a session as a whole.
type counters struct {
	badSRTP  uint64 // did not verify
	badSRTCP uint64
	stray    uint64 // from nobody we know, or no RTP
	digits   uint64
}

// receive reads everything that came since the last turn. The caller holds mu.
func (s *Session) receive(w *work, now time.Time) {
	if s.held.again {
		s.held.again = false
		s.held.replay(func(p *rtpio.Packet) { s.packet(w, p, now, true) })
	}
	s.drain(w, s.sockets, now)
	if s.former != nil {
		s.drain(w, s.former, now)
	}
}

func (s *Session) drain(w *work, k *sockets, now time.Time) {
	// The handler is the worker's, so that it is made once and not per turn.
	w.session, w.now = s, now
	k.rtp.Drain(w.batch, now, w.handle)
	every := uint32(controlTurns)
	if s.selected != nil && s.selected.route.mux {
		every = controlTurnsMux
	}
	if s.turns%every == 0 {
		k.rtcp.Drain(w.batch, now, w.handle)
	}
	w.session = nil
}

// packet takes a datagram: RTCP is told from RTP by its type, whichever port
// it came to (RFC 5761 §4). again says that it had to wait for its keys.
func (s *Session) packet(w *work, p *rtpio.Packet, now time.Time, again bool) {
	if len(p.Data) < 8 || p.Data[0]>>6 != 2 {
		s.counts.stray++ // STUN, keep-alives, noise
		return
	}
	var ok, secure bool
	if t := p.Data[1]; t >= 192 && t <= 223 {
		if ok, secure = s.control(w, p, now); !ok && !s.keep(p, again) {
			s.refused(secure, &s.counts.badSRTCP)
		}
		return
	}
	if ok, secure = s.stream(w, p, now); !ok && !s.keep(p, again) {
		s.refused(secure, &s.counts.badSRTP)
	}
}

func (s *Session) refused(secure bool, bad *uint64) {
	if secure {
		*bad++
	} else {
		s.counts.stray++
	}
}

// keep holds a packet back that may be understood when an answer arrives: RTP
// takes the shorter way and is often there before it (RFC 3264 §5.1).
func (s *Session) keep(p *rtpio.Packet, again bool) bool {
	if again {
		return false
	}
	waiting := s.offering
	for _, l := range s.all {
		waiting = waiting || l.open
	}
	if waiting {
		s.held.put(p)
	}
	return waiting
}

// stream finds the leg of an RTP packet and hands it on. secure says that
// there was a key it could have had.
func (s *Session) stream(w *work, p *rtpio.Packet, now time.Time) (ok, secure bool) {
	if len(p.Data) < 12 {
		return false, false
	}
	ssrc := binary.BigEndian.Uint32(p.Data[8:])
	// Those first to whom it probably belongs: trying a key is not free.
	for _, likely := range [...]bool{true, false} {
		for _, l := range s.all {
			if likely != (l.rx.known && l.rx.ssrc == ssrc || p.From == l.route.target) {
				continue
			}
			secure = secure || len(l.keys) > 0
			if plain, k, ok := l.unprotect(w, p, ssrc, now); ok {
				l.accept(plain, k, p.From, p.At, now)
				return true, secure
			}
		}
	}
	return false, secure
}

// unprotect decrypts a packet with the leg's keys, or takes it as it is where
// the stream is in the clear.
func (l *leg) unprotect(w *work, p *rtpio.Packet, ssrc uint32, now time.Time) ([]byte, *key, bool) {
	for _, k := range l.keys {
		if plain, err := k.in.RTP(w.plain, p.Data); err == nil {
			return plain, k, true
		}
	}
	if !l.agreed || l.media.Disabled || l.media.Secure() {
		return nil, nil, false
	}
	seq := binary.BigEndian.Uint16(p.Data[2:])
	if !l.route.plain(p.From, ssrc, seq, &l.rx, l.s.e.cfg.StrictSource, p.At) {
		return nil, nil, false
	}
	return p.Data, nil, true
}

// accept takes a packet that is the peer's.
func (l *leg) accept(p []byte, k *key, from netip.AddrPort, at, now time.Time) {
	h, ok := parseHeader(p)
	if !ok {
		l.s.counts.stray++
		return
	}
	if k != nil {
		if k.verified.IsZero() {
			k.verified = now
		}
		if k.wanted && !k.told && k.in.Expiring() {
			k.told = true
			l.s.notify(l, offeranswer.NeedOffer, nil)
		}
	}
	l.alive(at)
	if !l.agreed {
		// Under a key that is about to be agreed.
		l.route.verified(from, l.rx.newer(&h), at)
		return
	}
	heard, newest := l.s.hears(l), l.rx.newer(&h)
	digit, ours := l.rx.packet(&h, at, heard && l.media.Local.Receives(), k != nil && l.superseded(k))
	if ours && k != nil && k.agreed {
		l.route.verified(from, newest, at)
	}
	l.s.key(digit, heard)
}

// key takes a digit, if there is one.
func (s *Session) key(g *Digit, heard bool) {
	if g != nil && heard {
		s.counts.digits++
		s.dtmf.put(*g)
	}
}

// alive notes a sign of life.
func (l *leg) alive(at time.Time) {
	if at.After(l.heardAt) {
		l.heardAt = at
	}
	l.silent = false
}

// header is an RTP packet taken apart (RFC 3550 §5.1).
type header struct {
	marker  bool
	pt      uint8
	seq     uint16
	ts      uint32
	ssrc    uint32
	payload []byte
	size    int // of the whole packet, for statistics
}

func parseHeader(p []byte) (h header, ok bool) {
	if len(p) < 12 || p[0]>>6 != 2 {
		return h, false
	}
	n := 12 + 4*int(p[0]&0x0f)
	if p[0]&0x10 != 0 {
		if len(p) < n+4 {
			return h, false
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(p[n+2:]))
	}
	end := len(p)
	if end < n {
		return h, false
	}
	if p[0]&0x20 != 0 {
		pad := int(p[end-1])
		if pad == 0 || pad > end-n {
			return h, false
		}
		end -= pad
	}
	return header{
		marker: p[1]&0x80 != 0, pt: p[1] & 0x7f,
		seq: binary.BigEndian.Uint16(p[2:]), ts: binary.BigEndian.Uint32(p[4:]),
		ssrc: binary.BigEndian.Uint32(p[8:]), payload: p[n:end], size: len(p),
	}, true
}

// maxHeld is how many packets wait for an answer: a second of them.
const maxHeld = 50

// holding is where packets wait that came before the answer with their keys.
// A full one loses its oldest.
type holding struct {
	ring  []rtpio.Packet
	first int
	n     int
	again bool // something was agreed since: try them now
}

func (h *holding) put(p *rtpio.Packet) {
	if h.ring == nil {
		h.ring = make([]rtpio.Packet, maxHeld)
	}
	if h.n == maxHeld {
		h.first = (h.first + 1) % maxHeld
		h.n--
	}
	slot := &h.ring[(h.first+h.n)%maxHeld]
	*slot = rtpio.Packet{Data: append(slot.Data[:0], p.Data...), From: p.From, At: p.At}
	h.n++
}

// replay gives back what waited, in order, and forgets it.
func (h *holding) replay(give func(*rtpio.Packet)) {
	for i := range h.n {
		give(&h.ring[(h.first+i)%maxHeld])
	}
	h.clear()
}

func (h *holding) clear() { *h = holding{} }
