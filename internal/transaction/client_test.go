package transaction

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

const ms = time.Millisecond

// RFC 3261 §17.1.1.2: an INVITE into a black hole is sent at 0, T1, 3*T1,
// 7*T1 ... (Timer A) and fails after 64*T1 (Timer B).
func TestInviteClientTimersAB(t *testing.T) {
	w := newWorld(t, Config{})
	w.start(false, request("INVITE", "z9hG4bK1"))
	w.until(time.Hour)
	w.expect("0 send INVITE", "500 send INVITE", "1500 send INVITE", "3500 send INVITE",
		"7500 send INVITE", "15500 send INVITE", "31500 send INVITE",
		"32000 failed transaction: timeout")
	w.gone()
}

// Timer A does not run over a reliable transport.
func TestInviteClientReliable(t *testing.T) {
	w := newWorld(t, Config{})
	w.start(true, request("INVITE", "z9hG4bK1"))
	w.until(time.Hour)
	w.expect("0 send INVITE", "32000 failed transaction: timeout")
	w.gone()
}

func TestTimeoutIsNetTimeout(t *testing.T) {
	var ne net.Error
	if !errors.As(ErrTimeout, &ne) || !ne.Timeout() {
		t.Error("ErrTimeout is no net.Error with Timeout")
	}
}

// A provisional response stops Timers A and B; how long to ring is the
// user's decision.
func TestInviteClientProceeding(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	c := w.start(false, req)
	w.until(600 * ms)
	w.receive(respond(req, 100))
	w.receive(respond(req, 180))
	w.until(time.Hour)
	w.receive(respond(req, 180))
	w.expect("0 send INVITE", "500 send INVITE", "600 response 100 INVITE", "600 response 180 INVITE",
		"3600000 response 180 INVITE")
	if w.q.Len() != 0 {
		t.Error("a timer runs in Proceeding")
	}
	c.Terminate(w.now)
	w.gone()
}

// RFC 6026 §7.2: Accepted lasts Timer M, on any transport. Each 2xx goes to
// the user, everything else is absorbed, and what comes later is stray.
func TestInviteClientAcceptedTimerM(t *testing.T) {
	for _, reliable := range []bool{false, true} {
		w := newWorld(t, Config{})
		req := request("INVITE", "z9hG4bK1")
		var inCallback *sipgo.Request
		w.onResponse = func(c *Client, r *sipgo.Response) { inCallback = c.Request() }
		c := w.start(reliable, req)
		w.until(100 * ms)
		w.receive(respond(req, 200))
		if inCallback != req || c.Request() != nil || !c.Final() {
			t.Errorf("request during the callback %v, after it %v, final %v", inCallback != nil, c.Request() != nil, c.Final())
		}
		w.until(32099 * ms)
		w.receive(respond(req, 200)) // retransmission or another branch of a fork
		w.receive(respond(req, 180))
		w.receive(respond(req, 486))
		w.until(32100 * ms)
		w.receive(respond(req, 200))
		w.expect("0 send INVITE", "100 response 200 INVITE", "32099 response 200 INVITE", "32100 stray 200 INVITE")
		w.gone()
	}
}

