package register

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// RFC 3261 section 10.2, RFC 5626 section 4.2.1, RFC 5627 section 4.1.
func TestRequest(t *testing.T) {
	h := newHarness(t, func(c *Config) {
		full(c)
		c.DisplayName = "Cal \"C\"\r\nLee"
		c.RegID = 2
		c.ContactParams = []Param{{"q", "0.5"}, {"isfocus", ""}, {"description", "a \"b\""}}
		c.Expires = 89*time.Second + time.Millisecond
	})
	h.m.Start(h.now)
	want := strings.Join([]string{
		"REGISTER sips:example.com SIP/2.0",
		`From: "Cal \"C\"  Lee" <sip:callee@example.com>;tag=tag`,
		`To: "Cal \"C\"  Lee" <sip:callee@example.com>`,
		"Call-ID: call",
		"CSeq: 1 REGISTER",
		"Max-Forwards: 70",
		`Contact: <sip:callee@192.0.2.1:5061;transport=tls>;reg-id=2;+sip.instance="<` + instance + `>";q=0.5;isfocus;description="a \"b\""`,
		"Expires: 90",
		"Supported: path, outbound, gruu",
		"Content-Length: 0",
		"", "",
	}, "\r\n")
	if got := string(sipwire.Append(nil, h.last().req)); got != want {
		t.Errorf("request\n%s\nwant\n%s", got, want)
	}
}

// RFC 5626 section 4.2.1: no instance, no outbound; RFC 5627 section 4.1: nor GRUU.
func TestRequestWithoutInstance(t *testing.T) {
	h := newHarness(t, func(c *Config) { c.Outbound, c.GRUU = true, true })
	h.m.Start(h.now)
	if got := header(h.last().req, "Contact"); got != "<sip:callee@192.0.2.1:5061;transport=tls>" {
		t.Errorf("Contact: %s", got)
	}
	if got := header(h.last().req, "Supported"); got != "path" {
		t.Errorf("Supported: %s", got)
	}
	if got := header(h.last().req, "Expires"); got != "3600" {
		t.Errorf("Expires: %s", got)
	}
}

// Identifiers that were not given are made up, and differ.
func TestIdentifiers(t *testing.T) {
	ids := map[string]bool{}
	for range 2 {
		h := newHarness(t, func(c *Config) { c.CallID, c.FromTag, c.Rand = "", "", nil })
		h.m.Start(h.now)
		h.answer("200 OK") // the generator of our own is used
		tag, _ := h.last().req.From().Params.Get("tag")
		ids[string(*h.last().req.CallID())], ids[tag] = true, true
	}
	if len(ids) != 4 || ids[""] {
		t.Errorf("Call-IDs and tags: %v", ids)
	}
}

// RFC 3261 section 10.2.4: a binding is refreshed before it ends, with the
// same Call-ID and the next CSeq.
func TestRefresh(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Start(h.now)
	h.advance(2 * time.Second)
	h.answer("200 OK", "Contact: <sip:callee@192.0.2.1:5061;transport=tls>;expires=600")
	h.expect("registered 10m0s")
	h.advance(540*time.Second - 1)
	h.requests(1)
	h.advance(1)
	h.requests(2)
	if got := header(h.last().req, "CSeq"); got != "2 REGISTER" {
		t.Errorf("CSeq: %s", got)
	}
	if got := header(h.last().req, "Call-ID"); got != "call" {
		t.Errorf("Call-ID: %s", got)
	}
	// The whole lifetime is asked for again, whatever was granted.
	if got := header(h.last().req, "Expires"); got != "3600" {
		t.Errorf("Expires: %s", got)
	}
	h.answer("200 OK")
	h.expect("registered 1h0m0s")
	if h.q.Len() != 1 {
		t.Errorf("%d timers", h.q.Len())
	}
}

func TestRefreshIn(t *testing.T) {
	for _, c := range []struct {
		lifetime time.Duration
		random   float64
		want     time.Duration
	}{
		{time.Hour, 0, 54 * time.Minute},
		{time.Hour, 0.5, 51*time.Minute + 18*time.Second},
		{300 * time.Second, 0, 260 * time.Second},
		{60 * time.Second, 0, 30 * time.Second},
		{60 * time.Second, 0.5, 28500 * time.Millisecond},
		{10 * time.Second, 0.9, 5 * time.Second},
		{time.Second, 0, 5 * time.Second},
	} {
		if got := refreshIn(c.lifetime, c.random); got != c.want {
			t.Errorf("refreshIn(%v, %v) = %v, want %v", c.lifetime, c.random, got, c.want)
		}
	}
}

