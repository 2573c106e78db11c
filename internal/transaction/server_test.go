package transaction

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// arrive takes in a new request and returns its transaction.
func (w *world) arrive(req *sipgo.Request) *Server {
	w.t.Helper()
	n := len(w.servers)
	w.receive(req)
	if len(w.servers) != n+1 {
		w.t.Fatalf("no new server transaction for %s", req.Method)
	}
	return w.servers[n]
}

func (w *world) answer(s *Server, status int) {
	s.Respond(w.now, sipwire.ResponseTo(s.Request(), status, "", "bobtag"))
}

// §17.2.1: 100 after 200 ms, if the user has said nothing.
func TestInviteServer100(t *testing.T) {
	for _, reliable := range []bool{false, true} {
		w := newWorld(t, Config{})
		w.from.reliable = reliable
		w.arrive(request("INVITE", "z9hG4bK1", "Timestamp: 54"))
		var got sipgo.Message
		w.onSend = func(m sipgo.Message) { got = m }
		w.until(199 * ms)
		w.receive(request("INVITE", "z9hG4bK1")) // nothing to send again yet
		w.expect("0 request INVITE")
		w.until(time.Minute)
		w.expect("200 send 100 INVITE")
		if sipwire.ToTag(got) != "" || sipwire.Header(got, "Timestamp") != "54" {
			t.Errorf("100 has To tag %q, Timestamp %q", sipwire.ToTag(got), sipwire.Header(got, "Timestamp"))
		}
	}
}

func TestInviteServerNo100(t *testing.T) {
	w := newWorld(t, Config{})
	s := w.arrive(request("INVITE", "z9hG4bK1"))
	w.until(100 * ms)
	w.answer(s, 180)
	w.until(time.Minute)
	w.expect("0 request INVITE", "100 send 180 INVITE")
	if w.q.Len() != 0 {
		t.Error("a timer runs in Proceeding")
	}
}

// A retransmitted request gets the latest provisional response.
func TestInviteServerRepeatsProvisional(t *testing.T) {
	w := newWorld(t, Config{})
	s := w.arrive(request("INVITE", "z9hG4bK1"))
	w.answer(s, 180)
	w.answer(s, 183)
	w.receive(request("INVITE", "z9hG4bK1"))
	w.expect("0 request INVITE", "0 send 180 INVITE", "0 send 183 INVITE", "0 send 183 INVITE")
}

// §17.2.1: a final response other than 2xx is sent again after T1, doubling
// to T2 (Timer G), until Timer H ends the transaction for want of an ACK.
func TestInviteServerTimersGH(t *testing.T) {
	w := newWorld(t, Config{})
	s := w.arrive(request("INVITE", "z9hG4bK1"))
	w.answer(s, 486)
	if !s.Final() || s.Request() != nil {
		t.Error("not final, or the request is still there")
	}
	w.until(time.Hour)
	w.expect("0 request INVITE", "0 send 486 INVITE", "500 send 486 INVITE", "1500 send 486 INVITE",
		"3500 send 486 INVITE", "7500 send 486 INVITE", "11500 send 486 INVITE", "15500 send 486 INVITE",
		"19500 send 486 INVITE", "23500 send 486 INVITE", "27500 send 486 INVITE", "31500 send 486 INVITE",
		"32000 server failed transaction: no ACK", "32000 done")
	w.gone()
}

// No Timer G over a reliable transport, but Timer H.
func TestInviteServerTimerHReliable(t *testing.T) {
	w := newWorld(t, Config{})
	w.from.reliable = true
	w.answer(w.arrive(request("INVITE", "z9hG4bK1")), 486)
	w.until(time.Hour)
	w.expect("0 request INVITE", "0 send 486 INVITE", "32000 server failed transaction: no ACK", "32000 done")
	w.gone()
}