// §17.1.1.2 and §17.1.1.3: a final response other than 2xx is acknowledged by
// the transaction, and so is each retransmission, at once, until Timer D.
func TestInviteClientCompletedTimerD(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1", "Route: <sip:p1.example;lr>", "Route: <sip:p2.example;lr>", "Subject: x", "Content-Type: text/plain")
	var ack *sipgo.Request
	w.onSend = func(m sipgo.Message) {
		if r, ok := m.(*sipgo.Request); ok && r.Method == sipgo.ACK {
			ack = r
		}
	}
	w.start(false, req)
	w.until(100 * ms)
	w.receive(respond(req, 180))
	w.receive(respond(req, 486))
	first := string(sipwire.Append(nil, ack))
	w.until(600 * ms)
	w.receive(respond(req, 486))
	if again := string(sipwire.Append(nil, ack)); again != first {
		t.Errorf("second ACK differs:\n%s\n%s", first, again)
	}
	w.receive(respond(req, 180)) // absorbed
	w.receive(respond(req, 200)) // absorbed: the answer was another
	w.until(32099 * ms)
	w.receive(respond(req, 486))
	w.until(32100 * ms)
	w.gone()
	w.receive(respond(req, 486))
	w.expect("0 send INVITE", "100 response 180 INVITE", "100 send ACK", "100 response 486 INVITE",
		"600 send ACK", "32099 send ACK", "32100 stray 486 INVITE")

	want := strings.ReplaceAll(`ACK sip:bob@biloxi.example SIP/2.0
Via: SIP/2.0/UDP pc33.atlanta.example;branch=z9hG4bK1
Max-Forwards: 70
From: "Alice" <sip:alice@atlanta.example>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 ACK
Route: <sip:p1.example;lr>
Route: <sip:p2.example;lr>
To: "Bob" <sip:bob@biloxi.example>;tag=tagINVITE
Content-Length: 0

`, "\n", "\r\n")
	if first != want {
		t.Errorf("ACK:\n%s\nwant:\n%s", first, want)
	}
}

// The ACK has only the top Via of the INVITE, whatever else is there.
func TestAckHasOneVia(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1", "Via: SIP/2.0/UDP behind.example;branch=z9hG4bK0")
	n := 0
	w.onSend = func(m sipgo.Message) {
		if m.CSeq().MethodName == sipgo.ACK {
			n = len(m.GetHeaders("via"))
		}
	}
	w.start(true, req)
	w.receive(respond(request("INVITE", "z9hG4bK1"), 404))
	if n != 1 {
		t.Errorf("%d Vias", n)
	}
}

// Timer D is 0 over a reliable transport.
func TestInviteClientTimerDReliable(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	w.start(true, req)
	w.receive(respond(req, 486))
	w.gone()
	w.receive(respond(req, 486))
	w.expect("0 send INVITE", "0 send ACK", "0 response 486 INVITE", "0 stray 486 INVITE")
}

// §17.1.2.2: another request is sent again after T1, doubling to T2 (Timer
// E), and fails after 64*T1 (Timer F).
func TestOtherClientTimersEF(t *testing.T) {
	w := newWorld(t, Config{})
	w.start(false, request("OPTIONS", "z9hG4bK1"))
	w.until(time.Hour)
	w.expect("0 send OPTIONS", "500 send OPTIONS", "1500 send OPTIONS", "3500 send OPTIONS",
		"7500 send OPTIONS", "11500 send OPTIONS", "15500 send OPTIONS", "19500 send OPTIONS",
		"23500 send OPTIONS", "27500 send OPTIONS", "31500 send OPTIONS",
		"32000 failed transaction: timeout")
	w.gone()

	w = newWorld(t, Config{})
	w.start(true, request("OPTIONS", "z9hG4bK1"))
	w.until(time.Hour)
	w.expect("0 send OPTIONS", "32000 failed transaction: timeout")
	w.gone()
}

// A provisional response makes Timer E T2 from its next expiry on. Timer F
// goes on.
func TestOtherClientProceeding(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("OPTIONS", "z9hG4bK1")
	w.start(false, req)
	w.until(100 * ms)
	w.receive(respond(req, 100))
	w.until(time.Hour)
	w.expect("0 send OPTIONS", "100 response 100 OPTIONS",
		"500 send OPTIONS", "4500 send OPTIONS", "8500 send OPTIONS", "12500 send OPTIONS", "16500 send OPTIONS",
		"20500 send OPTIONS", "24500 send OPTIONS", "28500 send OPTIONS", "32000 failed transaction: timeout")
	w.gone()
}

// Timer K is T4 for retransmitted responses over UDP, 0 otherwise.
func TestOtherClientTimerK(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("OPTIONS", "z9hG4bK1")
	w.start(false, req)
	w.until(100 * ms)
	w.receive(respond(req, 200))
	w.until(5099 * ms)
	w.receive(respond(req, 200)) // absorbed
	w.until(5100 * ms)
	w.gone()
	w.receive(respond(req, 200))
	w.expect("0 send OPTIONS", "100 response 200 OPTIONS", "5100 stray 200 OPTIONS")

	w = newWorld(t, Config{})
	w.start(true, req)
	w.receive(respond(req, 200))
	w.gone()
	w.receive(respond(req, 200))
	w.expect("0 send OPTIONS", "0 response 200 OPTIONS", "0 stray 200 OPTIONS")
}