// RFC 3261 section 10.2: no second REGISTER while the first is open.
func TestOneRequestAtATime(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Refresh(h.now) // not started
	h.requests(0)
	h.m.Start(h.now)
	h.m.Start(h.now)
	h.m.Refresh(h.now)
	h.requests(1)
	h.answer("100 Trying")
	h.m.Refresh(h.now)
	h.requests(1)
	h.answer("200 OK")
	h.expect("registered 1h0m0s")
	h.answer("200 OK", "Expires: 60") // a second final response is none of ours
	h.expect()
	h.m.Refresh(h.now)
	h.requests(2)
	if h.q.Len() != 0 {
		t.Error("the refresh timer runs beside a request")
	}
}

// RFC 3261 section 22.2: the repeat with credentials takes the next number.
func TestNextCSeq(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Start(h.now)
	if n := h.m.NextCSeq(); n != 2 {
		t.Errorf("the repeat has CSeq %d, want 2", n)
	}
	h.answer("200 OK")
	h.m.Refresh(h.now)
	if got := header(h.last().req, "CSeq"); got != "3 REGISTER" {
		t.Errorf("CSeq: %s", got)
	}
}

// A Sender that has no flow may fail before it returns.
func TestFailureBeforeReturn(t *testing.T) {
	h := newHarness(t, nil)
	h.onSend = func(e *exchange) { e.done(h.now, nil, errors.New("no flow")) }
	h.m.Start(h.now)
	h.expect("failed no flow after=0s fatal=false")
	h.onSend = nil
	h.m.FlowChanged(h.now)
	h.requests(2)
	if h.sent[0].cancelled {
		t.Error("an ended request was cancelled")
	}
}

// RFC 3261 section 10.2.7 and RFC 5626 section 4.5: the binding granted last
// lives on when its refresh fails; when to try again is the observer's affair.
func TestFailedRefresh(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Start(h.now)
	h.answer("200 OK", "Expires: 600")
	h.advance(540 * time.Second)
	h.fail(errors.New("timeout"))
	h.expect("registered 10m0s", "failed timeout after=0s fatal=false")
	if _, live := h.m.Binding(h.now); !live {
		t.Error("the binding is gone before its time")
	}
	h.advance(60 * time.Second)
	if _, live := h.m.Binding(h.now); live {
		t.Error("the binding outlives its time")
	}
	h.advance(24 * time.Hour)
	h.requests(2)
	h.m.Refresh(h.now)
	h.requests(3)
}

// RFC 5626 section 4.2.1 and RFC 3261 section 10.3: over a new flow, the same
// Call-ID and a higher CSeq replace the binding.
func TestFlowChanged(t *testing.T) {
	h := newHarness(t, full)
	h.m.FlowChanged(h.now)
	h.requests(0)
	h.m.Start(h.now)
	first := h.last()
	h.m.FlowChanged(h.now)
	h.requests(2)
	if !first.cancelled {
		t.Error("the request on the old flow goes on")
	}
	first.done(h.now, response(t, "200 OK"), nil)
	h.expect()
	if got := header(h.last().req, "CSeq"); got != "2 REGISTER" {
		t.Errorf("CSeq: %s", got)
	}
	h.answer("200 OK", "Require: outbound")
	h.m.FlowChanged(h.now)
	h.requests(3)
	if h.q.Len() != 0 {
		t.Error("the refresh timer runs beside a request")
	}
}

// RFC 3261 section 10.2.2: where no reg-id ties the flows together, the
// request for the new Contact removes the old one.
func TestFlowChangedWithoutOutbound(t *testing.T) {
	for _, outbound := range []bool{false, true} {
		port := 5061
		h := newHarness(t, func(c *Config) {
			c.Instance, c.Outbound = instance, true
			c.Contact = func() sipgo.Uri { return sipgo.Uri{Scheme: "sip", User: "callee", Host: "192.0.2.1", Port: port} }
		})
		h.m.Start(h.now)
		var extra []string
		if outbound {
			extra = append(extra, "Require: outbound")
		}
		h.answer("200 OK", extra...)
		h.m.Refresh(h.now)
		if got := header(h.last().req, "Contact"); strings.Contains(got, "expires=0") {
			t.Errorf("outbound %v: a refresh removes a Contact: %s", outbound, got)
		}
		h.answer("200 OK", extra...)
		port = 40000
		h.m.FlowChanged(h.now)
		got := header(h.last().req, "Contact")
		if !strings.HasPrefix(got, "<sip:callee@192.0.2.1:40000>;reg-id=1") {
			t.Errorf("outbound %v: Contact: %s", outbound, got)
		}
		if removed := strings.HasSuffix(got, ", <sip:callee@192.0.2.1:5061>;expires=0"); removed == outbound {
			t.Errorf("outbound %v: Contact: %s", outbound, got)
		}
	}
}