// The ACK stops Timers G and H; Timer I absorbs further ACKs for T4 over UDP,
// 0 otherwise.
func TestInviteServerTimerI(t *testing.T) {
	w := newWorld(t, Config{})
	w.answer(w.arrive(request("INVITE", "z9hG4bK1")), 486)
	w.until(600 * ms)
	w.receive(request("INVITE", "z9hG4bK1"))
	w.receive(request("ACK", "z9hG4bK1"))
	w.receive(request("INVITE", "z9hG4bK1")) // absorbed in Confirmed
	w.until(5599 * ms)
	w.receive(request("ACK", "z9hG4bK1"))
	w.expect("0 request INVITE", "0 send 486 INVITE", "500 send 486 INVITE", "600 send 486 INVITE")
	w.until(5600 * ms)
	w.expect("5600 done")
	w.gone()
	w.receive(request("ACK", "z9hG4bK1"))
	w.expect("5600 ack")

	w = newWorld(t, Config{})
	w.from.reliable = true
	w.answer(w.arrive(request("INVITE", "z9hG4bK1")), 486)
	w.receive(request("ACK", "z9hG4bK1"))
	w.expect("0 request INVITE", "0 send 486 INVITE", "0 done")
	w.gone()
}

// RFC 6026 §7.1: after a 2xx the transaction absorbs retransmissions of the
// INVITE for Timer L, on any transport. The 2xx is sent again by the user,
// through the transaction; the ACK goes to the sink.
func TestInviteServerAcceptedTimerL(t *testing.T) {
	for _, reliable := range []bool{false, true} {
		w := newWorld(t, Config{})
		w.from.reliable = reliable
		req := request("INVITE", "z9hG4bK1")
		s := w.arrive(req)
		w.answer(s, 200)
		w.receive(req)
		w.until(500 * ms)
		s.Respond(w.now, respond(req, 200))
		s.Respond(w.now, respond(req, 486)) // too late
		s.Respond(w.now, respond(req, 180))
		w.receive(request("ACK", "z9hG4bK1")) // a client of RFC 2543 may do this
		w.receive(request("ACK", "z9hG4bK2"))
		w.until(31999 * ms)
		w.receive(req)
		w.expect("0 request INVITE", "0 send 200 INVITE", "500 send 200 INVITE", "500 ack", "500 ack")
		w.until(32000 * ms)
		w.expect("32000 done")
		w.gone()
		s.Respond(w.now, respond(req, 200))
		w.expect()
	}
}

// After a final response other than 2xx there is no other.
func TestInviteServerOneFinal(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("INVITE", "z9hG4bK1")
	s := w.arrive(req)
	w.answer(s, 487)
	s.Respond(w.now, respond(req, 200))
	s.Respond(w.now, respond(req, 180))
	w.receive(req)
	w.expect("0 request INVITE", "0 send 487 INVITE", "0 send 487 INVITE")
}

// §17.2.2: Timer J absorbs retransmissions, which get the final response
// again, for 64*T1 over UDP, 0 otherwise.
func TestOtherServerTimerJ(t *testing.T) {
	w := newWorld(t, Config{})
	req := request("BYE", "z9hG4bK1")
	s := w.arrive(req)
	w.receive(req) // dropped in Trying
	w.until(100 * ms)
	w.answer(s, 200)
	s.Respond(w.now, respond(req, 500)) // one answer is all
	w.until(32099 * ms)
	w.receive(req)
	w.expect("0 request BYE", "100 send 200 BYE", "32099 send 200 BYE")
	w.until(32100 * ms)
	w.expect("32100 done")
	w.gone()

	w = newWorld(t, Config{})
	w.from.reliable = true
	w.answer(w.arrive(req), 200)
	w.expect("0 request BYE", "0 send 200 BYE", "0 done")
	w.gone()
}

// RFC 4320 §4.1: 100 for another request than INVITE is due when the client's
// Timer E has reached T2, that is after 3.5 s, and is repeated. §4.2: an
// answer after the client's Timer F is of no use.
func TestOtherServer100(t *testing.T) {
	for _, reliable := range []bool{false, true} {
		w := newWorld(t, Config{})
		w.from.reliable = reliable
		req := request("MESSAGE", "z9hG4bK1")
		s := w.arrive(req)
		w.until(4000 * ms)
		w.receive(req)
		w.until(time.Hour)
		w.expect("0 request MESSAGE", "3500 send 100 MESSAGE", "4000 send 100 MESSAGE",
			"32000 server failed transaction: timeout", "32000 done")
		s.Respond(w.now, respond(req, 200))
		w.expect()
		w.gone()
	}
}