// Other constants than the defaults.
func TestOwnConstants(t *testing.T) {
	w := newWorld(t, Config{T1: 100 * ms, T2: 300 * ms, T4: 700 * ms})
	w.start(false, request("OPTIONS", "z9hG4bK1"))
	w.until(1000 * ms)
	w.expect("0 send OPTIONS", "100 send OPTIONS", "300 send OPTIONS", "600 send OPTIONS", "900 send OPTIONS")
	w.receive(respond(request("OPTIONS", "z9hG4bK1"), 200))
	w.until(1699 * ms)
	if c, _ := w.table.Len(); c != 1 {
		t.Error("Timer K is short")
	}
	w.until(1700 * ms)
	w.gone()
}

// A program that slept for long sends one retransmission at most, and none
// when the time is over anyway.
func TestLateAdvance(t *testing.T) {
	w := newWorld(t, Config{})
	w.start(false, request("OPTIONS", "z9hG4bK1"))
	w.now = epoch.Add(20 * time.Second)
	w.q.Advance(w.now)
	w.expect("0 send OPTIONS", "20000 send OPTIONS")
	w.now = epoch.Add(time.Hour)
	w.q.Advance(w.now)
	w.expect("3600000 failed transaction: timeout")
	w.gone()
}

// RFC 3261 §9.1: the CANCEL waits for a provisional response.
func TestCancelBeforeProvisional(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1", "Route: <sip:p1.example;lr>")
	var cancel *sipgo.Request
	w.onSend = func(m sipgo.Message) {
		if r, ok := m.(*sipgo.Request); ok && r.Method == sipgo.CANCEL {
			cancel = r
		}
	}
	c := w.start(false, req)
	w.until(100 * ms)
	c.Cancel(w.now, sipwire.Reason{Protocol: "SIP", Cause: 200, Text: "Call completed elsewhere"}.Header())
	c.Cancel(w.now) // once is enough
	w.until(700 * ms)
	w.expect("0 send INVITE", "500 send INVITE")
	w.receive(respond(req, 180))
	w.expect("700 response 180 INVITE", "700 send CANCEL")
	w.receive(respond(req, 180))
	w.expect("700 response 180 INVITE")
	want := strings.ReplaceAll(`CANCEL sip:bob@biloxi.example SIP/2.0
Via: SIP/2.0/UDP pc33.atlanta.example;branch=z9hG4bK1
Max-Forwards: 70
From: "Alice" <sip:alice@atlanta.example>;tag=1928301774
Call-ID: a84b4c76e66710
CSeq: 314159 CANCEL
Route: <sip:p1.example;lr>
To: "Bob" <sip:bob@biloxi.example>
Reason: SIP;cause=200;text="Call completed elsewhere"
Content-Length: 0

`, "\n", "\r\n")
	if got := string(sipwire.Append(nil, cancel)); got != want {
		t.Errorf("CANCEL:\n%s\nwant:\n%s", got, want)
	}

	w.until(800 * ms)
	w.receive(respond(cancel, 200))
	w.receive(respond(req, 487))
	w.expect("800 send ACK", "800 response 487 INVITE")
	w.until(time.Minute)
	w.expect()
	w.gone()
}

// A final response before any provisional one: the CANCEL is not sent.
func TestCancelOvertakenByFinal(t *testing.T) {
	for _, status := range []int{200, 486} {
		w := newWorld(t, Config{})
		req := request("INVITE", "z9hG4bK1")
		c := w.start(true, req)
		c.Cancel(w.now)
		w.receive(respond(req, status))
		c.Cancel(w.now)
		w.until(time.Minute)
		for _, line := range w.log {
			if strings.Contains(line, "CANCEL") {
				t.Errorf("%d: %s", status, line)
			}
		}
		w.gone()
	}
}

