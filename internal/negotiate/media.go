package negotiate

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/media/codec"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Media is what is agreed about one stream. Its maps and what its pointers
// point to are shared: read only.
type Media struct {
	Kind offeranswer.Kind
	// Disabled says that the stream was refused or removed; everything below
	// is then the zero value.
	Disabled bool

	// Local is the direction that we stated, Remote the one that the peer
	// stated, each from its own point of view.
	Local, Remote offeranswer.Direction
	// Wanted is the direction that we would like, whatever the peer lets us.
	Wanted offeranswer.Direction
	// ConnectionHold says that the peer gave the unspecified address, the
	// old way to put on hold (RFC 3264 §8.4): neither RTP nor RTCP can be sent.
	ConnectionHold bool

	// Transport is the local end as described to the peer.
	Transport Transport
	// RemoteRTP and RemoteRTCP are where to send. The address is invalid when
	// the peer gave a host name, which is then RemoteHost. Port 0 of RemoteRTCP
	// means that there is no place for RTCP.
	RemoteRTP, RemoteRTCP netip.AddrPort
	RemoteHost            string
	// Mux says that RTCP shares the port of RTP, both ways (RFC 5761).
	Mux bool
	// Feedback says that the profile is AVPF or SAVPF (RFC 4585).
	Feedback bool

	// PTime is the packet time to send: the peer's wish, or ours when it has
	// none, within what the codec can do and the peer's limit. MaxPTime is
	// that limit, 0 for none.
	PTime, MaxPTime time.Duration

	// Send is the format to send. Recv are the formats that may come, by
	// payload type; it includes those of earlier descriptions, of which
	// packets may still be under way (RFC 3264 §8.3.2).
	Send Format
	Recv map[uint8]Format

	// DTMFSend is how to send telephone-events; the zero value means that the
	// peer takes none. DTMFRecv has the clock rate by payload type.
	DTMFSend Event
	DTMFRecv map[uint8]int
	// CN says that either side may send comfort noise, payload type 13, next
	// to codecs with a clock of 8000 Hz (RFC 3389 §4).
	CN bool

	// LocalCrypto is what we encrypt with, with one key; RemoteCrypto what the
	// peer does. Both are nil for a stream in the clear.
	LocalCrypto, RemoteCrypto *sdes.Crypto
}

// Format is a codec as agreed for one direction.
type Format struct {
	PT    uint8
	Codec codec.Codec
	// LocalFmtp is what our description says about the codec, RemoteFmtp what
	// the peer's does.
	LocalFmtp, RemoteFmtp string
}

// Event is how to send telephone-events (RFC 4733).
type Event struct {
	PT   uint8
	Rate int // clock rate of the RTP timestamps in Hz; 0 = no events
	// Flash says that the peer takes event 16 beside the digits 0 to 15.
	Flash bool
}

// Sends tells whether the agreement lets us send media: both sides want it and
// there is somewhere to send to.
func (m *Media) Sends() bool {
	return !m.Disabled && !m.ConnectionHold && m.Local.Sends() && m.Remote.Receives()
}

// Receives tells whether media of the peer is to be expected.
func (m *Media) Receives() bool {
	return !m.Disabled && m.Local.Receives() && m.Remote.Sends()
}

// Holds tells whether it is by our wish that the peer is not heard.
func (m *Media) Holds() bool { return !m.Wanted.Receives() }

// Secure tells whether the stream is encrypted.
func (m *Media) Secure() bool { return m.LocalCrypto != nil }

// Params are the parameters for an encoder of m.Send.
func (m *Media) Params() codec.Params {
	return codec.Params{PTime: m.PTime, LocalFmtp: m.Send.LocalFmtp, RemoteFmtp: m.Send.RemoteFmtp}
}

func (m *Media) detail() string {
	if m.Disabled {
		return ""
	}
	s := m.Send.Codec.Format().Rtpmap()
	if m.LocalCrypto != nil {
		s += ", " + m.LocalCrypto.Suite.String()
	}
	return s
}

// media puts together what does not depend on who offered. The order of p is
// that of the answer.
func (s *Session) media(st *stream, r *remoteMedia, p pairing) (Media, error) {
	m := Media{
		Kind:           offeranswer.Kind(st.kind),
		Remote:         r.dir,
		Wanted:         st.want,
		RemoteRTP:      netip.AddrPortFrom(r.addr, uint16(r.port)),
		RemoteRTCP:     r.rtcp,
		RemoteHost:     r.host,
		ConnectionHold: r.nowhere(),
		Feedback:       r.profile.feedback && profiles[st.proto].feedback,
		MaxPTime:       r.maxptime,
		Recv:           make(map[uint8]Format),
		DTMFRecv:       make(map[uint8]int),
	}
	switch {
	case m.RemoteRTCP.Port() == 0 && r.port < 65535: // RFC 3550 §11
		m.RemoteRTCP = netip.AddrPortFrom(r.addr, uint16(r.port)+1)
	case !m.RemoteRTCP.Addr().IsValid():
		m.RemoteRTCP = netip.AddrPortFrom(r.addr, m.RemoteRTCP.Port())
	}
	// Everything that we ever gave a number, then what holds now.
	for _, f := range st.numbers.ours {
		switch {
		case f.codec >= 0:
			m.Recv[f.pt] = Format{PT: f.pt, Codec: s.cfg.Codecs[f.codec], LocalFmtp: f.fmtp}
		case f.codec == event:
			m.DTMFRecv[f.pt] = f.rate
		}
	}
	for i, f := range p.ours {
		if f.codec < 0 {
			continue
		}
		c := Format{PT: f.pt, Codec: s.cfg.Codecs[f.codec], LocalFmtp: f.fmtp, RemoteFmtp: p.theirs[i].fmtp}
		m.Recv[f.pt] = c
		if m.Send.Codec == nil {
			m.Send = c
			m.Send.PT = p.theirs[i].pt
		}
	}
	if m.Send.Codec == nil {
		return m, refuse(ErrNoCodec, "%d formats", len(r.fmts))
	}
	clock := m.Send.Codec.Format().ClockRate
	for i, f := range p.ours {
		switch rf := p.theirs[i]; {
		case f.codec == event && (m.DTMFSend.Rate == 0 || m.DTMFSend.Rate != clock && f.rate == clock):
			m.DTMFSend = Event{PT: rf.pt, Rate: f.rate, Flash: rf.flash()}
		case f.codec == noise:
			m.CN = true
		}
	}
	m.PTime = codec.PTime(m.Send.Codec, cmp.Or(r.ptime, s.cfg.PTime))
	if m.MaxPTime > 0 && m.PTime > m.MaxPTime {
		m.PTime = codec.PTime(m.Send.Codec, m.MaxPTime)
	}
	return m, nil
}

func (m *Media) setMux(on bool) {
	m.Mux = on
	if on {
		m.RemoteRTCP = m.RemoteRTP
	}
}