// §9.2: a CANCEL finds its INVITE by branch and sent-by, and has a
// transaction of its own.
func TestCancelServer(t *testing.T) {
	w := newWorld(t, Config{})
	invite := w.arrive(request("INVITE", "z9hG4bK1"))
	w.answer(invite, 180)
	cancel := w.arrive(request("CANCEL", "z9hG4bK1"))
	if cancel.Cancels() != invite {
		t.Fatal("CANCEL does not know its INVITE")
	}
	w.answer(cancel, 200)
	w.answer(invite, 487)
	w.receive(request("CANCEL", "z9hG4bK1"))
	w.receive(request("ACK", "z9hG4bK1"))
	w.expect("0 request INVITE", "0 send 180 INVITE", "0 request CANCEL", "0 send 200 CANCEL",
		"0 send 487 INVITE", "0 send 200 CANCEL")

	if s := w.arrive(request("CANCEL", "z9hG4bK2")); s.Cancels() != nil {
		t.Error("CANCEL of another branch found an INVITE")
	}
	w.arrive(request("OPTIONS", "z9hG4bK3"))
	if s := w.arrive(request("CANCEL", "z9hG4bK3")); s.Cancels() != nil {
		t.Error("CANCEL of an OPTIONS found an INVITE")
	}
	w.until(time.Minute)
	w.gone()
}

// §17.2.3: the sent-by is part of the identity, in any case; so is the method.
func TestServerMatching(t *testing.T) {
	via := func(method, sentBy string) *sipgo.Request {
		req := request(method, "z9hG4bK1")
		return parse(strings.Split(strings.Replace(strings.TrimSuffix(string(sipwire.Append(nil, req)), "\r\nContent-Length: 0\r\n\r\n"),
			"pc33.atlanta.example", sentBy, 1), "\r\n")...).(*sipgo.Request)
	}
	w := newWorld(t, Config{})
	w.arrive(via("INVITE", "pc33.atlanta.example"))
	w.receive(via("INVITE", "PC33.Atlanta.example"))
	w.expect("0 request INVITE")
	w.arrive(via("INVITE", "pc34.atlanta.example"))
	w.arrive(via("INVITE", "pc33.atlanta.example:5062"))
	w.arrive(via("INFO", "pc33.atlanta.example"))
	w.receive(via("ACK", "elsewhere.example"))
	w.expect("0 request INVITE", "0 request INVITE", "0 request INFO", "0 ack")
}

