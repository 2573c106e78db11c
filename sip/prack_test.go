package sip

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	sipgo "github.com/emiago/sipgo/sip"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
	"github.com/hoorn-phone/hoorn/sip/offeranswer"
)

// promise answers the INVITE that came with a reliable provisional response, and
// returns its PRACK unanswered.
func (a *actor) promise(rseq int, body string, lines ...string) received {
	a.s.t.Helper()
	a.says(183, body, append([]string{"Require: 100rel", fmt.Sprintf("RSeq: %d", rseq)}, lines...)...)
	r := a.s.request("PRACK")
	want := fmt.Sprintf("%d %d INVITE", rseq, a.incoming.req.CSeq().SeqNo)
	if got := sipwire.Header(r.req, "RAck"); got != want || sipwire.ToTag(r.req) != a.local {
		a.s.t.Errorf("PRACK of %q to %s, want %q to %s", got, sipwire.ToTag(r.req), want, a.local)
	}
	return r
}

// prack acknowledges a reliable provisional response of alice's (RFC 3262 §7.2).
func (a *actor) prack(r *sipgo.Response, lines ...string) {
	a.s.t.Helper()
	rack := fmt.Sprintf("RAck: %s %d INVITE", sipwire.Header(r, "RSeq"), a.invited)
	a.say("PRACK", append([]string{rack}, lines...)...)
}

// promised waits for a reliable provisional response of alice's.
func (a *actor) promised(status int, described bool) *sipgo.Response {
	a.s.t.Helper()
	r := a.s.response(status)
	a.remote = sipwire.ToTag(r)
	if !sipwire.HasToken(r, "Require", "100rel") || sipwire.Header(r, "RSeq") == "" || len(r.Body()) > 0 != described {
		a.s.t.Errorf("got %v", r)
	}
	return r
}

// renegotiating makes a new offer in the background.
func renegotiating(t *testing.T, c *Call) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- c.Renegotiate(t.Context(), offeranswer.Options{}) }()
	synctest.Wait()
	return ch
}

// offer is a description as the lines of a request.
func offer(sdp string) []string { return []string{"Content-Type: application/sdp", "", sdp} }

