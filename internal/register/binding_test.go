package register

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

const ownURI = "sip:callee@192.0.2.1:5061;transport=tls"

// How long a binding lasts: RFC 3261 section 10.2.4, and what we tolerate
// where a registrar does not list it.
func TestLifetime(t *testing.T) {
	own := "<" + ownURI + ">"
	for _, c := range []struct {
		name    string
		headers []string
		want    time.Duration // 0: not granted
	}{
		{"Contact before Expires", []string{"Contact: " + own + ";expires=300", "Expires: 600"}, 300 * time.Second},
		{"Expires", []string{"Contact: " + own, "Expires: 600"}, 600 * time.Second},
		{"shortened a little, as BroadWorks does", []string{"Contact: " + own + ";q=0.5", "Expires:3424"}, 3424 * time.Second},
		{"neither", []string{"Contact: " + own}, time.Hour},
		{"compact form", []string{"m: " + own + ";expires=70"}, 70 * time.Second},
		{"display name", []string{`Contact: "Lee, C <x>;" ` + own + ";expires=72"}, 72 * time.Second},
		{"quoted", []string{"Contact: " + own + `;expires="73"`}, 73 * time.Second},
		{"case", []string{"Contact: " + own + ";Expires=74"}, 74 * time.Second},
		{"among others", []string{"Contact: <sip:a@192.0.2.7>;expires=5, " + own + ";expires=75,<sip:b@192.0.2.8>;expires=6"}, 75 * time.Second},
		{"on several lines", []string{"Contact: <sip:a@192.0.2.7>;expires=5", "Contact: " + own + ";expires=76"}, 76 * time.Second},
		{"others alone", []string{"Contact: <sip:a@192.0.2.7>;expires=5"}, time.Hour},
		{"others alone and Expires", []string{"Contact: <sip:a@192.0.2.7>;expires=5", "Expires: 80"}, 80 * time.Second},
		{"nothing", nil, time.Hour},
		{"malformed", []string{"Contact: " + own + ";expires=soon", "Expires: -1"}, time.Hour},
		{"longer than asked", []string{"Contact: " + own + ";expires=7200"}, 2 * time.Hour},
		{"far longer than asked", []string{"Contact: " + own + ";expires=4294967295"}, 24 * time.Hour},
		{"longer than 32 bits", []string{"Contact: " + own + ";expires=4294967296"}, time.Hour},
		{"zero in Contact", []string{"Contact: " + own + ";expires=0", "Expires: 600"}, 0},
		{"zero in Expires", []string{"Expires: 0"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, nil)
			h.m.Start(h.now)
			h.answer("200 OK", c.headers...)
			if c.want == 0 {
				h.expect("failed " + ErrNotGranted.Error() + " after=0s fatal=false")
				return
			}
			h.expect(fmt.Sprintf("registered %v", c.want))
			if b, live := h.m.Binding(h.now); !live || !b.Expires.Equal(h.bound.Expires) {
				t.Errorf("Binding: %v, %v", b, live)
			}
		})
	}
}

// Who asked for two days gets two days.
func TestLongLifetime(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Expires = 48 * time.Hour })
	h.m.Start(h.now)
	h.answer("200 OK", "Expires: 4294967295")
	h.expect("registered 48h0m0s")
}

// RFC 5627 section 9, the 200 OK of its example flow; the registrar's answer is
// recognised by its instance.
func TestGRUU(t *testing.T) {
	h := newHarness(t, func(c *Config) {
		c.Instance, c.GRUU = instance, true
		c.Contact = func() sipgo.Uri { return uri(t, "sip:callee@192.0.2.1") }
	})
	h.m.Start(h.now)
	contact := `Contact: <sip:callee@192.0.2.1>` +
		`;pub-gruu="sip:callee@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"` +
		`;temp-gruu="sip:tgruu.7hs==jd7vnzga5w7fajsc7-ajd6fabz0f8g5@example.com;gr"` +
		`;+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>";expires=3600`
	h.answer("200 OK", contact)
	if got := str(h.bound.PubGRUU); got != "sip:callee@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6" {
		t.Errorf("public GRUU %s", got)
	}
	if got := str(h.bound.TempGRUU); got != "sip:tgruu.7hs==jd7vnzga5w7fajsc7-ajd6fabz0f8g5@example.com;gr" {
		t.Errorf("temporary GRUU %s", got)
	}

	// RFC 5627 section 4.2: each refresh brings a new temporary one.
	h.m.Refresh(h.now)
	h.answer("200 OK", strings.Replace(contact, "tgruu.7hs", "tgruu.8it", 1))
	newest := "sip:tgruu.8it==jd7vnzga5w7fajsc7-ajd6fabz0f8g5@example.com;gr"
	if got := str(h.bound.TempGRUU); got != newest {
		t.Errorf("temporary GRUU after a refresh %s", got)
	}
	h.m.Refresh(h.now)
	h.answer("200 OK")
	if got := str(h.bound.TempGRUU); got != newest || h.bound.PubGRUU != nil {
		t.Errorf("GRUUs after an answer without: %s, %v", got, h.bound.PubGRUU)
	}
	// They die with the binding.
	h.onSend = func(*exchange) {}
	h.advance(2 * time.Hour)
	h.answer("200 OK")
	if h.bound.TempGRUU != nil {
		t.Errorf("temporary GRUU of a dead binding: %s", str(h.bound.TempGRUU))
	}
}

