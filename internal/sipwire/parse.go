package sipwire

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	sipgo "github.com/emiago/sipgo/sip"
)

// maxFields bounds the header fields of a message, lists split.
const maxFields = 1024

// BadMessage says that bytes are no message that may be processed.
type BadMessage struct {
	// Status is the response due, or 0 if there is none: the message was a
	// response or an ACK, or too little of it could be read.
	Status int
	Reason string // what is wrong, in words

	// Request is what could be read of the request when Status is not 0. It
	// has a Via; From, To, Call-ID and CSeq may be missing.
	Request *sipgo.Request
}

func (e *BadMessage) Error() string {
	if e.Status == 0 {
		return "sipwire: bad message: " + e.Reason
	}
	return fmt.Sprintf("sipwire: bad message (%d): %s", e.Status, e.Reason)
}

// Response is the response due, nil if there is none. It is sent without a
// transaction.
func (e *BadMessage) Response(toTag string) *sipgo.Response {
	if e.Status == 0 || e.Request == nil {
		return nil
	}
	reason := ""
	if e.Status == 400 {
		// RFC 3261 §21.4.1: the phrase should say what is wrong.
		reason = "Bad Request - " + e.Reason
	}
	return ResponseTo(e.Request, e.Status, reason, toTag)
}

// fields is where the header fields that most messages have live.
type fields struct {
	via    sipgo.ViaHeader
	from   sipgo.FromHeader
	to     sipgo.ToHeader
	callID sipgo.CallIDHeader
	cseq   sipgo.CSeqHeader
	ctype  sipgo.ContentTypeHeader
	hops   sipgo.MaxForwardsHeader
	length sipgo.ContentLengthHeader
	params [8]sipgo.HeaderKV
}

type requestFields struct {
	req sipgo.Request
	fields
}

type responseFields struct {
	res sipgo.Response
	fields
}

// parser reads one message.
type parser struct {
	f     *fields
	arena arena
	list  []sipgo.Header

	vias    int
	have    [16]bool // by kind
	length  int      // of the body; -1 without Content-Length
	problem string   // the first one
	status  int      // that goes with it
}

// lists are what the header fields of a message are collected in.
var lists = sync.Pool{New: func() any {
	list := make([]sipgo.Header, 0, 32)
	return &list
}}

// putList gives back a list that has grown to used.
func putList(list *[]sipgo.Header, used []sipgo.Header) {
	if cap(used) > 128 {
		return
	}
	clear(used)
	*list = used[:0]
	lists.Put(list)
}

func (p *parser) bad(status int, reason string) {
	if p.problem == "" {
		p.status, p.problem = status, reason
	}
}

// Parse reads a message: the payload of a datagram, or a Message frame of a
// stream. Every error is a *BadMessage. The result keeps nothing of data.
//
// A header field that is not needed to process the message is not looked at,
// so it may hold anything. What a user agent must be able to rely on is
// checked as RFC 4475 asks: the start line, Via, From, To, Call-ID, CSeq (of
// the same method), Content-Length, the Contact and Route of a request, and a
// scheme in the Request-URI that a SIP element can serve.
func Parse(data []byte, stream bool) (sipgo.Message, error) {
	for len(data) >= 2 && data[0] == '\r' && data[1] == '\n' {
		data = data[2:] // RFC 3261 §7.5
	}
	end := headEnd(data)
	head := string(data[:end])
	complete := strings.HasSuffix(head, "\r\n\r\n")

	line, rest, ok := cutLine(head)
	if !ok {
		return nil, &BadMessage{Reason: "no start line"}
	}
	if len(line) >= 4 && strings.EqualFold(line[:4], "SIP/") {
		return parseResponse(line, rest, data[end:], complete, stream)
	}
	return parseRequest(line, rest, data[end:], complete, stream)
}

// headEnd is the length of the header section with its empty line, or of all
// if there is none.
func headEnd(data []byte) int {
	if i := bytes.Index(data, []byte("\r\n\r\n")); i >= 0 {
		return i + 4
	}
	return len(data)
}

// cutLine cuts off a line with its CRLF.
func cutLine(s string) (line, rest string, ok bool) {
	i := strings.IndexByte(s, '\n')
	if i < 1 || s[i-1] != '\r' {
		return "", s, false
	}
	return s[:i-1], s[i+1:], true
}

