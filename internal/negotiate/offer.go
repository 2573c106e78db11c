package negotiate

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/hoorn-phone/hoorn/internal/sdes"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// offerStreams makes the streams of an offer. base is the agreement so far,
// empty for a first offer, known what our payload types have meant.
func (s *Session) offerStreams(base agreement, known []numbers, o offeranswer.Options, at Locate) ([]stream, error) {
	streams := slices.Clone(base.streams)
	add := o.Add
	if len(streams) == 0 {
		add = append([]offeranswer.Kind{offeranswer.Audio}, add...)
	}
	for _, kind := range add {
		if kind != offeranswer.Audio {
			return nil, fmt.Errorf("%w: streams of kind %q", ErrOptions, kind)
		}
		if len(streams) == maxMedia {
			return nil, fmt.Errorf("%w: more than %d streams", ErrOptions, maxMedia)
		}
		// RFC 3264 §8.1: a new stream goes below those there are.
		streams = append(streams, stream{kind: string(kind), proto: s.profile()})
	}
	if err := apply(streams, o); err != nil {
		return nil, err
	}
	for i := range streams {
		st := &streams[i]
		if st.off {
			continue
		}
		var agreed *sdes.Crypto
		var peer netip.Addr
		if i < len(base.media) {
			agreed, peer = base.media[i].LocalCrypto, base.media[i].RemoteRTP.Addr()
		}
		if i < len(known) {
			st.numbers = known[i]
		}
		var err error
		if st.local, err = locate(at, i, peer); err != nil {
			return nil, err
		}
		st.dir, st.answer = st.want, false
		st.formats = s.offerFormats(st.formats, &st.numbers)
		st.mux = s.cfg.RTCPMux
		if err := s.offerCrypto(st, agreed, o.NewKeys); err != nil {
			return nil, err
		}
	}
	return streams, nil
}

// profile is the transport of a stream that we offer. RFC 8643 §3.1 wants
// optional encryption offered as RTP/AVP.
func (s *Session) profile() string {
	if s.cfg.Policy == Required {
		return "RTP/SAVP"
	}
	return "RTP/AVP"
}

// apply does what options say about directions and removal.
func apply(streams []stream, o offeranswer.Options) error {
	for i, d := range o.Direction {
		if i < 0 || i >= len(streams) || d < offeranswer.SendRecv || d > offeranswer.Inactive {
			return fmt.Errorf("%w: direction %v for stream %d", ErrOptions, d, i)
		}
		streams[i].want = d
	}
	for _, i := range o.Remove {
		if i < 0 || i >= len(streams) {
			return fmt.Errorf("%w: removal of stream %d", ErrOptions, i)
		}
		streams[i].disable()
	}
	return nil
}

// locate asks for the local addresses of a stream and checks them.
func locate(at Locate, i int, peer netip.Addr) (Transport, error) {
	t, err := at(i, peer)
	if err != nil {
		return t, err
	}
	for _, a := range []netip.AddrPort{t.RTP, t.RTCP} {
		if a == (netip.AddrPort{}) && a != t.RTP {
			continue
		}
		if !a.IsValid() || a.Addr().IsUnspecified() || a.Port() == 0 {
			return t, fmt.Errorf("negotiate: stream %d has no usable local address: %v", i, a)
		}
	}
	t.RTP = unmap(t.RTP)
	t.RTCP = unmap(t.RTCP)
	return t, nil
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
