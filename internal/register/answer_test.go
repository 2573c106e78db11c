package register

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// RFC 3261 section 10.2.8: the interval of Min-Expires is asked for, at once
// and from then on.
func TestIntervalTooBrief(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Expires = time.Minute })
	h.m.Start(h.now)
	h.answer("423 Interval Too Brief", "Min-Expires: 7200")
	h.requests(2)
	if got := header(h.last().req, "Expires"); got != "7200" {
		t.Errorf("Expires: %s", got)
	}
	if got := header(h.last().req, "CSeq"); got != "2 REGISTER" {
		t.Errorf("CSeq: %s", got)
	}
	h.answer("200 OK")
	h.m.Refresh(h.now)
	if got := header(h.last().req, "Expires"); got != "7200" {
		t.Errorf("Expires of the refresh: %s", got)
	}
	h.m.FlowChanged(h.now) // perhaps to another registrar
	if got := header(h.last().req, "Expires"); got != "60" {
		t.Errorf("Expires on a new flow: %s", got)
	}
	h.expect("registered 2h0m0s")
}

func TestIntervalTooBriefBounds(t *testing.T) {
	for _, min := range []string{"", "x", "60", "59", "0", "86401", "4294967296"} {
		h := newHarness(t, func(c *Config) { c.Expires = time.Minute })
		h.m.Start(h.now)
		h.answer("423 Interval Too Brief", "Min-Expires: "+min)
		h.requests(1)
		h.expect(`failed register: rejected with 423 "Interval Too Brief" after=0s fatal=false`)
	}
	// A registrar that raises its demand for ever.
	h := newHarness(t, func(c *Config) { c.Expires = time.Minute })
	h.m.Start(h.now)
	for i := range 5 {
		h.requests(i + 1)
		h.answer("423 Interval Too Brief", fmt.Sprintf("Min-Expires: %d", 100+i))
	}
	h.requests(5)
	h.expect(`failed register: rejected with 423 "Interval Too Brief" after=0s fatal=false`)
}

// RFC 5626 section 11.6: the edge proxy cannot do outbound, so it goes without.
func TestFirstHopLacksOutbound(t *testing.T) {
	h := newHarness(t, func(c *Config) {
		full(c)
		c.Contact = func() sipgo.Uri { return uri(t, "sip:callee@192.0.2.1;transport=tls;ob") }
	})
	h.m.Start(h.now)
	h.answer("439 First Hop Lacks Outbound Support")
	h.requests(2)
	req := h.last().req
	if got := header(req, "Contact"); got != `<sip:callee@192.0.2.1;transport=tls>;+sip.instance="<`+instance+`>"` {
		t.Errorf("Contact: %s", got)
	}
	if got := header(req, "Supported"); got != "path, gruu" {
		t.Errorf("Supported: %s", got)
	}
	// Not again if it did not help.
	h.answer("439 First Hop Lacks Outbound Support")
	h.requests(2)
	h.expect(`failed register: rejected with 439 "First Hop Lacks Outbound Support" after=0s fatal=false`)
	// Another flow may have another first hop.
	h.m.FlowChanged(h.now)
	if got := header(h.last().req, "Supported"); got != "path, outbound, gruu" {
		t.Errorf("Supported on a new flow: %s", got)
	}
}

// RFC 3261 section 8.1.3.5.
func TestBadExtension(t *testing.T) {
	for _, c := range []struct{ unsupported, supported string }{
		{"GRUU", "path, outbound"},
		{"outbound", "path, gruu"},
		{"path", "gruu"}, // outbound needs path
		{"timer, gruu , outbound,path", ""},
	} {
		h := newHarness(t, full)
		h.m.Start(h.now)
		h.answer("420 Bad Extension", "Unsupported: "+c.unsupported)
		h.requests(2)
		if got := header(h.last().req, "Supported"); got != c.supported {
			t.Errorf("Unsupported: %s: Supported: %s, want %s", c.unsupported, got, c.supported)
		}
	}
	h := newHarness(t, full)
	h.m.Start(h.now)
	h.answer("420 Bad Extension", "Unsupported: timer")
	h.requests(1)
	h.expect(`failed register: rejected with 420 "Bad Extension" after=0s fatal=true`)
}