func parseRequest(line, rest string, body []byte, complete, stream bool) (sipgo.Message, error) {
	// Request-Line = Method SP Request-URI SP SIP-Version CRLF, with exactly
	// one space each (RFC 3261 §7.1).
	method, after, _ := strings.Cut(line, " ")
	last := strings.LastIndexByte(strings.TrimRight(after, " "), ' ')
	if !IsToken(method) || last < 0 {
		return nil, &BadMessage{Reason: "not a SIP message"}
	}
	target, version := after[:last], after[last+1:]
	if len(version) < 4 || !strings.EqualFold(version[:4], "SIP/") {
		return nil, &BadMessage{Reason: "not a SIP message"}
	}

	r := new(requestFields)
	req := &r.req
	req.Method, req.SipVersion = sipgo.RequestMethod(method), "SIP/2.0"
	p := parser{f: &r.fields, length: -1}
	p.arena.free = r.params[:]
	switch {
	case strings.EqualFold(version, "SIP/2.0"):
	case strings.EqualFold(trimLWS(version), "SIP/2.0"):
		p.bad(400, "white space after the version")
	default:
		req.SipVersion = version
		p.bad(505, "unknown version")
	}
	if err := parseURI(target, &req.Recipient, &p.arena); err != nil {
		p.bad(400, "malformed Request-URI")
	} else if s := req.Recipient.Scheme; s != "sip" && s != "sips" && s != "tel" {
		p.bad(416, "unsupported scheme in Request-URI")
	} else if len(req.Recipient.Headers) > 0 {
		p.bad(400, "header fields in Request-URI") // §19.1.1, table 1
	}

	list := lists.Get().(*[]sipgo.Header)
	p.list = *list
	p.headers(rest, complete, true)
	req.PrependHeader(p.list...)
	putList(list, p.list)
	if p.vias > 1 {
		req.ReplaceHeader(p.topVia()) // makes it the one Via returns
	}
	if p.have[kindCSeq] && r.cseq.MethodName != req.Method {
		p.bad(400, "CSeq has another method")
	}
	p.mandatory()
	if b := p.body(body, stream); len(b) > 0 {
		req.SetBody(b)
	}
	if p.problem == "" {
		return req, nil
	}
	if p.vias == 0 || req.Method == sipgo.ACK {
		return nil, &BadMessage{Reason: p.problem}
	}
	return nil, &BadMessage{Status: p.status, Reason: p.problem, Request: req}
}

func parseResponse(line, rest string, body []byte, complete, stream bool) (sipgo.Message, error) {
	version, after, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(after, " ")
	if !strings.EqualFold(version, "SIP/2.0") {
		return nil, &BadMessage{Reason: "unknown version"}
	}
	if len(code) != 3 || code[0] < '1' || code[0] > '6' || !isDigits(code) {
		return nil, &BadMessage{Reason: "invalid status code"}
	}

	r := new(responseFields)
	res := &r.res
	res.SipVersion, res.Reason = "SIP/2.0", reason
	res.StatusCode = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	p := parser{f: &r.fields, length: -1}
	p.arena.free = r.params[:]
	list := lists.Get().(*[]sipgo.Header)
	p.list = *list
	p.headers(rest, complete, false)
	res.PrependHeader(p.list...)
	putList(list, p.list)
	if p.vias > 1 {
		// RFC 3261 §8.1.3.3: it went astray, or a proxy forgot its Via.
		p.bad(0, "more than one Via")
	}
	p.mandatory()
	if b := p.body(body, stream); len(b) > 0 {
		res.SetBody(b)
	}
	if p.problem != "" {
		return nil, &BadMessage{Reason: p.problem}
	}
	return res, nil
}

func (p *parser) topVia() *sipgo.ViaHeader { return &p.f.via }

// mandatory looks for what every message has (RFC 3261 §8.1.1, §8.2.6.2).
func (p *parser) mandatory() {
	for _, f := range [...]struct {
		name string
		kind kind
	}{{"Via", kindVia}, {"From", kindFrom}, {"To", kindTo}, {"Call-ID", kindCallID}, {"CSeq", kindCSeq}} {
		if !p.have[f.kind] {
			p.bad(400, "no "+f.name)
		}
	}
}

// body is the body of the message, copied.
func (p *parser) body(data []byte, stream bool) []byte {
	switch {
	case p.length < 0 && stream:
		p.bad(400, "no Content-Length")
		return nil
	case p.length < 0:
		p.length = len(data) // RFC 3261 §18.3: to the end of the datagram
	case p.length > len(data):
		p.bad(400, "message shorter than its Content-Length")
		return nil
	case stream && p.length < len(data):
		p.bad(400, "message longer than its Content-Length")
		return nil
	}
	if p.length == 0 {
		return nil
	}
	b := make([]byte, p.length)
	copy(b, data) // what is behind it in a datagram is discarded
	return b
}

// headers reads the header fields up to the empty line.
func (p *parser) headers(s string, complete, request bool) {
	if !complete {
		p.bad(400, "no empty line behind the header fields")
	}
	for s != "" {
		line, rest, ok := cutLine(s)
		if !ok {
			p.bad(400, "malformed line end")
			// Pass over it: what follows may be needed to answer.
			i := strings.IndexByte(s, '\n')
			if i < 0 {
				return
			}
			s = s[i+1:]
			continue
		}
		if line == "" {
			return
		}
		if rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
			line, rest = unfold(line, rest)
		}
		s = rest
		if len(p.list) >= maxFields {
			p.bad(400, "too many header fields")
			return
		}
		colon := strings.IndexByte(line, ':')
		if colon < 0 {
			p.bad(400, "malformed header field")
			continue
		}
		name := line[:colon]
		for len(name) > 0 && (name[len(name)-1] == ' ' || name[len(name)-1] == '\t') {
			name = name[:len(name)-1]
		}
		if !IsToken(name) || strings.IndexByte(line, '\r') >= 0 {
			p.bad(400, "malformed header field")
			continue
		}
		name, k := lookup(name)
		p.field(name, k, trimLWS(line[colon+1:]), request)
	}
}

// unfold joins a header field that goes on over several lines, with one space
// at each joint (RFC 3261 §7.3.1).
func unfold(line, rest string) (string, string) {
	var b strings.Builder
	b.WriteString(strings.TrimRight(line, " \t"))
	for rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
		next, after, ok := cutLine(rest)
		if !ok {
			break
		}
		b.WriteByte(' ')
		b.WriteString(trimLWS(next))
		rest = after
	}
	return b.String(), rest
}
