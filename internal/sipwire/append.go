package sipwire

import (
	"strconv"
	"strings"

	sipgo "github.com/emiago/sipgo/sip"
)

// Append puts the wire form of m behind dst. Content-Length is always there
// and always that of the body.
//
// Line ends within a value, which would let its author write header fields of
// their own, become spaces.
func Append(dst []byte, m sipgo.Message) []byte { return appendMessage(dst, m, ": ") }

// AppendTight is Append with no space behind the colon of a header field,
// which is as good (RFC 3261 §7.3.1) and the way of some servers.
func AppendTight(dst []byte, m sipgo.Message) []byte { return appendMessage(dst, m, ":") }

func appendMessage(dst []byte, m sipgo.Message, colon string) []byte {
	var headers []sipgo.Header
	switch m := m.(type) {
	case *sipgo.Request:
		dst = append(dst, m.Method...)
		dst = append(dst, ' ')
		dst = AppendURI(dst, &m.Recipient)
		dst = append(dst, ' ')
		dst = append(dst, m.SipVersion...)
		headers = m.Headers()
	case *sipgo.Response:
		dst = append(dst, m.SipVersion...)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(m.StatusCode), 10)
		dst = append(dst, ' ')
		dst = appendText(dst, m.Reason)
		headers = m.Headers()
	default:
		return dst
	}
	dst = append(dst, "\r\n"...)

	body := m.Body()
	measured := false
	for _, h := range headers {
		if _, ok := h.(*sipgo.ContentLengthHeader); ok || strings.EqualFold(h.Name(), "Content-Length") {
			if !measured {
				dst = appendLength(dst, colon, len(body))
			}
			measured = true
			continue
		}
		dst = appendHeader(dst, colon, h)
	}
	if !measured {
		dst = appendLength(dst, colon, len(body))
	}
	dst = append(dst, "\r\n"...)
	return append(dst, body...)
}

func appendLength(dst []byte, colon string, n int) []byte {
	dst = append(dst, "Content-Length"...)
	dst = append(dst, colon...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, "\r\n"...)
}

func appendHeader(dst []byte, colon string, h sipgo.Header) []byte {
	dst = append(dst, h.Name()...)
	dst = append(dst, colon...)
	switch h := h.(type) {
	case *sipgo.ViaHeader:
		dst = appendVia(dst, h)
	case *sipgo.FromHeader:
		dst = appendNameAddr(dst, h.DisplayName, &h.Address, h.Params)
	case *sipgo.ToHeader:
		dst = appendNameAddr(dst, h.DisplayName, &h.Address, h.Params)
	case *sipgo.ContactHeader:
		if h.Address.Wildcard {
			dst = append(dst, '*')
		} else {
			dst = appendNameAddr(dst, h.DisplayName, &h.Address, h.Params)
		}
	case *sipgo.RouteHeader:
		dst = appendNameAddr(dst, "", &h.Address, nil)
	case *sipgo.RecordRouteHeader:
		dst = appendNameAddr(dst, "", &h.Address, nil)
	case *sipgo.ReferToHeader:
		dst = appendNameAddr(dst, "", &h.Address, nil)
	case *sipgo.ReferredByHeader:
		dst = appendNameAddr(dst, h.DisplayName, &h.Address, h.Params)
	case *sipgo.CSeqHeader:
		dst = strconv.AppendUint(dst, uint64(h.SeqNo), 10)
		dst = append(dst, ' ')
		dst = append(dst, h.MethodName...)
	case *sipgo.CallIDHeader:
		dst = appendText(dst, string(*h))
	case *sipgo.MaxForwardsHeader:
		dst = strconv.AppendUint(dst, uint64(*h), 10)
	case *sipgo.ExpiresHeader:
		dst = strconv.AppendUint(dst, uint64(*h), 10)
	default:
		dst = appendText(dst, h.Value())
	}
	return append(dst, "\r\n"...)
}