// RFC 3262 §5, as caller: "If the UAC receives a reliable provisional response
// with an answer, it MAY generate an additional offer in the PRACK." RFC 6337 §2.2
// counts it among the patterns, and the UPDATE that follows where the PRACK has
// gone already.
func TestOfferInPrack_RFC3262_5(t *testing.T) {
	onStage(t, "taken", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		result := renegotiating(t, c)
		s.quiet(time.Second) // there is no answer yet
		prack := bob.promise(1, sdpBody)
		if len(prack.req.Body()) == 0 || prack.req.ContentType() == nil || string(*prack.req.ContentType()) != "application/sdp" {
			t.Fatalf("PRACK without an offer: %v", prack.req)
		}
		prack.reply(200, sdpBody)
		if err := <-result; err != nil {
			t.Error(err)
		}
		if c.State() != CallRinging {
			t.Error(c.State())
		}
		// What is agreed is agreed: a 2xx need not say it again, and nothing follows.
		bob.says(200, "")
		if ack := s.request("ACK"); len(ack.req.Body()) != 0 {
			t.Errorf("%v", ack.req)
		}
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
		s.quiet(time.Minute)
	})
	// A refusal leaves the session as it was, and the INVITE goes on.
	onStage(t, "refused", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		result := renegotiating(t, c)
		bob.promise(1, sdpBody).reply(488)
		var se *StatusError
		if err := <-result; !errors.As(err, &se) || se.Code != 488 || se.Method != "PRACK" {
			t.Errorf("got %v", err)
		}
		bob.says(200, "")
		s.request("ACK")
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
		s.quiet(time.Minute)
	})
	// RFC 3311 §5.1: the first exchange is complete, so an UPDATE may have an offer.
	onStage(t, "in an UPDATE afterwards", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		if prack := bob.promise(1, sdpBody, "Allow: INVITE, ACK, BYE, CANCEL, PRACK, UPDATE"); len(prack.req.Body()) != 0 {
			t.Errorf("PRACK with an offer that nobody wanted: %v", prack.req)
		} else {
			prack.reply(200)
		}
		pass(time.Second)
		result := renegotiating(t, c)
		update := s.request("UPDATE")
		if len(update.req.Body()) == 0 || sipwire.ToTag(update.req) != bob.local {
			t.Errorf("%v", update.req)
		}
		update.reply(200, "Contact: <sip:bob@10.0.0.2:5070>", sdpBody)
		if err := <-result; err != nil {
			t.Error(err)
		}
		bob.says(200, "")
		s.request("ACK")
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
	})
	// Who has no UPDATE has to be asked again when the call stands.
	onStage(t, "in a re-INVITE where there is no UPDATE", nil, func(t *testing.T, s *stage) {
		c, bob := s.begins()
		bob.promise(1, sdpBody, "Allow: INVITE, ACK, BYE, CANCEL, PRACK").reply(200)
		pass(time.Second)
		result := renegotiating(t, c)
		s.quiet(time.Second)
		bob.says(200, "")
		s.request("ACK")
		again := s.request("INVITE")
		again.reply(200, "Contact: <sip:bob@10.0.0.2:5070>", sdpBody)
		s.request("ACK")
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// RFC 3262 §5, as callee: "If the UAS receives a PRACK with an offer, it MUST
// place the answer in the 2xx to the PRACK."
func TestOfferInPrackOfPeer_RFC3262_5(t *testing.T) {
	// rings lets bob call, and alice answer his offer before she picks up.
	rings := func(t *testing.T, s *stage, lines ...string) (*Call, *actor, *sipgo.Response) {
		t.Helper()
		bob := s.actor("bob")
		bob.invite(lines...)
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Progress(t.Context()); err != nil {
			t.Fatal(err)
		}
		return c, bob, bob.promised(183, true)
	}
	onStage(t, "answered in its 200", nil, func(t *testing.T, s *stage) {
		c, bob, early := rings(t, s, "Supported: 100rel")
		bob.prack(early, offer(sdpBody)...)
		if r := s.response(200); r.CSeq().MethodName != "PRACK" || len(r.Body()) == 0 || r.ContentType() == nil {
			t.Errorf("%v", r)
		}
		go c.Answer(t.Context(), nil)
		// The 200 has nothing to say about media any more.
		r := s.response(200)
		if r.CSeq().MethodName != "INVITE" || len(r.Body()) != 0 {
			t.Errorf("%v", r)
		}
		bob.say("ACK")
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
	})
	onStage(t, "one that cannot be taken", nil, func(t *testing.T, s *stage) {
		c, bob, early := rings(t, s, "Supported: 100rel")
		bob.prack(early, offer("v=0\r\nm=\r\n")...)
		if r := s.response(488); r.CSeq().MethodName != "PRACK" {
			t.Errorf("%v", r)
		}
		if c.State() != CallRinging {
			t.Error(c.State())
		}
		go c.Answer(t.Context(), nil)
		bob.taken()
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
	})
	// "If the UAS had placed a session description in any reliable provisional
	// response that is unacknowledged when the INVITE is accepted, the UAS MUST
	// delay sending the 2xx until the provisional response is acknowledged."
	onStage(t, "the 200 waits for the PRACK", nil, func(t *testing.T, s *stage) {
		c, bob, early := rings(t, s, "Supported: 100rel")
		go c.Answer(t.Context(), nil)
		s.quiet(10 * time.Second)
		bob.prack(early, offer(sdpBody)...)
		if r := s.response(200); r.CSeq().MethodName != "PRACK" || len(r.Body()) == 0 {
			t.Errorf("%v", r)
		}
		if r := s.response(200); r.CSeq().MethodName != "INVITE" {
			t.Errorf("%v", r)
		}
		bob.say("ACK")
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
	})
	// §3: "If a PRACK request is received by the UA core that does not match any
	// unacknowledged reliable provisional response, the UAS MUST respond to the
	// PRACK with a 481", and after 64*T1 without one the INVITE is refused by a 5xx.
	onStage(t, "the wrong one, and then none", nil, func(t *testing.T, s *stage) {
		at := time.Now()
		c, bob, early := rings(t, s, "Supported: 100rel")
		for _, rack := range []string{
			sipwire.Header(early, "RSeq") + " 100 INVITE", "0 101 INVITE", sipwire.Header(early, "RSeq") + " 101 UPDATE", "nonsense",
		} {
			bob.say("PRACK", append([]string{"RAck: " + rack}, offer(sdpBody)...)...)
			s.response(481)
		}
		s.response(504)
		if took := time.Since(at); took != 32*time.Second {
			t.Errorf("refused after %v", took)
		}
		bob.say("ACK")
		if err := c.Wait(t.Context()); !errors.Is(err, ErrNoPrack) {
			t.Error(err)
		}
	})
	// "If the INVITE did not contain an offer", the first reliable response has it,
	// and the PRACK the answer; then the call's own offer may follow by UPDATE.
	onStage(t, "the answer is in the PRACK", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		bob.say("INVITE", "Require: 100rel")
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ring(t.Context()); err != nil {
			t.Fatal(err)
		}
		bob.prack(bob.promised(180, true), offer(sdpBody)...)
		if r := s.response(200); r.CSeq().MethodName != "PRACK" || len(r.Body()) != 0 {
			t.Errorf("%v", r)
		}
		go c.Answer(t.Context(), nil)
		if r := s.response(200); r.CSeq().MethodName != "INVITE" || len(r.Body()) != 0 {
			t.Errorf("%v", r)
		}
		bob.say("ACK")
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
