package sip

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hoorn-phone/hoorn/internal/sipwire"
)

// told waits for a NOTIFY about a REFER and answers it.
func (a *actor) told(state, frag string) {
	a.s.t.Helper()
	r := a.s.request("NOTIFY")
	if got := string(r.req.Body()); got != "SIP/2.0 "+frag+"\r\n" {
		a.s.t.Errorf("%q, want %s", got, frag)
	}
	got, _ := sipwire.SubscriptionStateOf(r.req)
	ev, _ := sipwire.EventOf(r.req)
	if got.State != state || ev.Package != "refer" || state == "terminated" && got.Reason != "noresource" {
		a.s.t.Errorf("%v, %v", got, ev)
	}
	r.reply(200)
}

// refers asks alice to call somebody; she accepts and tells that she tries.
func (a *actor) refers(lines ...string) {
	a.s.t.Helper()
	a.say("REFER", lines...)
	a.s.response(202)
}

// RFC 5589 §6.1 and §7.1, as the transferee: the call moves to the target, and
// who has asked is told (RFC 3515 §2.4.4, §2.4.5).
func TestTransferee_RFC5589_6_1(t *testing.T) {
	onStage(t, "blind", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		bob.refers("Refer-To: <sip:carol@example.com?Subject=spam&X-Evil=1>", "Referred-By: <sip:bob@example.com>")
		bob.told("active", "100 Trying")
		req := carol.called()
		if sipwire.FormatURI(&req.Recipient) != "sip:carol@example.com" || sipwire.Header(req, "Referred-By") != "<sip:bob@example.com>" ||
			sipwire.Header(req, "Subject") != "" || sipwire.Header(req, "X-Evil") != "" {
			t.Errorf("%v", req)
		}
		pass(2 * time.Second) // NOTIFYs keep their distance
		carol.answer(180)
		bob.told("active", "180 Ringing")
		if c.Remote().URI != "sip:bob@example.com" {
			t.Error(c.Remote())
		}
		carol.pickUp()
		bob.told("terminated", "200 OK")
		at := time.Now()
		bob.bye()
		if took := time.Since(at); took != breakAfter {
			t.Errorf("left after %v", took)
		}
		if c.State() != CallEstablished || c.Remote().URI != "sip:carol@example.com" || c.Dialog().CallID != carol.id {
			t.Errorf("%v, %v", c.State(), c.Remote())
		}
		carol.say("BYE")
		s.response(200)
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
	onStage(t, "attended", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		// RFC 3515 §2.1's escapes.
		bob.refers("Refer-To: <sip:carol@10.0.0.2:5070?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994>")
		bob.told("active", "100 Trying")
		req := carol.called()
		if sipwire.Header(req, "Replaces") != "12345@192.168.118.3;to-tag=12345;from-tag=5FFE-3994" || sipwire.Header(req, "Require") != "replaces" {
			t.Errorf("%v", req)
		}
		carol.pickUp()
		bob.told("terminated", "200 OK")
		bob.say("BYE")
		s.response(200)
		s.quiet(time.Minute)
		if c.State() != CallEstablished || c.Remote().URI != "sip:carol@10.0.0.2:5070" {
			t.Errorf("%v, %v", c.State(), c.Remote())
		}
	})
	onStage(t, "the target refuses: the call stays", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		bob.refers("Refer-To: <tel:+1-201-555-0123>")
		bob.told("active", "100 Trying")
		if req := carol.called(); sipwire.FormatURI(&req.Recipient) != "sip:+1-201-555-0123@example.com;user=phone" {
			t.Errorf("%v", req)
		}
		bob.say("REFER", "Refer-To: <sip:dave@example.com>") // one at a time
		s.response(491)
		carol.answer(486)
		s.request("ACK")
		bob.told("terminated", "486 Busy Here")
		if c.State() != CallEstablished || c.Remote().URI != "sip:bob@example.com" {
			t.Errorf("%v, %v", c.State(), c.Remote())
		}
		s.quiet(time.Minute)
	})
	onStage(t, "a redirection on the way", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		bob.refers("Refer-To: sip:carol@example.com")
		bob.told("active", "100 Trying")
		carol.called()
		carol.answer(302, "Contact: <sip:dave@example.com>")
		s.request("ACK")
		carol.called()
		carol.pickUp()
		bob.told("terminated", "200 OK")
		bob.bye()
		if c.Remote().URI != "sip:dave@example.com" {
			t.Error(c.Remote())
		}
	})
	onStage(t, "the transferor hangs up in the middle", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		bob.refers("Refer-To: <sip:carol@example.com>", "Refer-Sub: false")
		carol.called()
		bob.say("BYE")
		s.response(200)
		carol.answer(180)
		synctest.Wait()
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
		carol.pickUp()
		synctest.Wait()
		if c.State() != CallEstablished || c.Remote().URI != "sip:carol@example.com" {
			t.Errorf("%v, %v", c.State(), c.Remote())
		}
		s.quiet(time.Minute)
	})
	onStage(t, "and the target does not answer", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		bob.refers("Refer-To: <sip:carol@example.com>", "Refer-Sub: false")
		carol.called()
		bob.say("BYE")
		s.response(200)
		carol.answer(480)
		s.request("ACK")
		var se *StatusError
		if err := c.Wait(t.Context()); !errors.As(err, &se) || se.Code != 480 {
			t.Error(err)
		}
	})
	onStage(t, "the user hangs up in the middle", nil, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		bob.refers("Refer-To: <sip:carol@example.com>", "Refer-Sub: false")
		carol.called()
		carol.answer(180)
		synctest.Wait()
		go c.Hangup(t.Context())
		s.request("CANCEL").reply(200)
		bob.bye()
		carol.answer(487)
		s.request("ACK")
		if err := c.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		s.quiet(time.Minute)
		if n := s.kept(); n != 0 {
			t.Errorf("%d dialog sets are left", n)
		}
	})
}

