package media

import (
	"net/netip"
	"time"

	"github.com/hoorn-phone/hoorn/internal/negotiate"
)

const (
	// latchPackets is how many packets in a row from an address that was not
	// announced make it the peer's, in a stream without encryption.
	latchPackets = 3

	// latchSilence is how long the known address must have been silent before
	// the same unencrypted stream may come from another.
	latchSilence = 200 * time.Millisecond

	// latchSeq is how far the sequence numbers of such packets may be from
	// those before.
	latchSeq = 100
)

// A route is where a leg's peer is. The description says where (RFC 3264
// §5.1); a NAT may say otherwise (symmetric RTP, RFC 4961). Encrypted streams
// follow every packet that verifies and is newer than those before. For
// unencrypted ones see [route.plain].
type route struct {
	described         netip.AddrPort // RTP, in the peer's description
	describedControl  netip.AddrPort
	target, control   netip.AddrPort // where RTP and RTCP go
	left              netip.AddrPort // where they went before the description changed
	mux               bool
	heard             bool // a packet came from target
	heardAt           time.Time
	candidate         netip.AddrPort // of latching
	candidateSSRC     uint32
	candidateSeq      uint16
	candidates, moves int
}

// set takes the addresses of a description and tells whether RTP's changed.
// What was learnt from packets stays while the description says the same.
func (r *route) set(m *negotiate.Media) (moved bool) {
	r.mux = m.Mux
	rtp := m.RemoteRTP
	if m.Disabled || m.ConnectionHold || !rtp.Addr().IsValid() || rtp.Port() == 0 {
		return false // nothing is sent there; the former address may come back
	}
	rtcp := m.RemoteRTCP
	if m.Mux {
		rtcp = rtp
	}
	if rtp != r.described {
		moved = r.described.IsValid()
		r.left = r.target
		r.described, r.target, r.heard, r.candidates = rtp, rtp, false, 0
		r.control = rtcp
	}
	if rtcp != r.describedControl {
		r.describedControl, r.control = rtcp, rtcp
	}
	return moved
}

// verified follows an encrypted packet. newest says that none came before with
// a higher sequence number: a late one of the former path changes nothing.
func (r *route) verified(from netip.AddrPort, newest bool, now time.Time) {
	if from == r.target {
		r.heard, r.heardAt = true, now
		return
	}
	if newest && from != r.left {
		r.move(from)
		r.heard, r.heardAt = true, now
	}
}

func (r *route) move(to netip.AddrPort) {
	r.target = to
	r.moves++
	if r.mux {
		r.control = to
	}
}

// verifiedControl follows an encrypted report.
func (r *route) verifiedControl(from netip.AddrPort) {
	if !r.mux && from != r.left {
		r.control = from
	}
}

// plain decides whether an unencrypted packet is the peer's. One from the
// described address is, and so is one from where the peer was found. Any other
// address needs [latchPackets] packets of one source in a row, and either
// nothing has been heard from the peer yet, or the same source was heard of
// the known address, which has fallen silent, and its sequence numbers go on.
// Who cannot see the traffic cannot take over a call that way once it has
// begun; before that it is first come, first served, which is what
// [Config.StrictSource] is for.
func (r *route) plain(from netip.AddrPort, ssrc uint32, seq uint16, rx *receiver, strict bool, now time.Time) bool {
	if from == r.target || from == r.described {
		if from != r.target {
			r.move(from) // the peer itself, after all
		}
		r.heard, r.heardAt, r.candidates = true, now, 0
		return true
	}
	if from == r.left {
		// Who was there before the description changed is heard until the peer
		// is where it says now.
		return !r.heard && rx.known && ssrc == rx.ssrc
	}
	if strict || from.Addr().Is4() != r.described.Addr().Is4() {
		return false
	}
	if r.heard {
		near := rx.known && ssrc == rx.ssrc && seq-rx.highest() < latchSeq
		if !near || now.Sub(r.heardAt) < latchSilence {
			return false
		}
	}
	if r.candidates == 0 || from != r.candidate || ssrc != r.candidateSSRC || seq-r.candidateSeq-1 >= latchSeq {
		r.candidate, r.candidateSSRC, r.candidates = from, ssrc, 0
	}
	r.candidateSeq = seq
	if r.candidates++; r.candidates < latchPackets {
		return false
	}
	r.move(from)
	r.heard, r.heardAt, r.candidates = true, now, 0
	return true
}
