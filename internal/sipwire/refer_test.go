package sipwire

import (
	"errors"
	"strings"
	"testing"

	sipgo "github.com/emiago/sipgo/sip"
)

func TestParseReplaces(t *testing.T) {
	for _, c := range []struct {
		in   string
		want DialogRef
	}{
		// RFC 3891 §6.1.
		{"98732@sip.example.com\r\n ;from-tag=r33th4x0r\r\n ;to-tag=ff87ff", DialogRef{"98732@sip.example.com", "ff87ff", "r33th4x0r", false}},
		{"12adf2f34456gs5;to-tag=12345;from-tag=54321", DialogRef{"12adf2f34456gs5", "12345", "54321", false}},
		{"87134@171.161.34.23;to-tag=24796;from-tag=0", DialogRef{"87134@171.161.34.23", "24796", "0", false}},
		// RFC 3891 §7.1.
		{"425928@bobster.example.org;to-tag=7743;from-tag=6472", DialogRef{"425928@bobster.example.org", "7743", "6472", false}},
		// RFC 3891 §7.2, with the flag of §5.
		{"425928@phone.example.org;to-tag=7743;from-tag=6472;early-only", DialogRef{"425928@phone.example.org", "7743", "6472", true}},
		{"a(b)<c>:\"/[d]?{e}@x ; TO-TAG = 1 ;x;From-Tag=2;y=z", DialogRef{"a(b)<c>:\"/[d]?{e}@x", "1", "2", false}},
	} {
		got, err := ParseReplaces(c.in)
		if err != nil || got != c.want {
			t.Errorf("%q: %+v, %v", c.in, got, err)
		}
		if again, err := ParseReplaces(got.Replaces()); err != nil || again != got {
			t.Errorf("%q: written %q", c.in, got.Replaces())
		}
	}
	for _, in := range []string{
		"", ";to-tag=1;from-tag=2", "a", "a;to-tag=1", "a;from-tag=1", "a;to-tag=1;to-tag=2;from-tag=3", "a;to-tag=1;from-tag=2;from-tag=2",
		"a;to-tag=;from-tag=2", "a;to-tag;from-tag=2", `a;to-tag="1";from-tag=2`, "a b;to-tag=1;from-tag=2", "a;to-tag=1;from-tag=2,b;to-tag=1;from-tag=2",
	} {
		if got, err := ParseReplaces(in); !errors.Is(err, ErrDialogRef) {
			t.Errorf("%q: %+v", in, got)
		}
	}
}

