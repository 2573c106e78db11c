package sipwire

import (
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

func TestTokens(t *testing.T) {
	m := mustParse(t, minimal("Supported: 100rel, timer", "k:gruu", "Supported:", "Require: , ,x,", "supported: OUTBOUND"))
	if got := Tokens(m, "supported"); !slices.Equal(got, []string{"100rel", "timer", "gruu", "OUTBOUND"}) {
		t.Errorf("Supported %q", got)
	}
	if got := Tokens(m, "Require"); !slices.Equal(got, []string{"x"}) {
		t.Errorf("Require %q", got)
	}
	if got := Tokens(m, "Allow"); got != nil {
		t.Errorf("Allow %q", got)
	}
	if got := Unsupported(m, []string{"x"}); got != nil {
		t.Errorf("unsupported: %q", got)
	}
	if got := Unsupported(m, []string{"y"}); !slices.Equal(got, []string{"x"}) {
		t.Errorf("unsupported: %q", got)
	}
	if !HasToken(m, "Supported", "outbound") || HasToken(m, "Supported", "rel") || HasToken(m, "Allow", "") {
		t.Error("HasToken")
	}
	if n := testing.AllocsPerRun(100, func() { HasToken(m, "Supported", "outbound") }); n != 0 {
		t.Errorf("HasToken allocates %v times", n)
	}
}

func TestList(t *testing.T) {
	for in, want := range map[string][]string{
		"":                            nil,
		" , ,":                        nil,
		"a":                           {"a"},
		"a,b , c":                     {"a", "b", "c"},
		`"a,b" <x>, <y,z>;p="q,\"r,"`: {`"a,b" <x>`, `<y,z>;p="q,\"r,"`},
		`"open,a`:                     {`"open,a`},
		`<open,a`:                     {`<open,a`},
		`"\`:                          {`"\`},
	} {
		if got := slices.Collect(List(in)); !slices.Equal(got, want) {
			t.Errorf("%q: %q", in, got)
		}
	}
	for v := range List("a,b,c") { // may be left early
		if v == "b" {
			break
		}
	}
}

func TestTags(t *testing.T) {
	m := mustParse(t, minimal())
	if FromTag(m) != "1" || ToTag(m) != "" || TopBranch(m) != "z9hG4bK776" {
		t.Errorf("%q %q %q", FromTag(m), ToTag(m), TopBranch(m))
	}
	old := m.To()
	SetToTag(m, "2")
	SetToTag(m, "3")
	if ToTag(m) != "3" || len(m.To().Params) != 1 || len(old.Params) != 0 {
		t.Errorf("To %s, before %s", m.To(), old)
	}
	empty := sipgo.NewResponse(200, "OK")
	SetToTag(empty, "x")
	if FromTag(empty) != "" || ToTag(empty) != "" || TopBranch(empty) != "" || len(empty.Headers()) != 0 {
		t.Error("tags out of nothing")
	}
	if Headers(nil) != nil || Find(nil, "x") != nil || Header(nil, "x") != "" {
		t.Error("headers of nothing")
	}
}

// RFC 3261 §8.2.6.
func TestResponseTo(t *testing.T) {
	lines := []string{
		"INVITE sip:bob@biloxi.example SIP/2.0",
		"Via: SIP/2.0/UDP a.example;branch=z9hG4bK1;received=192.0.2.1",
		"Via: SIP/2.0/UDP b.example;branch=z9hG4bK2",
		"From: <sip:alice@atlanta.example>;tag=1",
		"To: \"Bob\" <sip:bob@biloxi.example>",
		"Call-ID: a84b4c76e66710",
		"CSeq: 1 INVITE",
		"Record-Route: <sip:p1;lr>;x=1, <sip:p2;lr>",
		"Timestamp: 54.21",
		"Subject: not for the response",
	}
	req := mustParse(t, message(lines...)).(*sipgo.Request)
	base := `Via: SIP/2.0/UDP a.example;branch=z9hG4bK1;received=192.0.2.1
Via: SIP/2.0/UDP b.example;branch=z9hG4bK2
From: <sip:alice@atlanta.example>;tag=1
To: "Bob" <sip:bob@biloxi.example>TAG
Call-ID: a84b4c76e66710
CSeq: 1 INVITE
`
	routes := "Record-Route: <sip:p1;lr>;x=1\nRecord-Route: <sip:p2;lr>\n"
	for _, c := range []struct {
		status      int
		reason, tag string
		want        string
	}{
		{100, "", "", "SIP/2.0 100 Trying\n" + base + "Timestamp: 54.21\n"},
		{180, "", "x", "SIP/2.0 180 Ringing\n" + base + routes},
		{200, "Fine", "x", "SIP/2.0 200 Fine\n" + base + routes},
		{486, "", "x", "SIP/2.0 486 Busy Here\n" + base},
	} {
		tag := ""
		if c.tag != "" {
			tag = ";tag=" + c.tag
		}
		want := crlf(strings.Replace(c.want, "TAG", tag, 1) + "Content-Length: 0\n\n")
		if got := string(Append(nil, ResponseTo(req, c.status, c.reason, c.tag))); got != want {
			t.Errorf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	// A tag that is there stays.
	SetToTag(req, "mine")
	if got := ToTag(ResponseTo(req, 200, "", "other")); got != "mine" {
		t.Errorf("To tag %q", got)
	}
	// An unknown phrase is that of the class.
	for status, want := range map[int]string{155: "Session Progress", 299: "OK", 399: "Redirection", 499: "Request Failure", 599: "Server Failure", 699: "Global Failure"} {
		if got := ReasonPhrase(status); got != want {
			t.Errorf("%d %s", status, got)
		}
	}
}

func TestSeconds(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "3600": time.Hour, " 60 ": time.Minute, "4294967295": 4294967295 * time.Second,
		"": -1, "x": -1, "-1": -1, "+1": -1, "1.5": -1, "4294967296": -1, "99999999999999999999": -1,
	} {
		d, ok := ParseSeconds(in)
		if ok != (want >= 0) || ok && d != want {
			t.Errorf("%q: %v %v", in, d, ok)
		}
	}
	m := mustParse(t, minimal("Min-Expires: 60", "Retry-After: 18000;duration=3600"))
	if d, ok := Seconds(m, "min-expires"); !ok || d != time.Minute {
		t.Errorf("Min-Expires %v %v", d, ok)
	}
	if _, ok := Seconds(m, "Expires"); ok {
		t.Error("Expires out of nothing")
	}
	// RFC 3261 §20.33.
	for in, want := range map[string]time.Duration{
		"18000;duration=3600": 18000 * time.Second, "120 (I'm in a meeting)": 2 * time.Minute, "5": 5 * time.Second, "(x)": -1,
	} {
		m := mustParse(t, minimal("Retry-After: "+in))
		if d, ok := RetryAfter(m); ok != (want >= 0) || ok && d != want {
			t.Errorf("Retry-After %q: %v %v", in, d, ok)
		}
	}
}

// RFC 3326.
func TestReasons(t *testing.T) {
	m := mustParse(t, minimal(
		`Reason: SIP ;cause=200 ;text="Call completed elsewhere"`,
		`Reason: Q.850 ;cause=16 ;text="Terminated", preemption, SIP;cause=x, ;cause=1, A;text="\"`,
	))
	got := Reasons(m)
	want := []Reason{{"SIP", 200, "Call completed elsewhere"}, {"Q.850", 16, "Terminated"}, {Protocol: "preemption"}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if s := want[0].String(); s != `SIP;cause=200;text="Call completed elsewhere"` {
		t.Error(s)
	}
	if h := want[2].Header(); h.Name() != "Reason" || h.Value() != "preemption" {
		t.Error(h)
	}
}

func TestParseValue(t *testing.T) {
	for in, want := range map[string]string{
		"presence": "presence", "active;expires=60": "active;expires=60", " 1800 ; refresher = uac ": "1800;refresher=uac",
		"": "", ";x": "", "a;=": "", `a;b="`: "",
	} {
		v, params, ok := ParseValue(in)
		got := ""
		if ok {
			got = v + string(appendParams(nil, params))
		}
		if got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func FuzzParseValue(f *testing.F) {
	f.Add("active;expires=60")
	f.Add(`SIP;cause=200;text="a;\"b\",c"`)
	f.Fuzz(func(t *testing.T, s string) {
		v, params, ok := ParseValue(s)
		if !ok {
			return
		}
		text := v + string(appendParams(nil, params))
		v2, params2, ok := ParseValue(text)
		if !ok || v2 != v || len(params2) != len(params) {
			t.Errorf("%q: %q, then %q %v %v", s, text, v2, params2, ok)
		}
		ParseSeconds(v)
		Unquote(v)
		for elem := range List(s) {
			if elem == "" {
				t.Errorf("%q has an empty element", s)
			}
		}
	})
}