func TestFatal(t *testing.T) {
	for status, want := range map[int]bool{
		400: false, 401: true, 403: true, 404: true, 407: true, 408: false, 423: false, 480: false,
		486: false, 500: false, 501: true, 503: false, 505: true, 600: false, 604: true,
	} {
		h := newHarness(t, nil)
		h.m.Start(h.now)
		h.answer(fmt.Sprintf("%d Sorry", status))
		h.expect(fmt.Sprintf("failed register: rejected with %d \"Sorry\" after=0s fatal=%v", status, want))
		var r *Rejected
		if !errors.As(h.err, &r) || r.Status != status {
			t.Errorf("%d: error %#v", status, h.err)
		}
		if h.q.Len() != 0 {
			t.Errorf("%d: a timer runs", status)
		}
	}
}

// RFC 3261 section 20.33, its examples first.
func TestRetryAfter(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"18000;duration=3600":     time.Hour, // the bound
		"120 (I'm in a meeting)":  2 * time.Minute,
		"30(soon)":                30 * time.Second,
		"0":                       0,
		"":                        0,
		"-5":                      0,
		"soon":                    0,
		"99999999999999999999999": time.Hour,
	} {
		for _, status := range []string{"503 Service Unavailable", "600 Busy Everywhere", "480 Temporarily Unavailable"} {
			h := newHarness(t, nil)
			h.m.Start(h.now)
			h.answer(status, "Retry-After: "+in)
			code, reason, _ := strings.Cut(status, " ")
			h.expect(fmt.Sprintf("failed register: rejected with %s %q after=%v fatal=false", code, reason, want))
		}
	}
}

func TestReasonBound(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Start(h.now)
	h.answer("500 " + strings.Repeat("x", 5000))
	var r *Rejected
	if !errors.As(h.err, &r) || len(r.Reason) != 128 {
		t.Errorf("error %.200v", h.err)
	}
}

// RFC 3261 section 8.1.3.4.
func TestRedirect(t *testing.T) {
	for _, c := range []struct {
		name, registrar string
		headers         []string
		want            string
	}{
		{"one", "sip:example.com", []string{"Contact: <sip:b.example.com;transport=tcp>"}, "sip:b.example.com;transport=tcp"},
		{"highest q", "sip:example.com", []string{"Contact: <sip:a.example.com>;q=0.1, <sip:b.example.com>;q=0.7", "Contact: <sip:c.example.com>;q=0.3"}, "sip:b.example.com"},
		{"no q is 1", "sip:example.com", []string{"Contact: <sip:a.example.com>;q=0.9,sip:b.example.com, <sip:c.example.com>;q=NaN"}, "sip:b.example.com"},
		{"no SIP URI", "sip:example.com", []string{"Contact: <tel:+15551234>, <mailto:a@example.com>"}, ""},
		{"too long", "sip:example.com", []string{"Contact: <sip:" + strings.Repeat("a", 1100) + ">,<sip:b.example.com>;q=0.1"}, "sip:b.example.com"},
		{"no Contact", "sip:example.com", nil, ""},
		// RFC 3261 section 26.4.4 warns of the way from sips to sip.
		{"less secure", "sips:example.com", []string{"Contact: <sip:a.example.com>, <sips:b.example.com>;q=0.2"}, "sips:b.example.com"},
		{"nothing secure", "sips:example.com", []string{"Contact: <sip:a.example.com>"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, func(cfg *Config) { cfg.Registrar = uri(t, c.registrar) })
			h.m.Start(h.now)
			h.answer("302 Moved Temporarily", c.headers...)
			h.expect(`failed register: rejected with 302 "Moved Temporarily" after=0s fatal=false`)
			got := ""
			if h.move != nil {
				got = h.move.String()
			}
			if got != c.want {
				t.Errorf("move to %q, want %q", got, c.want)
			}
			h.requests(1)
		})
	}
}