// §17.2.3 without the magic cookie: the rules of RFC 2543.
func TestServerMatchingRFC2543(t *testing.T) {
	base := []string{
		"INVITE sip:bob@biloxi.example SIP/2.0",
		"Via: SIP/2.0/UDP pc33.atlanta.example;branch=1",
		"From: Alice <sip:alice@atlanta.example>;tag=88sja8x",
		"To: Bob <sip:bob@biloxi.example>",
		"Call-ID: 987asjd97y7atg",
		"CSeq: 986759 INVITE",
	}
	with := func(changes ...string) *sipgo.Request {
		text := strings.Join(base, "\n")
		text = strings.NewReplacer(changes...).Replace(text)
		return parse(strings.Split(text, "\n")...).(*sipgo.Request)
	}
	other := map[string][]string{
		"Request-URI": {"sip:bob@biloxi.example SIP", "sip:carol@biloxi.example SIP"},
		"To tag":      {"To: Bob <sip:bob@biloxi.example>", "To: Bob <sip:bob@biloxi.example>;tag=x"},
		"From tag":    {"88sja8x", "88sja8y"},
		"Call-ID":     {"987asjd97y7atg", "987asjd97y7ath"},
		"CSeq":        {"986759", "986760"},
		"top Via":     {"pc33.atlanta.example;branch=1", "pc33.atlanta.example;branch=2"},
		"method":      {"INVITE", "INFO"},
	}
	for what, change := range other {
		w := newWorld(t, Config{})
		w.arrive(with())
		w.receive(with())
		w.receive(with("biloxi.example>", "biloxi.example>;other=1")) // only the tag counts
		if len(w.servers) != 1 {
			t.Fatal("retransmission not recognised")
		}
		w.receive(with(change...))
		if len(w.servers) != 2 {
			t.Errorf("%s does not tell requests apart", what)
		}
	}

	// An ACK has the To tag of the response.
	w := newWorld(t, Config{})
	s := w.arrive(with())
	w.answer(s, 486)
	w.receive(with("INVITE", "ACK", "biloxi.example>", "biloxi.example>;tag=stranger"))
	w.receive(with("INVITE", "ACK"))
	w.expect("0 request INVITE", "0 send 486 INVITE", "0 ack", "0 ack")
	w.receive(with("INVITE", "ACK", "biloxi.example>", "biloxi.example>;tag=bobtag"))
	w.receive(with("INVITE", "ACK", "biloxi.example>", "biloxi.example>;tag=bobtag"))
	w.expect()
	w.until(5 * time.Second)
	w.expect("5000 done")
	w.gone()

	// So has the ACK of a re-INVITE, which had the tag before.
	s = w.arrive(with("biloxi.example>", "biloxi.example>;tag=bobtag"))
	s.Respond(w.now, sipwire.ResponseTo(s.Request(), 491, "", ""))
	w.log = nil
	w.receive(with("INVITE", "ACK", "biloxi.example>", "biloxi.example>;tag=bobtag"))
	w.expect()

	// A CANCEL finds its INVITE.
	w = newWorld(t, Config{})
	invite := w.arrive(with())
	if c := w.arrive(with("INVITE", "CANCEL")); c.Cancels() != invite {
		t.Error("CANCEL did not find its INVITE")
	}
}

// RFC 4475 §3.2.1: the cookie alone identifies nothing.
func TestBareCookie(t *testing.T) {
	w := newWorld(t, Config{})
	w.arrive(request("OPTIONS", "z9hG4bK"))
	w.receive(request("OPTIONS", "z9hG4bK"))
	other := request("OPTIONS", "z9hG4bK")
	id := sipgo.CallIDHeader("another")
	other.ReplaceHeader(&id)
	w.arrive(other)
	w.expect("0 request OPTIONS", "0 request OPTIONS")
}

// §8.2.2.2: the same request over another path.
func TestMerged(t *testing.T) {
	w := newWorld(t, Config{})
	merged := map[string]bool{}
	w.onRequest = func(s *Server) {
		req := s.Request()
		merged[string(req.Method)+" "+sipwire.TopBranch(req)] = w.table.Merged(req)
	}
	first := w.arrive(request("INVITE", "z9hG4bK1"))
	w.arrive(request("INVITE", "z9hG4bK2"))
	w.arrive(request("CANCEL", "z9hG4bK2")) // same CSeq number, not the same request
	tagged := request("INVITE", "z9hG4bK3")
	sipwire.SetToTag(tagged, "x")
	w.arrive(tagged)
	next := request("INVITE", "z9hG4bK4")
	next.ReplaceHeader(&sipgo.CSeqHeader{SeqNo: 314160, MethodName: "INVITE"})
	w.arrive(next)
	for what, want := range map[string]bool{
		"INVITE z9hG4bK1": false, "INVITE z9hG4bK2": true, "CANCEL z9hG4bK2": false,
		"INVITE z9hG4bK3": false, "INVITE z9hG4bK4": false,
	} {
		if merged[what] != want {
			t.Errorf("%s: merged %v", what, merged[what])
		}
	}
	// Asked about a request that has no transaction.
	if !w.table.Merged(request("INVITE", "z9hG4bK9")) {
		t.Error("not merged without a transaction")
	}
	// While the first lingers after its answer it still counts.
	w.answer(first, 486)
	if !w.table.Merged(request("INVITE", "z9hG4bK9")) {
		t.Error("not merged with a lingering transaction")
	}
}