func TestNoGRUU(t *testing.T) {
	for name, param := range map[string]string{
		"no gr":       `pub-gruu="sip:callee@example.com"`,
		"not SIP":     `pub-gruu="tel:+15551234;gr"`,
		"not a URI":   `pub-gruu="gr"`,
		"no host":     `pub-gruu="sip:;gr"`,
		"injection":   `pub-gruu="sip:a@example.com;gr>;x=<y"`,
		"empty":       `pub-gruu=""`,
		"unended":     `pub-gruu="sip:a@example.com;gr`,
		"too long":    `pub-gruu="sip:` + strings.Repeat("a", 1100) + `@example.com;gr"`,
		"other phone": `expires=3,<sip:other@192.0.2.9>;pub-gruu="sip:a@example.com;gr"`,
	} {
		h := newHarness(t, full)
		h.m.Start(h.now)
		h.answer("200 OK", "Contact: <"+ownURI+">;"+param)
		if h.bound.PubGRUU != nil || h.bound.TempGRUU != nil {
			t.Errorf("%s: %s, %s", name, str(h.bound.PubGRUU), str(h.bound.TempGRUU))
		}
	}
	h := newHarness(t, nil) // did not ask
	h.m.Start(h.now)
	h.answer("200 OK", "Contact: <"+ownURI+`>;pub-gruu="sip:a@example.com;gr"`)
	if h.bound.PubGRUU != nil {
		t.Error("a GRUU that was not asked for")
	}
}

// Which Contact is ours: RFC 5626 section 4.2.1, then RFC 3261 section 19.1.4.
func TestOwnContact(t *testing.T) {
	inst := `;+sip.instance="<` + instance + `>"`
	upper := `;+sip.instance="<` + strings.ToUpper(instance) + `>"`
	for _, c := range []struct {
		name     string
		outbound bool
		contact  string
		want     time.Duration // 3600 s: none is ours
	}{
		{"reg-id", true, "<sip:x@h>" + inst + ";reg-id=2;expires=100,<sip:x@h>" + inst + ";reg-id=1;expires=200", 200},
		{"reg-id before URI", true, "<" + ownURI + ">;expires=100,<sip:x@h>" + inst + ";reg-id=1;expires=200", 200},
		{"another reg-id, our URI", true, "<" + ownURI + ">" + inst + ";reg-id=2;expires=100", 3600},
		{"case of the instance", true, "<sip:x@h>" + upper + ";reg-id=1;expires=100", 100},
		{"another instance", true, `<sip:x@h>;+sip.instance="<urn:uuid:0>";reg-id=1;expires=100`, 3600},
		{"URI before instance", false, "<sip:x@h>" + inst + ";expires=100,<" + ownURI + ">;expires=200", 200},
		{"instance, rewritten URI", false, "<sip:x@h>" + inst + ";expires=100", 100},
		{"addr-spec", false, "sip:x@h" + inst + ";expires=100", 100},
		{"no transport", false, "<sip:callee@192.0.2.1:5061>;expires=100", 3600},
		{"instance without reg-id", true, "<sip:x@h>" + inst + ";expires=100", 100},
		{"host in capitals", false, "<sip:callee@192.0.2.1:5061;TRANSPORT=TLS>;expires=100", 100},
		{"one more parameter", false, "<" + ownURI + ";rinstance=c71a>;expires=100", 100},
		{"another transport", false, "<sip:callee@192.0.2.1:5061;transport=udp>;expires=100", 3600},
		{"another port", false, "<sip:callee@192.0.2.1;transport=tls>;expires=100", 3600},
		{"another user", false, "<sip:Callee@192.0.2.1:5061;transport=tls>;expires=100", 3600},
		{"another scheme", false, "<sips:callee@192.0.2.1:5061;transport=tls>;expires=100", 3600},
		{"user parameter", false, "<" + ownURI + ";user=phone>;expires=100", 3600},
		{"star", false, "*", 3600},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, func(cfg *Config) { cfg.Instance, cfg.Outbound = instance, c.outbound })
			h.m.Start(h.now)
			h.answer("200 OK", "Contact: "+c.contact)
			h.expect(fmt.Sprintf("registered %v", c.want*time.Second))
		})
	}
}

