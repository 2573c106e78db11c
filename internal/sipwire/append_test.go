package sipwire

import (
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"
)

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// Every type of header that sipgo has, and what its fields may hold.
func TestAppend(t *testing.T) {
	uri, err := ParseURI("sip:bob@biloxi.example;transport=tls")
	if err != nil {
		t.Fatal(err)
	}
	req := sipgo.NewRequest("INVITE", uri)
	id, hops, expires, ctype := sipgo.CallIDHeader("a84b"), sipgo.MaxForwardsHeader(70), sipgo.ExpiresHeader(4294967295), sipgo.ContentTypeHeader("application/sdp")
	wrong := sipgo.ContentLengthHeader(99)
	alice := sipgo.Uri{Scheme: "sip", User: "alice", Host: "2001:db8::1"}
	for _, h := range []sipgo.Header{
		&sipgo.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "TLS", Host: "2001:db8::1", Port: 5061,
			Params: sipgo.HeaderParams{{K: "branch", V: "z9hG4bK1"}, {K: "rport"}}},
		&sipgo.FromHeader{DisplayName: `A "quoted" \ name`, Address: alice, Params: sipgo.HeaderParams{{K: "tag", V: "1"}}},
		&sipgo.ToHeader{Address: uri},
		&id,
		&sipgo.CSeqHeader{SeqNo: 1, MethodName: "INVITE"},
		&hops,
		&sipgo.ContactHeader{Address: alice, Params: sipgo.HeaderParams{{K: "+sip.instance", V: `"<urn:uuid:1>"`}, {K: "x", V: "a b"}, {K: "y", V: `1,"2"`}}},
		&sipgo.ContactHeader{Address: sipgo.Uri{Wildcard: true}},
		&sipgo.RouteHeader{Address: uri},
		&sipgo.RecordRouteHeader{Address: uri},
		&sipgo.ReferToHeader{Address: uri},
		&sipgo.ReferredByHeader{DisplayName: "x", Address: uri},
		&expires,
		&ctype,
		&wrong,
		&wrong,
		sipgo.NewHeader("Supported", ""),
	} {
		req.AppendHeader(h)
	}
	req.SetBody([]byte("v=0\r\n"))
	want := crlf(`INVITE sip:bob@biloxi.example;transport=tls SIP/2.0
Via: SIP/2.0/TLS [2001:db8::1]:5061;branch=z9hG4bK1;rport
From: "A \"quoted\" \\ name" <sip:alice@[2001:db8::1]>;tag=1
To: <sip:bob@biloxi.example;transport=tls>
Call-ID: a84b
CSeq: 1 INVITE
Max-Forwards: 70
Contact: <sip:alice@[2001:db8::1]>;+sip.instance="<urn:uuid:1>";x="a b";y="1,\"2\""
Contact: *
Route: <sip:bob@biloxi.example;transport=tls>
Record-Route: <sip:bob@biloxi.example;transport=tls>
Refer-To: <sip:bob@biloxi.example;transport=tls>
Referred-By: "x" <sip:bob@biloxi.example;transport=tls>
Expires: 4294967295
Content-Type: application/sdp
Content-Length: 5
Supported: 

v=0
`)
	if got := string(Append([]byte("x"), req)); got != "x"+want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}

	tight := strings.ReplaceAll(want, ": ", ":")
	if got := string(AppendTight(nil, req)); got != tight {
		t.Errorf("tight:\n%s\nwant:\n%s", got, tight)
	}

	res := sipgo.NewResponse(200, "OK")
	if got := string(Append(nil, res)); got != "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n" {
		t.Errorf("response %q", got)
	}
	if got := Append(nil, nil); got != nil {
		t.Errorf("nothing gives %q", got)
	}
}

// No value can end its line.
func TestAppendInjection(t *testing.T) {
	const evil = "x\r\nEvil: 1\r\n\r\nBYE sip:y SIP/2.0\n"
	id, ctype := sipgo.CallIDHeader(evil), sipgo.ContentTypeHeader(evil)
	for name, h := range map[string]sipgo.Header{
		"generic":      sipgo.NewHeader("Subject", evil),
		"display name": &sipgo.FromHeader{DisplayName: evil, Address: sipgo.Uri{Host: "h"}},
		"parameter":    &sipgo.ToHeader{Address: sipgo.Uri{Host: "h"}, Params: sipgo.HeaderParams{{K: "x", V: evil}}},
		"quoted":       &sipgo.ToHeader{Address: sipgo.Uri{Host: "h"}, Params: sipgo.HeaderParams{{K: "x", V: `"` + evil + `"`}}},
		"Call-ID":      &id,
		"Content-Type": &ctype,
		"Reason":       Reason{Protocol: "SIP", Cause: 200, Text: evil}.Header(),
	} {
		res := sipgo.NewResponse(200, evil)
		res.AppendHeader(h)
		got := string(Append(nil, res))
		if n := strings.Count(got, "\n"); n != 4 || strings.Count(got, "\r") != 4 {
			t.Errorf("%s: %d lines:\n%s", name, n, got)
		}
	}
}

func TestQuote(t *testing.T) {
	for text, quoted := range map[string]string{
		"":             `""`,
		"a":            `"a"`,
		`a"b\c`:        `"a\"b\\c"`,
		"tab\there":    "\"tab\there\"",
		"\x00\x7f":     "\"\\\x00\\\x7f\"",
		"\u00e4\u4e2d": "\"\u00e4\u4e2d\"",
	} {
		if got := Quote(text); got != quoted {
			t.Errorf("Quote(%q) = %q", text, got)
		}
		if got := Unquote(quoted); got != text {
			t.Errorf("Unquote(%q) = %q", quoted, got)
		}
	}
	for _, s := range []string{"", "a", `"`, `"a`, `a"`} {
		if got := Unquote(s); got != s {
			t.Errorf("Unquote(%q) = %q", s, got)
		}
	}
}