// Over MaxServer a request gets 503 without state, an INVITE that is there
// can still be cancelled and retransmitted.
func TestMaxServer(t *testing.T) {
	w := newWorld(t, Config{MaxServer: 2})
	w.arrive(request("INVITE", "z9hG4bK1"))
	bye := w.arrive(request("BYE", "z9hG4bK2"))
	w.log = nil
	var tags []string
	w.onSend = func(m sipgo.Message) {
		tags = append(tags, sipwire.ToTag(m))
		if ra, ok := sipwire.RetryAfter(m); !ok || ra != 32*time.Second {
			t.Errorf("Retry-After %v %v", ra, ok)
		}
	}
	w.receive(request("OPTIONS", "z9hG4bK3"))
	w.receive(request("OPTIONS", "z9hG4bK3"))
	w.receive(request("INVITE", "z9hG4bK4"))
	w.receive(request("CANCEL", "z9hG4bK4"))
	w.expect("0 send 503 OPTIONS", "0 send 503 OPTIONS", "0 send 503 INVITE", "0 send 503 CANCEL")
	if tags[0] == "" || tags[0] != tags[1] || tags[0] == tags[2] {
		t.Errorf("To tags %q", tags)
	}
	w.onSend = nil
	w.receive(request("ACK", "z9hG4bK4")) // no answer to an ACK
	w.receive(request("INVITE", "z9hG4bK1"))
	w.receive(request("CANCEL", "z9hG4bK1"))
	w.expect("0 ack", "0 request CANCEL")

	// A place becomes free.
	w.from.reliable = true
	w.answer(w.servers[2], 200)
	w.answer(bye, 200)
	w.until(40 * time.Second)
	w.arrive(request("OPTIONS", "z9hG4bK5"))
}

// What lingers after its final response does not count against MaxServer, but
// is bounded too.
func TestMaxLingering(t *testing.T) {
	w := newWorld(t, Config{MaxServer: 1})
	for i := range maxLingering {
		w.answer(w.arrive(request("INVITE", fmt.Sprint("z9hG4bK", i))), 200)
	}
	w.log = nil
	w.receive(request("INVITE", "z9hG4bKx"))
	w.expect("0 send 503 INVITE")
	w.until(32 * time.Second)
	w.log = nil
	w.receive(request("INVITE", "z9hG4bKy"))
	w.receive(request("INVITE", "z9hG4bKz"))
	w.expect("32000 request INVITE", "32000 send 503 INVITE")
}

// A response may go another way after its flow failed.
func TestServerSetFlow(t *testing.T) {
	w := newWorld(t, Config{})
	a, b := &flow{name: "a", reliable: true}, &flow{name: "b", reliable: true}
	w.table.Receive(w.now, a, request("INVITE", "z9hG4bK1"))
	s := w.servers[0]
	w.table.FlowFailed(w.now, a, ErrTimeout)
	if s.Final() || s.Flow() != a {
		t.Error("the transaction did not survive its flow")
	}
	s.SetFlow(b)
	w.answer(s, 486)
	w.table.Receive(w.now, b, request("ACK", "z9hG4bK1"))
	w.expect("0 request INVITE", "0 send 486 INVITE on b", "0 done")
	w.gone()
}

// A user that is nil is no harm.
func TestServerWithoutUser(t *testing.T) {
	w := newWorld(t, Config{})
	w.onRequest = func(s *Server) { s.User = nil }
	w.answer(w.arrive(request("INVITE", "z9hG4bK1")), 486)
	w.arrive(request("OPTIONS", "z9hG4bK2"))
	w.until(time.Minute)
	w.gone()
}

// Messages that sipwire would not let through do no harm.
func TestReceiveIncomplete(t *testing.T) {
	w := newWorld(t, Config{})
	w.receive(sipgo.NewRequest("INVITE", sipgo.Uri{Host: "x"}))
	w.receive(sipgo.NewResponse(200, "OK"))
	w.expect()
	w.gone()
}