// RFC 3608 section 5, RFC 3327 section 5.3, RFC 7315 section 4.1.
func TestRoutes(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Start(h.now)
	h.answer("200 OK",
		"Path: <sip:P3.EXAMPLEHOME.COM;lr>,<sip:P1.EXAMPLEVISITED.COM;lr>",
		"Service-Route: <sip:P2.HOME.EXAMPLE.COM;lr>,",
		"Service-Route: <sip:HSP.HOME.EXAMPLE.COM;lr>",
		`P-Associated-URI: "Default" <sip:callee@example.com>;x=y, <tel:+15551234>, bogus`)
	check := func(what string, got []sipgo.Uri, want ...string) {
		t.Helper()
		var s []string
		for _, u := range got {
			s = append(s, u.String())
		}
		if !reflect.DeepEqual(s, want) {
			t.Errorf("%s: %q, want %q", what, s, want)
		}
	}
	check("Path", h.bound.Path, "sip:P3.EXAMPLEHOME.COM;lr", "sip:P1.EXAMPLEVISITED.COM;lr")
	check("Service-Route", h.bound.ServiceRoute, "sip:P2.HOME.EXAMPLE.COM;lr", "sip:HSP.HOME.EXAMPLE.COM;lr")
	check("P-Associated-URI", h.bound.AssociatedURIs, "sip:callee@example.com", "tel:+15551234")

	// RFC 3608 section 5: the newest answer counts, also if it has none.
	h.m.Refresh(h.now)
	h.answer("200 OK")
	check("Service-Route", h.bound.ServiceRoute)

	list := func(n int) string { return strings.TrimSuffix(strings.Repeat("<sip:a.example.com;lr>,", n), ",") }
	for _, c := range []struct {
		name, value string
		want        int
	}{
		{"bound", list(16), 16},
		{"beyond the bound", list(17), 0},
		{"not SIP", "<sip:a.example.com;lr>,<tel:+1>", 0},
		{"malformed", "<sip:a.example.com;lr>,<sip:>", 0},
		{"unended", "<sip:a.example.com;lr>,<sip:b.example.com;lr", 0},
		{"rubbish after the bracket", "<sip:a.example.com;lr>,<sip:b.example.com;lr>x", 0},
		{"too long", "<sip:a.example.com;lr>,<sip:" + strings.Repeat("a", 2000) + ">", 0},
	} {
		h.m.Refresh(h.now)
		h.answer("200 OK", "Service-Route: "+c.value, "Path: "+c.value)
		if len(h.bound.ServiceRoute) != c.want || len(h.bound.Path) != c.want {
			t.Errorf("%s: %d and %d values, want %d", c.name, len(h.bound.ServiceRoute), len(h.bound.Path), c.want)
		}
	}
	h.m.Refresh(h.now)
	h.answer("200 OK", "P-Associated-URI: "+list(100))
	if len(h.bound.AssociatedURIs) != 32 {
		t.Errorf("%d identities, want 32", len(h.bound.AssociatedURIs))
	}
}

// RFC 5626 sections 4.4 and 6.
func TestOutboundAnswer(t *testing.T) {
	for _, c := range []struct {
		headers   []string
		asked     bool
		outbound  bool
		flowTimer time.Duration
	}{
		{[]string{"Require: outbound", "Flow-Timer: 120"}, true, true, 2 * time.Minute},
		{[]string{"Require: path, Outbound"}, true, true, 0},
		{[]string{"Supported: outbound"}, true, false, 0},
		{[]string{"Require: outbound", "Flow-Timer: 30"}, false, false, 30 * time.Second},
		{[]string{"Flow-Timer: 0"}, true, false, 0},
		{[]string{"Flow-Timer: 1"}, true, false, 5 * time.Second},
		{[]string{"Flow-Timer: 4294967295"}, true, false, time.Hour},
		{[]string{"Flow-Timer: x"}, true, false, 0},
	} {
		h := newHarness(t, func(cfg *Config) { cfg.Instance, cfg.Outbound = instance, c.asked })
		h.m.Start(h.now)
		h.answer("200 OK", c.headers...)
		if h.bound.Outbound != c.outbound || h.bound.FlowTimer != c.flowTimer {
			t.Errorf("%q: outbound %v, Flow-Timer %v", c.headers, h.bound.Outbound, h.bound.FlowTimer)
		}
	}
}