func TestParseJoin(t *testing.T) {
	// RFC 3911 §7.1.
	for in, want := range map[string]DialogRef{
		"98732@sip.example.com\r\n ;from-tag=r33th4x0r\r\n ;to-tag=ff87ff": {"98732@sip.example.com", "ff87ff", "r33th4x0r", false},
		"12adf2f34456gs5;to-tag=12345;from-tag=54321":                      {"12adf2f34456gs5", "12345", "54321", false},
		"87134@192.0.2.23;to-tag=24796;from-tag=0;early-only":              {"87134@192.0.2.23", "24796", "0", false},
	} {
		if got, err := ParseJoin(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
}

func TestParseReferTo(t *testing.T) {
	for _, c := range []struct{ in, uri, method, headers string }{
		// RFC 3515 §2.1.
		{"sip:alice@atlanta.example.com", "sip:alice@atlanta.example.com", "", ""},
		{"<sip:bob@biloxi.example.net?Accept-Contact=sip:bobsdesk.biloxi.example.net&Call-ID=55432%40alicepc.atlanta.example.com>",
			"sip:bob@biloxi.example.net", "", "Accept-Contact: sip:bobsdesk.biloxi.example.net|Call-ID: 55432@alicepc.atlanta.example.com"},
		{"<sip:dave@denver.example.org?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994>",
			"sip:dave@denver.example.org", "", "Replaces: 12345@192.168.118.3;to-tag=12345;from-tag=5FFE-3994"},
		{"<sip:carol@cleveland.example.org;method=SUBSCRIBE>", "sip:carol@cleveland.example.org", "SUBSCRIBE", ""},
		{"<http://www.ietf.org>", "http://www.ietf.org", "", ""},
		{`"Bob" <sips:bob@h;transport=tcp;method=bye;gr=urn:uuid:1>;x`, "sips:bob@h;transport=tcp;gr=urn:uuid:1", "BYE", ""},
		{"<tel:+1-201-555-0123>", "tel:+1-201-555-0123", "", ""},
	} {
		r, err := ParseReferTo(c.in)
		var hs []string
		for _, h := range r.Headers {
			hs = append(hs, h.Name()+": "+h.Value())
		}
		if err != nil || FormatURI(&r.URI) != c.uri || r.Method != c.method || strings.Join(hs, "|") != c.headers {
			t.Errorf("%s: %s %q %q, %v", c.in, FormatURI(&r.URI), r.Method, hs, err)
		}
	}
	for _, in := range []string{"", "<>", "bob", "<sip:a@b", "sip:a@b?Replaces=x", "<sip:a@b?X=1%0D%0AVia:x>", "<sip:a@b?X%20Y=1>", "<sip:a@b?" + strings.Repeat("x=1&", 17) + ">"} {
		if r, err := ParseReferTo(in); err == nil {
			t.Errorf("%q: %+v", in, r)
		}
	}
}

func TestEscapeHeader(t *testing.T) {
	// The Refer-To of RFC 5589 §7.1, F5.
	ref := DialogRef{CallID: "090459243588173445", Local: "7553452", Remote: "31431"}
	if got := EscapeHeader(ref.Replaces()); got != "090459243588173445%3Bto-tag%3D7553452%3Bfrom-tag%3D31431" {
		t.Error(got)
	}
	uri := sipgo.Uri{Scheme: "sip", Host: "h", Headers: sipgo.HeaderParams{{K: "re%70laces", V: EscapeHeader(`a"<&%@=;b`)}, {K: "x"}, {K: "x"}}}
	if v, ok := URIHeader(&uri, "Replaces"); !ok || v != `a"<&%@=;b` {
		t.Errorf("%q", v)
	}
	if _, ok := URIHeader(&uri, "x"); ok {
		t.Error("one of two was taken")
	}
}

func TestParseReferSub(t *testing.T) {
	for in, want := range map[string][2]bool{
		// RFC 4488 §4.
		"false": {false, true}, "true": {true, true},
		"False ;x=y": {false, true}, "": {}, "maybe": {}, ";": {},
	} {
		if sub, ok := ParseReferSub(in); sub != want[0] || ok != want[1] {
			t.Errorf("%q: %v %v", in, sub, ok)
		}
	}
}

func TestParseStatus(t *testing.T) {
	for in, want := range map[string]int{
		"SIP/2.0 100 Trying": 100, // RFC 3515 §4.1, F3
		"SIP/2.0 200 OK\r\n": 200,
		"SIP/2.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n": 503, // RFC 3515 §4.2
		"SIP/2.0 603 Declined\n":                                    603,
		"SIP/2.0 486":                                               486,
		"SIP/2.0 200 " + strings.Repeat("x", 2000):                  200,
	} {
		if status, phrase, ok := ParseStatus([]byte(in)); !ok || status != want || len(phrase) > maxPhrase {
			t.Errorf("%q: %d %q %v", in, status, phrase, ok)
		}
	}
	for _, in := range []string{"", "SIP/2.0", "SIP/2.0 ", "SIP/2.0 20", "SIP/2.0 2000 x", "SIP/2.0 099 x", "SIP/2.0 700 x", "INVITE sip:a@b SIP/2.0\r\n", "SIP/2.0 abc d", "\r\nSIP/2.0 200 OK"} {
		if status, _, ok := ParseStatus([]byte(in)); ok {
			t.Errorf("%q: %d", in, status)
		}
	}
	if got := string(AppendStatus(nil, 180, "")); got != "SIP/2.0 180 Ringing\r\n" {
		t.Errorf("%q", got)
	}
	if got := string(AppendStatus(nil, 480, "a\r\nb")); got != "SIP/2.0 480 ab\r\n" {
		t.Errorf("%q", got)
	}
}

func FuzzParseReplaces(f *testing.F) {
	f.Add("98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff;early-only")
	f.Add("a;to-tag=1;from-tag=2;from-tag=3")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseReplaces(s)
		if err != nil {
			return
		}
		if again, err := ParseReplaces(d.Replaces()); err != nil || again != d {
			t.Errorf("%q: %+v, then %+v %v", s, d, again, err)
		}
		u, err := ParseURI("sip:h?Replaces=" + EscapeHeader(d.Replaces()))
		if v, ok := URIHeader(&u, "Replaces"); err != nil || !ok || v != d.Replaces() {
			t.Errorf("%q in a URI: %q, %v", d.Replaces(), v, err)
		}
		j, err := ParseJoin(d.Join())
		if j.EarlyOnly = d.EarlyOnly; err != nil || j != d {
			t.Errorf("%q: as Join %+v %v", s, j, err)
		}
	})
}

func FuzzParseReferTo(f *testing.F) {
	f.Add("<sip:dave@denver.example.org;method=INVITE?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994>", "true;x=1")
	f.Add("tel:+1", "false")
	f.Fuzz(func(t *testing.T, s, sub string) {
		_, _ = ParseReferSub(sub)
		r, err := ParseReferTo(s)
		if err != nil {
			return
		}
		for _, h := range r.Headers {
			if strings.ContainsAny(h.Name()+h.Value(), "\r\n") {
				t.Errorf("%q: a header with a line end", s)
			}
		}
		if again, err := ParseReferTo("<" + FormatURI(&r.URI) + ">"); err != nil || FormatURI(&again.URI) != FormatURI(&r.URI) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("SIP/2.0 180 Ringing\r\nContact: <sip:a@b>\r\n\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		status, phrase, ok := ParseStatus(body)
		if !ok {
			return
		}
		again, _, ok := ParseStatus(AppendStatus(nil, status, phrase))
		if !ok || again != status {
			t.Errorf("%q: %d, then %d", body, status, again)
		}
	})
}
