package media

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Stats is what a session has done so far. Everything about the peer is about
// the selected leg.
type Stats struct {
	Codec  string        // what is sent: "PCMU/8000"; "" before anything is agreed
	Suite  string        // "AEAD_AES_128_GCM"; "" = not encrypted
	PTime  time.Duration // in each packet sent
	Local  netip.AddrPort
	Remote netip.AddrPort // where RTP goes: the described address, or where the peer was found
	Mux    bool           // RTCP shares the port of RTP (RFC 5761)

	LocalDirection  offeranswer.Direction // what we said
	RemoteDirection offeranswer.Direction // what the peer said, from its point of view

	Sent     SentStats
	Received ReceivedStats

	RTT          time.Duration // round trip by RTCP; 0 = not known
	RemoteLoss   float64       // share of what we sent that the peer missed in its last interval, 0 to 1
	RemoteLost   int           // packets that the peer missed in all
	RemoteJitter time.Duration // as the peer saw it

	// LongestGap is the longest time without a received sound, see
	// [Session.ResetGap].
	LongestGap time.Duration

	Legs int // open dialogs
}

// SentStats count what was sent.
type SentStats struct {
	Packets uint64
	Bytes   uint64 // of the datagrams, without UDP and IP
	Failed  uint64 // not encoded, or not taken by the socket
	Digits  uint64 // of DTMF
	Reports uint64 // RTCP
	SSRC    uint32
}

// ReceivedStats count what was received.
type ReceivedStats struct {
	Codec     string // of the last packet; "" before the first
	Packets   uint64 // that were the peer's
	Bytes     uint64 // of their RTP, after decryption
	Lost      uint64 // missing by the sequence numbers, of the present source
	Late      uint64 // came after their time
	Concealed uint64 // pieces of sound made up in place of what was missing
	Discarded uint64 // duplicates, out of all order, to shorten the delay, or of a source that was left
	Broken    uint64 // payloads that could not be decoded
	Unknown   uint64 // of a payload type that was not agreed

	Jitter time.Duration // interarrival jitter (RFC 3550 §6.4.1)
	Delay  time.Duration // how long sound is held back against jitter

	BadSRTP  uint64 // forged, damaged, replayed, or under another key
	BadSRTCP uint64
	Stray    uint64 // from nobody we know, or not RTP

	PayloadSwitches uint64 // changes of the payload type
	SourceSwitches  uint64 // changes of the SSRC
	AddressMoves    uint64 // times that the peer was found elsewhere
	Digits          uint64 // of DTMF
	Reports         uint64 // RTCP
	SSRC            uint32
}

// Stats returns a snapshot.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &s.send
	st := Stats{
		Sent: SentStats{
			Packets: n.before + n.packets, Bytes: n.total, Failed: n.failed,
			Digits: s.press.count, Reports: s.rtcp.reports, SSRC: n.ssrc,
		},
		RTT: s.rtcp.rtt, RemoteLoss: s.rtcp.remoteLoss, RemoteLost: s.rtcp.remoteLost, RemoteJitter: s.rtcp.remoteJitter,
		LongestGap: s.gap.longest(), Legs: len(s.all),
	}
	st.Received.BadSRTP, st.Received.BadSRTCP, st.Received.Stray = s.counts.badSRTP, s.counts.badSRTCP, s.counts.stray
	st.Received.Digits, st.Received.Reports = s.counts.digits, s.rtcp.received
	st.Local = s.local
	l := s.selected
	if l == nil {
		l = s.last
	}
	if l == nil || !l.agreed {
		return st
	}
	st.Remote, st.Mux = l.route.target, l.route.mux
	if m := &l.media; !m.Disabled {
		st.PTime, st.LocalDirection, st.RemoteDirection = m.PTime, m.Local, m.Remote
		if m.Send.Codec != nil {
			st.Codec = m.Send.Codec.Format().Rtpmap()
		}
		if m.LocalCrypto != nil {
			st.Suite = m.LocalCrypto.Suite.String()
		}
	}
	l.rx.fill(&st.Received)
	st.Received.AddressMoves = uint64(l.route.moves)
	return st
}

func (r *receiver) fill(st *ReceivedStats) {
	a, b := &r.acct, r.jitterStats()
	st.Packets, st.Bytes = a.packets, a.bytes
	st.Lost = uint64(max(0, a.lost()))
	st.Jitter, st.Delay = a.jitterTime(), b.Delay
	st.Late, st.Concealed = b.Late, r.made
	st.Discarded = b.Duplicates + b.Rejected + b.Dropped + r.ignored
	st.Broken, st.Unknown = r.broken, r.unknown
	st.PayloadSwitches, st.SourceSwitches = r.switches, r.sources
	st.SSRC = r.ssrc
	if f, ok := r.format(); ok {
		st.Codec = f
	}
}

func (r *receiver) format() (string, bool) {
	if !r.hasPT || r.media == nil {
		return "", false
	}
	f, ok := r.media.Recv[r.pt]
	if !ok {
		return "", false
	}
	return f.Codec.Format().Rtpmap(), true
}

// String is one line for people.
func (s Stats) String() string {
	if s.Codec == "" {
		return "nothing agreed"
	}
	var b strings.Builder
	suite := s.Suite
	if suite == "" {
		suite = "not encrypted"
	}
	fmt.Fprintf(&b, "%s, %s, %v", s.Codec, suite, s.Remote)
	fmt.Fprintf(&b, ": sent %d packets", s.Sent.Packets)
	fmt.Fprintf(&b, ", received %d", s.Received.Packets)
	if total := s.Received.Packets + s.Received.Lost; total > 0 {
		fmt.Fprintf(&b, ", lost %d (%.1f %%)", s.Received.Lost, 100*float64(s.Received.Lost)/float64(total))
	}
	fmt.Fprintf(&b, ", late %d, concealed %d", s.Received.Late, s.Received.Concealed)
	fmt.Fprintf(&b, ", jitter %.1f ms, delay %d ms", float64(s.Received.Jitter.Microseconds())/1000, s.Received.Delay.Milliseconds())
	if s.RTT > 0 {
		fmt.Fprintf(&b, ", round trip %.1f ms", float64(s.RTT.Microseconds())/1000)
	}
	if n := s.Received.BadSRTP + s.Received.BadSRTCP; n > 0 {
		fmt.Fprintf(&b, ", refused %d", n)
	}
	return b.String()
}