// RFC 6223 section 4.3.
func TestKeep(t *testing.T) {
	for _, c := range []struct {
		param string
		asked bool
		keep  bool
		every time.Duration
	}{
		{";keep=30", true, true, 30 * time.Second},
		{";KEEP=30", true, true, 30 * time.Second},
		{";keep=0", true, true, 0},
		{";keep=1", true, true, 5 * time.Second},
		{";keep=100000", true, true, time.Hour},
		{";keep", true, false, 0},
		{";keep=x", true, false, 0},
		{"", true, false, 0},
		{";keep=30", false, false, 0},
	} {
		h := newHarness(t, func(cfg *Config) { cfg.Keep = c.asked })
		h.m.Start(h.now)
		h.answer("200 OK", "Via: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bK1"+c.param)
		if h.bound.Keep != c.keep || h.bound.KeepEvery != c.every {
			t.Errorf("%q asked %v: %v, %v", c.param, c.asked, h.bound.Keep, h.bound.KeepEvery)
		}
	}
}

// Whatever a registrar answers, what is kept of it is bounded and can be sent.
func FuzzAnswer(f *testing.F) {
	const via = "\r\nVia: SIP/2.0/TLS h;keep=30"
	f.Add(200, `Contact: <sip:callee@192.0.2.1>;pub-gruu="sip:c@example.com;gr=urn:uuid:1";temp-gruu="sip:t@example.com;gr";+sip.instance="<`+instance+`>";reg-id=1;expires=3600`+via)
	f.Add(200, "Service-Route: <sip:a;lr>,<sip:b;lr>\r\nPath: <sip:p;lr>\r\nRequire: outbound\r\nFlow-Timer: 120\r\nExpires: 60"+via)
	f.Add(200, "P-Associated-URI: <sip:a@b>, <tel:+1>"+via)
	f.Add(200, "Contact: \"a\\\"\" <sip:x@[::1]:5060?a=b>;q=\"\\\",\r\nm: *"+via)
	f.Add(302, "Contact: <sip:a@b>;q=0.1, sips:c;q=1.0\r\nRetry-After: 18000;duration=3600"+via)
	f.Add(423, "Min-Expires: 7200"+via)
	f.Add(420, "Unsupported: gruu, path"+via)
	f.Add(503, "Retry-After: 120 (I'm in a meeting)"+via)
	f.Fuzz(func(t *testing.T, status int, headers string) {
		if status < 200 || status > 699 {
			return
		}
		m, err := sipwire.Parse(fmt.Appendf(nil, "SIP/2.0 %d X\r\nTo: <sip:a@b>\r\nFrom: <sip:a@b>\r\n"+
			"Call-ID: call\r\nCSeq: 1 REGISTER\r\n%s\r\nContent-Length: 0\r\n\r\n", status, headers), true)
		if err != nil {
			return
		}
		res, ok := m.(*sipgo.Response)
		if !ok {
			return
		}
		h := newHarness(t, full)
		h.m.Start(h.now)
		h.last().done(h.now, res, nil)

		b := h.bound
		if len(h.log) > 1 || len(h.sent) > 2 || len(h.sent) == 1 && len(h.log) != 1 {
			t.Fatalf("%d requests, observer heard %q", len(h.sent), h.log)
		}
		uris := append(append(append([]sipgo.Uri{}, b.ServiceRoute...), b.Path...), b.AssociatedURIs...)
		if len(b.ServiceRoute) > 16 || len(b.Path) > 16 || len(b.AssociatedURIs) > 32 {
			t.Fatal("a list is too long")
		}
		for _, u := range []*sipgo.Uri{b.PubGRUU, b.TempGRUU, h.move} {
			if u != nil {
				uris = append(uris, *u)
			}
		}
		for _, u := range uris {
			if s := u.String(); strings.ContainsAny(s, "\r\n<> \"") {
				t.Fatalf("URI %q", s)
			}
		}
		if !b.Expires.IsZero() {
			if d := b.Expires.Sub(h.now); d <= 0 || d > 24*time.Hour {
				t.Fatalf("lifetime %v", d)
			}
			at, ok := h.q.Next()
			if d := at.Sub(h.now); !ok || d < 5*time.Second || d > 24*time.Hour {
				t.Fatalf("refresh in %v, %v", d, ok)
			}
		}
		for _, d := range []time.Duration{b.FlowTimer, b.KeepEvery} {
			if d != 0 && (d < 5*time.Second || d > time.Hour) {
				t.Fatalf("interval %v", d)
			}
		}
	})
}

func str(u *sipgo.Uri) string {
	if u == nil {
		return ""
	}
	return u.String()
}
