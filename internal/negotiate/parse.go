package negotiate

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/sdp/v3"

	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// Limits of what the peer may send.
const (
	maxBody       = 64 << 10
	maxMedia      = 64
	maxAttributes = 256 // per section
	maxFormats    = 256 // per m= line
	maxMID        = 64
)

// remote is what the peer's description says.
type remote struct {
	media []remoteMedia
}

// remoteMedia is one m= line with what follows it. Of a stream that is refused
// whatever it says, because of its kind, its transport or its port, only the
// first group is filled in.
type remoteMedia struct {
	kind, proto string
	port        int
	fmts        []string // as written
	mid         string
	several     bool // more than one port

	profile  profile
	dir      offeranswer.Direction
	addr     netip.Addr // invalid: host is a name
	host     string
	rtcp     netip.AddrPort // of a=rtcp; address invalid when it gave only a port
	mux      bool
	ptime    time.Duration // 0 = not given
	maxptime time.Duration
	formats  []remoteFormat // in order, without those that mean nothing
	payloads payloads       // all that are listed
	crypto   []string       // values of a=crypto, in order
	err      *Error         // why the stream cannot be used
}

// remoteFormat is one format of an m= line with its rtpmap and fmtp.
type remoteFormat struct {
	pt       uint8
	name     string
	rate     int
	channels int
	fmtp     string
}

// profile is an RTP profile.
type profile struct{ secure, feedback bool }

var profiles = map[string]profile{
	"RTP/AVP":   {},
	"RTP/AVPF":  {feedback: true},
	"RTP/SAVP":  {secure: true},
	"RTP/SAVPF": {secure: true, feedback: true},
}

// usable tells whether m is a live stream of a kind and transport that this
// package negotiates.
func (m *remoteMedia) usable() bool {
	_, ok := profiles[m.proto]
	return m.port != 0 && m.kind == string(offeranswer.Audio) && ok
}

// section is the session part of a description, or one m= line with what
// follows it, as text.
type section struct {
	m, c  string
	attrs []string
}

// parse reads a description. Its error is an *Error of kind ErrMalformed;
// what is wrong with one stream only is in the err of that stream.
func parse(body []byte) (*remote, error) {
	sections, err := split(body)
	if err != nil {
		return nil, err
	}
	r := &remote{media: make([]remoteMedia, len(sections)-1)}
	for i := range r.media {
		if err := r.media[i].readLine(sections[i+1]); err != nil {
			return nil, err
		}
	}
	desc, err := unmarshal(sections, r.media)
	if err != nil {
		return nil, err
	}
	next := 0 // of desc's streams, which are the usable ones
	for i := range r.media {
		if m := &r.media[i]; m.usable() {
			m.err = m.read(desc, desc.MediaDescriptions[next])
			next++
		}
	}
	return r, nil
}

// split cuts a description into its session part and its m= lines. Lines that
// decide nothing here (b=, i=, r= and so on) are left out, so that odd ones
// cost nothing: RFC 8866 §5 has unknown bandwidth types and attributes ignored.
func split(body []byte) ([]section, *Error) {
	if len(body) > maxBody {
		return nil, refuse(ErrMalformed, "%d bytes", len(body))
	}
	sections := make([]section, 1, 4)
	cur := &sections[0]
	first, origin := true, false
	for line := range strings.SplitSeq(string(body), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue // tolerated, most often at the end
		}
		if len(line) < 2 || line[1] != '=' || strings.ContainsAny(line, "\r\x00") {
			return nil, refuse(ErrMalformed, "a line that is not type=value")
		}
		if first && line != "v=0" {
			return nil, refuse(ErrMalformed, "does not begin with v=0")
		}
		first = false
		switch value := line[2:]; line[0] {
		case 'o':
			origin = true
		case 'm':
			if len(sections) > maxMedia {
				return nil, refuse(ErrMalformed, "more than %d streams", maxMedia)
			}
			sections = append(sections, section{m: value})
			cur = &sections[len(sections)-1]
		case 'c':
			// Several c= lines are for layered multicast (RFC 8866 §5.7), which
			// is not done here; the first one stands.
			if cur.c == "" {
				cur.c = strings.TrimSpace(value)
			}
		case 'a':
			if len(cur.attrs) == maxAttributes {
				return nil, refuse(ErrMalformed, "more than %d attributes", maxAttributes)
			}
			cur.attrs = append(cur.attrs, value)
		default:
			if line[0] < 'a' || line[0] > 'z' {
				return nil, refuse(ErrMalformed, "unknown line type")
			}
		}
	}
	if first || !origin {
		return nil, refuse(ErrMalformed, "no v= or o= line")
	}
	return sections, nil
}

