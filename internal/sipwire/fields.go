package sipwire

import (
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// field reads one header field.
func (p *parser) field(name string, k kind, value string, request bool) {
	switch k {
	case generic:
		p.list = append(p.list, sipgo.NewHeader(name, value))
		return
	case kindVia:
		p.via(value)
		return
	case kindContact:
		p.contact(value, request)
		return
	case kindRoute:
		p.route(name, value)
		return
	}
	if p.have[k] {
		switch k {
		case kindContentLength:
			if n, ok := parseLength(value); !ok || n != p.length {
				p.bad(400, "conflicting Content-Length")
			}
		case kindContentType: // the first counts
		default:
			// RFC 4475 §3.3.8: whichever is taken, someone else took the other.
			p.bad(400, "more than one "+name)
		}
		return
	}

	f := p.f
	switch k {
	case kindFrom:
		if parseNameAddr(value, &f.from.DisplayName, &f.from.Address, &f.from.Params, &p.arena) != nil {
			p.malformed(name, value)
			return
		}
		p.list = append(p.list, &f.from)
	case kindTo:
		if parseNameAddr(value, &f.to.DisplayName, &f.to.Address, &f.to.Params, &p.arena) != nil {
			p.malformed(name, value)
			return
		}
		p.list = append(p.list, &f.to)
	case kindCallID:
		if value == "" || indexByte2(value, ' ', '\t') >= 0 {
			p.malformed(name, value)
			return
		}
		f.callID = sipgo.CallIDHeader(value)
		p.list = append(p.list, &f.callID)
	case kindCSeq:
		if !parseCSeq(value, &f.cseq) {
			p.malformed(name, value)
			return
		}
		p.list = append(p.list, &f.cseq)
	case kindMaxForwards:
		// Out of range it is treated as absent (RFC 4475 §3.1.2.4).
		n, ok := parseLength(value)
		if !ok || n > 255 {
			return
		}
		f.hops = sipgo.MaxForwardsHeader(n)
		p.list = append(p.list, &f.hops)
	case kindContentLength:
		n, ok := parseLength(value)
		if !ok {
			p.bad(400, "invalid Content-Length")
			return
		}
		p.length = n
		f.length = sipgo.ContentLengthHeader(n)
		p.list = append(p.list, &f.length)
	case kindContentType:
		f.ctype = sipgo.ContentTypeHeader(value)
		p.list = append(p.list, &f.ctype)
	}
	p.have[k] = true
}

// malformed keeps a header field that cannot be read as text, so that it is
// in the response that refuses the request.
func (p *parser) malformed(name, value string) {
	p.bad(400, "malformed "+name)
	p.list = append(p.list, sipgo.NewHeader(name, value))
}

func (p *parser) via(value string) {
	for more := true; more; {
		var elem string
		n := len(value)
		elem, value = cutList(value)
		more = len(elem) < n
		via := &p.f.via
		if p.vias > 0 {
			via = new(sipgo.ViaHeader)
		}
		if len(p.list) >= maxFields {
			p.bad(400, "too many header fields")
			return
		}
		usable, ok := parseVia(elem, via, &p.arena)
		if !ok {
			p.bad(400, "malformed Via")
		}
		if !usable {
			return
		}
		p.vias++
		p.have[kindVia] = true
		p.list = append(p.list, via)
	}
}

// parseVia reads SIP/2.0/UDP host:port;params with white space wherever the
// grammar has it (RFC 3261 §20.42). With bad parameters it is not ok, but
// usable: a 400 can be sent along it.
func parseVia(s string, via *sipgo.ViaHeader, a *arena) (usable, ok bool) {
	name, s, ok1 := strings.Cut(s, "/")
	version, s, ok2 := strings.Cut(s, "/")
	name, version, s = trimLWS(name), trimLWS(version), trimLWS(s)
	space := indexByte2(s, ' ', '\t')
	if !ok1 || !ok2 || space < 0 || !IsToken(name) || !IsToken(version) || !IsToken(s[:space]) {
		return false, false
	}
	transport := s[:space]
	s = s[space:]
	params := strings.IndexByte(s, ';')
	if params < 0 {
		params = len(s)
	}
	sentBy := trimLWS(s[:params])
	host, port := sentBy, ""
	if i := strings.LastIndexByte(sentBy, ':'); i > strings.IndexByte(sentBy, ']') {
		host, port = trimLWS(sentBy[:i]), trimLWS(sentBy[i+1:])
		if parsePort(port, &via.Port) != nil {
			return false, false
		}
	}
	var none int
	if parseHostPort(host, &via.Host, &none) != nil || none != 0 {
		return false, false
	}
	via.Host = strings.Trim(via.Host, "[]") // sipgo writes them again
	via.ProtocolName, via.ProtocolVersion, via.Transport = name, version, transport
	return true, parseParams(s[params:], &via.Params, a) == nil
}

// contact reads a Contact. One that cannot be read is an error in a request,
// where someone else is to be reached by it; in a response it is kept as text.
func (p *parser) contact(value string, request bool) {
	for more := true; more; {
		var elem string
		n := len(value)
		elem, value = cutList(value)
		more = len(elem) < n
		if len(p.list) >= maxFields {
			p.bad(400, "too many header fields")
			return
		}
		c := new(sipgo.ContactHeader)
		if trimLWS(elem) == "*" {
			*c = sipgo.ContactHeader{Address: sipgo.Uri{Wildcard: true, Host: "*"}}
		} else if parseNameAddr(elem, &c.DisplayName, &c.Address, &c.Params, &p.arena) != nil {
			if request {
				p.bad(400, "malformed Contact")
			}
			p.list = append(p.list, sipgo.NewHeader("Contact", trimLWS(elem)))
			continue
		}
		p.list = append(p.list, c)
	}
}

// route splits a Route or Record-Route, whose elements stay text.
func (p *parser) route(name, value string) {
	for elem := range List(value) {
		if len(p.list) >= maxFields {
			p.bad(400, "too many header fields")
			return
		}
		p.list = append(p.list, sipgo.NewHeader(name, elem))
	}
}

// parseCSeq reads a number below 2^31 and a method (RFC 3261 §8.1.1.5).
func parseCSeq(s string, cseq *sipgo.CSeqHeader) bool {
	i := indexByte2(s, ' ', '\t')
	if i < 0 {
		return false
	}
	n, ok := parseLength(s[:i])
	method := trimLWS(s[i:])
	if !ok || !IsToken(method) {
		return false
	}
	cseq.SeqNo, cseq.MethodName = uint32(n), sipgo.RequestMethod(method)
	return true
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) > 0
}