// No answer at all: Timer B ends the call although it was cancelled.
func TestCancelIntoBlackHole(t *testing.T) {
	w := newWorld(t, Config{})
	c := w.start(true, request("INVITE", "z9hG4bK1"))
	c.Cancel(w.now)
	w.until(time.Hour)
	w.expect("0 send INVITE", "32000 failed transaction: timeout")
	w.gone()
}

// The 2xx crosses the CANCEL: the user has it, acknowledges it and says BYE.
func TestCancelCrossing2xx(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	c := w.start(false, req)
	w.receive(respond(req, 180))
	w.until(1000 * ms)
	c.Cancel(w.now)
	w.receive(respond(req, 200))
	w.until(1100 * ms)
	w.receive(respond(request("CANCEL", "z9hG4bK1"), 481))
	w.until(1500 * ms)
	w.receive(respond(req, 200))
	w.expect("0 send INVITE", "0 response 180 INVITE", "1000 send CANCEL", "1000 response 200 INVITE",
		"1500 response 200 INVITE")
	w.until(33000 * ms)
	w.expect()
	w.gone()
}

// The CANCEL is a transaction of its own with Timer E, and after 64*T1
// without a final response to the INVITE the client gives up (§9.1).
func TestCancelUnanswered(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	c := w.start(false, req)
	w.receive(respond(req, 180))
	w.until(1000 * ms)
	c.Cancel(w.now)
	w.until(2600 * ms)
	w.receive(respond(request("CANCEL", "z9hG4bK1"), 200))
	w.until(10000 * ms)
	w.receive(respond(req, 180)) // does not prolong it
	w.until(time.Hour)
	w.expect("0 send INVITE", "0 response 180 INVITE", "1000 send CANCEL", "1500 send CANCEL", "2500 send CANCEL",
		"10000 response 180 INVITE", "33000 failed transaction: timeout")
	w.gone()
}

// Cancel from within the callback of the provisional response.
func TestCancelWithinCallback(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	w.onResponse = func(c *Client, r *sipgo.Response) { c.Cancel(w.now) }
	w.start(true, req)
	w.receive(respond(req, 180))
	w.expect("0 send INVITE", "0 response 180 INVITE", "0 send CANCEL")
}

// Cancel does nothing to other methods.
func TestCancelOther(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("OPTIONS", "z9hG4bK1")
	c := w.start(true, req)
	w.receive(respond(req, 100))
	c.Cancel(w.now)
	w.expect("0 send OPTIONS", "0 response 100 OPTIONS")
}

// §17.1.3: branch and CSeq method identify the client transaction.
func TestClientMatching(t *testing.T) {
	w := newWorld(t, Config{})
	invite, options := request("INVITE", "z9hG4bK1"), request("OPTIONS", "z9hG4bK2")
	w.start(true, invite)
	w.start(true, options)
	w.log = nil
	for _, r := range []*sipgo.Response{
		respond(request("INVITE", "z9hG4bK3"), 180),
		respond(request("OPTIONS", "z9hG4bK1"), 200),
		respond(request("INVITE", "z9hG4bK2"), 200),
		respond(request("INFO", "z9hG4bK2"), 200),
		respond(request("CANCEL", "z9hG4bK1"), 200),
		respond(request("INVITE", "Z9HG4BK1"), 180),
	} {
		w.receive(r)
	}
	w.expect("0 stray 180 INVITE", "0 stray 200 OPTIONS", "0 stray 200 INVITE", "0 stray 200 INFO",
		"0 stray 200 CANCEL", "0 stray 180 INVITE")
	w.receive(respond(options, 200))
	w.receive(respond(invite, 180))
	w.expect("0 response 200 OPTIONS", "0 response 180 INVITE")
}

func TestSendRefuses(t *testing.T) {
	w := newWorld(t, Config{})
	f := &flow{}
	for _, req := range []*sipgo.Request{
		request("ACK", "z9hG4bK1"),
		request("CANCEL", "z9hG4bK1"),
		request("INVITE", "1234"),
		request("INVITE", "z9hG4bK"),
		sipgo.NewRequest("INVITE", sipgo.Uri{Host: "x"}),
	} {
		if _, err := w.table.Send(w.now, f, req, w); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%s: %v", req.Method, err)
		}
	}
	w.start(true, request("INVITE", "z9hG4bK1"))
	if _, err := w.table.Send(w.now, f, request("OPTIONS", "z9hG4bK1"), w); !errors.Is(err, ErrBranchInUse) {
		t.Errorf("branch in use: %v", err)
	}
	w.expect("0 send INVITE")
}