func TestStop(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Start(h.now)
	h.m.Stop(h.now)
	if !h.last().cancelled {
		t.Error("the request goes on")
	}
	h.answer("200 OK")
	h.m.Refresh(h.now)
	h.m.FlowChanged(h.now)
	h.advance(2 * time.Hour)
	h.requests(1)
	h.expect()

	h.m.Start(h.now)
	h.answer("200 OK")
	h.m.Stop(h.now)
	if h.q.Len() != 0 {
		t.Error("a timer is left")
	}
}

// An observer may call the machine from within.
func TestReentrancy(t *testing.T) {
	h := newHarness(t, nil)
	h.onSend = func(e *exchange) {
		if len(h.sent) == 2 {
			h.m.FlowChanged(h.now)
		}
	}
	h.m.Start(h.now)
	h.answer("200 OK")
	h.m.Refresh(h.now) // its Sender changes the flow before it returns
	h.requests(3)
	if !h.sent[1].cancelled || h.sent[2].cancelled {
		t.Errorf("cancelled: %v and %v", h.sent[1].cancelled, h.sent[2].cancelled)
	}
	h.answer("200 OK")
	h.expect("registered 1h0m0s", "registered 1h0m0s")
	h.sent[1].done(h.now, response(t, "200 OK", "Expires: 77"), nil)
	h.expect()
}

// Whatever happens in whatever order: one request at a time, CSeq strictly
// rising, one Call-ID, an Unregistered for each Unregister that was not void,
// and never more requests than events that may cause them.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 6, 1, 5, 3, 6})
	f.Add([]byte{0, 7, 7, 7, 7, 7, 7, 7})
	f.Add([]byte{0, 2, 3, 2, 9, 5, 5, 5})
	f.Add([]byte{0, 6, 3, 4, 0, 8, 10, 3, 2})
	f.Fuzz(func(t *testing.T, ops []byte) {
		ops = ops[:min(len(ops), 100)] // longer ones show nothing new
		h := newHarness(t, full)
		waiting, ended := 0, 0
		var cseq uint32
		h.onSend = func(e *exchange) {
			for _, o := range h.sent[:len(h.sent)-1] {
				if !o.over {
					t.Fatalf("two requests open after %v", ops)
				}
			}
			n := e.req.CSeq().SeqNo
			if n <= cseq {
				t.Fatalf("CSeq %d after %d", n, cseq)
			}
			cseq = n
		}
		for i, op := range ops {
			before := len(h.sent)
			switch op % 12 {
			case 0:
				h.m.Start(h.now)
			case 1:
				h.m.Refresh(h.now)
			case 2:
				h.m.FlowChanged(h.now)
			case 3:
				if h.m.state != leaving {
					waiting++
				}
				h.m.Unregister(h.now)
			case 4:
				if h.m.state == leaving {
					waiting--
				}
				h.m.Stop(h.now)
			case 5:
				h.advance(time.Duration(op) * time.Second)
			default:
				if before == 0 || h.last().over {
					continue
				}
				switch op % 12 {
				case 6:
					h.answer("200 OK", fmt.Sprintf("Expires: %d", op))
				case 7:
					h.answer("423 Interval Too Brief", fmt.Sprintf("Min-Expires: %d", 4000+i))
				case 8:
					h.fail(errors.New("flow"))
				case 9:
					h.answer("503 Service Unavailable")
				case 10:
					h.answer("439 First Hop Lacks Outbound Support")
				case 11:
					h.answer("420 Bad Extension", "Unsupported: gruu, path")
				}
			}
			if op%12 != 5 && len(h.sent) > before+1 {
				t.Fatalf("op %d made %d requests", op, len(h.sent)-before)
			}
		}
		h.advance(32 * time.Second)
		for _, s := range h.log {
			if strings.HasPrefix(s, "unregistered") {
				ended++
			}
		}
		if waiting != ended {
			t.Fatalf("%d Unregister, %d Unregistered: %v", waiting, ended, slices.Clip(h.log))
		}
	})
}
