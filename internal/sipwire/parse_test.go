package sipwire

import (
	"errors"
	"slices"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"
)

// message joins lines with CRLF and ends the header section.
func message(lines ...string) []byte {
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// minimal is a request with what is mandatory; extra lines follow.
func minimal(extra ...string) []byte {
	return message(append([]string{
		"OPTIONS sip:bob@biloxi.example SIP/2.0",
		"Via: SIP/2.0/UDP pc33.example;branch=z9hG4bK776",
		"From: <sip:alice@atlanta.example>;tag=1",
		"To: <sip:bob@biloxi.example>",
		"Call-ID: a84b4c76e66710",
		"CSeq: 1 OPTIONS",
	}, extra...)...)
}

func mustParse(t *testing.T, data []byte) sipgo.Message {
	t.Helper()
	m, err := Parse(data, false)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// What user agents and servers in the field send, valid or nearly so.
func TestParseLenient(t *testing.T) {
	for _, c := range []struct {
		line, name, value string
	}{
		{"Supported:", "Supported", ""},
		{"Supported:timer", "Supported", "timer"},
		{"k: 100rel , timer", "Supported", "100rel , timer"},
		{"x: 1800;refresher=uac", "Session-Expires", "1800;refresher=uac"},
		{"Referred-By: <bogus", "Referred-By", "<bogus"},
		{"b: <bogus", "Referred-By", "<bogus"},
		{"r: sip:x@y", "Refer-To", "sip:x@y"},
		{"o: presence", "Event", "presence"},
		{"Date: whenever", "Date", "whenever"},
		{"P-Asserted-Identity: \"\u00c4rger, \u00d6l\" <sip:x@y>", "P-Asserted-Identity", "\"\u00c4rger, \u00d6l\" <sip:x@y>"},
		{"Subject: one\r\n\ttwo\r\n   three", "Subject", "one two three"},
		{"Max-Forwards: 300", "Max-Forwards", ""},
		{"Max-Forwards: x", "Max-Forwards", ""},
		{"Max-Forwards: 0", "Max-Forwards", "0"},
		{"Contact: *", "Contact", "*"},
	} {
		m := mustParse(t, minimal(c.line))
		if got := Header(m, c.name); got != c.value {
			t.Errorf("%q: %s is %q, want %q", c.line, c.name, got, c.value)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	replace := func(old, new string) []byte {
		s := string(minimal())
		if !strings.Contains(s, old) {
			t.Fatalf("no %q", old)
		}
		return []byte(strings.Replace(s, old, new, 1))
	}
	many := slices.Repeat([]string{"X: y"}, maxFields)
	for _, c := range []struct {
		name   string
		data   []byte
		status int
		reason string
	}{
		{"empty", nil, 0, "no start line"},
		{"CRLF only", []byte("\r\n\r\n"), 0, "no start line"},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 0, "not a SIP message"},
		{"no spaces", []byte("OPTIONS\r\n\r\n"), 0, "not a SIP message"},
		{"line feeds only", []byte(strings.ReplaceAll(string(minimal()), "\r\n", "\n")), 0, "no start line"},
		{"method no token", replace("OPTIONS sip", "OPT,IONS sip"), 0, "not a SIP message"},
		{"bare line feed", replace("Call-ID: ", "X: a\nCall-ID: "), 400, "malformed line end"},
		{"bare carriage return", replace("Call-ID: ", "X: a\rb\r\nCall-ID: "), 400, "malformed header field"},
		{"no colon", replace("Call-ID: ", "nonsense\r\nCall-ID: "), 400, "malformed header field"},
		{"name no token", replace("Call-ID: ", "a b: c\r\nCall-ID: "), 400, "malformed header field"},
		{"no empty line", minimal()[:len(minimal())-2], 400, "no empty line behind the header fields"},
		{"no Via", replace("Via", "Viaduct"), 0, "no Via"},
		{"no From", replace("From", "Form"), 400, "no From"},
		{"no To", replace("To:", "Tow:"), 400, "no To"},
		{"no Call-ID", replace("Call-ID", "Call"), 400, "no Call-ID"},
		{"no CSeq", replace("CSeq", "Seq"), 400, "no CSeq"},
		{"Via unreadable", replace("SIP/2.0/UDP pc33.example", "nonsense"), 0, "malformed Via"},
		{"Via without host", replace("pc33.example;", ";"), 0, "malformed Via"},
		{"Via with bad port", replace("pc33.example;", "pc33.example:70000;"), 0, "malformed Via"},
		{"Via with bad IPv6", replace("pc33.example;", "[::1;"), 0, "malformed Via"},
		{"second Via unreadable", minimal("Via: nonsense"), 400, "malformed Via"},
		{"Via with empty element", minimal("Via: SIP/2.0/UDP a,"), 400, "malformed Via"},
		{"Call-ID with space", replace("a84b4c76e66710", "a b"), 400, "malformed Call-ID"},
		{"Call-ID empty", replace("a84b4c76e66710", ""), 400, "malformed Call-ID"},
		{"CSeq without method", replace("1 OPTIONS", "1"), 400, "malformed CSeq"},
		{"CSeq 2^31", replace("1 OPTIONS", "2147483648 OPTIONS"), 400, "malformed CSeq"},
		{"CSeq signed", replace("1 OPTIONS", "+1 OPTIONS"), 400, "malformed CSeq"},
		{"CSeq of another case", replace("1 OPTIONS", "1 options"), 400, "CSeq has another method"},
		{"two From", minimal("f: <sip:x@y>"), 400, "more than one From"},
		{"Contact unreadable", minimal("Contact: <sip:x"), 400, "malformed Contact"},
		{"Contact with empty element", minimal("Contact: <sip:x>,,<sip:y>"), 400, "malformed Contact"},
		{"lengths differ", minimal("l: 0", "Content-Length: 1"), 400, "conflicting Content-Length"},
		{"second length no number", minimal("l: 0", "Content-Length: x"), 400, "conflicting Content-Length"},
		{"body missing", minimal("l: 1"), 400, "message shorter than its Content-Length"},
		{"too many fields", minimal(many...), 400, "too many header fields"},
		{"too many Vias", minimal("Via: " + strings.Repeat("SIP/2.0/UDP a,", maxFields) + "SIP/2.0/UDP a"), 400, "too many header fields"},
		{"too many Contacts", minimal("Contact: " + strings.Repeat("<sip:a>,", maxFields) + "<sip:a>"), 400, "too many header fields"},
		{"too many Routes", minimal("Route: " + strings.Repeat("<sip:a>,", maxFields) + "<sip:a>"), 400, "too many header fields"},
		{"version 3", replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), 505, "unknown version"},
		{"scheme", replace("sip:bob@biloxi.example SIP", "mailto:bob@biloxi.example SIP"), 416, "unsupported scheme in Request-URI"},
		{"ACK", []byte(strings.ReplaceAll(strings.Replace(string(minimal()), "a84b4c76e66710", "a b", 1), "OPTIONS", "ACK")), 0, "malformed Call-ID"},
	} {
		m, err := Parse(c.data, false)
		var bad *BadMessage
		if !errors.As(err, &bad) || m != nil || bad.Status != c.status || bad.Reason != c.reason {
			t.Errorf("%s: %v, want %d %s", c.name, err, c.status, c.reason)
			continue
		}
		checkRefusal(t, bad)
	}
}

func TestParseRefusesResponse(t *testing.T) {
	ok := func(status string, extra ...string) []byte {
		return message(append([]string{
			status,
			"Via: SIP/2.0/UDP pc33.example;branch=z9hG4bK776",
			"From: <sip:alice@atlanta.example>;tag=1",
			"To: <sip:bob@biloxi.example>;tag=2",
			"Call-ID: a84b4c76e66710",
			"CSeq: 1 OPTIONS",
		}, extra...)...)
	}
	for _, status := range []string{"SIP/2.0 200 OK", "SIP/2.0 200 ", "SIP/2.0 200", "sip/2.0 699 Hm"} {
		mustParse(t, ok(status))
	}
	for _, data := range [][]byte{
		ok("SIP/3.0 200 OK"), ok("SIP/2.0 20 OK"), ok("SIP/2.0 2000 OK"), ok("SIP/2.0 099 OK"),
		ok("SIP/2.0 700 OK"), ok("SIP/2.0 2x0 OK"), ok("SIP/2.0  200 OK"), ok("SIP/2.0"),
		ok("SIP/2.0 200 OK", "Via: SIP/2.0/UDP other.example"),
		ok("SIP/2.0 200 OK", "l: 5"),
		ok("SIP/2.0 200 OK", "CSeq: 2 OPTIONS"),
	} {
		m, err := Parse(data, false)
		var bad *BadMessage
		if !errors.As(err, &bad) || m != nil || bad.Status != 0 || bad.Response("x") != nil {
			t.Errorf("%q: %v", data, err)
		}
	}
	// A Contact that cannot be read does not cost the response.
	m := mustParse(t, ok("SIP/2.0 200 OK", "Contact: <sip:x, <sip:y@z>"))
	if len(Contacts(m)) != 0 || Header(m, "Contact") == "" {
		t.Errorf("Contacts %v, header %q", Contacts(m), Header(m, "Contact"))
	}
	m = mustParse(t, ok("SIP/2.0 200 OK", "Contact: nonsense, <sip:y@z>"))
	if c := Contacts(m); len(c) != 1 || c[0].Address.User != "y" {
		t.Errorf("Contacts %v", c)
	}
}

func TestParseBody(t *testing.T) {
	for _, c := range []struct {
		length, body string
		stream       bool
		want         string
		ok           bool
	}{
		{"l: 3", "abc", false, "abc", true},
		{"l: 3", "abcdef", false, "abc", true},
		{"l: 0", "abc", false, "", true},
		{"l: 3\r\nContent-Length: 3", "abc", false, "abc", true},
		{"X: no length", "abc", false, "abc", true},
		{"l: 3", "abc", true, "abc", true},
		{"l: 3", "abcd", true, "", false},
		{"l: 3", "ab", true, "", false},
		{"X: no length", "", true, "", false},
	} {
		data := append(minimal(c.length), c.body...)
		m, err := Parse(data, c.stream)
		if (err == nil) != c.ok {
			t.Errorf("%q %q stream %v: %v", c.length, c.body, c.stream, err)
			continue
		}
		if c.ok && string(m.Body()) != c.want {
			t.Errorf("%q %q stream %v: body %q", c.length, c.body, c.stream, m.Body())
		}
	}
	// The message keeps nothing of what it was read from.
	data := append(minimal("l: 3"), "abc"...)
	m := mustParse(t, data)
	before := string(Append(nil, m))
	clear(data)
	if after := string(Append(nil, m)); after != before {
		t.Errorf("changed to %q", after)
	}
}

// Vias, Contacts and Routes are split, and the top Via is the first.
func TestParseLists(t *testing.T) {
	m := mustParse(t, minimal(
		"Via: SIP/2.0/TLS [2001:db8::9:1]:5061 ;branch=z9hG4bK2;received=[2001:db8::9:255], SIP/2.0/WSS x.invalid;rport",
		`Contact: "a, b" <sip:a@b;x=y>;q=0.5;+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>", <sip:c@d>;expires=60,sip:e@f;q=1`,
		"Record-Route: <sip:p1;lr>;x=\"a,b\", <sip:p2;lr>",
		"Record-Route: <sip:p3;lr>",
	))
	if TopBranch(m) != "z9hG4bK776" || m.Via().Host != "pc33.example" {
		t.Errorf("top Via %v", m.Via())
	}
	var vias []*sipgo.ViaHeader
	for _, h := range Headers(m) {
		if v, ok := h.(*sipgo.ViaHeader); ok {
			vias = append(vias, v)
		}
	}
	if len(vias) != 3 || vias[1].Host != "2001:db8::9:1" || vias[1].Port != 5061 || vias[1].Transport != "TLS" || vias[2].Host != "x.invalid" {
		t.Errorf("Vias %v", vias)
	}
	if v, _ := Param(vias[1].Params, "received"); v != "[2001:db8::9:255]" {
		t.Errorf("received %q", v)
	}
	c := Contacts(m)
	if len(c) != 3 || c[0].DisplayName != "a, b" || c[1].Address.User != "c" || c[2].Address.User != "e" {
		t.Fatalf("Contacts %v", c)
	}
	if v, ok := Param(c[0].Params, "+SIP.instance"); !ok || v != "<urn:uuid:00000000-0000-1000-8000-000A95A0E128>" {
		t.Errorf("+sip.instance %q", v)
	}
	if v, ok := Param(c[1].Params, "expires"); !ok || v != "60" {
		t.Errorf("expires %q", v)
	}
	want := []string{`<sip:p1;lr>;x="a,b"`, "<sip:p2;lr>", "<sip:p3;lr>"}
	if got := slices.Collect(Values(m, "record-route")); !slices.Equal(got, want) {
		t.Errorf("Record-Route %q", got)
	}
}

// Changing the parameters of one header field does not touch another, though
// they come from one array.
func TestParseParamsApart(t *testing.T) {
	m := mustParse(t, minimal("Contact: <sip:a@b>;x=1"))
	m.Via().Params.Add("received", "192.0.2.1")
	m.From().Params.Add("y", "2")
	if FromTag(m) != "1" || len(Contacts(m)[0].Params) != 1 || TopBranch(m) != "z9hG4bK776" {
		t.Errorf("%s", Append(nil, m))
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range tortures {
		f.Add(readTorture(f, c.file), false)
		f.Add(readTorture(f, c.file), true)
	}
	f.Add(minimal("Contact: *", "l:0"), true)
	f.Add(minimal("Supported:", "Referred-By: <bogus", "x: 9"), false)
	f.Fuzz(func(t *testing.T, data []byte, stream bool) {
		m, err := Parse(data, stream)
		if err != nil {
			var bad *BadMessage
			if !errors.As(err, &bad) || m != nil {
				t.Fatalf("%v, message %v", err, m)
			}
			checkRefusal(t, bad)
			return
		}
		if len(Headers(m)) > maxFields || len(m.Body()) > len(data) {
			t.Fatalf("%d header fields, body of %d", len(Headers(m)), len(m.Body()))
		}
		checkRoundTrip(t, "fuzz", Append(nil, m))
		// Whatever else users of a message do must not panic.
		SetToTag(m, "x")
		RetryAfter(m)
		Reasons(m)
		for range Values(m, "Record-Route") {
		}
		if req, ok := m.(*sipgo.Request); ok {
			req.Contact()
			req.ContentType()
			req.Route()
			req.RecordRoute()
			req.ReferTo()
			req.ReferredBy()
			if !SameURI(&req.Recipient, &req.Recipient) {
				t.Errorf("%s is not the same as itself", FormatURI(&req.Recipient))
			}
			// A response to what was accepted is accepted, unless it went
			// over proxies, whose Vias are still there.
			res := Append(nil, ResponseTo(req, 200, "", "tag"))
			back, err := Parse(res, true)
			if n := len(m.GetHeaders("via")); n == 1 && (err != nil || ToTag(back) == "") || n > 1 && err == nil {
				t.Errorf("response with %d Vias: %v\n%s", n, err, res)
			}
		}
	})
}