// unmarshal gives pion/sdp the session part and the streams that can be used.
// Others stay text: all that is done with them is to say no, and their kinds
// and transports are an open set (RFC 3264 §6).
func unmarshal(sections []section, media []remoteMedia) (*sdp.SessionDescription, *Error) {
	var b strings.Builder
	line := func(typ byte, parts ...string) {
		b.WriteByte(typ)
		b.WriteByte('=')
		for _, p := range parts {
			b.WriteString(p)
		}
		b.WriteString("\r\n")
	}
	line('v', "0")
	line('o', "- 0 0 IN IP4 0.0.0.0") // whose it is decides nothing here
	line('s', "-")
	for i, s := range sections {
		if i > 0 {
			m := &media[i-1]
			if !m.usable() {
				continue
			}
			line('m', "audio ", strconv.Itoa(m.port), " ", m.proto, " ", strings.Join(m.fmts, " "))
		}
		if s.c != "" {
			line('c', s.c)
		}
		if i == 0 {
			line('t', "0 0")
		}
		for _, a := range s.attrs {
			line('a', a)
		}
	}
	desc := new(sdp.SessionDescription)
	if err := desc.UnmarshalString(b.String()); err != nil {
		return nil, refuse(ErrMalformed, "a c= or m= line that cannot be read")
	}
	return desc, nil
}

// readLine reads the m= line and a=mid.
func (m *remoteMedia) readLine(s section) *Error {
	f := strings.Fields(s.m)
	if len(f) < 4 || len(f)-3 > maxFormats {
		return refuse(ErrMalformed, "an m= line with %d fields", len(f))
	}
	for _, w := range f { // they go back in the answer
		if strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return refuse(ErrMalformed, "an m= line that is not ASCII")
		}
	}
	port, count, several := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return refuse(ErrMalformed, "an m= line without a port")
	}
	m.several = several && count != "1"
	m.kind, m.port, m.proto, m.fmts = f[0], int(n), f[2], f[3:]
	for _, a := range s.attrs {
		v, ok := strings.CutPrefix(a, "mid:")
		if ok && m.mid == "" && v != "" && len(v) <= maxMID && printable(v, false) {
			m.mid = v
		}
	}
	return nil
}

// read fills in what a usable stream says.
func (m *remoteMedia) read(desc *sdp.SessionDescription, md *sdp.MediaDescription) *Error {
	m.profile = profiles[m.proto]
	if m.several {
		return refuse(ErrNoStream, "several ports") // hierarchical encoding
	}
	conn := md.ConnectionInformation
	if conn == nil {
		conn = desc.ConnectionInformation
	}
	if err := m.readAddress(conn); err != nil {
		return err
	}
	var err *Error
	if m.dir, err = direction(md.Attributes, desc.Attributes); err != nil {
		return err
	}
	maps := make(map[uint8]string)
	fmtps := make(map[uint8]string)
	for _, a := range md.Attributes {
		switch a.Key {
		case "rtpmap":
			if pt, v, ok := payload(a.Value); ok {
				if old, dup := maps[pt]; dup && !strings.EqualFold(old, v) {
					return refuse(ErrContradiction, "two rtpmaps for payload type %d", pt)
				}
				maps[pt] = v
			}
		case "fmtp":
			if pt, v, ok := payload(a.Value); ok && fmtps[pt] == "" {
				fmtps[pt] = v
			}
		case "ptime":
			m.ptime = packetTime(a.Value, m.ptime)
		case "maxptime":
			m.maxptime = packetTime(a.Value, m.maxptime)
		case "rtcp":
			m.rtcp = rtcpAddress(a.Value)
		case "rtcp-mux":
			m.mux = true
		case "crypto":
			m.crypto = append(m.crypto, a.Value)
		}
	}
	m.readFormats(maps, fmtps)
	return nil
}