func appendVia(dst []byte, h *sipgo.ViaHeader) []byte {
	dst = append(dst, h.ProtocolName...)
	dst = append(dst, '/')
	dst = append(dst, h.ProtocolVersion...)
	dst = append(dst, '/')
	dst = append(dst, h.Transport...)
	dst = append(dst, ' ')
	dst = appendHostPort(dst, h.Host, h.Port)
	return appendParams(dst, h.Params)
}

func appendHostPort(dst []byte, host string, port int) []byte {
	if strings.IndexByte(host, ':') >= 0 && host[0] != '[' {
		dst = append(dst, '[')
		dst = append(dst, host...)
		dst = append(dst, ']')
	} else {
		dst = append(dst, host...)
	}
	if port > 0 {
		dst = append(dst, ':')
		dst = strconv.AppendInt(dst, int64(port), 10)
	}
	return dst
}

func appendNameAddr(dst []byte, display string, uri *sipgo.Uri, params sipgo.HeaderParams) []byte {
	if display != "" {
		dst = appendQuoted(dst, display)
		dst = append(dst, ' ')
	}
	dst = append(dst, '<')
	dst = AppendURI(dst, uri)
	dst = append(dst, '>')
	return appendParams(dst, params)
}

// FormatNameAddr is the text of a name-addr: the display name, if any, in
// quotes, the URI in angle brackets, the parameters.
func FormatNameAddr(display string, uri *sipgo.Uri, params sipgo.HeaderParams) string {
	return string(appendNameAddr(nil, display, uri, params))
}

func appendParams(dst []byte, params sipgo.HeaderParams) []byte {
	for i := range params {
		p := &params[i]
		dst = append(dst, ';')
		dst = append(dst, p.K...)
		if p.V == "" {
			continue
		}
		dst = append(dst, '=')
		if p.V[0] != '"' && strings.ContainsAny(p.V, " \t\r\n;,\"") {
			dst = appendQuoted(dst, p.V)
		} else {
			dst = appendText(dst, p.V)
		}
	}
	return dst
}

// AppendURI puts the text of uri behind dst.
func AppendURI(dst []byte, uri *sipgo.Uri) []byte {
	if uri.Wildcard {
		return append(dst, '*')
	}
	if uri.Scheme == "" {
		dst = append(dst, "sip"...)
	} else {
		dst = append(dst, uri.Scheme...)
	}
	dst = append(dst, ':')
	if raw := uri.Raw(); raw != "" {
		return append(dst, raw...)
	}
	if uri.User != "" {
		dst = append(dst, uri.User...)
		if uri.Password != "" {
			dst = append(dst, ':')
			dst = append(dst, uri.Password...)
		}
		dst = append(dst, '@')
	}
	dst = appendHostPort(dst, uri.Host, uri.Port)
	for i := range uri.UriParams {
		dst = append(dst, ';')
		dst = appendPair(dst, &uri.UriParams[i])
	}
	for i := range uri.Headers {
		if i == 0 {
			dst = append(dst, '?')
		} else {
			dst = append(dst, '&')
		}
		dst = appendPair(dst, &uri.Headers[i])
	}
	return dst
}

func appendPair(dst []byte, p *sipgo.HeaderKV) []byte {
	dst = append(dst, p.K...)
	if p.V != "" {
		dst = append(dst, '=')
		dst = append(dst, p.V...)
	}
	return dst
}

// FormatURI is the text of uri.
func FormatURI(uri *sipgo.Uri) string { return string(AppendURI(nil, uri)) }

// appendText puts s behind dst with its line ends as spaces.
func appendText(dst []byte, s string) []byte {
	n := len(dst)
	dst = append(dst, s...)
	if strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		for i := n; i < len(dst); i++ {
			if dst[i] == '\r' || dst[i] == '\n' {
				dst[i] = ' '
			}
		}
	}
	return dst
}
