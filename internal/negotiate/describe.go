package negotiate

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/pion/sdp/v3"
)

// description is what we told the peer. It never changes.
type description struct {
	text    []byte
	version uint64
	origin  netip.Addr // address in o=, the same for all of a dialog
	streams []stream
}

// describe writes streams down. A description that says the same as one of
// prev has its number in o=, and so its text; another one has a number above
// version (RFC 3264 §8).
func (s *Session) describe(streams []stream, version uint64, prev ...*description) (*description, error) {
	d := &description{streams: streams, origin: netip.IPv4Unspecified()}
	for i := range streams {
		if !streams[i].off {
			d.origin = streams[i].local.RTP.Addr()
			break
		}
	}
	if len(prev) > 0 {
		d.origin = prev[0].origin
	}
	desc := s.marshalable(d)
	for _, p := range prev {
		desc.Origin.SessionVersion = p.version
		text, err := desc.Marshal()
		if err != nil {
			return nil, fmt.Errorf("negotiate: %w", err)
		}
		if bytes.Equal(text, p.text) {
			d.version, d.text = p.version, p.text
			return d, nil
		}
	}
	d.version = version + 1
	desc.Origin.SessionVersion = d.version
	var err error
	if d.text, err = desc.Marshal(); err != nil {
		return nil, fmt.Errorf("negotiate: %w", err)
	}
	return d, nil
}

func (s *Session) marshalable(d *description) *sdp.SessionDescription {
	// One c= line for all that share the address of the first live stream.
	common := d.origin
	for i := range d.streams {
		if !d.streams[i].off {
			common = d.streams[i].local.RTP.Addr()
			break
		}
	}
	desc := &sdp.SessionDescription{
		Origin: sdp.Origin{
			Username: s.cfg.Username, SessionID: s.id,
			NetworkType: "IN", AddressType: family(d.origin), UnicastAddress: d.origin.String(),
		},
		SessionName:           sdp.SessionName(s.cfg.SessionName),
		ConnectionInformation: connection(common),
		TimeDescriptions:      []sdp.TimeDescription{{}},
	}
	for i := range d.streams {
		desc.MediaDescriptions = append(desc.MediaDescriptions, s.mediaDescription(&d.streams[i], common))
	}
	return desc
}

func (s *Session) mediaDescription(st *stream, common netip.Addr) *sdp.MediaDescription {
	md := &sdp.MediaDescription{MediaName: sdp.MediaName{
		Media: st.kind, Protos: []string{st.proto}, Formats: st.fmts,
	}}
	attr := func(key, value string) {
		md.Attributes = append(md.Attributes, sdp.Attribute{Key: key, Value: value})
	}
	if st.mid != "" { // RFC 5888 §9.1: an answer repeats it
		attr("mid", st.mid)
	}
	if st.off {
		return md
	}
	rtp := st.local.RTP
	md.MediaName.Port.Value = int(rtp.Port())
	if rtp.Addr() != common {
		md.ConnectionInformation = connection(rtp.Addr())
	}
	for _, f := range st.formats {
		pt := strconv.Itoa(int(f.pt))
		md.MediaName.Formats = append(md.MediaName.Formats, pt)
		attr("rtpmap", pt+" "+s.rtpmap(f))
		if f.fmtp != "" {
			attr("fmtp", pt+" "+f.fmtp)
		}
	}
	attr("ptime", millisText(s.cfg.PTime))
	if s.cfg.MaxPTime > 0 {
		attr("maxptime", millisText(s.cfg.MaxPTime))
	}
	attr(st.dir.String(), "")
	// RFC 5761 §5.1.1: next to an offer to multiplex, where RTCP is otherwise.
	if v := rtcpText(st.local); v != "" && !(st.mux && st.answer) {
		attr("rtcp", v)
	}
	if st.mux {
		attr("rtcp-mux", "")
	}
	for _, c := range st.crypto {
		attr("crypto", string(c.Append(nil)))
	}
	return md
}

func (s *Session) rtpmap(f format) string {
	switch f.codec {
	case event:
		return "telephone-event/" + strconv.Itoa(f.rate)
	case noise:
		return "CN/8000"
	}
	return s.cfg.Codecs[f.codec].Format().Rtpmap()
}

// rtcpText is the value of a=rtcp, "" when RTCP is where RFC 3550 §11 puts it,
// one port above RTP (RFC 3605 §2.1).
func rtcpText(t Transport) string {
	rtcp := t.RTCP
	if !rtcp.IsValid() {
		rtcp = t.RTP
	}
	v := strconv.Itoa(int(rtcp.Port()))
	if rtcp.Addr() != t.RTP.Addr() {
		return v + " IN " + family(rtcp.Addr()) + " " + rtcp.Addr().String()
	}
	if int(rtcp.Port()) == int(t.RTP.Port())+1 {
		return ""
	}
	return v
}

func connection(a netip.Addr) *sdp.ConnectionInformation {
	return &sdp.ConnectionInformation{
		NetworkType: "IN", AddressType: family(a), Address: &sdp.Address{Address: a.String()},
	}
}

func family(a netip.Addr) string {
	if a.Is6() {
		return "IP6"
	}
	return "IP4"
}

func millisText(d time.Duration) string {
	return strconv.FormatInt(d.Milliseconds(), 10)
}