// readAddress reads the c= line that holds for the stream.
func (m *remoteMedia) readAddress(c *sdp.ConnectionInformation) *Error {
	if c == nil || c.Address == nil {
		return refuse(ErrContradiction, "a stream without c=")
	}
	text, _, _ := strings.Cut(c.Address.Address, "/") // TTL and number of groups
	addr, err := netip.ParseAddr(text)
	if err != nil {
		if c.AddressType != "IP4" && c.AddressType != "IP6" || !hostname(text) {
			return refuse(ErrMalformed, "an address that is none")
		}
		m.host = text
		return nil
	}
	switch {
	case addr.Is4() != (c.AddressType == "IP4"):
		return refuse(ErrContradiction, "an address that is not %s", c.AddressType)
	case addr.Zone() != "":
		return refuse(ErrNoStream, "an address with a zone")
	case addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return refuse(ErrNoStream, "a multicast or broadcast address")
	}
	m.addr = addr.Unmap()
	return nil
}

// nowhere tells whether the peer gave an address that cannot be sent to: the
// unspecified one (RFC 3264 §8.4), or a name under .invalid, which RFC 6157
// has in its place for IPv6.
func (m *remoteMedia) nowhere() bool {
	if m.addr.IsValid() {
		return m.addr.IsUnspecified()
	}
	return strings.HasSuffix(strings.ToLower(strings.TrimSuffix(m.host, ".")), ".invalid")
}

// hostname tells whether s looks like a name that somebody could look up.
func hostname(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '.' && r != '_'
	})
}

// direction finds the direction of a stream: its own attribute, or the
// session's, or sendrecv (RFC 8866 §6.7).
func direction(own, session []sdp.Attribute) (offeranswer.Direction, *Error) {
	for _, attrs := range [][]sdp.Attribute{own, session} {
		found := offeranswer.Direction(-1)
		for _, a := range attrs {
			i := slices.Index(directions[:], a.Key)
			if i < 0 || a.Value != "" {
				continue
			}
			if found >= 0 && found != offeranswer.Direction(i) {
				return 0, refuse(ErrContradiction, "two directions")
			}
			found = offeranswer.Direction(i)
		}
		if found >= 0 {
			return found, nil
		}
	}
	return offeranswer.SendRecv, nil
}

var directions = [...]string{
	offeranswer.SendRecv: "sendrecv",
	offeranswer.SendOnly: "sendonly",
	offeranswer.RecvOnly: "recvonly",
	offeranswer.Inactive: "inactive",
}

// payload splits "<payload type> <rest>".
func payload(s string) (pt uint8, rest string, ok bool) {
	num, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	n, err := strconv.ParseUint(num, 10, 7)
	return uint8(n), strings.TrimSpace(rest), err == nil
}

// packetTime reads a=ptime and a=maxptime: milliseconds, of which the first
// sensible value counts. Fractions are let pass and dropped.
func packetTime(s string, had time.Duration) time.Duration {
	s, _, _ = strings.Cut(strings.TrimSpace(s), ".")
	n, err := strconv.ParseUint(s, 10, 16)
	if had != 0 || err != nil || n == 0 || n > 1000 {
		return had
	}
	return time.Duration(n) * time.Millisecond
}

// rtcpAddress reads a=rtcp: a port, and an address when it is not that of c=
// (RFC 3605 §2.1). What cannot be read counts as absent.
func rtcpAddress(s string) netip.AddrPort {
	f := strings.Fields(s)
	if len(f) == 0 {
		return netip.AddrPort{}
	}
	port, err := strconv.ParseUint(f[0], 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	var addr netip.Addr
	if len(f) >= 4 {
		if addr, err = netip.ParseAddr(f[3]); err != nil || addr.IsMulticast() || addr.Zone() != "" {
			return netip.AddrPort{}
		}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port))
}