// What is refused, and how.
func TestReferRefused(t *testing.T) {
	onStage(t, "by what it says", nil, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		c := bob.calls()
		for _, tt := range []struct {
			status int
			lines  []string
		}{
			{400, nil}, // RFC 3515 §2.4.2: exactly one
			{400, []string{"Refer-To: <sip:a@example.com>", "Refer-To: <sip:b@example.com>"}},
			{400, []string{"Refer-To: nonsense"}},
			{400, []string{"Refer-To: <sip:a@example.com?Replaces=x>"}},
			{416, []string{"Refer-To: <http://www.ietf.org>"}},
			{416, []string{"Refer-To: <mailto:a@example.com>"}},
			{416, []string{"Refer-To: <tel:alice@example.com>"}},
			{416, []string{"Refer-To: <tel:;phone-context=example.com>"}},
			{416, []string{"Refer-To: <tel:+1?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2>"}}, // RFC 3966 §3 has none
			{400, []string{"Refer-To: <tel:>"}},
			{400, []string{"Refer-To: <tel:+1 201>"}},
			{603, []string{"Refer-To: <sip:a@example.com;method=BYE>"}},
			{603, []string{"Refer-To: <sip:a@example.com;method=SUBSCRIBE>"}},
		} {
			bob.say("REFER", tt.lines...)
			s.response(tt.status)
		}
		if c.State() != CallEstablished {
			t.Error(c.State())
		}
		s.quiet(time.Minute)
	})
	onStage(t, "by policy", func(c *Config) { c.Refer = func(*ReferRequest) ReferDecision { return ReferRefuse } }, func(t *testing.T, s *stage) {
		bob := s.actor("bob")
		bob.calls()
		bob.say("REFER", "Refer-To: <sip:carol@example.com>")
		s.response(603)
	})
	ask := func(c *Config) { c.Refer = func(*ReferRequest) ReferDecision { return ReferAsk } }
	onStage(t, "by the user", ask, func(t *testing.T, s *stage) {
		bob, carol := s.actor("bob"), s.actor("carol")
		c := bob.calls()
		bob.refers("Refer-To: Carol <sip:carol@example.com>", "Referred-By: <sip:bob@example.com>")
		bob.told("active", "100 Trying")
		r, err := s.ua.AcceptRefer(t.Context())
		if err != nil || r.Call != c || r.Target != (Party{"sip:carol@example.com", "Carol"}) || r.ReferredBy.URI != "sip:bob@example.com" || r.Replaces || !r.OwnFlow {
			t.Fatalf("%v, %+v", err, r)
		}
		if err := r.Refuse(t.Context(), 200); !errors.Is(err, ErrState) {
			t.Error(err)
		}
		if err := r.Refuse(t.Context(), 0); err != nil {
			t.Error(err)
		}
		bob.told("terminated", "603 Decline")
		if err := r.Follow(t.Context()); !errors.Is(err, ErrState) {
			t.Error(err)
		}
		bob.refers("Refer-To: <sip:carol@example.com>")
		bob.told("active", "100 Trying")
		if r, err = s.ua.AcceptRefer(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Follow(t.Context()); err != nil {
			t.Error(err)
		}
		carol.called()
		carol.pickUp()
		bob.told("terminated", "200 OK")
		bob.bye()
	})
}

