package register

import (
	"errors"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"
)

// RFC 3261 section 10.2.2: Expires 0 removes the binding.
func TestUnregister(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Start(h.now)
	h.answer("200 OK")
	h.log = nil
	h.m.Unregister(h.now)
	h.m.Unregister(h.now)
	h.m.Start(h.now)
	h.m.Refresh(h.now)
	h.requests(2)
	if got := header(h.last().req, "Expires"); got != "0" {
		t.Errorf("Expires: %s", got)
	}
	if got := header(h.last().req, "Contact"); got != "<sip:callee@192.0.2.1:5061;transport=tls>" {
		t.Errorf("Contact: %s", got)
	}
	h.answer("200 OK")
	h.expect("unregistered <nil>")
	if _, live := h.m.Binding(h.now); live || h.q.Len() != 0 {
		t.Error("something is left of the binding")
	}
	h.m.Unregister(h.now)
	h.requests(2)
	h.expect("unregistered <nil>")
	h.m.Start(h.now)
	h.requests(3)
	if got := header(h.last().req, "CSeq"); got != "3 REGISTER" {
		t.Errorf("CSeq: %s", got)
	}
}

// The binding the registrar knows is the one to remove (RFC 3261 section 10.3
// finds it by URI), even if the flow has another Contact by now.
func TestUnregisterContact(t *testing.T) {
	for _, outbound := range []bool{false, true} {
		port, want := 1, "<sip:192.0.2.1:1>;reg-id=1"
		h := newHarness(t, func(c *Config) {
			c.Instance, c.Outbound = instance, true
			c.Contact = func() sipgo.Uri { return sipgo.Uri{Scheme: "sip", Host: "192.0.2.1", Port: port} }
		})
		h.m.Start(h.now)
		if outbound {
			want = "<sip:192.0.2.1:2>;reg-id=1"
			h.answer("200 OK", "Require: outbound")
		} else {
			h.answer("200 OK")
		}
		port = 2
		h.m.Unregister(h.now)
		if got := header(h.last().req, "Contact"); !strings.HasPrefix(got, want) {
			t.Errorf("outbound %v: Contact: %s, want %s", outbound, got, want)
		}
	}
}

// RFC 3261 section 17.1.2.2: a registrar that is gone costs 64*T1, 32 s.
func TestUnregisterTimeout(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Start(h.now)
	h.answer("200 OK")
	h.log = nil
	h.m.Unregister(h.now)
	h.advance(32*time.Second - 1)
	h.expect()
	h.advance(1)
	h.expect("unregistered " + ErrTimeout.Error())
	if !h.last().cancelled {
		t.Error("the request goes on")
	}
	h.answer("200 OK")
	h.expect()
	// The registrar may still have the binding: it can be tried again.
	h.m.Unregister(h.now)
	h.requests(3)
	h.answer("403 Forbidden")
	h.expect(`unregistered register: rejected with 403 "Forbidden"`)
	if !errors.As(h.err, new(*Rejected)) {
		t.Errorf("error %T", h.err)
	}
}

// RFC 3261 section 10.2: the REGISTER under way is awaited; the time it takes
// counts.
func TestUnregisterWhileRegistering(t *testing.T) {
	start := func() *harness {
		h := newHarness(t, nil)
		h.m.Start(h.now)
		h.m.Unregister(h.now)
		h.requests(1)
		h.advance(20 * time.Second)
		return h
	}
	t.Run("granted", func(t *testing.T) {
		h := start()
		h.answer("200 OK")
		h.requests(2)
		if got := header(h.last().req, "Expires"); got != "0" {
			t.Errorf("Expires: %s", got)
		}
		h.answer("200 OK")
		h.expect("unregistered <nil>")
	})
	t.Run("refused", func(t *testing.T) {
		h := start()
		h.answer("423 Interval Too Brief", "Min-Expires: 7200")
		h.requests(1)
		h.expect("unregistered <nil>")
		if h.q.Len() != 0 {
			t.Error("a timer is left")
		}
	})
	t.Run("unknown", func(t *testing.T) {
		h := start()
		h.fail(errors.New("reset"))
		h.requests(2)
		h.answer("200 OK")
		h.expect("unregistered <nil>")
	})
	t.Run("silent", func(t *testing.T) {
		h := start()
		h.advance(12*time.Second - 1)
		h.expect()
		h.advance(1)
		h.expect("unregistered " + ErrTimeout.Error())
	})
	t.Run("slow", func(t *testing.T) {
		h := start()
		h.answer("200 OK")
		h.advance(12*time.Second - 1)
		h.expect()
		h.advance(1)
		h.expect("unregistered " + ErrTimeout.Error())
	})
	t.Run("new flow", func(t *testing.T) {
		h := start()
		h.m.FlowChanged(h.now)
		h.requests(2)
		if got := header(h.last().req, "Expires"); got != "0" || !h.sent[0].cancelled {
			t.Errorf("Expires: %s, old request cancelled: %v", got, h.sent[0].cancelled)
		}
		h.m.FlowChanged(h.now)
		h.requests(3)
		h.answer("200 OK")
		h.expect("unregistered <nil>")
	})
}

// What was never registered, was refused, or has expired, needs no removal.
func TestUnregisterNothing(t *testing.T) {
	h := newHarness(t, nil)
	h.m.Unregister(h.now)
	h.expect("unregistered <nil>")

	h.m.Start(h.now)
	h.answer("403 Forbidden")
	h.log = nil
	h.m.Unregister(h.now)
	h.expect("unregistered <nil>")
	h.requests(1)

	h.m.Start(h.now)
	h.answer("200 OK", "Expires: 60")
	h.advance(30 * time.Second)
	h.answer("503 Service Unavailable")
	h.advance(30 * time.Second)
	h.log = nil
	h.m.Unregister(h.now)
	h.requests(3)
	h.expect("unregistered <nil>")
}