// A failed flow ends what waits on it, not what is on another, and not what
// has its final response.
func TestFlowFailed(t *testing.T) {
	w := newWorld(t, Config{})
	a, b := &flow{name: "a"}, &flow{name: "b"}
	reqs := make([]*sipgo.Request, 4)
	for i, f := range []*flow{a, b, a, a} {
		method := "OPTIONS"
		if i == 3 {
			method = "INVITE"
		}
		reqs[i] = request(method, "z9hG4bK"+string(rune('1'+i)))
		if _, err := w.table.Send(w.now, f, reqs[i], w); err != nil {
			t.Fatal(err)
		}
	}
	w.receive(respond(reqs[2], 200))
	w.log = nil
	w.table.FlowFailed(w.now, a, errors.New("reset"))
	w.table.FlowFailed(w.now, a, errors.New("reset"))
	w.expect("0 failed reset", "0 failed reset")
	w.receive(respond(reqs[1], 200))
	w.expect("0 response 200 OPTIONS")
	w.until(time.Minute)
	w.gone()
}

// A failure to send ends the transaction, even when Sink.Send tells it at
// once; for a response or a stranger it does nothing.
func TestSendFailed(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("OPTIONS", "z9hG4bK1")
	w.start(false, req)
	w.table.SendFailed(w.now, respond(req, 200), errors.New("x"))
	w.table.SendFailed(w.now, request("OPTIONS", "z9hG4bK2"), errors.New("x"))
	w.table.SendFailed(w.now, request("CANCEL", "z9hG4bK1"), errors.New("x"))
	w.table.SendFailed(w.now, request("ACK", "z9hG4bK1"), errors.New("x"))
	w.expect("0 send OPTIONS")
	w.table.SendFailed(w.now, req, errors.New("too big"))
	w.expect("0 failed too big")
	w.gone()

	w.onSend = func(m sipgo.Message) { w.table.SendFailed(w.now, m, errors.New("at once")) }
	c, err := w.table.Send(w.now, &flow{}, req, w)
	if err != nil || !c.Final() {
		t.Errorf("Send: %v, final %v", err, c.Final())
	}
	w.expect("0 send OPTIONS", "0 failed at once")
	w.gone()
}

// Forget: the transaction works on without its user.
func TestForget(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	c := w.start(false, req)
	w.receive(respond(req, 200))
	c.Forget()
	w.receive(respond(req, 200))
	w.expect("0 send INVITE", "0 response 200 INVITE", "0 stray 200 INVITE")

	req = request("INVITE", "z9hG4bK2")
	c = w.start(false, req)
	c.Forget()
	w.receive(respond(req, 180))
	w.receive(respond(req, 486))
	w.expect("0 send INVITE", "0 send ACK")
	w.until(time.Minute)
	w.gone()
}

// SetUser: a further 2xx is the new user's.
func TestSetUser(t *testing.T) {
	w, other := newWorld(t, Config{}), newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	c := w.start(false, req)
	w.receive(respond(req, 200))
	c.SetUser(other)
	w.receive(respond(req, 200))
	w.expect("0 send INVITE", "0 response 200 INVITE")
	other.expect("0 response 200 INVITE")
	w.until(time.Minute)
	w.gone()
}

func TestTerminate(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	c := w.start(false, req)
	c.Terminate(w.now)
	c.Terminate(w.now)
	c.Cancel(w.now)
	w.gone()
	w.receive(respond(req, 180))
	w.until(time.Minute)
	w.expect("0 send INVITE", "0 stray 180 INVITE")

	// From within the callback.
	w.onResponse = func(c *Client, r *sipgo.Response) { c.Terminate(w.now) }
	for _, status := range []int{180, 200, 486} {
		w.start(false, req)
		w.receive(respond(req, status))
		w.gone()
	}
}