// RFC 3515 §4.1, as who is asked, outside of a call: the user's own devices may
// have this one call somebody.
func TestReferredOutside_RFC3515_4_1(t *testing.T) {
	onStage(t, "by an own device", nil, func(t *testing.T, s *stage) {
		desk, bob := s.actor("alice"), s.actor("bob")
		desk.say("REFER", "Refer-To: <sip:bob@example.com?Replaces=id%3Bto-tag%3D1%3Bfrom-tag%3D2>")
		desk.remote = sipwire.ToTag(s.response(202))
		c, err := s.ua.Accept(t.Context())
		if err != nil || c.Direction() != Outgoing {
			t.Fatalf("%v, %v", err, c)
		}
		notify := s.request("NOTIFY")
		if string(notify.req.Body()) != "SIP/2.0 100 Trying\r\n" || string(*notify.req.CallID()) != desk.id {
			t.Errorf("%v", notify.req)
		}
		notify.reply(200)
		if req := bob.called(); sipwire.Header(req, "Replaces") != "id;to-tag=1;from-tag=2" {
			t.Errorf("%v", req)
		}
		bob.pickUp()
		desk.told("terminated", "200 OK")
		if err := c.Answered(t.Context()); err != nil {
			t.Error(err)
		}
		go c.Hangup(t.Context())
		bob.bye()
	})
	onStage(t, "by a stranger", nil, func(t *testing.T, s *stage) {
		mallory := s.actor("mallory")
		mallory.say("REFER", "Refer-To: <sip:+1900@example.com>")
		s.response(603)
		s.quiet(time.Minute)
	})
	onStage(t, "the target refuses", nil, func(t *testing.T, s *stage) {
		desk, bob := s.actor("alice"), s.actor("bob")
		desk.say("REFER", "Refer-To: <sip:bob@example.com>", "Refer-Sub: false")
		if v := sipwire.Header(s.response(202), "Refer-Sub"); v != "false" {
			t.Errorf("Refer-Sub: %s", v) // RFC 4488 §4
		}
		c, err := s.ua.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bob.called()
		bob.answer(486)
		s.request("ACK")
		var se *StatusError
		if err := c.Answered(t.Context()); !errors.As(err, &se) || se.Code != 486 {
			t.Error(err)
		}
		s.quiet(time.Minute)
		if n := s.kept(); n != 0 {
			t.Error(fmt.Sprint(n, " dialog sets are left"))
		}
	})
}
